//! The kinds of media, and the selection of wanted ones.

use std::fmt;

use crate::domain::product::Product;

/// A kind of media, or `All` for one socket for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MediaKind {
    /// Speech as sound.
    Audio,
    /// Cameras.
    Video,
    /// The shared screen; `deskshare` on the wire.
    Share,
    /// Speech as text.
    Transcript,
    /// Chat messages.
    Chat,
    /// Everything, on one socket.
    All,
}

impl MediaKind {
    /// Each single kind.
    pub const SINGLE: [MediaKind; 5] = [
        MediaKind::Audio,
        MediaKind::Video,
        MediaKind::Share,
        MediaKind::Transcript,
        MediaKind::Chat,
    ];

    /// `media_type` on the wire.
    pub const fn bit(self) -> u32 {
        match self {
            MediaKind::Audio => 1,
            MediaKind::Video => 2,
            MediaKind::Share => 4,
            MediaKind::Transcript => 8,
            MediaKind::Chat => 16,
            MediaKind::All => 32,
        }
    }

    /// The word in the configuration, in files and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
            MediaKind::Share => "share",
            MediaKind::Transcript => "transcript",
            MediaKind::Chat => "chat",
            MediaKind::All => "all",
        }
    }

    /// The single kind (or `all`) with that name.
    pub fn from_name(name: &str) -> Option<MediaKind> {
        MediaKind::SINGLE
            .into_iter()
            .chain([MediaKind::All])
            .find(|kind| kind.name() == name)
    }

    /// The key in message 2's `server_urls` and in `media_params`.
    pub const fn url_key(self) -> &'static str {
        match self {
            MediaKind::Share => "deskshare",
            other => other.name(),
        }
    }

    /// The scope that the app needs for this kind, if its name is published: for meetings and
    /// webinars.
    pub const fn scope(self, product: Product) -> Option<&'static str> {
        match (product, self) {
            (Product::Meeting, MediaKind::Audio) => Some("meeting:read:meeting_audio"),
            (Product::Meeting, MediaKind::Video) => Some("meeting:read:meeting_video"),
            (Product::Meeting, MediaKind::Share) => Some("meeting:read:meeting_screenshare"),
            (Product::Meeting, MediaKind::Transcript) => Some("meeting:read:meeting_transcript"),
            (Product::Meeting, MediaKind::Chat) => Some("meeting:read:meeting_chat"),
            (Product::Webinar, MediaKind::Audio) => Some("webinar:read:webinar_audio"),
            (Product::Webinar, MediaKind::Video) => Some("webinar:read:webinar_video"),
            (Product::Webinar, MediaKind::Share) => Some("webinar:read:webinar_screenshare"),
            (Product::Webinar, MediaKind::Transcript) => Some("webinar:read:webinar_transcript"),
            (Product::Webinar, MediaKind::Chat) => Some("webinar:read:webinar_chat"),
            _ => None,
        }
    }
}

/// The wanted media: `RTMS_MEDIA`. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSelection {
    kinds: Vec<MediaKind>,
}

impl Default for MediaSelection {
    fn default() -> Self {
        MediaSelection {
            kinds: vec![MediaKind::Transcript],
        }
    }
}

/// As [`MediaSelection::from_text`] reads it.
impl fmt::Display for MediaSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl MediaSelection {
    /// A selection of these kinds, each once. `None` if there is none; [`MediaKind::All`] includes
    /// the others.
    pub fn new(kinds: &[MediaKind]) -> Option<MediaSelection> {
        if kinds.contains(&MediaKind::All) {
            return Some(MediaSelection {
                kinds: vec![MediaKind::All],
            });
        }
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        (!kinds.is_empty()).then_some(MediaSelection { kinds })
    }

    /// Reads a comma-separated list of kinds, or `all`.
    ///
    /// # Errors
    /// Another word; the error says what was expected.
    pub fn from_text(text: &str) -> Result<MediaSelection, String> {
        if text == "all" {
            return Ok(MediaSelection {
                kinds: vec![MediaKind::All],
            });
        }
        super::each_word(text)
            .map(|word| MediaKind::from_name(word).filter(|kind| *kind != MediaKind::All))
            .collect::<Option<Vec<MediaKind>>>()
            .and_then(|kinds| MediaSelection::new(&kinds))
            .ok_or_else(|| "any of transcript,audio,video,share,chat, or all".to_owned())
    }

    /// Whether everything is received on one socket.
    pub fn is_all(&self) -> bool {
        self.kinds.contains(&MediaKind::All)
    }

    /// Whether this single kind is wanted.
    pub fn is_wanted(&self, kind: MediaKind) -> bool {
        self.is_all() || self.kinds.contains(&kind)
    }

    /// The kinds to open a socket for: `[All]`, or single kinds in the order of their bits.
    pub fn kinds(&self) -> &[MediaKind] {
        &self.kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_parsed() {
        let check = |text: &str, expected: &[MediaKind]| {
            let found = MediaSelection::from_text(text).expect("a selection");
            assert_eq!(found.kinds, expected, "{text}");
            assert_eq!(MediaSelection::from_text(&found.to_string()), Ok(found));
        };
        check("transcript", &[MediaKind::Transcript]);
        check("chat, audio ,chat", &[MediaKind::Audio, MediaKind::Chat]);
        check("all", &[MediaKind::All]);
        for bad in [
            "",
            "deskshare",
            "audio,",
            "all,audio",
            "audio video",
            "Audio\0",
        ] {
            let expected = "any of transcript,audio,video,share,chat, or all";
            let found = MediaSelection::from_text(bad);
            assert_eq!(found, Err(expected.to_owned()), "{bad:?}");
        }
    }

    #[test]
    fn names_are_parsed_back() {
        for kind in MediaKind::SINGLE.into_iter().chain([MediaKind::All]) {
            assert_eq!(MediaKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(MediaKind::Share.url_key(), "deskshare");
        let scope = MediaKind::Share.scope(Product::Meeting);
        assert_eq!(scope, Some("meeting:read:meeting_screenshare"));
    }
}
