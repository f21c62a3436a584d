//! `meta.json`: what a folder holds, for people and programs that find it later.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::append_file::create_file;
use super::audio::format::{Format, Part};
use super::participants::ParticipantLog;
use crate::domain::product::Product;
use crate::domain::stream_info::StreamInfo;
use crate::domain::time::Utc;

/// The file's name.
pub const FILE_NAME: &str = "meta.json";

/// What is told beside the stream's ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// When our files begin, Unix milliseconds.
    pub opened_ms: u64,
    /// Times the files were opened: once, and once more after each restart of the daemon.
    pub openings: u64,
    /// When they were completed; 0 while they grow.
    pub ended_ms: u64,
    /// Why they were completed, in one word.
    pub end: String,
    /// The same in a sentence.
    pub end_text: String,
    /// `stop_reason`, if Zoom gave one.
    pub stop_reason: Option<i64>,
    /// Phrases written.
    pub phrases: u64,
    /// Records that could not be kept, because the disk took nothing for too long.
    pub dropped: u64,
    /// Parameters in force by media, as Zoom's JSON.
    pub granted: Vec<(String, String)>,
    /// Who was there.
    pub people: ParticipantLog,
    /// Files of sound, in the order in which they began.
    pub audio: Vec<Part>,
    /// Files of pictures, by kind: `video`, `share`.
    pub pictures: Vec<(&'static str, Value)>,
    /// Packets that held nothing of the granted format.
    pub malformed: u64,
}

impl Meta {
    /// Goes on with what an earlier process of ours left in the folder.
    pub fn resume(folder: &Path) -> Meta {
        let Ok(bytes) = fs::read(folder.join(FILE_NAME)) else {
            return Meta::default();
        };
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else {
            return Meta::default();
        };
        let number = |key: &str| value[key].as_u64().unwrap_or(0);
        Meta {
            opened_ms: number("opened_ms"),
            openings: number("openings"),
            phrases: number("transcripts"),
            dropped: number("dropped"),
            malformed: number("malformed_packets"),
            granted: value["media_params"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(kind, params)| (kind.clone(), params.to_string()))
                .collect(),
            people: ParticipantLog::resume(&value["participants"]),
            audio: value["audio"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(part)
                .collect(),
            pictures: ["video", "share"]
                .into_iter()
                .filter(|kind| value[*kind].is_object())
                .map(|kind| (kind, value[kind].clone()))
                .collect(),
            ..Meta::default()
        }
    }

    /// The file's content.
    pub fn to_json(&self, info: &StreamInfo) -> String {
        let granted: serde_json::Map<String, Value> = self
            .granted
            .iter()
            .map(|(kind, params)| {
                (
                    kind.clone(),
                    serde_json::from_str(params).unwrap_or_default(),
                )
            })
            .collect();
        let mut value = json!({
            "v": 1,
            "product": info.product.name(),
            info.product.id_key(): info.id,
            "stream_id": info.stream_id,
            "started_ms": info.started_ms,
            "started": Utc::from_unix_ms(info.started_ms).to_string(),
            "opened_ms": self.opened_ms,
            "openings": self.openings,
            "state": if self.ended_ms == 0 { "receiving" } else { "ended" },
            "transcripts": self.phrases,
            "dropped": self.dropped,
            "media_params": granted,
            "written_by": concat!("rtmsd ", env!("CARGO_PKG_VERSION")),
        });
        if let Some(people) = self.people.to_json() {
            value["participants"] = people;
        }
        if !self.audio.is_empty() {
            let parts = self
                .audio
                .iter()
                .map(|part| part_json(part, info.started_ms));
            value["audio"] = parts.collect();
        }
        for (kind, facts) in &self.pictures {
            value[kind] = facts.clone();
        }
        if self.malformed > 0 {
            value["malformed_packets"] = self.malformed.into();
        }
        for (key, text) in [
            ("meeting_id", &info.meeting_id),
            ("topic", &info.topic),
            ("operator_id", &info.operator_id),
            ("account_id", &info.account_id),
        ] {
            if let Some(text) = text {
                value[key] = text.as_str().into();
            }
        }
        if let Some(is_host) = info.is_original_host {
            value["is_original_host"] = is_host.into();
        }
        if self.ended_ms != 0 {
            value["ended_ms"] = self.ended_ms.into();
            value["ended"] = Utc::from_unix_ms(self.ended_ms).to_string().into();
            value["end"] = self.end.as_str().into();
            value["end_text"] = self.end_text.as_str().into();
            if let Some(reason) = self.stop_reason {
                value["stop_reason"] = reason.into();
            }
        }
        format!("{value:#}\n")
    }

    /// Replaces the file whole: a reader sees the old one or the new one.
    pub fn write(&self, folder: &Path, info: &StreamInfo, sync: bool) -> io::Result<()> {
        let temporary = folder.join(".meta.json.new");
        let mut file = create_file(&temporary)?;
        file.write_all(self.to_json(info).as_bytes())?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&temporary, folder.join(FILE_NAME))
    }
}

/// Which stream a `meta.json` is about; `None` if it does not say.
pub fn stream_info(value: &Value) -> Option<StreamInfo> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let product = Product::from_name(value["product"].as_str()?)?;
    let started_ms = value["started_ms"].as_u64()?;
    let id = text(product.id_key())?;
    Some(StreamInfo {
        meeting_id: text("meeting_id"),
        topic: text("topic"),
        operator_id: text("operator_id"),
        is_original_host: value["is_original_host"].as_bool(),
        account_id: text("account_id"),
        ..StreamInfo::new(product, &id, &text("stream_id")?, started_ms)
    })
}

/// One file of sound. `offset_ms` is from the stream's zero, `started_ms`, to the file's first sound.
fn part_json(part: &Part, started_ms: u64) -> Value {
    let (codec, rate_hz, channels) = part.format.facts();
    let mut value = json!({
        "file": part.file,
        "user_id": part.user_id,
        "user_name": part.user_name,
        "codec": codec,
        "sample_rate": rate_hz,
        "channels": channels,
        "first_ms": part.first_ms,
        "offset_ms": offset_ms(part.first_ms, started_ms),
    });
    if let Some(channel) = part.channel_id {
        value["channel_id"] = channel.into();
    }
    value
}

/// Milliseconds from the stream's zero to a stamp, which may be earlier; null if there is no stamp.
pub(super) fn offset_ms(stamp_ms: u64, started_ms: u64) -> Option<i64> {
    let stamp = i64::try_from(stamp_ms).ok().filter(|stamp| *stamp > 0)?;
    Some(stamp - i64::try_from(started_ms).ok()?)
}

fn part(value: &Value) -> Option<Part> {
    let number = |key: &str| value[key].as_u64();
    let file = value["file"].as_str()?;
    // The file was ours and says so; but a name with a way in it is not followed.
    if file.contains('/') || !file.starts_with("audio-") {
        return None;
    }
    let channels = number("channels").filter(|n| (1..=2).contains(n))? as u16;
    let rate_hz = number("sample_rate").filter(|n| (8000..=48_000).contains(n))? as u32;
    let format = match value["codec"].as_str()? {
        codec @ ("l16" | "g711") => Format::Linear {
            rate_hz,
            channels,
            is_alaw: codec == "g711",
        },
        "opus" => Format::Opus {
            channels: channels as u8,
        },
        "g722" => Format::G722,
        _ => return None,
    };
    Some(Part {
        file: file.to_owned(),
        user_id: number("user_id")?,
        user_name: value["user_name"].as_str().unwrap_or_default().to_owned(),
        channel_id: number("channel_id"),
        format,
        first_ms: number("first_ms")?,
    })
}
