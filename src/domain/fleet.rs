//! What an operator sets for a fleet: where its store is, and how this node is called.

use std::fmt;
use std::path::PathBuf;

use super::secret::Secret;

/// `RTMS_FLEET_NAME` where it is not set.
pub const DEFAULT_FLEET_NAME: &str = "default";

/// Longest name of a node or a fleet.
pub const NAME_CHARS_MAX: usize = 63;

/// Port of a store whose address has none.
const DEFAULT_PORT: u16 = 6379;

/// Highest number of a database that is accepted; stores have 16 unless they are told otherwise.
const DATABASE_MAX: u32 = 65_535;

/// Longest path of a Unix socket, which is what fits into the kernel's address.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// The fleet that a server is part of: `RTMS_FLEET` and the keys beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetSettings {
    /// `RTMS_FLEET`, `RTMS_FLEET_PASSWORD`: the store between the nodes.
    pub store: StoreAddress,
    /// `RTMS_FLEET_NAME`: tells apart two fleets of one app on one store.
    pub name: String,
    /// `RTMS_NODE`: this node's name, unique in the fleet.
    pub node: String,
    /// `RTMS_NODE_STREAMS`: streams beyond which it gets no new meetings; `None` for as many as the limit of
    /// open files allows, see [`Settings::fleet_capacity`](crate::Settings::fleet_capacity).
    pub streams: Option<u32>,
    /// Where the node's admin listener is, for those who look at the fleet; empty without one.
    pub admin: String,
}

impl FleetSettings {
    /// A node of the fleet [`DEFAULT_FLEET_NAME`], with the capacity that the limit of open files allows.
    pub fn new(store: StoreAddress, node: impl Into<String>) -> FleetSettings {
        FleetSettings {
            store,
            name: DEFAULT_FLEET_NAME.to_owned(),
            node: node.into(),
            streams: None,
            admin: String::new(),
        }
    }
}

/// Whether a text can be the name of a node or of a fleet. Names are part of keys in the store.
pub fn is_name(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Where the store of a fleet is, and as whom it is used.
///
/// `Display` shows the place alone, without user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreAddress {
    /// The machine and port, or the socket.
    pub place: StorePlace,
    /// The ACL user; `None` for the store's `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The number of the database.
    pub database: u32,
}

/// Where a store listens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorePlace {
    /// A TCP port.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// `rediss://`: TLS.
        is_tls: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl StoreAddress {
    /// Parses `redis://`, `rediss://`, `unix://` or `redis+unix://`. User and password may be percent-encoded.
    ///
    /// # Errors
    /// What was expected instead; nothing of the text is in it.
    pub fn parse(text: &str) -> Result<StoreAddress, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
        match scheme.to_ascii_lowercase().as_str() {
            "redis" | "valkey" => tcp(rest, false),
            "rediss" | "valkeys" => tcp(rest, true),
            "unix" | "redis+unix" => unix(rest),
            scheme if scheme.ends_with("+sentinel") => Err(
                "an address that leads to the primary by itself: rtmsd does not ask Sentinels. Use a managed \
                 address or DNS name that follows the primary, or HAProxy with tcp-check in front of the \
                 servers, and redis://host:port here; see \"rtmsd help fleet\""
                    .to_owned(),
            ),
            _ => Err(expected()),
        }
    }

    /// Whether what is sent to the store can be read on the way to it: to another machine, without TLS.
    pub fn is_readable_on_the_way(&self) -> bool {
        match &self.place {
            StorePlace::Tcp { host, is_tls, .. } => !is_tls && !is_loopback(host),
            StorePlace::Unix(_) => false,
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            StorePlace::Tcp { host, port, is_tls } => {
                let scheme = if *is_tls { "rediss" } else { "redis" };
                let (open, close) = match host.contains(':') {
                    true => ("[", "]"),
                    false => ("", ""),
                };
                write!(f, "{scheme}://{open}{host}{close}:{port}/{}", self.database)
            }
            StorePlace::Unix(path) if self.database == 0 => write!(f, "unix://{}", path.display()),
            StorePlace::Unix(path) => write!(f, "unix://{}?db={}", path.display(), self.database),
        }
    }
}

fn expected() -> String {
    "redis://host:6379/0, rediss://user@host:6379/0 (TLS) or unix:///run/redis.sock".to_owned()
}

/// `[user[:password]@]host[:port][/database]`.
fn tcp(rest: &str, is_tls: bool) -> Result<StoreAddress, String> {
    // A password may have any character but "@" and "/" as it is; others are percent-encoded.
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, server) = match authority.rsplit_once('@') {
        Some((login, server)) => (login, server),
        None => ("", authority),
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (server, None),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => Some(DEFAULT_PORT),
    };
    let host = bare_host(host).ok_or_else(expected)?;
    Ok(StoreAddress {
        place: StorePlace::Tcp {
            host,
            port: port.ok_or_else(expected)?,
            is_tls,
        },
        user: decoded(user)?,
        password: decoded(password)?.map(Secret::new),
        database: database(path)?,
    })
}

/// `/path[?db=N&user=NAME]`.
fn unix(rest: &str) -> Result<StoreAddress, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') || path.len() > UNIX_PATH_BYTES_MAX {
        return Err("unix:// and an absolute path of at most 107 bytes".to_owned());
    }
    let mut address = StoreAddress {
        place: StorePlace::Unix(PathBuf::from(path)),
        user: None,
        password: None,
        database: 0,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("db", number)) => address.database = database(number)?,
            Some(("user", user)) => address.user = decoded(user)?,
            _ => {
                return Err(
                    "nothing but db= and user= behind the path of a socket; the password goes into \
                     RTMS_FLEET_PASSWORD"
                        .to_owned(),
                );
            }
        }
    }
    Ok(address)
}

