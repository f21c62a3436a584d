//! `Host` and `Origin`: for whom a browser means its request.
//!
//! A page on the internet can have its own name resolved to this machine (DNS rebinding); its requests
//! then come from a browser here, with that name as `Host`.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::net::IpAddr;

/// A host and a port, as `Host` and `Origin` name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// In lower case, without brackets and without a dot at its end.
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`.
    pub fn parse(text: &str) -> Option<Authority> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
                let port = match rest {
                    "" => None,
                    rest => Some(rest.strip_prefix(':')?),
                };
                (is_address.then_some(host)?, port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(digits) => {
                let is_number = digits.bytes().all(|b| b.is_ascii_digit());
                Some(digits.parse().ok().filter(|_| is_number)?)
            }
            None => None,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        (!host.is_empty() && host.bytes().all(is_plain)).then(|| Authority {
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Whether this names this machine to itself.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse() {
            Ok(IpAddr::V4(address)) => address.is_loopback(),
            Ok(IpAddr::V6(address)) => address.is_loopback(),
            Err(_) => self.host == "localhost",
        }
    }

    /// Whether both have the same host.
    pub fn has_host_of(&self, other: &Authority) -> bool {
        self.host == other.host
    }

    /// Whether both are the same, with that port where none is named.
    fn is(&self, other: &Authority, usual_port: u16) -> bool {
        let port = |it: &Authority| it.port.unwrap_or(usual_port);
        self.has_host_of(other) && port(self) == port(other)
    }
}

/// `RTMS_ADMIN_URL`: how browsers reach the listener through a proxy, as in
/// `https://ops.example.com/rtms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminUrl {
    text: String,
    authority: Authority,
}

impl AdminUrl {
    /// Reads `https://host[:port][/path]`, or `http://`. The error says what was expected.
    ///
    /// # Errors
    /// Another scheme; a user name, a query or a fragment; no host.
    pub fn parse(text: &str) -> Result<AdminUrl, String> {
        let expected = || "an address as in https://ops.example.com/rtms".to_owned();
        let rest = ["https://", "http://"]
            .into_iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let rest = rest.ok_or_else(expected)?;
        let is_plain = |b: u8| b.is_ascii_graphic() && !b"?#@\"<>\\^`{|}".contains(&b);
        let authority = Authority::parse(rest.split('/').next().unwrap_or_default());
        let authority = authority.filter(|_| rest.bytes().all(is_plain));
        Ok(AdminUrl {
            text: text.trim_end_matches('/').to_owned(),
            authority: authority.ok_or_else(expected)?,
        })
    }

    /// Host and port.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl std::fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a page of this origin belongs to the server with that `Host`, or to its address from outside.
pub fn is_own_origin(origin: &str, host: Option<&Authority>, url: Option<&Authority>) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    let usual_port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    let Some(origin) = Authority::parse(rest) else {
        return false;
    };
    let mut own = host.into_iter().chain(url);
    own.any(|own| origin.is(own, usual_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_a_host_is_parsed_and_compared_as_a_whole() {
        for (text, is_loopback) in [
            ("127.0.0.1:9464", true),
            ("127.0.0.1", true),
            ("127.8.9.1:80", true),
            ("[::1]:9464", true),
            ("[::1]", true),
            ("localhost:9464", true),
            ("LocalHost.", true),
            ("localhost.:9464", true),
            ("127.0.0.1.", true),
            ("10.1.2.3:80", false),
            ("[::2]", false),
            ("[::ffff:127.0.0.1]", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example:9464", false),
            ("rebound.example:9464", false),
            ("evil-127.0.0.1", false),
            ("127.1", false),
            ("0127.0.0.1", false),
            ("2130706433", false),
        ] {
            let parsed = Authority::parse(text).expect(text);
            assert_eq!(parsed.is_loopback(), is_loopback, "{text}");
        }
        for text in [
            "",
            ".",
            ":80",
            "[::1",
            "::1]",
            "[::1]80",
            "[::1]x:80",
            "[localhost]",
            "a:b",
            "a:99999",
            "a:-1",
            "a:+1",
            "a:1:2",
            "user@localhost",
            "localhost/x",
            "localhost ",
            "loc\u{e4}lhost",
            "localhost#",
            "localhost..evil/",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_outside_is_a_host_and_perhaps_a_path() {
        let url = AdminUrl::parse("https://Ops.example.com:8443/rtms/").expect("an address");
        assert_eq!(url.to_string(), "https://Ops.example.com:8443/rtms");
        assert_eq!(
            Some(url.authority()),
            Authority::parse("ops.example.com:8443").as_ref()
        );
        for text in [
            "",
            "ops.example.com",
            "https://",
            "https:///x",
            "ftp://a",
            "https://u:p@a",
            "https://a/?t=x",
            "https://a/#t=x",
            "https://a b",
        ] {
            assert!(AdminUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn s4_an_origin_must_be_that_of_the_host_or_of_the_address_outside() {
        let parse = |text| Authority::parse(text).expect("an authority");
        let (host, url) = (parse("127.0.0.1:9464"), parse("ops.example.com"));
        let is_own = |origin| is_own_origin(origin, Some(&host), Some(&url));
        for origin in [
            "http://127.0.0.1:9464",
            "https://ops.example.com",
            "https://ops.example.com:443",
            "http://ops.example.com:80",
        ] {
            assert!(is_own(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:9465",
            "https://ops.example.com.evil.example",
            "https://ops.example.com:8443",
            "https://evil.example",
            "file://127.0.0.1:9464",
            "127.0.0.1:9464",
        ] {
            assert!(!is_own(origin), "{origin}");
        }
        assert!(!is_own_origin("http://localhost", None, None));
    }
}
