//! Video or share files of one stream: `video.h264`, or single pictures in `video/`, and an index
//! of both in `video/frames.jsonl`; the same with `share`.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::headers::{Size, annex_b, h264_facts, jpeg_size, png_size};
use crate::domain::id::Id;
use crate::protocol::params::VideoCodec;
use crate::recorder::append_file::{AppendFile, create_file, make_folder, tail};
use crate::recorder::audio::timeline::digest;
use crate::recorder::meta::offset_ms;
use crate::recorder::packet_batch::DecodedPacket;
use crate::recorder::path::safe_name;
use crate::recorder::sparse_file::SparseFile;
use crate::recorder::sync_targets::SyncTargets;

/// How many frames are remembered, to detect repeats.
const RECENT_MAX: usize = 64;

/// Zoom keeps a lost stream open for at most 65 s, so it repeats nothing older.
const REPLAY_MS_MAX: u64 = 65_000;
/// Maximum parts of an H.264 file, however often it is deleted.
const PARTS_MAX: u32 = 1000;

/// Name of a picture file while it is written.
const UNFINISHED: &str = ".picture.new";

/// Pictures from cameras or from a shared screen.
#[derive(Debug)]
pub struct VideoTrack {
    /// `video` or `share`.
    kind: &'static str,
    folder: Arc<Path>,
    codec: VideoCodec,
    stream: Option<SparseFile>,
    /// The number of the H.264 file, from 1.
    part: u32,
    stills: VecDeque<(String, Vec<u8>)>,
    /// Single pictures written since the last sync.
    unsynced: Vec<String>,
    index: AppendFile,
    count: u64,
    first_ms: u64,
    user_id: Option<Id<'static>>,
    size: Option<Size>,
    recent: VecDeque<u64>,
    newest_ms: u64,
    /// Pictures with earlier timestamps were received before the last reconnect or restart.
    replay_until_ms: u64,
}

/// Path of the index of a kind, relative to the stream's folder.
fn index_name(kind: &str) -> &'static str {
    match kind {
        "video" => "video/frames.jsonl",
        _ => "share/frames.jsonl",
    }
}

impl VideoTrack {
    /// Whether an earlier process left an index of that kind in a stream's folder.
    pub fn exist_in(folder: &Path, kind: &str) -> bool {
        folder.join(index_name(kind)).exists()
    }

    /// Opens the files of a new or continued stream in its folder.
    pub fn open(kind: &'static str, folder: &Arc<Path>, codec: VideoCodec) -> VideoTrack {
        let index = index_name(kind);
        let last = tail(&folder.join(index), "\n").unwrap_or_default();
        let last: Value = last
            .lines()
            .next_back()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        let mut pictures = VideoTrack {
            kind,
            folder: Arc::clone(folder),
            codec,
            stream: None,
            part: 1,
            stills: VecDeque::new(),
            unsynced: Vec::new(),
            index: AppendFile::new(folder, index, "", "\n"),
            count: last["frame"].as_u64().map_or(0, |n| n + 1),
            first_ms: 0,
            user_id: serde_json::from_value(last["user_id"].clone()).ok(),
            size: None,
            recent: VecDeque::new(),
            newest_ms: 0,
            replay_until_ms: last["timestamp_ms"].as_u64().unwrap_or(0),
        };
        if last.is_object() {
            // Left by a process that was killed while writing it; the index does not list it.
            let _ = fs::remove_file(folder.join(kind).join(UNFINISHED));
        }
        let number = |key: &str| last[key].as_u64();
        if let (Some(offset), Some(bytes)) = (number("offset"), number("bytes")) {
            let name = last["file"].as_str().unwrap_or_default();
            let mut words = name.rsplit('.').skip(1);
            let part = words.next().and_then(|word| word.parse().ok());
            pictures.part = part
                .filter(|part| (1..PARTS_MAX).contains(part))
                .unwrap_or(1);
            pictures.resume_stream(offset.saturating_add(bytes));
        }
        pictures
    }

