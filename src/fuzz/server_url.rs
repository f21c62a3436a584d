//! Fuzz target for `server_urls`: an accepted URL has an allowed host, also as the connecting
//! library reads it, and parsing it again changes nothing.

use crate::protocol::server_url::{AllowedHosts, ServerUrl, URL_BYTES_MAX};

/// Panics if one of these does not hold.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let zoom = AllowedHosts::default();
    if let Ok(url) = ServerUrl::parse(text, &zoom) {
        let host = url.host();
        let below = [".zoom.us", ".zoom.com", ".zoomgov.com"];
        assert!(below.iter().any(|domain| host.ends_with(domain)), "{host}");
        assert!(url.is_tls() && url.port() != 0);
        assert!(
            host.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        );
        let written = url.to_string();
        // A port or a slash may have been added.
        assert!(written.len() <= URL_BYTES_MAX + ":65535/".len());
        if let Ok(again) = ServerUrl::parse(&written, &zoom) {
            assert_eq!(again, url);
        } else {
            assert!(written.len() > URL_BYTES_MAX);
        }
        // The Host that the WebSocket library would send is the host that was checked.
        if let Ok(uri) = written.parse::<ureq::http::Uri>() {
            assert_eq!(uri.host(), Some(host));
            assert_eq!(uri.port_u16(), Some(url.port()));
            assert_eq!(uri.scheme_str(), Some("wss"));
        }
    }
    // The operator's own entries, with the same parser.
    let mut lines = text.lines();
    let entry = lines.next().unwrap_or_default();
    if let Ok(allowed) = AllowedHosts::parse(entry) {
        for line in lines {
            if let Ok(url) = ServerUrl::parse(line, &allowed) {
                assert!(url.is_tls() || entry.to_ascii_lowercase().contains("ws://"));
            }
        }
    }
}
