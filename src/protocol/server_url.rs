//! URLs of Zoom's servers: a [`ServerUrl`] exists only for an allowed host.
//!
//! `server_urls` comes from the network. A forged event must not cause a request into the private
//! network, so scheme, host and form are checked here, and the address that a name resolves to is
//! checked later ([`ServerUrl::allows_address`]).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::params::each_word;
use crate::domain::text::percent_encoded;

/// Longest URL that is accepted, in bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// Maximum servers kept of one list.
pub const URLS_MAX: usize = 8;

/// Maximum entries of one list that are checked.
const CANDIDATES_MAX: usize = 64;

/// Zoom's streaming servers: default of `RTMS_ALLOWED_HOSTS`.
pub const DEFAULT_ALLOWED_HOSTS: &str = ".zoom.us,.zoom.com,.zoomgov.com";

/// The hosts that streams may be received from: `RTMS_ALLOWED_HOSTS`.
///
/// `Display` is the text that [`AllowedHosts::parse`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// `.zoom.us`: every host below it, on public addresses.
    Below(String),
    /// `localhost`, `10.0.0.7`: this host, at any address.
    Host(String),
    /// `ws://127.0.0.1`: this loopback host, also without TLS.
    Plain(String),
}

impl Default for AllowedHosts {
    fn default() -> Self {
        AllowedHosts::parse(DEFAULT_ALLOWED_HOSTS).expect("a test parses the default")
    }
}

impl AllowedHosts {
    /// Parses entries separated by commas: `.domain` (or `*.domain`) for every host below a domain,
    /// `host` for one host, `ws://host` for a loopback host without TLS.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str) -> Result<AllowedHosts, String> {
        let entries: Result<Vec<Entry>, String> = each_word(text).map(parse_entry).collect();
        Ok(AllowedHosts { entries: entries? })
    }

    /// Whether this host is one of them, with or without TLS. The name is in lower case.
    pub(crate) fn allows(&self, is_tls: bool, host: &str) -> bool {
        let scheme = if is_tls { Scheme::Wss } else { Scheme::Ws };
        self.find(scheme, host).is_some()
    }

    fn find(&self, scheme: Scheme, host: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| match entry {
            Entry::Below(suffix) => {
                scheme == Scheme::Wss
                    && host.len() > suffix.len()
                    && host.ends_with(suffix.as_str())
            }
            Entry::Host(name) => scheme == Scheme::Wss && host == name,
            Entry::Plain(name) => host == name,
        })
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, entry) in self.entries.iter().enumerate() {
            let (scheme, host) = match entry {
                Entry::Below(host) | Entry::Host(host) => ("", host),
                Entry::Plain(host) => ("ws://", host),
            };
            let comma = if n == 0 { "" } else { ", " };
            match host.contains(':') {
                true => write!(f, "{comma}{scheme}[{host}]")?,
                false => write!(f, "{comma}{scheme}{host}")?,
            }
        }
        Ok(())
    }
}

fn parse_entry(entry: &str) -> Result<Entry, String> {
    let entry = entry.to_ascii_lowercase();
    if let Some(host) = entry.strip_prefix("ws://") {
        return match bare_host(host) {
            Some(host) if is_loopback(host) => Ok(Entry::Plain(host.to_owned())),
            _ => Err("ws:// with a loopback host only, as in ws://127.0.0.1".to_owned()),
        };
    }
    let found = match entry.strip_prefix('*').unwrap_or(&entry).strip_prefix('.') {
        Some(domain) => bare_host(domain)
            .filter(|domain| domain.parse::<IpAddr>().is_err())
            .map(|domain| Entry::Below(format!(".{domain}"))),
        None => bare_host(&entry).map(|host| Entry::Host(host.to_owned())),
    };
    found.ok_or_else(|| {
        "hosts without port or path (10.0.0.7), domains with a dot in front (.zoom.us), ws:// with \
         a loopback host"
            .to_owned()
    })
}

/// A host name or address without brackets; `None` for anything else.
pub(crate) fn bare_host(text: &str) -> Option<&str> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return inner.parse::<Ipv6Addr>().is_ok().then_some(inner);
    }
    if text.parse::<IpAddr>().is_ok() {
        return Some(text);
    }
    let is_label = |label: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_plain)
    };
    (text.len() <= 253 && text.split('.').all(is_label)).then_some(text)
}

