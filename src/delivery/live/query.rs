//! What a request for events asks for: its query, `Last-Event-ID` and `Accept`.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::domain::time;
use crate::feed::key::JournalKey;
use crate::feed::kind::KindFilter;
use crate::feed::line::POS_RANGE;

/// Longest wait of a page for its first event, seconds.
pub const WAIT_S_MAX: u8 = 25;
/// Events of a page, unless the request says otherwise.
pub const LIMIT: u16 = 100;
/// Most events of a page.
pub const LIMIT_MAX: u16 = 1_000;
/// No stream and no meeting has a longer name.
const NAME_BYTES_MAX: usize = 256;

/// A request for events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Of this stream alone: a key, a stream id, or the beginning of one.
    pub stream: Option<String>,
    /// Of this meeting alone: its number or UUID.
    pub meeting: Option<String>,
    /// Of these types alone.
    pub kinds: KindFilter,
    /// Where the client was, by its `Last-Event-ID`; a position in the future is none.
    pub last_pos: Option<u64>,
    /// Where to begin otherwise.
    pub after: After,
    /// The form of the answer.
    pub form: Form,
}

/// `after=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// With what is written from now on.
    Now,
    /// With the first line of what runs, or of the stream or meeting that is named.
    Begin,
    /// After this position.
    Pos(u64),
    /// After this event.
    Event {
        /// Of this journal.
        key: JournalKey,
        /// Its number.
        seq: u64,
    },
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Server-sent events.
    Sse {
        /// With an `event` field, the type.
        has_names: bool,
    },
    /// One JSON object.
    Page {
        /// Seconds to wait for the first event.
        wait_s: u8,
        /// Most events.
        limit: u16,
    },
}

impl Ask {
    /// Reads a request; the error says what was expected of which part.
    ///
    /// # Errors
    /// A part of the query that is there and malformed. A malformed `Last-Event-ID` counts as absent,
    /// because a browser would never come again after a refusal.
    pub fn parse(
        query: Option<&str>,
        last_event_id: Option<&str>,
        accept: Option<&str>,
    ) -> Result<Ask, String> {
        let mut parts = Parts::default();
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parts.set(name, value)?;
        }
        if parts.stream.is_some() && parts.meeting.is_some() {
            return Err("stream and meeting: expected one of them".to_owned());
        }
        let is_page = parts.wait_s.is_some() || accept.is_some_and(prefers_json);
        Ok(Ask {
            stream: parts.stream,
            meeting: parts.meeting,
            kinds: parts.kinds,
            last_pos: last_event_id.and_then(|text| pos(text.trim())),
            after: parts.after.unwrap_or(After::Now),
            form: match is_page {
                true => Form::Page {
                    wait_s: parts.wait_s.unwrap_or(0),
                    limit: parts.limit.unwrap_or(LIMIT),
                },
                false => Form::Sse {
                    has_names: parts.has_names,
                },
            },
        })
    }
}

#[derive(Default)]
struct Parts {
    stream: Option<String>,
    meeting: Option<String>,
    kinds: KindFilter,
    after: Option<After>,
    wait_s: Option<u8>,
    limit: Option<u16>,
    has_names: bool,
}

impl Parts {
    /// Takes one part; an unknown one is ignored, as browsers' libraries add some of their own.
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let value = match name {
            "stream" | "meeting" | "types" | "after" | "wait" | "limit" | "event" => decode(value)
                .ok_or_else(|| format!("{name}: expected text in the percent encoding"))?,
            _ => return Ok(()),
        };
        let expected = |what: &str| format!("{name}: expected {what}");
        match name {
            "stream" | "meeting" => {
                let is_plain = |c: char| !c.is_control();
                if value.is_empty() || value.len() > NAME_BYTES_MAX || !value.chars().all(is_plain)
                {
                    return Err(expected("a name of at most 256 bytes"));
                }
                match name {
                    "stream" => self.stream = Some(value),
                    _ => self.meeting = Some(value),
                }
            }
            "types" => {
                self.kinds = KindFilter::from_text(&value).map_err(|what| expected(&what))?
            }
            "after" => {
                let what =
                    "now, begin, a pos, an event's id, or a time, as in 2026-11-24T14:13:10Z";
                self.after = Some(after(&value).ok_or_else(|| expected(what))?);
            }
            "wait" => {
                let wait_s = number(&value).filter(|n| *n <= u16::from(WAIT_S_MAX));
                let wait_s = wait_s.and_then(|n| u8::try_from(n).ok());
                self.wait_s = Some(wait_s.ok_or_else(|| expected("seconds from 0 to 25"))?);
            }
            "limit" => {
                let limit = number(&value).filter(|n| (1..=LIMIT_MAX).contains(n));
                self.limit = Some(limit.ok_or_else(|| expected("a number from 1 to 1000"))?);
            }
            _ => {
                self.has_names = match value.as_str() {
                    "on" => true,
                    "off" => false,
                    _ => return Err(expected("on or off")),
                };
            }
        }
        Ok(())
    }
}

fn number(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// A position: 16 digits.
fn pos(text: &str) -> Option<u64> {
    let is_pos = text.len() == POS_RANGE.len() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_pos)
}

