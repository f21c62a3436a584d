//! What a store says about itself in INFO, and what of it an operator must know.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::domain::severity::Severity;

/// The oldest version that has all commands, and scripts as we use them.
const OLDEST: (u32, u32) = (6, 2);

/// The ACL user that is enough: keys of this program, and these commands.
pub const ACL: &str = "resetkeys ~{rtmsd:*}:* resetchannels -@all +ping +select +role +info +time +script|load \
    +evalsha +hset +hget +hmget +hgetall +hdel +del +exists +pexpire +get +set +sadd +srem +smembers +scard +xadd \
    +xread +xrange +xlen +xdel";

/// What INFO says. Managed services forbid CONFIG.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `valkey`, if it says so; `redis` else.
    pub name: String,
    /// Its version; that of Valkey, where it tells both.
    pub version: String,
    /// It is a replica: it takes no writes.
    pub is_replica: bool,
    /// Replicas that are connected.
    pub replicas: u32,
    /// It is a part of a cluster.
    pub is_cluster: bool,
    /// Bytes that it uses.
    pub used_memory: u64,
    /// Bytes that it may use; 0 without a limit.
    pub maxmemory: u64,
    /// What it removes at the limit.
    pub eviction: String,
    /// It writes each change into a file.
    pub has_aof: bool,
    /// It reads its file, and takes no calls yet.
    pub is_loading: bool,
    /// Seconds since its start.
    pub uptime_s: u64,
}

impl Facts {
    /// Reads the reply to INFO. What it does not say is as in a small store without a limit.
    pub fn read(info: &str) -> Facts {
        let field = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let text = |name| field(name).unwrap_or_default().trim().to_owned();
        let number = |name| text(name).parse().unwrap_or(0_u64);
        let is_valkey = field("valkey_version").is_some();
        Facts {
            name: if is_valkey { "valkey" } else { "redis" }.to_owned(),
            version: text(if is_valkey {
                "valkey_version"
            } else {
                "redis_version"
            }),
            is_replica: matches!(text("role").as_str(), "slave" | "replica"),
            replicas: u32::try_from(number("connected_slaves")).unwrap_or(u32::MAX),
            is_cluster: text("cluster_enabled") == "1" || text("redis_mode") == "cluster",
            used_memory: number("used_memory"),
            maxmemory: number("maxmemory"),
            eviction: text("maxmemory_policy"),
            has_aof: text("aof_enabled") == "1",
            is_loading: text("loading") == "1",
            uptime_s: number("uptime_in_seconds"),
        }
    }

    /// Why such a store cannot be used: a node treats it like one that does not answer.
    pub fn refusal(&self) -> Option<String> {
        let product = self.product();
        if self.is_too_old() {
            return Some(format!("{product} is too old"));
        }
        if self.is_replica {
            return Some(format!("{product} is a replica, which takes no writes"));
        }
        let is_loading = self.is_loading;
        is_loading.then(|| format!("{product} is reading its file, and takes no calls yet"))
    }

    /// Name and version.
    pub fn product(&self) -> String {
        format!("{} {}", self.name, self.version)
            .trim_end()
            .to_owned()
    }

    /// Valkey began with 7.2. What tells no version is taken: some services do not.
    fn is_too_old(&self) -> bool {
        let parts = self.version.split('.');
        let mut parts = parts.map(|part| part.parse().unwrap_or(0));
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        !self.version.is_empty() && version < OLDEST
    }

    /// What is wrong with a store that can be used, worst first.
    pub fn findings(&self) -> Vec<(Severity, String)> {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        if self.is_cluster {
            errors.push(
                "it is part of a cluster, which moves keys to other servers; use one server, with replicas if you like"
                    .to_owned(),
            );
        }
        if self.maxmemory > 0 && self.eviction != "noeviction" {
            errors.push(format!(
                "maxmemory-policy is {}, with which it removes records of running meetings when it is full; set \
                 maxmemory-policy noeviction",
                self.eviction
            ));
        }
        if self.version.is_empty() {
            warnings.push(
                "it does not tell what it is (INFO); see for yourself that it is Redis 6.2 or later, or Valkey, with \
                 maxmemory-policy noeviction and with a file or a replica"
                    .to_owned(),
            );
        } else if !self.has_aof && self.replicas == 0 {
            warnings.push(
                "it has neither a file nor a replica, so its restart loses the webhooks that wait in it; set \
                 appendonly yes, or give it a replica"
                    .to_owned(),
            );
        }
        if self.maxmemory > 0 && self.used_memory > self.maxmemory / 10 * 9 {
            let percent = u128::from(self.used_memory) * 100 / u128::from(self.maxmemory);
            warnings.push(format!(
                "{percent} % of its memory is in use, and when it is full it refuses calls; give it more (maxmemory)"
            ));
        }
        let errors = errors.into_iter().map(|text| (Severity::Error, text));
        errors
            .chain(warnings.into_iter().map(|text| (Severity::Warn, text)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_and_judged() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nuptime_in_seconds:9\r\n            # Memory\r\nused_memory:1000\r\nused_memory_peak:2000\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n            # Persistence\r\nloading:0\r\naof_enabled:1\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n            # Cluster\r\ncluster_enabled:0\r\n";
        let good = Facts::read(info);
        assert_eq!(
            (good.name.as_str(), good.version.as_str()),
            ("redis", "7.0.15")
        );
        assert_eq!((good.used_memory, good.uptime_s), (1000, 9));
        assert_eq!((good.refusal(), good.findings()), (None, Vec::new()));
        let change = |from: &str, to: &str| Facts::read(&info.replace(from, to));
        for (from, to, words) in [
            ("7.0.15", "6.0.16", "redis 6.0.16 is too old"),
            ("7.0.15", "5.0.14", "redis 5.0.14 is too old"),
            ("role:master", "role:slave", "replica"),
            ("loading:0", "loading:1", "reading its file"),
        ] {
            let why = change(from, to).refusal().unwrap_or_default();
            assert!(why.contains(words), "{to}: {why}");
        }
        for (from, to, severity, words) in [
            (
                "cluster_enabled:0",
                "cluster_enabled:1",
                Severity::Error,
                "cluster",
            ),
            (
                "maxmemory:0",
                "maxmemory:100000",
                Severity::Error,
                "allkeys-lru",
            ),
            (
                "aof_enabled:1",
                "aof_enabled:0",
                Severity::Warn,
                "neither a file",
            ),
        ] {
            let facts = change(from, to);
            let found = facts.findings();
            assert_eq!(found.len(), 1, "{to}: {found:?}");
            assert_eq!(found[0].0, severity, "{to}");
            assert!(found[0].1.contains(words), "{found:?}");
            assert_eq!(facts.refusal(), None, "{to}");
        }
        // Valkey tells a version of Redis, too.
        for version in ["7.2.4", "8.0.1", "9.1.2", "10.0.0"] {
            let valkey =
                format!("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:{version}");
            let valkey = change("redis_version:7.0.15", &valkey);
            assert_eq!(valkey.product(), format!("valkey {version}"));
            assert_eq!((valkey.refusal(), valkey.findings()), (None, Vec::new()));
        }
    }

    #[test]
    fn a_store_that_tells_nothing_is_taken() {
        let facts = Facts::read("");
        assert_eq!((facts.refusal(), facts.product().as_str()), (None, "redis"));
        let found = facts.findings();
        assert!(
            matches!(found.as_slice(), [(Severity::Warn, text)] if text.contains("(INFO)")),
            "{found:?}"
        );
    }
}
