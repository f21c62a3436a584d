//! What several nodes together have of a stream: one folder for each epoch.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// An epoch of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Which of the nodes has it.
    pub node: usize,
    /// The epoch.
    pub epoch: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// Its `meta.json`.
    pub meta: Value,
}

impl Part {
    /// Whether its node receives the stream now, by what it has written.
    pub fn is_open(&self) -> bool {
        self.meta["state"] == "receiving"
    }
}

/// The epochs of a stream, in their order. `outs` are the folders of the nodes.
///
/// # Errors
/// If a folder cannot be read. What disappears meanwhile is left out.
pub fn parts(outs: &[PathBuf], stream: &str) -> io::Result<Vec<Part>> {
    let mut found = Vec::new();
    for (node, out) in outs.iter().enumerate() {
        collect(out, &mut |folder, meta| {
            if meta["stream_id"] == stream {
                found.push(Part {
                    node,
                    epoch: meta["epoch"].as_u64().unwrap_or(1),
                    folder: folder.to_owned(),
                    meta,
                });
            }
        })?;
    }
    found.sort_by_key(|part| part.epoch);
    Ok(found)
}

/// The whole lines of all transcripts, epoch after epoch.
///
/// # Errors
/// If a transcript cannot be read.
pub fn lines(parts: &[Part]) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for part in parts {
        let text = match fs::read(part.folder.join("transcript.jsonl")) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            // No participant has spoken.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        lines.extend(whole.lines().map(str::to_owned));
    }
    Ok(lines)
}

fn collect(folder: &Path, found: &mut impl FnMut(&Path, Value)) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found)?;
        } else if entry.file_name() == "meta.json"
            && let Ok(bytes) = fs::read(entry.path())
        {
            found(folder, serde_json::from_slice(&bytes).unwrap_or_default());
        }
    }
    Ok(())
}
