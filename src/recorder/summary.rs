//! Words, speakers and languages of a stream: what people look for a meeting by.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use super::transcript::JSONL_NAME;
use crate::domain::phrase::{Change, Phrase};
use crate::feed::{self, FEED_NAME, kind};
use crate::protocol::Language;

/// Speakers and languages that are noted; a meeting of more is found by these.
const NAMES_MAX: usize = 200;

/// Longest line that is read back. The text of a phrase is a small part of it.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What `meta.json` says about the phrases of a stream once it has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Words of all phrases that are new; changes of older ones are not counted.
    pub words: u64,
    /// Names of those who spoke, in the order of their first phrase.
    pub speakers: Vec<String>,
    /// Tags of the languages, in the order of their first phrase.
    pub languages: Vec<String>,
}

/// The members of a line of `transcript.jsonl` that count.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default, borrow)]
    user_name: Cow<'a, str>,
    #[serde(default, borrow)]
    language: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    attribute: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl Summary {
    /// Counts a phrase.
    pub fn on_phrase(&mut self, phrase: &Phrase<'_>) {
        let language = phrase.language.and_then(|id| Language::from_number(id.0));
        let tag = language.map_or("", Language::tag);
        self.count(&phrase.user_name, tag, phrase.change, &phrase.text);
    }

    /// Counts again from the transcript in the folder, or from the journal where there is none, for a
    /// stream that several processes wrote. `None` where there is neither.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_folder(folder: &Path) -> io::Result<Option<Summary>> {
        for name in [JSONL_NAME, FEED_NAME] {
            match File::open(folder.join(name)) {
                Ok(file) => return Summary::of_lines(BufReader::new(file)).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn of_lines(mut lines: impl BufRead) -> io::Result<Summary> {
        let mut summary = Summary::default();
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let mut line = lines.by_ref().take(LINE_BYTES_MAX);
            if line.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(summary);
            }
            let data = match feed::Line::parse(bytes.trim_ascii_end()) {
                Some(line) if line.kind == kind::TRANSCRIPT_PHRASE => line.data(),
                Some(_) => continue,
                None => &bytes,
            };
            // A line that is no phrase counts as none.
            if let Ok(phrase) = serde_json::from_slice::<Line<'_>>(data) {
                let change = Change::from_name(phrase.attribute.as_deref().unwrap_or_default());
                let language = phrase.language.as_deref().unwrap_or_default();
                summary.count(&phrase.user_name, language, change, &phrase.text);
            }
        }
    }

    fn count(&mut self, speaker: &str, language: &str, change: Change, text: &str) {
        if change != Change::New {
            return;
        }
        self.words += words(text);
        note(&mut self.speakers, speaker.trim());
        note(&mut self.languages, language);
    }
}

/// Adds a name that is not there yet.
fn note(names: &mut Vec<String>, name: &str) {
    let is_known = names.iter().any(|known| known == name);
    if !is_known && !name.is_empty() && names.len() < NAMES_MAX {
        names.push(name.to_owned());
    }
}

/// Words of a text: runs of letters and digits. An apostrophe or a hyphen between two letters does
/// not end a word. In scripts that are written without spaces each character counts as one.
pub fn words(text: &str) -> u64 {
    if text.is_ascii() {
        return ascii_words(text.as_bytes());
    }
    let mut words = 0;
    let mut is_in_word = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_unspaced(c) {
            words += 1;
            is_in_word = false;
        } else if c.is_alphanumeric() {
            words += u64::from(!is_in_word);
            is_in_word = true;
        } else {
            let joins = matches!(c, '\'' | '\u{2019}' | '-');
            let goes_on = chars.peek().is_some_and(|next| next.is_alphanumeric());
            is_in_word &= joins && goes_on || is_mark(c);
        }
    }
    words
}

/// The same of a text in ASCII: the letters that begin a word are counted, in blocks and without
/// branches, which the compiler makes vector code of. Each phrase is counted.
fn ascii_words(text: &[u8]) -> u64 {
    const BLOCK: usize = 32;
    let mut words = 0;
    // Of the byte before a block: whether it is a letter, and whether it joins two of them.
    let (mut was_letter, mut was_joint) = (0, 0);
    for part in text.chunks(BLOCK) {
        let mut block = [0; BLOCK];
        block[..part.len()].copy_from_slice(part);
        let letter = block.map(|b| {
            let (alphabetic, digit) = ((b | 0x20).wrapping_sub(b'a'), b.wrapping_sub(b'0'));
            u8::from(alphabetic < 26) | u8::from(digit < 10)
        });
        let joins = block.map(|b| u8::from(b == b'\'') | u8::from(b == b'-'));
        let mut begun = letter[0] & !was_letter & !was_joint;
        begun += letter[1] & !letter[0] & !(joins[0] & was_letter);
        for at in 2..BLOCK {
            begun += letter[at] & !letter[at - 1] & !(joins[at - 1] & letter[at - 2]);
        }
        words += u64::from(begun);
        was_letter = letter[BLOCK - 1];
        was_joint = joins[BLOCK - 1] & letter[BLOCK - 2];
    }
    words
}

