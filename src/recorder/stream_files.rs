//! The files of one stream; called by [`super::disk`] on the disk thread.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::append_file::{AppendFile, make_folder, tail};
use super::journal::completion::{JournalTail, Recorded};
use super::journal::lifecycle::Lifecycle;
use super::journal::{Journal, JournalHost, Opening};
use super::jsonl::Lines;
use super::media_files::Media;
use super::meta::{End, FILE_NAME as META_NAME, Meta, NEW_NAME};
use super::packet_batch::PacketBatch;
use super::path::stream_folder;
use super::record_batch::Record;
use super::summary::Summary;
use super::sync_targets::SyncTargets;
use super::transcript::{Format, JSONL_NAME, TranscriptFormats, Transcripts};
use crate::delivery::ends::UploadNote;
use crate::domain::phrase::{Change, Phrase};
use crate::domain::product::Product;
use crate::domain::stream_info::StreamInfo;
use crate::feed::{FEED_NAME, kind};
use crate::protocol::codes::StopReason;
use crate::protocol::events::event_name;
use crate::protocol::{EndReason, Granted, MediaKind, MediaParams};

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
        let folder = stream_folder(info.started_ms, &info.id, &info.stream_id);
        let folder: Arc<Path> = root.join(folder).into();
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
        // A process that left cleanly left all files alike.
        if self.meta.boot_id.is_some() || self.meta.openings <= 1 {
            self.complete_from_journal();
        }
        let meta = &mut self.meta;
        let journal = Journal::open(host, &self.folder, &self.info, meta, opening, now_ms);
        self.has_last_words = opening == Opening::Complete && journal.is_over();
        self.journal = Some(Box::new(journal));
        self
    }

    fn complete_from_journal(&mut self) {
        let mut formats = Format::ALL.to_vec();
        let mut others = vec![true, false];
        let in_files = self.transcripts.count_written(0);
        let mut phrases = None;
        for look in JournalTail::looks(&self.folder) {
            let Ok(journal) = look else { return };
            let records = journal.records();
            formats.retain(|format| {
                let zero_ms = self.info.started_ms;
                let added = self
                    .transcripts
                    .complete(*format, &journal, &records, zero_ms);
                phrases = phrases.max(added);
                added.is_none()
            });
            others.retain(|is_events| {
                let file = match is_events {
                    true => &mut self.events,
                    false => &mut self.chat,
                };
                let is_own = |record: &&Recorded<'_>| match is_events {
                    true => record.is_event(),
                    false => record.is_chat(),
                };
                let own = records.iter().filter(is_own);
                let own: Vec<&[u8]> = own.map(|record| &*record.line).collect();
                let end = tail(&file.path(), "\n").unwrap_or_default();
                let last: Vec<&[u8]> = end.lines().map(str::as_bytes).collect();
                let Some(present) = journal.count_present(&own, &last) else {
                    return true;
                };
                for line in &own[present..] {
                    file.record_buf()
                        .extend_from_slice(&[line, &b"\n"[..]].concat());
                }
                false
            });
            if formats.is_empty() && others.is_empty() {
                break;
            }
        }
        self.meta.phrases = (self.meta.phrases).max(in_files + phrases.unwrap_or(0));
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

    /// Adds a record; [`Recorder::write`] writes it.
    pub fn push(&mut self, record: &Record<'_>) {
        match record {
            Record::Phrase(phrase) => {
                self.meta.phrases += 1;
                let zero_ms = self.info.started_ms;
                // A restart loses the names from events; `meta.json` keeps them.
                let participants = &self.meta.participants;
                let name = match phrase.user_name.trim() {
                    "" => participants.name_of(&phrase.user_id, phrase.channel_id.as_ref()),
                    _ => None,
                };
                let named = name.map(|name| Phrase {
                    user_name: Cow::Borrowed(name),
                    ..phrase.borrowed()
                });
                let phrase = named.as_ref().unwrap_or(phrase);
                self.meta.summary.on_phrase(phrase);
                let line = self.transcripts.push(&self.lines, zero_ms, phrase);
                if let Some(journal) = &mut self.journal {
                    let (kind, at_ms) = (phrase_kind(phrase.change), phrase.timestamp_ms);
                    match line {
                        Some(line) => journal.push(kind, at_ms, line, None),
                        None => {
                            let lines = &self.lines;
                            journal.push_with(kind, at_ms, |out| lines.phrase(out, phrase));
                        }
                    }
                }
            }
            Record::Event(event) => {
                let is_news = self.meta.participants.on_event(
                    self.info.product,
                    event.event_type,
                    event.timestamp_ms,
                    event.participants,
                );
                if is_news {
                    self.media.on_names(&mut self.meta);
                    self.is_meta_stale = true;
                }
                let out = self.events.record_buf();
                let from = out.len();
                self.lines.event(out, event);
                if let Some(journal) = &mut self.journal {
                    let kind = event_kind(self.info.product, event.event_type);
                    let is_attendance =
                        matches!(kind, kind::PARTICIPANT_JOINED | kind::PARTICIPANT_LEFT);
                    let people = is_attendance.then_some(event.participants);
                    journal.push(kind, event.timestamp_ms, &out[from..out.len() - 1], people);
                }
            }
            Record::Chat(chat) => {
                let out = self.chat.record_buf();
                let from = out.len();
                self.lines.chat(out, chat);
                if let Some(journal) = &mut self.journal {
                    let line = &out[from..out.len() - 1];
                    journal.push(kind::CHAT_MESSAGE, chat.timestamp_ms, line, None);
                }
            }
            Record::Notice(notice) => self.on_notice(notice),
        }
    }

    fn on_notice(&mut self, notice: &Lifecycle) {
        if let Some(journal) = &mut self.journal {
            let granted = &self.meta.granted;
            journal.on_notice(notice, || {
                serde_json::to_string(granted).unwrap_or_default()
            });
        }
    }

    /// Adds a batch of packets; [`Recorder::write`] writes it.
    pub fn push_packets(&mut self, batch: &PacketBatch) {
        let missed = self.media.push(batch, &mut self.meta);
        self.meta.dropped += missed.dropped;
        self.meta.malformed += missed.malformed;
        self.is_meta_stale |= missed.is_meta_stale;
    }

    /// Applies a change of a media link.
    pub fn on_media_change(&mut self, change: &MediaChange) {
        match change {
            MediaChange::Resumed(kind) => self.media.on_reconnect(*kind),
            MediaChange::GivenUp(kind, why) => {
                let kind = kind.name().to_owned();
                self.meta.given_up.insert(kind, why.clone());
                self.is_meta_stale = true;
            }
            MediaChange::Back(kind) => {
                self.is_meta_stale |= self.meta.given_up.remove(kind.name()).is_some();
            }
        }
    }

    /// Sets the media parameters that Zoom granted.
    pub fn on_granted(&mut self, granted: &Granted) {
        self.media.on_granted(granted);
        let json = serde_json::from_str(&granted.json).unwrap_or_default();
        let kind = granted.kind.name().to_owned();
        self.meta.granted.insert(kind, json);
        self.is_meta_stale = true;
    }

    /// Adds to the number of dropped records.
    pub fn dropped(&mut self, count: u64) {
        self.meta.dropped += count;
        self.is_meta_stale = true;
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
        });
        self.media.end();
        self.is_meta_stale = true;
    }

    /// Writes everything that waits. After an error it still waits.
    pub fn write(&mut self) -> io::Result<()> {
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
        self.others().try_for_each(AppendFile::write)?;
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

    /// Adds what must be synced so that everything written so far survives a power cut, and from then
    /// on treats it as synced.
    ///
    /// # Errors
    /// The disk refuses to show the files; then the whole file system must be synced.
    pub fn take_unsynced(&mut self) -> io::Result<SyncTargets> {
        self.verify_media_linked()?;
        let mut targets = SyncTargets::default();
        let mut is_named = true;
        for file in self.files() {
            is_named &= !file.take_unsynced(&mut targets)?;
        }
        self.journal.iter_mut().for_each(|it| it.looked_at());
        self.media.take_unsynced(&mut targets)?;
        if !is_named {
            self.folders_unsynced = self.folders_unsynced.max(1);
        }
        if self.last_meta != LastMeta::None {
            targets.add_closed(self.folder.join(NEW_NAME));
            self.last_meta = LastMeta::Syncing;
        }
        for folder in self.folder.ancestors().take(self.folders_unsynced) {
            targets.add_folder(folder);
        }
        self.folders_unsynced = 0;
        Ok(targets)
    }

    /// Called after the sync: gives the last `meta.json` its final name. Returns whether there was one;
    /// then its name must be synced.
    pub fn publish(&mut self) -> io::Result<bool> {
        if self.last_meta != LastMeta::Syncing {
            return Ok(false);
        }
        Meta::publish(&self.folder)?;
        self.last_meta = LastMeta::None;
        self.folders_unsynced = self.folders_unsynced.max(1);
        Ok(true)
    }

    /// Prepares for a sync of the whole file system, and returns its device number.
    pub fn prepare_sync(&mut self) -> io::Result<u64> {
        self.verify_media_linked()?;
        let mut known = None;
        for file in self.files() {
            known = file.verify_linked()?.or(known);
        }
        self.journal.iter_mut().for_each(|it| it.looked_at());
        known.map_or_else(|| Ok(fs::metadata(&self.folder)?.dev()), Ok)
    }

    /// Continues a deleted media file in a new part, and lists it in `meta.json`.
    fn verify_media_linked(&mut self) -> io::Result<()> {
        if self.media.verify_linked(&mut self.meta)? {
            self.is_meta_stale = true;
            self.write()?;
        }
        Ok(())
    }

    /// Treats everything written so far as synced, because the whole file system is.
    pub fn synced(&mut self) {
        self.files().for_each(AppendFile::synced);
        self.media.synced();
        self.folders_unsynced = 0;
        if self.last_meta == LastMeta::Written {
            self.last_meta = LastMeta::Syncing;
        }
    }

    /// Whether a power cut could lose something that was written.
    pub fn is_unsynced(&mut self) -> bool {
        self.files().any(|file| file.is_unsynced()) || self.media.is_unsynced()
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

    /// Those beside the journal.
    fn others(&mut self) -> impl Iterator<Item = &mut AppendFile> {
        let others = [&mut self.events, &mut self.chat];
        self.transcripts.files().chain(others)
    }
}

fn phrase_kind(change: Change) -> &'static str {
    match change {
        Change::New => kind::TRANSCRIPT_PHRASE,
        Change::Update => kind::TRANSCRIPT_UPDATED,
        Change::Delete => kind::TRANSCRIPT_DELETED,
    }
}

