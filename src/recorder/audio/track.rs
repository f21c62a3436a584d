//! One speaker's audio files: `audio-<speaker>.wav`, `.opus` or `.g722`, and further parts.
//!
//! The position of a sound in its file is its time. `meta.json` has each part's first timestamp.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::format::{Format, Part};
use super::ogg;
use super::ogg::{Page, Pages};
use super::timeline::{Place, Timeline, digest};
use super::wav;
use crate::protocol::params::Content;
use crate::recorder::rtp;
use crate::recorder::sparse_file::SparseFile;
use crate::recorder::sync_targets::SyncTargets;

/// G.722 silence must be written out, so a longer silence starts a new part.
const G722_SILENCE_MS_MAX: u64 = 600_000;
/// The smallest step of both bands, repeated. G.722 has no exact silence: a decoder's predictor
/// stays slightly off zero, at most 50 of 32,768 whatever came before (measured with ffmpeg's
/// decoder; 0xfa leaves 200).
pub const G722_SILENCE: u8 = 0xfd;

/// Maximum bytes that are copied out of a deleted file: what is written between two syncs, and some
/// silence.
const UNSEEN_BYTES_MAX: u64 = 16 << 20;

/// Maximum parts per speaker, whatever the timestamps are.
const PARTS_MAX: u32 = 1000;

/// Result of adding a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// The packet is in the file.
    Kept,
    /// The packet was received before.
    Repeat,
    /// The packet is not valid in this format.
    Malformed,
    /// The packet is in the file, in a new part.
    NewPart,
}

/// Opus packets that are not yet in a page.
#[derive(Debug)]
struct Opus {
    pages: Pages,
    page: Page,
    /// Buffer for whole pages; kept to reuse its memory.
    out: Vec<u8>,
}

impl Opus {
    fn new(pages: Pages) -> Opus {
        Opus {
            pages,
            page: Page::default(),
            out: Vec::new(),
        }
    }

    /// Calls `put` and adds the pages it makes to the file.
    fn write(
        &mut self,
        file: &mut SparseFile,
        put: impl FnOnce(&mut Pages, &mut Vec<u8>, &mut Page),
    ) {
        put(&mut self.pages, &mut self.out, &mut self.page);
        if !self.out.is_empty() {
            file.push(&self.out);
            self.out.clear();
        }
    }
}

/// One speaker's current audio file, and earlier parts that are not yet written.
#[derive(Debug)]
pub struct AudioTrack {
    folder: PathBuf,
    stem: String,
    part: Part,
    number: u32,
    file: SparseFile,
    /// Complete parts that are not yet written.
    finished_parts: Vec<SparseFile>,
    /// Parts that are complete and closed, but not synced yet.
    unsynced_parts: Vec<SparseFile>,
    time: Timeline,
    /// Length so far, in the file's clock units.
    samples_written: u64,
    opus: Option<Opus>,
    has_ended: bool,
    data_bytes_max: u64,
    /// Length of the file when it was last found in its folder.
    seen_bytes: u64,
}

impl AudioTrack {
    /// A new file for a speaker; `stem` is its name without extension. The file is created at the
    /// first write.
    pub fn new(folder: &Path, stem: String, part: Part, number: u32) -> AudioTrack {
        let mut track = AudioTrack {
            folder: folder.to_owned(),
            stem,
            file: SparseFile::new(PathBuf::new(), 0),
            finished_parts: Vec::new(),
            unsynced_parts: Vec::new(),
            part,
            number,
            time: Timeline::default(),
            samples_written: 0,
            opus: None,
            has_ended: false,
            data_bytes_max: wav::DATA_BYTES_MAX,
            seen_bytes: 0,
        };
        track.begin_part();
        track
    }

