//! Takes one person out of the transcripts that only have names: WebVTT, SubRip and plain text.
//!
//! A cue keeps its number and its times, a line its time; the name and the words make place for
//! [`PLACEHOLDER`]. Where another has the same name, the phrases of the journal or of
//! `transcript.jsonl` say whose words they are; without these, all words under the name go.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use super::person::{People, Person, name_key};
use crate::domain::id::Id;
use crate::domain::phrase::Phrase;
use crate::domain::text::{one_line, speaker};

/// Stands where words were.
pub const PLACEHOLDER: &str = "[forgotten]";

/// The time of day and two blanks before the name in a line of plain text.
const CLOCK_BYTES: usize = 10;

/// One of the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `transcript.vtt`.
    Vtt,
    /// `transcript.srt`.
    Srt,
    /// `transcript.txt`.
    Txt,
}

/// What is known of the words under the person's names.
#[derive(Debug, Default)]
pub struct Words {
    /// What stands before the words: names, or a number for one who has none.
    labels: BTreeSet<String>,
    /// Label and words of the person.
    own: HashSet<(String, String)>,
    /// Label and words of others with the same name.
    others: HashSet<(String, String)>,
}

impl Words {
    /// Nothing is known of phrases yet.
    pub fn of(person: &Person) -> Words {
        let names = person.names.iter().map(|name| one_line(name).into_owned());
        let ids = person.ids.iter();
        let ids = ids.map(|id| speaker(id, None, "").into_owned());
        let channels = person.channels.iter();
        let channels =
            channels.map(|channel| speaker(&Id::UNKNOWN, Some(channel), "").into_owned());
        Words {
            labels: names.chain(ids).chain(channels).collect(),
            ..Words::default()
        }
    }

    /// Notes a phrase, where another person has the same name.
    pub fn note(&mut self, person: &Person, phrase: &Phrase<'_>) {
        if person.shared.is_empty() {
            return;
        }
        let label = speaker(
            &phrase.user_id,
            phrase.channel_id.as_ref(),
            &phrase.user_name,
        );
        if !person.shared.contains(&name_key(&label)) {
            return;
        }
        let is_own = person.ids.contains(&phrase.user_id.borrowed().into_owned());
        let said = (label.into_owned(), one_line(&phrase.text).into_owned());
        match is_own {
            true => self.own.insert(said),
            false => self.others.insert(said),
        };
    }

    /// Whether these are words of the person.
    fn has(&self, label: &str, words: &str) -> bool {
        let is_label = self.labels.contains(label) || {
            let label = name_key(label);
            self.labels.iter().any(|own| name_key(own) == label)
        };
        if !is_label {
            return false;
        }
        let said = (label.to_owned(), words.to_owned());
        self.own.contains(&said) || !self.others.contains(&said)
    }
}

/// The file without the person, and how many of its records they were in; `None` if in none.
pub fn blank_text(format: Format, text: &str, words: &Words) -> Option<(String, u64)> {
    let (mut out, mut count) = (String::with_capacity(text.len()), 0);
    for line in text.split_inclusive('\n') {
        let (content, end) = match line.strip_suffix('\n') {
            Some(content) => (content, "\n"),
            None => (line, ""),
        };
        let cut = split(format, content);
        match cut.filter(|cut| cut.is_of(words)) {
            Some(cut) => {
                out.push_str(cut.before);
                out.push_str(PLACEHOLDER);
                count += 1;
            }
            None => out.push_str(content),
        }
        out.push_str(end);
    }
    (count > 0).then_some((out, count))
}

/// Adds the names that are in the file.
pub fn add_people(format: Format, text: &str, people: &mut People) {
    for line in text.lines() {
        if let Some(cut) = split(format, line)
            && let Some((label, _)) = cut.said.first()
        {
            people.note(None, None, label);
        }
    }
}

/// A line with a person's words.
struct Cut<'a> {
    /// What stays.
    before: &'a str,
    /// The label and the words. There are several ways to read it where a name has `: ` in it.
    said: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl Cut<'_> {
    fn is_of(&self, words: &Words) -> bool {
        self.said.iter().any(|(label, said)| words.has(label, said))
    }
}

