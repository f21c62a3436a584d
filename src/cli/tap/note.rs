//! The text messages of `/media`, read.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use serde::Deserialize;

use crate::domain::id::Id;
use crate::protocol::params::{
    AudioCodec, AudioParams, AudioStreams, Channels, Content, SampleRate,
};

/// One message; `None` for one of a later version.
pub(super) fn parse(text: &str) -> Option<Note> {
    serde_json::from_str(text).ok()
}

/// See the module.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Note {
    /// The parameters in force.
    Format(Format),
    /// Who has a number.
    Speaker(Speaker),
    /// Nothing follows.
    End {
        /// Why.
        reason: String,
    },
    /// Of a later version.
    #[serde(other)]
    Other,
}

/// Of sound; other kinds lack them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Format {
    codec: String,
    content: String,
    sample_rate: u32,
    channels: u16,
    streams: String,
    send_rate_ms: u16,
}

/// A speaker.
#[derive(Debug, Deserialize)]
pub(super) struct Speaker {
    pub(super) speaker: u32,
    #[serde(default)]
    user_id: Option<Id<'static>>,
    #[serde(default)]
    user_name: Option<String>,
    #[serde(default)]
    channel_id: Option<Id<'static>>,
}

impl Format {
    /// The parameters of sound; `None` for those of a later version.
    pub(super) fn sound(&self) -> Option<AudioParams> {
        let rate = |it: &&SampleRate| it.hz() == self.sample_rate;
        let channels = |it: &&Channels| it.count() == self.channels;
        Some(AudioParams {
            content: Content::from_text(&self.content).ok()?,
            codec: AudioCodec::from_text(&self.codec).ok()?,
            sample_rate: *SampleRate::ALL.iter().find(rate)?,
            channels: *Channels::ALL.iter().find(channels)?,
            streams: AudioStreams::from_text(&self.streams).ok()?,
            send_rate_ms: self.send_rate_ms,
        })
    }
}

impl Speaker {
    /// Whether a person means this one: by the name, whatever its case, or by an id.
    pub(super) fn is_named(&self, text: &str) -> bool {
        let id = Id::from_text(text);
        let name = self.user_name.as_deref().unwrap_or_default();
        id.is_some() && (self.user_id == id || self.channel_id == id)
            || name.trim().to_lowercase() == text.trim().to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::media::head::Kind;
    use crate::delivery::media::text;
    use crate::protocol::MediaParams;

    #[test]
    fn what_the_server_says_is_read() {
        let params = MediaParams {
            audio: AudioParams {
                channels: Channels::Stereo,
                sample_rate: SampleRate::Hz48000,
                ..AudioParams::default()
            },
            ..MediaParams::default()
        };
        let sound = |kind| match parse(&text::format(kind, &params)) {
            Some(Note::Format(format)) => format.sound(),
            other => panic!("{other:?}"),
        };
        assert_eq!(sound(Kind::Audio), Some(params.audio));
        assert_eq!(sound(Kind::Video), None);
        let end = parse(&text::end("left"));
        assert!(matches!(end, Some(Note::End { reason }) if reason == "left"));
        assert!(matches!(
            parse(r#"{"type":"later","x":1}"#),
            Some(Note::Other)
        ));
        assert!(parse("no JSON").is_none());
    }

    #[test]
    fn m5_a_speaker_is_meant_by_name_or_id() {
        let speaker = |user_id: Id<'_>, name: &str, channel: Option<&Id<'_>>| match parse(
            &text::speaker(3, &user_id, name, channel),
        ) {
            Some(Note::Speaker(speaker)) => speaker,
            other => panic!("{other:?}"),
        };
        let ada = speaker(Id::Number(16_778_240), "Ada Ørsted", None);
        assert_eq!(ada.speaker, 3);
        for (text, expected) in [
            ("ada ørsted", true),
            ("16778240", true),
            ("Ada", false),
            ("1677824", false),
            ("", false),
        ] {
            assert_eq!(ada.is_named(text), expected, "{text:?}");
        }
        let left = Id::from_text("left").expect("an id");
        assert!(speaker(Id::UNKNOWN, "", Some(&left)).is_named("left"));
        assert!(!speaker(Id::Number(7), "", None).is_named("0"));
    }
}