    /// Repairs and continues a file of an earlier process. `None` if that is not possible: the
    /// caller then starts the next part.
    pub fn resume(
        folder: &Path,
        stem: String,
        part: Part,
        number: u32,
    ) -> io::Result<Option<AudioTrack>> {
        let path = folder.join(&part.file);
        let mut file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let (unit_bytes, rate) = part.format.unit();
        let (units, good, opus) = match part.format {
            Format::Linear { .. } => {
                if length < wav::HEADER_BYTES {
                    return Ok(None);
                }
                let units = (length - wav::HEADER_BYTES) / unit_bytes;
                (units, wav::HEADER_BYTES + units * unit_bytes, None)
            }
            Format::Opus { .. } => match ogg::resume(&mut file)? {
                Some((pages, good)) => (pages.samples, good, Some(Opus::new(pages))),
                None => return Ok(None),
            },
            Format::G722 => (length, length, None),
        };
        if good < length {
            file.set_len(good)?;
        }
        let time = Timeline::resumed(part.first_ms, units * 1000 / rate);
        let mut track = AudioTrack {
            folder: folder.to_owned(),
            stem,
            file: SparseFile::new(path, good),
            finished_parts: Vec::new(),
            unsynced_parts: Vec::new(),
            part,
            number,
            time,
            samples_written: units,
            opus,
            has_ended: false,
            data_bytes_max: wav::DATA_BYTES_MAX,
            seen_bytes: good,
        };
        track.finish_header();
        Ok(Some(track))
    }

    /// The entry of the current file in `meta.json`.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// Duration of the current file, silence included, in milliseconds.
    pub fn covered_ms(&self) -> u64 {
        self.samples_written * 1000 / self.part.format.unit().1
    }

    /// To be called after a reconnect: Zoom may send again what it sent on the previous connection.
    pub fn on_reconnect(&mut self) {
        self.time.on_reconnect();
    }

    /// Adds a packet; [`AudioTrack::write`] writes it.
    pub fn push(&mut self, stamp_ms: u64, content: Content, bytes: &[u8]) -> PushOutcome {
        let bytes = match content {
            Content::Raw => bytes,
            Content::Rtp => match rtp::payload(bytes) {
                Some(payload) => payload,
                None => return PushOutcome::Malformed,
            },
        };
        let (unit_bytes, rate) = self.part.format.unit();
        let units = match self.part.format {
            Format::Linear { is_alaw: true, .. } | Format::G722 => bytes.len() as u64,
            // Half a sample at the end is dropped.
            Format::Linear { .. } => bytes.len() as u64 / unit_bytes,
            Format::Opus { .. } => ogg::packet_samples(bytes).unwrap_or(0),
        };
        if units == 0 {
            return PushOutcome::Malformed;
        }
        let place = self
            .time
            .place(stamp_ms, self.covered_ms(), digest(stamp_ms, bytes));
        let silence_ms = match place {
            Place::Repeat => return PushOutcome::Repeat,
            Place::Next => 0,
            Place::After(ms) => ms,
        };
        let silence = silence_ms * rate / 1000;
        let is_full = match self.part.format {
            Format::Linear { .. } => {
                (self.samples_written + silence + units) * unit_bytes > self.data_bytes_max
            }
            Format::G722 => silence_ms > G722_SILENCE_MS_MAX,
            Format::Opus { .. } => false,
        };
        let mut taken = PushOutcome::Kept;
        // Nothing may follow the end page of an Ogg stream.
        let is_full = is_full || self.has_ended && self.opus.is_some();
        if is_full && self.number < PARTS_MAX {
            self.end();
            self.next_part(stamp_ms);
            taken = PushOutcome::NewPart;
        } else if !is_full {
            self.silence(silence);
        }
        if self.part.first_ms == 0 && stamp_ms != 0 {
            self.part.first_ms = stamp_ms.saturating_sub(self.covered_ms());
            taken = PushOutcome::NewPart;
        }
        self.sound(bytes, units);
        taken
    }

