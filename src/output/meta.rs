//! `meta.json`: what a folder holds, for people and programs that find it later.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::append::create_file;
use super::record::StreamInfo;
use crate::time::Utc;

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
        for (key, text) in [("meeting_id", &info.meeting_id), ("topic", &info.topic)] {
            if let Some(text) = text {
                value[key] = text.as_str().into();
            }
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
