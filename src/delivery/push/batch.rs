//! What goes into one request: a range of a journal, its `webhook-id` and its body.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::feed::key::JournalKey;

/// Most bytes of a body, unless one event alone is larger (Standard Webhooks: "usually smaller than
/// 20kb").
pub const BODY_BYTES_MAX: usize = 20_000;

/// The most events in one request: `RTMS_PUSH_BATCH`.
pub const BATCH_MAX: u8 = 100;

const BATCH_HEAD: &[u8] = b"{\"type\":\"batch\",\"timestamp\":\"";
const BATCH_DATA: &[u8] = b"\",\"data\":[";
/// RFC 3339 in UTC with milliseconds.
const TIMESTAMP_BYTES: usize = 24;

/// How events are put into a body: `RTMS_PUSH_FORMAT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Standard Webhooks: one event is the line itself, several are a batch object.
    #[default]
    Webhook,
    /// The media types of CloudEvents: several events are a bare array.
    CloudEvents,
}

impl Format {
    /// `Content-Type` of a request with so many events.
    pub fn content_type(self, events: usize) -> &'static str {
        match (self, events) {
            (Format::Webhook, _) => "application/json",
            (Format::CloudEvents, 0 | 1) => "application/cloudevents+json; charset=utf-8",
            (Format::CloudEvents, _) => "application/cloudevents-batch+json; charset=utf-8",
        }
    }
}

/// A line of a journal as this part sees it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Its number in the journal.
    pub seq: u64,
    /// Whether the endpoint wants its type.
    pub is_wanted: bool,
    /// The line without its end.
    pub line: &'a [u8],
    /// Where the next line begins.
    pub end: u64,
}

/// A part of a journal that is one request. Once formed it is tried again as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// The first event's `seq`.
    pub first: u64,
    /// The last event's.
    pub last: u64,
    /// Where the line behind the last begins.
    pub end: u64,
    /// How many events; those that are not wanted are not counted.
    pub events: u8,
}

/// Whether the batch takes another event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Left,
    /// This is all.
    Full,
}

/// A request in the making.
#[derive(Debug)]
pub struct Batch {
    format: Format,
    events_max: u8,
    /// Of a range that was formed before: its last event.
    until: Option<u64>,
    range: Range,
    /// The journal up to here holds nothing more that is wanted: `seq` and offset.
    passed: (u64, u64),
    timestamp: [u8; TIMESTAMP_BYTES],
    /// Room for the head of a batch, then the lines with commas between them.
    body: Vec<u8>,
}

impl Batch {
    /// Begins a request of at most so many events; `until` is the end of a range that is tried
    /// again, and the limits are then those that it was formed by.
    pub fn new(format: Format, events_max: u8, until: Option<u64>) -> Batch {
        Batch {
            format,
            events_max: events_max.clamp(1, BATCH_MAX),
            until,
            range: Range::default(),
            passed: (0, 0),
            timestamp: *b"1970-01-01T00:00:00.000Z",
            body: vec![0; Self::head_bytes(format)],
        }
    }

    fn head_bytes(format: Format) -> usize {
        match format {
            Format::Webhook => BATCH_HEAD.len() + TIMESTAMP_BYTES + BATCH_DATA.len(),
            Format::CloudEvents => 1,
        }
    }

    /// Looks at the next line of the journal. `Full` means that it does not go into this request, or
    /// that nothing behind it does.
    pub fn push(&mut self, event: Event<'_>) -> Room {
        if self.until.is_some_and(|until| event.seq > until) {
            return Room::Full;
        }
        if !event.is_wanted {
            self.passed = (event.seq, event.end);
            return Room::Left;
        }
        let is_free = self.until.is_none() && self.range.events > 0;
        let tail = self.format.tail().len();
        if is_free && self.body.len() + 1 + event.line.len() + tail > BODY_BYTES_MAX {
            return Room::Full;
        }
        if self.range.events > 0 {
            self.body.push(b',');
        } else {
            self.range.first = event.seq;
        }
        self.body.extend_from_slice(event.line);
        if let Some(timestamp) = timestamp(event.line) {
            self.timestamp = timestamp;
        }
        self.passed = (event.seq, event.end);
        self.range.last = event.seq;
        self.range.end = event.end;
        self.range.events += 1;
        let is_last = match self.until {
            Some(until) => event.seq == until,
            None => self.range.events == self.events_max,
        };
        match is_last || self.range.events == BATCH_MAX {
            true => Room::Full,
            false => Room::Left,
        }
    }