    fn sound(&mut self, bytes: &[u8], units: u64) {
        match self.part.format {
            Format::Linear { is_alaw: true, .. } => {
                wav::expand_alaw(self.file.grow(2 * bytes.len()), bytes);
            }
            Format::Linear { .. } => {
                let (unit_bytes, _) = self.part.format.unit();
                self.file.push(&bytes[..(units * unit_bytes) as usize]);
            }
            Format::G722 => self.file.push(bytes),
            Format::Opus { .. } => {
                if let Some(opus) = &mut self.opus {
                    opus.write(&mut self.file, |pages, out, page| {
                        pages.packet(out, page, bytes, units);
                    });
                }
            }
        }
        self.samples_written += units;
    }

    fn silence(&mut self, units: u64) {
        if units == 0 {
            return;
        }
        match self.part.format {
            Format::Linear { .. } => {
                self.file.skip(units * self.part.format.unit().0);
                self.samples_written += units;
            }
            Format::G722 => {
                let bytes = units as usize;
                let waiting = self.file.grow(bytes);
                waiting.extend(std::iter::repeat_n(G722_SILENCE, bytes));
                self.samples_written += units;
            }
            Format::Opus { channels } => {
                if let Some(opus) = &mut self.opus {
                    opus.write(&mut self.file, |pages, out, page| {
                        pages.silence(out, page, units, channels);
                    });
                    self.samples_written = opus.pages.samples;
                }
            }
        }
    }

    /// Starts a new part if the format changes.
    pub fn change_format(&mut self, format: Format) {
        self.end();
        self.part.format = format;
        self.next_part(0);
    }

    fn next_part(&mut self, stamp_ms: u64) {
        self.number += 1;
        self.part.first_ms = stamp_ms;
        self.time = Timeline::default();
        self.begin_part();
    }

    fn begin_part(&mut self) {
        let extension = self.part.format.extension();
        // Skip a name that exists: meta.json does not list it, so we did not write that file.
        loop {
            self.part.file = match self.number {
                1 => format!("{}.{extension}", self.stem),
                n => format!("{}.{n}.{extension}", self.stem),
            };
            if self.number >= PARTS_MAX || !self.folder.join(&self.part.file).exists() {
                break;
            }
            self.number += 1;
        }
        self.samples_written = 0;
        self.opus = None;
        self.has_ended = false;
        let path = self.folder.join(&self.part.file);
        let before = std::mem::replace(&mut self.file, SparseFile::new(PathBuf::new(), 0));
        if before.is_waiting() || before.is_unsynced() {
            self.finished_parts.push(before);
        }
        self.seen_bytes = self.header_bytes();
        self.file = SparseFile::new(path, self.seen_bytes);
        match self.part.format {
            Format::Opus { channels } => {
                let mut opus = Opus::new(Pages::new(serial(&self.part)));
                opus.write(&mut self.file, |pages, out, _| pages.begin(out, channels));
                self.opus = Some(opus);
            }
            Format::Linear { .. } => self.finish_header(),
            Format::G722 => {}
        }
    }

    fn header_bytes(&self) -> u64 {
        match self.part.format {
            Format::Linear { .. } => wav::HEADER_BYTES,
            Format::Opus { .. } | Format::G722 => 0,
        }
    }

