//! Where an endpoint is: a URL that may itself be a secret, as the URLs of webhooks often are.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt;

use crate::domain::secret::Secret;
use crate::protocol::server_url::{bare_host, is_loopback};

/// The longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// The URL of an endpoint. Only its scheme and host are ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PushUrl {
    text: Secret,
    /// `https://hooks.example.com`, with the port where one is given.
    origin: String,
    host: String,
    is_https: bool,
}

impl PushUrl {
    /// Reads `http` or `https`, a host, and whatever path and query; the error says what was expected.
    pub fn parse(text: &str) -> Result<PushUrl, String> {
        let expected = || {
            "https://host[:port][/path][?query], without a user name and without \"#\"".to_owned()
        };
        let is_plain = |b: u8| b.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&b);
        if text.len() > URL_BYTES_MAX || !text.bytes().all(is_plain) {
            return Err(expected());
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(expected()),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let host = bare_host(host)
            .filter(|_| port.is_none_or(is_port))
            .ok_or_else(expected)?
            .to_ascii_lowercase();
        let scheme = if is_https { "https" } else { "http" };
        let origin = format!("{scheme}://{}", authority.to_ascii_lowercase());
        // A URL without a path has that of the root.
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(PushUrl {
            text: Secret::new(format!("{origin}{slash}{path}")),
            origin,
            host,
            is_https,
        })
    }

    /// All of it: to connect to, never to print.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is `https`.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether what is sent there can be read on the way.
    pub fn is_readable_on_the_way(&self) -> bool {
        !self.is_https && !is_loopback(&self.host)
    }
}

impl fmt::Debug for PushUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/[secret]", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_url() {
        for (text, origin, sent) in [
            (
                "https://hooks.example.com/services/T0/B0/hunter2?token=hunter2",
                "https://hooks.example.com",
                "https://hooks.example.com/services/T0/B0/hunter2?token=hunter2",
            ),
            (
                "HTTPS://Hooks.Example.com:8443",
                "https://hooks.example.com:8443",
                "https://hooks.example.com:8443/",
            ),
            (
                "http://127.0.0.1:5678?hunter2",
                "http://127.0.0.1:5678",
                "http://127.0.0.1:5678/?hunter2",
            ),
            ("http://[::1]:80/x", "http://[::1]:80", "http://[::1]:80/x"),
        ] {
            let url = PushUrl::parse(text).expect(text);
            assert_eq!((url.origin(), url.expose()), (origin, sent));
            assert!(!format!("{url:?}").contains("hunter2"));
            assert!(!url.is_readable_on_the_way(), "{text}");
        }
        for readable in [
            "http://10.0.0.1/x",
            "http://hooks.example.com",
            "http://localhost.evil.test",
        ] {
            assert!(
                PushUrl::parse(readable)
                    .expect("a URL")
                    .is_readable_on_the_way()
            );
        }
        for wrong in [
            "",
            "hooks.example.com",
            "ftp://a.test",
            "https://",
            "https://user@a.test",
            "https://a.test/#x",
            "https://a test/",
            "https://a.test:0/",
            "https://a.test:x/",
            "https://[::1/",
            "https://a..test/",
            "https://a.test/\u{e9}",
        ] {
            let error = PushUrl::parse(wrong).expect_err(wrong);
            assert!(error.starts_with("https://host"));
        }
    }
}
