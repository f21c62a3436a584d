//! A request to the live feed or for live media: its `Host`, `Origin`, query and `Last-Event-ID`, and what
//! a client says then. Never panics; what is accepted is within its limits.

use crate::admin::host::{AdminUrl, Authority, is_own_origin};
use crate::delivery::live::query::{Ask, Form, LIMIT_MAX, WAIT_S_MAX};
use crate::delivery::media::query;
use crate::delivery::media::wire::Listener;

/// Panics where the above does not hold. Lines: `Host`, `Origin`, `Last-Event-ID`, `Accept`, query.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (host, origin, last_id, accept, query) = (next(), next(), next(), next(), next());
    let parsed = Authority::parse(host);
    if parsed.as_ref().is_some_and(Authority::is_loopback) {
        let lower = host.to_ascii_lowercase();
        let begins = ["localhost", "127.", "[:", "[0"];
        assert!(begins.iter().any(|it| lower.starts_with(it)), "{host}");
    }
    // An origin is one's own only if it names the same host.
    if is_own_origin(origin, parsed.as_ref(), None) {
        let rest = origin.split_once("://").map_or("", |(_, rest)| rest);
        let other = Authority::parse(rest).expect("an authority");
        assert!(parsed.is_some_and(|host| host.has_host_of(&other)));
    }
    if let Ok(url) = AdminUrl::parse(origin) {
        assert!(!url.to_string().contains(['?', '#', '@', ' ']));
        assert_eq!(AdminUrl::parse(&url.to_string()).as_ref(), Ok(&url));
    }
    if let Ok(ask) = query::Ask::parse(Some(query)) {
        let name = &ask.stream;
        assert!(!name.is_empty() && name.len() <= 256 && !name.contains(char::is_control));
    }
    let mut listener = Listener::default();
    listener.push(bytes);
    while let Ok(Some(_)) = listener.hear() {}
    let Ok(ask) = Ask::parse(Some(query), Some(last_id), Some(accept)) else {
        // Without a query nothing is malformed.
        assert!(Ask::parse(None, Some(last_id), Some(accept)).is_ok());
        return;
    };
    if let Some(pos) = ask.last_pos {
        assert_eq!(format!("{pos:016}"), last_id.trim());
    }
    let names = [&ask.stream, &ask.meeting];
    for name in names.into_iter().flatten() {
        assert!(!name.is_empty() && name.len() <= 256 && !name.contains(char::is_control));
    }
    assert!(ask.stream.is_none() || ask.meeting.is_none());
    if let Form::Page { wait_s, limit } = ask.form {
        assert!(wait_s <= WAIT_S_MAX && (1..=LIMIT_MAX).contains(&limit));
    }
}
