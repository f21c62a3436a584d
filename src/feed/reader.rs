//! Reads whole lines of a journal, up to the length on the board.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use memchr::{memchr, memrchr};

use super::FEED_NAME;
use super::board::{Board, Journal, State};
use super::cursor::Cursor;
use super::key::JournalKey;
use super::line::Line;

/// Bytes per read. A longer line is read as a whole.
pub const READ_BYTES: usize = 64 << 10;
/// Bytes of the first read where one line is looked for; most are shorter.
const LINE_BYTES: usize = 2 << 10;

/// Whole lines of one journal, in a buffer that is reused.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    /// The range of the lines in `bytes`.
    from: usize,
    to: usize,
    begin: Option<Cursor>,
}

impl Chunk {
    /// Each line, in order. Anything else (disk corruption, edits by hand) is skipped.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = Line<'_>> {
        let lines = self.bytes().strip_suffix(b"\n").unwrap_or_default();
        lines.split(|b| *b == b'\n').filter_map(Line::parse)
    }

    /// Each line, with the cursor after it.
    pub fn lines_with_cursors(&self) -> impl Iterator<Item = (Line<'_>, Cursor)> {
        let mut after = self.begin.unwrap_or(Cursor::begin(JournalKey::SERVER));
        let lines = self.bytes().split_inclusive(|b| *b == b'\n');
        lines.filter_map(move |bytes| {
            after.offset += bytes.len() as u64;
            let line = Line::parse(bytes)?;
            after.seq = line.seq;
            Some((line, after))
        })
    }

    /// The lines as in the file, each with its line break.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }

    /// The cursor before the first line. Its offset is right, even if the cursor that was read from
    /// had a wrong one.
    pub fn begin(&self) -> Cursor {
        self.begin.unwrap_or(Cursor::begin(JournalKey::SERVER))
    }

    /// The cursor after the last line, to read from next.
    pub fn end(&self) -> Cursor {
        let begin = self.begin();
        Cursor {
            seq: self.lines().next_back().map_or(begin.seq, |line| line.seq),
            offset: begin.offset + self.bytes().len() as u64,
            ..begin
        }
    }

    fn clear(&mut self) {
        (self.from, self.to, self.begin) = (0, 0, None);
    }
}

/// What there is to read after a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Lines.
    Lines,
    /// None yet; the board reports new ones.
    Nothing,
    /// None, and the stream has ended.
    Ended,
    /// Consent was withdrawn: none of it may be sent any more. The server's journal has the event.
    Revoked,
    /// The journal is not on the board, or its file does not exist.
    Gone,
}

/// Reads journals by cursors. Several threads may read at once; they share the open files.
#[derive(Debug, Clone)]
pub struct Reader {
    board: Arc<Board>,
}

impl Reader {
    /// A reader of the journals on that board.
    pub fn new(board: &Arc<Board>) -> Reader {
        Reader {
            board: Arc::clone(board),
        }
    }

    /// Its board.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Reads the lines behind the cursor: at least one where there is one, about [`READ_BYTES`] at
    /// most.
    ///
    /// # Errors
    /// The file cannot be read. A file that is gone is no error, see [`Found::Gone`].
    pub fn read(&self, cursor: &Cursor, chunk: &mut Chunk) -> io::Result<Found> {
        self.read_some(cursor, READ_BYTES, chunk)
    }

