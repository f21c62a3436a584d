//! Sound as a continuous stream: its only clock are the timestamps, so a hole between them becomes silence.
//! It is the same as in the recorder's files.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::io::{self, Write};

use crate::protocol::params::{AudioCodec, AudioParams, Content};
use crate::recorder::audio::format::Format;
use crate::recorder::audio::ogg::{self, Page, Pages};
use crate::recorder::audio::timeline::{Place, Timeline, digest};
use crate::recorder::audio::track::G722_SILENCE;
use crate::recorder::audio::wav;
use crate::recorder::rtp;

/// How sound is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Samples alone: 16 bits, little-endian; G.722 as it is; Opus as Ogg.
    Raw,
    /// The same samples with the head of a WAV file in front.
    Wav,
}

impl Form {
    /// With the word on the command line.
    pub const ALL: [(Form, &'static str); 2] = [(Form::Raw, "raw"), (Form::Wav, "wav")];
}

/// Silence is written in pieces of so many bytes, or samples of Opus.
const SILENCE_PIECE: u64 = 16 << 10;
const SILENCE_PIECE_SAMPLES: u64 = 60 * ogg::RATE_HZ as u64;
/// A page of Ogg has so many samples: a tenth of a second.
const PAGE_SAMPLES: u64 = ogg::RATE_HZ as u64 / 10;

/// See the module.
#[derive(Debug)]
pub struct Sound {
    format: Format,
    content: Content,
    time: Timeline,
    /// Length so far, in the format's units.
    units: u64,
    /// Position in the stream of pages, the page that is being filled, and where it begins.
    opus: Option<(Pages, Page, u64)>,
    /// Kept to reuse its memory.
    out: Vec<u8>,
}

/// Whether sound of these parameters can be WAV.
pub fn can_be_wav(params: &AudioParams) -> bool {
    matches!(params.codec, AudioCodec::L16 | AudioCodec::G711)
}

impl Sound {
    /// What is granted, and what is written in front.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(params: &AudioParams, form: Form, to: &mut impl Write) -> io::Result<Sound> {
        let format = Format::from_params(params);
        let (mut opus, mut out) = (None, Vec::new());
        match format {
            Format::Linear {
                rate_hz, channels, ..
            } if form == Form::Wav => out = wav::open_header(rate_hz, channels),
            Format::Opus { channels } => {
                let mut pages = Pages::new(1);
                pages.begin(&mut out, channels);
                opus = Some((pages, Page::default(), 0));
            }
            Format::Linear { .. } | Format::G722 => {}
        }
        to.write_all(&out)?;
        out.clear();
        Ok(Sound {
            format,
            content: params.content,
            time: Timeline::default(),
            units: 0,
            opus,
            out,
        })
    }

    /// What follows may repeat what came before.
    pub fn on_reconnect(&mut self) {
        self.time.on_reconnect();
    }

    /// Writes a packet, and the silence before it. One that is not valid is left out.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn push(&mut self, stamp_ms: u64, bytes: &[u8], to: &mut impl Write) -> io::Result<()> {
        let bytes = match self.content {
            Content::Raw => Some(bytes),
            Content::Rtp => rtp::payload(bytes),
        };
        let (unit_bytes, rate) = self.format.unit();
        let units = bytes.map_or(0, |bytes| match self.format {
            Format::Linear { is_alaw: true, .. } | Format::G722 => bytes.len() as u64,
            Format::Linear { .. } => bytes.len() as u64 / unit_bytes,
            Format::Opus { .. } => ogg::packet_samples(bytes).unwrap_or(0),
        });
        let Some(bytes) = bytes.filter(|_| units > 0) else {
            return Ok(());
        };
        let covered_ms = self.units * 1000 / rate;
        match self
            .time
            .place(stamp_ms, covered_ms, digest(stamp_ms, bytes))
        {
            Place::Repeat => return Ok(()),
            Place::Next => {}
            Place::After(ms) => self.silence(ms * rate / 1000, to)?,
        }
        self.units += units;
        match self.format {
            Format::Linear { is_alaw: true, .. } => {
                self.out.clear();
                wav::expand_alaw(&mut self.out, bytes);
                to.write_all(&self.out)
            }
            Format::Linear { .. } => {
                let whole = usize::try_from(units * unit_bytes).unwrap_or(usize::MAX);
                to.write_all(bytes.get(..whole).unwrap_or(bytes))
            }
            Format::G722 => to.write_all(bytes),
            Format::Opus { .. } => {
                self.out.clear();
                if let Some((pages, page, begin)) = &mut self.opus {
                    pages.packet(&mut self.out, page, bytes, units);
                    if pages.samples - *begin >= PAGE_SAMPLES {
                        pages.flush(&mut self.out, page);
                        *begin = pages.samples;
                    }
                }
                to.write_all(&self.out)
            }
        }
    }