    /// How far was looked: `seq` and the offset behind it; `(0, 0)` before the first line.
    pub fn passed(&self) -> (u64, u64) {
        self.passed
    }

    /// The range, if anything is wanted.
    pub fn range(&self) -> Option<Range> {
        (self.range.events > 0).then_some(self.range)
    }

    /// The body of the request.
    pub fn body(&mut self) -> &[u8] {
        let head = Self::head_bytes(self.format);
        if self.range.events < 2 {
            return &self.body[head..];
        }
        let parts: [&[u8]; 3] = match self.format {
            Format::Webhook => [BATCH_HEAD, &self.timestamp, BATCH_DATA],
            Format::CloudEvents => [b"[", b"", b""],
        };
        self.body[..head].copy_from_slice(&parts.concat());
        self.body.extend_from_slice(self.format.tail());
        &self.body
    }
}

impl Format {
    fn tail(self) -> &'static [u8] {
        match self {
            Format::Webhook => b"]}",
            Format::CloudEvents => b"]",
        }
    }
}

/// The `webhook-id` of a range: that of its event, or `<key>-<first>-<last>`.
pub fn webhook_id(key: JournalKey, range: &Range) -> String {
    match range.events {
        0 | 1 => format!("{key}-{}", range.first),
        _ => format!("{key}-{}-{}", range.first, range.last),
    }
}

