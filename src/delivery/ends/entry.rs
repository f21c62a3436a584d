//! What is still to be done for streams that have ended, as `ends.json` keeps it.
//!
//! The file is a list of changes, one JSON object a line: a stream's entry whole, or what was reached
//! in it. The last line about a thing counts. It is read within limits and may be anything: a line
//! that cannot be understood is left out, and the others count.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::stream_info::StreamInfo;
use crate::feed::key::JournalKey;

/// Most streams that wait for an upload or a hook.
pub const ENTRIES_MAX: usize = 100_000;

/// Longest line that is read: a stream with a hundred thousand pictures.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The ids of a stream; its topic and people are in its `meta.json` only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ids {
    /// The product's name.
    pub product: String,
    /// Meeting UUID, session id, engagement id or call id.
    pub id: String,
    /// `rtms_stream_id`.
    pub stream_id: String,
    /// The meeting's number, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meeting_id: Option<String>,
    /// The operator's account, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// `event_ts` of the start, Unix milliseconds.
    pub started_ms: u64,
    /// In a fleet: the epoch of this part of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

impl Ids {
    /// Those of a stream.
    pub fn of(info: &StreamInfo) -> Ids {
        Ids {
            product: info.product.name().to_owned(),
            id: info.id.clone(),
            stream_id: info.stream_id.clone(),
            meeting_id: info.meeting_id.clone(),
            account_id: info.account_id.clone(),
            started_ms: info.started_ms,
            epoch: info.tenure.as_ref().map(|tenure| tenure.epoch),
        }
    }
}

/// What happened to the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndKind {
    /// It ended.
    #[default]
    Ended,
    /// Consent was withdrawn.
    Revoked,
}

/// A stream that something is to be done for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The key of its folder, 16 hex digits.
    pub key: String,
    /// The folder, absolute; empty where it is not known or gone.
    pub folder: PathBuf,
    /// Which stream.
    pub ids: Ids,
    /// What happened to it.
    pub kind: EndKind,
    /// When it ended, Unix milliseconds.
    pub ended_ms: u64,
    /// The upload; `None` where there is nothing to upload, or nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<Upload>,
    /// What was uploaded and is to be deleted from the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<Deletion>,
    /// The hook; `None` where none is to run, or it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
    /// Everything is in the bucket.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_uploaded: bool,
    /// Local files are to go, once the hook has run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_to_clean: bool,
    /// The other local files are gone; the journal follows once no consumer needs it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_journal_left: bool,
}

impl Entry {
    /// What this stream's entry becomes when its consent is withdrawn: `self` says what is known of the
    /// stream and of finished uploads, `known` what was still to be done. Without `deletes`, objects
    /// stay, like the files.
    pub fn revoked(self, known: Option<&Entry>, deletes: bool) -> Entry {
        let begun = known.and_then(|known| known.upload.as_ref());
        let delete = begun.and_then(Upload::deletion).or(self.delete);
        Entry {
            key: self.key,
            ids: self.ids,
            ended_ms: self.ended_ms,
            kind: EndKind::Revoked,
            delete: delete.filter(|_| deletes),
            ..Entry::default()
        }
    }
}

impl Entry {
    /// The same with an upload that begins again, unless everything is in the bucket.
    pub fn begun_again(self) -> Entry {
        let upload = match self.is_uploaded {
            true => self.upload,
            false => self.upload.map(|_| Upload::default()),
        };
        Entry { upload, ..self }
    }
}

/// How far an upload is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upload {
    /// The bucket that it began in; empty before it began.
    pub bucket: String,
    /// What its objects begin with.
    pub prefix: String,
    /// The files, once they are listed.
    pub files: Vec<FileState>,
    /// The file that is being sent in parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multipart: Option<Multipart>,
    /// The manifest is there; what is left is to be noted locally.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_complete: bool,
}

impl Upload {
    /// How many of its files are in the bucket.
    pub fn count_sent(&self) -> u64 {
        let sent = self.files.iter().filter(|file| file.sent.is_some());
        sent.count() as u64
    }

