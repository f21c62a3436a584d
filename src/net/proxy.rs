//! Chooses the proxy of a call by curl's rules, so that one environment serves both.
//!
//! Zoom is called only by `https`; plain `http` goes only to loopback, where no proxy is used. So
//! the only kind of proxy needed is one with `CONNECT`.

use std::fmt;
use std::net::IpAddr;

use super::address::Address;

/// The proxy variables of the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyEnv {
    /// `https_proxy`, or `HTTPS_PROXY`, or `all_proxy`, or `ALL_PROXY`: for `https` addresses.
    pub https: Option<String>,
    /// `http_proxy` (never in capitals, because a CGI request header could set that), or
    /// `all_proxy`, or `ALL_PROXY`: for `http` addresses.
    pub http: Option<String>,
    /// `no_proxy`, or `NO_PROXY`: hosts to reach directly.
    pub none_for: Option<String>,
}

impl ProxyEnv {
    /// Reads an environment. An empty variable counts as unset.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> ProxyEnv {
        let first = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| variable(name).filter(|value| !value.trim().is_empty()))
        };
        ProxyEnv {
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            http: first(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            none_for: first(&["no_proxy", "NO_PROXY"]),
        }
    }

    /// The proxy for this address, if one is to be used.
    pub(crate) fn proxy_for(&self, address: &Address) -> Option<&str> {
        if address.is_loopback() || self.is_excepted(address.host()) {
            return None;
        }
        let proxy = if address.is_https() {
            &self.https
        } else {
            &self.http
        };
        proxy.as_deref()
    }

    /// Entries are separated by commas or blanks: a name matches itself and its subdomains, an IP
    /// address or network matches what is in it, a lone `*` matches everything.
    fn is_excepted(&self, host: &str) -> bool {
        let Some(list) = self.none_for.as_deref().map(str::trim) else {
            return false;
        };
        if list == "*" {
            return true;
        }
        let ip = host.parse::<IpAddr>().ok();
        list.split([',', ' ', '\t'])
            .filter(|entry| !entry.is_empty())
            .any(|entry| match ip {
                Some(ip) => holds_ip(entry, ip),
                None => holds_name(entry, host),
            })
    }
}

fn holds_name(entry: &str, host: &str) -> bool {
    let entry = entry.trim_start_matches('.').trim_end_matches('.');
    let host = host.trim_end_matches('.');
    let Some(start) = host.len().checked_sub(entry.len()) else {
        return false;
    };
    !entry.is_empty()
        && host.is_char_boundary(start)
        && host[start..].eq_ignore_ascii_case(entry)
        && (start == 0 || host[..start].ends_with('.'))
}

fn holds_ip(entry: &str, ip: IpAddr) -> bool {
    let (network, bits) = match entry.split_once('/') {
        Some((network, bits)) => match bits.parse::<u32>() {
            Ok(bits) => (network, Some(bits)),
            Err(_) => return false,
        },
        None => (entry, None),
    };
    let network = network.trim_start_matches('[').trim_end_matches(']');
    match (network.parse(), ip) {
        (Ok(IpAddr::V4(network)), IpAddr::V4(ip)) => {
            let bits = bits.unwrap_or(32);
            let differ = u32::from(network) ^ u32::from(ip);
            bits <= 32 && differ.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (Ok(IpAddr::V6(network)), IpAddr::V6(ip)) => {
            let bits = bits.unwrap_or(128);
            let differ = u128::from(network) ^ u128::from(ip);
            bits <= 128 && differ.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

impl fmt::Debug for ProxyEnv {
    /// A proxy's address may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyEnv")
            .field("https", &self.https.is_some())
            .field("http", &self.http.is_some())
            .field("none_for", &self.none_for)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> ProxyEnv {
        ProxyEnv::read(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn the_precedence_of_variables() {
        let zoom = Address::parse("https://api.zoom.us").unwrap();
        for (pairs, expected) in [
            (&[][..], None),
            (&[("HTTPS_PROXY", "http://p:1")], Some("http://p:1")),
            (
                &[("https_proxy", "http://p:2"), ("HTTPS_PROXY", "http://p:1")],
                Some("http://p:2"),
            ),
            (
                &[("https_proxy", ""), ("HTTPS_PROXY", "http://p:1")],
                Some("http://p:1"),
            ),
            (&[("ALL_PROXY", "http://p:3")], Some("http://p:3")),
            (
                &[("all_proxy", "http://p:4"), ("HTTPS_PROXY", "http://p:1")],
                Some("http://p:1"),
            ),
            (
                &[("HTTP_PROXY", "http://p:5"), ("http_proxy", "http://p:6")],
                None,
            ),
        ] {
            assert_eq!(env(pairs).proxy_for(&zoom), expected, "{pairs:?}");
        }
        assert_eq!(env(&[("HTTP_PROXY", "x")]).http, None);
        assert_eq!(env(&[("http_proxy", "x")]).http.as_deref(), Some("x"));
    }

    #[test]
    fn loopback_is_never_reached_through_a_proxy() {
        let env = env(&[("ALL_PROXY", "http://p:1"), ("http_proxy", "http://p:1")]);
        for url in [
            "http://127.0.0.1:80",
            "http://localhost",
            "https://[::1]:4",
            "https://127.9.9.9",
        ] {
            assert_eq!(env.proxy_for(&Address::parse(url).unwrap()), None, "{url}");
        }
        assert!(
            env.proxy_for(&Address::parse("https://10.0.0.1").unwrap())
                .is_some()
        );
    }

    #[test]
    fn entries_of_no_proxy() {
        for (list, host, expected) in [
            ("*", "api.zoom.us", true),
            ("zoom.us", "api.zoom.us", true),
            (".zoom.us", "api.zoom.us", true),
            ("ZOOM.us", "zoom.us", true),
            (".zoom.us", "zoom.us", true),
            ("zoom.us.", "zoom.us", true),
            ("oom.us", "zoom.us", false),
            ("zoom.us", "zoom.us.example.test", false),
            ("a.test, zoom.us", "api.zoom.us", true),
            ("a.test zoom.us", "api.zoom.us", true),
            ("a.test,*", "api.zoom.us", false),
            ("", "api.zoom.us", false),
            (".", "api.zoom.us", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("0.0.0.0/0", "10.1.2.3", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/x", "10.0.0.0", false),
            ("fd00::/8", "fd12::1", true),
            ("[fd12::1]", "fd12::1", true),
            ("::/0", "10.1.2.3", false),
            ("1.2.3", "10.1.2.3", false),
        ] {
            let env = env(&[("NO_PROXY", list)]);
            assert_eq!(env.is_excepted(host), expected, "{list:?} {host}");
        }
    }

    #[test]
    fn debug_does_not_show_the_password() {
        let text = format!("{:?}", env(&[("HTTPS_PROXY", "http://u:hunter2@p")]));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
