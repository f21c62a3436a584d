//! Streams that earlier processes left incomplete and no process continues, found by their files.
//!
//! A restart takes up the streams that the state directory names. Some are not among them: their
//! end was known, but not written yet when the process was killed, or the state is lost. Their
//! `meta.json` says `receiving` for ever, and the head of a WAV is as old as its last sync. Each
//! such folder is opened once more, which repairs every file in it, and completed.
//!
//! This takes for granted that one server writes below one `RTMS_OUT`.

use std::io;
use std::path::Path;

use super::append_file::AppendFile;
use super::media_files::repair_unlisted;
use super::meta::MetaFile;
use super::path::stream_folder;
use super::stream_files::{FILES, Recorder};
use super::transcript::TranscriptFormats;
use crate::domain::stream_info::StreamInfo;
use crate::protocol::MediaParams;

/// Completes a stream that no process continues. `false` for one that is complete.
pub fn complete(root: &Path, folder: &Path, now_ms: u64) -> io::Result<bool> {
    let meta = MetaFile::read(folder)?;
    if meta.as_ref().is_some_and(MetaFile::is_ended) {
        return Ok(false);
    }
    let info = meta.and_then(|meta| meta.stream_info());
    // A folder that is not where we would put it is a copy, or not ours.
    let is_ours =
        |info: &StreamInfo| root.join(stream_folder(info.started_ms, &info.id, &info.stream_id));
    let Some(info) = info.filter(|info| is_ours(info) == folder) else {
        repair(folder)?;
        return Ok(false);
    };
    let formats = TranscriptFormats {
        jsonl: true,
        txt: true,
        vtt: true,
        srt: true,
    };
    let mut recorder = Recorder::open(root, info, formats, MediaParams::default(), now_ms);
    recorder.close_without_reason(now_ms);
    recorder.write()?;
    recorder.sync()?;
    Ok(true)
}

/// Makes files whole of which nothing is known but their names.
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
    use crate::recorder::tests::scratch;
    use serde_json::Value;
    use std::fs;
    use std::path::PathBuf;

    const DATA: &str = "AQACAAMABAA=";

    /// A stream in the middle of its life, whose process is gone.
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
            recorder.write().expect("the disk is well");
        }
        recorder.folder().to_owned()
    }

    fn data_bytes(folder: &Path) -> (u32, usize) {
        let bytes = fs::read(folder.join("audio-1-Ada.wav")).expect("readable");
        let told = bytes[40..44].try_into().expect("four");
        (u32::from_le_bytes(told), bytes.len() - 44)
    }

    #[test]
    fn what_nobody_goes_on_with_is_completed_once() {
        let root = scratch("unfinished");
        let first = leave(&root, "first");
        let second = leave(&root, "second");
        assert_eq!(data_bytes(&first), (0, 24), "the head is old");
        fs::write(root.join("2025-12-29/a note"), "of a person").expect("writable");
        // A power cut took what the second was called.
        fs::write(second.join("meta.json"), "").expect("writable");
        let torn = fs::read_to_string(second.join("transcript.jsonl")).expect("readable");
        fs::write(second.join("transcript.jsonl"), format!("{torn}{{\"v\"")).expect("writable");
        let found: Vec<PathBuf> = StreamFolders::below(&root).collect();
        assert_eq!(found.len(), 2);
        for folder in &found {
            assert_eq!(
                complete(&root, folder, 9).expect("readable"),
                *folder == first
            );
            assert_eq!(data_bytes(folder), (24, 24));
            let text = fs::read_to_string(folder.join("transcript.jsonl")).expect("readable");
            assert_eq!(text.lines().count(), 1);
            assert!(!complete(&root, folder, 10).expect("readable"));
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
    fn a_copy_elsewhere_is_nobodys_business() {
        let root = scratch("unfinished-copy");
        let folder = leave(&root, "first");
        let copy = folder.with_file_name("copy");
        fs::rename(&folder, &copy).expect("movable");
        assert!(!complete(&root, &copy, 9).expect("readable"));
        let meta = fs::read_to_string(copy.join("meta.json")).expect("readable");
        assert!(meta.contains("receiving"));
    }
}
