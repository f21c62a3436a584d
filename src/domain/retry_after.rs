//! `Retry-After`: how long the other side asks us to wait.

use std::time::{Duration, SystemTime};

/// Reads seconds or a date (RFC 9110, section 10.2.3). `now` is the `Date` of the same answer where
/// there is one, so that our clock does not matter.
pub fn parse(text: &str, now: SystemTime) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Only a number too large for 64 bits does not parse.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        for (text, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("86400", Some(86_400)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(86_400)),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("1.5", None),
        ] {
            let after = parse(text, now).map(|after| after.as_secs());
            assert_eq!(after, seconds, "{text:?}");
        }
    }
}
