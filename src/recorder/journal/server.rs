//! The server's own journal, `feed.jsonl` in `RTMS_OUT`: withdrawn consent and removed apps, ids only.
//!
//! A line about withdrawn consent is synced before the stream's folder is deleted. It is what a later
//! process knows of the stream: that nothing of it may leave, and that its folder is to go.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::JournalHost;
use super::host::sync;
use crate::clock::now_ms;
use crate::domain::stream_info::StreamInfo;
use crate::feed::line::Envelope;
use crate::feed::reader::end_of;
use crate::feed::{FEED_NAME, JournalKey, Line, kind};
use crate::recorder::append_file::{AppendFile, create_file};
use crate::recorder::withdrawal::find_stream;

/// Lines older than this are cut, once the file has [`CUT_ABOVE_BYTES`].
const TOMBSTONE_DAYS: u64 = 30;
const CUT_ABOVE_BYTES: u64 = 1 << 20;

/// What the server's journal says about itself.
#[derive(Debug)]
pub(crate) struct ServerJournal {
    host: Arc<JournalHost>,
    file: AppendFile,
    seq: u64,
    needs_sync: bool,
    /// The streams that it tells of.
    revoked: HashSet<JournalKey>,
}

/// A stream whose consent was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RevokedStream {
    /// Its folder, which had this journal.
    pub(crate) key: JournalKey,
    /// The number of that journal's last line; 0 for none.
    pub(crate) stream_seq: u64,
    /// Whose it was.
    pub(crate) info: StreamInfo,
    /// Whether the folder goes.
    pub(crate) is_deleted: bool,
    /// Why.
    pub(crate) cause: Cause,
}

/// Why nothing of a stream may leave any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Consent was withdrawn.
    #[default]
    Withdrawn,
    /// `rtmsd forget`, or an account that removed the app.
    Forgotten,
}

impl Cause {
    /// Its words in the log.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Cause::Withdrawn => "consent withdrawn",
            Cause::Forgotten => "forgotten",
        }
    }
}

/// What is read again of a line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Revoked {
    key: String,
    id: String,
    stream_id: String,
    started_ms: u64,
    deleted: bool,
}

impl ServerJournal {
    /// Opens it below the board's root, puts on the board what was revoked, and returns the folders
    /// that are still there although they were to be deleted.
    pub(crate) fn open(host: &Arc<JournalHost>) -> (ServerJournal, Vec<PathBuf>) {
        let root = host.board().root();
        let path = root.join(FEED_NAME);
        let oldest_us = (now_ms().saturating_sub(TOMBSTONE_DAYS * 86_400_000)) * 1000;
        let lines = read(&path, oldest_us).unwrap_or_else(|error| {
            log::error!(
                "cannot read the server's journal path={} error=\"{error}\"; streams whose consent \
                 was withdrawn before this start are known by their missing folders alone",
                path.display()
            );
            Vec::new()
        });
        let (mut left, mut told) = (Vec::new(), HashSet::new());
        for line in lines.split(|b| *b == b'\n').filter_map(Line::parse) {
            if line.kind != kind::STREAM_REVOKED {
                continue;
            }
            let Ok(revoked) = serde_json::from_slice::<Revoked>(line.data()) else {
                continue;
            };
            if let Ok(key) = revoked.key.parse() {
                host.board().revoke(key);
                told.insert(key);
            }
            // Which epoch's folder it was follows from the key.
            let roots = [root.to_owned()];
            if revoked.deleted {
                let mut folders = find_stream(&roots, Some(&revoked.id), &revoked.stream_id);
                let key = |folder: &PathBuf| host.board().key_of(folder).to_string();
                folders.retain(|folder| key(folder) == revoked.key);
                left.extend(folders);
            }
        }
        let end = end_of(&path).unwrap_or_default();
        host.saw(end.pos);
        let folder: Arc<Path> = root.into();
        let board = host.board();
        if end.seq > 0 {
            board.open(JournalKey::SERVER, &folder, end.bytes, end.seq, end.pos);
        }
        let journal = ServerJournal {
            host: Arc::clone(host),
            file: AppendFile::new(&folder, FEED_NAME, "", "\n"),
            seq: end.seq,
            needs_sync: false,
            revoked: told,
        };
        (journal, left)
    }

