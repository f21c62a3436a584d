//! The files of one stream; called by [`super::disk`] on the disk thread.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::append_file::{AppendFile, make_folder};
use super::journal::{Journal, JournalHost, Opening};
use super::jsonl::Lines;
use super::media_files::Media;
use super::meta::{End, Meta};
use super::path::folder_of;
use super::summary::Summary;
use super::transcript::{JSONL_NAME, TranscriptFormats, Transcripts};
use crate::delivery::ends::UploadNote;
use crate::domain::stream_info::StreamInfo;
use crate::feed::FEED_NAME;
use crate::protocol::codes::StopReason;
use crate::protocol::{EndReason, MediaKind, MediaParams};

mod completed;
mod folder;
mod records;
mod synced;

pub use folder::discard_folder;
pub(crate) use folder::is_picture;

use folder::closed_files;

/// Every append-only file, and the terminator of its records.
pub const FILES: [(&str, &str); 9] = [
    (FEED_NAME, "\n"),
    (JSONL_NAME, "\n"),
    ("transcript.txt", "\n"),
    ("transcript.vtt", "\n\n"),
    ("transcript.srt", "\n\n"),
    ("events.jsonl", "\n"),
    ("chat.jsonl", "\n"),
    ("video/frames.jsonl", "\n"),
    ("share/frames.jsonl", "\n"),
];

/// So many bytes of texts may wait: far less than is looked for in the journal after a crash.
const DELAYED_BYTES_MAX: usize = 16 << 10;

/// Number of folders that may have been created: the stream's own and those above it.
const FOLDERS: usize = 4;

/// What happened to a media link.
#[derive(Debug)]
pub enum MediaChange {
    /// It was connected again: its packets may repeat earlier ones.
    Resumed(MediaKind),
    /// It was not connected in time; why.
    GivenUp(MediaKind, String),
    /// It is connected, after it had been given up.
    Back(MediaKind),
}

/// State of the last `meta.json`, which says that the files are complete. It gets its name only after
/// they and it are synced, so that it is true also after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastMeta {
    /// There is none, or it has its final name.
    None,
    /// It is written under a temporary name.
    Written,
    /// Since it was written, everything was given to the sync thread.
    Syncing,
}

/// Writes one stream's files.
#[derive(Debug)]
pub struct Recorder {
    folder: Arc<Path>,
    info: StreamInfo,
    lines: Lines,
    /// `None` with `RTMS_FEED=off`.
    journal: Option<Box<Journal>>,
    transcripts: Transcripts,
    events: AppendFile,
    chat: AppendFile,
    media: Media,
    meta: Meta,
    is_meta_stale: bool,
    last_meta: LastMeta,
    /// `meta.json` says which numbers this process may give out.
    is_meta_claimed: bool,
    /// The journal has its last words, or needs none.
    has_last_words: bool,
    is_repaired: bool,
    /// Number of folders whose names a power cut could lose: the stream's own, the meeting's, the
    /// day's, and the output folder.
    folders_unsynced: usize,
}

impl Recorder {
    /// Opens the files below `root`, new or continued.
    ///
    /// `asked` are the media parameters in force until message 4 changes them.
    pub fn open(
        root: &Path,
        info: StreamInfo,
        formats: TranscriptFormats,
        asked: MediaParams,
        now_ms: u64,
    ) -> Recorder {
        let folder: Arc<Path> = root.join(folder_of(&info)).into();
        let mut meta = Meta::resume(&folder);
        if meta.opened_ms == 0 {
            meta.opened_ms = now_ms;
        }
        meta.openings += 1;
        let elapsed_ms = now_ms.saturating_sub(info.started_ms);
        let transcripts = Transcripts::open(&folder, elapsed_ms, formats);
        meta.phrases = transcripts.count_written(meta.phrases);
        Recorder {
            lines: Lines::new(&info),
            journal: None,
            transcripts,
            events: AppendFile::new(&folder, "events.jsonl", "", "\n"),
            chat: AppendFile::new(&folder, "chat.jsonl", "", "\n"),
            media: Media::open(&folder, asked, &meta, info.started_ms),
            meta,
            is_meta_stale: true,
            last_meta: LastMeta::None,
            is_meta_claimed: false,
            has_last_words: false,
            is_repaired: false,
            folders_unsynced: FOLDERS,
            folder,
            info,
        }
    }