    fn silence(&mut self, units: u64, to: &mut impl Write) -> io::Result<()> {
        let unit_bytes = self.format.unit().0;
        let (byte, channels) = match self.format {
            Format::Opus { channels } => (0, channels),
            Format::G722 => (G722_SILENCE, 1),
            Format::Linear { .. } => (0, 1),
        };
        if let Some((pages, page, _)) = &mut self.opus {
            let mut left = units;
            while left > 0 {
                let piece = left.min(SILENCE_PIECE_SAMPLES);
                left -= piece;
                self.out.clear();
                pages.silence(&mut self.out, page, piece, channels);
                to.write_all(&self.out)?;
            }
            self.units = pages.samples;
            return Ok(());
        }
        self.units += units;
        let mut left = units * unit_bytes;
        self.out.clear();
        let piece = usize::try_from(left.min(SILENCE_PIECE)).unwrap_or(0);
        self.out.resize(piece, byte);
        while left > 0 {
            let now = left.min(SILENCE_PIECE);
            left -= now;
            let piece = self.out.get(..usize::try_from(now).unwrap_or(0));
            to.write_all(piece.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Writes what belongs behind the last packet.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(&mut self, to: &mut impl Write) -> io::Result<()> {
        self.out.clear();
        if let Some((pages, page, _)) = &mut self.opus {
            pages.flush(&mut self.out, page);
            pages.end(&mut self.out);
        }
        to.write_all(&self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_767_000_000_000;

    fn params(codec: AudioCodec) -> AudioParams {
        AudioParams::of(codec)
    }

    /// What is written for packets of 20 ms with these bytes, at these times after the first.
    fn written(params: &AudioParams, form: Form, packet: &[u8], at_ms: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sound = Sound::begin(params, form, &mut out).expect("memory");
        for at in at_ms {
            sound.push(T + at, packet, &mut out).expect("memory");
        }
        sound.end(&mut out).expect("memory");
        out
    }

    #[test]
    fn m5_holes_become_silence_and_repeats_nothing() {
        let l16 = params(AudioCodec::L16);
        let out = written(&l16, Form::Raw, &[1; 640], &[0, 20, 1020, 20, 1040]);
        let silence = vec![0; 32 * 980];
        assert_eq!(out, [&[1; 1280][..], &silence, &[1; 1280]].concat());
        // Half a sample is left out.
        assert_eq!(written(&l16, Form::Raw, &[1; 641], &[0]).len(), 640);
        let g722 = written(&params(AudioCodec::G722), Form::Raw, &[9; 160], &[0, 220]);
        assert_eq!(
            g722,
            [&[9; 160][..], &[G722_SILENCE; 1600], &[9; 160]].concat()
        );
        // An hour is written in pieces.
        let hour = written(&l16, Form::Raw, &[1; 640], &[0, 3_600_000]);
        assert_eq!(hour.len(), 640 + 32 * 3_600_000);
    }

    #[test]
    fn m5_alaw_is_expanded_and_wav_has_an_open_length() {
        let g711 = params(AudioCodec::G711);
        let out = written(&g711, Form::Wav, &[0xd5; 160], &[0, 20]);
        assert_eq!((&out[..4], &out[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
        assert_eq!((&out[4..8], &out[40..44]), (&[0xff; 4][..], &[0xff; 4][..]));
        assert_eq!(out[24..28], 8000_u32.to_le_bytes());
        assert_eq!(out[44..], [8, 0].repeat(320));
        assert!(can_be_wav(&g711) && !can_be_wav(&params(AudioCodec::Opus)));
    }

    #[test]
    fn m5_opus_is_ogg_with_a_page_each_tenth_of_a_second() {
        let opus = params(AudioCodec::Opus);
        let at: Vec<u64> = (0..10).map(|n| n * 20).collect();
        // CELT, 20 ms, one frame.
        let out = written(&opus, Form::Raw, &[0xf8, 1, 2], &at);
        let pages: Vec<usize> = (0..out.len())
            .filter(|at| out[*at..].starts_with(b"OggS"))
            .collect();
        assert_eq!(pages.len(), 2 + 2 + 1, "heads, two tenths, the end");
        let last = pages[4] + 6;
        let end = u64::from_le_bytes(out[last..last + 8].try_into().expect("eight"));
        assert_eq!(end, 9600);
        assert!(
            written(&opus, Form::Raw, &[], &[0]).len() < 200,
            "no packet"
        );
    }

    #[test]
    fn rtp_is_taken_off() {
        let rtp = AudioParams {
            content: Content::Rtp,
            ..params(AudioCodec::G722)
        };
        let packet = [&[0x80, 9][..], &[0; 10], &[7; 160]].concat();
        assert_eq!(written(&rtp, Form::Raw, &packet, &[0]), [7; 160]);
        assert!(written(&rtp, Form::Raw, &[1, 2, 3], &[0]).is_empty());
    }
}
