//! The audio, video and share files of one stream; called by [`super::stream_files`] on the disk
//! thread.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::audio::format::{Format, Part};
use super::audio::track::{AudioTrack, PushOutcome};
use super::audio::wav;
use super::meta::Meta;
use super::packet_batch::{DecodedPacket, PacketBatch};
use super::sync_targets::SyncTargets;
use super::video::track::VideoTrack;
use crate::domain::id::Id;
use crate::protocol::message::PacketKind;
use crate::protocol::{Granted, MediaKind, MediaParams};

/// Maximum speakers per stream with files of their own; audio of further ones is dropped and
/// counted.
pub const SPEAKERS_MAX: usize = 1000;

/// Maximum open audio files per stream. Further files are opened for each batch.
const OPEN_MAX: usize = 32;

/// Characters of a speaker's name in a file name; `meta.json` has the full name.
const SHOWN_MAX: usize = 40;

/// The media files of a stream.
#[derive(Debug)]
pub struct Media {
    folder: Arc<Path>,
    /// The parameters in force: as requested, until message 4 changes them.
    params: MediaParams,
    tracks: Vec<Speaker>,
    /// Created with the first picture.
    video: Option<Box<VideoTrack>>,
    share: Option<Box<VideoTrack>>,
    started_ms: u64,
    /// Counts batches, to find the least recently used track.
    turn: u64,
}

#[derive(Debug)]
struct Speaker {
    user_id: Id<'static>,
    channel_id: Option<Id<'static>>,
    track: AudioTrack,
    turn: u64,
    /// Its index in `meta.json`.
    listed: Option<usize>,
}

/// Packets of one batch that were not written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DropCounts {
    /// Packets that are not in the granted format.
    pub malformed: u64,
    /// Packets of speakers above `SPEAKERS_MAX`.
    pub dropped: u64,
    /// Whether `meta.json` must be written.
    pub is_meta_stale: bool,
}

impl Media {
    /// The media files of a new or a continued stream; files of an earlier process are repaired.
    ///
    /// `started_ms` is the stream's zero.
    pub fn open(folder: &Arc<Path>, asked: MediaParams, meta: &Meta, started_ms: u64) -> Media {
        let left = |kind, codec| {
            let facts = match kind {
                "video" => meta.video.as_ref(),
                _ => meta.share.as_ref(),
            };
            if facts.is_none() && !VideoTrack::exist_in(folder, kind) {
                return None;
            }
            let mut pictures = VideoTrack::open(kind, folder, codec);
            let first_ms = facts.and_then(|facts| facts["first_ms"].as_u64());
            pictures.set_first_ms(first_ms.unwrap_or(0));
            Some(Box::new(pictures))
        };
        let mut media = Media {
            folder: Arc::clone(folder),
            params: asked,
            tracks: Vec::new(),
            video: left("video", asked.video.codec),
            share: left("share", asked.share.codec),
            started_ms,
            turn: 0,
        };
        for (at, part) in meta.audio.iter().enumerate().take(4 * SPEAKERS_MAX) {
            media.resume(at, part);
        }
        repair_unlisted(folder, &meta.audio);
        media
    }

    fn resume(&mut self, at: usize, part: &Part) {
        let stem = stem(&part.user_id, part.channel_id.as_ref(), &part.user_name);
        let number = self.number_of(part);
        // Each file is repaired; only the last one of a speaker is continued.
        let track = match AudioTrack::resume(&self.folder, stem.clone(), part.clone(), number) {
            Ok(Some(mut track)) => {
                if let Err(error) = track.write().and_then(|()| track.close()) {
                    log::error!(
                        "cannot repair {}: {error}",
                        self.folder.join(&part.file).display()
                    );
                }
                track
            }
            Ok(None) => return,
            Err(error) => {
                log::error!(
                    "cannot continue {}: {error}; starting a new part",
                    self.folder.join(&part.file).display()
                );
                return;
            }
        };
        self.tracks.retain(|speaker| {
            (&speaker.user_id, &speaker.channel_id) != (&part.user_id, &part.channel_id)
        });
        self.tracks.push(Speaker {
            user_id: part.user_id.clone(),
            channel_id: part.channel_id.clone(),
            track,
            turn: 0,
            listed: Some(at),
        });
    }

    /// The part's number in its file name: 2 for `audio-x.2.wav`.
    fn number_of(&self, part: &Part) -> u32 {
        let mut words = part.file.rsplit('.').skip(1);
        words.next().and_then(|word| word.parse().ok()).unwrap_or(1)
    }