    /// [`Reader::read`] with another number of bytes, for those who read many journals at once.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_some(
        &self,
        cursor: &Cursor,
        bytes_max: usize,
        chunk: &mut Chunk,
    ) -> io::Result<Found> {
        self.look(
            cursor.key,
            chunk,
            Some(cursor.seq),
            |file, journal, chunk| {
                let mut begin = *cursor;
                if !read_lines(file, journal.bytes, &begin, bytes_max, chunk)?
                    || !follows(chunk.lines().next(), cursor)
                {
                    // The file was created again, or the offset is wrong: the number counts.
                    begin.offset = first_line(file, journal.bytes, |line| line.seq > cursor.seq)?;
                    read_lines(file, journal.bytes, &begin, bytes_max, chunk)?;
                }
                Ok(())
            },
        )
    }

    /// Reads the lines before the cursor, at most [`READ_BYTES`] of them or the last one, to go back in
    /// a journal. [`Chunk::begin`] is where to read from next; its `seq` is 0 if there is nothing
    /// before.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_back(&self, cursor: &Cursor, chunk: &mut Chunk) -> io::Result<Found> {
        self.look(cursor.key, chunk, None, |file, journal, chunk| {
            let end = match cursor.seq >= journal.seq {
                true => journal.bytes,
                false => first_line(file, journal.bytes, |line| line.seq > cursor.seq)?,
            };
            let mut size = READ_BYTES as u64;
            loop {
                let from = end.saturating_sub(size);
                read_exact(file, from, end, &mut chunk.bytes)?;
                // The first line is whole at the file's beginning alone.
                let cut = match from {
                    0 => Some(0),
                    _ => memchr(b'\n', &chunk.bytes).map(|at| at + 1),
                };
                let whole = cut.filter(|cut| *cut < chunk.bytes.len() || from == 0);
                let Some(cut) = whole else {
                    size *= 4;
                    continue;
                };
                (chunk.from, chunk.to) = (cut, chunk.bytes.len());
                let seq = chunk.lines().next().map_or(0, |line| line.seq - 1);
                chunk.begin = Some(Cursor {
                    key: cursor.key,
                    seq,
                    offset: from + cut as u64,
                });
                return Ok(());
            }
        })
    }

    /// The cursor behind the last line with a position up to `pos`; before the first line where all
    /// are later.
    ///
    /// # Errors
    /// The file cannot be read. A journal that is gone is read from its beginning.
    pub fn cursor_after_pos(&self, key: JournalKey, pos: u64) -> io::Result<Cursor> {
        self.cursor_before(key, |line| line.pos > pos)
    }

    /// The cursor behind the line with that number.
    ///
    /// # Errors
    /// As [`Reader::cursor_after_pos`].
    pub fn cursor_after_seq(&self, key: JournalKey, seq: u64) -> io::Result<Cursor> {
        self.cursor_before(key, |line| line.seq > seq)
    }

    /// The cursor at the end of what the board announces; `None` if the journal is not there.
    pub fn cursor_at_end(&self, key: JournalKey) -> Option<Cursor> {
        let journal = self.board.get(key)?;
        Some(Cursor {
            key,
            seq: journal.seq,
            offset: journal.bytes,
        })
    }

    fn cursor_before(
        &self,
        key: JournalKey,
        is_after: impl Fn(&Line<'_>) -> bool,
    ) -> io::Result<Cursor> {
        let mut chunk = Chunk::default();
        let mut cursor = Cursor::begin(key);
        self.look(key, &mut chunk, None, |file, journal, chunk| {
            cursor.offset = first_line(file, journal.bytes, &is_after)?;
            if cursor.offset == journal.bytes {
                cursor.seq = journal.seq;
            } else if read_lines(file, journal.bytes, &cursor, LINE_BYTES, chunk)? {
                let first = chunk.lines().next();
                cursor.seq = first.map_or(0, |line| line.seq.saturating_sub(1));
            }
            chunk.clear();
            Ok(())
        })?;
        Ok(cursor)
    }

    /// Opens the journal, lets `read` fill the chunk, and says what was found. What was read is thrown
    /// away if consent was withdrawn meanwhile. Without a line behind `after`, the file is not opened.
    fn look(
        &self,
        key: JournalKey,
        chunk: &mut Chunk,
        after: Option<u64>,
        read: impl FnOnce(&File, &Journal, &mut Chunk) -> io::Result<()>,
    ) -> io::Result<Found> {
        chunk.clear();
        let Some(journal) = self.board.get(key) else {
            return Ok(match self.board.is_revoked(key) {
                true => Found::Revoked,
                false => Found::Gone,
            });
        };
        let none = match journal.state {
            State::Revoked => return Ok(Found::Revoked),
            State::Ended => Found::Ended,
            State::Running => Found::Nothing,
        };
        if journal.seq <= after.unwrap_or(0) {
            return Ok(none);
        }
        let file = match self.open(&journal) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Gone),
            Err(error) => return Err(error),
        };
        let read = read(&file, &journal, chunk);
        if self.board.is_revoked(key) {
            chunk.bytes.clear();
            chunk.clear();
            self.board.files().forget(key);
            return Ok(Found::Revoked);
        }
        read?;
        Ok(match chunk.bytes().is_empty() {
            true => none,
            false => Found::Lines,
        })
    }

    fn open(&self, journal: &Journal) -> io::Result<Arc<File>> {
        let (key, incarnation) = (journal.key, journal.incarnation);
        let known = self.board.files().get(key, incarnation);
        if let Some(file) = known {
            return Ok(file);
        }
        let file = Arc::new(File::open(journal.folder.join(FEED_NAME))?);
        self.board.files().keep(key, incarnation, &file);
        Ok(file)
    }
}

