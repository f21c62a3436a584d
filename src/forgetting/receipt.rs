//! What was forgotten, without telling it: the receipt.
//!
//! It has the id of a meeting or an account as it was asked for. What was asked for a person is often
//! their name, so it has a digest of that: who knows the name can show that it was forgotten. Streams
//! are named by their keys, which are digests of their folders.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{Request, Target};
use crate::domain::time::Utc;

/// The folder of receipts in the state directory.
pub const FOLDER: &str = "receipts";

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// The version of this form.
    pub v: u32,
    /// Its own id, and the name of its file.
    pub id: String,
    /// `meeting`, `account` or `user`.
    pub what: String,
    /// The id of the meeting or of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Hex SHA-256 of what was asked for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_sha256: Option<String>,
    /// The meeting in which a person was forgotten, if not in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meeting: Option<String>,
    /// Files with several people in them were to be deleted as well.
    pub with_mixed: bool,
    /// Nothing was done: this is what would be.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// When, UTC.
    pub requested: String,
    /// When it was complete, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// Nothing is left to do.
    pub completed: bool,
    /// The output folders that were searched, former ones included.
    pub folders: Vec<PathBuf>,
    /// Sums over the streams.
    pub total: Counts,
    /// What was done in each stream.
    pub streams: Vec<StreamReceipt>,
    /// What stays, and why: files by reason.
    pub remains: BTreeMap<String, u64>,
    /// What stays in the words of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What is still to be done, and what it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<String>,
    /// Who was found, for a plan alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Files that are gone.
    pub files_deleted: u64,
    /// Files that were written again without the person.
    pub files_blanked: u64,
    /// Lines and cues in these.
    pub records_blanked: u64,
    /// Objects that are gone from the bucket.
    pub objects_deleted: u64,
    /// Objects that were replaced by ones without the person.
    pub objects_replaced: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.files_deleted += other.files_deleted;
        self.files_blanked += other.files_blanked;
        self.records_blanked += other.records_blanked;
        self.objects_deleted += other.objects_deleted;
        self.objects_replaced += other.objects_replaced;
    }
}

/// What was done in one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamReceipt {
    /// The key of its journal.
    pub key: String,
    /// How much.
    #[serde(flatten)]
    pub counts: Counts,
    /// What stays.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub remains: BTreeMap<String, u64>,
}

/// One who may be meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// The key of the stream.
    pub key: String,
    /// The meeting.
    pub meeting: String,
    /// Their ids there.
    pub ids: Vec<String>,
    /// Their names there.
    pub names: Vec<String>,
}

/// What stays whenever a person is forgotten.
pub const MENTIONS: &str = "where others said or wrote the name of the person, it stays";

impl Receipt {
    /// Of a request that was made then.
    pub fn new(id: &str, request: &Request, now_ms: u64) -> Receipt {
        let (what, asked, digest, meeting) = match &request.target {
            Target::Meeting(id) => ("meeting", Some(id.clone()), None, None),
            Target::Account(id) => ("account", Some(id.clone()), None, None),
            Target::User { word, meeting } => {
                let digest = hex::encode(Sha256::digest(word.as_bytes()));
                ("user", None, Some(digest), meeting.clone())
            }
        };
        Receipt {
            v: 1,
            id: id.to_owned(),
            what: what.to_owned(),
            asked,
            asked_sha256: digest,
            meeting,
            with_mixed: request.with_mixed,
            requested: Utc::from_unix_ms(now_ms).to_string(),
            ..Receipt::default()
        }
    }

    /// Adds what was done in a stream; a second time in the same one is added to the first.
    pub fn push(&mut self, stream: StreamReceipt) {
        match self.streams.iter_mut().find(|own| own.key == stream.key) {
            Some(own) => {
                own.counts.add(&stream.counts);
                own.remains = stream.remains;
            }
            None => self.streams.push(stream),
        }
        self.sum();
    }

    /// Sums over the streams.
    fn sum(&mut self) {
        self.total = Counts::default();
        self.remains.clear();
        for stream in &self.streams {
            self.total.add(&stream.counts);
            for (why, files) in &stream.remains {
                *self.remains.entry(why.clone()).or_default() += files;
            }
        }
    }

    /// As it is stored and shown.
    pub fn text(&self) -> String {
        // Texts and numbers can always be written as JSON.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Stores it, and makes that survive a power cut. Returns where it is.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn store(&self, state: &Path) -> io::Result<PathBuf> {
        let folder = state.join(FOLDER);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let temporary = folder.join(format!(".{}.new", self.id));
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        let path = folder.join(format!("{}.json", self.id));
        fs::rename(&temporary, &path)?;
        fs::File::open(&folder)?.sync_all()?;
        Ok(path)
    }

    /// One that was stored; `None` if there is none of that id.
    pub fn load(state: &Path, id: &str) -> Option<Receipt> {
        let is_plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let path = state.join(FOLDER).join(format!("{id}.json"));
        let bytes = is_plain.then(|| fs::read(path).ok())??;
        serde_json::from_slice(&bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_receipt_does_not_tell_who_was_forgotten_and_is_private() {
        let state = scratch("receipt");
        let request = Request {
            target: Target::User {
                word: "Ada Lovelace".to_owned(),
                meeting: None,
            },
            with_mixed: false,
        };
        let mut receipt = Receipt::new("20261129T000000Z-ab", &request, 1_795_529_590_000);
        for (key, files) in [("k1", 1), ("k2", 2), ("k1", 4)] {
            receipt.push(StreamReceipt {
                key: key.to_owned(),
                counts: Counts {
                    files_deleted: files,
                    ..Counts::default()
                },
                remains: [("why".to_owned(), files)].into(),
            });
        }
        assert_eq!((receipt.total.files_deleted, receipt.streams.len()), (7, 2));
        assert_eq!(receipt.remains["why"], 6);
        let path = receipt.store(&state).expect("stored");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&state.join(FOLDER))), (0o600, 0o700));
        let text = fs::read_to_string(&path).expect("readable");
        assert!(
            !text.contains("Ada") && text.contains("asked_sha256"),
            "{text}"
        );
        assert_eq!(Receipt::load(&state, &receipt.id), Some(receipt));
        assert_eq!(Receipt::load(&state, "../receipts/x"), None);
    }
}
