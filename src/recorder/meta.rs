//! `meta.json`: describes a stream and the files in its folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::append_file::create_file;
use super::audio::format::{Format, Part};
use super::participants::ParticipantLog;
use super::path::journal_key;
use super::summary::Summary;
use crate::delivery::ends::Uploaded;
use crate::domain::id::Id;
use crate::domain::product::Product;
use crate::domain::stream_info::{Predecessor, StreamInfo, Tenure};
use crate::domain::time::Utc;

/// The file's name.
pub const FILE_NAME: &str = "meta.json";

/// Name of the file until it is complete.
pub const NEW_NAME: &str = ".meta.json.new";

/// Where the copies of the files are. It is kept like what a newer version wrote.
const UPLOADED: &str = "uploaded";

/// Which parts were removed, when and why. It is kept in the same way.
const REMOVED: &str = "removed";

/// What the recorder knows about a stream, besides its ids.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Meta {
    /// When the first file was opened, Unix milliseconds.
    pub opened_ms: u64,
    /// How often the files were opened: 1, and one more after each restart of the daemon.
    pub openings: u64,
    /// How the files were completed; `None` before that.
    pub end: Option<End>,
    /// The highest number given out in the journal, as far as it was noted.
    pub feed_seq: Option<u64>,
    /// The boot in which a process has the journal open; `None` once it was left cleanly.
    pub boot_id: Option<String>,
    /// Phrases written.
    pub phrases: u64,
    /// What they come to. Written at the end.
    pub summary: Summary,
    /// Records dropped because the disk failed or was too slow for too long.
    pub dropped: u64,
    /// Granted parameters by media kind, as Zoom's JSON.
    pub granted: BTreeMap<String, Value>,
    /// Media kinds that Zoom did not connect in time, and why; they are retried now and then.
    pub given_up: BTreeMap<String, String>,
    /// The participants.
    pub participants: ParticipantLog,
    /// Audio files, in the order in which they were started.
    pub audio: Vec<Part>,
    /// Facts about the video.
    pub video: Option<Value>,
    /// Facts about the shared screen.
    pub share: Option<Value>,
    /// Packets that were not in the granted format.
    pub malformed: u64,
    /// Keys written by a newer version of rtmsd.
    others: Map<String, Value>,
}

/// How the files of a stream were completed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct End {
    /// When, Unix milliseconds; `None` for a stream that another process continues.
    pub at_ms: Option<u64>,
    /// The reason as one word.
    pub word: String,
    /// The reason as a sentence.
    pub text: String,
    /// `stop_reason`, if Zoom gave one.
    pub stop_reason: Option<i64>,
    /// The node that goes on with it, if it was handed over.
    pub heir: Option<String>,
}

/// The content of the file. Keys are sorted when it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MetaFile {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feed_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_id: Option<String>,
    product: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    meeting_uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engagement_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    stream_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    meeting_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_original_host: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    /// In a fleet only, like `epoch`, `predecessor` and `heir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predecessor: Option<Predecessor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heir: Option<String>,
    started_ms: u64,
    started: String,
    opened_ms: u64,
    openings: u64,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<i64>,
    transcripts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speakers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    languages: Option<Vec<String>>,
    dropped: u64,
    #[serde(skip_serializing_if = "is_zero")]
    malformed_packets: u64,
    media_params: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    media_given_up: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "ParticipantLog::is_empty")]
    participants: ParticipantLog,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "readable_rows"
    )]
    audio: Vec<AudioRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Value>,
    written_by: String,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// One audio file. `offset_ms` is the time from the stream's zero, `started_ms`, to the file's
