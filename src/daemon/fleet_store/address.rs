//! Where the store is: `RTMS_FLEET`.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt;
use std::path::PathBuf;

use crate::domain::secret::Secret;
use crate::domain::text::percent_decoded;

const EXPECTED: &str =
    "expected redis://HOST[:PORT][/DATABASE], rediss:// (with TLS) or unix:///PATH";

/// A store, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How to reach it.
    pub place: Place,
    /// The ACL user; without one the store's `default`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Number of the database.
    pub database: u32,
}

/// How to reach a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// By TCP.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// With TLS.
        has_tls: bool,
    },
    /// A socket on this machine.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Address {
    /// Reads an address. `password` is that of `RTMS_FLEET_PASSWORD`, which counts more than one in the
    /// address.
    ///
    /// # Errors
    /// What is wrong with it, "found …, expected …", without any part of it: it may contain a password.
    pub fn parse(text: &str, password: Option<&Secret>) -> Result<Address, String> {
        let fault = |found: &str| format!("found {found}, {EXPECTED}");
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(fault("no scheme"));
        };
        if rest.contains(['?', '#']) {
            return Err(fault("a query or fragment"));
        }
        let mut address = Address {
            place: Place::Unix(PathBuf::new()),
            user: None,
            password: None,
            database: 0,
        };
        match scheme {
            "redis" | "rediss" => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let (user, host) = match authority.rsplit_once('@') {
                    Some((user, host)) => (Some(user), host),
                    None => (None, authority),
                };
                let (host, port) =
                    host_and_port(host).ok_or_else(|| fault("no host, or no port"))?;
                if let Some(user) = user {
                    let (name, word) = user.split_once(':').unwrap_or((user, ""));
                    address.user = Some(decoded(name)).filter(|name| !name.is_empty());
                    address.password = Some(Secret::new(decoded(word))).filter(|w| !w.is_empty());
                }
                if !path.is_empty() {
                    let number = path.parse().ok();
                    address.database = number.ok_or_else(|| fault("no number of a database"))?;
                }
                address.place = Place::Tcp {
                    host,
                    port,
                    has_tls: scheme == "rediss",
                };
            }
            "unix" if rest.starts_with('/') => {
                address.place = Place::Unix(PathBuf::from(rest));
            }
            "unix" => return Err(fault("no absolute path")),
            "redis+sentinel" | "rediss+sentinel" => {
                return Err(format!(
                    "found the address of a Sentinel, {EXPECTED} of the primary: a managed address, or a proxy \
                     before the servers that asks for their role"
                ));
            }
            _ => return Err(fault("another scheme")),
        }
        if let Some(password) = password {
            address.password = Some(password.clone());
        }
        if address.user.is_some() && address.password.is_none() {
            return Err(fault("a user without a password"));
        }
        Ok(address)
    }
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    const PORT: u16 = 6379;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (
                host,
                rest.strip_prefix(':').or(rest.is_empty().then_some(""))?,
            )
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = match port {
        "" if text.ends_with(':') => return None,
        "" => PORT,
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    (!host.is_empty() && host.chars().all(is_host)).then(|| (host.to_ascii_lowercase(), port))
}

/// User and password of an address, where a plus is a plus.
fn decoded(text: &str) -> String {
    percent_decoded(&text.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, has_tls: bool) -> Place {
        let host = host.to_owned();
        Place::Tcp {
            host,
            port,
            has_tls,
        }
    }

    #[test]
    fn addresses_are_read() {
        let parse = |text| Address::parse(text, None).expect(text);
        assert_eq!(parse("redis://h").place, tcp("h", 6379, false));
        let full = parse("rediss://u%40v:p+%3A%2f@Store.example.com:7000/3");
        assert_eq!(full.place, tcp("store.example.com", 7000, true));
        assert_eq!(full.user.as_deref(), Some("u@v"));
        assert_eq!(full.password, Some(Secret::new("p+:/")));
        assert_eq!(full.database, 3);
        let only_password = parse("redis://:word@[::1]:1/");
        assert_eq!(only_password.place, tcp("::1", 1, false));
        assert_eq!(only_password.place.to_string(), "[::1]:1");
        assert_eq!(only_password.user, None);
        assert_eq!(only_password.password, Some(Secret::new("word")));
        let unix = parse("unix:///run/redis.sock");
        assert_eq!(unix.place, Place::Unix("/run/redis.sock".into()));
        let own = Address::parse("redis://u:old@h", Some(&Secret::new("new"))).expect("an address");
        assert_eq!(own.password, Some(Secret::new("new")));
    }

    #[test]
    fn faults_say_what_is_wrong_and_not_the_password() {
        for (text, found) in [
            ("h:6379", "no scheme"),
            ("http://sesame@h", "another scheme"),
            ("redis://sesame@", "no host"),
            ("redis://h:0", "no host, or no port"),
            ("redis://h:", "no host, or no port"),
            ("redis://h:66000", "no host, or no port"),
            ("redis://[::1", "no host"),
            ("redis://[sesame]", "no host"),
            ("redis://h i", "no host"),
            ("redis://h/sesame", "no number"),
            ("redis://h/-1", "no number"),
            ("redis://h?db=1", "a query"),
            ("redis://sesame@h", "a user without a password"),
            ("unix://run", "no absolute path"),
            ("redis+sentinel://h1,h2/sesame", "a Sentinel"),
        ] {
            let fault = Address::parse(text, None).expect_err(text);
            assert!(fault.contains(found), "{text}: {fault}");
            assert!(!fault.contains("sesame"), "{fault}");
        }
    }
}
