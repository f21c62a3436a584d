//! One recorded stream, as its `meta.json` describes it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::query::has;
use crate::domain::product::Product;
use crate::feed::key::JournalKey;
use crate::recorder::meta::FILE_NAME;
use crate::recorder::removal::Tombstone;

/// Zoom's stop reason.
const CONSENT_WITHDRAWN: i64 = 8;
/// Larger files are not ours: the participants of the largest meetings take about a megabyte.
const META_BYTES_MAX: u64 = 16 << 20;

/// One stream's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The key of its journal, made of its place below `RTMS_OUT`.
    pub key: String,
    /// The folder, with `RTMS_OUT` in front.
    pub folder: PathBuf,
    /// What kind of stream.
    pub product: Product,
    /// Meeting UUID, or id of the session, engagement or call.
    pub id: String,
    /// The stream.
    pub stream_id: String,
    /// The meeting's number, where it has one.
    pub meeting_id: Option<String>,
    /// What it was called.
    pub topic: Option<String>,
    /// When it started, Unix milliseconds.
    pub started_ms: u64,
    /// When its files were completed; `None` while they grow.
    pub ended_ms: Option<u64>,
    /// `ended` or `receiving`.
    pub state: String,
    /// Phrases in its transcript.
    pub phrases: u64,
    /// Words in all of them; `None` before the end, and for files of version 0.1.
    pub words: Option<u64>,
    /// Who spoke, in the order of their first phrase.
    pub speakers: Vec<String>,
    /// The languages that were spoken.
    pub languages: Vec<String>,
    /// Consent was withdrawn, and the files were kept.
    pub is_revoked: bool,
    /// The files were removed; what is left.
    pub removed: Option<Tombstone>,
}

/// The members that are shown. The others, which are most of the file, are passed over.
#[derive(Deserialize)]
struct File {
    product: String,
    #[serde(alias = "session_id", alias = "engagement_id", alias = "call_id")]
    meeting_uuid: String,
    stream_id: String,
    meeting_id: Option<String>,
    topic: Option<String>,
    started_ms: u64,
    ended_ms: Option<u64>,
    state: String,
    #[serde(default)]
    transcripts: u64,
    words: Option<u64>,
    #[serde(default)]
    speakers: Vec<String>,
    #[serde(default)]
    languages: Vec<String>,
    stop_reason: Option<i64>,
}

impl Recording {
    /// The recording in that folder below `root`; `None` if there is none, or one that cannot be read.
    pub fn read(root: &Path, below: &Path) -> Option<Recording> {
        let folder = root.join(below);
        let file = fs::File::open(folder.join(FILE_NAME)).ok()?;
        let mut bytes = Vec::new();
        file.take(META_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let file: File = serde_json::from_slice(&bytes).ok()?;
        Some(Recording {
            key: JournalKey::of_folder(below).to_string(),
            folder,
            product: Product::from_name(&file.product)?,
            id: file.meeting_uuid,
            stream_id: file.stream_id,
            meeting_id: file.meeting_id,
            topic: file.topic.filter(|topic| !topic.trim().is_empty()),
            started_ms: file.started_ms,
            ended_ms: file.ended_ms,
            state: file.state,
            phrases: file.transcripts,
            words: file.words,
            speakers: file.speakers,
            languages: file.languages,
            is_revoked: file.stop_reason == Some(CONSENT_WITHDRAWN),
            removed: None,
        })
    }

    /// What is left of one that was removed.
    pub(super) fn removed(root: &Path, tombstone: &Tombstone) -> Recording {
        Recording {
            key: tombstone.key().to_string(),
            folder: root.join(tombstone.place.path()),
            product: tombstone.product,
            id: tombstone.id.clone(),
            stream_id: tombstone.stream_id.clone(),
            meeting_id: tombstone.meeting_id.clone(),
            topic: None,
            started_ms: tombstone.started_ms,
            ended_ms: Some(tombstone.ended_ms),
            state: "removed".to_owned(),
            phrases: 0,
            words: None,
            speakers: Vec::new(),
            languages: Vec::new(),
            is_revoked: false,
            removed: Some(tombstone.clone()),
        }
    }

    /// From the start to the end, seconds; `None` while it has none.
    pub fn duration_s(&self) -> Option<u64> {
        let ended_ms = self.ended_ms?;
        Some(ended_ms.saturating_sub(self.started_ms) / 1000)
    }

    /// Whether the name of one who spoke has that part, in lower case.
    pub fn is_spoken_by(&self, part: &str) -> bool {
        self.speakers.iter().any(|name| has(name, part))
    }

    /// The names of its files, sorted; those in `video` and `share` with the folder's name.
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        names(&self.folder, "", &mut files);
        for folder in ["video", "share"] {
            names(&self.folder.join(folder), &format!("{folder}/"), &mut files);
        }
        files.sort_unstable();
        files
    }

    /// As one object, for programs: a line of `rtmsd list --json`.
    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "v": 1,
            "key": self.key,
            "started_ms": self.started_ms,
            "ended_ms": self.ended_ms,
            "topic": self.topic,
            "meeting_id": self.meeting_id,
            "id": self.id,
            "product": self.product.name(),
            "state": self.state,
            "duration_s": self.duration_s(),
            "speakers": self.speakers,
            "words": self.words,
            "languages": self.languages,
            "files": self.files(),
            "folder": self.folder,
        });
        if let Some(tombstone) = &self.removed {
            value["removed"] = json!({
                "removed_ms": tombstone.removed_ms,
                "reason": tombstone.reason.name(),
                "by": tombstone.reason.by(),
                "words": tombstone.words(),
            });
        }
        value
    }
}

/// Adds the names of the files in a folder. Those that begin with a dot are not for people.
fn names(folder: &Path, before: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if let Ok(name) = entry.file_name().into_string()
            && is_file
            && !name.starts_with('.')
        {
            files.push(format!("{before}{name}"));
        }
    }
}
