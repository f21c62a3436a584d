//! The requested kinds of media and their parameters (RTMS media parameters).
//!
//! Readable words are parsed and checked against what Zoom accepts, and written as the
//! `media_params` of message 3. What message 4 grants is parsed here too. The configuration keys
//! are defined in `config`.

pub(crate) mod audio;
pub(crate) mod kind;
pub(crate) mod picture;
pub(crate) mod transcript;
pub(crate) mod wire;

use std::fmt;

use serde_json::Value;

pub use audio::AudioParams;
pub use kind::{MediaKind, MediaSelection};
pub use picture::{FPS_MAX, ShareParams, VideoParams};
pub use transcript::TranscriptParams;
pub use wire::{
    AudioCodec, AudioStreams, Channels, Content, Resolution, SampleRate, VideoCodec, VideoStreams,
};

use super::Language;

/// Largest message of anything but pictures, in bytes. A second of stereo at 48 kHz needs a
/// sixteenth of it.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The parameters of every kind of media. The default is Zoom's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MediaParams {
    /// Audio parameters.
    pub audio: AudioParams,
    /// Video parameters.
    pub video: VideoParams,
    /// Parameters of the shared screen.
    pub share: ShareParams,
    /// Transcript parameters.
    pub transcript: TranscriptParams,
}

/// The media parameters in force on a media socket, by message 4.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// The kind of the socket; `All` for every kind.
    pub kind: MediaKind,
    /// The granted values. A field that is absent or unknown counts as granted as requested.
    pub params: MediaParams,
    /// The fields that were not understood, to be logged.
    pub unknown: Vec<&'static str>,
    /// Zoom's JSON under `media_params`.
    pub json: String,
}

impl Granted {
    /// Whether it applies to this kind of media.
    pub fn is_of(&self, kind: MediaKind) -> bool {
        self.kind == kind || self.kind == MediaKind::All
    }
}

/// A combination that Zoom would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamFault {
    /// The parameter: `audio.sample_rate`.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What would be accepted.
    pub expected: String,
}

impl fmt::Display for ParamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParamFault {
            field,
            found,
            expected,
        } = self;
        write!(f, "{field}: found {found}, expected {expected}")
    }
}

impl MediaParams {
    /// Everything that Zoom would refuse.
    pub fn faults(&self) -> Vec<ParamFault> {
        let mut faults = self.audio.faults();
        faults.extend(self.video.faults());
        faults.extend(self.share.faults());
        faults
    }

    /// The largest possible message on a socket of this kind, in bytes: an incompressible picture
    /// in base64, and a mebibyte for the rest.
    pub fn message_bytes_max(&self, kind: MediaKind) -> usize {
        let (video, share) = (&self.video, &self.share);
        let video = picture_bytes_max(video.codec, video.resolution);
        let share = picture_bytes_max(share.codec, share.resolution);
        let bytes = match kind {
            MediaKind::Video => video,
            MediaKind::Share => share,
            MediaKind::All => video.max(share),
            MediaKind::Audio | MediaKind::Transcript | MediaKind::Chat => 0,
        };
        MESSAGE_BYTES_MAX.max((bytes.div_ceil(3) * 4).next_multiple_of(1 << 20) + (1 << 20))
    }

