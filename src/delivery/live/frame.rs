//! Answers as bytes: the heads, events in both forms, and the end of a page.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::interest::Event;
use super::query::Form;
use crate::feed::line::POS_RANGE;

/// A comment, sent while there is nothing else. No empty line follows it: clients in use take one for
/// an event once they know an id or a `retry`.
pub const PING: &[u8] = b":\n";
/// What follows the head of server-sent events.
const OPENING: &str = "retry: 2000\n:\n";
/// What a page begins with.
const PAGE: &str = "{\"v\":1,\"events\":[";

/// The head of a 200 answer and what precedes its first event. `date` is for the `Date` field.
pub fn opening(form: Form, date: &str) -> Vec<u8> {
    let (kind, more, begin) = match form {
        Form::Sse { .. } => ("text/event-stream", "X-Accel-Buffering: no\r\n", OPENING),
        Form::Page { .. } => ("application/json", "", PAGE),
    };
    let text = format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\n\
         {more}Connection: close\r\n\r\n{begin}"
    );
    text.into_bytes()
}

/// Appends an event, the first of its answer or a later one.
pub fn event(out: &mut Vec<u8>, form: Form, event: &Event<'_>, is_first: bool) {
    let line = &event.line;
    let mut add = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    match form {
        Form::Sse { has_names } => {
            let pos = line.bytes.get(POS_RANGE).unwrap_or_default();
            add(&[b"id: ", pos, b"\n"]);
            if has_names {
                add(&[b"event: ", line.kind.as_bytes(), b"\n"]);
            }
            add(&[b"data: ", line.bytes, b"\n\n"]);
        }
        Form::Page { .. } => {
            let comma: &[u8] = if is_first { b"" } else { b"," };
            add(&[comma, line.bytes]);
        }
    }
}

/// The end of a page: the position up to which was looked, whether to ask again at once, and whether
/// nothing more will come.
pub fn page_end(next: u64, is_more: bool, is_ended: bool) -> Vec<u8> {
    let ended = if is_ended { ",\"ended\":true" } else { "" };
    let width = POS_RANGE.len();
    format!("],\"next\":\"{next:0width$}\",\"more\":{is_more}{ended}}}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::interest::tests::line;
    use super::*;
    use crate::feed::kind;
    use crate::feed::line::Line;

    const SSE: Form = Form::Sse { has_names: false };
    const PAGE: Form = Form::Page {
        wait_s: 0,
        limit: 9,
    };

    fn framed(form: Form, is_first: bool) -> String {
        let line = line(1, 4, 1_795_529_590_941_007, kind::STREAM_ENDED);
        let found = Event::new(Line::parse(&line).expect("a line"));
        let mut out = Vec::new();
        event(&mut out, form, &found, is_first);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn an_event_is_an_id_a_line_of_data_and_an_empty_line() {
        let text = framed(SSE, true);
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "id: 1795529590941007");
        assert!(lines[1].starts_with("data: {\"pos\":\"1795529590941007\",\"seq\":4,"));
        assert!(lines[1].ends_with("}}"));
        assert_eq!(lines[2..], ["", ""]);
        let named = framed(Form::Sse { has_names: true }, true);
        assert!(named.starts_with("id: 1795529590941007\nevent: stream.ended\ndata: {"));
    }

    #[test]
    fn l7_an_empty_line_stands_only_behind_data() {
        let body = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("ASCII");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(
                head.starts_with("HTTP/1.1 200 OK\r\nDate: now\r\n"),
                "{head}"
            );
            assert!(head.contains("\r\nCache-Control: no-store\r\n"));
            assert!(!head.contains("Length") && !head.contains("Encoding"));
            (head.to_owned(), body.to_owned())
        };
        let (head, body) = body(opening(SSE, "now"));
        assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"));
        assert!(head.contains("\r\nX-Accel-Buffering: no\r\n"));
        assert_eq!(body, "retry: 2000\n:\n");
        assert_eq!(PING, b":\n");
    }

    #[test]
    fn l3_a_page_is_one_json_object_with_the_place_to_go_on_from() {
        let head = opening(PAGE, "now");
        let text = String::from_utf8(head).expect("ASCII");
        let (_, begin) = text.split_once("\r\n\r\n").expect("a head");
        let end = |next, is_more, is_ended| {
            String::from_utf8(page_end(next, is_more, is_ended)).expect("ASCII")
        };
        let page = format!(
            "{begin}{}{}{}",
            framed(PAGE, true),
            framed(PAGE, false),
            end(7, true, false)
        );
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        assert_eq!(page["events"].as_array().map(Vec::len), Some(2));
        assert_eq!(page["events"][1]["type"], "stream.ended");
        assert_eq!(
            (&page["v"], &page["next"], &page["more"]),
            (&1.into(), &"0000000000000007".into(), &true.into())
        );
        let empty: serde_json::Value =
            serde_json::from_str(&format!("{begin}{}", end(7, false, true))).expect("JSON");
        assert_eq!(empty["ended"], true);
    }
}