    /// Continues an H.264 file. What the index does not list is cut off.
    fn resume_stream(&mut self, known: u64) {
        let path = self.stream_path();
        let length = match fs::metadata(&path) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.next_part(),
            Err(_) => 0,
        };
        if length > known
            && let Err(error) = OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(known))
        {
            log::error!("cannot repair {}: {error}", path.display());
        }
        self.stream = Some(SparseFile::new(path, length.min(known)));
    }

    /// Starts another H.264 file after the current one was deleted: offsets in the index belong to
    /// one file.
    fn next_part(&mut self) {
        let removed = self.stream_path();
        self.stream = None;
        while self.part < PARTS_MAX {
            self.part += 1;
            if !self.stream_path().exists() {
                break;
            }
        }
        log::warn!(
            "file was deleted, continuing in a new part path={} part={}",
            removed.display(),
            self.stream_name()
        );
    }

    fn stream_name(&self) -> String {
        match self.part {
            1 => format!("{}.h264", self.kind),
            n => format!("{}.{n}.h264", self.kind),
        }
    }

    fn stream_path(&self) -> PathBuf {
        self.folder.join(self.stream_name())
    }

    /// Sets the codec of the frames that follow.
    pub fn set_codec(&mut self, codec: VideoCodec) {
        self.codec = codec;
    }

    /// To be called after a reconnect: Zoom may send again what it sent on the previous connection.
    pub fn on_reconnect(&mut self) {
        self.replay_until_ms = self.replay_until_ms.max(self.newest_ms);
    }

    /// Sets the time of the first picture that `meta.json` has.
    pub fn set_first_ms(&mut self, first_ms: u64) {
        self.first_ms = first_ms;
    }

    /// The entry in `meta.json`; `None` before the first picture.
    pub fn facts(&self, started_ms: u64) -> Option<Value> {
        if self.count == 0 {
            return None;
        }
        let file = match self.codec {
            VideoCodec::H264 => self.stream_name(),
            VideoCodec::Jpg | VideoCodec::Png => format!("{}/", self.kind),
        };
        Some(json!({
            "file": file,
            "index": index_name(self.kind),
            "codec": self.codec.name(),
            "first_ms": self.first_ms,
            "offset_ms": offset_ms(self.first_ms, started_ms),
        }))
    }

    /// Adds a frame; [`VideoTrack::write`] writes it. Returns whether `meta.json` must be written;
    /// `None` for a frame without content.
    pub fn push(&mut self, frame: &DecodedPacket<'_>) -> Option<bool> {
        let DecodedPacket {
            timestamp_ms: stamp_ms,
            ref user_id,
            user_name: name,
            bytes,
            ..
        } = *frame;
        if bytes.is_empty() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        user_id.hash(&mut hasher);
        let digest = digest(stamp_ms, bytes) ^ hasher.finish();
        // Zoom repeats what it kept for about a minute; an older timestamp comes from another
        // clock.
        let is_replay = stamp_ms < self.replay_until_ms
            && stamp_ms.saturating_add(REPLAY_MS_MAX) >= self.replay_until_ms;
        // Two pictures within one whole second may be identical, and both were sent.
        let may_repeat =
            stamp_ms % 1000 != 0 || stamp_ms < self.newest_ms || stamp_ms <= self.replay_until_ms;
        if is_replay || may_repeat && self.recent.contains(&digest) {
            return Some(false);
        }
        self.newest_ms = self.newest_ms.max(stamp_ms);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(digest);
        let mut line = json!({
            "v": 1,
            "frame": self.count,
            "timestamp_ms": stamp_ms,
            "user_id": user_id,
            "user_name": name,
        });
        let size = match self.codec {
            VideoCodec::H264 => {
                let (name, path) = (self.stream_name(), self.stream_path());
                let stream = self.stream.get_or_insert_with(|| {
                    let there = fs::metadata(&path).map_or(0, |meta| meta.len());
                    SparseFile::new(path, there)
                });
                let bytes = annex_b(bytes);
                let (size, is_key) = h264_facts(&bytes);
                if self.part > 1 {
                    line["file"] = name.into();
                }
                line["offset"] = stream.end().into();
                line["bytes"] = bytes.len().into();
                if is_key {
                    line["key"] = true.into();
                }
                stream.push(&bytes);
                size
            }
            still => {
                let name = still_name(self.count, stamp_ms, user_id, still);
                line["file"] = name.as_str().into();
                line["bytes"] = bytes.len().into();
                self.stills.push_back((name, bytes.to_vec()));
                match still {
                    VideoCodec::Png => png_size(bytes),
                    _ => jpeg_size(bytes),
                }
            }
        };
        // Fields that differ from the previous frame; all of them for the first frame.
        let mut changed = Vec::new();
        if self.user_id.as_ref() != Some(user_id) {
            self.user_id = Some(user_id.clone().into_owned());
            changed.push("speaker");
        }
        if size.is_some() && size != self.size {
            self.size = size;
            changed.push("resolution");
        }
        if let Some((width, height)) = self.size {
            line["width"] = width.into();
            line["height"] = height.into();
        }
        if !changed.is_empty() {
            line["changed"] = changed.into();
        }
        let record = self.index.record_buf();
        record.extend_from_slice(line.to_string().as_bytes());
        record.push(b'\n');
        self.count += 1;
        let is_first = self.first_ms == 0 && stamp_ms != 0;
        if is_first {
            self.first_ms = stamp_ms;
        }
        Some(is_first || self.count == 1)
    }

    /// Writes everything that waits: pictures first, so that the index never lists a missing one.
    /// After an error it still waits.
    pub fn write(&mut self) -> io::Result<()> {
        if let Some(stream) = &mut self.stream {
            stream.write()?;
        }
        while let Some((name, bytes)) = self.stills.front() {
            write_still(&self.folder.join(self.kind), name, bytes)?;
            if let Some((name, _)) = self.stills.pop_front() {
                self.unsynced.push(name);
            }
        }
        if self.index.waiting() > 0 {
            self.index.write()?;
        }
        Ok(())
    }

    /// Adds what must be synced for everything written so far: pictures, the index, and their names;
    /// from then on treats it as synced. The recorder syncs the names of `video.h264` and of the folder.
    pub fn take_unsynced(&mut self, targets: &mut SyncTargets) -> io::Result<()> {
        if let Some(stream) = &mut self.stream {
            stream.take_unsynced(targets);
        }
        let folder = self.folder.join(self.kind);
        let mut is_named = self.unsynced.is_empty();
        for name in self.unsynced.drain(..) {
            targets.add_closed(folder.join(name));
        }
        is_named &= !self.index.take_unsynced(targets)?;
        if !is_named {
            targets.add_folder(&folder);
        }
        Ok(())
    }

    /// Checks that the files are still in their folder. Returns whether the H.264 file was deleted,
    /// so that a new part follows.
    pub fn verify_linked(&mut self) -> io::Result<bool> {
        self.index.verify_linked()?;
        let stream = self.stream.as_ref();
        let is_removed = stream.map_or(Ok(false), SparseFile::is_removed)?;
        if is_removed {
            self.next_part();
        }
        Ok(is_removed)
    }

    /// Treats everything written so far as synced, because the whole file system is.
    pub fn synced(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.synced();
        }
        self.unsynced.clear();
        self.index.synced();
    }

    /// Whether a power cut could lose something that was written.
    pub fn is_unsynced(&self) -> bool {
        self.index.is_unsynced()
    }

    /// Drops everything that waits.
    pub fn discard(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.discard();
        }
        self.stills.clear();
        self.unsynced.clear();
        self.index.discard();
    }
}

