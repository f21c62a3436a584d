//! The languages of transcripts: Zoom's number, English name and BCP 47 tag.

/// A language that Zoom transcribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(u8);

/// Name and tag; the index is Zoom's number (RTMS media parameter reference).
const LANGUAGES: [(&str, &str); 37] = [
    ("Arabic", "ar"),
    ("Bengali", "bn"),
    ("Cantonese", "yue"),
    ("Catalan", "ca"),
    ("Chinese (Simplified)", "zh-Hans"),
    ("Chinese (Traditional)", "zh-Hant"),
    ("Czech", "cs"),
    ("Danish", "da"),
    ("Dutch", "nl"),
    ("English", "en"),
    ("Estonian", "et"),
    ("Finnish", "fi"),
    ("French (Canada)", "fr-CA"),
    ("French (France)", "fr-FR"),
    ("German", "de"),
    ("Hebrew", "he"),
    ("Hindi", "hi"),
    ("Hungarian", "hu"),
    ("Indonesian", "id"),
    ("Italian", "it"),
    ("Japanese", "ja"),
    ("Korean", "ko"),
    ("Malay", "ms"),
    ("Persian", "fa"),
    ("Polish", "pl"),
    ("Portuguese", "pt"),
    ("Romanian", "ro"),
    ("Russian", "ru"),
    ("Spanish", "es"),
    ("Swedish", "sv"),
    ("Tagalog", "tl"),
    ("Tamil", "ta"),
    ("Telugu", "te"),
    ("Thai", "th"),
    ("Turkish", "tr"),
    ("Ukrainian", "uk"),
    ("Vietnamese", "vi"),
];

/// Other common words for a language, in the form that [`plain`] returns.
const ALIASES: [(&str, u8); 12] = [
    ("chinese", 4),
    ("mandarin", 4),
    ("zh", 4),
    ("zhcn", 4),
    ("zhsg", 4),
    ("zhtw", 5),
    ("zhhk", 5),
    ("french", 13),
    ("fr", 13),
    ("farsi", 23),
    ("filipino", 30),
    ("fil", 30),
];

impl Language {
    /// The language with Zoom's number; `None` for −1 (no language) and for unknown numbers.
    pub fn from_number(number: i64) -> Option<Language> {
        let index = u8::try_from(number).ok()?;
        (usize::from(index) < LANGUAGES.len()).then_some(Language(index))
    }

    /// The language with a name or tag: `German`, `de`, `de-AT`, `zh-TW`, `Chinese (Traditional)`.
    /// Case, spaces and punctuation do not matter; a region that Zoom does not distinguish is
    /// ignored.
    pub fn from_text(text: &str) -> Option<Language> {
        let word = plain(text);
        let exact = |word: &str| {
            let named = LANGUAGES
                .iter()
                .position(|(name, tag)| plain(name) == word || plain(tag) == word)
                .and_then(|index| u8::try_from(index).ok());
            let aliased = ALIASES.iter().find(|(alias, _)| *alias == word);
            named.or(aliased.map(|(_, index)| *index)).map(Language)
        };
        exact(&word).or_else(|| {
            let (language, _region) = text.trim().split_once(['-', '_'])?;
            exact(&plain(language))
        })
    }

    /// Zoom's number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The English name, as Zoom has it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The BCP 47 tag.
    pub fn tag(self) -> &'static str {
        self.row().1
    }

    /// All tags, for an error that lists the accepted ones.
    pub fn tags() -> impl Iterator<Item = &'static str> {
        LANGUAGES.iter().map(|(_, tag)| *tag)
    }

    fn row(self) -> (&'static str, &'static str) {
        // The number was checked when the value was created.
        LANGUAGES
            .get(usize::from(self.0))
            .copied()
            .unwrap_or(("unknown", "und"))
    }
}

fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_found_by_number_name_and_tag() {
        for number in 0..37 {
            let language = Language::from_number(number).expect("in the table");
            assert_eq!(i64::from(language.number()), number);
            assert_eq!(Language::from_text(language.name()), Some(language));
            assert_eq!(Language::from_text(language.tag()), Some(language));
        }
        for number in [-1, 37, 256, i64::MAX, i64::MIN] {
            assert_eq!(Language::from_number(number), None);
        }
    }

    #[test]
    fn common_words_are_understood() {
        for (text, expected) in [
            ("en", Some(9)),
            ("english", Some(9)),
            ("en-US", Some(9)),
            ("EN_gb", Some(9)),
            ("german", Some(14)),
            ("de-AT", Some(14)),
            ("fr", Some(13)),
            ("fr-CA", Some(12)),
            ("French Canada", Some(12)),
            ("zh", Some(4)),
            ("zh-TW", Some(5)),
            ("chinese traditional", Some(5)),
            ("pt-BR", Some(25)),
            ("klingon", None),
            ("", None),
            ("-", None),
            ("x-en", None),
        ] {
            let found = Language::from_text(text).map(Language::number);
            assert_eq!(found, expected, "{text}");
        }
    }
}
