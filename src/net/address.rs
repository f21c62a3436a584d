//! Base addresses of Zoom's clouds: `ZOOM_API_URL`, `ZOOM_OAUTH_URL`.

use ureq::http::Uri;

pub(crate) use crate::protocol::server_url::AllowedHosts;
use crate::protocol::server_url::is_loopback;

const EXPECTED: &str = "expected https://HOST, or http:// to a loopback address";

/// An address that tokens may be sent to: `https`, or `http` to loopback, without user info.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Without a slash at the end.
    text: String,
    /// Without brackets.
    host: String,
    https: bool,
}

impl Address {
    /// Parses an address. The error says what is wrong with it: "found …, expected …".
    pub(crate) fn parse(text: &str) -> Result<Address, String> {
        let address = Address::parse_with_http(text)?;
        match address.https || address.is_loopback() {
            true => Ok(address),
            false => Err(format!("found http to another machine, {EXPECTED}")),
        }
    }

    /// Likewise, but `http` may lead to another machine.
    pub(crate) fn parse_with_http(text: &str) -> Result<Address, String> {
        let uri: Uri = text
            .parse()
            .map_err(|_| format!("found no address, {EXPECTED}"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("found no scheme or no host, {EXPECTED}"));
        };
        if authority.as_str().contains('@') {
            return Err(format!("found a user name, {EXPECTED}"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(format!("found a query, {EXPECTED}"));
        }
        let host = authority.host();
        let address = Address {
            text: text.trim_end_matches('/').to_owned(),
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_ascii_lowercase(),
            https: scheme == "https",
        };
        match scheme {
            "https" | "http" => Ok(address),
            _ => Err(format!("found another scheme, {EXPECTED}")),
        }
    }

    /// Host, and port where it is not the usual one: what `Host` says.
    pub(crate) fn authority(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let usual = if self.https { ":443" } else { ":80" };
        authority.strip_suffix(usual).unwrap_or(authority)
    }

    /// What follows the host, without a slash at its end.
    pub(crate) fn path(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        rest.find('/').map_or("", |at| &rest[at..])
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// Whether there is more than a host and a port.
    pub(crate) fn has_path(&self) -> bool {
        let host = self.text.split_once("://").map_or("", |(_, rest)| rest);
        host.contains('/')
    }

    /// Whether a stream could be at this host, too: REST calls go to no other.
    pub(crate) fn is_allowed(&self, hosts: &AllowedHosts) -> bool {
        hosts.allows(self.https, &self.host)
    }

    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_only_to_safe_addresses() {
        for text in [
            "https://api.zoom.us",
            "https://api.zoomgov.com/",
            "https://zoom.us/oauth/token",
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://[::1]:8080/",
        ] {
            let address = Address::parse(text).unwrap();
            assert!(!address.text().ends_with('/'));
        }
        for text in [
            "",
            "api.zoom.us",
            "/v2",
            "http://api.zoom.us",
            "http://127.0.0.1.example.test",
            "ftp://127.0.0.1",
            "https://user:hunter2@api.zoom.us",
            "https://api.zoom.us/?a=b",
            "https://api.zoom.us/#a",
            "https://",
        ] {
            let fault = Address::parse(text).unwrap_err();
            assert!(!fault.contains("hunter2"));
        }
    }

    #[test]
    fn host_and_path_of_an_address() {
        for (text, authority, path, is_https) in [
            ("https://s3.example.com", "s3.example.com", "", true),
            (
                "https://s3.example.com:443/a/b/",
                "s3.example.com",
                "/a/b",
                true,
            ),
            ("http://minio.lan:9000", "minio.lan:9000", "", false),
            ("http://10.0.0.7:80/s3", "10.0.0.7", "/s3", false),
            ("http://[fd00::1]:9000", "[fd00::1]:9000", "", false),
        ] {
            let address = Address::parse_with_http(text).expect(text);
            assert_eq!(
                (address.authority(), address.path(), address.is_https()),
                (authority, path, is_https)
            );
        }
        assert!(Address::parse_with_http("http://user:hunter2@a").is_err());
        assert!(Address::parse_with_http("ftp://a").is_err());
    }
}