    /// Sets the parameters that Zoom granted.
    pub fn on_granted(&mut self, granted: &Granted) {
        let params = &granted.params;
        if granted.is_of(MediaKind::Audio) {
            self.params.audio = params.audio;
        }
        if granted.is_of(MediaKind::Video) {
            self.params.video = params.video;
            if let Some(video) = &mut self.video {
                video.set_codec(params.video.codec);
            }
        }
        if granted.is_of(MediaKind::Share) {
            self.params.share = params.share;
            if let Some(share) = &mut self.share {
                share.set_codec(params.share.codec);
            }
        }
    }

    /// To be called after a reconnect: Zoom may send again what it sent on the previous connection.
    pub fn on_reconnect(&mut self, kind: MediaKind) {
        let is_of = |single| kind == single || kind == MediaKind::All;
        if is_of(MediaKind::Audio) {
            for speaker in &mut self.tracks {
                speaker.track.on_reconnect();
            }
        }
        for (single, track) in [
            (MediaKind::Video, &mut self.video),
            (MediaKind::Share, &mut self.share),
        ] {
            if let Some(track) = track.as_mut().filter(|_| is_of(single)) {
                track.on_reconnect();
            }
        }
    }

    /// Names the entries of speakers without a name, once an event has named them.
    pub fn on_names(&self, meta: &mut Meta) {
        for part in &mut meta.audio {
            if part.user_name.is_empty()
                && let Some(name) =
                    (meta.participants).name_of(&part.user_id, part.channel_id.as_ref())
            {
                name.clone_into(&mut part.user_name);
            }
        }
    }

    /// Adds a batch; [`Media::write`] writes it.
    pub fn push(&mut self, batch: &PacketBatch, meta: &mut Meta) -> DropCounts {
        self.turn += 1;
        let mut missed = DropCounts {
            malformed: batch.malformed,
            ..DropCounts::default()
        };
        for packet in batch.packets() {
            match packet.kind {
                PacketKind::Audio => {
                    let content = self.params.audio.content;
                    let Some(at) = self.speaker(&packet, meta) else {
                        missed.dropped += 1;
                        continue;
                    };
                    let speaker = &mut self.tracks[at];
                    speaker.turn = self.turn;
                    match speaker
                        .track
                        .push(packet.timestamp_ms, content, packet.bytes)
                    {
                        PushOutcome::Kept | PushOutcome::Repeat => {}
                        PushOutcome::Malformed => missed.malformed += 1,
                        PushOutcome::NewPart => {
                            speaker.list(meta);
                            missed.is_meta_stale = true;
                        }
                    }
                }
                PacketKind::Video | PacketKind::Share => {
                    let (pictures, kind, codec) = match packet.kind {
                        PacketKind::Video => (&mut self.video, "video", self.params.video.codec),
                        _ => (&mut self.share, "share", self.params.share.codec),
                    };
                    let pictures = pictures.get_or_insert_with(|| {
                        Box::new(VideoTrack::open(kind, &self.folder, codec))
                    });
                    match pictures.push(&packet) {
                        Some(is_news) => missed.is_meta_stale |= is_news,
                        None => missed.malformed += 1,
                    }
                }
            }
        }
        if missed.is_meta_stale {
            self.describe_pictures(meta);
        }
        missed
    }

    /// Index of a speaker's track in the current format; creates it if needed. `None` above
    /// `SPEAKERS_MAX`.
    fn speaker(&mut self, packet: &DecodedPacket<'_>, meta: &Meta) -> Option<usize> {
        let DecodedPacket {
            user_id,
            channel_id,
            user_name,
            ..
        } = packet;
        let format = Format::from_params(&self.params.audio);
        let found = self
            .tracks
            .iter()
            .position(|speaker| speaker.user_id == *user_id && speaker.channel_id == *channel_id);
        if let Some(at) = found {
            let speaker = &mut self.tracks[at];
            if speaker.track.part().format != format {
                speaker.track.change_format(format);
                speaker.listed = None;
            }
            return Some(at);
        }
        if self.tracks.len() >= SPEAKERS_MAX {
            return None;
        }
        let name = match user_name.trim() {
            "" => meta.participants.name_of(user_id, channel_id.as_ref()),
            _ => Some(*user_name),
        };
        let part = Part {
            file: String::new(),
            user_id: user_id.clone().into_owned(),
            user_name: name.unwrap_or_default().to_owned(),
            channel_id: channel_id.clone().map(Id::into_owned),
            format,
            first_ms: 0,
        };
        let stem = stem(&part.user_id, part.channel_id.as_ref(), &part.user_name);
        self.tracks.push(Speaker {
            user_id: part.user_id.clone(),
            channel_id: part.channel_id.clone(),
            track: AudioTrack::new(&self.folder, stem, part, 1),
            turn: self.turn,
            listed: None,
        });
        Some(self.tracks.len() - 1)
    }

