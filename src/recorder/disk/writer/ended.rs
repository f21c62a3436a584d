//! What the disk thread does for uploads and hooks: it announces the end of a stream before it writes
//! it, and it changes the folders of streams that have ended on behalf of the thread `ends`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::super::works::FolderWork;
use super::Writer;
use crate::clock::now_ms;
use crate::delivery::ends::{EndedStream, Ends, UploadNote};
use crate::domain::stream_info::{StreamInfo, Withdrawal};
use crate::feed::FEED_NAME;
use crate::feed::key::JournalKey;
use crate::protocol::EndReason;
use crate::protocol::codes::StopReason;
use crate::recorder::meta::MetaFile;
use crate::recorder::removal::{self, Part, StreamPlace};
use crate::recorder::withdrawal::find_stream;

/// Where `ends.json` cannot be written, it is tried again after this time.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(10);

/// Ends that are to be announced.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Streams whose end waits, by the keys of their entries.
    pub(super) keys: Vec<u64>,
    again: Option<Instant>,
}

/// Whether uploads and hooks follow from the end of a stream. Not if another process continues the
/// stream, and not if consent was withdrawn, which [`Writer::revoke_ends`] reports.
fn is_reported(reason: &EndReason) -> bool {
    !matches!(
        reason,
        EndReason::Left | EndReason::Stopped(StopReason::STREAM_REVOKED)
    )
}

/// A stream below this folder of all streams, as the thread `ends` gets it.
fn ended_stream(root: &Path, folder: &Path, info: &StreamInfo) -> EndedStream {
    EndedStream {
        key: key_of(root, folder),
        folder: folder.to_owned(),
        info: info.clone(),
        uploaded: None,
    }
}

fn key_of(root: &Path, folder: &Path) -> JournalKey {
    JournalKey::of_folder(folder.strip_prefix(root).unwrap_or(folder))
}