fn after(text: &str) -> Option<After> {
    match text {
        "now" => return Some(After::Now),
        "begin" => return Some(After::Begin),
        _ => {}
    }
    if let Some(pos) = pos(text) {
        return Some(After::Pos(pos));
    }
    if let Some((key, seq)) = text.split_once('-')
        && let Ok(key) = key.parse()
        && seq.bytes().all(|b| b.is_ascii_digit())
        && let Ok(seq) = seq.parse()
    {
        return Some(After::Event { key, seq });
    }
    let ms = time::parse_unix_ms(text)?;
    Some(After::Pos(ms.saturating_mul(1000)))
}

/// The text of a percent-encoded value; `None` if it is none. `+` stays: UUIDs and times have some, and
/// nothing that is asked for has a blank.
pub(crate) fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        let digit = |b: &u8| char::from(*b).to_digit(16);
        let (high, low) = (digit(&digits[0])?, digit(&digits[1])?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Whether a client wants JSON: it names it, and not the event stream.
fn prefers_json(accept: &str) -> bool {
    let mut names_json = false;
    for kind in accept.split(',') {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("text/event-stream") {
            return false;
        }
        names_json |= kind.eq_ignore_ascii_case("application/json");
    }
    names_json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Result<Ask, String> {
        Ask::parse(Some(query), None, None)
    }

    #[test]
    fn without_a_query_everything_from_now_on_is_sent_as_sse() {
        let plain = Ask::parse(None, None, None).expect("a request");
        assert_eq!(plain.after, After::Now);
        assert_eq!(plain.form, Form::Sse { has_names: false });
        assert_eq!(
            (plain.stream, plain.meeting, plain.last_pos),
            (None, None, None)
        );
        assert!(plain.kinds.wants("of.the.future"));
        assert_eq!(ask("_=123&&x"), Ask::parse(None, None, None));
    }

    #[test]
    fn each_part_of_the_query_is_read() {
        let some = ask("stream=bdd2d5&types=transcript.*%2Cstream.ended&event=on").expect("one");
        assert_eq!(some.stream.as_deref(), Some("bdd2d5"));
        assert!(some.kinds.wants("stream.ended") && !some.kinds.wants("chat.message"));
        assert_eq!(some.form, Form::Sse { has_names: true });
        let meeting = ask("meeting=a%2Fb+c%3D%3D").expect("one").meeting;
        assert_eq!(meeting.as_deref(), Some("a/b+c=="));
        let key = "bdd2d51ed67606f5".parse().expect("a key");
        for (text, expected) in [
            ("now", After::Now),
            ("begin", After::Begin),
            ("1795529590941007", After::Pos(1_795_529_590_941_007)),
            ("bdd2d51ed67606f5-42", After::Event { key, seq: 42 }),
            ("2026-11-24T14:13:10Z", After::Pos(1_795_529_590_000_000)),
            (
                "2026-11-24T15:13:10+01:00",
                After::Pos(1_795_529_590_000_000),
            ),
        ] {
            assert_eq!(ask(&format!("after={text}")).expect(text).after, expected);
        }
    }

    #[test]
    fn l3_json_is_asked_for_by_wait_or_accept() {
        let form = |query: &str, accept: &str| {
            let ask = Ask::parse(Some(query), None, Some(accept));
            ask.expect("a request").form
        };
        let page = |wait_s, limit| Form::Page { wait_s, limit };
        assert_eq!(form("wait=25&limit=1000", "*/*"), page(25, 1000));
        assert_eq!(form("", "application/json"), page(0, LIMIT));
        assert_eq!(
            form("limit=7", "text/html, Application/JSON;q=0.9"),
            page(0, 7)
        );
        let sse = Form::Sse { has_names: false };
        assert_eq!(form("", "text/event-stream, application/json"), sse);
        assert_eq!(form("limit=7", "*/*"), sse);
    }

    #[test]
    fn l2_what_is_malformed_is_refused_and_a_last_event_id_never() {
        for query in [
            "after=",
            "after=yesterday",
            "after=179552959094100",
            "after=-1",
            "after=bdd2d51ed67606f5-",
            "after=bdd2d51ed67606f5-+1",
            "after=bdd2d51ed67606f5-99999999999999999999",
            "types=",
            "types=transcript",
            "types=%zz",
            "wait=26",
            "wait=-1",
            "wait=",
            "wait=1.5",
            "limit=0",
            "limit=1001",
            "event=yes",
            "stream=",
            "stream=%ff",
            "stream=a%00b",
            "stream=abcdef&meeting=1",
        ] {
            let error = ask(query).expect_err(query);
            assert!(error.contains("expected"), "{error}");
        }
        let long = format!("stream={}", "x".repeat(257));
        assert!(ask(&long).is_err());
        let last = |id: &str| {
            let ask = Ask::parse(None, Some(id), None);
            ask.expect("never refused").last_pos
        };
        assert_eq!(last(" 1795529590941007 "), Some(1_795_529_590_941_007));
        for id in [
            "",
            "x",
            "bdd2d51ed67606f5-42",
            "17955295909410070",
            "-795529590941007",
        ] {
            assert_eq!(last(id), None, "{id}");
        }
    }
}