    /// Notes that consent was withdrawn, and makes that survive a power cut. `uploads` is how many
    /// files go from the bucket.
    ///
    /// # Errors
    /// It cannot be written or synced; it waits then, see [`ServerJournal::write`].
    pub(crate) fn revoked(&mut self, stream: &RevokedStream, uploads: u64) -> io::Result<()> {
        let RevokedStream { info, .. } = stream;
        let data = format!(
            "{{\"v\":1,\"type\":\"stream\",\"state\":\"revoked\",\"id\":{},\"stream_id\":{},\
             \"key\":\"{}\",\"stream_seq\":{},\"started_ms\":{},\"stop_reason\":8,\"deleted\":{},\
             \"uploads\":{uploads}{}}}",
            Value::from(info.id.as_str()),
            Value::from(info.stream_id.as_str()),
            stream.key,
            stream.stream_seq,
            info.started_ms,
            stream.is_deleted,
            // Receivers that were written for withdrawn consent delete it as well.
            match stream.cause {
                Cause::Withdrawn => "",
                Cause::Forgotten => ",\"cause\":\"forgotten\"",
            }
        );
        self.push(kind::STREAM_REVOKED, Some(info), &data);
        self.revoked.insert(stream.key);
        self.write()
    }

    /// Whether it tells of that stream already.
    pub(crate) fn has(&self, key: JournalKey) -> bool {
        self.revoked.contains(&key)
    }

    /// Notes that an account or a user removed the app.
    ///
    /// # Errors
    /// As [`ServerJournal::revoked`].
    pub(crate) fn deauthorized(&mut self, user_id: &str, account_id: &str) -> io::Result<()> {
        let member = |name: &str, id: &str| match id {
            "" => String::new(),
            id => format!(",\"{name}\":{}", Value::from(id)),
        };
        let data = format!(
            "{{\"v\":1,\"type\":\"account\",\"state\":\"deauthorized\"{}{}}}",
            member("user_id", user_id),
            member("account_id", account_id)
        );
        self.push(kind::ACCOUNT_DEAUTHORIZED, None, &data);
        self.write()
    }

    fn push(&mut self, kind: &str, about: Option<&StreamInfo>, data: &str) {
        self.seq += 1;
        let mut envelope = Envelope::new(JournalKey::SERVER, self.host.source(), about);
        let out = self.file.record_buf();
        envelope.begin(out, self.seq, kind, now_ms());
        out.extend_from_slice(data.as_bytes());
        Envelope::end(out);
    }

    /// Whether a line waits that could not be written.
    pub(crate) fn is_waiting(&self) -> bool {
        self.file.waiting() > 0 || self.needs_sync
    }

    /// Writes what waits, and syncs it.
    ///
    /// # Errors
    /// It waits on.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        let board = self.host.board();
        if board.get(JournalKey::SERVER).is_none() {
            board.open(JournalKey::SERVER, &board.root().into(), 0, 0, 0);
        }
        let (result, growth) = self.host.write(&mut self.file);
        // A sync that failed is asked for again, though the file then says that all is well.
        self.needs_sync = true;
        let synced = result.and_then(|()| sync(&mut self.file));
        let named = match synced {
            Ok(true) => File::open(board.root()).and_then(|root| root.sync_all()),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        self.needs_sync = named.is_err();
        if self.file.take_recreated() {
            board.recreated(JournalKey::SERVER, self.file.bytes());
        }
        if let Some(growth) = growth {
            self.host.announce(JournalKey::SERVER, growth);
        }
        named
    }
}