    /// What it may have left in the bucket; `None` if it has not begun.
    fn deletion(&self) -> Option<Deletion> {
        let parts = self.multipart.as_ref();
        (!self.bucket.is_empty()).then(|| Deletion {
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            objects: self.files.iter().map(|file| file.object.clone()).collect(),
            multipart: parts.map(|parts| (parts.object.clone(), parts.upload_id.clone())),
            count: self.count_sent(),
        })
    }
}

/// A file and its object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileState {
    /// Relative to the stream's folder.
    pub local: String,
    /// Relative to the stream's prefix.
    pub object: String,
    /// `None` until it is in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
}

/// A file that is in the bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sent {
    /// Its size.
    pub bytes: u64,
    /// Hex SHA-256 of its content.
    pub sha256: String,
    /// As the bucket gave it, without quotes.
    pub etag: String,
    /// `x-amz-checksum-sha256` that the bucket must show, where one was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// A file that is being sent in parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Multipart {
    /// Its object, relative to the stream's prefix.
    pub object: String,
    /// The bucket's id of the upload.
    pub upload_id: String,
    /// Size of the file when it began.
    pub bytes: u64,
    /// Size of a part.
    pub part_bytes: u64,
    /// ETags of the parts that are there, from the first on.
    pub etags: Vec<String>,
}

/// Objects that are to be deleted, because consent was withdrawn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deletion {
    /// The bucket.
    pub bucket: String,
    /// What the objects begin with.
    pub prefix: String,
    /// Those that are known, relative to the prefix. Others are named by the manifest.
    pub objects: Vec<String>,
    /// An upload in parts that is to be aborted: its object and its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multipart: Option<(String, String)>,
    /// How many files are known to be there.
    pub count: u64,
}

/// How far the hook is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Runs that failed.
    pub tries: u32,
}

/// A line of `ends.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryChange {
    /// This is all about the stream.
    Entry(Box<Entry>),
    /// This is all about the stream's upload.
    Upload(String, Box<Upload>),
    /// A file is in the bucket: key, its place in the list, and what it is there.
    File(String, usize, Sent),
    /// Parts are in the bucket, or none are any more.
    Parts(String, Option<Multipart>),
    /// Nothing is left to do for the stream.
    Done(String),
}

/// What is to be done, in the order in which the streams ended.
#[derive(Debug, Default)]
pub struct Entries {
    list: BTreeMap<u64, Entry>,
    places: BTreeMap<String, u64>,
    next: u64,
}

impl Entries {
    /// Reads the lines; how many of them could not be understood.
    pub fn read(bytes: &[u8]) -> (Entries, usize) {
        let (mut entries, mut odd) = (Entries::default(), 0);
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let change = (line.len() <= LINE_BYTES_MAX)
                .then(|| serde_json::from_slice::<EntryChange>(line).ok())
                .flatten();
            match change {
                Some(change) => entries.apply(change),
                None => odd += 1,
            }
        }
        (entries, odd)
    }

    /// One change.
    pub fn apply(&mut self, change: EntryChange) {
        match change {
            EntryChange::Entry(entry) if entry.key.parse::<JournalKey>().is_ok() => {
                self.put(*entry)
            }
            EntryChange::Entry(_) => {}
            EntryChange::Upload(key, upload) => {
                if let Some(entry) = self.get_mut(&key) {
                    entry.upload = Some(*upload);
                }
            }
            EntryChange::File(key, at, sent) => {
                let upload = self.get_mut(&key).and_then(|entry| entry.upload.as_mut());
                if let Some(file) = upload.and_then(|upload| upload.files.get_mut(at)) {
                    file.sent = Some(sent);
                }
            }
            EntryChange::Parts(key, parts) => {
                if let Some(upload) = self.get_mut(&key).and_then(|entry| entry.upload.as_mut()) {
                    upload.multipart = parts;
                }
            }
            EntryChange::Done(key) => self.remove(&key),
        }
    }

    fn put(&mut self, entry: Entry) {
        let at = match self.places.get(&entry.key) {
            Some(at) => *at,
            None if self.list.len() >= ENTRIES_MAX => return,
            None => {
                self.next += 1;
                self.places.insert(entry.key.clone(), self.next);
                self.next
            }
        };
        self.list.insert(at, entry);
    }

    fn remove(&mut self, key: &str) {
        if let Some(at) = self.places.remove(key) {
            self.list.remove(&at);
        }
    }

    /// The stream of that key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.list.get(self.places.get(key)?)
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.list.get_mut(self.places.get(key)?)
    }

    /// All of them, the first that ended first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.list.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The lines of a new file.
    pub fn lines(&self) -> String {
        let entries = self
            .iter()
            .map(|entry| EntryChange::Entry(Box::new(entry.clone())));
        lines(&entries.collect::<Vec<_>>())
    }
}

