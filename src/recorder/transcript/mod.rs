//! The files of what is said: one for each format that is wanted.

pub mod cues;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::append_file::{AppendFile, tail};
use super::jsonl::Lines;
use crate::domain::phrase::{Change, Phrase};
use crate::protocol::stamp::AHEAD_MS_MAX;
use cues::{Position, VTT_HEADER};

/// Name of the file of JSON lines, from which a restart learns what was written last.
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
    /// In that folder, new or continued. The stream's zero was `elapsed_ms` ago: a cue that says it
    /// began much later had a stamp that cannot be true, and the next one need not follow it.
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

    /// How many phrases an earlier process wrote. The files know; `known` is what `meta.json` says,
    /// which a crash leaves behind.
    pub fn count_written(&self, known: u64) -> u64 {
        let lines = |file: &Option<AppendFile>| file.as_ref()?.count_lines().ok();
        let subtitles = self.vtt.iter().chain(&self.srt);
        let cues = subtitles.map(|(_, position)| position.number).max();
        let jsonl = lines(&self.jsonl);
        let others = cues.into_iter().chain(lines(&self.txt)).max();
        jsonl.unwrap_or(known).max(others.unwrap_or(0))
    }

    /// Adds a phrase. `zero_ms` is zero of the subtitles' time, Unix milliseconds.
    pub fn push(&mut self, lines: &Lines, zero_ms: u64, phrase: &Phrase<'_>) {
        if let Some(file) = &mut self.jsonl {
            lines.phrase(file.record_buf(), phrase);
        }
        // What was said cannot be unsaid in a file that only grows, and a subtitle that says it again
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

    /// Each of them.
    pub fn files(&mut self) -> impl Iterator<Item = &mut AppendFile> {
        let subtitles = self.vtt.iter_mut().chain(&mut self.srt);
        let texts = self.jsonl.iter_mut().chain(&mut self.txt);
        texts.chain(subtitles.map(|(file, _)| file))
    }
}