/// Reads a line; `None` if it has no person's words: a number, times, a blank line.
fn split(format: Format, line: &str) -> Option<Cut<'_>> {
    match format {
        Format::Vtt => {
            let (label, words) = line.strip_prefix("<v ")?.split_once('>')?;
            Some(Cut {
                before: "",
                said: vec![(plain(label), plain(words))],
            })
        }
        Format::Srt => Some(Cut {
            before: "",
            said: readings(line),
        }),
        Format::Txt => {
            let (before, rest) = line.split_at_checked(CLOCK_BYTES)?;
            let is_clock = before.ends_with("  ") && before.as_bytes().get(2) == Some(&b':');
            is_clock.then(|| Cut {
                before,
                said: readings(rest),
            })
        }
    }
}

/// Each `: ` may be the end of the name.
fn readings(text: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    // A name is short; words may have any number of these.
    let ends = text.match_indices(": ").take(8);
    let cut = ends.map(|(at, _)| (&text[..at], &text[at + 2..]));
    cut.map(|(label, words)| (label.into(), words.into()))
        .collect()
}

/// The text of a cue without its escapes.
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forgetting::json::Node;
    use crate::recorder::jsonl::tests::phrase;
    use crate::recorder::transcript::cues::{self, Position, VTT_HEADER, position_at_end};

    const ZERO: u64 = 1_767_000_000_000;

    fn phrases() -> Vec<Phrase<'static>> {
        let said = [
            (7, "A <d>: a", "her words --> & 1"),
            (8, "Bo", "A <d>: a said so"),
            (9, "A <d>: a", "words of the other"),
            (7, "", "without a name"),
        ];
        let phrases = said.map(|(id, name, text)| Phrase {
            user_id: Id::Number(id),
            user_name: name.into(),
            ..phrase(text)
        });
        phrases.into()
    }

    fn file(format: Format) -> String {
        let (mut out, mut position) = (Vec::new(), Position::default());
        for phrase in phrases() {
            match format {
                Format::Vtt => cues::vtt(&mut out, &mut position, ZERO, &phrase),
                Format::Srt => cues::srt(&mut out, &mut position, ZERO, &phrase),
                Format::Txt => cues::text(&mut out, &phrase),
            }
        }
        String::from_utf8(out).expect("UTF-8")
    }

    fn person() -> Person {
        let mut people = People::default();
        for phrase in phrases() {
            people.note(Some(phrase.user_id.into_owned()), None, &phrase.user_name);
        }
        people.find("7").expect("known")
    }

    #[test]
    fn cues_and_lines_stay_without_the_words() {
        let person = person();
        let mut words = Words::of(&person);
        for phrase in phrases() {
            words.note(&person, &phrase);
        }
        for format in [Format::Vtt, Format::Srt, Format::Txt] {
            let before = file(format);
            let (after, count) = blank_text(format, &before, &words).expect("she is in it");
            assert_eq!(count, 2, "{after}");
            for gone in ["her words", "without a name"] {
                assert!(!after.contains(gone), "{after}");
            }
            for stays in ["said so", "words of the other"] {
                assert!(after.contains(stays), "{after}");
            }
            assert_eq!(after.lines().count(), before.lines().count());
            assert_eq!(position_at_end(&after), position_at_end(&before));
            assert_eq!(blank_text(format, &after, &words), None);
        }
        let vtt = VTT_HEADER.to_owned() + &file(Format::Vtt);
        let (after, _) = blank_text(Format::Vtt, &vtt, &words).expect("she is in it");
        assert!(
            after.starts_with("WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500\n[forgotten]\n\n2\n")
        );
        let (txt, _) = blank_text(Format::Txt, &file(Format::Txt), &words).expect("she is in it");
        assert!(txt.starts_with("09:20:01  [forgotten]\n"), "{txt}");
    }

    #[test]
    fn without_records_all_words_under_the_name_go() {
        let mut people = People::default();
        add_people(Format::Vtt, &file(Format::Vtt), &mut people);
        let person = people.find("a <D>: A").expect("known");
        let words = Words::of(&person);
        let (after, count) = blank_text(Format::Vtt, &file(Format::Vtt), &words).expect("there");
        assert_eq!(count, 2, "{after}");
        let mut people = People::default();
        add_people(Format::Txt, &file(Format::Txt), &mut people);
        assert!(people.find("Bo").is_some());
        people.add(&Node::Other("7".into()));
        assert_eq!(people.find("unknown"), None);
    }
}