/// first packet.
#[derive(Debug, Serialize, Deserialize)]
struct AudioRow {
    file: String,
    user_id: Id<'static>,
    #[serde(default)]
    user_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel_id: Option<Id<'static>>,
    codec: String,
    sample_rate: u32,
    channels: u16,
    first_ms: u64,
    #[serde(default)]
    offset_ms: Option<i64>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Reads the rows that have the expected form and skips the others.
fn readable_rows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AudioRow>, D::Error> {
    let rows: Vec<Value> = Deserialize::deserialize(deserializer)?;
    let readable = rows.into_iter().map(serde_json::from_value);
    Ok(readable.filter_map(Result::ok).collect())
}

impl MetaFile {
    /// Reads the file of a stream's folder; `None` if it does not exist or is not ours.
    ///
    /// # Errors
    /// If the file exists and cannot be read.
    pub(crate) fn read(folder: &Path) -> io::Result<Option<MetaFile>> {
        match fs::read(folder.join(FILE_NAME)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it says that the files are complete.
    pub(super) fn is_ended(&self) -> bool {
        self.state == "ended"
    }

    /// Where the copies of the files are.
    pub(crate) fn uploaded(&self) -> Option<Uploaded> {
        let uploaded = self.others.get(UPLOADED)?;
        let text = |key: &str| uploaded[key].as_str().map(str::to_owned);
        Some(Uploaded {
            bucket: text("bucket")?,
            prefix: text("prefix")?,
            files: uploaded["files"].as_u64().unwrap_or(0),
        })
    }

    /// The highest number given out in the journal, as far as it was noted.
    pub(super) fn feed_seq(&self) -> Option<u64> {
        self.feed_seq
    }

    /// Adds to a file that no process writes where the copies of the files are, and, if the journal has
    /// grown, the number of its last line.
    ///
    /// # Errors
    /// It cannot be read or written; or it is gone, or not ours.
    pub(super) fn note_upload(
        folder: &Path,
        uploaded: Value,
        feed_seq: Option<u64>,
    ) -> io::Result<()> {
        let meta = MetaFile::read(folder)?;
        let mut meta = meta.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        meta.others.insert(UPLOADED.to_owned(), uploaded);
        meta.feed_seq = feed_seq.or(meta.feed_seq);
        let mut file = create_file(&folder.join(NEW_NAME))?;
        file.write_all(meta.to_text().as_bytes())?;
        file.sync_all()?;
        Meta::publish(folder)
    }

    fn to_text(&self) -> String {
        // A struct of texts and numbers can always be written as JSON.
        let value = serde_json::to_value(self).unwrap_or_default();
        format!("{value:#}\n")
    }

    /// In a fleet: which part of the stream it is.
    fn tenure(&self) -> Option<Tenure> {
        Some(Tenure {
            node: self.node.clone()?,
            epoch: self.epoch?,
            predecessor: self.predecessor.clone(),
        })
    }

    /// The stream it describes; `None` if it lacks the ids.
    pub(crate) fn stream_info(&self) -> Option<StreamInfo> {
        let product = Product::from_name(&self.product)?;
        let id = match product {
            Product::Meeting | Product::Webinar => self.meeting_uuid.as_deref(),
            Product::Session => self.session_id.as_deref(),
            Product::ContactCenter => self.engagement_id.as_deref(),
            Product::Phone => self.call_id.as_deref(),
        };
        let is_whole = !self.stream_id.is_empty() && self.started_ms != 0;
        Some(StreamInfo {
            meeting_id: self.meeting_id.clone(),
            topic: self.topic.clone(),
            operator_id: self.operator_id.clone(),
            is_original_host: self.is_original_host,
            account_id: self.account_id.clone(),
            app: self.app.clone(),
            tenure: self.tenure().map(Box::new),
            ..StreamInfo::new(product, id?, &self.stream_id, self.started_ms)
        })
        .filter(|_| is_whole)
    }
}

/// The text of `meta.json` with a note that a part of the stream was removed; `None` if the file is gone or
/// not ours.
///
/// # Errors
/// It cannot be read.
pub(super) fn with_removed(folder: &Path, part: &str, note: Value) -> io::Result<Option<String>> {
    let Some(mut meta) = MetaFile::read(folder)? else {
        return Ok(None);
    };
    let removed = meta.others.entry(REMOVED).or_insert_with(Value::default);
    if !removed.is_object() {
        *removed = Value::Object(Map::new());
    }
    removed[part] = note;
    Ok(Some(meta.to_text()))
}

impl Meta {
    /// Reads what an earlier process left in the folder.
    pub fn resume(folder: &Path) -> Meta {
        let Ok(Some(file)) = MetaFile::read(folder) else {
            return Meta::default();
        };
        let mut participants = file.participants;
        participants.sanitize();
        Meta {
            opened_ms: file.opened_ms,
            openings: file.openings,
            end: None,
            feed_seq: file.feed_seq,
            boot_id: file.boot_id,
            phrases: file.transcripts,
            summary: Summary::default(),
            dropped: file.dropped,
            malformed: file.malformed_packets,
            granted: file.media_params,
            given_up: BTreeMap::new(),
            participants,
            audio: file.audio.into_iter().filter_map(part).collect(),
            video: file.video.filter(Value::is_object),
            share: file.share.filter(Value::is_object),
            others: file.others,
        }
    }

    /// Whether the files are complete.
    pub fn is_ended(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.at_ms.is_some())
    }

    /// The content of the file.
    pub fn to_json(&self, info: &StreamInfo) -> String {
        let id = |is_own: bool| is_own.then(|| info.id.clone());
        // Another process continues a stream that this one left; its files are not complete.
        let end = self.end.as_ref().filter(|end| end.at_ms.is_some());
        let ended_ms = end.and_then(|end| end.at_ms);
        let utc = |ms: u64| Utc::from_unix_ms(ms).to_string();
        let summary = end.map(|_| self.summary.clone()).unwrap_or_default();
        let rows = self.audio.iter().map(|part| row(part, info.started_ms));
        let tenure = info.tenure.as_deref();
        let file = MetaFile {
            v: 1,
            key: Some(journal_key(info).to_string()),
            feed_seq: self.feed_seq,
            boot_id: self.boot_id.clone(),
            product: info.product.name().to_owned(),
            meeting_uuid: id(matches!(info.product, Product::Meeting | Product::Webinar)),
            session_id: id(info.product == Product::Session),
            engagement_id: id(info.product == Product::ContactCenter),
            call_id: id(info.product == Product::Phone),
            stream_id: info.stream_id.clone(),
            meeting_id: info.meeting_id.clone(),
            topic: info.topic.clone(),
            operator_id: info.operator_id.clone(),
            is_original_host: info.is_original_host,
            account_id: info.account_id.clone(),
            app: info.app.clone(),
            node: tenure.map(|tenure| tenure.node.clone()),
            epoch: tenure.map(|tenure| tenure.epoch),
            predecessor: tenure.and_then(|tenure| tenure.predecessor.clone()),
            heir: end.and_then(|end| end.heir.clone()),
            started_ms: info.started_ms,
            started: utc(info.started_ms),
            opened_ms: self.opened_ms,
            openings: self.openings,
            state: if end.is_some() { "ended" } else { "receiving" }.to_owned(),
            ended_ms,
            ended: ended_ms.map(utc),
            end: end.map(|end| end.word.clone()),
            end_text: end.map(|end| end.text.clone()),
            stop_reason: end.and_then(|end| end.stop_reason),
            transcripts: self.phrases,
            words: end.map(|_| summary.words),
            speakers: end.map(|_| summary.speakers),
            languages: end.map(|_| summary.languages),
            dropped: self.dropped,
            malformed_packets: self.malformed,
            media_params: self.granted.clone(),
            media_given_up: self.given_up.clone(),
            participants: self.participants.clone(),
            audio: rows.collect(),
            video: self.video.clone(),
            share: self.share.clone(),
            written_by: concat!("rtmsd ", env!("CARGO_PKG_VERSION")).to_owned(),
            others: self.others.clone(),
        };
        file.to_text()
    }

    /// Replaces the file atomically: a reader sees the old one or the new one.
    pub fn write(&self, folder: &Path, info: &StreamInfo) -> io::Result<()> {
        self.prepare(folder, info)?;
        Meta::publish(folder)
    }

    /// Writes the file as [`NEW_NAME`], beside the existing one.
    pub fn prepare(&self, folder: &Path, info: &StreamInfo) -> io::Result<()> {
        let mut file = create_file(&folder.join(NEW_NAME))?;
        file.write_all(self.to_json(info).as_bytes())
    }

    /// Replaces the existing file with the prepared one.
    pub fn publish(folder: &Path) -> io::Result<()> {
        fs::rename(folder.join(NEW_NAME), folder.join(FILE_NAME))
    }

    /// Notes where the copies of the files are.
    pub fn note_upload(&mut self, uploaded: Value) {
        self.others.insert(UPLOADED.to_owned(), uploaded);
    }
}

/// Milliseconds from the stream's zero to a timestamp, which may be earlier; `None` without a
/// timestamp.
pub(crate) fn offset_ms(stamp_ms: u64, started_ms: u64) -> Option<i64> {
    let stamp = i64::try_from(stamp_ms).ok().filter(|stamp| *stamp > 0)?;
    Some(stamp - i64::try_from(started_ms).ok()?)
}

fn row(part: &Part, started_ms: u64) -> AudioRow {
    let (codec, sample_rate, channels) = part.format.facts();
    AudioRow {
        file: part.file.clone(),
        user_id: part.user_id.clone(),
        user_name: part.user_name.clone(),
        channel_id: part.channel_id.clone(),
        codec: codec.to_owned(),
        sample_rate,
        channels,
        first_ms: part.first_ms,
        offset_ms: offset_ms(part.first_ms, started_ms),
    }
}

fn part(row: AudioRow) -> Option<Part> {
    // A name with a path in it is rejected, although the file seems to be ours.
    if row.file.contains('/') || !row.file.starts_with("audio-") {
        return None;
    }
    let channels = Some(row.channels).filter(|n| (1..=2).contains(n))?;
    let rate_hz = Some(row.sample_rate).filter(|n| (8000..=48_000).contains(n))?;
    let format = match row.codec.as_str() {
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
        file: row.file,
        user_id: row.user_id,
        user_name: row.user_name,
        channel_id: row.channel_id,
        format,
        first_ms: row.first_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::jsonl::tests::info;
    use crate::testing::scratch;
    use serde_json::json;

    #[test]
    fn keys_of_a_newer_version_are_kept_and_ours_are_replaced() {
        let folder = scratch("meta-newer");
        let newer = json!({
            "v": 1, "product": "meeting", "stream_id": "5f0c1d", "opened_ms": 5, "openings": 1,
            "state": "ended", "ended_ms": 7, "end": "stopped", "stop_reason": 6, "transcripts": 3,
            "summary": {"of": ["a", "newer", "version"]}, "malformed_packets": 2,
            "participants": [{"user_id": "7", "user_name": "Ada"}, {"user_name": "unknown"}],
            "audio": [
                {"file": "audio-../x.wav", "user_id": 1, "codec": "l16", "sample_rate": 16000,
                    "channels": 1, "first_ms": 1},
                {"file": "audio-x.wav", "user_id": 1, "codec": "of the future",
                    "sample_rate": 16000, "channels": 1, "first_ms": 1},
                "no row",
                {"file": "audio-channel-12ab.wav", "user_id": 0, "channel_id": "12ab",
                    "codec": "l16", "sample_rate": 16000, "channels": 1, "first_ms": 1},
            ],
        });
        fs::write(folder.join(FILE_NAME), newer.to_string()).expect("writable");
        let meta = Meta::resume(&folder);
        assert_eq!((meta.phrases, meta.openings, meta.malformed), (3, 1, 2));
        assert_eq!(meta.audio.len(), 1);
        meta.write(&folder, &info()).expect("writable");
        let bytes = fs::read(folder.join(FILE_NAME)).expect("readable");
        let found: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(found["summary"], newer["summary"]);
        assert_eq!(found["state"], "receiving");
        for key in ["ended_ms", "end", "stop_reason"] {
            assert_eq!(found.get(key), None, "{key}");
        }
        assert_eq!(found["meeting_uuid"], "a/B+c==");
        assert_eq!(found["participants"].as_array().map(Vec::len), Some(1));
        assert_eq!(found["audio"][0]["channel_id"], "12ab");
        assert_eq!(Meta::resume(&folder), meta);
    }

    #[test]
    fn a_file_that_is_not_ours_is_ignored() {
        let folder = scratch("meta-odd");
        for text in ["", "{", "[]", "7", r#"{"opened_ms":"when"}"#] {
            fs::write(folder.join(FILE_NAME), text).expect("writable");
            assert_eq!(Meta::resume(&folder), Meta::default(), "{text}");
        }
    }
}
