//! What is left of a stream whose files were removed: ids, dates and the reason, and no content.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use serde::{Deserialize, Serialize};

use super::place::StreamPlace;
use crate::domain::product::Product;
use crate::domain::time::Utc;
use crate::feed::key::JournalKey;

/// A longer line is not ours: ids are short.
pub(super) const LINE_BYTES_MAX: usize = 16 << 10;

/// What of a stream is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The whole folder.
    All,
    /// The sound.
    Audio,
    /// Cameras and the shared screen: recordings and single pictures.
    Video,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 3] = [Part::All, Part::Audio, Part::Video];

    /// The word in files and in the output of commands.
    pub const fn name(self) -> &'static str {
        match self {
            Part::All => "all",
            Part::Audio => "audio",
            Part::Video => "video",
        }
    }
}

/// Why it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is older than `RTMS_KEEP`.
    Keep,
    /// Its sound is older than `RTMS_KEEP_AUDIO`.
    KeepAudio,
    /// Its pictures are older than `RTMS_KEEP_VIDEO`.
    KeepVideo,
    /// All recordings need more than `RTMS_DISK_MAX`.
    DiskMax,
    /// The file system has less than `RTMS_DISK_FREE_MIN`.
    DiskFreeMin,
    /// It was asked for by `rtmsd forget`.
    Forgotten,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 6] = [
        Reason::Keep,
        Reason::KeepAudio,
        Reason::KeepVideo,
        Reason::DiskMax,
        Reason::DiskFreeMin,
        Reason::Forgotten,
    ];

    /// The word in files and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Keep => "keep",
            Reason::KeepAudio => "keep_audio",
            Reason::KeepVideo => "keep_video",
            Reason::DiskMax => "disk_max",
            Reason::DiskFreeMin => "disk_free_min",
            Reason::Forgotten => "forgotten",
        }
    }

    /// What people know it by: the setting or the command.
    pub const fn by(self) -> &'static str {
        match self {
            Reason::Keep => "RTMS_KEEP",
            Reason::KeepAudio => "RTMS_KEEP_AUDIO",
            Reason::KeepVideo => "RTMS_KEEP_VIDEO",
            Reason::DiskMax => "RTMS_DISK_MAX",
            Reason::DiskFreeMin => "RTMS_DISK_FREE_MIN",
            Reason::Forgotten => "rtmsd forget",
        }
    }
}

/// How far a removal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has begun, or is about to.
    Removing,
    /// Nothing is left of the part.
    Removed,
    /// It was given up before anything was removed.
    Kept,
}

/// One line of a day's `removed.jsonl`. The newest line of a stream and part counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// How far it is.
    pub state: State,
    /// What is removed.
    pub part: Part,
    /// Why.
    pub reason: Reason,
    /// Where the stream's folder was.
    pub place: StreamPlace,
    /// What kind of stream.
    pub product: Product,
    /// Meeting UUID, or id of the session, engagement or call.
    pub id: String,
    /// The stream.
    pub stream_id: String,
    /// The meeting's number, where it has one.
    pub meeting_id: Option<String>,
    /// When the stream started, Unix milliseconds.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// When it was removed.
    pub removed_ms: u64,
    /// How many files there were.
    pub files: u64,
    /// What they took on the disk.
    pub bytes: u64,
}

/// A line as JSON.
#[derive(Serialize, Deserialize)]
struct Line {
    v: u32,
    state: State,
    part: Part,
    reason: Reason,
    by: String,
    removed_ms: u64,
    removed: String,
    key: String,
    folder: String,
    product: String,
    id: String,
    stream_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meeting_id: Option<String>,
    started_ms: u64,
    ended_ms: u64,
    files: u64,
    bytes: u64,
}

impl Tombstone {
    /// The key of the stream.
    pub fn key(&self) -> JournalKey {
        self.place.key()
    }

    /// The same at another point of the removal.
    pub fn in_state(&self, state: State) -> Tombstone {
        Tombstone {
            state,
            ..self.clone()
        }
    }

    /// In words: `removed on 2026-12-24 by RTMS_KEEP`.
    pub fn words(&self) -> String {
        let date = Utc::from_unix_ms(self.removed_ms).date();
        format!("removed on {date} by {}", self.reason.by())
    }

    /// The line, with its end.
    pub fn to_line(&self) -> String {
        let line = Line {
            v: 1,
            state: self.state,
            part: self.part,
            reason: self.reason,
            by: self.reason.by().to_owned(),
            removed_ms: self.removed_ms,
            removed: Utc::from_unix_ms(self.removed_ms).to_string(),
            key: self.key().to_string(),
            folder: self.place.to_string(),
            product: self.product.name().to_owned(),
            id: self.id.clone(),
            stream_id: self.stream_id.clone(),
            meeting_id: self.meeting_id.clone(),
            started_ms: self.started_ms,
            ended_ms: self.ended_ms,
            files: self.files,
            bytes: self.bytes,
        };
        // A struct of texts and numbers can always be written as JSON.
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    }

