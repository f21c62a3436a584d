//! Merging: the folders that the nodes of a fleet wrote of one stream become one folder.
//!
//! ```text
//! folders ─▶ epoch (which, in what order) ─▶ texts (records ─▶ union)  ─▶ hidden folder ─▶ its name
//!                                            media (copies, indexes)
//!                                            whole (meta.json)
//! ```
//!
//! [`union`] is pure: it decides which records stand in the whole, and in what order. The folders that are
//! read are not changed. The new one has a hidden name until everything in it is on the disk.

mod copy;
mod epoch;
mod media;
mod records;
#[cfg(test)]
mod tests;
mod texts;
pub mod union;
mod whole;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};

use self::epoch::Epoch;
use crate::recorder::append_file::{create_file, make_folder};
use crate::recorder::meta::FILE_NAME as META_NAME;
use crate::recorder::out_lock::out_above;
use crate::recorder::summary::Summary;

/// What was merged.
#[derive(Debug)]
pub struct Merged {
    /// The stream.
    pub stream_id: String,
    /// Its epochs, in order.
    pub epochs: Vec<Part>,
    /// Phrases in the whole.
    pub phrases: u64,
    /// Phrases that stood in two epochs.
    pub repeated: u64,
    /// What the user should know: what is missing, and what was left out.
    pub notes: Vec<String>,
}

/// One of the epochs.
#[derive(Debug)]
pub struct Part {
    /// Its number.
    pub epoch: u64,
    /// The node that wrote it; empty outside a fleet.
    pub node: String,
    /// Where it is.
    pub folder: PathBuf,
}

/// Why nothing was merged.
#[derive(Debug)]
pub enum Fault {
    /// The folders do not fit together, or the new one's name does not: what was found, what was expected.
    Input(String),
    /// A file cannot be read or written.
    Io(PathBuf, io::Error),
}

impl Fault {
    fn input(path: &Path, text: impl fmt::Display) -> Fault {
        Fault::Input(format!("{}: {text}", path.display()))
    }

    fn io(path: &Path, error: io::Error) -> Fault {
        Fault::Io(path.to_owned(), error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Input(text) => f.write_str(text),
            Fault::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Input(_) => None,
            Fault::Io(_, error) => Some(error),
        }
    }
}

/// Makes the folder `out` of the epochs in these folders.
///
/// # Errors
/// The folders are not of one stream that is over, `out` exists or is below `RTMS_OUT`, or a file cannot be
/// read or written. Then there is no new folder.
pub fn merge(folders: &[PathBuf], out: &Path) -> Result<Merged, Fault> {
    let epochs = epoch::read_all(folders)?;
    let out = std::path::absolute(out).map_err(|error| Fault::io(out, error))?;
    let (Some(parent), Some(name)) = (out.parent(), out.file_name()) else {
        return Err(Fault::input(&out, "expected the name of a new folder"));
    };
    if out.symlink_metadata().is_ok() {
        return Err(exists(&out));
    }
    if let Some(recordings) = out_above(&out) {
        let text = format!(
            "found a place below {}, where a server writes its recordings, expected one elsewhere: the \
             server would take it for a stream of its own",
            recordings.display()
        );
        return Err(Fault::input(&out, text));
    }
    let hidden = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
    let unfinished = Unfinished(parent.join(hidden));
    let merged = write(&epochs, &unfinished.0)?;
    let new = &unfinished.0;
    let named = File::open(new).and_then(|folder| Ok(syncfs(&folder)?));
    named.map_err(|error| Fault::io(new, error))?;
    // Not `fs::rename`, which would replace an empty folder that was made meanwhile.
    match renameat_with(CWD, new, CWD, &out, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Err(exists(&out)),
        Err(error) => return Err(Fault::io(&out, error.into())),
    }
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| Fault::io(parent, error))?;
    Ok(merged)
}

fn exists(out: &Path) -> Fault {
    Fault::input(out, "found something of that name, expected a new folder")
}

/// The folder until it has its name; removed if it never gets it.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(epochs: &[Epoch], new: &Path) -> Result<Merged, Fault> {
    let io = |error| Fault::io(new, error);
    make_folder(new).map_err(io)?;
    let phrases = texts::write(epochs, new, whole::zero_ms(epochs)).map_err(io)?;
    let others = media::write(epochs, new).map_err(io)?;
    let summary = Summary::of_folder(new).map_err(io)?;
    let meta = whole::meta(epochs, phrases, summary);
    let written = create_file(&new.join(META_NAME));
    let written = written.and_then(|mut file| file.write_all(format!("{meta:#}\n").as_bytes()));
    written.map_err(io)?;
    let mut notes = missing(epochs);
    notes.extend(others.iter().map(|name| format!("left out: {name}")));
    let parts = epochs.iter().map(|epoch| Part {
        epoch: epoch.number,
        node: epoch.node().to_owned(),
        folder: epoch.folder.clone(),
    });
    Ok(Merged {
        stream_id: meta["stream_id"].as_str().unwrap_or_default().to_owned(),
        epochs: parts.collect(),
        phrases: phrases.written,
        repeated: phrases.repeated,
        notes,
    })
}

/// Epochs that others name and that are not there. One that never received anything has no folder.
fn missing(epochs: &[Epoch]) -> Vec<String> {
    let has = |node: &str, number: u64| {
        let mut all = epochs.iter();
        all.any(|epoch| epoch.node() == node && epoch.number == number)
    };
    let mut notes = Vec::new();
    for epoch in epochs {
        let before = &epoch.meta["predecessor"];
        if let (Some(node), Some(number)) = (before["node"].as_str(), before["epoch"].as_u64())
            && !has(node, number)
        {
            notes.push(format!(
                "{} follows epoch {number} of node {node}, of which there is no folder here",
                epoch.title()
            ));
        }
    }
    if let Some(last) = epochs.last()
        && let Some(heir) = last.meta["heir"].as_str()
    {
        notes.push(format!(
            "{} was handed over to node {heir}, of which there is no folder here",
            last.title()
        ));
    }
    notes
}
