//! Sound and pictures: each epoch's files stay as they are, under names of their own, and the indexes of the
//! frames follow each other.

use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::Path;

use serde_json::Value;

use super::copy::copy;
use super::epoch::Epoch;
use crate::recorder::append_file::{create_file, make_folder};
use crate::recorder::audio::wav;
use crate::recorder::meta::FILE_NAME as META_NAME;
use crate::recorder::stream_files::{FILES, is_picture};

const INDEX_NAME: &str = "frames.jsonl";

/// Copies them. Returns the names of files that are not a recording's and were left out.
pub(super) fn write(epochs: &[Epoch], out: &Path) -> io::Result<Vec<String>> {
    let mut others = Vec::new();
    for epoch in epochs {
        for name in files_in(&epoch.folder)? {
            if name.starts_with("audio-") || name.ends_with(".h264") {
                copy_one(epoch, &name, &epoch.folder, out)?;
            } else if !is_text(&name) {
                others.push(epoch.path(&name).display().to_string());
            }
        }
    }
    for kind in ["video", "share"] {
        write_pictures(epochs, kind, out)?;
    }
    Ok(others)
}

/// Whether another part of the merging writes the file.
fn is_text(name: &str) -> bool {
    name == META_NAME || FILES.iter().any(|(text, _)| *text == name)
}

fn copy_one(epoch: &Epoch, name: &str, from: &Path, to: &Path) -> io::Result<()> {
    let copied = to.join(epoch.name_in_whole(name));
    copy(&from.join(name), &copied)?;
    // A node that was killed left the header as it was at the last sync.
    match !epoch.is_ended() && name.ends_with(".wav") {
        true => wav::repair(&copied),
        false => Ok(()),
    }
}

/// Single pictures, and the index of the frames of one kind.
fn write_pictures(epochs: &[Epoch], kind: &str, out: &Path) -> io::Result<()> {
    let folder = out.join(kind);
    let mut index = None;
    let mut count = 0;
    for epoch in epochs {
        let from = epoch.path(kind);
        if !from.is_dir() {
            continue;
        }
        make_folder(&folder)?;
        for name in files_in(&from)? {
            if is_picture(&name) {
                copy_one(epoch, &name, &from, &folder)?;
            }
        }
        let index = match &mut index {
            Some(index) => index,
            None => index.insert(BufWriter::new(create_file(&folder.join(INDEX_NAME))?)),
        };
        let lines = match fs::File::open(from.join(INDEX_NAME)) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in lines.split(b'\n') {
            // One that a crash has torn is no JSON.
            let Ok(mut line) = serde_json::from_slice::<Value>(&line?) else {
                continue;
            };
            rename_in(&mut line, epoch, kind, count);
            count += 1;
            writeln!(index, "{line}")?;
        }
    }
    match index {
        Some(mut index) => index.flush(),
        None => Ok(()),
    }
}

/// The line of a frame as it is in the index of the whole.
fn rename_in(line: &mut Value, epoch: &Epoch, kind: &str, number: u64) {
    line["frame"] = number.into();
    // The first H.264 file is not named, unless it has another name now.
    let first = format!("{kind}.h264");
    let name = line["file"].as_str().unwrap_or(&first).to_owned();
    let renamed = epoch.name_in_whole(&name);
    if renamed != name {
        line["file"] = renamed.into();
    }
}

/// The names of the files in a folder, sorted. Hidden ones are not complete.
fn files_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_file = entry.file_type()?.is_file();
        match entry.file_name().into_string() {
            Ok(name) if is_file && !name.starts_with('.') => names.push(name),
            _ => {}
        }
    }
    names.sort_unstable();
    Ok(names)
}
