//! The text messages: one JSON object each, with a `type`.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use serde_json::{Value, json};

use super::head::Kind;
use crate::domain::id::Id;
use crate::protocol::MediaParams;
use crate::protocol::params::{AudioParams, AudioStreams, Resolution, VideoCodec};

/// The parameters in force, in the words of the configuration.
pub fn format(kind: Kind, params: &MediaParams) -> String {
    let MediaParams {
        audio,
        video,
        share,
        ..
    } = params;
    let members = match kind {
        Kind::Audio => sound(audio),
        Kind::Video => {
            let mut members = pictures(video.codec, video.resolution, video.fps);
            members["streams"] = video.streams.name().into();
            members
        }
        Kind::Share => pictures(share.codec, share.resolution, share.fps),
    };
    let mut text = json!({"type": "format", "kind": kind.name()});
    if let (Value::Object(text), Value::Object(members)) = (&mut text, members) {
        text.extend(members);
    }
    text.to_string()
}

fn sound(audio: &AudioParams) -> Value {
    json!({
        "codec": audio.codec.name(),
        "content": audio.content.name(),
        "sample_rate": audio.sample_rate.hz(),
        "channels": audio.channels.count(),
        "streams": audio.streams.name(),
        "send_rate_ms": audio.send_rate_ms,
    })
}

fn pictures(codec: VideoCodec, resolution: Resolution, fps: u8) -> Value {
    json!({"codec": codec.name(), "resolution": resolution.name(), "fps": fps})
}

/// Whether sound has no speakers to choose from.
pub fn is_mixed(audio: &AudioParams) -> bool {
    audio.streams == AudioStreams::Mixed
}

/// Announces the number of a speaker.
pub fn speaker(number: u32, user_id: &Id<'_>, name: &str, channel_id: Option<&Id<'_>>) -> String {
    let known = !user_id.is_unknown();
    json!({
        "type": "speaker",
        "speaker": number,
        "user_id": known.then_some(user_id),
        "user_name": (!name.is_empty()).then_some(name),
        "channel_id": channel_id,
    })
    .to_string()
}

/// Nothing follows.
pub fn end(reason: &str) -> String {
    json!({"type": "end", "reason": reason}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_say_what_is_granted_who_speaks_and_why_it_ends() {
        let params = MediaParams::default();
        let parsed = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");
        assert_eq!(
            parsed(format(Kind::Audio, &params)),
            json!({"type": "format", "kind": "audio", "codec": "l16", "content": "raw",
                   "sample_rate": 16000, "channels": 1, "streams": "mixed", "send_rate_ms": 20})
        );
        assert_eq!(
            parsed(format(Kind::Video, &params)),
            json!({"type": "format", "kind": "video", "codec": "jpg", "resolution": "hd",
                   "fps": 5, "streams": "active"})
        );
        assert_eq!(parsed(format(Kind::Share, &params))["resolution"], "fhd");
        let ada = speaker(3, &Id::Number(16_778_240), "Ada \"A\"", None);
        assert_eq!(
            parsed(ada),
            json!({"type": "speaker", "speaker": 3, "user_id": 16_778_240,
                   "user_name": "Ada \"A\"", "channel_id": null})
        );
        let channel = Id::from_text("left").expect("an id");
        let party = parsed(speaker(1, &Id::UNKNOWN, "", Some(&channel)));
        assert_eq!(
            (&party["user_id"], &party["user_name"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(party["channel_id"], "left");
        assert_eq!(
            parsed(end("stopped")),
            json!({"type": "end", "reason": "stopped"})
        );
    }
}
