//! The folder of one epoch: who wrote it, and whether it can be merged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Fault;
use crate::recorder::meta::FILE_NAME as META_NAME;
use crate::recorder::out_lock;

/// The members of `meta.json` that the epochs of a stream have in common.
const SAME: [&str; 7] = [
    "product",
    "meeting_uuid",
    "session_id",
    "engagement_id",
    "call_id",
    "stream_id",
    "app",
];

/// Longest `meta.json` that is read, as for other commands.
const META_BYTES_MAX: u64 = 16 << 20;

/// One folder, with what its `meta.json` says.
#[derive(Debug, Clone)]
pub(super) struct Epoch {
    pub(super) folder: PathBuf,
    pub(super) meta: Value,
    /// 1 outside a fleet.
    pub(super) number: u64,
    /// What the names of its files get before their endings; empty for the first epoch.
    pub(super) suffix: String,
}

impl Epoch {
    fn read(folder: &Path) -> Result<Epoch, Fault> {
        let path = folder.join(META_NAME);
        let length = fs::metadata(&path).map_err(|error| Fault::io(&path, error))?;
        let expected = "expected the meta.json of a stream";
        if length.len() > META_BYTES_MAX {
            return Err(Fault::input(
                &path,
                format!("found a large file, {expected}"),
            ));
        }
        let bytes = fs::read(&path).map_err(|error| Fault::io(&path, error))?;
        let meta: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Fault::input(&path, format!("found {error}, {expected}")))?;
        if !meta["stream_id"].is_string() || meta["started_ms"].as_u64().is_none() {
            let found = format!("found no stream_id and started_ms, {expected}");
            return Err(Fault::input(&path, found));
        }
        Ok(Epoch {
            folder: folder.to_owned(),
            number: meta["epoch"].as_u64().unwrap_or(1).max(1),
            suffix: String::new(),
            meta,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).is_file()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The node that wrote it; empty outside a fleet.
    pub(super) fn node(&self) -> &str {
        self.meta["node"].as_str().unwrap_or_default()
    }

    /// Its place among the epochs of the stream.
    fn place(&self) -> (u64, Option<u64>, &str) {
        (self.number, self.meta["opened_ms"].as_u64(), self.node())
    }

    /// Whether its files are complete.
    pub(super) fn is_ended(&self) -> bool {
        self.meta["state"] == "ended"
    }

    /// What one of its files is called in the folder of the whole, so that no two epochs share a name:
    /// `audio-1-Ada.wav` of the second epoch is `audio-1-Ada.e2.wav`.
    pub(super) fn name_in_whole(&self, name: &str) -> String {
        if self.suffix.is_empty() {
            return name.to_owned();
        }
        match name.rsplit_once('.') {
            Some((stem, ending)) => format!("{stem}.{}.{ending}", self.suffix),
            None => format!("{name}.{}", self.suffix),
        }
    }

    /// How a message calls it.
    pub(super) fn title(&self) -> String {
        match self.node() {
            "" => format!("epoch {}", self.number),
            node => format!("epoch {} of node {node}", self.number),
        }
    }
}

/// The epochs in these folders, in order: each is one, or holds some.
///
/// # Errors
/// They cannot be read, are of several streams, are still written, or have one epoch twice.
pub(super) fn read_all(folders: &[PathBuf]) -> Result<Vec<Epoch>, Fault> {
    let mut epochs = Vec::new();
    for folder in folders {
        for folder in streams_in(folder)? {
            epochs.push(Epoch::read(&folder)?);
        }
    }
    epochs.sort_by(|a, b| a.place().cmp(&b.place()));
    for pair in epochs.windows(2) {
        are_of_one_stream(&pair[0], &pair[1])?;
    }
    for (at, epoch) in epochs.iter().enumerate() {
        let is_last = at + 1 == epochs.len();
        if !epoch.is_ended() {
            may_be_incomplete(epoch, is_last)?;
        }
    }
    for at in 0..epochs.len() {
        let (before, rest) = epochs.split_at_mut(at);
        let epoch = &mut rest[0];
        // Two nodes may have the same one, where the store had lost its last second.
        let has_twin = before.iter().any(|other| other.number == epoch.number);
        epoch.suffix = match (epoch.number, has_twin) {
            (1, false) => String::new(),
            (number, false) => format!("e{number}"),
            (number, true) => format!("e{number}-{}", epoch.node()),
        };
    }
    Ok(epochs)
}

/// The folder itself, or those in it that are of streams.
fn streams_in(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    if folder.join(META_NAME).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let inside = fs::read_dir(folder).map_err(|error| Fault::io(folder, error))?;
    let inside = inside.map(|entry| entry.map(|entry| entry.path()));
    let inside: io::Result<Vec<PathBuf>> = inside.collect();
    let mut found = inside.map_err(|error| Fault::io(folder, error))?;
    found.retain(|path| path.join(META_NAME).is_file());
    found.sort_unstable();
    if found.is_empty() {
        let text =
            "found no meta.json, expected the folder of a stream, or one that holds such folders";
        return Err(Fault::input(folder, text));
    }
    Ok(found)
}

fn are_of_one_stream(a: &Epoch, b: &Epoch) -> Result<(), Fault> {
    if let Some(key) = SAME.into_iter().find(|key| a.meta[*key] != b.meta[*key]) {
        let found = format!(
            "found {key} {}, expected {} as in {}: one stream at a time",
            b.meta[key],
            a.meta[key],
            a.folder.display()
        );
        return Err(Fault::input(&b.folder, found));
    }
    if (a.number, a.node()) == (b.number, b.node()) {
        let found = format!(
            "found {}, which {} has too, expected each once",
            b.title(),
            a.folder.display()
        );
        return Err(Fault::input(&b.folder, found));
    }
    Ok(())
}

/// What a node left that was killed has no end; but neither has what is received now, or was when it was
/// copied.
fn may_be_incomplete(epoch: &Epoch, is_last: bool) -> Result<(), Fault> {
    let absolute = std::path::absolute(&epoch.folder);
    let absolute = absolute.map_err(|error| Fault::io(&epoch.folder, error))?;
    let is_written = out_lock::out_above(&absolute).is_some_and(out_lock::is_written);
    let what = match (is_written, is_last) {
        (true, _) => "found a stream that is still received",
        (false, true) => "found the newest epoch, and it has no end",
        (false, false) => return Ok(()),
    };
    let expected = "expected a complete one: wait for the end of the stream, or start the server that \
                    received it, which completes its files";
    Err(Fault::input(&epoch.folder, format!("{what}, {expected}")))
}
