//! What all journals of one server share: the board, the positions, the boot, the source.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memchr::memrchr;

use super::opened::Opened;
use super::pos_clock::PosClock;
use super::server::{Cause, RevokedStream};
use super::{REVOKED_MORE, ids, state_data};
use crate::clock::{now_ms, now_us};
use crate::feed::line::Envelope;
use crate::feed::reader::end_of;
use crate::feed::{Board, FEED_NAME, JournalKey, Line, kind};
use crate::recorder::append_file::AppendFile;
use crate::recorder::meta::MetaFile;
use crate::recorder::sync_targets::SyncTargets;

/// The kernel's id of this boot: another one means that what was not synced may be lost.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// Used by the disk thread alone; what it announces is on the board.
#[derive(Debug)]
pub struct JournalHost {
    board: Arc<Board>,
    /// `RTMS_FEED_SOURCE`.
    source: String,
    boot_id: String,
    clock: Mutex<PosClock>,
    opened: Mutex<Opened>,
    lines: AtomicU64,
}

/// A journal has grown, and the board does not say so yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) bytes: u64,
    pub(super) seq: u64,
    pub(super) pos: u64,
}

impl JournalHost {
    /// For the journals on that board. Positions go on where the mark in the state directory is.
    pub fn new(board: &Arc<Board>, source: Option<&str>, state: Option<&Path>) -> Arc<JournalHost> {
        let clock = PosClock::open(state);
        board.set_pos(clock.last());
        let boot_id = first_line(BOOT_ID).unwrap_or_default();
        let opened = Opened::open(state, &boot_id, now_ms());
        Arc::new(JournalHost {
            board: Arc::clone(board),
            source: source.map_or_else(default_source, str::to_owned),
            boot_id,
            clock: Mutex::new(clock),
            opened: Mutex::new(opened),
            lines: AtomicU64::new(0),
        })
    }

    /// Where it is announced how far journals have grown.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Lines written so far, of all journals.
    pub fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    /// The member `source` of each line.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    fn clock(&self) -> MutexGuard<'_, PosClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a journal is opened; whether no process before can have given out a number in it.
    pub(super) fn is_new(&self, key: JournalKey, started_ms: u64) -> bool {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.note(key, started_ms, &self.boot_id, now_ms())
    }

    pub(super) fn saw(&self, pos: u64) {
        self.clock().saw(pos);
    }

    /// Writes what waits of a journal: positions are filled in right before each write, so that no
    /// lower one becomes visible after a higher one. What was written is returned also where the rest
    /// could not be.
    pub(super) fn write(&self, file: &mut AppendFile) -> (io::Result<()>, Option<Growth>) {
        let (mut tried, mut written, mut lines) = (None, None, 0);
        let result = file.write_with(|chunk| {
            written = tried.take().or(written);
            let (count, pos) = self.clock().fill(chunk, now_us());
            let last = chunk.strip_suffix(b"\n").unwrap_or(chunk);
            let last = &last[memrchr(b'\n', last).map_or(0, |at| at + 1)..];
            tried = Line::parse(last).map(|line| (line.seq, pos));
            lines += count;
        });
        if result.is_ok() {
            written = tried.or(written);
        }
        self.lines.fetch_add(lines, Relaxed);
        let bytes = file.bytes();
        (result, written.map(|(seq, pos)| Growth { bytes, seq, pos }))
    }

    /// Consent was withdrawn for a stream that is not open: nothing of its journal leaves from here on,
    /// and one that stays gets its last word. `None` for a folder that never had a journal.
    ///
    /// # Errors
    /// The folder cannot be read, or the line cannot be written.
    pub(crate) fn revoke_folder(
        &self,
        folder: &Path,
        is_deleted: bool,
    ) -> io::Result<Option<RevokedStream>> {
        let key = self.board.key_of(folder);
        self.board.revoke(key);
        let end = end_of(&folder.join(FEED_NAME))?;
        let meta = MetaFile::read(folder)?;
        // The journal may be in the bucket alone.
        let noted = meta.as_ref().and_then(MetaFile::feed_seq);
        let last = end.seq.max(noted.unwrap_or(0));
        let info = meta.and_then(|meta| meta.stream_info());
        let (false, Some(info)) = (last == 0, info) else {
            return Ok(None);
        };
        let mut stream = RevokedStream {
            key,
            stream_seq: last,
            info,
            is_deleted,
            cause: Cause::default(),
        };
        let is_told = end
            .kinds
            .first()
            .is_some_and(|it| it == kind::STREAM_REVOKED);
        if !is_deleted && !is_told && end.seq > 0 {
            stream.stream_seq += 1;
            self.saw(end.pos);
            let mut file = AppendFile::new(&folder.into(), FEED_NAME, "", "\n");
            push_revoked(&mut file, &self.source, &stream);
            self.write(&mut file).0?;
            sync(&mut file)?;
        }
        Ok(Some(stream))
    }

    pub(super) fn announce(&self, key: JournalKey, growth: Growth) {
        self.board.grew(key, growth.bytes, growth.seq, growth.pos);
    }
}

/// Syncs a journal at once: for what is rare, and what others wait for. Returns whether its name is new.
pub(super) fn sync(file: &mut AppendFile) -> io::Result<bool> {
    let mut targets = SyncTargets::default();
    let is_new = file.take_unsynced(&mut targets)?;
    targets.sync(&|| true)?;
    Ok(is_new)
}

/// The last word of a journal that stays.
fn push_revoked(file: &mut AppendFile, source: &str, stream: &RevokedStream) {
    let mut envelope = Envelope::new(stream.key, source, Some(&stream.info));
    let out = file.record_buf();
    envelope.begin(out, stream.stream_seq, kind::STREAM_REVOKED, now_ms());
    let data = state_data("revoked", &ids(&stream.info), REVOKED_MORE);
    out.extend_from_slice(data.as_bytes());
    Envelope::end(out);
}

/// `RTMS_FEED_SOURCE` where it is not set.
fn default_source() -> String {
    let name = first_line(HOST_NAME).unwrap_or_else(|| "localhost".to_owned());
    format!("/rtmsd/{name}")
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}
