//! What an operator can do about an error of the store, or of the way to it.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

/// Where the cause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A password, or a right of the user.
    Rights,
    /// A setting here, or another store than one that can be used.
    Settings,
    /// The store is away, or not able to do it now.
    Away,
}

/// Words of an error, the cause, and what to do. The first that fits counts.
const ADVICE: [(&str, Cause, &str); 25] = [
    (
        "WRONGPASS",
        Cause::Rights,
        "compare the user in RTMS_FLEET and RTMS_FLEET_PASSWORD with the users of the store",
    ),
    (
        "NOAUTH",
        Cause::Rights,
        "set RTMS_FLEET_PASSWORD, and the user in RTMS_FLEET if it has one",
    ),
    (
        "NOPERM",
        Cause::Rights,
        "give this user the keys and commands that users.acl has in \"rtmsd help fleet\"",
    ),
    (
        "called without any password",
        Cause::Settings,
        "remove RTMS_FLEET_PASSWORD, or give the store a password",
    ),
    ("for 'auth'", Cause::Settings, TOO_OLD),
    ("is too old", Cause::Settings, TOO_OLD),
    (
        "DB index",
        Cause::Settings,
        "take a smaller number behind the last \"/\" of RTMS_FLEET; most stores have 0 to 15",
    ),
    ("READONLY", Cause::Settings, REPLICA),
    ("is a replica", Cause::Settings, REPLICA),
    ("CLUSTERDOWN", Cause::Settings, CLUSTER),
    ("CROSSSLOT", Cause::Settings, CLUSTER),
    ("MOVED", Cause::Settings, CLUSTER),
    (
        "OOM",
        Cause::Away,
        "give it more memory (maxmemory), or remove what else fills it",
    ),
    (
        "MISCONF",
        Cause::Away,
        "it cannot write its file: look at its log and its disk",
    ),
    (
        "NOREPLICAS",
        Cause::Away,
        "it takes writes only while replicas are connected (min-replicas-to-write)",
    ),
    ("LOADING", Cause::Away, LOADING),
    ("is reading its file", Cause::Away, LOADING),
    (
        "RESP2",
        Cause::Settings,
        "RTMS_FLEET must name the port of Redis or Valkey, with rediss:// if it serves TLS there",
    ),
    (
        "certificate",
        Cause::Settings,
        "RTMS_CA_FILE must name the authority that signed it, and RTMS_FLEET a name that is in it",
    ),
    (
        "TLS: ",
        Cause::Away,
        "rediss:// needs a port where the store serves TLS",
    ),
    (
        "name look-up",
        Cause::Away,
        "look at the host name in RTMS_FLEET, and at the DNS of this machine",
    ),
    (
        "connect: Permission denied",
        Cause::Rights,
        "the user of the server must be able to open that socket (unixsocketperm)",
    ),
    (
        "connect: ",
        Cause::Away,
        "it must run at the address in RTMS_FLEET, and firewalls must let this machine in",
    ),
    ("no reply in time", Cause::Away, SILENT),
    ("closed the connection", Cause::Away, SILENT),
];

const TOO_OLD: &str = "Redis 6.2 or later, or Valkey, is needed";
const REPLICA: &str = "RTMS_FLEET must lead to the primary";
const CLUSTER: &str = "use a server that is not part of a cluster";
const LOADING: &str = "it can be used when that is done";
const SILENT: &str =
    "look whether the store stands still or is restarted, and at the network in between";

fn advice(why: &str) -> Option<&'static (&'static str, Cause, &'static str)> {
    ADVICE.iter().find(|(words, ..)| why.contains(words))
}

/// Where the cause of an error is.
pub fn cause(why: &str) -> Cause {
    match advice(why) {
        Some((_, cause, _)) => *cause,
        None if why.contains("ERR ") => Cause::Settings,
        None => Cause::Away,
    }
}

/// The error, and what to do about it.
pub fn explained(why: &str) -> String {
    let why = why.trim_end().trim_end_matches('.');
    match advice(why) {
        Some((.., advice)) => format!("{why}; {advice}"),
        None => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stores_say_is_explained() {
        for (why, expected, advice) in [
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Cause::Rights,
                "compare the user",
            ),
            (
                "SCRIPT LOAD: NOPERM this user has no permissions to run the 'script|load' command",
                Cause::Rights,
                "users.acl",
            ),
            (
                "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                 your configuration is correct?",
                Cause::Settings,
                "remove RTMS_FLEET_PASSWORD",
            ),
            (
                "ERR wrong number of arguments for 'auth' command",
                Cause::Settings,
                "Redis 6.2",
            ),
            (
                "redis 6.0.20 is too old",
                Cause::Settings,
                "Redis 6.2 or later, or Valkey",
            ),
            (
                "connect: Connection refused (os error 111)",
                Cause::Away,
                "must run at the address",
            ),
            (
                "connect: Permission denied (os error 13)",
                Cause::Rights,
                "open that socket",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Cause::Away,
                "more memory",
            ),
        ] {
            assert_eq!(cause(why), expected, "{why}");
            let text = explained(why);
            assert!(text.contains(advice) && !text.contains(".;"), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_shown_as_it_is() {
        assert_eq!(explained("ERR odd"), "ERR odd");
        assert_eq!(
            (cause("ERR odd"), cause("odd")),
            (Cause::Settings, Cause::Away)
        );
    }
}