    /// Checks that the file is still in its folder. If it was deleted, starts a new part with what
    /// was written since the last check, where the format allows that. Returns whether a part was
    /// started.
    pub fn verify_linked(&mut self) -> io::Result<bool> {
        // A closed part was complete when it was closed, and its name is in the folder.
        if !self.file.is_unsynced() || !self.file.is_open() {
            return Ok(false);
        }
        self.write_header()?;
        if !self.file.is_removed()? {
            self.seen_bytes = self.file.end();
            return Ok(false);
        }
        let is_opus = matches!(self.part.format, Format::Opus { .. });
        let is_last = self.number >= PARTS_MAX || is_opus && self.has_ended;
        if is_last {
            return Ok(false);
        }
        let unseen = match is_opus {
            // Page numbers and times count from the start of the file, so pages cannot be copied.
            true => Vec::new(),
            false => self.file.read_from(self.seen_bytes, UNSEEN_BYTES_MAX)?,
        };
        let lost = std::mem::replace(&mut self.file, SparseFile::new(PathBuf::new(), 0));
        let (unit_bytes, rate) = self.part.format.unit();
        let seen_units = (self.seen_bytes - self.header_bytes()) / unit_bytes;
        let has_ended = self.has_ended;
        self.next_part(match self.part.first_ms {
            first_ms if first_ms > 0 && !unseen.is_empty() => first_ms + seen_units * 1000 / rate,
            _ => 0,
        });
        self.has_ended = has_ended;
        self.samples_written = unseen.len() as u64 / unit_bytes;
        self.file.push(&unseen);
        self.finish_header();
        log::warn!(
            "file was deleted, continuing in a new part path={} part={}",
            lost.path().display(),
            self.part.file
        );
        Ok(true)
    }

    /// Updates the sizes in the file's header with the next write.
    pub fn finish_header(&mut self) {
        if let Format::Linear {
            rate_hz, channels, ..
        } = self.part.format
        {
            let data = self.file.end() - wav::HEADER_BYTES;
            self.file.set_header(wav::header(rate_hz, channels, data));
        }
    }

    /// Marks the end of the file.
    pub fn end(&mut self) {
        self.finish_header();
        self.flush_page();
        let is_first = !std::mem::replace(&mut self.has_ended, true);
        if is_first && let Some(opus) = &mut self.opus {
            opus.write(&mut self.file, |pages, out, _| pages.end(out));
        }
    }

    /// Puts the pending Opus packets into a page, so that the file is complete after the write.
    fn flush_page(&mut self) {
        if let Some(opus) = &mut self.opus {
            opus.write(&mut self.file, Pages::flush);
        }
    }

    /// Writes everything that waits. After an error it still waits.
    pub fn write(&mut self) -> io::Result<()> {
        while let Some(part) = self.finished_parts.last_mut() {
            part.write()?;
            part.close();
            self.unsynced_parts.extend(self.finished_parts.pop());
        }
        self.flush_page();
        self.file.write()
    }

    /// Adds what must be synced for everything written so far, with a header that has its length, and
    /// from then on treats it as synced.
    pub fn take_unsynced(&mut self, targets: &mut SyncTargets) -> io::Result<()> {
        if self.file.is_open() {
            self.write_header()?;
        }
        for mut part in self.unsynced_parts.drain(..) {
            part.take_unsynced(targets);
        }
        self.file.take_unsynced(targets);
        Ok(())
    }

    /// Writes the header with the current sizes.
    pub fn write_header(&mut self) -> io::Result<()> {
        if self.file.is_unsynced() {
            self.finish_header();
            self.write()?;
        }
        Ok(())
    }

    /// Treats everything written so far as synced, because the whole file system is.
    pub fn synced(&mut self) {
        self.unsynced_parts.clear();
        self.file.synced();
    }

    /// Whether a power cut could lose something that was written.
    pub fn is_unsynced(&self) -> bool {
        self.file.is_unsynced() || !self.unsynced_parts.is_empty()
    }

    /// Whether the file is open.
    pub fn is_open(&self) -> bool {
        self.file.is_open()
    }

    /// Closes the descriptor until the next write, after writing a header with the current length.
    pub fn close(&mut self) -> io::Result<()> {
        self.write_header()?;
        self.file.close();
        Ok(())
    }

    /// Drops everything that waits and closes the file.
    pub fn discard(&mut self) {
        self.finished_parts.clear();
        self.unsynced_parts.clear();
        self.opus = None;
        self.file.discard();
    }
}