/// Whether this is the line behind the cursor.
fn follows(line: Option<Line<'_>>, cursor: &Cursor) -> bool {
    line.is_some_and(|line| line.seq == cursor.seq + 1)
}

/// Reads whole lines from the cursor's offset on. `false` if the offset is not where a line begins.
fn read_lines(
    file: &File,
    bytes: u64,
    cursor: &Cursor,
    bytes_max: usize,
    chunk: &mut Chunk,
) -> io::Result<bool> {
    chunk.clear();
    if cursor.offset >= bytes {
        return Ok(false);
    }
    // With the line break before it.
    let from = cursor.offset.saturating_sub(1);
    let mut size = bytes_max as u64;
    loop {
        let to = bytes.min(from + size);
        read_exact(file, from, to, &mut chunk.bytes)?;
        let before = (cursor.offset - from) as usize;
        if before == 1 && chunk.bytes.first() != Some(&b'\n') {
            return Ok(false);
        }
        match memrchr(b'\n', &chunk.bytes[before..]) {
            Some(at) => (chunk.from, chunk.to) = (before, before + at + 1),
            // A long line. What the board announces ends with a line's end.
            None if to < bytes => {
                size *= 4;
                continue;
            }
            None => return Ok(false),
        }
        chunk.begin = Some(*cursor);
        return Ok(true);
    }
}

/// Fills the buffer with this part of the file. One that is shorter is no error: the buffer is, too.
fn read_exact(file: &File, from: u64, to: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    bytes.resize(to.saturating_sub(from) as usize, 0);
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(())
}

/// Where the first line is of which this is true; it is true for all lines behind one of which it is.
/// The file's length if there is none.
fn first_line(file: &File, bytes: u64, is_after: impl Fn(&Line<'_>) -> bool) -> io::Result<u64> {
    // All lines that begin before `low` are before; `found` is the earliest that is known to be after.
    let (mut low, mut high, mut found) = (0, bytes, bytes);
    let mut line = Vec::new();
    while low < high {
        let middle = low + (high - low) / 2;
        let start = match middle == low {
            true => low,
            false => line_end(file, middle - 1, bytes, &mut line)?,
        };
        // What is no line is passed over.
        let (mut from, mut end, mut is_found) = (start, start, None);
        while end < high && is_found.is_none() {
            from = end;
            end = line_end(file, from, bytes, &mut line)?;
            is_found = Line::parse(&line).map(|line| is_after(&line));
        }
        match is_found {
            Some(true) => (found, high) = (from, middle),
            Some(false) => low = end,
            None => high = middle,
        }
    }
    Ok(found)
}

/// Where the line ends that byte `from` is in, and what of it begins there, without the line break.
fn line_end(file: &File, from: u64, bytes: u64, line: &mut Vec<u8>) -> io::Result<u64> {
    let mut size = LINE_BYTES as u64;
    loop {
        let to = bytes.min(from + size);
        read_exact(file, from, to, line)?;
        if let Some(at) = memchr(b'\n', line) {
            line.truncate(at);
            return Ok(from + at as u64 + 1);
        }
        if to == bytes || (line.len() as u64) < to - from {
            return Ok(bytes);
        }
        size *= 4;
    }
}

/// The end of a journal that is not on the board.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Bytes of whole lines.
    pub bytes: u64,
    /// Number of the last line; 0 for none.
    pub seq: u64,
    /// Its position; 0 for none.
    pub pos: u64,
    /// The types of the last lines, the last one first: up to the last one that is not
    /// `file.uploaded`.
    pub kinds: Vec<String>,
}