    /// The same with a journal, which is written before everything else. What an earlier process wrote
    /// to the journal alone is added to the other files.
    pub fn with_journal(
        mut self,
        host: &Arc<JournalHost>,
        opening: Opening,
        now_ms: u64,
    ) -> Recorder {
        self.complete_after_crash();
        let meta = &mut self.meta;
        let journal = Journal::open(host, &self.folder, &self.info, meta, opening, now_ms);
        self.has_last_words = opening == Opening::Complete && journal.is_over();
        self.journal = Some(Box::new(journal));
        self
    }

    /// Continues after an end: the stream was started again before its end was written.
    pub fn reopen(&mut self, opening: Opening, now_ms: u64) {
        self.meta.openings += 1;
        self.meta.end = None;
        self.last_meta = LastMeta::None;
        self.is_meta_stale = true;
        if let Some(journal) = &mut self.journal {
            journal.note_in(&mut self.meta);
            self.is_meta_claimed = false;
            if opening != Opening::Complete {
                journal.started(&self.info, self.meta.openings, now_ms);
                self.has_last_words = false;
            }
        }
    }

    /// The journal, if there is one.
    pub(super) fn journal(&mut self) -> Option<&mut Journal> {
        self.journal.as_deref_mut()
    }

    /// The stream's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of all streams.
    pub fn root(&self) -> &Path {
        // Day, meeting, stream.
        self.folder.ancestors().nth(3).unwrap_or(&self.folder)
    }