    /// The `media_params` of message 3 for a socket of this kind, as JSON; `None` to leave it out.
    ///
    /// Audio, video and share are always written in full, as Zoom's own SDK does, so that the
    /// result does not depend on defaults. A transcript without a chosen language is requested
    /// without parameters, as that SDK does.
    pub fn to_json(&self, kind: MediaKind) -> Option<String> {
        let of = |kind: MediaKind| -> Option<String> {
            let params = match kind {
                MediaKind::Audio => self.audio.to_json(),
                MediaKind::Video => self.video.to_json(),
                MediaKind::Share => self.share.to_json(),
                MediaKind::Transcript => self.transcript.to_json()?,
                MediaKind::Chat => format!("{{\"content_type\":{}}}", Content::TEXT),
                MediaKind::All => return None,
            };
            Some(format!("\"{}\":{params}", kind.url_key()))
        };
        let members: Vec<String> = match kind {
            MediaKind::All => MediaKind::SINGLE.into_iter().filter_map(of).collect(),
            single => of(single).into_iter().collect(),
        };
        (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
    }

    /// Parses what message 4 grants on a socket of this kind.
    pub fn granted(&self, kind: MediaKind, json: &str) -> Granted {
        let (params, unknown) = self.changed_by(json);
        Granted {
            kind,
            params,
            unknown,
            json: json.to_owned(),
        }
    }

    /// These parameters with every field of a `media_params` applied that is understood, number or
    /// string, and the names of the other fields.
    fn changed_by(&self, json: &str) -> (MediaParams, Vec<&'static str>) {
        let Ok(value) = serde_json::from_str::<Value>(json) else {
            return (*self, vec!["media_params"]);
        };
        let mut granted = GrantReader {
            value: &value,
            unknown: Vec::new(),
        };
        let language =
            granted.value(
                "transcript.src_language",
                self.transcript.language,
                |n| match n {
                    -1 => Some(None),
                    number => Language::from_number(number).map(Some),
                },
            );
        let is_detecting = match granted.field("transcript.enable_lid") {
            Some(Value::Bool(is_detecting)) => *is_detecting,
            _ => !self.transcript.is_pinned,
        };
        let params = MediaParams {
            audio: self.audio.granted(&mut granted),
            video: self.video.granted(&mut granted),
            share: self.share.granted(&mut granted),
            transcript: TranscriptParams {
                language,
                is_pinned: !is_detecting,
            },
        };
        (params, granted.unknown)
    }
}

/// Bytes of an incompressible picture: PNG has three per pixel; JPEG and H.264 share colours among
/// four pixels, which leaves one and a half.
fn picture_bytes_max(codec: VideoCodec, resolution: Resolution) -> usize {
    let pixels = match resolution {
        Resolution::Sd => 854 * 480,
        Resolution::Hd => 1280 * 720,
        Resolution::Fhd => 1920 * 1080,
        Resolution::Qhd => 2560 * 1440,
    };
    match codec {
        VideoCodec::Png => pixels * 3,
        VideoCodec::Jpg | VideoCodec::H264 => pixels * 3 / 2,
    }
}

/// Reads single fields of a granted `media_params`.
struct GrantReader<'a> {
    value: &'a Value,
    unknown: Vec<&'static str>,
}

impl<'a> GrantReader<'a> {
    /// The field `kind.name`; null counts as absent.
    fn field(&self, path: &'static str) -> Option<&'a Value> {
        let (kind, name) = path.split_once('.')?;
        let params = match kind {
            "share" => self.value.get("deskshare").or(self.value.get("share")),
            kind => self.value.get(kind),
        };
        params?.get(name).filter(|value| !value.is_null())
    }

    fn value<T>(&mut self, path: &'static str, asked: T, read: impl Fn(i64) -> Option<T>) -> T {
        let Some(value) = self.field(path) else {
            return asked;
        };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_i64(),
        };
        match number.and_then(read) {
            Some(granted) => granted,
            None => {
                self.unknown.push(path);
                asked
            }
        }
    }
}

