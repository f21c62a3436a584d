//! The lines of a journal as they are printed: a phrase for people, or the line itself for programs.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::text::{escape_unsafe, one_line};
use crate::feed::{Line, kind};
use crate::recorder::seam::phrase_of;
use crate::recorder::transcript::cues;

/// The types that are phrases.
pub(super) const PHRASES: [&str; 2] = [kind::TRANSCRIPT_PHRASE, kind::TRANSCRIPT_UPDATED];

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `12:04:31  Ada: good morning`, as on the server's standard output.
    Phrases,
    /// The line of the journal.
    Lines {
        /// Control characters are escaped, which changes nothing of what the JSON means.
        is_terminal: bool,
    },
}

impl Form {
    pub(super) fn wants(self, line: &Line<'_>) -> bool {
        match self {
            Form::Phrases => PHRASES.contains(&line.kind),
            Form::Lines { .. } => true,
        }
    }
}

/// Formats lines.
#[derive(Debug)]
pub(super) struct Printer {
    form: Form,
    /// The meeting's number goes in front.
    is_numbered: bool,
    /// May that change?
    may_be_several: bool,
    /// The journal of the first line.
    first: Option<String>,
}

impl Printer {
    /// `streams` is how many streams there are now; `None` for one that was named.
    pub(super) fn new(form: Form, streams: Option<usize>) -> Printer {
        Printer {
            form,
            is_numbered: streams.is_some_and(|streams| streams > 1),
            may_be_several: streams.is_some(),
            first: None,
        }
    }

    /// Appends a line, if it is one that is printed.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, text: &str) {
        let Some(line) = Line::parse(text.as_bytes()).filter(|line| self.form.wants(line)) else {
            return;
        };
        match self.form {
            Form::Lines { is_terminal } => {
                let text = match is_terminal {
                    true => escape_unsafe(text),
                    false => Cow::Borrowed(text),
                };
                out.extend_from_slice(text.as_bytes());
                out.push(b'\n');
            }
            Form::Phrases => self.phrase(out, &line),
        }
    }

    fn phrase(&mut self, out: &mut Vec<u8>, line: &Line<'_>) {
        let data = std::str::from_utf8(line.data()).ok();
        let Some(phrase) = data.and_then(phrase_of).filter(|phrase| !phrase.is_blank()) else {
            return;
        };
        let key = line.id.split('-').next().unwrap_or_default();
        let first = self.first.get_or_insert_with(|| key.to_owned());
        self.is_numbered |= self.may_be_several && first != key;
        if self.is_numbered {
            out.extend_from_slice(one_line(&meeting(line)).as_bytes());
            out.extend_from_slice(b"  ");
        }
        cues::text(out, &phrase);
    }
}

/// The meeting's number; of a session, engagement or call its id.
fn meeting<'a>(line: &Line<'a>) -> Cow<'a, str> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Envelope<'a> {
        #[serde(borrow)]
        subject: Cow<'a, str>,
        #[serde(borrow)]
        meetingid: Option<Cow<'a, str>>,
    }

    let envelope: Envelope<'_> = serde_json::from_slice(line.bytes).unwrap_or_default();
    envelope.meetingid.unwrap_or(envelope.subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &str, kind: &str, number: &str, data: &str) -> String {
        format!(
            r#"{{"pos":"1795529590941007","seq":4,"id":"{key}-4","type":"{kind}","subject":"55key=="{number},"data":{data}}}"#
        )
    }

    fn phrase(key: &str, number: &str, text: &str) -> String {
        let data = format!(
            r#"{{"v":1,"type":"transcript","user_id":7,"user_name":"Ada","start_ms":1795529589109,"end_ms":1795529590829,"timestamp_ms":1795529590929,"text":"{text}"}}"#
        );
        line(key, kind::TRANSCRIPT_PHRASE, number, &data)
    }

    const ONE: &str = "bdd2d51ed67606f5";
    const OTHER: &str = "0dd2d51ed67606f5";
    const NUMBER: &str = r#","meetingid":"84844962250""#;

    fn printed(printer: &mut Printer, lines: &[String]) -> String {
        let mut out = Vec::new();
        for line in lines {
            printer.push(&mut out, line);
        }
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn l9_phrases_are_printed_as_on_the_servers_standard_output() {
        let lines = [
            phrase(ONE, NUMBER, "good morning"),
            line(ONE, kind::CHAT_MESSAGE, NUMBER, r#"{"v":1}"#),
            line(ONE, kind::TRANSCRIPT_DELETED, NUMBER, r#"{"v":1}"#),
            "no line".to_owned(),
            phrase(ONE, NUMBER, "a\\u001b[31m\\nb \u{9b}c\u{202e}"),
        ];
        assert_eq!(
            printed(&mut Printer::new(Form::Phrases, None), &lines),
            "14:13:09  Ada: good morning\n14:13:09  Ada: a[31m b c\n"
        );
    }

    #[test]
    fn l9_with_several_streams_the_number_stands_in_front() {
        let lines = [
            phrase(ONE, NUMBER, "a"),
            phrase(OTHER, "", "b"),
            phrase(ONE, NUMBER, "c"),
        ];
        let both = "84844962250  14:13:09  Ada: a\n55key==  14:13:09  Ada: b\n\
                    84844962250  14:13:09  Ada: c\n";
        let mut printer = Printer::new(Form::Phrases, Some(2));
        assert_eq!(printed(&mut printer, &lines), both);
        // A second stream comes later.
        let mut printer = Printer::new(Form::Phrases, Some(1));
        assert_eq!(
            printed(&mut printer, &lines),
            both.trim_start_matches("84844962250  ")
        );
        // The streams of one meeting have one number.
        let mut printer = Printer::new(Form::Phrases, None);
        assert!(!printed(&mut printer, &lines).contains("848"));
    }

    #[test]
    fn l9_json_is_the_line_and_means_the_same_in_a_terminal() {
        let lines = [phrase(ONE, NUMBER, "a\\u001b \u{9b}c\u{202e}é")];
        let form = |is_terminal| Form::Lines { is_terminal };
        let piped = printed(&mut Printer::new(form(false), None), &lines);
        assert_eq!(piped, format!("{}\n", lines[0]));
        let shown = printed(&mut Printer::new(form(true), None), &lines);
        assert!(
            shown.contains(r"a\u001b \u009bc\u202eé") && !shown.contains('\u{9b}'),
            "{shown}"
        );
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&shown), value(&piped));
    }
}