    /// Writes everything that waits, with one call per speaker. After an error it still waits.
    pub fn write(&mut self) -> io::Result<()> {
        for speaker in &mut self.tracks {
            speaker.track.write()?;
        }
        self.pictures().try_for_each(VideoTrack::write)?;
        let open = |speaker: &&mut Speaker| speaker.track.is_open();
        let mut count = self.tracks.iter().filter(|s| s.track.is_open()).count();
        while count > OPEN_MAX {
            let idle = self.tracks.iter_mut().filter(open);
            if let Some(speaker) = idle.min_by_key(|speaker| speaker.turn) {
                speaker.track.close()?;
            }
            count -= 1;
        }
        Ok(())
    }

    /// Adds what must be synced for everything written so far, and from then on treats it as synced.
    pub fn take_unsynced(&mut self, targets: &mut SyncTargets) -> io::Result<()> {
        for speaker in &mut self.tracks {
            speaker.track.take_unsynced(targets)?;
        }
        self.pictures()
            .try_for_each(|pictures| pictures.take_unsynced(targets))
    }

    /// Writes headers with the current sizes, and checks that the files are still in their folder.
    /// A deleted file is continued in a new part; returns whether a part was started.
    pub fn verify_linked(&mut self, meta: &mut Meta) -> io::Result<bool> {
        let mut has_new = false;
        for speaker in &mut self.tracks {
            if speaker.track.verify_linked()? {
                if let Some(listed) = speaker.listed.and_then(|at| meta.audio.get_mut(at)) {
                    listed.clone_from(speaker.track.part());
                } else {
                    speaker.list(meta);
                }
                has_new = true;
            }
        }
        for track in self.pictures() {
            has_new |= track.verify_linked()?;
        }
        if has_new {
            self.describe_pictures(meta);
        }
        Ok(has_new)
    }

    fn describe_pictures(&self, meta: &mut Meta) {
        let facts = |track: &Option<Box<VideoTrack>>| track.as_ref()?.facts(self.started_ms);
        meta.video = facts(&self.video);
        meta.share = facts(&self.share);
    }

    /// Treats everything written so far as synced, because the whole file system is.
    pub fn synced(&mut self) {
        for speaker in &mut self.tracks {
            speaker.track.synced();
        }
        self.pictures().for_each(VideoTrack::synced);
    }

    fn pictures(&mut self) -> impl Iterator<Item = &mut VideoTrack> {
        let both = self.video.iter_mut().chain(&mut self.share);
        both.map(Box::as_mut)
    }

    /// Whether a power cut could lose something that was written.
    pub fn is_unsynced(&self) -> bool {
        let mut pictures = self.video.iter().chain(&self.share);
        self.tracks
            .iter()
            .any(|speaker| speaker.track.is_unsynced())
            || pictures.any(|pictures| pictures.is_unsynced())
    }

    /// Completes every file at the next write.
    pub fn end(&mut self) {
        for speaker in &mut self.tracks {
            speaker.track.end();
        }
    }

    /// Drops everything that waits.
    pub fn discard(&mut self) {
        for speaker in &mut self.tracks {
            speaker.track.discard();
        }
        self.pictures().for_each(VideoTrack::discard);
    }
}

impl Speaker {
    /// Adds or updates the current file's entry in `meta.json`: one per file name.
    fn list(&mut self, meta: &mut Meta) {
        let mut part = self.track.part().clone();
        let is_same = |at: &usize| {
            meta.audio
                .get(*at)
                .is_some_and(|listed| listed.file == part.file)
        };
        let found = self.listed.filter(is_same);
        let found = found.or_else(|| (0..meta.audio.len()).rev().find(is_same));
        match found {
            Some(at) => {
                if part.user_name.is_empty() {
                    part.user_name.clone_from(&meta.audio[at].user_name);
                }
                meta.audio[at] = part;
            }
            None => meta.audio.push(part),
        }
        self.listed = Some(found.unwrap_or(meta.audio.len() - 1));
    }
}

/// Repairs the WAV headers of files that `meta.json` does not list: after a power cut, both
/// `meta.json` and the headers may be old.
pub fn repair_unlisted(folder: &Path, listed: &[Part]) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let is_sound = name.starts_with("audio-") && name.ends_with(".wav");
        if is_sound
            && listed.iter().all(|part| part.file != name)
            && let Err(error) = wav::repair(&entry.path())
        {
            log::error!("cannot repair {}: {error}", entry.path().display());
        }
    }
}