impl Writer {
    /// Writes the end of a stream: at once, or once `ends.json` tells what follows from it.
    pub(super) fn end_stream(&mut self, key: u64, reason: EndReason) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if is_reported(&reason) && self.ends.as_ref().is_some_and(Ends::is_on) {
            entry.ending = Some(reason);
            self.ending.keys.push(key);
        } else {
            entry.recorder.end(&reason, now_ms());
            entry.has_ended = true;
            entry.is_left = reason == EndReason::Left;
            self.write(key);
        }
    }

    /// Announces what waits for it, all together, and writes the ends. `is_last` writes them in any
    /// case.
    pub(super) fn announce_ends(&mut self, is_last: bool) {
        let Some(ends) = self.ends.clone().filter(|_| !self.ending.keys.is_empty()) else {
            return;
        };
        let now = Instant::now();
        if self.ending.again.is_some_and(|at| now < at) && !is_last {
            return;
        }
        let keys = std::mem::take(&mut self.ending.keys);
        let waiting = keys.iter().filter_map(|key| self.entries.get(key));
        let waiting = waiting.filter(|entry| entry.ending.is_some());
        let ended: Vec<EndedStream> = waiting
            .map(|entry| {
                let recorder = &entry.recorder;
                ended_stream(recorder.root(), recorder.folder(), recorder.info())
            })
            .collect();
        let is_announced = ends.announce(&ended);
        self.ending.again = (!is_announced).then_some(now + ANNOUNCE_AGAIN);
        if !is_announced && !is_last {
            self.ending.keys = keys;
            return;
        }
        if !is_announced {
            log::error!(
                "streams end without their upload or hook, for ends.json cannot be written count={}",
                ended.len()
            );
        }
        for key in keys {
            if let Some(entry) = self.entries.get_mut(&key)
                && let Some(reason) = entry.ending.take()
            {
                entry.recorder.end(&reason, now_ms());
                (entry.has_ended, entry.is_announced) = (true, is_announced);
                self.write(key);
            }
        }
    }

    /// The end of a stream that was announced is on the disk.
    pub(super) fn end_is_written(&self, root: &Path, folder: &Path) {
        if let Some(ends) = &self.ends {
            ends.written(key_of(root, folder));
        }
    }

    /// Files are written again that may have been complete.
    pub(super) fn stream_is_open(&self, root: &Path, folder: &Path) {
        if let Some(ends) = &self.ends {
            ends.reopened(key_of(root, folder));
        }
    }

    /// Reports to the thread `ends` that consent was withdrawn, before anything is deleted. Returns for
    /// each stream how many files go from the bucket.
    pub(super) fn revoke_ends(
        &self,
        withdrawal: &Withdrawal,
        roots: &[PathBuf],
        deletes: bool,
    ) -> HashMap<JournalKey, u64> {
        let Some(ends) = &self.ends else {
            return HashMap::new();
        };
        let Withdrawal { id, stream_id, .. } = withdrawal;
        let mut revoked = Vec::new();
        for root in roots {
            for folder in find_stream(std::slice::from_ref(root), id.as_deref(), stream_id) {
                let meta = MetaFile::read(&folder).ok().flatten();
                let uploaded = meta.as_ref().and_then(MetaFile::uploaded);
                let open = self.entries.values().map(|entry| &entry.recorder);
                let open = open
                    .into_iter()
                    .find(|recorder| recorder.folder() == folder);
                let info = open.map(|recorder| recorder.info().clone());
                if let Some(info) = info.or_else(|| meta?.stream_info()) {
                    let ended = ended_stream(root, &folder, &info);
                    revoked.push(EndedStream { uploaded, ..ended });
                }
            }
        }
        let Some(counts) = ends.revoke(&revoked, deletes) else {
            log::error!(
                "consent withdrawn, but ends.json cannot be written stream={stream_id}; delete what was \
                 uploaded by hand"
            );
            return HashMap::new();
        };
        let keys = revoked.iter().map(|stream| stream.key);
        keys.zip(counts).collect()
    }

    /// Notes in the journal and in `meta.json` where the files of a folder are.
    pub(super) fn note_upload(&mut self, note: &UploadNote) -> io::Result<()> {
        let mut entries = self.entries.values_mut();
        let open = entries.find(|entry| is_same(entry.recorder.folder(), &note.folder));
        if let Some(entry) = open {
            return entry.recorder.note_upload(note, now_ms());
        }
        let feed = self.feed.as_ref().filter(|_| self.settings.feed.is_some());
        let mut last = None;
        if let Some(feed) = feed {
            last = feed.host.note_upload(&note.folder, note)?;
            self.counters
                .journal_lines
                .store(feed.host.lines(), Relaxed);
        }
        MetaFile::note_upload(&note.folder, note.value(now_ms()), last)
    }

    /// Refuses to delete what a stream that lives again would write on.
    fn check_is_over(&self, folder: &Path) -> io::Result<()> {
        let mut open = self.entries.values().map(|entry| entry.recorder.folder());
        match open.any(|own| is_same(own, folder)) {
            true => Err(io::Error::other("the stream lives again")),
            false => Ok(()),
        }
    }

    /// Does work in a folder, unless its stream lives.
    pub(super) fn in_folder(&self, folder: &Path, work: FolderWork) -> io::Result<()> {
        self.check_is_over(folder)
            .map_err(|_| io::ErrorKind::ResourceBusy)?;
        work()
    }

    /// Deletes the journal of a folder whose stream is over, unless a consumer needs it.
    pub(super) fn delete_journal(&self, folder: &Path, ended_ago: Duration) -> io::Result<()> {
        self.check_is_over(folder)?;
        let board = self.shared.board.get();
        let key = board.map(|board| board.key_of(folder));
        if let (Some(board), Some(key)) = (board, key)
            && !board.may_delete(key, ended_ago)
        {
            return Err(io::Error::other("a consumer needs it"));
        }
        match fs::remove_file(folder.join(FEED_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let (Some(board), Some(key)) = (board, key) {
            board.deleted(key);
        }
        Ok(())
    }

    /// Takes a part of a stream that is over out of sight.
    pub(super) fn detach(&self, root: &Path, place: &StreamPlace, part: Part) -> io::Result<()> {
        let folder = std::path::absolute(root.join(place.path()))?;
        self.check_is_over(&folder)?;
        let is_gone = removal::folders::detach(root, place, part)?;
        if let Some(board) = self.shared.board.get()
            && is_gone
            && part == Part::All
        {
            board.deleted(place.key());
        }
        Ok(())
    }

    /// See [`removal::publish_meta`].
    pub(super) fn publish_meta(
        &self,
        root: &Path,
        place: &StreamPlace,
        inode: u64,
    ) -> io::Result<()> {
        let folder = std::path::absolute(root.join(place.path()))?;
        self.check_is_over(&folder)?;
        removal::publish_meta(root, place, inode)
    }

    /// Deletes files of a folder whose stream is over.
    pub(super) fn delete_files(&self, folder: &Path, files: &[String]) -> io::Result<()> {
        self.check_is_over(folder)?;
        let mut below = Vec::new();
        for file in files {
            if let Some((inner, _)) = file.split_once('/')
                && !below.contains(&inner)
            {
                below.push(inner);
            }
            match fs::remove_file(folder.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for inner in below {
            // Not empty means that others have put something there.
            let _ = fs::remove_dir(folder.join(inner));
        }
        Ok(())
    }
}

/// Announces a stream that no process continues.
pub(super) fn announce_orphan(
    ends: Option<&Ends>,
    root: &Path,
    folder: &Path,
    info: &StreamInfo,
) -> io::Result<()> {
    match ends.is_none_or(|ends| ends.announce(&[ended_stream(root, folder, info)])) {
        true => Ok(()),
        false => Err(io::Error::other("ends.json cannot be written")),
    }
}

/// Whether an open folder is the one that is meant, which is an absolute path.
fn is_same(open: &Path, meant: &Path) -> bool {
    open == meant || std::path::absolute(open).is_ok_and(|open| open == meant)
}
