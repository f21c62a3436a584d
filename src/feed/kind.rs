//! The types of events: their names, and a filter of wanted types.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

/// Declares each name once, and the list of all.
macro_rules! kinds {
    ($( $(#[$doc:meta])* $name:ident = $text:literal; )+) => {
        $( $(#[$doc])* pub const $name: &str = $text; )+

        /// Every type, in the order of the manual.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

kinds! {
    /// A stream starts or continues, before it connects.
    STREAM_STARTED = "stream.started";
    /// Data may flow for the first time.
    STREAM_RECEIVING = "stream.receiving";
    /// A link is lost.
    STREAM_INTERRUPTED = "stream.interrupted";
    /// Zoom paused it (its state 5).
    STREAM_PAUSED = "stream.paused";
    /// Data flows again after a loss, a pause or a restart of the server.
    STREAM_RESUMED = "stream.resumed";
    /// The stream is over and its files are complete.
    STREAM_ENDED = "stream.ended";
    /// Consent was withdrawn.
    STREAM_REVOKED = "stream.revoked";
    /// An account or user removed the app (server's journal).
    ACCOUNT_DEAUTHORIZED = "account.deauthorized";
    /// A phrase.
    TRANSCRIPT_PHRASE = "transcript.phrase";
    /// A phrase that replaces an older one.
    TRANSCRIPT_UPDATED = "transcript.updated";
    /// An older phrase is deleted.
    TRANSCRIPT_DELETED = "transcript.deleted";
    /// A chat message.
    CHAT_MESSAGE = "chat.message";
    /// Participants joined.
    PARTICIPANT_JOINED = "participant.joined";
    /// Participants left.
    PARTICIPANT_LEFT = "participant.left";
    /// Another participant speaks.
    SPEAKER_CHANGED = "speaker.changed";
    /// A participant shares the screen.
    SHARING_STARTED = "sharing.started";
    /// The screen is no longer shared.
    SHARING_STOPPED = "sharing.stopped";
    /// Any other event of Zoom.
    EVENT_OTHER = "event.other";
    /// A file is complete.
    FILE_CLOSED = "file.closed";
    /// A file was uploaded to the bucket.
    FILE_UPLOADED = "file.uploaded";
    /// Records were dropped because the disk failed or was too slow.
    FEED_GAP = "feed.gap";
}

/// Whether a type is one of those that may follow `stream.ended` without a new `stream.started`.
pub fn may_follow_end(kind: &str) -> bool {
    matches!(kind, FILE_UPLOADED | STREAM_REVOKED)
}

/// Which types are wanted: `all`, or names and families with commas, as in
/// `transcript.*,stream.ended`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindFilter {
    /// A bit for each of [`ALL`].
    wanted: u32,
    /// All, those of a newer version included.
    is_all: bool,
}

impl Default for KindFilter {
    fn default() -> KindFilter {
        KindFilter {
            wanted: u32::MAX,
            is_all: true,
        }
    }
}

impl KindFilter {
    /// Parses it. The error says what was expected.
    ///
    /// # Errors
    /// The word is neither a type nor a family.
    pub fn from_text(text: &str) -> Result<KindFilter, String> {
        if text.trim() == "all" {
            return Ok(KindFilter::default());
        }
        let mut wanted = 0;
        for word in text.split(',').map(str::trim) {
            let is_meant = |kind: &str| match word.strip_suffix(".*") {
                Some(family) => kind.split_once('.').is_some_and(|(own, _)| own == family),
                None => kind == word,
            };
            let all = ALL.iter().enumerate();
            let found = all.filter(|(_, kind)| is_meant(kind));
            let bits = found.fold(0, |bits, (at, _)| bits | 1 << at);
            if bits == 0 {
                return Err(
                    "all, or types separated by commas, as in transcript.phrase or transcript.*"
                        .to_owned(),
                );
            }
            wanted |= bits;
        }
        Ok(KindFilter {
            wanted,
            is_all: false,
        })
    }

    /// Whether this type is wanted. One that this version does not know is wanted by `all` alone.
    pub fn wants(&self, kind: &str) -> bool {
        self.is_all
            || ALL
                .iter()
                .position(|known| *known == kind)
                .is_some_and(|at| self.wanted & 1 << at != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_dotted_lower_case_words() {
        assert!(ALL.len() <= 32, "a filter has a bit for each");
        for kind in ALL {
            let is_plain = |b: u8| b.is_ascii_lowercase() || b == b'_' || b == b'.';
            assert!(kind.bytes().all(is_plain), "{kind}");
            assert_eq!(kind.matches('.').count(), 1, "{kind}");
        }
    }

    #[test]
    fn filters() {
        let wants = |text: &str| -> Vec<&str> {
            let filter = KindFilter::from_text(text).expect("a filter");
            ALL.iter()
                .copied()
                .filter(|kind| filter.wants(kind))
                .collect()
        };
        assert_eq!(wants("all"), ALL);
        assert_eq!(
            wants(" transcript.* ,chat.message"),
            [
                TRANSCRIPT_PHRASE,
                TRANSCRIPT_UPDATED,
                TRANSCRIPT_DELETED,
                CHAT_MESSAGE
            ]
        );
        assert_eq!(wants("stream.ended,stream.ended"), [STREAM_ENDED]);
        assert!(KindFilter::default().wants("of.the.future"));
        for text in [
            "",
            "transcript",
            "transcript.",
            "*",
            ".*",
            "all,chat.message",
            "x.*",
            ",",
        ] {
            assert!(KindFilter::from_text(text).is_err(), "{text}");
        }
        let some = KindFilter::from_text("chat.*").expect("a filter");
        assert!(!some.wants("chat.of_the_future"));
    }
}
