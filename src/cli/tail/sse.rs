//! A parser of server-sent events (WHATWG HTML, section 9.2): bytes in, events out.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::Duration;

use memchr::memchr2;

/// Maximum bytes of one line, or of the data of one event. A line of the journal has at most a few MiB,
/// as much as a message from Zoom.
pub(super) const EVENT_BYTES_MAX: usize = 16 << 20;

/// The byte order mark, which may stand at the start of a stream.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// An event, as it is dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event<'a> {
    /// Its id, or that of the last event with one; empty before the first.
    pub(super) id: &'a str,
    /// Its type: `message` if it names none.
    pub(super) kind: &'a str,
    /// The data; lines are separated by LF.
    pub(super) data: &'a str,
}

/// More than [`EVENT_BYTES_MAX`] bytes without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// The parser, which outlives connections: the last id and the reconnection time are those of the last
/// connection that had one.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// A line without its end.
    line: Vec<u8>,
    /// The last byte was a CR: an LF after it belongs to the same line end.
    is_after_cr: bool,
    /// Whether a line was seen on this connection; a mark may stand before the first alone.
    has_begun: bool,
    data: String,
    kind: String,
    /// The id of the event that is being read, which is that of the one before if it has none.
    id: String,
    /// The id of the last event that ended.
    last_id: String,
    retry: Option<Duration>,
}

impl Parser {
    /// With the id from which to continue; empty for none.
    pub(super) fn new(last_id: &str) -> Parser {
        Parser {
            id: last_id.to_owned(),
            last_id: last_id.to_owned(),
            ..Parser::default()
        }
    }

    /// The id to continue from: that of the last event that ended.
    pub(super) fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How long to wait before a new connection, if the server said so.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// A new connection begins. An event that the end of the last one cut off is discarded.
    pub(super) fn restart(&mut self) {
        self.line.clear();
        self.is_after_cr = false;
        self.has_begun = false;
        self.data.clear();
        self.kind.clear();
        self.id.clone_from(&self.last_id);
    }

