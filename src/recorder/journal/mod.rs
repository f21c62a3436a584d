//! The journal of one stream, as it is written: numbers, positions, lifecycle. Used by the disk
//! thread alone.
//!
//! Lines are formatted when records are pushed and get their `pos` when they are written. What a
//! crash does to the numbers is decided when the journal is opened: `meta.json` has the number that
//! was given out at least and, while a process has the journal open, the boot in which it did.

pub(crate) mod completion;
mod host;
pub mod lifecycle;
mod opened;
mod pos_clock;
pub(crate) mod server;
mod uploads;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::append_file::AppendFile;
use super::meta::{End, Meta};
use super::path::epoch_folder;
use crate::clock::now_ms;
use crate::delivery::ends::UploadNote;
use crate::domain::participant::Participant;
use crate::domain::stream_info::StreamInfo;
use crate::feed::line::Envelope;
use crate::feed::reader::end_of;
use crate::feed::{FEED_NAME, JournalKey, kind};
use host::Growth;
use lifecycle::{Event, Flow, Lifecycle, Stop};

pub use host::JournalHost;

/// The mark of the positions in the state directory.
pub(crate) fn mark_path(state: &Path) -> PathBuf {
    state.join(pos_clock::MARK_NAME)
}

/// How far numbers go on behind a power cut: lines that it took may have been delivered, and no id is
/// used for two events.
pub const SEQ_JUMP: u64 = 100_000;

/// The same where a journal cannot be read, so that it is not known how far it goes.
const SEQ_JUMP_UNREADABLE: u64 = 10 * SEQ_JUMP;

/// What `stream.revoked` says in the stream's own journal, which is there because nothing is deleted.
const REVOKED_MORE: &str = ",\"stop_reason\":8,\"deleted\":false,\"uploads\":0";

/// Why a stream's files are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The stream is new to this process, and as far as is known to every other.
    Start,
    /// An earlier process received it.
    Rejoin,
    /// It is over, and its files are completed.
    Complete,
}

/// One stream's journal.
#[derive(Debug)]
pub struct Journal {
    host: Arc<JournalHost>,
    key: JournalKey,
    envelope: Envelope,
    file: AppendFile,
    /// `,"id":"…","stream_id":"…"`: whose stream it is, in data of our own.
    ids: String,
    /// The last number given out.
    seq: u64,
    flow: Flow,
    /// In a fleet: the member of `stream.resumed` that names the journal of the node before.
    predecessor: Option<Box<str>>,
    /// Written and not yet announced.
    growth: Option<Growth>,
    /// `stream.ended` is its last word so far.
    is_over: bool,
    /// Nothing follows any more: consent was withdrawn.
    is_revoked: bool,
}

impl Journal {
    /// The journal in a stream's folder, new or continued. `meta` is what `meta.json` said, the opening
    /// counted already; it says from then on that this process has the journal open.
    pub fn open(
        host: &Arc<JournalHost>,
        folder: &Arc<Path>,
        info: &StreamInfo,
        meta: &mut Meta,
        opening: Opening,
        now_ms: u64,
    ) -> Journal {
        let key = host.board().key_of(folder);
        let found = end_of(&folder.join(FEED_NAME));
        let floor = meta.feed_seq.unwrap_or(0);
        let is_first = meta.openings <= 1;
        let is_new = host.is_new(key, info.started_ms);
        let (end, jump) = match found {
            Ok(end) => {
                let is_lost = end.seq == 0 && floor > 0;
                let is_other_boot =
                    (meta.boot_id.as_deref()).is_some_and(|id| id != host.boot_id());
                // No meta.json: a power cut or a person took it, and perhaps more. Not if
                // the process before was killed before it wrote anything.
                let is_unknown = is_first && (end.seq > 0 || opening == Opening::Rejoin && !is_new);
                let jump = match is_lost || is_other_boot || is_unknown {
                    true => SEQ_JUMP,
                    false => 0,
                };
                (end, jump)
            }
            Err(error) => {
                log::error!(
                    "cannot read the journal folder={} error=\"{error}\"; its numbers go on \
                     {SEQ_JUMP_UNREADABLE} higher",
                    folder.display()
                );
                Default::default()
            }
        };
        let last = end.seq.max(floor);
        host.saw(end.pos);
        host.board().open(key, folder, end.bytes, end.seq, end.pos);
        let was_over = end
            .kinds
            .last()
            .is_some_and(|kind| kind == kind::STREAM_ENDED);
        let is_revoked = end
            .kinds
            .first()
            .is_some_and(|kind| kind == kind::STREAM_REVOKED);
        if is_revoked {
            host.board().revoke(key);
        }
        // Parameters are granted before anything flows.
        let was_receiving = !meta.granted.is_empty();
        let predecessor = predecessor(info);
        let mut journal = Journal {
            host: Arc::clone(host),
            key,
            envelope: Envelope::new(key, host.source(), Some(info)),
            file: AppendFile::new(folder, FEED_NAME, "", "\n"),
            ids: ids(info),
            seq: last + jump,
            flow: match (was_receiving, &predecessor) {
                (true, _) => Flow::after_restart(since_ms(end.pos, now_ms), last),
                (false, Some(_)) => Flow::after_take_over(until_ms(info, now_ms), last),
                (false, None) => Flow::default(),
            },
            predecessor,
            growth: None,
            is_over: was_over,
            is_revoked,
        };
        (meta.feed_seq, meta.boot_id) = (Some(journal.seq), Some(host.boot_id().to_owned()));
        if opening != Opening::Complete {
            journal.started(info, meta.openings, now_ms);
        }
        journal
    }