/// A letter of Han, kana, Hangul or Thai.
fn is_unspaced(c: char) -> bool {
    !c.is_ascii()
        && c.is_alphabetic()
        && matches!(u32::from(c),
            0x0e00..=0x0e7f // Thai
            | 0x1100..=0x11ff | 0x3130..=0x318f | 0xa960..=0xa97f | 0xac00..=0xd7ff // Hangul
            | 0x3005..=0x3007 | 0x3040..=0x30ff | 0x31f0..=0x31ff // kana
            | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff // Han
            | 0xff66..=0xffdc // half-width kana and Hangul
            | 0x20000..=0x3ffff)
}

/// A mark over or under a letter, which is no letter of its own.
fn is_mark(c: char) -> bool {
    matches!(u32::from(c), 0x0300..=0x036f | 0x0591..=0x05c7 | 0x0610..=0x061a | 0x064b..=0x065f
        | 0x0900..=0x0903 | 0x093a..=0x094f | 0x200c..=0x200d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_many_scripts() {
        for (text, expected) in [
            ("", 0),
            (" … — ! ", 0),
            ("Good morning everyone.", 3),
            ("don't stop", 2),
            ("Ines O\u{2019}Neill's well-known talk", 4),
            ("- one - two -", 2),
            ("3.5 million", 3),
            ("Grüße aus Zürich", 3),
            ("cafe\u{301} noir", 2),
            ("おはよう", 4),
            ("今日は meeting", 4),
            ("안녕", 2),
            ("שָׁלוֹם עולם", 2),
            ("नमस्ते दुनिया", 2),
        ] {
            assert_eq!(words(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_text_in_ascii_has_the_same_words() {
        let mut random = 1_u64;
        let mut text = String::new();
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (random >> 33) as usize;
            match text.len() {
                0..100 => text.push(char::from(b"aZ09 '-.@[`{/:\n"[at % 15])),
                _ => text.clear(),
            }
            // The last character makes the general way count, and is no word.
            assert_eq!(words(&text), words(&format!("{text} …")), "{text:?}");
        }
    }

    #[test]
    fn a_change_of_a_phrase_counts_nothing() {
        let mut summary = Summary::default();
        summary.count("Ada", "en", Change::New, "good morning");
        summary.count("Ada", "en", Change::Update, "good morning all");
        summary.count("Ines", "de", Change::New, "hallo");
        summary.count("Ada", "en", Change::Delete, "");
        summary.count("", "", Change::New, "…");
        let expected = Summary {
            words: 3,
            speakers: vec!["Ada".to_owned(), "Ines".to_owned()],
            languages: vec!["en".to_owned(), "de".to_owned()],
        };
        assert_eq!(summary, expected);
    }

    #[test]
    fn a_transcript_and_a_journal_count_the_same() {
        let transcript = concat!(
            r#"{"v":1,"type":"transcript","user_name":"Ada","language":"en","text":"good \"morning\""}"#,
            "\n",
            r#"{"v":1,"type":"transcript","user_name":"Ada","attribute":"update","text":"good"}"#,
            "\n{torn\n"
        );
        let journal = concat!(
            r#"{"pos":"1795529590941006","seq":1,"id":"bdd2d51ed67606f5-1","type":"stream.started","#,
            r#""data":{"v":1,"text":"no phrase","user_name":"unknown"}}"#,
            "\n",
            r#"{"pos":"1795529590941007","seq":2,"id":"bdd2d51ed67606f5-2","type":"transcript.phrase","#,
            r#""data":{"v":1,"user_name":"Ada","language":"en","text":"good morning"}}"#,
            "\n"
        );
        for lines in [transcript, journal] {
            let summary = Summary::of_lines(lines.as_bytes()).expect("memory can be read");
            assert_eq!(
                (summary.words, &*summary.speakers),
                (2, &["Ada".to_owned()][..])
            );
            assert_eq!(summary.languages, ["en"]);
        }
    }

    #[test]
    fn as_many_names_as_there_are_places_for() {
        let mut summary = Summary::default();
        for n in 0..1000 {
            summary.count(&format!("guest {n}"), "en", Change::New, "hello");
        }
        assert_eq!((summary.words, summary.speakers.len()), (1000, NAMES_MAX));
    }
}
