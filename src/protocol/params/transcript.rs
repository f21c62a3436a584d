//! Transcript parameters: the initial language, and whether Zoom keeps it.

use super::wire::Content;
use crate::protocol::Language;

/// The requested transcript parameters. The default, Zoom's, sends nothing and lets Zoom detect the
/// language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TranscriptParams {
    /// `src_language`: the language that Zoom assumes for the first 30 seconds.
    pub language: Option<Language>,
    /// Keep that language (`enable_lid` false) instead of detecting it afterwards.
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
                    "auto, or a language as tag or English name, with \",pin\" to keep it; one of {tags}"
                ))
            }
        }
    }

    /// The value for `media_params`; `None` for the default.
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