    /// Its key.
    pub fn key(&self) -> JournalKey {
        self.key
    }

    /// The last number given out.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Adds a line whose data is this JSON object, which stands in another file as well. `people` are
    /// put behind its last member.
    pub fn push(&mut self, kind: &str, at_ms: u64, data: &[u8], people: Option<&[Participant]>) {
        if self.is_revoked {
            return;
        }
        let out = begin(
            &mut self.file,
            &mut self.envelope,
            &mut self.seq,
            kind,
            at_ms,
        );
        match people {
            None => out.extend_from_slice(data),
            Some(people) => {
                out.extend_from_slice(data.strip_suffix(b"}").unwrap_or(data));
                write_people(out, people);
                out.push(b'}');
            }
        }
        Envelope::end(out);
    }

    /// Adds a line whose data stands in no other file. `write` writes it, with a line break.
    pub fn push_with(&mut self, kind: &str, at_ms: u64, write: impl FnOnce(&mut Vec<u8>)) {
        if self.is_revoked {
            return;
        }
        let out = begin(
            &mut self.file,
            &mut self.envelope,
            &mut self.seq,
            kind,
            at_ms,
        );
        write(out);
        out.pop();
        Envelope::end(out);
    }

    fn push_state(&mut self, kind: &str, at_ms: u64, state: &str, more: &str) {
        let data = state_data(state, &self.ids, more);
        self.push(kind, at_ms, data.as_bytes(), None);
    }

    /// The stream is taken up, for the first time or again.
    pub fn started(&mut self, info: &StreamInfo, opening: u64, now_ms: u64) {
        let topic = info.topic.as_deref().map(Value::from);
        let topic = topic.map_or_else(String::new, |topic| format!(",\"topic\":{topic}"));
        let more = format!(
            "{topic},\"started_ms\":{},\"opening\":{opening}",
            info.started_ms
        );
        self.push_state(kind::STREAM_STARTED, now_ms, "started", &more);
        self.is_over = false;
    }

    /// Adds what follows from a notice. `media_params` are those in force, as in `meta.json`.
    pub fn on_notice(&mut self, notice: &Lifecycle, media_params: impl FnOnce() -> String) {
        let Some(event) = self.flow.on_change(notice, self.seq) else {
            return;
        };
        let (state, more) = match &event {
            Event::Receiving => ("receiving", format!(",\"media_params\":{}", media_params())),
            Event::Interrupted(link, cause) => (
                "interrupted",
                format!(",\"link\":\"{link}\",\"cause\":\"{cause}\""),
            ),
            Event::Paused => (
                "paused",
                ",\"link\":\"signaling\",\"cause\":\"paused\"".to_owned(),
            ),
            Event::Resumed {
                after,
                since_ms,
                seq_before,
            } => (
                "resumed",
                format!(
                    ",\"after\":\"{}\",\"gap_ms\":{},\"seq_before\":{seq_before}{}",
                    after.name(),
                    notice.at_ms.saturating_sub(*since_ms),
                    match after {
                        Stop::TakeOver => self.predecessor.as_deref().unwrap_or_default(),
                        _ => "",
                    }
                ),
            ),
            Event::Gap(dropped) => {
                let data = format!("{{\"v\":1,\"type\":\"feed\",\"dropped\":{dropped}}}");
                return self.push(event.kind(), notice.at_ms, data.as_bytes(), None);
            }
        };
        self.push_state(event.kind(), notice.at_ms, state, &more);
    }

    /// A file gets no more.
    pub fn file_closed(&mut self, name: &str, bytes: u64) {
        let data = format!(
            "{{\"v\":1,\"type\":\"file\",\"state\":\"closed\",\"file\":{},\"bytes\":{bytes}}}",
            Value::from(name)
        );
        self.push(kind::FILE_CLOSED, now_ms(), data.as_bytes(), None);
    }

    /// Its files are in the bucket, although the stream lives again.
    pub fn uploaded(&mut self, note: &UploadNote, now_ms: u64) {
        for data in uploads::lines(note) {
            self.push(kind::FILE_UPLOADED, now_ms, data.as_bytes(), None);
        }
    }

