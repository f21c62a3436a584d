//! Transcript files of one stream: one per requested format.

pub mod cues;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::append_file::{AppendFile, tail};
use super::jsonl::Lines;
use crate::domain::phrase::{Change, Phrase};
use crate::protocol::stamp::AHEAD_MS_MAX;
use cues::{Position, VTT_HEADER};

/// Name of the JSONL transcript, from which a restart reads the last written phrases.
pub const JSONL_NAME: &str = "transcript.jsonl";

/// Which transcript files are written: `RTMS_TRANSCRIPT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TranscriptFormats {
    /// `transcript.jsonl`.
    pub jsonl: bool,
    /// `transcript.txt`.
    pub txt: bool,
    /// `transcript.vtt`.
    pub vtt: bool,
    /// `transcript.srt`.
    pub srt: bool,
}

impl Default for TranscriptFormats {
    fn default() -> Self {
        TranscriptFormats {
            jsonl: true,
            txt: false,
            vtt: true,
            srt: false,
        }
    }
}

/// As `RTMS_TRANSCRIPT` has it.
impl fmt::Display for TranscriptFormats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats = [
            ("jsonl", self.jsonl),
            ("txt", self.txt),
            ("vtt", self.vtt),
            ("srt", self.srt),
        ];
        let wanted = formats.iter().filter(|(_, is_wanted)| *is_wanted);
        let names: Vec<&str> = wanted.map(|(name, _)| *name).collect();
        match names.as_slice() {
            [] => f.write_str("off"),
            names => f.write_str(&names.join(",")),
        }
    }
}

/// The files of one stream.
#[derive(Debug)]
pub struct Transcripts {
    jsonl: Option<AppendFile>,
    txt: Option<AppendFile>,
    vtt: Option<(AppendFile, Position)>,
    srt: Option<(AppendFile, Position)>,
}

impl Transcripts {
    /// Opens the files in that folder, new or continued. `elapsed_ms` is the time since the
    /// stream's zero: a cue that starts much later had a wrong timestamp, and the next cue need not
    /// come after it.
    pub fn open(folder: &Arc<Path>, elapsed_ms: u64, formats: TranscriptFormats) -> Transcripts {
        let file = |wanted: bool, name, header, end| {
            wanted.then(|| AppendFile::new(folder, name, header, end))
        };
        let subtitles = |wanted, name, header| {
            let file = file(wanted, name, header, "\n\n")?;
            let end = tail(&folder.join(name), "\n\n").unwrap_or_default();
            let mut position = cues::position_at_end(&end).unwrap_or_default();
            if position.start_ms > elapsed_ms.saturating_add(AHEAD_MS_MAX) {
                position.start_ms = elapsed_ms;
            }
            Some((file, position))
        };
        Transcripts {
            jsonl: file(formats.jsonl, JSONL_NAME, "", "\n"),
            txt: file(formats.txt, "transcript.txt", "", "\n"),
            vtt: subtitles(formats.vtt, "transcript.vtt", VTT_HEADER),
            srt: subtitles(formats.srt, "transcript.srt", ""),
        }
    }

    /// Number of phrases that an earlier process wrote, counted in the files. `known` is the number
    /// in `meta.json`, which is old after a crash; used if no file can be counted.
    pub fn count_written(&self, known: u64) -> u64 {
        let lines = |file: &Option<AppendFile>| file.as_ref()?.count_lines().ok();
        let subtitles = self.vtt.iter().chain(&self.srt);
        let cues = subtitles.map(|(_, position)| position.number).max();
        let jsonl = lines(&self.jsonl);
        let others = cues.into_iter().chain(lines(&self.txt)).max();
        jsonl.unwrap_or(known).max(others.unwrap_or(0))
    }

    /// Adds a phrase. `zero_ms` is the zero of subtitle times, Unix milliseconds.
    pub fn push(&mut self, lines: &Lines, zero_ms: u64, phrase: &Phrase<'_>) {
        if let Some(file) = &mut self.jsonl {
            lines.phrase(file.record_buf(), phrase);
        }
        // An append-only file cannot delete a phrase, and a further subtitle with the deleted text
        // would be worse.
        if phrase.change == Change::Delete {
            return;
        }
        if let Some(file) = &mut self.txt {
            cues::text(file.record_buf(), phrase);
        }
        if let Some((file, position)) = &mut self.vtt {
            cues::vtt(file.record_buf(), position, zero_ms, phrase);
        }
        if let Some((file, position)) = &mut self.srt {
            cues::srt(file.record_buf(), position, zero_ms, phrase);
        }
    }

    /// The files.
    pub fn files(&mut self) -> impl Iterator<Item = &mut AppendFile> {
        let subtitles = self.vtt.iter_mut().chain(&mut self.srt);
        let texts = self.jsonl.iter_mut().chain(&mut self.txt);
        texts.chain(subtitles.map(|(file, _)| file))
    }
}
