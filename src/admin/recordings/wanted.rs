//! What a request for recordings asks for.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::admin::files::{self, FileRequest};
use crate::admin::links::request::LinkRequest;
use crate::delivery::live::Access;
use crate::delivery::live::query::decode;
use crate::feed::JournalKey;
use crate::recorder::captions::CaptionFormat;

/// Meetings of an answer, unless the request says otherwise.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 500;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) enum Wanted {
    /// The list.
    Meetings {
        /// Part of topic, speaker, number or id, in lower case.
        text: String,
        limit: usize,
        /// Those behind this one.
        after: Option<JournalKey>,
    },
    /// `meta.json` of one, and its files.
    Meeting(JournalKey),
    /// The captions of one.
    Captions(JournalKey, CaptionFormat),
    /// A link to one, or the end of all links.
    Link(LinkRequest),
    /// A ticket for a file.
    Ticket { key: JournalKey, file: String },
    /// A file.
    File(FileRequest),
}

/// The body of a request for a ticket.
#[derive(Deserialize)]
struct TicketBody {
    key: String,
    file: String,
}

/// The path of requests for links.
const LINKS: &str = "/links";
/// The path of requests for tickets.
const TICKETS: &str = "/tickets";

impl Wanted {
    /// Whether a path is one of these.
    pub(in crate::admin) fn is_path(path: &str) -> bool {
        let begins = ["/meetings/", "/live/"];
        path == "/meetings"
            || Wanted::is_posted(path)
            || files::is_path(path)
            || begins.iter().any(|it| path.starts_with(it))
    }

    /// Whether a request for this path has a body.
    pub(in crate::admin) fn is_posted(path: &str) -> bool {
        path == LINKS || path == TICKETS
    }

    /// Reads a request with a body.
    pub(in crate::admin) fn parse_body(path: &str, body: &[u8]) -> Result<Wanted, (u16, String)> {
        if path == LINKS {
            return LinkRequest::parse(body).map(Wanted::Link);
        }
        let body = serde_json::from_slice(body).ok();
        let ticket = body.and_then(|TicketBody { key, file }| {
            let key = key.parse().ok()?;
            Some(Wanted::Ticket { key, file })
        });
        ticket.ok_or_else(|| {
            let text = "expected {\"key\":\"KEY\",\"file\":\"NAME\"}, the key of a stream and a file of it";
            (400, text.to_owned())
        })
    }

    /// Reads a request; an error is the status and what was expected.
    pub(in crate::admin) fn parse(
        path: &str,
        query: Option<&str>,
    ) -> Result<Wanted, (u16, String)> {
        let parts = parts(query)?;
        let part = |name: &str| parts.get(name).map(String::as_str);
        let unknown = || {
            let text = "here are /meetings?format=json, /meetings/KEY?format=json, /live/KEY.vtt and \
                        /live/KEY.txt";
            (404, text.to_owned())
        };
        if let Some(name) = path.strip_prefix("/live/") {
            let (key, format) = match name.rsplit_once('.') {
                Some((key, "vtt")) => (key, CaptionFormat::Vtt),
                Some((key, "txt")) => (key, CaptionFormat::Txt),
                _ => return Err(unknown()),
            };
            let key = key.parse().map_err(|_| unknown())?;
            return Ok(Wanted::Captions(key, format));
        }
        if part("format") != Some("json") {
            return Err(unknown());
        }
        if let Some(key) = path.strip_prefix("/meetings/") {
            return key.parse().map(Wanted::Meeting).map_err(|_| unknown());
        }
        let expected = |name: &str, what: &str| (400, format!("{name}: expected {what}"));
        let limit = part("limit").map(|text| {
            let limit = text.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n));
            limit.ok_or_else(|| expected("limit", "a number from 1 to 500"))
        });
        let after = part("after").map(|text| {
            text.parse()
                .map_err(|_| expected("after", "the key of a stream, 16 digits from 0 to f"))
        });
        Ok(Wanted::Meetings {
            text: part("q").unwrap_or_default().trim().to_lowercase(),
            limit: limit.transpose()?.unwrap_or(LIMIT),
            after: after.transpose()?,
        })
    }

    /// Whether this may be had: a link is for one stream.
    pub(in crate::admin) fn is_allowed(&self, access: &Access) -> bool {
        match self {
            Wanted::Meetings { .. } | Wanted::Link(_) => *access == Access::All,
            Wanted::Meeting(key)
            | Wanted::Ticket { key, .. }
            | Wanted::File(FileRequest { key, .. }) => access.is_for_files(*key),
            Wanted::Captions(key, _) => access.is_for(*key),
        }
    }
}