/// The serial number of an Ogg stream: any value, if it differs between files that are joined.
fn serial(part: &Part) -> u32 {
    digest(part.user_id.number().unwrap_or(0), part.file.as_bytes()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::audio::ogg::tests::pages;
    use crate::testing::scratch;

    const T: u64 = 1_767_000_000_000;
    const L16: Format = Format::Linear {
        rate_hz: 16_000,
        channels: 1,
        is_alaw: false,
    };

    fn part(format: Format) -> Part {
        Part {
            file: String::new(),
            user_id: 7.into(),
            user_name: "Ada".to_owned(),
            channel_id: None,
            format,
            first_ms: 0,
        }
    }

    fn track(folder: &Path, format: Format) -> AudioTrack {
        AudioTrack::new(folder, "audio-7".to_owned(), part(format), 1)
    }

    /// The samples of a WAV file; checks that its header has the right sizes.
    fn samples(path: &Path) -> Vec<u8> {
        let bytes = std::fs::read(path).expect("readable");
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        assert_eq!(&bytes[..4], b"RIFF");
        assert_eq!(number(4) as usize, bytes.len() - 8);
        assert_eq!(number(40) as usize, bytes.len() - 44);
        bytes[44..].to_vec()
    }

    #[test]
    fn silence_is_a_hole_and_later_sound_is_at_its_time() {
        let folder = scratch("track-mute");
        let mut track = track(&folder, L16);
        let packet = [1; 640];
        assert_eq!(track.push(T, Content::Raw, &packet), PushOutcome::NewPart);
        // Half an hour of silence, and half a sample too much.
        let late = [2; 641];
        let stamp = T + 1_800_000;
        assert_eq!(track.push(stamp, Content::Raw, &late), PushOutcome::Kept);
        assert_eq!(
            track.push(stamp, Content::Raw, &[3]),
            PushOutcome::Malformed
        );
        assert_eq!(track.push(stamp, Content::Raw, &[]), PushOutcome::Malformed);
        track.end();
        track.write().expect("writable");
        let path = folder.join("audio-7.wav");
        let found = samples(&path);
        assert_eq!(found.len(), 32 * 1_800_020);
        assert!(found[640..].starts_with(&[0; 640]));
        assert!(found.ends_with(&packet.map(|_| 2)));
        let blocks =
            std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).expect("there"));
        assert!(blocks * 512 < 1 << 20, "silence takes {blocks} blocks");
    }

    #[test]
    fn after_a_crash_the_file_is_repaired_and_continued() {
        let folder = scratch("track-crash");
        let mut first = track(&folder, L16);
        for n in 0..10 {
            first.push(T + 20 * n, Content::Raw, &[1; 640]);
            first.write().expect("writable");
        }
        let known = first.part().clone();
        drop(first);
        // The header is old, and a sample is torn.
        let path = folder.join(&known.file);
        let mut bytes = std::fs::read(&path).expect("readable");
        bytes.push(9);
        std::fs::write(&path, bytes).expect("writable");
        let mut second = AudioTrack::resume(&folder, "audio-7".to_owned(), known, 1)
            .expect("readable")
            .expect("there");
        second.write().expect("writable");
        assert_eq!(samples(&path), [1; 6400], "repaired before the next packet");
        assert_eq!(
            second.push(T + 180, Content::Raw, &[1; 640]),
            PushOutcome::Repeat
        );
        second.push(T + 1000, Content::Raw, &[2; 640]);
        second.end();
        second.write().expect("writable");
        let found = samples(&path);
        assert_eq!(found.len(), 32 * 1020);
        assert_eq!(found[6400..32_000], [0; 25_600]);
    }

    #[test]
    fn a_full_file_is_continued_in_a_next_part() {
        let folder = scratch("track-parts");
        let mut track = track(&folder, L16);
        track.data_bytes_max = 2000;
        for n in 0..7 {
            track.push(T + 20 * n, Content::Raw, &[n as u8; 640]);
        }
        assert_eq!(track.part().first_ms, T + 120);
        assert_eq!(track.number, 3);
        track.end();
        track.write().expect("writable");
        assert_eq!(samples(&folder.join("audio-7.wav")).len(), 3 * 640);
        assert_eq!(samples(&folder.join("audio-7.2.wav")).len(), 3 * 640);
        assert_eq!(samples(&folder.join("audio-7.3.wav")), [6; 640]);
    }

    #[test]
    fn no_timestamp_makes_a_large_file() {
        let folder = scratch("track-forged");
        let mut track = track(&folder, L16);
        let stamps = [
            0,
            1,
            T,
            u64::MAX,
            T * 2,
            T + 20,
            3,
            T + 40,
            4_102_444_799_999,
        ];
        for stamp in stamps {
            track.push(stamp, Content::Raw, &[1; 640]);
        }
        track.end();
        track.write().expect("writable");
        let found = samples(&folder.join("audio-7.wav"));
        assert_eq!(found.len(), 640 * stamps.len(), "no packet is lost");
    }

    #[test]
    fn alaw_is_expanded_and_g722_is_kept() {
        let folder = scratch("track-g7");
        let alaw = Format::Linear {
            rate_hz: 8000,
            channels: 1,
            is_alaw: true,
        };
        let mut wav = track(&folder, alaw);
        wav.push(T, Content::Raw, &[0x2a; 160]);
        wav.push(T + 1000, Content::Raw, &[0xd5; 160]);
        wav.end();
        wav.write().expect("writable");
        let found = samples(&folder.join("audio-7.wav"));
        assert_eq!(found.len(), 16 * 1020);
        assert!(found.starts_with(&(-32256_i16).to_le_bytes()));

        let mut raw = track(&folder, Format::G722);
        raw.push(T, Content::Raw, &[1; 160]);
        raw.push(T + 1000, Content::Raw, &[2; 160]);
        // A silence of an hour: a new part.
        raw.push(T + 3_600_000, Content::Raw, &[3; 160]);
        raw.end();
        raw.write().expect("writable");
        let found = std::fs::read(folder.join("audio-7.g722")).expect("readable");
        assert_eq!(found.len(), 8 * 1020);
        assert_eq!(found[160..8000], [G722_SILENCE; 7840]);
        assert_eq!(raw.part().first_ms, T + 3_600_000);
        assert!(folder.join("audio-7.2.g722").exists());
    }

    #[test]
    fn opus_with_silence_and_a_restart() {
        let folder = scratch("track-opus");
        let opus = Format::Opus { channels: 1 };
        let sound = [0xf8, 1, 2, 3];
        let mut first = track(&folder, opus);
        first.push(T, Content::Raw, &sound);
        first.push(T + 1020, Content::Raw, &sound);
        assert_eq!(
            first.push(T + 1040, Content::Raw, &[]),
            PushOutcome::Malformed
        );
        let rtp = [&[0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], &sound[..]].concat();
        first.push(T + 1040, Content::Rtp, &rtp);
        assert_eq!(
            first.push(T, Content::Rtp, &rtp[..9]),
            PushOutcome::Malformed
        );
        first.write().expect("writable");
        let known = first.part().clone();
        drop(first);
        let mut second = AudioTrack::resume(&folder, "audio-7".to_owned(), known, 1)
            .expect("readable")
            .expect("there");
        second.push(T + 1060, Content::Raw, &sound);
        second.end();
        second.write().expect("writable");
        let found = pages(&std::fs::read(folder.join("audio-7.opus")).expect("readable"));
        let packets: Vec<&Vec<u8>> = found[2..].iter().flat_map(|page| &page.3).collect();
        assert_eq!(packets.len(), 54);
        assert!(
            packets[1..51]
                .iter()
                .all(|packet| packet[..] == [0xf8, 0xff, 0xfe])
        );
        assert_eq!(*packets[53], sound);
        let end = found.last().expect("pages");
        assert_eq!((end.0, end.1), (4, 54 * 960));
    }
}