/// The name of a speaker's file, without extension.
pub(crate) fn stem(user_id: &Id<'_>, channel_id: Option<&Id<'_>>, name: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() { c } else { '_' };
    let word = |text: &str| -> String { text.trim().chars().take(SHOWN_MAX).map(keep).collect() };
    let id_word = |id: &Id<'_>| match id {
        Id::Number(n) => n.to_string(),
        Id::Text(text) => word(text),
    };
    let shown = word(name);
    let user = (!user_id.is_unknown()).then(|| id_word(user_id));
    let mut stem = match (user, channel_id.map(id_word)) {
        (None, None) => return "audio-mixed".to_owned(),
        (None, Some(channel)) => format!("audio-channel-{channel}"),
        (Some(user), None) => format!("audio-{user}"),
        (Some(user), Some(channel)) => format!("audio-{user}-channel-{channel}"),
    };
    if !shown.is_empty() {
        stem.push('-');
        stem.push_str(&shown);
    }
    stem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::product::Product;
    use crate::protocol::message::{Message, Packet, decode};
    use crate::protocol::params::{AudioCodec, AudioParams};
    use crate::recorder::packet_batch::tests::packet;
    use crate::testing::scratch;

    const T: u64 = 1_767_000_000_000;
    const DATA: &str = "AQACAAMABAA=";

    fn say(media: &mut Media, meta: &mut Meta, user_id: u64, name: &str, stamp: u64) -> DropCounts {
        let mut batch = PacketBatch::default();
        batch.push(PacketKind::Audio, &packet(user_id, name, stamp, DATA));
        media.push(&batch, meta)
    }

    #[test]
    fn each_speaker_has_a_file_by_number_and_format() {
        let folder = scratch("media-speakers");
        let mut meta = Meta::default();
        let mut media = Media::open(&folder, MediaParams::default(), &meta, T);
        assert!(say(&mut media, &mut meta, 1, "Ada", T).is_meta_stale);
        say(&mut media, &mut meta, 2, "../..\0/x", T + 5);
        say(&mut media, &mut meta, 1, "Ada L.", T);
        say(&mut media, &mut meta, 0, "", T + 7);
        let granted = r#"{"audio":{"sample_rate":3}}"#;
        media.on_granted(&MediaParams::default().granted(MediaKind::Audio, granted));
        say(&mut media, &mut meta, 1, "Ada", T + 9);
        media.end();
        media.write().expect("writable");
        let names: Vec<&str> = meta.audio.iter().map(|part| part.file.as_str()).collect();
        assert_eq!(
            names,
            [
                "audio-1-Ada.wav",
                "audio-2-_______x.wav",
                "audio-mixed.wav",
                "audio-1-Ada.2.wav"
            ]
        );
        assert!(names.iter().all(|name| folder.join(name).is_file()));
        assert_eq!(meta.audio[3].first_ms, T + 9);
        // All of these files can be continued.
        let again = Media::open(&folder, MediaParams::default(), &meta, T);
        assert_eq!(again.tracks.len(), 3);
        assert_eq!(again.tracks[2].track.part().file, "audio-1-Ada.2.wav");
    }

    /// Contact Center: no user ids, no names, two speakers at once.
    #[test]
    fn each_channel_has_a_file_and_a_name_once_there_is_one() {
        let folder = scratch("media-channels");
        let mut meta = Meta::default();
        let mut media = Media::open(&folder, MediaParams::default(), &meta, T);
        let say = |media: &mut Media, meta: &mut Meta, channel: &str, stamp| {
            let mut batch = PacketBatch::default();
            let packet = Packet {
                channel_id: Id::from_text(channel),
                ..packet(0, "", stamp, DATA)
            };
            batch.push(PacketKind::Audio, &packet);
            media.push(&batch, meta);
        };
        for n in 0..3 {
            say(&mut media, &mut meta, "123abc", T + 20 * n);
            say(&mut media, &mut meta, "../e\n\u{1b}x", T + 20 * n);
        }
        let answered = r#"{"msg_type":6,"event":{"event_type":10,"event_ts":1767000000000,"participant_info":{"channel_id":"123abc","user_id":"agent-1","display_name":"Bo"}}}"#;
        let Ok(Message::Event(event)) = decode(answered, T) else {
            panic!("no event");
        };
        assert!(meta.participants.on_event(
            Product::ContactCenter,
            event.event_type,
            event.timestamp_ms,
            &event.participants
        ));
        media.on_names(&mut meta);
        say(&mut media, &mut meta, "123abc", T + 60);
        media.end();
        media.write().expect("writable");
        let found: Vec<(&str, &str)> = meta
            .audio
            .iter()
            .map(|part| (part.file.as_str(), part.user_name.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("audio-channel-123abc.wav", "Bo"),
                ("audio-channel-___e__x.wav", "")
            ]
        );
        for ((file, _), bytes) in found.into_iter().zip([44 + 32, 44 + 24]) {
            let length = fs::metadata(folder.join(file)).expect("written").len();
            assert_eq!(length, bytes, "{file}");
        }
    }

    /// An audio file that was deleted while the server was down is created again, and listed once.
    #[test]
    fn a_file_is_listed_once() {
        let folder = scratch("media-lost");
        let mut meta = Meta::default();
        let mut media = Media::open(&folder, MediaParams::default(), &meta, T);
        say(&mut media, &mut meta, 1, "Ada", T);
        media.write().expect("writable");
        fs::remove_file(folder.join("audio-1-Ada.wav")).expect("removable");
        let mut media = Media::open(&folder, MediaParams::default(), &meta, T);
        say(&mut media, &mut meta, 1, "Ada", T + 5000);
        media.write().expect("writable");
        assert_eq!(meta.audio.len(), 1);
        assert_eq!(meta.audio[0].first_ms, T + 5000);
    }

    /// Deleted while it is open: nothing that was written since the last check is lost.
    #[test]
    fn a_deleted_file_is_continued_in_a_new_part() {
        for (codec, unseen_bytes) in [
            (AudioCodec::L16, 16),
            (AudioCodec::G711, 32),
            (AudioCodec::G722, 16),
            (AudioCodec::Opus, 0),
        ] {
            let folder = scratch(&format!("media-removed-{codec:?}"));
            let mut meta = Meta::default();
            let params = MediaParams {
                audio: AudioParams::of(codec),
                ..MediaParams::default()
            };
            let mut media = Media::open(&folder, params, &meta, T);
            let say = |media: &mut Media, meta: &mut Meta, stamp| {
                // For Opus this is a packet of 20 ms.
                let mut batch = PacketBatch::default();
                batch.push(PacketKind::Audio, &packet(1, "Ada", stamp, "+AECAwQFBgc="));
                media.push(&batch, meta);
                media.write().expect("writable");
            };
            say(&mut media, &mut meta, T);
            assert!(!media.verify_linked(&mut meta).expect("writable"));
            say(&mut media, &mut meta, T + 20);
            let first = meta.audio[0].file.clone();
            fs::remove_file(folder.join(&first)).expect("removable");
            say(&mut media, &mut meta, T + 40);
            assert!(
                media.verify_linked(&mut meta).expect("writable"),
                "{codec:?}"
            );
            media.write().expect("writable");
            assert!(!media.verify_linked(&mut meta).expect("writable"), "once");
            assert_eq!(meta.audio.len(), 1);
            let second = meta.audio[0].file.clone();
            assert!(second.starts_with("audio-1-Ada.2."), "{second}");
            assert!(!folder.join(&first).exists());
            let length = || fs::metadata(folder.join(&second)).map_or(0, |meta| meta.len());
            if unseen_bytes > 0 {
                let header = if second.ends_with("wav") { 44 } else { 0 };
                assert_eq!(length(), header + unseen_bytes, "{codec:?}");
                assert!((T..T + 20).contains(&meta.audio[0].first_ms), "{codec:?}");
            }
            let before = length();
            say(&mut media, &mut meta, T + 60);
            assert!(length() > before, "{codec:?}");
            if codec == AudioCodec::Opus {
                assert_eq!(meta.audio[0].first_ms, T + 60);
            }
            // The next process can continue all of these files.
            let mut again = Media::open(&folder, params, &meta, T);
            say(&mut again, &mut meta, T + 80);
            assert_eq!(meta.audio.len(), 1);
        }
    }

    #[test]
    fn speakers_and_open_files_are_bounded() {
        let folder = scratch("media-many");
        let mut meta = Meta::default();
        let mut media = Media::open(&folder, MediaParams::default(), &meta, T);
        for user in 1..=OPEN_MAX as u64 + 20 {
            say(&mut media, &mut meta, user, "x", T);
            media.write().expect("writable");
        }
        let open = media.tracks.iter().filter(|s| s.track.is_open()).count();
        assert_eq!(open, OPEN_MAX);
        for user in 1..=SPEAKERS_MAX as u64 {
            assert_eq!(say(&mut media, &mut meta, user, "x", T + 20).dropped, 0);
        }
        assert_eq!(say(&mut media, &mut meta, u64::MAX, "x", T + 20).dropped, 1);
        assert_eq!(say(&mut media, &mut meta, 3, "x", T + 40).dropped, 0);
    }
}