/// Changes as lines of the file.
pub fn lines(changes: &[EntryChange]) -> String {
    let mut text = String::new();
    for change in changes {
        // Structs of texts and numbers can always be written as JSON.
        text += &serde_json::to_string(change).unwrap_or_default();
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A stream that something is to be done for.
    pub fn entry(n: u64) -> Entry {
        Entry {
            key: format!("{n:016x}"),
            folder: format!("/out/2026-11-24/m/{n}").into(),
            ids: Ids {
                product: "meeting".to_owned(),
                id: "a/B+c==".to_owned(),
                stream_id: format!("stream-{n}"),
                started_ms: 1_795_529_590_000,
                ..Ids::default()
            },
            ended_ms: 1_795_529_690_000,
            hook: Some(Hook::default()),
            ..Entry::default()
        }
    }

    #[test]
    fn what_was_reached_is_read_again() {
        let mut first = entry(7);
        let file = |local: &str| FileState {
            local: local.to_owned(),
            object: local.to_owned(),
            sent: None,
        };
        first.upload = Some(Upload {
            bucket: "b".to_owned(),
            files: vec![file("a"), file("c")],
            ..Upload::default()
        });
        let sent = Sent {
            bytes: 3,
            sha256: "00".to_owned(),
            etag: "e".to_owned(),
            checksum: None,
        };
        let parts = Multipart {
            object: "c".to_owned(),
            upload_id: "u".to_owned(),
            bytes: 9,
            part_bytes: 5,
            etags: vec!["1".to_owned()],
        };
        let key = first.key.clone();
        let changes = [
            EntryChange::Entry(Box::new(first)),
            EntryChange::Entry(Box::new(entry(3))),
            EntryChange::File(key.clone(), 0, sent.clone()),
            EntryChange::Parts(key.clone(), Some(parts.clone())),
            EntryChange::Entry(Box::new(entry(4))),
            EntryChange::Done(entry(3).key),
        ];
        let text = lines(&changes);
        let (read, odd) = Entries::read(text.as_bytes());
        assert_eq!(odd, 0);
        let keys: Vec<&str> = read.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, [key.as_str(), entry(4).key.as_str()]);
        let upload = read
            .get(&key)
            .and_then(|entry| entry.upload.clone())
            .expect("an upload");
        assert_eq!(upload.files[0].sent, Some(sent));
        assert_eq!(upload.files[1].sent, None);
        assert_eq!(upload.multipart, Some(parts));
        // Written again it is the same, also with half a line at its end.
        let (again, odd) = Entries::read((read.lines() + "{\"done\":\"000").as_bytes());
        assert_eq!(odd, 1);
        assert!(again.iter().eq(read.iter()));
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let good = lines(&[EntryChange::Entry(Box::new(entry(1)))]);
        let text = format!(
            "\0\n[]\n{{}}\n{{\"entry\":{{\"key\":\"../x\"}}}}\n{{\"entry\":7}}\n{{\"file\":[\"x\",9,{{}}]}}\n\
             {{\"done\":\"x\"}}\n{good}{{\"file\":[\"{}\",9,{{}}]}}\n",
            entry(1).key
        );
        let (read, odd) = Entries::read(text.as_bytes());
        assert_eq!((read.len(), odd), (1, 4));
        assert_eq!(read.get(&entry(1).key), Some(&entry(1)));
    }
}