    /// What a line says; `None` if it makes no sense.
    pub fn parse(line: &[u8]) -> Option<Tombstone> {
        let line = line.get(..line.len().min(LINE_BYTES_MAX))?;
        let line: Line = serde_json::from_slice(line).ok()?;
        Some(Tombstone {
            state: line.state,
            part: line.part,
            reason: line.reason,
            place: StreamPlace::parse(&line.folder)?,
            product: Product::from_name(&line.product)?,
            id: line.id,
            stream_id: line.stream_id,
            meeting_id: line.meeting_id,
            started_ms: line.started_ms,
            ended_ms: line.ended_ms,
            removed_ms: line.removed_ms,
            files: line.files,
            bytes: line.bytes,
        })
    }

    /// What the lines of one day say: the newest of each stream and part, in the order of the first.
    pub fn parse_all(bytes: &[u8], day: &str) -> Vec<Tombstone> {
        let mut found: Vec<Tombstone> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for line in bytes.split(|b| *b == b'\n').filter(|it| !it.is_empty()) {
            let Some(read) = Tombstone::parse(line).filter(|it| it.place.day() == day) else {
                continue;
            };
            match places.get(&(read.place.clone(), read.part)) {
                Some(at) => found[*at] = read,
                None => {
                    places.insert((read.place.clone(), read.part), found.len());
                    found.push(read);
                }
            }
        }
        found
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A stream that is about to be removed.
    pub(crate) fn tombstone(stream: &str) -> Tombstone {
        Tombstone {
            state: State::Removing,
            part: Part::All,
            reason: Reason::Keep,
            place: StreamPlace::new("2026-11-24", "m-1", stream).expect("names"),
            product: Product::Meeting,
            id: "a/B+c==".to_owned(),
            stream_id: stream.to_owned(),
            meeting_id: Some("84844962250".to_owned()),
            started_ms: 1_795_529_590_000,
            ended_ms: 1_795_529_690_000,
            removed_ms: 1_798_121_690_000,
            files: 7,
            bytes: 4096,
        }
    }

    #[test]
    fn a_line_tells_ids_dates_and_reason() {
        let line = tombstone("s-1").to_line();
        let expected = "{\"v\":1,\"state\":\"removing\",\"part\":\"all\",\"reason\":\"keep\",\
             \"by\":\"RTMS_KEEP\",\"removed_ms\":1798121690000,\"removed\":\"2026-12-24T14:14:50.000Z\",\
             \"key\":\"";
        assert!(line.starts_with(expected), "{line}");
        assert_eq!(
            Tombstone::parse(line.trim_end().as_bytes()),
            Some(tombstone("s-1"))
        );
        assert_eq!(
            tombstone("s-1").words(),
            "removed on 2026-12-24 by RTMS_KEEP"
        );
        for reason in Reason::ALL {
            let with = Tombstone {
                reason,
                meeting_id: None,
                ..tombstone("s")
            };
            let line = with.to_line();
            assert!(line.contains(&format!("\"reason\":\"{}\"", reason.name())));
            assert_eq!(Tombstone::parse(line.trim_end().as_bytes()), Some(with));
        }
        for part in Part::ALL {
            let line = Tombstone {
                part,
                ..tombstone("s")
            };
            assert!(
                line.to_line()
                    .contains(&format!("\"part\":\"{}\"", part.name()))
            );
        }
    }

    #[test]
    fn the_newest_line_counts_and_what_makes_no_sense_is_left_out() {
        let (first, second) = (tombstone("s-1"), tombstone("s-2"));
        let audio = Tombstone {
            part: Part::Audio,
            ..second.clone()
        };
        let other_day = first.to_line().replace("\"2026-11-24/", "\"2026-11-25/");
        let outside = first
            .to_line()
            .replace("2026-11-24/m-1/s-1", "../../../etc");
        let text = [
            first.to_line(),
            second.to_line(),
            "\n[]\n{\n\u{0}\n".to_owned(),
            other_day,
            outside,
            audio.to_line(),
            first.in_state(State::Removed).to_line(),
            second.in_state(State::Kept).to_line(),
            first.to_line()[..100].to_owned(),
        ];
        assert_eq!(
            Tombstone::parse_all(text.concat().as_bytes(), "2026-11-24"),
            [
                first.in_state(State::Removed),
                second.in_state(State::Kept),
                audio
            ]
        );
    }
}