/// File name of a picture: `00000012-1767000001000-16778240.jpg`.
fn still_name(number: u64, stamp_ms: u64, user_id: &Id<'_>, codec: VideoCodec) -> String {
    let user = match user_id {
        Id::Number(n) => n.to_string(),
        Id::Text(text) => safe_name(text),
    };
    format!("{number:08}-{stamp_ms}-{user}.{}", codec.name())
}

/// Writes a picture by a rename: a reader sees a whole picture or none.
fn write_still(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(UNFINISHED);
    let mut file = match create_file(&temporary) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(folder)?;
            create_file(&temporary)?
        }
        other => other?,
    };
    file.write_all(bytes)?;
    fs::rename(&temporary, folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::PacketKind;
    use crate::testing::scratch;

    const T: u64 = 1_767_000_000_001;

    fn push(
        track: &mut VideoTrack,
        stamp: u64,
        user: u64,
        name: &str,
        bytes: &[u8],
    ) -> Option<bool> {
        track.push(&DecodedPacket {
            kind: PacketKind::Video,
            user_id: Id::Number(user),
            channel_id: None,
            user_name: name,
            timestamp_ms: stamp,
            bytes,
        })
    }

    fn index(folder: &Path, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(folder.join(kind).join("frames.jsonl")).expect("readable");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    #[test]
    fn h264_is_continued_after_a_crash() {
        let folder = scratch("pictures-h264");
        let clip = include_bytes!("../../demo/media/clips/clip.h264");
        let mut first = VideoTrack::open("video", &folder, VideoCodec::H264);
        assert_eq!(push(&mut first, T, 1, "Ada", clip), Some(true));
        assert_eq!(
            push(&mut first, T, 1, "Ada", clip),
            Some(false),
            "received twice"
        );
        assert_eq!(push(&mut first, T, 1, "Ada", b""), None);
        push(&mut first, T + 40, 2, "Bo", &[0x41, 1, 2, 3, 4, 5]);
        first.write().expect("writable");
        drop(first);
        let path = folder.join("video.h264");
        let mut torn = fs::read(&path).expect("readable");
        torn.extend_from_slice(b"half a frame");
        fs::write(&path, torn).expect("writable");

        let mut second = VideoTrack::open("video", &folder, VideoCodec::H264);
        push(&mut second, T + 80, 2, "Bo", &[0, 0, 1, 0x41]);
        second.write().expect("writable");
        let bytes = fs::read(&path).expect("readable");
        assert_eq!(bytes.len(), clip.len() + 10 + 4);
        let lines = index(&folder, "video");
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["changed"], json!(["speaker", "resolution"]));
        assert_eq!(
            (&lines[0]["width"], &lines[0]["key"]),
            (&320.into(), &true.into())
        );
        assert_eq!(lines[1]["changed"], json!(["speaker"]));
        assert_eq!(lines[2]["changed"], Value::Null);
        assert_eq!(lines[2]["offset"], clip.len() + 10);
        assert_eq!(lines[2]["frame"], 2);
    }

    /// Deleted while it is open, and again while the server is down.
    #[test]
    fn a_deleted_h264_file_is_continued_in_a_new_part() {
        let folder = scratch("video-removed");
        let mut track = VideoTrack::open("video", &folder, VideoCodec::H264);
        let frame = [0, 0, 1, 0x41, 9];
        let path = |name: &str| folder.join(name);
        push(&mut track, T, 1, "Ada", &frame);
        track.write().expect("writable");
        assert!(!track.verify_linked().expect("writable"));
        fs::remove_file(path("video.h264")).expect("removable");
        assert!(track.verify_linked().expect("writable"));
        assert!(!track.verify_linked().expect("writable"), "once");
        push(&mut track, T + 1, 1, "Ada", &frame);
        track.write().expect("writable");
        fs::remove_file(path("video.2.h264")).expect("removable");

        let mut track = VideoTrack::open("video", &folder, VideoCodec::H264);
        for n in 2..4 {
            push(&mut track, T + n, 1, "Ada", &frame);
        }
        track.write().expect("writable");
        drop(track);
        let mut track = VideoTrack::open("video", &folder, VideoCodec::H264);
        push(&mut track, T + 4, 1, "Ada", &frame);
        track.write().expect("writable");
        let facts = track.facts(T).expect("pictures");
        assert_eq!(facts["file"], "video.3.h264");
        let found: Vec<(Value, Value)> = index(&folder, "video")
            .into_iter()
            .map(|line| (line["file"].clone(), line["offset"].clone()))
            .collect();
        let expected = [
            (Value::Null, 0),
            ("video.2.h264".into(), 0),
            ("video.3.h264".into(), 0),
            ("video.3.h264".into(), 5),
            ("video.3.h264".into(), 10),
        ];
        assert_eq!(found, expected.map(|(file, offset)| (file, offset.into())));
        let length = fs::metadata(path("video.3.h264")).expect("written").len();
        assert_eq!(length, 15);
        assert!(!path("video.h264").exists());
    }

    #[test]
    fn stills_are_files_of_their_own() {
        let folder = scratch("pictures-stills");
        let jpeg = include_bytes!("../../demo/media/clips/camera.jpg");
        let mut pictures = VideoTrack::open("share", &folder, VideoCodec::Jpg);
        for n in 0..3 {
            push(&mut pictures, T + n, 1, "../../Ada", jpeg);
        }
        push(&mut pictures, u64::MAX, u64::MAX, "", b"no picture");
        pictures.write().expect("writable");
        let lines = index(&folder, "share");
        assert_eq!(lines.len(), 4);
        for line in &lines {
            let name = line["file"].as_str().expect("a name");
            let bytes = fs::read(folder.join("share").join(name)).expect("readable");
            assert_eq!(line["bytes"], bytes.len());
        }
        assert_eq!(
            (&lines[2]["width"], &lines[2]["height"]),
            (&320.into(), &180.into())
        );
        let facts = pictures.facts(T - 500).expect("pictures");
        assert_eq!(facts["offset_ms"], 500);
        assert_eq!(
            fs::read_dir(folder.join("share"))
                .expect("readable")
                .count(),
            5
        );
    }
}