    /// Notes where the copies of the files are, and writes it.
    ///
    /// # Errors
    /// It is not written.
    pub fn note_upload(&mut self, note: &UploadNote, now_ms: u64) -> io::Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.uploaded(note, now_ms);
        }
        self.meta.note_upload(note.value(now_ms));
        self.is_meta_stale = true;
        self.write()
    }

    /// The stream.
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Notes the end.
    pub fn end(&mut self, reason: &EndReason, now_ms: u64) {
        self.meta.end = Some(End {
            // Another process continues a stream that this one left; its files are not complete.
            at_ms: (*reason != EndReason::Left).then_some(now_ms),
            word: reason.label().to_owned(),
            text: reason.to_string(),
            stop_reason: match reason {
                EndReason::Stopped(stop) => Some(stop.0),
                _ => None,
            },
            heir: match reason {
                EndReason::HandedOver { heir } => heir.clone(),
                _ => None,
            },
        });
        self.media.end();
        self.is_meta_stale = true;
        if *reason == EndReason::Stopped(StopReason::STREAM_REVOKED)
            && let Some(journal) = &mut self.journal
        {
            journal.revoke();
        }
    }

    /// Completes the files of a stream whose process was killed and that no process continues.
    pub fn close_without_reason(&mut self, now_ms: u64) {
        self.meta.end = Some(End {
            at_ms: Some(now_ms),
            word: "abandoned".to_owned(),
            text: "the process that received it ended before the stream did; the files were \
                   completed by a later one"
                .to_owned(),
            stop_reason: None,
            heir: None,
        });
        self.media.end();
        self.is_meta_stale = true;
    }

    /// Writes everything that waits. After an error it still waits.
    pub fn write(&mut self) -> io::Result<()> {
        self.write_files(false)
    }

    /// The same, but the texts that follow from `transcript.jsonl` may wait for [`Recorder::write_delayed`]
    /// while they are few: after a crash they are made again from the journal. A write(2) for each phrase
    /// to each of them took a quarter of this thread's time.
    pub fn write_at_once(&mut self) -> io::Result<()> {
        let may_delay = self.journal.is_some() && self.meta.end.is_none();
        self.write_files(may_delay && self.transcripts.delayed_bytes() <= DELAYED_BYTES_MAX)
    }

    /// Whether something waits for [`Recorder::write_delayed`].
    pub fn is_delayed(&self) -> bool {
        self.transcripts.delayed_bytes() > 0
    }

    /// Writes the texts that wait.
    pub fn write_delayed(&mut self) -> io::Result<()> {
        self.transcripts.texts().try_for_each(AppendFile::write)
    }

    fn write_files(&mut self, delays_texts: bool) -> io::Result<()> {
        if !self.is_repaired {
            self.files().try_for_each(AppendFile::truncate_torn_tail)?;
            self.is_repaired = true;
        }
        // A crash of this process is no reason to skip numbers.
        if self.journal.is_some() && !self.is_meta_claimed {
            make_folder(&self.folder)?;
            let end = self.meta.end.take();
            let claimed = self.meta.write(&self.folder, &self.info);
            self.meta.end = end;
            claimed?;
            self.is_meta_claimed = true;
            // It is up to date, unless it has to say more at the end.
            self.is_meta_stale &= self.meta.end.is_some();
            self.folders_unsynced = self.folders_unsynced.max(1);
        }
        if let Some(journal) = &mut self.journal {
            let written = journal.write();
            journal.announce();
            written?;
        }
        if !delays_texts {
            self.write_delayed()?;
        }
        if let Some(file) = self.transcripts.jsonl() {
            file.write()?;
        }
        self.events.write()?;
        self.chat.write()?;
        // A restart finds the media files by `meta.json`, so it is written before them. At the end
        // it is written after them, so that it never says "complete" too early.
        if self.meta.end.is_some() {
            self.media.write()?;
            self.write_last_words()?;
        }
        if self.is_meta_stale {
            make_folder(&self.folder)?;
            // What an earlier process received is in the files alone.
            if self.meta.is_ended() && self.meta.openings > 1 {
                let whole = Summary::of_folder(&self.folder)?;
                self.meta.summary = whole.unwrap_or_else(|| self.meta.summary.clone());
            }
            if !self.meta.is_ended() {
                self.meta.write(&self.folder, &self.info)?;
            }
            if self.meta.is_ended() || self.meta.end.is_some() && self.journal.is_some() {
                // It says of the journal, too, what is true only once that is synced.
                let boot_id = self.meta.boot_id.take();
                let prepared = self.meta.prepare(&self.folder, &self.info);
                self.meta.boot_id = boot_id;
                prepared?;
                self.last_meta = LastMeta::Written;
            }
            self.is_meta_stale = false;
            self.folders_unsynced = self.folders_unsynced.max(1);
        }
        self.media.write()
    }

    /// Writes the journal's last words, when everything else is written.
    fn write_last_words(&mut self) -> io::Result<()> {
        let (Some(journal), Some(end)) = (&mut self.journal, &self.meta.end) else {
            return Ok(());
        };
        if !std::mem::replace(&mut self.has_last_words, true) && end.at_ms.is_some() {
            for (name, bytes) in closed_files(&self.folder) {
                journal.file_closed(&name, bytes);
            }
            journal.ended(end, self.meta.phrases, self.info.started_ms);
        }
        let written = journal.write();
        journal.announce();
        journal.note_in(&mut self.meta);
        written
    }

    /// Writes to `meta.json`, if possible, how many records could not be written. Called at the end of
    /// the process: nothing follows.
    pub fn write_losses(&mut self, records: u64) -> io::Result<()> {
        self.meta.dropped += records;
        self.meta.phrases = self.transcripts.count_written(self.meta.phrases);
        self.last_meta = LastMeta::None;
        make_folder(&self.folder)?;
        self.meta.write(&self.folder, &self.info)
    }

    /// Deletes all files of the stream. Returns how many there were.
    pub fn discard(mut self) -> io::Result<usize> {
        self.files().for_each(AppendFile::discard);
        self.media.discard();
        discard_folder(&self.folder)
    }

    /// Says on the board that the stream is over and everything is on the disk.
    pub fn finished(&self) {
        if let Some(journal) = &self.journal {
            journal.finished();
        }
    }

    /// Every growing file of records, the journal first.
    fn files(&mut self) -> impl Iterator<Item = &mut AppendFile> {
        let journal = self.journal.iter_mut().map(|journal| journal.file());
        let others = [&mut self.events, &mut self.chat];
        journal.chain(self.transcripts.files()).chain(others)
    }
}

#[cfg(test)]
mod tests;
