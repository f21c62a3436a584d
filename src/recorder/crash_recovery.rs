//! Completes the files of streams that an earlier process left and no process continues.
//!
//! A restart continues the streams that the state directory lists. Some are missing there: their
//! end was received but not written when the process was killed, or the state is lost. Their
//! `meta.json` says `receiving` for ever, and the header of a WAV file is as old as its last sync.
//! Opening such a folder once repairs every file in it; then the end is written.
//!
//! This assumes that only one server writes below `RTMS_OUT`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::append_file::AppendFile;
use super::journal::{JournalHost, Opening};
use super::media_files::repair_unlisted;
use super::meta::MetaFile;
use super::path::folder_of;
use super::stream_files::{FILES, Recorder};
use super::transcript::TranscriptFormats;
use crate::domain::stream_info::StreamInfo;
use crate::protocol::MediaParams;

/// Completes a stream that no process continues, except for its last write and sync. `None` if it is
/// complete already. Files in `formats` are made from the journal where they are missing. `announce` is called before its files say that it has ended.
///
/// # Errors
/// It could not be announced, or read.
pub fn complete(
    root: &Path,
    folder: &Path,
    formats: TranscriptFormats,
    host: Option<&Arc<JournalHost>>,
    now_ms: u64,
    announce: impl FnOnce(&StreamInfo) -> io::Result<()>,
) -> io::Result<Option<Recorder>> {
    let meta = MetaFile::read(folder)?;
    if meta.as_ref().is_some_and(MetaFile::is_ended) {
        return Ok(None);
    }
    let info = meta.and_then(|meta| meta.stream_info());
    // A folder at another path than ours is a copy, or not ours.
    let Some(info) = info.filter(|info| root.join(folder_of(info)) == folder) else {
        repair(folder)?;
        return Ok(None);
    };
    announce(&info)?;
    let formats = formats.with_files_of(folder);
    let recorder = Recorder::open(root, info, formats, MediaParams::default(), now_ms);
    let mut recorder = match host {
        Some(host) => recorder.with_journal(host, Opening::Complete, now_ms),
        None => recorder.without_journal(),
    };
    recorder.close_without_reason(now_ms);
    Ok(Some(recorder))
}

/// Repairs the files of a folder whose `meta.json` is unreadable, by their names.
fn repair(folder: &Path) -> io::Result<()> {
    let shared = folder.into();
    for (name, terminator) in FILES {
        AppendFile::new(&shared, name, "", terminator).truncate_torn_tail()?;
    }
    repair_unlisted(folder, &[]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::folders::StreamFolders;
    use crate::protocol::message::PacketKind;
    use crate::recorder::jsonl::tests::{info, phrase};
    use crate::recorder::packet_batch::PacketBatch;
    use crate::recorder::packet_batch::tests::packet;
    use crate::recorder::record_batch::Record;
    use crate::testing::scratch;
    use serde_json::Value;
    use std::fs;
    use std::path::PathBuf;

    const DATA: &str = "AQACAAMABAA=";

    /// A stream that is not over, whose process was killed.
    fn leave(root: &Path, stream_id: &str) -> PathBuf {
        let info = StreamInfo {
            stream_id: stream_id.to_owned(),
            ..info()
        };
        let formats = TranscriptFormats::default();
        let mut recorder = Recorder::open(root, info, formats, MediaParams::default(), 1);
        recorder.push(&Record::Phrase(phrase("one")));
        for n in 0..3 {
            let mut batch = PacketBatch::default();
            batch.push(
                PacketKind::Audio,
                &packet(1, "Ada", 1_767_000_000_000 + n, DATA),
            );
            recorder.push_packets(&batch);
            recorder.write().expect("writable");
        }
        recorder.folder().to_owned()
    }

    fn data_bytes(folder: &Path) -> (u32, usize) {
        let bytes = fs::read(folder.join("audio-1-Ada.wav")).expect("readable");
        let size = bytes[40..44].try_into().expect("four");
        (u32::from_le_bytes(size), bytes.len() - 44)
    }

    /// Completes a stream as the disk thread does; whether there was something to complete.
    fn finish(root: &Path, folder: &Path, now_ms: u64) -> bool {
        let Some(mut recorder) = complete(
            root,
            folder,
            TranscriptFormats::default(),
            None,
            now_ms,
            |_| Ok(()),
        )
        .expect("readable") else {
            return false;
        };
        recorder.write().expect("writable");
        let targets = recorder.take_unsynced().expect("writable");
        assert!(targets.sync(&|| true).expect("writable"));
        recorder.publish().expect("writable")
    }

    #[test]
    fn an_orphaned_stream_is_completed_once() {
        let root = scratch("unfinished");
        let first = leave(&root, "first");
        let second = leave(&root, "second");
        assert_eq!(data_bytes(&first), (0, 24), "the header is old");
        fs::write(root.join("2025-12-29/a note"), "of a person").expect("writable");
        // A power cut emptied the second one's meta.json.
        fs::write(second.join("meta.json"), "").expect("writable");
        let torn = fs::read_to_string(second.join("transcript.jsonl")).expect("readable");
        fs::write(second.join("transcript.jsonl"), format!("{torn}{{\"v\"")).expect("writable");
        let found: Vec<PathBuf> = StreamFolders::below(&root).collect();
        assert_eq!(found.len(), 2);
        for folder in &found {
            assert_eq!(finish(&root, folder, 9), *folder == first);
            assert_eq!(data_bytes(folder), (24, 24));
            let text = fs::read_to_string(folder.join("transcript.jsonl")).expect("readable");
            assert_eq!(text.lines().count(), 1);
            assert!(!finish(&root, folder, 10));
        }
        let meta = fs::read(first.join("meta.json")).expect("readable");
        let meta: Value = serde_json::from_slice(&meta).expect("JSON");
        assert_eq!(
            (&meta["state"], &meta["end"]),
            (&"ended".into(), &"abandoned".into())
        );
        assert_eq!(
            (&meta["ended_ms"], &meta["transcripts"]),
            (&9.into(), &1.into())
        );
        assert_eq!(meta["audio"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_copy_in_another_folder_is_not_changed() {
        let root = scratch("unfinished-copy");
        let folder = leave(&root, "first");
        let copy = folder.with_file_name("copy");
        fs::rename(&folder, &copy).expect("movable");
        assert!(!finish(&root, &copy, 9));
        let meta = fs::read_to_string(copy.join("meta.json")).expect("readable");
        assert!(meta.contains("receiving"));
    }
}
