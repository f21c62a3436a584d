//! The writer of what ffmpeg reads from a pipe: frames and subtitles, each with its time.

use std::io::{self, Write};
use std::path::Path;

use super::cues::without_markup;
use super::h264::{self, ParameterSets, Piece};
use super::matroska;
use super::plan::Feed;
use super::read::Frames;
use super::recording::{VideoCodec, VideoTrack};
use super::timing::{TAIL_MS, Timing};

/// Writes all of it, in the order of the times.
///
/// # Errors
/// Of the writer alone: a frame that cannot be read is left out.
pub(super) fn write<W: Write>(out: &mut W, folder: &Path, feed: &Feed<'_>) -> io::Result<()> {
    let mut writer = Writer {
        out,
        cues: &feed.cues,
        time_ms: 0,
        is_key: false,
        picture: Vec::new(),
    };
    let header = feed.track.as_ref().map(|(track, timing)| {
        let shown = track.frames.iter().zip(&timing.times);
        let size = shown
            .filter(|(_, time)| time.is_some())
            .map(|(frame, _)| frame.size)
            .next();
        (&track.codec, size.unwrap_or_default())
    });
    matroska::header(writer.out, header, !feed.cues.is_empty())?;
    if let Some((track, timing)) = &feed.track {
        match &track.codec {
            VideoCodec::H264(sets) => h264(&mut writer, folder, track, timing, sets)?,
            VideoCodec::Jpg | VideoCodec::Png => pictures(&mut writer, folder, track, timing)?,
        }
        writer.last()?;
    }
    writer.subtitles(u64::MAX)?;
    writer.out.flush()
}

/// Writes blocks in the order of their times. A picture is kept until the next one begins, because
/// further slices may follow, and because the last one needs a length.
struct Writer<'a, W> {
    out: &'a mut W,
    /// Not written yet.
    cues: &'a [(u64, u64, String)],
    time_ms: u64,
    is_key: bool,
    picture: Vec<u8>,
}

impl<W: Write> Writer<'_, W> {
    /// Begins a picture, whose bytes go to `picture`, and writes the one before.
    fn begin(&mut self, time_ms: u64, is_key: bool) -> io::Result<()> {
        if !self.picture.is_empty() {
            self.subtitles(self.time_ms)?;
            matroska::frame(self.out, self.time_ms, self.is_key, &self.picture)?;
        }
        self.picture.clear();
        (self.time_ms, self.is_key) = (time_ms, is_key);
        Ok(())
    }

    /// Writes the last picture.
    fn last(&mut self) -> io::Result<()> {
        if !self.picture.is_empty() {
            self.subtitles(self.time_ms)?;
            matroska::last_frame(self.out, self.time_ms, TAIL_MS, self.is_key, &self.picture)?;
        }
        Ok(())
    }

    /// The subtitles up to a time.
    fn subtitles(&mut self, until_ms: u64) -> io::Result<()> {
        while let Some(((start, end, text), rest)) = self.cues.split_first()
            && *start <= until_ms
        {
            matroska::subtitle(self.out, *start, end - start, &without_markup(text))?;
            self.cues = rest;
        }
        Ok(())
    }
}

fn pictures<W: Write>(
    writer: &mut Writer<'_, W>,
    folder: &Path,
    track: &VideoTrack,
    timing: &Timing,
) -> io::Result<()> {
    let mut frames = Frames::new(folder, track);
    let mut bytes = Vec::new();
    for (frame, time) in track.frames.iter().zip(&timing.times) {
        if let Some(time) = time
            && frames.read(frame, &mut bytes).is_ok()
        {
            writer.begin(*time, true)?;
            writer.picture.append(&mut bytes);
        }
    }
    Ok(())
}