/// The ticket of a request for a file.
pub(in crate::admin) fn ticket(query: Option<&str>) -> Option<&str> {
    let mut pairs = query.unwrap_or_default().split('&');
    pairs.find_map(|pair| pair.strip_prefix("t="))
}

/// The parts of a query, decoded.
fn parts<'a>(query: Option<&'a str>) -> Result<BTreeMap<&'a str, String>, (u16, String)> {
    let pairs = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty());
    let pair = |pair: &'a str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Forms write a blank so.
        let value = decode(&value.replace('+', "%20")).filter(|it| !it.contains('\0'));
        let value = value.ok_or_else(|| {
            let text = "the query: expected text in the percent encoding";
            (400, text.to_owned())
        })?;
        Ok((name, value))
    };
    pairs.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::delivery::live::Term;

    #[test]
    fn paths_and_queries() {
        let key: JournalKey = "bdd2d51ed67606f5".parse().expect("a key");
        let list = |text: &str, limit, after| Wanted::Meetings {
            text: text.to_owned(),
            limit,
            after,
        };
        for (path, query, expected) in [
            ("/meetings", "format=json", list("", 50, None)),
            (
                "/meetings",
                "format=json&q=Weekly+Sync&limit=7&after=bdd2d51ed67606f5",
                list("weekly sync", 7, Some(key)),
            ),
            (
                "/meetings/bdd2d51ed67606f5",
                "format=json",
                Wanted::Meeting(key),
            ),
            (
                "/live/bdd2d51ed67606f5.vtt",
                "",
                Wanted::Captions(key, CaptionFormat::Vtt),
            ),
            (
                "/live/bdd2d51ed67606f5.txt",
                "x",
                Wanted::Captions(key, CaptionFormat::Txt),
            ),
        ] {
            assert!(Wanted::is_path(path));
            assert_eq!(
                Wanted::parse(path, Some(query)),
                Ok(expected),
                "{path}?{query}"
            );
        }
        for (path, query, status) in [
            ("/meetings", "", 404),
            ("/meetings/", "format=json", 404),
            ("/meetings/bdd2d5", "format=json", 404),
            ("/meetings/../etc/passwd", "format=json", 404),
            ("/live/bdd2d51ed67606f5", "", 404),
            ("/live/bdd2d51ed67606f5.srt", "", 404),
            ("/live/.vtt", "", 404),
            ("/meetings", "format=json&limit=0", 400),
            ("/meetings", "format=json&limit=501", 400),
            ("/meetings", "format=json&after=x", 400),
            ("/meetings", "format=json&q=%ff", 400),
        ] {
            let found = Wanted::parse(path, Some(query));
            assert_eq!(
                found.map_err(|(status, _)| status),
                Err(status),
                "{path}?{query}"
            );
        }
    }

    #[test]
    fn g3_a_link_is_for_the_captions_of_one_stream_and_perhaps_its_files() {
        let key = |n: u8| format!("{n:016x}").parse().expect("a key");
        let captions = |n| Wanted::Captions(key(n), CaptionFormat::Vtt);
        let link = |has_files| Access::Stream {
            key: key(1),
            has_files,
            term: Term {
                expires_ms: u64::MAX,
                is_ended: Arc::default(),
            },
        };
        let (short, long) = (&link(false), &link(true));
        let list = Wanted::parse("/meetings", Some("format=json")).expect("the list");
        assert!(list.is_allowed(&Access::All) && !list.is_allowed(long));
        assert!(captions(1).is_allowed(short) && !captions(2).is_allowed(long));
        assert!(Wanted::Meeting(key(1)).is_allowed(long));
        assert!(!Wanted::Meeting(key(1)).is_allowed(short));
        assert!(!Wanted::Meeting(key(2)).is_allowed(long));
        assert!(!Wanted::Link(LinkRequest::RevokeAll).is_allowed(long));
    }
}