fn database(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let is_plain = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|number| *number <= DATABASE_MAX);
    number
        .filter(|_| is_plain)
        .ok_or_else(|| "the number of a database behind the last \"/\", as in /0".to_owned())
}

/// A host name or address without brackets.
fn bare_host(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        let is_address = inner.parse::<std::net::Ipv6Addr>().is_ok();
        return is_address.then(|| inner.to_ascii_lowercase());
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let fits = (1..=253).contains(&text.len()) && text.bytes().all(is_plain);
    fits.then(|| text.to_ascii_lowercase())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A user or a password; `None` for an empty one.
fn decoded(text: &str) -> Result<Option<String>, String> {
    let wrong = || "a user and a password in which other signs are percent-encoded (%40 is @)";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let byte = high.zip(low).map(|(high, low)| high * 16 + low);
                bytes.push(
                    byte.and_then(|it| u8::try_from(it).ok())
                        .ok_or_else(wrong)?,
                );
            }
            _ => bytes.push(byte),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    match text.chars().any(char::is_control) {
        true => Err(wrong().to_owned()),
        false => Ok((!text.is_empty()).then_some(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, is_tls: bool) -> StoreAddress {
        StoreAddress {
            place: StorePlace::Tcp {
                host: host.to_owned(),
                port,
                is_tls,
            },
            user: None,
            password: None,
            database: 0,
        }
    }

    #[test]
    fn addresses_of_stores() {
        let secret = |text: &str| Some(Secret::new(text));
        for (text, expected) in [
            ("redis://store", tcp("store", 6379, false)),
            ("redis://127.0.0.1:7000/", tcp("127.0.0.1", 7000, false)),
            ("rediss://[::1]", tcp("::1", 6379, true)),
            (
                "rediss://rtmsd:a%40b%3A%2f@Store.Example.com:6380/3",
                StoreAddress {
                    user: Some("rtmsd".to_owned()),
                    password: secret("a@b:/"),
                    database: 3,
                    ..tcp("store.example.com", 6380, true)
                },
            ),
            (
                "redis://:p@q:r@store",
                StoreAddress {
                    password: secret("p@q:r"),
                    ..tcp("store", 6379, false)
                },
            ),
            (
                "redis://rtmsd@store/0",
                StoreAddress {
                    user: Some("rtmsd".to_owned()),
                    ..tcp("store", 6379, false)
                },
            ),
            (
                "unix:///run/redis.sock?db=2&user=rtmsd",
                StoreAddress {
                    place: StorePlace::Unix("/run/redis.sock".into()),
                    user: Some("rtmsd".to_owned()),
                    password: None,
                    database: 2,
                },
            ),
        ] {
            assert_eq!(StoreAddress::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_store() {
        for wrong in [
            "",
            "store:6379",
            "http://store",
            "redis://",
            "redis://store:0",
            "redis://store:99999",
            "redis://store:x",
            "redis://st ore",
            "redis://store/x",
            "redis://store/-1",
            "redis://store/+1",
            "redis://store/1/2",
            "redis://[::1",
            "redis://[store]",
            "redis://a:%4@store",
            "redis://a:%zz@store",
            "redis://a:%ff@store",
            "redis://a:%00@store",
            "unix://run/redis.sock",
            "unix:///a?password=b",
            "unix:///a?db=x",
        ] {
            assert!(StoreAddress::parse(wrong).is_err(), "{wrong:?}");
        }
        let sentinel = StoreAddress::parse("rediss+sentinel://a:26379,b:26379/name/0");
        assert!(sentinel.is_err_and(|text| text.contains("HAProxy with tcp-check")));
    }

    #[test]
    fn neither_the_password_nor_the_user_is_shown() {
        for (text, shown) in [
            ("redis://u:hunter2@store", "redis://store:6379/0"),
            ("rediss://u:hunter2@[::1]:1/2", "rediss://[::1]:1/2"),
            ("unix:///a.sock?user=u", "unix:///a.sock"),
            ("unix:///a.sock?db=1", "unix:///a.sock?db=1"),
        ] {
            let address = StoreAddress::parse(text).expect("an address");
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("hunter2"));
        }
        let wrong = StoreAddress::parse("redis://u:hunter2@sto re").expect_err("no host");
        assert!(!wrong.contains("hunter2"));
    }

    #[test]
    fn only_loopback_and_tls_are_not_readable_on_the_way() {
        let is_readable = |text: &str| {
            let address = StoreAddress::parse(text).expect("an address");
            address.is_readable_on_the_way()
        };
        assert!(is_readable("redis://10.0.0.7") && is_readable("redis://store"));
        for safe in ["redis://127.0.0.1", "redis://[::1]", "redis://localhost"] {
            assert!(!is_readable(safe), "{safe}");
        }
        assert!(!is_readable("rediss://store") && !is_readable("unix:///a"));
    }

    #[test]
    fn names() {
        for right in ["a", "vm-1.example_x", &"n".repeat(63)] {
            assert!(is_name(right), "{right}");
        }
        for wrong in ["", "a b", "a:b", "{a}", "ä", "a/b", &"n".repeat(64)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
