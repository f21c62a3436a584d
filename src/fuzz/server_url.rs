//! `server_urls`: whatever passes is an allowed host and nothing else, also for the library that
//! connects, and judging it again changes nothing.

use crate::protocol::server_url::{AllowedHosts, ServerUrl, URL_BYTES_MAX};

/// Panics where the above does not hold.
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
        // What the WebSocket library would send as Host is the host that was judged.
        if let Ok(uri) = written.parse::<ureq::http::Uri>() {
            assert_eq!(uri.host(), Some(host));
            assert_eq!(uri.port_u16(), Some(url.port()));
            assert_eq!(uri.scheme_str(), Some("wss"));
        }
    }
    // The operator's own entries, judged by the same reader.
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
