//! `ZOOM_EVENTS_URL`: the address of an event subscription, as the app's page at Zoom shows it.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::protocol::server_url::{AllowedHosts, ServerUrl, UrlError};

/// Maximum bytes of the address.
const BYTES_MAX: usize = 1024;

/// An address whose form was checked. Whether its host is allowed depends on `RTMS_ALLOWED_HOSTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsUrl(String);

impl EventsUrl {
    /// Checks the form.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn parse(text: &str) -> Result<EventsUrl, String> {
        let expected =
            "the address on the app's page, as in wss://ws.zoom.us/ws?subscriptionId=abc123";
        let is_plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b);
        let lower = text.to_ascii_lowercase();
        let has_scheme = lower.starts_with("wss://") || lower.starts_with("ws://");
        let names_subscription =
            lower.contains("?subscriptionid=") || lower.contains("&subscriptionid=");
        if lower.contains("access_token=") {
            return Err(format!(
                "{expected}, without access_token: rtmsd adds its own"
            ));
        }
        match has_scheme
            && names_subscription
            && text.len() <= BYTES_MAX
            && text.bytes().all(is_plain)
        {
            true => Ok(EventsUrl(text.to_owned())),
            false => Err(expected.to_owned()),
        }
    }

    /// The server, if it may be connected to.
    ///
    /// # Errors
    /// The host is not allowed, or plain `ws` is not.
    pub fn server(&self, allowed: &AllowedHosts) -> Result<ServerUrl, UrlError> {
        ServerUrl::parse(&self.0, allowed)
    }

    /// The subscription that it names. Zoom has one connection for each.
    pub fn subscription(&self) -> &str {
        let query = self.0.split_once('?').map_or("", |(_, query)| query);
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| key.eq_ignore_ascii_case("subscriptionId"));
        found.map_or("", |(_, id)| id)
    }

    /// As it was given. It is no secret: the token is added when connecting.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_copy_them() {
        for text in [
            "wss://ws.zoom.us/ws?subscriptionId=s2f_4Bbq",
            "WSS://ws.zoom.us/ws?a=b&subscriptionId=s2f",
            "ws://127.0.0.1:4000/ws?subscriptionId=a",
        ] {
            let url = EventsUrl::parse(text).expect(text);
            assert_eq!(url.as_str(), text);
            assert!(
                text.ends_with(&format!("={}", url.subscription())),
                "{text}"
            );
            assert!(!url.subscription().is_empty(), "{text}");
        }
        for text in [
            "",
            "https://ws.zoom.us/ws?subscriptionId=a",
            "wss://ws.zoom.us/ws",
            "wss://ws.zoom.us/ws?subscriptionId=a b",
            "wss://ws.zoom.us/ws?subscriptionId=a&access_token=eyJ",
            "wss://ws.zoom.us/ws?subscriptionId=a#x",
        ] {
            assert!(EventsUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_allowed_hosts_are_connected_to() {
        let zoom = AllowedHosts::default();
        let at = |text: &str, hosts: &AllowedHosts| {
            EventsUrl::parse(text)
                .expect("a form")
                .server(hosts)
                .is_ok()
        };
        assert!(at("wss://ws.zoom.us/ws?subscriptionId=a", &zoom));
        assert!(!at(
            "wss://ws.zoom.us.example.com/ws?subscriptionId=a",
            &zoom
        ));
        assert!(!at("wss://x@ws.zoom.us/ws?subscriptionId=a", &zoom));
        assert!(!at("ws://127.0.0.1/ws?subscriptionId=a", &zoom));
        let local = AllowedHosts::parse("ws://127.0.0.1").expect("a host");
        assert!(at("ws://127.0.0.1/ws?subscriptionId=a", &local));
    }
}
