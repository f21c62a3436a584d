//! Transcript parameters: the language to begin with, and whether to stay with it.

use super::wire::Content;
use crate::protocol::Language;

/// How transcripts are asked for. The default, Zoom's, sends nothing and lets Zoom detect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TranscriptParams {
    /// `src_language`: what Zoom takes the first 30 seconds for.
    pub language: Option<Language>,
    /// Stay with that language (`enable_lid` false) instead of detecting from then on.
    pub is_pinned: bool,
}

impl TranscriptParams {
    /// The word of the default: Zoom detects the language.
    pub(crate) const AUTO: &str = "auto";

    /// Reads `auto`, a language, or `LANGUAGE,pin`.
    ///
    /// # Errors
    /// Another word; the error says what was expected.
    pub fn from_text(text: &str) -> Result<TranscriptParams, String> {
        if text.eq_ignore_ascii_case(TranscriptParams::AUTO) {
            return Ok(TranscriptParams::default());
        }
        let (language, is_pinned) = match text.rsplit_once(',') {
            Some((language, pin)) if pin.trim().eq_ignore_ascii_case("pin") => (language, true),
            _ => (text, false),
        };
        match Language::from_text(language) {
            Some(language) => Ok(TranscriptParams {
                language: Some(language),
                is_pinned,
            }),
            None => {
                let tags: Vec<&str> = Language::tags().collect();
                let tags = tags.join(" ");
                Err(format!(
                    "auto, or a language as tag or English name, with \",pin\" to stay with it; one of {tags}"
                ))
            }
        }
    }

    /// The value for `media_params`, or nothing when it would say nothing.
    pub(super) fn to_json(self) -> Option<String> {
        self.language.map(|language| {
            format!(
                "{{\"content_type\":{},\"src_language\":{},\"enable_lid\":{}}}",
                Content::TEXT,
                language.number(),
                !self.is_pinned
            )
        })
    }
}