/// Looks at the end of a journal; the default where there is no such file.
///
/// # Errors
/// It is there and cannot be read.
pub fn end_of(path: &Path) -> io::Result<End> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(End::default()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    let mut size = READ_BYTES as u64;
    loop {
        let from = length.saturating_sub(size);
        read_exact(&file, from, length, &mut bytes)?;
        let whole = memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        let mut end = End {
            bytes: if whole > 0 { from + whole as u64 } else { 0 },
            ..End::default()
        };
        let mut is_enough = false;
        for line in bytes[..whole]
            .rsplit(|b| *b == b'\n')
            .filter_map(Line::parse)
        {
            if end.seq == 0 {
                (end.seq, end.pos) = (line.seq, line.pos);
            }
            end.kinds.push(line.kind.to_owned());
            is_enough = line.kind != super::kind::FILE_UPLOADED;
            if is_enough {
                break;
            }
        }
        if is_enough || from == 0 {
            return Ok(end);
        }
        size *= 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::line::{Envelope, set_pos};
    use crate::feed::tests::info;
    use crate::testing::{TempDir, scratch};
    use std::fs;
    use std::path::PathBuf;

    struct Stage {
        root: TempDir,
        board: Arc<Board>,
        folder: PathBuf,
        key: JournalKey,
        envelope: Envelope,
        text: Vec<u8>,
    }

    impl Stage {
        fn new(name: &str) -> Stage {
            let root = scratch(name);
            let board = Board::new(&root);
            let folder = root.join("2026-11-24/m/s");
            fs::create_dir_all(&folder).expect("a folder");
            let key = board.key_of(&folder);
            let envelope = Envelope::new(key, "/x", Some(&info("m", "s")));
            board.open(key, &folder.as_path().into(), 0, 0, 0);
            Stage {
                root,
                board,
                folder,
                key,
                envelope,
                text: Vec::new(),
            }
        }

        fn line(&mut self, seq: u64, bytes: usize) -> Vec<u8> {
            let mut line = Vec::new();
            self.envelope.begin(&mut line, seq, "chat.message", 7);
            line.extend_from_slice(format!("{{\"x\":\"{}\"}}", "y".repeat(bytes)).as_bytes());
            Envelope::end(&mut line);
            set_pos(&mut line, pos(seq));
            line
        }

        fn add(&mut self, seq: u64, bytes: usize) {
            let line = self.line(seq, bytes);
            self.text.extend(line);
            self.write(seq);
        }

        fn write(&self, seq: u64) {
            fs::write(self.folder.join(FEED_NAME), &self.text).expect("writable");
            self.board
                .grew(self.key, self.text.len() as u64, seq, pos(seq));
        }
    }

    fn pos(seq: u64) -> u64 {
        1_795_529_590_000_000 + seq * 10
    }

    /// All numbers behind the cursor, read in pieces.
    fn read_all(reader: &Reader, mut cursor: Cursor) -> Vec<u64> {
        let (mut chunk, mut seqs) = (Chunk::default(), Vec::new());
        while reader.read(&cursor, &mut chunk).expect("readable") == Found::Lines {
            seqs.extend(chunk.lines().map(|line| line.seq));
            let last = chunk
                .lines_with_cursors()
                .last()
                .map(|(_, after)| after.seq);
            assert_eq!(last, Some(chunk.end().seq));
            cursor = chunk.end();
        }
        seqs
    }

    #[test]
    fn j8_whole_lines_are_read_up_to_what_is_announced() {
        let mut stage = Stage::new("feed-read");
        let reader = Reader::new(&stage.board);
        let begin = Cursor::begin(stage.key);
        let mut chunk = Chunk::default();
        assert_eq!(
            reader.read(&begin, &mut chunk).expect("readable"),
            Found::Nothing
        );
        for seq in 1..=300 {
            // One of them is longer than what is read at once.
            stage.add(seq, if seq == 150 { 300_000 } else { 600 });
        }
        assert_eq!(read_all(&reader, begin), (1..=300).collect::<Vec<u64>>());
        // What is written and not announced is not there yet.
        let announced = stage.text.len() as u64;
        let line = stage.line(301, 9);
        stage.text.extend_from_slice(&line);
        stage.text.extend_from_slice(b"{\"pos\":\"17955");
        fs::write(stage.folder.join(FEED_NAME), &stage.text).expect("writable");
        let end = reader.cursor_at_end(stage.key).expect("on the board");
        assert_eq!((end.seq, end.offset), (300, announced));
        assert_eq!(
            reader.read(&end, &mut chunk).expect("readable"),
            Found::Nothing
        );
        let announced = announced + line.len() as u64;
        stage.board.grew(stage.key, announced, 301, pos(301));
        assert_eq!(read_all(&reader, end), [301]);
        stage.board.ended(stage.key);
        let end = reader.cursor_at_end(stage.key).expect("on the board");
        assert_eq!(
            reader.read(&end, &mut chunk).expect("readable"),
            Found::Ended
        );
        let gone = Cursor::begin("00000000000000aa".parse().expect("a key"));
        assert_eq!(
            reader.read(&gone, &mut chunk).expect("readable"),
            Found::Gone
        );
    }

    #[test]
    fn a_wrong_offset_is_corrected_by_the_number() {
        let mut stage = Stage::new("feed-offset");
        let reader = Reader::new(&stage.board);
        let mut seqs: Vec<u64> = (1..=40).collect();
        // The one hole there may be, after a power cut.
        seqs.extend(100_040..100_060);
        for seq in &seqs {
            stage.add(*seq, (*seq % 7) as usize * 100);
        }
        let length = stage.text.len() as u64;
        for (at, seq) in seqs.iter().enumerate() {
            for offset in [
                0,
                1,
                length / 3,
                length / 2 + 1,
                length - 1,
                length,
                2 * length,
            ] {
                let cursor = Cursor {
                    key: stage.key,
                    seq: *seq,
                    offset,
                };
                assert_eq!(read_all(&reader, cursor), seqs[at + 1..], "{cursor}");
            }
        }
        // The file is removed, and begins again in the middle.
        stage.text = stage.line(100_058, 3);
        let line = stage.line(100_059, 3);
        stage.text.extend(line);
        fs::remove_file(stage.folder.join(FEED_NAME)).expect("removable");
        stage.write(100_059);
        stage.board.recreated(stage.key, stage.text.len() as u64);
        let cursor = |seq, offset| Cursor {
            key: stage.key,
            seq,
            offset,
        };
        assert_eq!(read_all(&reader, cursor(20, 5000)), [100_058, 100_059]);
        assert_eq!(read_all(&reader, cursor(100_058, 9000)), [100_059]);
        assert_eq!(read_all(&reader, cursor(100_059, 9000)), [0_u64; 0]);
    }

    #[test]
    fn garbage_between_lines_is_passed_over() {
        let mut stage = Stage::new("feed-garbage");
        let reader = Reader::new(&stage.board);
        for seq in 1..=60 {
            stage.add(seq, 50);
            if seq % 5 == 0 {
                let times = if seq == 30 { 4500 } else { seq as usize };
                stage
                    .text
                    .extend_from_slice(&b"garbage\n\n\xff\0{}\n".repeat(times));
            }
        }
        stage.write(60);
        for seq in [0, 3, 29, 30, 59] {
            let expected: Vec<u64> = (seq + 1..=60).collect();
            let cursor = Cursor {
                key: stage.key,
                seq,
                offset: 77,
            };
            assert_eq!(read_all(&reader, cursor), expected);
        }
    }

    #[test]
    fn a_time_or_a_number_is_found() {
        let mut stage = Stage::new("feed-find");
        let reader = Reader::new(&stage.board);
        let after = |pos| reader.cursor_after_pos(stage.key, pos).expect("readable");
        assert_eq!(after(5), Cursor::begin(stage.key));
        let mut ends = vec![0];
        for seq in 1..=99 {
            let line = stage.line(seq, (seq * seq % 5000) as usize);
            stage.text.extend(line);
            ends.push(stage.text.len() as u64);
        }
        stage.write(99);
        for seq in 0..=99 {
            let expected = Cursor {
                key: stage.key,
                seq,
                offset: ends[seq as usize],
            };
            for more in [0, 9] {
                let found = reader.cursor_after_pos(stage.key, pos(seq) + more);
                assert_eq!(found.expect("readable"), expected);
            }
            let found = reader.cursor_after_seq(stage.key, seq);
            assert_eq!(found.expect("readable"), expected);
        }
        let found = reader
            .cursor_after_pos(stage.key, u64::MAX)
            .expect("readable");
        assert_eq!(found.seq, 99);
    }

    #[test]
    fn lines_are_read_backwards() {
        let mut stage = Stage::new("feed-back");
        let reader = Reader::new(&stage.board);
        for seq in 1..=200 {
            stage.add(seq, if seq == 100 { 200_000 } else { 900 });
        }
        let mut cursor = reader.cursor_at_end(stage.key).expect("on the board");
        let (mut chunk, mut seqs) = (Chunk::default(), Vec::new());
        while cursor.seq > 0 {
            let found = reader.read_back(&cursor, &mut chunk).expect("readable");
            assert_eq!(found, Found::Lines);
            seqs.extend(chunk.lines().rev().map(|line| line.seq));
            cursor = chunk.begin();
        }
        seqs.reverse();
        assert_eq!(seqs, (1..=200).collect::<Vec<u64>>());
        assert_eq!(cursor, Cursor::begin(stage.key));
    }

    #[test]
    fn j11_nothing_is_read_of_a_revoked_journal() {
        let mut stage = Stage::new("feed-revoked");
        let reader = Reader::new(&stage.board);
        stage.add(1, 9);
        let begin = Cursor::begin(stage.key);
        let mut chunk = Chunk::default();
        assert_eq!(
            reader.read(&begin, &mut chunk).expect("readable"),
            Found::Lines
        );
        stage.board.revoke(stage.key);
        assert_eq!(
            reader.read(&begin, &mut chunk).expect("readable"),
            Found::Revoked
        );
        assert!(chunk.bytes().is_empty() && chunk.lines().next().is_none());
        assert_eq!(
            reader.read_back(&begin, &mut chunk).expect("readable"),
            Found::Revoked
        );
        stage
            .board
            .sweep(std::time::Instant::now() + 2 * super::super::board::ENDED_KEPT);
        assert_eq!(
            reader.read(&begin, &mut chunk).expect("readable"),
            Found::Revoked
        );
    }

    #[test]
    fn a_journal_of_an_earlier_process_is_put_on_the_board() {
        let mut stage = Stage::new("feed-load");
        for seq in 1..=9 {
            stage.add(seq, 9);
        }
        stage.text.extend_from_slice(b"{\"torn");
        fs::write(stage.folder.join(FEED_NAME), &stage.text).expect("writable");
        let board = Board::new(&stage.root);
        let reader = Reader::new(&board);
        let journal = board.load(&stage.folder).expect("readable");
        assert_eq!(
            (journal.key, journal.seq, journal.pos),
            (stage.key, 9, pos(9))
        );
        assert_eq!(journal.state, State::Ended);
        assert_eq!(read_all(&reader, Cursor::begin(stage.key)).len(), 9);
        let none = board
            .load(&stage.root.join("2026-11-24/m/none"))
            .expect("readable");
        assert_eq!((none.seq, none.bytes), (0, 0));
    }

    #[test]
    fn the_end_of_a_journal() {
        let mut stage = Stage::new("feed-end");
        let path = stage.folder.join(FEED_NAME);
        assert_eq!(end_of(&path).expect("readable"), End::default());
        for text in ["", "{\"pos\":\"", "garbage\n"] {
            fs::write(&path, text).expect("writable");
            let end = end_of(&path).expect("readable");
            assert_eq!(
                (end.seq, end.bytes as usize),
                (0, if text.ends_with('\n') { 8 } else { 0 })
            );
        }
        stage.add(1, 5);
        // The last line is longer than what is looked at first.
        stage.add(2, 700_000);
        let end = end_of(&path).expect("readable");
        assert_eq!(
            (end.seq, end.pos, end.bytes),
            (2, pos(2), stage.text.len() as u64)
        );
        assert_eq!(end.kinds, ["chat.message"]);
        stage.text.extend_from_slice(&[b'x'; 100_000]);
        stage.write(2);
        let torn = end_of(&path).expect("readable");
        assert_eq!(torn, end);
    }
}
