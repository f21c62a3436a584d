//! Transcript files of one stream: one per requested format.

pub mod cues;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::append_file::{AppendFile, tail};
use super::journal::completion::{JournalTail, Recorded};
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

impl TranscriptFormats {
    /// These, and those of which there is a file already.
    pub(super) fn with_files_of(self, folder: &Path) -> TranscriptFormats {
        let is_there = |name| folder.join(name).exists();
        TranscriptFormats {
            jsonl: self.jsonl || is_there(JSONL_NAME),
            txt: self.txt || is_there("transcript.txt"),
            vtt: self.vtt || is_there("transcript.vtt"),
            srt: self.srt || is_there("transcript.srt"),
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

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jsonl,
    Txt,
    Vtt,
    Srt,
}

impl Format {
    pub(super) const ALL: [Format; 4] = [Format::Jsonl, Format::Txt, Format::Vtt, Format::Srt];

    fn terminator(self) -> &'static str {
        match self {
            Format::Jsonl | Format::Txt => "\n",
            Format::Vtt | Format::Srt => "\n\n",
        }
    }

    /// A record as it is compared. `None` for what is no record.
    fn compared(self, record: &str) -> Option<Compared> {
        let (end, text) = match self {
            Format::Jsonl | Format::Txt => ("", record),
            Format::Vtt | Format::Srt => {
                let mut lines = record.splitn(3, '\n');
                let (_, times, text) = (lines.next()?, lines.next()?, lines.next()?);
                (times.split_once(" --> ")?.1, text)
            }
        };
        let [end, text] = [end, text].map(str::to_owned);
        Some(Compared { text, end })
    }

    /// The same of a phrase that is to be written.
    fn compared_phrase(self, zero_ms: u64, phrase: &Phrase<'_>) -> Option<Compared> {
        let (mut out, mut position) = (Vec::new(), Position::default());
        match self {
            Format::Jsonl => {}
            Format::Txt => cues::text(&mut out, phrase),
            Format::Vtt => cues::vtt(&mut out, &mut position, zero_ms, phrase),
            Format::Srt => cues::srt(&mut out, &mut position, zero_ms, phrase),
        }
        let text = String::from_utf8_lossy(&out);
        self.compared(text.strip_suffix(self.terminator()).unwrap_or(&text))
    }
}

/// What of a record is the same whatever stands before it. The number of a cue and its start depend on the
/// cues before, and so does its end, but seldom.
#[derive(Debug)]
struct Compared {
    text: String,
    end: String,
}

impl PartialEq for Compared {
    fn eq(&self, other: &Compared) -> bool {
        self.text == other.text
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

    /// Adds a phrase. `zero_ms` is the zero of subtitle times, Unix milliseconds. Returns the line of
    /// `transcript.jsonl`, without its line break, where there is that file.
    pub fn push(&mut self, lines: &Lines, zero_ms: u64, phrase: &Phrase<'_>) -> Option<&[u8]> {
        // What was said cannot be unsaid in a file that only grows, and a subtitle that says it again
        // would be worse.
        if phrase.change != Change::Delete {
            for format in [Format::Txt, Format::Vtt, Format::Srt] {
                self.push_text(format, zero_ms, phrase);
            }
        }
        let out = self.jsonl.as_mut()?.record_buf();
        let from = out.len();
        lines.phrase(out, phrase);
        out.get(from..out.len() - 1)
    }

    fn push_text(&mut self, format: Format, zero_ms: u64, phrase: &Phrase<'_>) {
        match format {
            Format::Jsonl => {}
            Format::Txt => {
                if let Some(file) = &mut self.txt {
                    cues::text(file.record_buf(), phrase);
                }
            }
            Format::Vtt => {
                if let Some((file, position)) = &mut self.vtt {
                    cues::vtt(file.record_buf(), position, zero_ms, phrase);
                }
            }
            Format::Srt => {
                if let Some((file, position)) = &mut self.srt {
                    cues::srt(file.record_buf(), position, zero_ms, phrase);
                }
            }
        }
    }

    /// Adds to one of the files what the journal has and it lacks, and returns how many phrases that
    /// are. `None` where the place is not found in this part of the journal.
    pub(super) fn complete(
        &mut self,
        format: Format,
        journal: &JournalTail,
        records: &[Recorded<'_>],
        zero_ms: u64,
    ) -> Option<u64> {
        let Some(last) = self.last_records(format) else {
            return Some(0);
        };
        let phrases = records.iter().filter(|record| record.is_phrase());
        if let (Format::Jsonl, Some(file)) = (format, &mut self.jsonl) {
            let lines: Vec<&[u8]> = phrases.map(|record| &*record.line).collect();
            let last: Vec<&[u8]> = last.iter().map(|it| it.text.as_bytes()).collect();
            let present = journal.count_present(&lines, &last, |_, _| true)?;
            let missing = &lines[present..];
            for line in missing {
                file.record_buf()
                    .extend_from_slice(&[line, &b"\n"[..]].concat());
            }
            return Some(missing.len() as u64);
        }
        let phrases: Vec<Phrase<'_>> = phrases
            .filter_map(Recorded::phrase)
            .filter(|phrase| phrase.change != Change::Delete)
            .collect();
        let compared: Vec<Compared> = phrases
            .iter()
            .filter_map(|phrase| format.compared_phrase(zero_ms, phrase))
            .collect();
        let present = journal.count_present(&compared, &last, |a, b| a.end == b.end)?;
        let missing = &phrases[present..];
        for phrase in missing {
            self.push_text(format, zero_ms, phrase);
        }
        Some(missing.len() as u64)
    }

    /// The last records of a file, as they are compared; `None` without that file.
    fn last_records(&self, format: Format) -> Option<Vec<Compared>> {
        let file = match format {
            Format::Jsonl => self.jsonl.as_ref(),
            Format::Txt => self.txt.as_ref(),
            Format::Vtt => self.vtt.as_ref().map(|(file, _)| file),
            Format::Srt => self.srt.as_ref().map(|(file, _)| file),
        };
        let end = tail(&file?.path(), format.terminator()).unwrap_or_default();
        let records = end.split_terminator(format.terminator());
        Some(records.filter_map(|it| format.compared(it)).collect())
    }

    /// The files.
    pub fn files(&mut self) -> impl Iterator<Item = &mut AppendFile> {
        let subtitles = self.vtt.iter_mut().chain(&mut self.srt);
        let texts = self.jsonl.iter_mut().chain(&mut self.txt);
        texts.chain(subtitles.map(|(file, _)| file))
    }

    /// `transcript.jsonl`.
    pub fn jsonl(&mut self) -> Option<&mut AppendFile> {
        self.jsonl.as_mut()
    }

    /// The files for people, whose texts follow from the phrases.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut AppendFile> {
        let subtitles = self.vtt.iter_mut().chain(&mut self.srt);
        self.txt.iter_mut().chain(subtitles.map(|(file, _)| file))
    }

    /// Bytes of them that wait to be written.
    pub fn delayed_bytes(&self) -> usize {
        let subtitles = self.vtt.iter().chain(&self.srt);
        let texts = self.txt.iter().chain(subtitles.map(|(file, _)| file));
        texts.map(AppendFile::waiting).sum()
    }
}
