//! `GET /files/<key>/<name>`: one file of a recording, whole or a part of it.
//!
//! | file | what |
//! | --- | --- |
//! | `range` | pure: which part a request asks for |
//! | `media_type` | pure: what a file is |
//! | `send` | the bytes, from the disk to the socket |
//!
//! A name is never joined to a path before it was found in the list of the folder. Files of meetings hold
//! what others said and wrote, so a browser must not take one for a page: it is sandboxed, its type is not
//! guessed, and all but sound is saved instead of shown.

pub(in crate::admin) mod media_type;
pub mod range;
pub(in crate::admin) mod send;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags};

use self::media_type::{is_sound, media_type};
use self::range::Selection;
use crate::admin::line;
use crate::delivery::live::query::decode;
use crate::domain::text::percent_encoded;
use crate::feed::JournalKey;
use crate::gate::{Answer, LeavingRequest};
use crate::recorder::catalog::Recording;

/// Where files are.
const PATH: &str = "/files/";

/// Whether a path is that of a file.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with(PATH)
}

/// What a request for a file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileRequest {
    pub(super) key: JournalKey,
    /// As its folder is to list it; those in `video` and `share` with the folder's name.
    pub(super) name: String,
    pub(super) is_head: bool,
    range: Option<String>,
    if_range: Option<String>,
}

impl FileRequest {
    /// Reads a request; `None` if no file has such a path.
    pub(super) fn new(request: &LeavingRequest) -> Option<FileRequest> {
        let (key, name) = key_and_name(request.path())?;
        let is_head = request.method() == "HEAD";
        let field = |name| request.header(name).map(str::to_owned);
        Some(FileRequest {
            key,
            name,
            is_head,
            // A range has a meaning for GET alone.
            range: field("Range").filter(|_| !is_head),
            if_range: field("If-Range"),
        })
    }

    /// Opens the file. The answer is its head, and says which part of it is to follow.
    pub(super) fn open(&self, recording: &Recording) -> Result<(Answer, Option<Part>), Answer> {
        let unknown = || line(404, "there is no such file");
        if !recording.files().contains(&self.name) {
            return Err(unknown());
        }
        // It could have been replaced by something else since the folder was read.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(recording.folder.join(&self.name), flags, Mode::empty());
        let file = File::from(opened.map_err(|_| unknown())?);
        let metadata = file.metadata().ok().filter(Metadata::is_file);
        let metadata = metadata.ok_or_else(unknown)?;
        let (length, etag) = (metadata.len(), etag(&metadata));
        let (range, if_range) = (self.range.as_deref(), self.if_range.as_deref());
        let selection = Selection::new(range, if_range, length, &etag);
        let (first, end) = selection.place(length);
        let answer = match selection {
            Selection::Whole => Answer::text(200, ""),
            Selection::Part { first, last } => {
                let range = format!("bytes {first}-{last}/{length}");
                Answer::text(206, "").with("Content-Range", range)
            }
            Selection::Unsatisfiable => {
                let range = format!("bytes */{length}");
                let answer = line(416, "the file has no such part");
                return Err(answer.with("Content-Range", range).with("ETag", etag));
            }
        };
        let answer = answer
            .of_type(media_type(&self.name))
            .with("Content-Length", (end - first).to_string())
            .with("ETag", etag)
            .with("Accept-Ranges", "bytes")
            .with("Content-Security-Policy", "sandbox")
            .with("X-Content-Type-Options", "nosniff")
            .with("Cross-Origin-Resource-Policy", "same-origin")
            .with("Referrer-Policy", "no-referrer")
            .with("Cache-Control", "no-store");
        let answer = match is_sound(&self.name) {
            true => answer,
            false => answer.with("Content-Disposition", attachment(&self.name)),
        };
        Ok((answer, (!self.is_head).then_some(Part { file, first, end })))
    }
}

/// A part of an open file.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    /// The first byte.
    first: u64,
    /// Behind the last byte.
    end: u64,
}

impl Part {
    /// Whether the file was deleted since it was opened, as that of a withdrawn stream is.
    fn is_deleted(&self) -> io::Result<bool> {
        Ok(rustix::fs::fstat(&self.file)?.st_nlink == 0)
    }
}

/// The stream and the name of a file's path, decoded.
pub fn key_and_name(path: &str) -> Option<(JournalKey, String)> {
    let (key, name) = path.strip_prefix(PATH)?.split_once('/')?;
    Some((key.parse().ok()?, decode(name)?))
}

/// The path of a file, without a slash at its begin: relative to where the listener is.
pub fn path(key: JournalKey, name: &str) -> String {
    let parts: Vec<String> = name.split('/').map(percent_encoded).collect();
    format!("files/{key}/{}", parts.join("/"))
}

/// A file that was changed has another one.
fn etag(file: &Metadata) -> String {
    let changed_ns = i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec());
    format!("\"{:x}-{:x}-{changed_ns:x}\"", file.ino(), file.len())
}

/// To be saved under its own name. Old programs read the first form, which is ASCII.
fn attachment(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    let whole = percent_encoded(name);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}")
}

#[cfg(test)]
mod tests;