fn h264<W: Write>(
    writer: &mut Writer<'_, W>,
    folder: &Path,
    track: &VideoTrack,
    timing: &Timing,
    first_sets: &ParameterSets,
) -> io::Result<()> {
    let mut frames = Frames::new(folder, track);
    let mut sets = first_sets.clone();
    // Units that came alone, ahead of their picture.
    let mut ahead = Vec::new();
    let mut bytes = Vec::new();
    let mut units = Vec::new();
    for (frame, time) in track.frames.iter().zip(&timing.times) {
        if frames.read(frame, &mut bytes).is_err() {
            continue;
        }
        let has_sets = sets.update(&bytes);
        let Some(time_ms) = *time else {
            continue;
        };
        units.clear();
        match h264::convert(&mut units, &bytes) {
            Piece::Ahead => ahead.extend_from_slice(&units),
            // Another slice of the same picture, in a message of its own.
            Piece::More if !writer.picture.is_empty() => writer.picture.extend_from_slice(&units),
            Piece::Begin | Piece::More => {
                writer.begin(time_ms, frame.is_key)?;
                if frame.is_key && !has_sets && ahead.is_empty() {
                    sets.write(&mut writer.picture);
                }
                writer.picture.append(&mut ahead);
                writer.picture.extend_from_slice(&units);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::recording::{Frame, Place};
    use super::*;

    type Block = (u8, u64, bool, Vec<u8>);

    /// The blocks of a Matroska stream: track, time, flag of a key frame, content; and the lengths
    /// of those that have one.
    fn blocks(mut bytes: &[u8]) -> (Vec<Block>, Vec<u64>) {
        let (mut found, mut lengths, mut time) = (Vec::new(), Vec::new(), 0);
        while let Some(first) = bytes.first() {
            let id_bytes = first.leading_zeros() as usize + 1;
            let (id, rest) = bytes.split_at(id_bytes);
            let (length, rest) = rest.split_at(8);
            let length = u64::from_be_bytes(length.try_into().expect("eight")) & (u64::MAX >> 8);
            // Of the segment, of which no length is known, of clusters and of groups the inside is read.
            if matches!(
                id,
                [0x18, 0x53, 0x80, 0x67] | [0x1f, 0x43, 0xb6, 0x75] | [0xa0]
            ) {
                bytes = rest;
                continue;
            }
            let (content, rest) = rest.split_at(length as usize);
            match id {
                [0xe7] => time = u64::from_be_bytes(content.try_into().expect("eight")),
                [0xa1 | 0xa3] => {
                    assert_eq!(content[1..3], [0, 0], "the time is the cluster's");
                    let track = content[0] & 0x7f;
                    found.push((track, time, content[3] & 0x80 != 0, content[4..].to_vec()));
                }
                [0x9b] => lengths.push(u64::from_be_bytes(content.try_into().expect("eight"))),
                _ => {}
            }
            bytes = rest;
        }
        (found, lengths)
    }

    #[test]
    fn frames_have_their_times_and_parameter_sets() {
        let folder = crate::testing::scratch("mux-feed");
        let sets = [0, 0, 1, 0x67, 1, 2, 3, 4, 0, 0, 1, 0x68, 5];
        // Parameter sets alone, a key frame in two pieces, one that cannot be shown, one that can, a
        // key frame without parameter sets.
        let pieces: [(&[u8], Option<u64>, bool); 6] = [
            (&sets, Some(100), false),
            (&[0, 0, 1, 0x65, 0x80, 6], Some(101), true),
            (&[0, 0, 1, 0x65, 0x40, 7], Some(102), true),
            (&[0, 0, 1, 0x41, 0x80, 8], None, false),
            (&[0, 0, 1, 0x41, 0x80, 9], Some(3_700_000), false),
            (&[0, 0, 1, 0x65, 0x80, 1], Some(3_700_040), true),
        ];
        let (mut file, mut frames) = (Vec::new(), Vec::new());
        for (bytes, _, is_key) in pieces {
            frames.push(Frame {
                stamp_ms: 0,
                user_id: 1,
                size: (320, 180),
                is_key,
                bytes: bytes.len() as u32,
                place: Place::Piece {
                    file: 0,
                    offset: file.len() as u64,
                },
            });
            file.extend_from_slice(bytes);
        }
        // What the index knows and the file does not have is left out.
        frames.push(Frame {
            place: Place::Piece {
                file: 0,
                offset: file.len() as u64,
            },
            ..frames[0].clone()
        });
        fs::write(folder.join("video.h264"), &file).expect("written");
        let mut first_sets = ParameterSets::default();
        first_sets.update(&sets);
        let track = VideoTrack {
            kind: "video",
            codec: VideoCodec::H264(first_sets),
            frames,
            files: vec!["video.h264".to_owned()],
            stops_ms: Vec::new(),
        };
        let timing = Timing {
            times: pieces
                .iter()
                .map(|piece| piece.1)
                .chain([Some(3_700_080)])
                .collect(),
            spans: Vec::new(),
        };
        let feed = Feed {
            track: Some((&track, timing)),
            cues: vec![
                (50, 60, "Ada: hi".to_owned()),
                (3_700_020, 3_700_030, "Bo".to_owned()),
            ],
        };
        let mut out = Vec::new();
        write(&mut out, &folder, &feed).expect("memory takes all");
        let set = [0, 0, 0, 5, 0x67, 1, 2, 3, 4, 0, 0, 0, 2, 0x68, 5];
        let key = [
            &set[..],
            &[0, 0, 0, 3, 0x65, 0x80, 6, 0, 0, 0, 3, 0x65, 0x40, 7],
        ]
        .concat();
        let last = [&set[..], &[0, 0, 0, 3, 0x65, 0x80, 1]].concat();
        let (found, lengths) = blocks(&out);
        assert_eq!(
            lengths,
            [10, 10, TAIL_MS],
            "of the subtitles and the last frame"
        );
        assert_eq!(
            found,
            [
                (2, 50, false, b"Ada: hi".to_vec()),
                (1, 101, true, key),
                (1, 3_700_000, false, vec![0, 0, 0, 3, 0x41, 0x80, 9]),
                (2, 3_700_020, false, b"Bo".to_vec()),
                (1, 3_700_040, false, last),
            ]
        );
        assert!(memchr::memmem::find(&out, b"V_MPEG4/ISO/AVC").is_some());
    }
}
