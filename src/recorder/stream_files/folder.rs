//! The folder of a stream: what is in it, and deleting it.

use std::fs;
use std::io;
use std::path::Path;

use crate::feed::FEED_NAME;
use crate::recorder::meta::FILE_NAME as META_NAME;

/// Whether it is a single picture. There may be a hundred thousand of them, too many to name each.
pub(crate) fn is_picture(name: &str) -> bool {
    name.ends_with(".jpg") || name.ends_with(".png")
}

/// The files of a stream that get no more, and their sizes, by name: text, sound, and video in one
/// file.
pub(super) fn closed_files(folder: &Path) -> Vec<(String, u64)> {
    let mut files = Vec::new();
    for below in ["", "video/", "share/"] {
        let entries = fs::read_dir(folder.join(below)).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().map(|name| format!("{below}{name}")) else {
                continue;
            };
            let is_own = name != FEED_NAME && name != META_NAME && !name.starts_with('.');
            // One call for each file.
            if is_own
                && !is_picture(&name)
                && let Ok(found) = entry.metadata()
                && found.is_file()
            {
                files.push((name, found.len()));
            }
        }
    }
    files.sort_unstable();
    files
}

/// Deletes a stream's folder, and the folders above it if they are empty then. Returns how many
/// files there were.
pub fn discard_folder(folder: &Path) -> io::Result<usize> {
    let files = match count_files(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    fs::remove_dir_all(folder)?;
    // Deleting the meeting's and the day's folder fails if other streams are in them.
    for above in folder.ancestors().skip(1).take(2) {
        if fs::remove_dir(above).is_err() {
            break;
        }
    }
    Ok(files)
}

/// Number of files in a folder and its subfolders; ours are one level deep.
fn count_files(folder: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += match entry.file_type()?.is_dir() {
            true => fs::read_dir(entry.path())?.count(),
            false => 1,
        };
    }
    Ok(count)
}