/// Whether a host without brackets is this machine, by name or address.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Wss,
    Ws,
}

/// A URL that we may connect to.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
    anywhere: bool,
}

/// Why a URL is rejected. The text of the URL is not repeated, because it may be an attacker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// Longer than [`URL_BYTES_MAX`], or with characters that URLs do not contain.
    Malformed,
    /// Neither `wss` nor an allowed `ws`.
    Scheme,
    /// `user@host`.
    UserInfo,
    /// The host is not among `RTMS_ALLOWED_HOSTS`.
    Host,
    /// There was no URL.
    Missing,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlError::Malformed => "server url: malformed",
            UrlError::Scheme => "server url: expected wss://",
            UrlError::UserInfo => "server url: user information is not allowed",
            UrlError::Host => {
                "server url: host is not allowed; add it to RTMS_ALLOWED_HOSTS if it is trusted"
            }
            UrlError::Missing => "server url: none given",
        })
    }
}

impl std::error::Error for UrlError {}

impl ServerUrl {
    /// Checks one URL.
    ///
    /// # Errors
    /// It is empty, malformed, without TLS, or names a host that is not allowed.
    pub fn parse(text: &str, allowed: &AllowedHosts) -> Result<ServerUrl, UrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UrlError::Missing);
        }
        if text.len() > URL_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
            return Err(UrlError::Malformed);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Malformed)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "wss" => Scheme::Wss,
            "ws" => Scheme::Ws,
            _ => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = split_port(authority, scheme).ok_or(UrlError::Malformed)?;
        let host = bare_host(host)
            .ok_or(UrlError::Malformed)?
            .to_ascii_lowercase();
        let entry = allowed.find(scheme, &host).ok_or(match scheme {
            Scheme::Wss => UrlError::Host,
            Scheme::Ws => UrlError::Scheme,
        })?;
        let path = path.split('#').next().unwrap_or_default();
        let path = match path.as_bytes().first() {
            None => "/".to_owned(),
            Some(b'/') => path.to_owned(),
            Some(_) => format!("/{path}"),
        };
        let anywhere = !matches!(entry, Entry::Below(_));
        Ok(ServerUrl {
            scheme,
            host,
            port,
            path,
            anywhere,
        })
    }

    /// This URL with a parameter added to its query, percent-encoded. It may become longer than
    /// [`URL_BYTES_MAX`]: a token has up to two thousand bytes.
    pub(crate) fn with_parameter(&self, name: &str, value: &str) -> ServerUrl {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let value = percent_encoded(value);
        ServerUrl {
            path: format!("{}{separator}{name}={value}", self.path),
            ..self.clone()
        }
    }

    /// The allowed URLs among several, in their order, each once and at most [`URLS_MAX`]. A
    /// candidate may be a list separated by commas.
    ///
    /// # Errors
    /// What is wrong with the first candidate, if none is allowed.
    pub fn all<S: AsRef<str>>(
        candidates: &[S],
        allowed: &AllowedHosts,
    ) -> Result<Vec<ServerUrl>, UrlError> {
        let mut urls = Vec::new();
        let mut first_error = None;
        let candidates = candidates.iter().flat_map(|list| list.as_ref().split(','));
        for candidate in candidates.take(CANDIDATES_MAX) {
            match ServerUrl::parse(candidate, allowed) {
                Ok(url) if urls.len() < URLS_MAX && !urls.contains(&url) => urls.push(url),
                Ok(_) => {}
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        match urls.is_empty() {
            true => Err(first_error.unwrap_or(UrlError::Missing)),
            false => Ok(urls),
        }
    }

    /// The host, without brackets: for DNS, SNI and the certificate.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection is encrypted; only loopback may be unencrypted.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::Wss
    }

    /// Whether this host may have the address `address`.
    ///
    /// A host below an allowed domain must be on the public internet; a host that the operator
    /// named may have any address, but without TLS only a loopback address.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        match self.scheme {
            Scheme::Ws => address.is_loopback(),
            Scheme::Wss => self.anywhere || is_public(address),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls() { "wss" } else { "ws" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}{}", self.host, self.port, self.path)
        } else {
            write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
        }
    }
}