    /// The stream is over, and everything else of it is written. A stream that is left to another
    /// process is not over.
    pub fn ended(&mut self, end: &End, phrases: u64, started_ms: u64) {
        let Some(at_ms) = end.at_ms else {
            return;
        };
        let stop_reason = end.stop_reason.map(|n| format!(",\"stop_reason\":{n}"));
        let more = format!(
            ",\"end\":\"{}\",\"end_text\":{}{},\"phrases\":{phrases},\"duration_ms\":{}",
            end.word,
            Value::from(end.text.as_str()),
            stop_reason.unwrap_or_default(),
            at_ms.saturating_sub(started_ms)
        );
        self.push_state(kind::STREAM_ENDED, at_ms, "ended", &more);
        self.is_over = true;
    }

    /// Whether it says already that its stream is over.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Consent was withdrawn: nothing of it leaves from here on, and nothing is added.
    pub fn revoke(&mut self) {
        self.host.board().revoke(self.key);
        self.is_revoked = true;
    }

    /// Adds the last word of a journal that stays: consent was withdrawn.
    pub fn push_revoked(&mut self, now_ms: u64) {
        self.is_revoked = false;
        self.push_state(kind::STREAM_REVOKED, now_ms, "revoked", REVOKED_MORE);
        self.is_revoked = true;
    }

    /// Writes what waits. After an error it still waits. [`Journal::announce`] must follow before
    /// anything is written to another journal.
    pub fn write(&mut self) -> io::Result<()> {
        if self.file.waiting() == 0 {
            return Ok(());
        }
        let (result, growth) = self.host.write(&mut self.file);
        self.growth = growth.or(self.growth);
        result
    }

    /// Says on the board how far it has grown.
    pub fn announce(&mut self) {
        if let Some(growth) = self.growth.take() {
            self.host.announce(self.key, growth);
        }
    }

    /// Says on the board that the stream is over.
    pub fn finished(&self) {
        self.host.board().ended(self.key);
    }

    /// Notes the numbers that no later process may give out again.
    pub fn note_in(&self, meta: &mut Meta) {
        meta.feed_seq = Some(self.seq);
        meta.boot_id = Some(self.host.boot_id().to_owned());
    }

    /// Its file, for what is done to every file of a stream.
    pub fn file(&mut self) -> &mut AppendFile {
        &mut self.file
    }

    /// To be called when its file was looked at: one that was removed begins again.
    pub fn looked_at(&mut self) {
        if self.file.take_recreated() {
            self.host.board().recreated(self.key, self.file.bytes());
        }
    }
}

/// Whose stream it is, in data of our own.
fn ids(info: &StreamInfo) -> String {
    format!(
        ",\"id\":{},\"stream_id\":{}",
        Value::from(info.id.as_str()),
        Value::from(info.stream_id.as_str())
    )
}

/// Which node received the stream before, and the key of its journal there.
fn predecessor(info: &StreamInfo) -> Option<Box<str>> {
    let before = info.tenure.as_ref()?.predecessor.as_ref()?;
    let key = JournalKey::of_folder(&epoch_folder(info, before.epoch));
    let seq = before
        .seq
        .map_or_else(String::new, |seq| format!(",\"seq\":{seq}"));
    let text = format!(
        ",\"predecessor\":{{\"node\":{},\"epoch\":{},\"key\":\"{key}\"{seq}}}",
        Value::from(before.node.as_str()),
        before.epoch
    );
    Some(text.into())
}

/// Since when nothing is received, of a stream that another node had.
fn until_ms(info: &StreamInfo, now_ms: u64) -> u64 {
    let before = info.tenure.as_ref().and_then(|it| it.predecessor.as_ref());
    let until_ms = before.and_then(|before| before.until_ms);
    until_ms.map_or(now_ms, |until_ms| until_ms.min(now_ms))
}

fn state_data(state: &str, ids: &str, more: &str) -> String {
    format!("{{\"v\":1,\"type\":\"stream\",\"state\":\"{state}\"{ids}{more}}}")
}

fn begin<'a>(
    file: &'a mut AppendFile,
    envelope: &mut Envelope,
    seq: &mut u64,
    kind: &str,
    at_ms: u64,
) -> &'a mut Vec<u8> {
    *seq += 1;
    let at_ms = if at_ms == 0 { now_ms() } else { at_ms };
    let out = file.record_buf();
    envelope.begin(out, *seq, kind, at_ms);
    out
}

fn write_people(out: &mut Vec<u8>, people: &[Participant]) {
    let rows: Vec<Value> = people
        .iter()
        .map(|person| {
            let mut row = serde_json::Map::new();
            if let Some(id) = &person.user_id {
                row.insert(
                    "user_id".to_owned(),
                    serde_json::to_value(id).unwrap_or_default(),
                );
            }
            if let Some(name) = &person.user_name {
                row.insert("user_name".to_owned(), Value::from(name.as_str()));
            }
            Value::Object(row)
        })
        .collect();
    out.extend_from_slice(b",\"people\":");
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, &rows);
}

/// When the last line was written, if there is one.
fn since_ms(pos: u64, now_ms: u64) -> u64 {
    match pos {
        0 => now_ms,
        pos => pos / 1000,
    }
}

#[cfg(test)]
mod tests;
