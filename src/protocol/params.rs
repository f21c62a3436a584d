//! placeholder until the branch lands
#![allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    Audio,
    Video,
    Share,
    Transcript,
    Chat,
    All,
}
impl MediaKind {
    pub const EACH: [MediaKind; 5] = [
        MediaKind::Audio,
        MediaKind::Video,
        MediaKind::Share,
        MediaKind::Transcript,
        MediaKind::Chat,
    ];
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
    pub const fn url_key(self) -> &'static str {
        match self {
            MediaKind::Share => "deskshare",
            k => k.name(),
        }
    }
    pub const fn scope(self) -> &'static str {
        match self {
            MediaKind::Audio => "meeting:read:meeting_audio",
            MediaKind::Video => "meeting:read:meeting_video",
            MediaKind::Share => "meeting:read:meeting_screenshare",
            MediaKind::Transcript => "meeting:read:meeting_transcript",
            MediaKind::Chat => "meeting:read:meeting_chat",
            MediaKind::All => "all",
        }
    }
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSelection(pub Vec<MediaKind>);
impl MediaSelection {
    pub fn is_all(&self) -> bool {
        self.0.contains(&MediaKind::All)
    }
    pub fn kinds(&self) -> &[MediaKind] {
        &self.0
    }
}
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MediaParams;
impl MediaParams {
    pub fn to_json(&self, _kind: MediaKind) -> Option<String> {
        None
    }
}