/// The words of a comma-separated list.
pub(crate) fn each_word(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// Joins words as `a, b or c`.
pub(crate) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requested_parameters_as_json() {
        let mut params = MediaParams::default();
        let check = |params: &MediaParams, kind, expected: Option<&str>| {
            let found = params.to_json(kind);
            assert_eq!(found.as_deref(), expected);
            if let Some(json) = found {
                serde_json::from_str::<Value>(&json).expect("JSON");
            }
        };
        check(&params, MediaKind::Transcript, None);
        check(
            &params,
            MediaKind::Audio,
            Some(
                r#"{"audio":{"content_type":2,"sample_rate":1,"channel":1,"codec":1,"data_opt":1,"send_rate":20}}"#,
            ),
        );
        check(
            &params,
            MediaKind::Share,
            Some(r#"{"deskshare":{"content_type":3,"codec":5,"resolution":3,"fps":1}}"#),
        );
        check(
            &params,
            MediaKind::Chat,
            Some(r#"{"chat":{"content_type":5}}"#),
        );
        params.transcript = TranscriptParams::from_text("german, pin").expect("a language");
        check(
            &params,
            MediaKind::Transcript,
            Some(r#"{"transcript":{"content_type":5,"src_language":14,"enable_lid":false}}"#),
        );
        params.audio = AudioParams::of(AudioCodec::Opus);
        check(
            &params,
            MediaKind::All,
            Some(concat!(
                r#"{"audio":{"content_type":2,"sample_rate":3,"channel":1,"codec":4,"data_opt":1,"send_rate":20},"#,
                r#""video":{"content_type":3,"codec":5,"resolution":2,"data_opt":3,"fps":5},"#,
                r#""deskshare":{"content_type":3,"codec":5,"resolution":3,"fps":1},"#,
                r#""transcript":{"content_type":5,"src_language":14,"enable_lid":false},"#,
                r#""chat":{"content_type":5}}"#,
            )),
        );
    }

    #[test]
    fn the_largest_message_of_a_socket() {
        let mut params = MediaParams::default();
        let mib = |params: &MediaParams, kind| params.message_bytes_max(kind) >> 20;
        for (codec, resolution, expected) in [
            (VideoCodec::Jpg, Resolution::Hd, 4),
            (VideoCodec::Jpg, Resolution::Fhd, 5),
            (VideoCodec::H264, Resolution::Qhd, 9),
            (VideoCodec::Png, Resolution::Hd, 5),
            (VideoCodec::Png, Resolution::Fhd, 9),
            (VideoCodec::Png, Resolution::Qhd, 16),
        ] {
            params.share.codec = codec;
            params.share.resolution = resolution;
            assert_eq!(
                mib(&params, MediaKind::Share),
                expected,
                "{codec:?} {resolution:?}"
            );
        }
        for (kind, expected) in [
            (MediaKind::All, 16),
            (MediaKind::Video, 4),
            (MediaKind::Audio, 4),
            (MediaKind::Transcript, 4),
        ] {
            assert_eq!(mib(&params, kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn echoed_parameters_are_granted() {
        let asked = MediaParams {
            audio: AudioParams::of(AudioCodec::G711),
            video: VideoParams::complete(Some(VideoCodec::H264), None),
            share: ShareParams::complete(Some(VideoCodec::Png), None),
            transcript: TranscriptParams::from_text("fr-CA,pin").expect("a language"),
        };
        let echo = asked.to_json(MediaKind::All).expect("all is never empty");
        assert_eq!(MediaParams::default().changed_by(&echo), (asked, vec![]));
        assert_eq!(asked.changed_by("{}"), (asked, vec![]));
    }

    #[test]
    fn malformed_grants_count_as_requested() {
        let check = |json: &str, change: fn(&mut MediaParams), unknown: &[&str]| {
            let mut expected = MediaParams::default();
            change(&mut expected);
            let (found, names) = MediaParams::default().changed_by(json);
            assert_eq!(found, expected, "{json}");
            assert_eq!(names, unknown, "{json}");
        };
        check(
            r#"{"audio":{"codec":"4","sample_rate":" 3 ","channel":null}}"#,
            |params| {
                params.audio.codec = AudioCodec::Opus;
                params.audio.sample_rate = SampleRate::Hz48000;
            },
            &[],
        );
        check(
            r#"{"share":{"fps":7},"transcript":{"src_language":-1}}"#,
            |params| params.share.fps = 7,
            &[],
        );
        check(
            r#"{"audio":{"codec":99,"send_rate":-5},"video":{"fps":4000,"codec":[1]}}"#,
            |_| {},
            &["audio.codec", "audio.send_rate", "video.codec", "video.fps"],
        );
        for json in ["null", "[]", "3", r#"{"audio":7}"#, r#"{"audio":[]}"#] {
            check(json, |_| {}, &[]);
        }
        check("{", |_| {}, &["media_params"]);
    }

    #[test]
    fn a_language_is_parsed_from_a_word() {
        let read = |text| TranscriptParams::from_text(text).map(|found| found.to_json());
        assert_eq!(read("auto"), Ok(None));
        assert!(read("auto,pin").is_err());
        assert!(read("de,pinned").is_err());
        assert!(read(",pin").is_err());
        let error = read("elvish").expect_err("no language of Zoom's");
        assert!(error.starts_with("auto, or a language as tag or English name"));
    }
}
