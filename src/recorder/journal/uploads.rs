//! `file.uploaded`: the lines that follow `stream.ended` once the files of a stream are in the bucket.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::JournalHost;
use super::host::sync;
use crate::clock::now_ms;
use crate::delivery::ends::UploadNote;
use crate::feed::line::Envelope;
use crate::feed::reader::end_of;
use crate::feed::{FEED_NAME, Line, kind};
use crate::recorder::append_file::{AppendFile, tail_of};
use crate::recorder::meta::MetaFile;
use crate::recorder::stream_files::is_picture;

/// How much of the journal's end is searched for lines that an earlier attempt wrote: some thousand.
const LOOK_BYTES: u64 = 4 << 20;

/// The data of a line for each file that is in the bucket, single pictures left out.
pub(super) fn lines(note: &UploadNote) -> Vec<String> {
    let named = note.files.iter().filter(|file| !is_picture(&file.local));
    let line = |file: &crate::delivery::ends::entry::FileState| {
        let sent = file.sent.as_ref()?;
        Some(format!(
            "{{\"v\":1,\"type\":\"file\",\"state\":\"uploaded\",\"file\":{},\"bytes\":{},\"bucket\":{},\
             \"key\":{},\"etag\":{},\"sha256\":{}}}",
            Value::from(file.local.as_str()),
            sent.bytes,
            Value::from(note.bucket.as_str()),
            Value::from(format!("{}{}", note.prefix, file.object)),
            Value::from(sent.etag.as_str()),
            Value::from(sent.sha256.as_str()),
        ))
    };
    named.filter_map(line).collect()
}

impl JournalHost {
    /// Adds the lines of an upload to the journal of a folder that no process writes, but those that
    /// are its last lines already: an attempt before this one may have ended in between. Returns the
    /// number of the last line, once all survive a power cut; `None` for a folder without a journal, or
    /// whose consent was withdrawn.
    ///
    /// # Errors
    /// The folder cannot be read or written. What was written is announced.
    pub(crate) fn note_upload(&self, folder: &Path, note: &UploadNote) -> io::Result<Option<u64>> {
        let path = folder.join(FEED_NAME);
        let (board, key) = (self.board(), self.board().key_of(folder));
        if !path.exists() || board.is_revoked(key) {
            return Ok(None);
        }
        let folder: Arc<Path> = folder.into();
        let mut file = AppendFile::new(&folder, FEED_NAME, "", "\n");
        file.truncate_torn_tail()?;
        let end = end_of(&path)?;
        let meta = MetaFile::read(&folder)?;
        let last = end.kinds.first().map(String::as_str);
        let info = meta.as_ref().and_then(MetaFile::stream_info);
        let (Some(info), Some(last)) = (info, last.filter(|last| *last != kind::STREAM_REVOKED))
        else {
            return Ok(None);
        };
        let known = match last {
            kind::FILE_UPLOADED => last_uploads(&path)?,
            _ => HashSet::new(),
        };
        let floor = meta.and_then(|meta| meta.feed_seq()).unwrap_or(0);
        let mut seq = end.seq.max(floor);
        let mut envelope = Envelope::new(key, self.source(), Some(&info));
        for data in lines(note).iter().filter(|data| !known.contains(*data)) {
            seq += 1;
            let out = file.record_buf();
            envelope.begin(out, seq, kind::FILE_UPLOADED, now_ms());
            out.extend_from_slice(data.as_bytes());
            Envelope::end(out);
        }
        if file.waiting() == 0 {
            return Ok(Some(seq));
        }
        self.saw(end.pos);
        // It may have left the board, a minute after the end.
        board.load(&folder)?;
        let (written, growth) = self.write(&mut file);
        let synced = written.and_then(|()| sync(&mut file).map(drop));
        if let Some(growth) = growth {
            self.announce(key, growth);
            // It stays on the board for another minute.
            board.ended(key);
        }
        synced.map(|()| Some(seq))
    }
}

/// The data of the last lines, as far as they are of uploads.
fn last_uploads(path: &Path) -> io::Result<HashSet<String>> {
    let text = tail_of(path, "\n", LOOK_BYTES)?;
    let lines = text.lines().rev();
    let lines = lines.map_while(|line| Line::parse(line.as_bytes()));
    let uploads = lines.take_while(|line| line.kind == kind::FILE_UPLOADED);
    let data = uploads.map(|line| String::from_utf8_lossy(line.data()).into_owned());
    Ok(data.collect())
}