    /// Takes what has arrived, cut anywhere, and calls `dispatch` with each event that is complete.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        mut dispatch: impl FnMut(Event<'_>),
    ) -> Result<(), TooLong> {
        let Some(first) = bytes.first() else {
            return Ok(());
        };
        if std::mem::take(&mut self.is_after_cr) && *first == b'\n' {
            bytes = &bytes[1..];
        }
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (text, rest) = bytes.split_at(end);
            let is_cr = rest[0] == b'\r';
            bytes = &rest[1..];
            match bytes.first() {
                Some(b'\n') if is_cr => bytes = &bytes[1..],
                None if is_cr => self.is_after_cr = true,
                _ => {}
            }
            if self.line.is_empty() {
                self.take_line(text, &mut dispatch)?;
            } else {
                self.hold(text)?;
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut dispatch)?;
                self.line = line;
                self.line.clear();
            }
        }
        self.hold(bytes)
    }

    /// Keeps the start of a line.
    fn hold(&mut self, text: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + text.len() > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        self.line.extend_from_slice(text);
        Ok(())
    }

    fn take_line(
        &mut self,
        line: &[u8],
        dispatch: &mut impl FnMut(Event<'_>),
    ) -> Result<(), TooLong> {
        let line = match std::mem::replace(&mut self.has_begun, true) {
            true => line,
            false => line.strip_prefix(MARK).unwrap_or(line),
        };
        if line.is_empty() {
            self.end_event(dispatch);
            return Ok(());
        }
        // Characters that are not UTF-8 are replaced. The signs that matter here are ASCII.
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.data.len() + value.len() >= EVENT_BYTES_MAX {
                    return Err(TooLong);
                }
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "event" => value.clone_into(&mut self.kind),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                let ms = value.parse().unwrap_or(u64::MAX);
                self.retry = Some(Duration::from_millis(ms));
            }
            // A comment, whose field is empty, or a field of a later version.
            _ => {}
        }
        Ok(())
    }

    /// The empty line behind an event.
    fn end_event(&mut self, dispatch: &mut impl FnMut(Event<'_>)) {
        self.last_id.clone_from(&self.id);
        if let Some(data) = self.data.strip_suffix('\n') {
            dispatch(Event {
                id: &self.last_id,
                kind: match self.kind.as_str() {
                    "" => "message",
                    kind => kind,
                },
                data,
            });
        }
        self.data.clear();
        self.kind.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a stream that arrives in pieces of that size, as `id|type|data`.
    fn events(parser: &mut Parser, stream: &[u8], step: usize) -> Vec<String> {
        let mut found = Vec::new();
        for piece in stream.chunks(step) {
            let taken = parser.push(piece, |event| {
                found.push(format!("{}|{}|{}", event.id, event.kind, event.data));
            });
            assert_eq!(taken, Ok(()));
        }
        found
    }

    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        for step in 1..=stream.len().max(1) {
            let mut parser = Parser::default();
            let found = events(&mut parser, stream.as_bytes(), step);
            assert_eq!(found, expected, "{stream:?} in pieces of {step}");
        }
    }

    #[test]
    fn l9_an_empty_line_dispatches() {
        check(
            "id: 7\ndata: {\"a\":1}\n\nid: 8\ndata: b\n\n",
            &["7|message|{\"a\":1}", "8|message|b"],
        );
        check("data: a\n", &[]);
        check("\n\n\n", &[]);
    }

    #[test]
    fn l9_lines_end_in_lf_cr_or_both() {
        for stream in [
            "id: 1\ndata: a\n\ndata: b\n\n",
            "id: 1\r\ndata: a\r\n\r\ndata: b\r\n\r\n",
            "id: 1\rdata: a\r\rdata: b\r\r",
            "id: 1\r\ndata: a\r\rdata: b\n\r\n",
        ] {
            check(stream, &["1|message|a", "1|message|b"]);
        }
        // CR LF is one end of a line, LF CR are two.
        check("data: a\n\rdata: b\r\n\r\n", &["|message|a", "|message|b"]);
    }

    #[test]
    fn l9_one_space_after_the_colon_is_dropped() {
        check("data:a\n\n", &["|message|a"]);
        check("data:  a \n\n", &["|message| a "]);
        check("data:\ta\n\n", &["|message|\ta"]);
        check("data: a: b\n\n", &["|message|a: b"]);
    }

    #[test]
    fn l9_several_lines_of_data_are_joined() {
        check("data: a\ndata\ndata: b\n\n", &["|message|a\n\nb"]);
        // The example of the specification: one empty line of data, and two.
        check("data\n\ndata\ndata\n\ndata:", &["|message|", "|message|\n"]);
    }

    #[test]
    fn l9_comments_and_other_fields_are_ignored() {
        check(
            ":\n: ping\ndata: a\n:data: b\ndate: c\nDATA: d\n data: e\nunknown\n\n",
            &["|message|a"],
        );
    }

    #[test]
    fn l9_an_event_may_have_a_type_which_is_its_own_alone() {
        check(
            "event: stream.ended\ndata: a\n\ndata: b\n\nevent: x\nevent: y\ndata: c\n\n",
            &["|stream.ended|a", "|message|b", "|y|c"],
        );
        // Without data nothing is dispatched, and the type is forgotten.
        check("event: x\n\ndata: a\n\n", &["|message|a"]);
    }

    #[test]
    fn l9_an_id_stays_until_the_next_one_and_holds_no_nul() {
        check(
            "id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n",
            &["1|message|a", "1|message|b", "1|message|c", "|message|d"],
        );
        // An id without data counts at its empty line.
        let mut parser = Parser::default();
        assert_eq!(events(&mut parser, b"id: 5\n", 1), [""; 0]);
        assert_eq!(parser.last_id(), "");
        assert_eq!(events(&mut parser, b"\n", 1), [""; 0]);
        assert_eq!(parser.last_id(), "5");
    }

    #[test]
    fn l9_a_reconnection_time_has_digits_alone() {
        for (stream, expected) in [
            ("retry: 2000\n", Some(2000)),
            ("retry:0\n", Some(0)),
            ("retry: 2000\nretry: 1.5\nretry: \nretry: -1\n", Some(2000)),
            ("retry: 2s\n", None),
            ("retry: 99999999999999999999\n", Some(u64::MAX)),
        ] {
            let mut parser = Parser::default();
            assert_eq!(events(&mut parser, stream.as_bytes(), 3), [""; 0]);
            let expected = expected.map(Duration::from_millis);
            assert_eq!(parser.retry(), expected, "{stream:?}");
        }
    }

    #[test]
    fn l9_an_event_that_is_cut_off_is_discarded_and_the_last_id_kept() {
        let stream = b"retry: 10\nid: 1\ndata: a\n\nid: 2\nevent: x\ndata: b\n\n";
        for cut in 0..stream.len() {
            let mut parser = Parser::new("0");
            let before = events(&mut parser, &stream[..cut], 7);
            let last = if before.is_empty() { "0" } else { "1" };
            assert_eq!(parser.last_id(), last, "cut at {cut}");
            parser.restart();
            // What the next connection says is not added to what was cut off.
            assert_eq!(
                events(&mut parser, b"data: c\n\n", 7),
                [format!("{last}|message|c")],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn l9_a_mark_may_stand_before_the_first_line_of_a_connection() {
        check("\u{feff}data: a\n\n", &["|message|a"]);
        check("\u{feff}\u{feff}data: a\n\n", &[]);
        check("data: a\n\u{feff}data: b\n\n", &["|message|a"]);
        let mut parser = Parser::default();
        for _ in 0..2 {
            parser.restart();
            let stream = "\u{feff}data: a\n\n".as_bytes();
            assert_eq!(events(&mut parser, stream, 2), ["|message|a"]);
        }
    }

    #[test]
    fn l9_characters_cut_anywhere_are_whole() {
        check(
            "data: 日本語 🙂 \u{2028}\u{85}\n\n",
            &["|message|日本語 🙂 \u{2028}\u{85}"],
        );
        let mut parser = Parser::default();
        assert_eq!(
            events(&mut parser, b"data: a\xffb\n\n", 1),
            ["|message|a\u{fffd}b"]
        );
    }

    #[test]
    fn l9_the_events_are_the_same_however_the_stream_is_cut() {
        const WORDS: [&[u8]; 18] = [
            b"data: a\n",
            b"id: 8\n",
            b"data",
            b"id",
            b"event",
            b"retry",
            b"x",
            b":",
            b": ",
            b"\n",
            b"\n\n",
            b"\r",
            b"\r\n",
            b"7",
            b"\0",
            b"\xff",
            "\u{feff}".as_bytes(),
            "é🙂".as_bytes(),
        ];
        let mut seed = 1_u64;
        let mut below = |end: usize| {
            // 64-bit linear congruential generator (Knuth).
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % end
        };
        let mut dispatched = 0;
        for _ in 0..2000 {
            let words = (0..below(40))
                .map(|_| WORDS[below(WORDS.len())])
                .collect::<Vec<_>>();
            let stream = words.concat();
            let mut whole = Parser::default();
            let expected = events(&mut whole, &stream, stream.len().max(1));
            dispatched += expected.len();
            for step in [1, 2, 1 + below(9)] {
                let mut parser = Parser::default();
                assert_eq!(events(&mut parser, &stream, step), expected, "{stream:?}");
                assert_eq!(parser.last_id(), whole.last_id());
                assert_eq!(parser.retry(), whole.retry());
            }
        }
        assert!(dispatched > 500, "{dispatched}");
    }

    #[test]
    fn an_endless_line_and_endless_data_are_refused() {
        let ignore = |_: Event<'_>| {};
        let piece = vec![b'x'; 1 << 20];
        let mut parser = Parser::default();
        let mut taken = Ok(());
        for _ in 0..=EVENT_BYTES_MAX / piece.len() {
            taken = parser.push(&piece, ignore);
        }
        assert_eq!(taken, Err(TooLong));
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        let mut taken = Ok(());
        for _ in 0..=EVENT_BYTES_MAX / piece.len() {
            taken = taken.and_then(|()| parser.push(&line, ignore));
        }
        assert_eq!(taken, Err(TooLong));
    }
}