/// The file's lines; a long one without those that are too old, on the disk as well.
fn read(path: &Path, oldest_us: u64) -> io::Result<Vec<u8>> {
    let lines = match fs::read(path) {
        Ok(lines) => lines,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if (lines.len() as u64) < CUT_ABOVE_BYTES {
        return Ok(lines);
    }
    let mut whole = lines.split_inclusive(|b| *b == b'\n');
    let is_new = |line: &&[u8]| Line::parse(line).is_some_and(|line| line.pos >= oldest_us);
    let mut kept = whole.clone().filter(is_new).collect::<Vec<_>>().concat();
    if kept.is_empty() {
        // The number of the last line is not given out again.
        let last = whole.rfind(|line| Line::parse(line).is_some());
        kept.extend_from_slice(last.unwrap_or_default());
    }
    if kept.len() < lines.len() {
        let temporary = path.with_file_name(".feed.jsonl.new");
        let mut file = create_file(&temporary)?;
        file.write_all(&kept)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{Board, Chunk, Cursor, Found, Reader};
    use crate::recorder::jsonl::tests::info;
    use crate::recorder::path::stream_folder;
    use crate::testing::scratch;

    fn stream(n: u64, is_deleted: bool) -> RevokedStream {
        let info = StreamInfo {
            stream_id: format!("s{n}"),
            ..info()
        };
        let below = stream_folder(info.started_ms, &info.id, &info.stream_id);
        RevokedStream {
            key: JournalKey::of_folder(&below),
            stream_seq: n,
            info,
            is_deleted,
            cause: Cause::default(),
        }
    }

    #[test]
    fn j12_it_has_numbers_of_its_own_and_a_restart_knows_what_was_revoked() {
        let root = scratch("server-journal");
        let board = Board::new(&root);
        let host = JournalHost::new(&board, Some("/x"), None);
        let (mut journal, left) = ServerJournal::open(&host);
        assert!(left.is_empty() && !root.join(FEED_NAME).exists());
        journal
            .revoked(&stream(1, true), 3)
            .expect("the disk is well");
        journal.deauthorized("u", "a").expect("the disk is well");
        journal
            .revoked(&stream(2, false), 0)
            .expect("the disk is well");
        assert!(!journal.is_waiting());
        let (mut chunk, begin) = (Chunk::default(), Cursor::begin(JournalKey::SERVER));
        let found = Reader::new(&board).read(&begin, &mut chunk);
        assert_eq!(found.expect("readable"), Found::Lines);
        let lines: Vec<(u64, &str)> = chunk.lines().map(|it| (it.seq, it.kind)).collect();
        assert_eq!(
            lines,
            [
                (1, "stream.revoked"),
                (2, "account.deauthorized"),
                (3, "stream.revoked")
            ]
        );
        let first = chunk.lines().next().expect("a line");
        let data: Value = serde_json::from_slice(first.data()).expect("JSON");
        assert_eq!(data["key"], stream(1, true).key.to_string());
        assert_eq!(
            (&data["stream_seq"], &data["deleted"], &data["uploads"]),
            (&1.into(), &true.into(), &3.into())
        );
        assert_eq!(first.id, "0000000000000000-1");

        // The process ended before the first folder was deleted; that of the second stays.
        for n in [1, 2] {
            let info = stream(n, true).info;
            let below = stream_folder(info.started_ms, &info.id, &info.stream_id);
            fs::create_dir_all(root.join(below)).expect("a folder");
        }
        let board = Board::new(&root);
        let host = JournalHost::new(&board, Some("/x"), None);
        let (mut journal, left) = ServerJournal::open(&host);
        assert_eq!(left.len(), 1);
        assert!(left[0].ends_with(stream_folder(info().started_ms, &info().id, "s1")));
        assert!(board.is_revoked(stream(1, true).key) && board.is_revoked(stream(2, true).key));
        assert!(!board.is_revoked(stream(3, true).key));
        journal.deauthorized("", "a").expect("the disk is well");
        assert_eq!(board.get(JournalKey::SERVER).map(|it| it.seq), Some(4));

        // Of a stream with several epochs, the folder of the one that is meant.
        let first = root.join(stream_folder(info().started_ms, &info().id, "s9"));
        let name = first.file_name().expect("a name").to_str().expect("text");
        let folders = [2, 3].map(|n| first.with_file_name(format!("{name}.e{n}")));
        folders
            .iter()
            .for_each(|it| fs::create_dir_all(it).expect("a folder"));
        let key = board.key_of(&folders[0]);
        let third = RevokedStream {
            key,
            ..stream(9, true)
        };
        journal.revoked(&third, 0).expect("the disk is well");
        let host = JournalHost::new(&Board::new(&root), Some("/x"), None);
        let (_, left) = ServerJournal::open(&host);
        assert!(
            left.contains(&folders[0]) && !left.contains(&folders[1]),
            "{left:?}"
        );
    }

    #[test]
    fn j12_old_lines_of_a_long_file_are_cut() {
        let root = scratch("server-journal-cut");
        let path = root.join(FEED_NAME);
        let mut envelope = Envelope::new(JournalKey::SERVER, "/x", None);
        let mut lines = Vec::new();
        for seq in 1..=9000 {
            let from = lines.len();
            envelope.begin(&mut lines, seq, "account.deauthorized", 0);
            lines.extend_from_slice(b"{\"v\":1}");
            Envelope::end(&mut lines);
            crate::feed::line::set_pos(&mut lines[from..], 1_000_000_000_000_000 + seq);
        }
        fs::write(&path, &lines).expect("writable");
        let first = |oldest_us| {
            let lines = read(&path, oldest_us).expect("readable");
            assert_eq!(fs::read(&path).expect("readable"), lines);
            Line::parse(lines.split(|b| *b == b'\n').next().expect("one")).map(|line| line.seq)
        };
        assert!(lines.len() as u64 > CUT_ABOVE_BYTES);
        assert_eq!(first(0), Some(1));
        assert_eq!(first(1_000_000_000_000_003), Some(3));
        assert_eq!(first(u64::MAX), Some(9000));
        // A short one stays as it is.
        assert_eq!(first(u64::MAX), Some(9000));
    }
}
