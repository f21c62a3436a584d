//! Which event goes to which client.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use memchr::memmem;

use crate::feed::key::{JournalKey, KEY_DIGITS};
use crate::feed::kind::{KindFilter, STREAM_REVOKED};
use crate::feed::line::Line;

/// The text between the envelope and the data of a line.
const DATA: &[u8] = b",\"data\":";

/// A line of a journal on its way to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The line.
    pub line: Line<'a>,
    /// The journal that it is in.
    pub key: JournalKey,
    /// The stream that it is about: that of its journal, except in the server's own journal.
    pub about: JournalKey,
}

impl<'a> Event<'a> {
    /// The event in this line.
    pub fn new(line: Line<'a>) -> Event<'a> {
        let key = line.id.get(..KEY_DIGITS).and_then(|key| key.parse().ok());
        let key = key.unwrap_or(JournalKey::SERVER);
        let about = match line.kind {
            STREAM_REVOKED => named_key(line.data()).unwrap_or(key),
            _ => key,
        };
        Event { line, key, about }
    }

    /// Whether it says that the consent to this stream was withdrawn.
    pub fn is_last_of(&self, stream: JournalKey) -> bool {
        self.line.kind == STREAM_REVOKED && self.about == stream
    }
}

/// The member `key` of the data of `stream.revoked`.
fn named_key(data: &[u8]) -> Option<JournalKey> {
    const MEMBER: &[u8] = b"\"key\":\"";
    // Within a string each quote has a backslash before it, so the first hit is the member.
    let at = memmem::find(data, MEMBER)? + MEMBER.len();
    let digits = data.get(at..at + KEY_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whose events a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Of all streams, and of the server.
    All,
    /// Of one stream.
    Stream(JournalKey),
    /// Of one meeting, with its later streams.
    Meeting(Box<Meeting>),
}

/// A meeting, as lines name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meeting {
    /// `"meetingid":"…"` and `"subject":"…"`.
    members: [Vec<u8>; 2],
}

impl Meeting {
    /// By its number, also as people write it (`848 4496 2250`), or its UUID.
    pub fn named(text: &str) -> Meeting {
        let number = text.replace([' ', '-'], "");
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let number = if is_number { number.as_str() } else { text };
        let member = |name: &str, value: &str| {
            format!(",\"{name}\":{}", serde_json::Value::from(value)).into_bytes()
        };
        Meeting {
            members: [member("meetingid", number), member("subject", text)],
        }
    }

    /// Whether this line is about it.
    pub fn is_of(&self, line: &[u8]) -> bool {
        // Within a string each quote has a backslash before it, so only a member is found.
        let envelope = memmem::find(line, DATA).map_or(line, |at| &line[..at]);
        let mut members = self.members.iter();
        members.any(|member| memmem::find(envelope, member).is_some())
    }
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interest {
    /// Of whom.
    pub scope: Scope,
    /// Which types.
    pub kinds: KindFilter,
}

impl Interest {
    /// Whether it wants this event.
    pub fn wants(&self, event: &Event<'_>) -> bool {
        let is_of_scope = match &self.scope {
            Scope::All => true,
            Scope::Stream(key) => event.about == *key,
            Scope::Meeting(meeting) => meeting.is_of(event.line.bytes),
        };
        is_of_scope && self.kinds.wants(event.line.kind)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::feed::kind;
    use crate::feed::line::{Envelope, set_pos};
    use crate::feed::tests::info;

    pub(in crate::delivery::live) fn key(n: u64) -> JournalKey {
        format!("{n:016x}").parse().expect("a key")
    }

    /// A line of journal `n`, of the meeting `meeting-n`, number `900n`.
    pub(in crate::delivery::live) fn line(n: u64, seq: u64, pos: u64, kind: &str) -> Vec<u8> {
        let about = crate::domain::stream_info::StreamInfo {
            meeting_id: Some(format!("900{n}")),
            ..info(&format!("meeting-{n}"), &format!("stream-{n}"))
        };
        let about = Some(&about).filter(|_| n > 0);
        let mut envelope = Envelope::new(key(n), "/x", about);
        let mut line = Vec::new();
        envelope.begin(&mut line, seq, kind, pos / 1000);
        line.extend_from_slice(format!("{{\"v\":1,\"text\":\"phrase {n}-{seq}\"}}").as_bytes());
        Envelope::end(&mut line);
        set_pos(&mut line, pos);
        line
    }

    fn event(line: &[u8]) -> Event<'_> {
        Event::new(Line::parse(line).expect("a line"))
    }

    fn interest(scope: Scope, kinds: &str) -> Interest {
        let kinds = KindFilter::from_text(kinds).expect("a filter");
        Interest { scope, kinds }
    }

    #[test]
    fn an_event_goes_to_those_who_want_its_stream_and_type() {
        let phrase = line(7, 1, 1_795_529_590_000_001, kind::TRANSCRIPT_PHRASE);
        let wants = |scope, kinds| interest(scope, kinds).wants(&event(&phrase));
        assert!(wants(Scope::All, "all"));
        assert!(wants(Scope::All, "transcript.*"));
        assert!(!wants(Scope::All, "chat.*"));
        assert!(wants(Scope::Stream(key(7)), "all"));
        assert!(!wants(Scope::Stream(key(8)), "all"));
        let meeting = |text| Scope::Meeting(Box::new(Meeting::named(text)));
        assert!(wants(meeting("meeting-7"), "all"));
        assert!(wants(meeting("9007"), "all"));
        assert!(wants(meeting("90 0-7"), "all"));
        assert!(!wants(meeting("meeting-8"), "all"));
        assert!(!wants(meeting("900"), "all"), "a number is not cut off");
    }

    #[test]
    fn what_is_said_does_not_make_a_line_one_of_another_meeting() {
        let mut envelope = Envelope::new(key(1), "/x", Some(&info("m", "s")));
        let mut text = Vec::new();
        envelope.begin(&mut text, 1, kind::CHAT_MESSAGE, 5);
        text.extend_from_slice(br#"{"v":1,"subject":"other","x":",\"subject\":\"other\""}"#);
        Envelope::end(&mut text);
        let of = |name| interest(Scope::Meeting(Box::new(Meeting::named(name))), "all");
        assert!(!of("other").wants(&event(&text)));
        assert!(of("m").wants(&event(&text)));
    }

    #[test]
    fn j12_withdrawn_consent_is_about_the_stream_that_the_data_names() {
        let mut envelope = Envelope::new(JournalKey::SERVER, "/x", Some(&info("m", "s")));
        let mut text = Vec::new();
        envelope.begin(&mut text, 3, kind::STREAM_REVOKED, 5);
        text.extend_from_slice(
            format!("{{\"v\":1,\"id\":\"m\",\"key\":\"{}\"}}", key(9)).as_bytes(),
        );
        Envelope::end(&mut text);
        let revoked = event(&text);
        assert_eq!((revoked.key, revoked.about), (JournalKey::SERVER, key(9)));
        assert!(revoked.is_last_of(key(9)) && !revoked.is_last_of(key(8)));
        assert!(interest(Scope::Stream(key(9)), "all").wants(&revoked));
        assert!(!interest(Scope::Stream(key(8)), "all").wants(&revoked));
        assert!(interest(Scope::Meeting(Box::new(Meeting::named("m"))), "all").wants(&revoked));
    }
}