fn event_kind(product: Product, number: Option<i64>) -> &'static str {
    match number.and_then(|number| event_name(product, number)) {
        Some("PARTICIPANT_JOIN") => kind::PARTICIPANT_JOINED,
        Some("PARTICIPANT_LEAVE") => kind::PARTICIPANT_LEFT,
        Some("ACTIVE_SPEAKER_CHANGE") => kind::SPEAKER_CHANGED,
        Some("SHARING_START") => kind::SHARING_STARTED,
        Some("SHARING_STOP") => kind::SHARING_STOPPED,
        _ => kind::EVENT_OTHER,
    }
}

/// Whether it is a single picture. There may be a hundred thousand of them, too many to name each.
pub(super) fn is_picture(name: &str) -> bool {
    name.ends_with(".jpg") || name.ends_with(".png")
}

/// The files of a stream that get no more, and their sizes, by name: text, sound, and video in one
/// file.
fn closed_files(folder: &Path) -> Vec<(String, u64)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codes::StopReason;
    use crate::protocol::dedup::PHRASES_MAX;
    use crate::recorder::jsonl::tests::{info, phrase};
    use crate::testing::scratch;

    const ALL: TranscriptFormats = TranscriptFormats {
        jsonl: true,
        txt: true,
        vtt: true,
        srt: true,
    };

    fn read(recorder: &Recorder, name: &str) -> String {
        fs::read_to_string(recorder.folder().join(name)).unwrap_or_default()
    }

    #[test]
    fn every_format_is_continued_after_a_restart() {
        let root = scratch("recorder-grow");
        let mut first = Recorder::open(&root, info(), ALL, MediaParams::default(), 5);
        first.push(&Record::Phrase(phrase("one")));
        first.write().expect("writable");
        assert_eq!(read(&first, "transcript.jsonl").lines().count(), 1);
        assert!(read(&first, "transcript.vtt").starts_with("WEBVTT\n\n1\n"));
        // Killed in the middle of a write.
        let vtt = first.folder().join("transcript.vtt");
        let torn = read(&first, "transcript.vtt") + "2\n00:00:0";
        fs::write(&vtt, torn).expect("writable");
        drop(first);

        let mut second = Recorder::open(&root, info(), ALL, MediaParams::default(), 9);
        second.push(&Record::Phrase(phrase("two")));
        second.end(&EndReason::Stopped(StopReason(6)), 10);
        second.write().expect("writable");
        assert_eq!(
            read(&second, "transcript.vtt"),
            "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.500\n<v Ada>one\n\n\
             2\n00:00:01.000 --> 00:00:02.500\n<v Ada>two\n\n"
        );
        assert_eq!(read(&second, "transcript.txt").lines().count(), 2);
        assert!(read(&second, "transcript.srt").contains("\n\n2\n"));
        // A `meta.json` that says that the files are complete is written after they are on the disk.
        assert!(read(&second, "meta.json").contains("receiving"));
        assert!(!second.publish().expect("writable"));
        let targets = second.take_unsynced().expect("writable");
        assert!(targets.sync(&|| true).expect("writable"));
        assert!(second.publish().expect("writable"));
        let meta: serde_json::Value =
            serde_json::from_str(&read(&second, "meta.json")).expect("JSON");
        assert_eq!(meta["transcripts"], 2);
        assert_eq!(meta["openings"], 2);
        assert_eq!(meta["opened_ms"], 5);
        assert_eq!(meta["stop_reason"], 6);
        assert_eq!(meta["meeting_uuid"], "a/B+c==");
        assert_eq!(meta["state"], "ended");
    }

    #[test]
    fn a_restart_loads_the_last_phrases() {
        let root = scratch("recorder-recent-phrases");
        let mut recorder = Recorder::open(&root, info(), ALL, MediaParams::default(), 0);
        let said = phrase("");
        let text = |n: u64| format!("\"quoted\" {n} – {}", "x".repeat(100));
        for n in 0..PHRASES_MAX as u64 + 9 {
            let text = text(n);
            recorder.push(&Record::Phrase(Phrase {
                text: Cow::Borrowed(&text),
                ..said.borrowed()
            }));
        }
        recorder.write().expect("writable");
        let mut recent = crate::recorder::seam::load_recent_phrases(&root, &info());
        for (n, expected) in [
            (8, false),
            (9, false),
            (20, true),
            (PHRASES_MAX as u64, true),
        ] {
            let text = text(n);
            let again = Phrase {
                text: Cow::Borrowed(&text),
                ..said.borrowed()
            };
            let is_new = recent.insert_if_new(std::time::Instant::now(), &again);
            assert_eq!(is_new, !expected, "{n}");
        }
    }

    /// After a crash, `meta.json` is old and a line is torn.
    #[test]
    fn phrases_are_counted_from_the_files() {
        for formats in ["jsonl", "txt", "vtt"] {
            let root = scratch(&format!("recorder-count-{formats}"));
            let formats = TranscriptFormats {
                jsonl: formats == "jsonl",
                txt: formats == "txt",
                vtt: formats == "vtt",
                srt: false,
            };
            let open = || Recorder::open(&root, info(), formats, MediaParams::default(), 5);
            let mut first = open();
            for n in 0..7 {
                first.push(&Record::Phrase(phrase(&format!("{n}"))));
                first.write().expect("writable");
            }
            assert!(read(&first, "meta.json").contains("\"transcripts\": 1,"));
            for name in ["transcript.jsonl", "transcript.txt"] {
                let path = first.folder().join(name);
                if path.exists() {
                    fs::write(&path, read(&first, name) + "torn").expect("writable");
                }
            }
            let mut second = open();
            second.write().expect("writable");
            assert!(
                read(&second, "meta.json").contains("\"transcripts\": 7,"),
                "{formats:?}"
            );
        }
    }

    /// Subtitles of a version that accepted every timestamp.
    #[test]
    fn an_impossible_cue_does_not_hold_up_the_next_one() {
        let root = scratch("recorder-ahead");
        let now_ms = info().started_ms + 10_000;
        let mut first = Recorder::open(&root, info(), ALL, MediaParams::default(), now_ms);
        let mut ahead = phrase("ahead");
        ahead.start_ms += 400 * 86_400_000;
        ahead.end_ms = ahead.start_ms;
        first.push(&Record::Phrase(ahead));
        first.write().expect("writable");
        let mut second = Recorder::open(&root, info(), ALL, MediaParams::default(), now_ms);
        second.push(&Record::Phrase(phrase("then")));
        second.write().expect("writable");
        for (name, time) in [
            ("transcript.vtt", "2\n00:00:10.000 --> "),
            ("transcript.srt", "2\n00:00:10,000 --> "),
        ] {
            assert!(
                read(&second, name).contains(time),
                "{}",
                read(&second, name)
            );
        }
    }

    #[test]
    fn a_deleted_phrase_is_a_record_and_no_cue() {
        let root = scratch("recorder-delete");
        let mut recorder = Recorder::open(&root, info(), ALL, MediaParams::default(), 0);
        let mut gone = phrase("gone");
        gone.change = Change::Delete;
        recorder.push(&Record::Phrase(gone));
        recorder.write().expect("writable");
        assert!(read(&recorder, "transcript.jsonl").contains("\"attribute\":\"delete\""));
        assert_eq!(read(&recorder, "transcript.vtt"), "");
    }

    #[test]
    fn deleting_a_stream_leaves_other_streams_complete() {
        let root = scratch("recorder-discard");
        let mut recorder = Recorder::open(&root, info(), ALL, MediaParams::default(), 0);
        let mut neighbour = info();
        neighbour.stream_id = "other".to_owned();
        let mut neighbour = Recorder::open(&root, neighbour, ALL, MediaParams::default(), 0);
        for recorder in [&mut recorder, &mut neighbour] {
            recorder.push(&Record::Phrase(phrase("secret")));
            recorder.write().expect("writable");
        }
        recorder.push(&Record::Phrase(phrase("still in memory")));
        let folder = recorder.folder().to_owned();
        assert_eq!(recorder.discard().expect("deletable"), 5);
        assert!(!folder.exists());
        assert!(read(&neighbour, "transcript.txt").contains("secret"));
        neighbour.discard().expect("deletable");
        assert_eq!(fs::read_dir(&root).expect("readable").count(), 0);
    }
}