/// The text of `timestamp`, the fifth member of a line.
fn timestamp(line: &[u8]) -> Option<[u8; TIMESTAMP_BYTES]> {
    const NAME: &[u8] = b"\"timestamp\":\"";
    // No value before it is longer than an id and a type.
    let head = &line[..line.len().min(256)];
    let at = head.windows(NAME.len()).position(|part| part == NAME)? + NAME.len();
    line.get(at..at + TIMESTAMP_BYTES)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::kind::KindFilter;

    fn key() -> JournalKey {
        "bdd2d51ed67606f5".parse().expect("a key")
    }

    fn line(seq: u64, kind: &str, text: &str) -> String {
        format!(
            "{{\"pos\":\"{:016}\",\"seq\":{seq},\"id\":\"bdd2d51ed67606f5-{seq}\",\"type\":\"{kind}\",\
             \"timestamp\":\"2026-11-24T14:13:{:02}.929Z\",\"data\":{{\"v\":1,\"text\":\"{text}\"}}}}",
            1_795_529_590_941_000 + seq,
            seq % 60
        )
    }

    /// Feeds lines until the batch is full; gives how many lines it looked at.
    fn fill(batch: &mut Batch, lines: &[String]) -> usize {
        fill_with(batch, lines, &KindFilter::default())
    }

    fn fill_with(batch: &mut Batch, lines: &[String], filter: &KindFilter) -> usize {
        let mut offset = 0;
        for (n, line) in lines.iter().enumerate() {
            offset += line.len() as u64 + 1;
            let kind = line.split("\"type\":\"").nth(1).expect("a type");
            let kind = kind.split('"').next().expect("a type");
            let event = Event {
                seq: n as u64 + 1,
                is_wanted: filter.wants(kind),
                line: line.as_bytes(),
                end: offset,
            };
            if batch.push(event) == Room::Full {
                return n + 1;
            }
        }
        lines.len()
    }

    fn phrases(count: u64) -> Vec<String> {
        (1..=count)
            .map(|seq| {
                line(
                    seq,
                    "transcript.phrase",
                    "good morning everyone, can you all hear me? The agenda is in the chat.",
                )
            })
            .collect()
    }

    #[test]
    fn one_event_is_its_line() {
        let lines = phrases(3);
        for format in [Format::Webhook, Format::CloudEvents] {
            let mut batch = Batch::new(format, 1, None);
            assert_eq!(fill(&mut batch, &lines), 1);
            let range = batch.range().expect("an event");
            assert_eq!(webhook_id(key(), &range), "bdd2d51ed67606f5-1");
            assert_eq!(range.end, lines[0].len() as u64 + 1);
            assert_eq!(batch.body(), lines[0].as_bytes());
        }
    }

    #[test]
    fn p3_a_batch_is_an_object_with_the_last_timestamp_or_an_array() {
        let lines = phrases(3);
        let mut batch = Batch::new(Format::Webhook, 100, None);
        assert_eq!(fill(&mut batch, &lines), 3);
        let range = batch.range().expect("events");
        assert_eq!(webhook_id(key(), &range), "bdd2d51ed67606f5-1-3");
        let expected = format!(
            "{{\"type\":\"batch\",\"timestamp\":\"2026-11-24T14:13:03.929Z\",\"data\":[{}]}}",
            lines.join(",")
        );
        assert_eq!(String::from_utf8_lossy(batch.body()), expected);
        let mut batch = Batch::new(Format::CloudEvents, 100, None);
        fill(&mut batch, &lines);
        let array = format!("[{}]", lines.join(","));
        assert_eq!(String::from_utf8_lossy(batch.body()), array);
        assert_eq!(
            Format::CloudEvents.content_type(3),
            "application/cloudevents-batch+json; charset=utf-8"
        );
    }

    #[test]
    fn p3_a_body_ends_before_twenty_kilobytes_unless_one_event_is_larger() {
        let lines = phrases(200);
        let mut batch = Batch::new(Format::Webhook, 100, None);
        fill(&mut batch, &lines);
        let events = batch.range().expect("events").events;
        let bytes = batch.body().len();
        assert!((80..100).contains(&events), "{events}");
        assert!(
            bytes <= BODY_BYTES_MAX && bytes > BODY_BYTES_MAX - 300,
            "{bytes}"
        );
        let large = vec![
            line(1, "chat.message", &"x".repeat(50_000)),
            line(2, "chat.message", "y"),
        ];
        let mut batch = Batch::new(Format::Webhook, 100, None);
        assert_eq!(fill(&mut batch, &large), 2);
        assert_eq!(batch.range().expect("one").events, 1);
        assert_eq!(batch.body(), large[0].as_bytes());
    }

    #[test]
    fn p2_what_is_not_wanted_is_passed_without_a_request() {
        let filter = KindFilter::from_text("transcript.*, stream.ended").expect("a filter");
        let mut lines = vec![
            line(1, "speaker.changed", ""),
            line(2, "stream.started", ""),
        ];
        let mut batch = Batch::new(Format::Webhook, 10, None);
        fill_with(&mut batch, &lines, &filter);
        let end: usize = lines.iter().map(|line| line.len() + 1).sum();
        assert_eq!((batch.range(), batch.passed()), (None, (2, end as u64)));
        lines.push(line(3, "transcript.updated", ""));
        lines.push(line(4, "chat.message", ""));
        lines.push(line(5, "stream.ended", ""));
        lines.push(line(6, "file.closed", ""));
        let mut batch = Batch::new(Format::Webhook, 10, None);
        fill_with(&mut batch, &lines, &filter);
        let range = batch.range().expect("events");
        assert_eq!((range.first, range.last, range.events), (3, 5, 2));
        let body = String::from_utf8_lossy(batch.body()).into_owned();
        assert!(body.ends_with(&format!("[{},{}]}}", lines[2], lines[4])));
    }

    #[test]
    fn p3_a_range_is_made_again_unchanged() {
        let lines = phrases(40);
        let mut batch = Batch::new(Format::Webhook, 7, None);
        fill(&mut batch, &lines);
        let range = batch.range().expect("events");
        let body = batch.body().to_vec();
        // More has come, and the limit of today is another.
        for limit in [1, 100] {
            let mut again = Batch::new(Format::Webhook, limit, Some(range.last));
            fill(&mut again, &lines);
            assert_eq!(again.range(), Some(range));
            assert_eq!(again.body(), body);
        }
    }
}