/// Without the path, which may contain a token.
impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn split_port(authority: &str, scheme: Scheme) -> Option<(&str, u16)> {
    let default = if scheme == Scheme::Wss { 443 } else { 80 };
    let after_host = match authority.strip_prefix('[') {
        Some(inner) => inner.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(after_host)?;
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        None if port.is_empty() => default,
        _ => return None,
    };
    (port != 0).then_some((host, port))
}

/// Whether an address belongs to the public internet. An IPv6 address that contains an IPv4 one is
/// checked as that IPv4 address; otherwise it would circumvent the rule.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a, b, c) == (192, 0, 0)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(ip) => {
            let s = ip.segments();
            if let Some(v4) = ip.to_ipv4_mapped() {
                return is_public(IpAddr::V4(v4));
            }
            let embedded = match s {
                // NAT64 (RFC 6052) and 6to4 (RFC 3056) contain an IPv4 address.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some((high, low)),
                [0x2002, high, low, ..] => Some((high, low)),
                _ => None,
            };
            if let Some((high, low)) = embedded {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                return is_public(IpAddr::V4([a, b, c, d].into()));
            }
            // Only 2000::/3 is assigned to the internet, except the documentation prefix.
            (s[0] & 0xe000) == 0x2000 && !(s[0] == 0x2001 && s[1] == 0x0db8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, entries: &[&str], expected: Result<&str, UrlError>) {
        let allowed = if entries.is_empty() {
            AllowedHosts::default()
        } else {
            AllowedHosts::parse(&entries.join(",")).expect("entries of this test are right")
        };
        let found = ServerUrl::parse(url, &allowed).map(|url| url.to_string());
        assert_eq!(
            found.as_deref().map_err(|e| *e),
            expected,
            "{url} with {entries:?}"
        );
    }

    #[test]
    fn zoom_hosts_and_no_others() {
        check("wss://rwg1.zoom.us", &[], Ok("wss://rwg1.zoom.us:443/"));
        check(
            " WSS://RWG1.Zoom.US:8443/a?b=c#d ",
            &[],
            Ok("wss://rwg1.zoom.us:8443/a?b=c"),
        );
        check("wss://rwg1.zoom.us?b", &[], Ok("wss://rwg1.zoom.us:443/?b"));
        check("wss://zoom.us.evil.test", &[], Err(UrlError::Host));
        check("wss://evilzoom.us", &[], Err(UrlError::Host));
        check("wss://.zoom.us", &[], Err(UrlError::Malformed));
        check("wss://evil.test/.zoom.us", &[], Err(UrlError::Host));
        check("wss://evil.test?.zoom.us", &[], Err(UrlError::Host));
        check("wss://evil.test#.zoom.us", &[], Err(UrlError::Host));
        check("wss://evil.test\\.zoom.us", &[], Err(UrlError::Malformed));
        check("wss://a.zoom.us@evil.test", &[], Err(UrlError::UserInfo));
        check(
            "wss://evil.test:443@a.zoom.us",
            &[],
            Err(UrlError::UserInfo),
        );
        check("wss://a.zoom.us:0", &[], Err(UrlError::Malformed));
        check("wss://a.zoom.us:+443", &[], Err(UrlError::Malformed));
        check("wss://a.zoom.us:99999", &[], Err(UrlError::Malformed));
        check("wss://a.zoom.us\r\nHost: b", &[], Err(UrlError::Malformed));
        check(
            "wss://xn--zm-fka.zoom.us\u{e9}",
            &[],
            Err(UrlError::Malformed),
        );
        check("ws://a.zoom.us", &[], Err(UrlError::Scheme));
        check("https://a.zoom.us", &[], Err(UrlError::Scheme));
        check("wss://169.254.169.254", &[], Err(UrlError::Host));
        check("wss://[::1", &[], Err(UrlError::Malformed));
        check("", &[], Err(UrlError::Missing));
        check("a.zoom.us", &[], Err(UrlError::Malformed));
    }

    #[test]
    fn hosts_named_by_the_operator() {
        check(
            "wss://localhost:9",
            &["localhost"],
            Ok("wss://localhost:9/"),
        );
        check("ws://localhost:9", &["localhost"], Err(UrlError::Scheme));
        check(
            "ws://127.0.0.1:9/x",
            &["ws://127.0.0.1"],
            Ok("ws://127.0.0.1:9/x"),
        );
        check(
            "wss://127.0.0.1:9/x",
            &["ws://127.0.0.1"],
            Ok("wss://127.0.0.1:9/x"),
        );
        check("wss://[::1]:9/x", &["::1"], Ok("wss://[::1]:9/x"));
        check(
            "wss://a.example.test",
            &["*.example.test"],
            Ok("wss://a.example.test:443/"),
        );
        check(
            "wss://example.test",
            &[".example.test"],
            Err(UrlError::Host),
        );
        check("wss://a.zoom.us", &["localhost"], Err(UrlError::Host));
    }

    #[test]
    fn entries_are_parsed_and_displayed() {
        for (text, expected) in [
            (DEFAULT_ALLOWED_HOSTS, ".zoom.us, .zoom.com, .zoomgov.com"),
            (
                ".zoom.us, *.Zoom.com,10.0.0.7,ws://127.0.0.1,sig.internal",
                ".zoom.us, .zoom.com, 10.0.0.7, ws://127.0.0.1, sig.internal",
            ),
            ("[::1],ws://::1", "[::1], ws://[::1]"),
        ] {
            let hosts = AllowedHosts::parse(text).expect("right entries");
            assert_eq!(hosts.to_string(), expected);
            assert_eq!(AllowedHosts::parse(expected), Ok(hosts));
        }
        for text in [
            "",
            ",",
            "*",
            "*zoom.us",
            ".",
            "*.",
            "a b",
            "a:443",
            "a/b",
            "https://x",
            "wss://a",
            "ws://example.test",
            "ws://10.0.0.1",
            "ws://127.0.0.1/",
            ".10.0.0.7",
        ] {
            assert!(AllowedHosts::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_allowed_urls_of_a_list() {
        let all = |urls: &[&str]| {
            let urls = ServerUrl::all(urls, &AllowedHosts::default())?;
            Ok(urls.iter().map(|url| url.host().to_owned()).collect())
        };
        let many: Vec<String> = (0..200).map(|n| format!("wss://{n}.zoom.us")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (urls, expected) in [
            (
                &["srt://a.zoom.us", "wss://b.zoom.us", "wss://c.zoom.us"][..],
                Ok(vec!["b.zoom.us", "c.zoom.us"]),
            ),
            (
                &["wss://b.zoom.us, wss://c.zoom.us,wss://b.zoom.us:443/", ""],
                Ok(vec!["b.zoom.us", "c.zoom.us"]),
            ),
            (&["srt://a.zoom.us", "wss://a.test"], Err(UrlError::Scheme)),
            (&[], Err(UrlError::Missing)),
        ] {
            let expected = expected.map(|hosts| hosts.into_iter().map(str::to_owned).collect());
            let found: Result<Vec<String>, UrlError> = all(urls);
            assert_eq!(found, expected, "{urls:?}");
        }
        let found: Result<Vec<String>, UrlError> = all(&many);
        assert_eq!(found.map(|urls| urls.len()), Ok(URLS_MAX));
    }

    #[test]
    fn a_zoom_name_with_a_private_address_is_refused() {
        let zoom = ServerUrl::parse("wss://a.zoom.us", &AllowedHosts::default()).expect("allowed");
        for private in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "ff02::1",
            "2001:db8::1",
            "::127.0.0.1",
        ] {
            let address: IpAddr = private.parse().expect("an address");
            assert!(!zoom.allows_address(address), "{private}");
        }
        for public in ["170.114.52.2", "2407:30c0::1", "::ffff:170.114.52.2"] {
            assert!(
                zoom.allows_address(public.parse().expect("an address")),
                "{public}"
            );
        }
        let named = AllowedHosts::parse("sig.internal").expect("a host");
        let named = ServerUrl::parse("wss://sig.internal", &named).expect("allowed");
        assert!(named.allows_address("10.0.0.1".parse().expect("an address")));
        let plain = AllowedHosts::parse("ws://localhost").expect("a host");
        let plain = ServerUrl::parse("ws://localhost", &plain).expect("allowed");
        assert!(!plain.allows_address("10.0.0.1".parse().expect("an address")));
    }
}
