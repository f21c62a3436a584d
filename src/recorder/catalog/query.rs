//! Which recordings are wanted.

use super::Recording;
use crate::domain::time::Utc;

/// What a recording must fit. The default fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Part of the topic, a speaker, the number or an id, in lower case; empty for any.
    pub text: String,
    /// Part of the name of one who spoke, in lower case; empty for any.
    pub speaker: String,
    /// Started then or later, Unix milliseconds.
    pub since_ms: u64,
}

impl Query {
    /// Whether a recording in the folder of that day can fit.
    pub(super) fn wants_day(&self, day: &str) -> bool {
        day >= Utc::from_unix_ms(self.since_ms).date().as_str()
    }

    /// Whether a recording fits.
    pub fn wants(&self, recording: &Recording) -> bool {
        recording.started_ms >= self.since_ms
            && (self.speaker.is_empty() || recording.is_spoken_by(&self.speaker))
            && (self.text.is_empty() || self.is_text_of(recording))
    }

    fn is_text_of(&self, recording: &Recording) -> bool {
        // Numbers are copied with spaces or hyphens: 848 4496 2250.
        let number = self.text.replace([' ', '-'], "");
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let meeting_id = recording.meeting_id.as_deref();
        let ids = [&recording.id, &recording.stream_id, &recording.key];
        (is_number && meeting_id.is_some_and(|id| id.contains(&number)))
            || has(recording.topic.as_deref().unwrap_or_default(), &self.text)
            || ids.into_iter().any(|id| has(id, &self.text))
            || recording.is_spoken_by(&self.text)
    }
}

/// Whether a text has a part, in lower case, whatever its own case.
pub(super) fn has(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(part)
}
