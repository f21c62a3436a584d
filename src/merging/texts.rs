//! The files of text records: transcript, events, chat and journal, each of all epochs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

use super::epoch::Epoch;
use super::records;
use super::union::{Record, Union};
use crate::domain::phrase::Change;
use crate::feed::FEED_NAME;
use crate::recorder::append_file::create_file;
use crate::recorder::journal::completion::Recorded;
use crate::recorder::seam::phrase_of;
use crate::recorder::transcript::JSONL_NAME;
use crate::recorder::transcript::cues::{self, Position, VTT_HEADER};

/// Longest record that is read; a message of Zoom has at most 16 MiB.
const RECORD_BYTES_MAX: u64 = 64 << 20;

const TXT_NAME: &str = "transcript.txt";
const VTT_NAME: &str = "transcript.vtt";
const SRT_NAME: &str = "transcript.srt";

/// What the transcript has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Phrases {
    /// Those that change others included.
    pub(super) written: u64,
    /// Left out, because an earlier epoch has them.
    pub(super) repeated: u64,
}

/// The records of one file, or of one epoch.
type List = Box<dyn Iterator<Item = io::Result<Record>>>;

/// Reads a record; `None` for what is none, as the header of a file.
type Parse = fn(&[u8]) -> Option<Record>;

/// Whether a record of the journal stands in another file as well.
type IsOwn = fn(&Recorded<'_>) -> bool;

/// Writes every file of which an epoch has one. `zero_ms` is the zero of subtitle times.
pub(super) fn write(epochs: &[Epoch], out: &Path, zero_ms: u64) -> io::Result<Phrases> {
    for (name, is_own) in [
        ("events.jsonl", (|it| it.is_event()) as IsOwn),
        ("chat.jsonl", |it| it.is_chat()),
    ] {
        if is_anywhere(epochs, name) {
            let lists = with_journals(epochs, name, records::message, is_own)?;
            write_lines(&mut Union::of(lists), &out.join(name))?;
        }
    }
    if is_anywhere(epochs, FEED_NAME) {
        let lists = lists(epochs, FEED_NAME, "\n", records::journal)?;
        write_lines(&mut Union::of(lists), &out.join(FEED_NAME))?;
    }
    let is_text = |epoch: &Epoch| {
        [TXT_NAME, VTT_NAME, SRT_NAME]
            .iter()
            .any(|it| epoch.has(it))
    };
    let is_known = |epoch: &Epoch| epoch.has(JSONL_NAME) || epoch.has(FEED_NAME);
    match epochs.iter().all(|it| is_known(it) || !is_text(it)) {
        true => write_phrases(epochs, out, zero_ms),
        false => write_texts(epochs, out),
    }
}

/// The transcript in every format that an epoch has, all from the phrases.
fn write_phrases(epochs: &[Epoch], out: &Path, zero_ms: u64) -> io::Result<Phrases> {
    let new = |name, header| match is_anywhere(epochs, name) {
        true => Output::new(&out.join(name), header).map(Some),
        false => Ok(None),
    };
    let mut jsonl = new(JSONL_NAME, "")?;
    let mut txt = new(TXT_NAME, "")?;
    let mut vtt = new(VTT_NAME, VTT_HEADER)?;
    let mut srt = new(SRT_NAME, "")?;
    let (mut in_vtt, mut in_srt) = (Position::default(), Position::default());
    let lists = with_journals(epochs, JSONL_NAME, records::phrase, |it| it.is_phrase())?;
    let mut union = Union::of(lists);
    let mut written = 0;
    for record in union.by_ref() {
        let line = record?.text;
        written += 1;
        if let Some(file) = &mut jsonl {
            file.write(|to| {
                to.extend_from_slice(&line);
                to.push(b'\n');
            })?;
        }
        let text = std::str::from_utf8(&line).unwrap_or_default();
        // As when it was received: what was said cannot be unsaid in a text.
        let said = phrase_of(text).filter(|phrase| phrase.change != Change::Delete);
        let Some(phrase) = said else { continue };
        if let Some(file) = &mut txt {
            file.write(|to| cues::text(to, &phrase))?;
        }
        if let Some(file) = &mut vtt {
            file.write(|to| cues::vtt(to, &mut in_vtt, zero_ms, &phrase))?;
        }
        if let Some(file) = &mut srt {
            file.write(|to| cues::srt(to, &mut in_srt, zero_ms, &phrase))?;
        }
    }
    for file in [jsonl, txt, vtt, srt].into_iter().flatten() {
        file.end()?;
    }
    Ok(Phrases {
        written,
        repeated: union.repeated(),
    })
}

/// The same where of an epoch neither the lines nor the journal is left: each format from its own files.
fn write_texts(epochs: &[Epoch], out: &Path) -> io::Result<Phrases> {
    let mut most = Phrases::default();
    for (name, end, header, parse) in [
        (JSONL_NAME, "\n", "", records::phrase as Parse),
        (TXT_NAME, "\n", "", records::plain),
        (VTT_NAME, "\n\n", VTT_HEADER, records::cue),
        (SRT_NAME, "\n\n", "", records::cue),
    ] {
        if !is_anywhere(epochs, name) {
            continue;
        }
        let mut union = Union::of(lists(epochs, name, end, parse)?);
        let mut file = Output::new(&out.join(name), header)?;
        let mut number = 0;
        for record in union.by_ref() {
            let record = record?;
            number += 1;
            file.write(|to| {
                if end == "\n\n" {
                    to.extend_from_slice(format!("{number}\n").as_bytes());
                }
                to.extend_from_slice(&record.text);
                to.extend_from_slice(end.as_bytes());
            })?;
        }
        file.end()?;
        most.written = most.written.max(number);
        most.repeated = most.repeated.max(union.repeated());
    }
    Ok(most)
}

fn write_lines(
    lines: &mut impl Iterator<Item = io::Result<Record>>,
    path: &Path,
) -> io::Result<()> {
    let mut file = Output::new(path, "")?;
    for record in lines {
        let record = record?;
        file.write(|to| {
            to.extend_from_slice(&record.text);
            to.push(b'\n');
        })?;
    }
    file.end()
}

fn is_anywhere(epochs: &[Epoch], name: &str) -> bool {
    epochs.iter().any(|epoch| epoch.has(name))
}

/// The records of that file, a list for each epoch.
fn lists(epochs: &[Epoch], name: &str, end: &'static str, parse: Parse) -> io::Result<Vec<List>> {
    let lists = epochs.iter().map(|epoch| list(epoch, name, end, parse));
    lists.collect()
}

fn list(epoch: &Epoch, name: &str, end: &'static str, parse: Parse) -> io::Result<List> {
    let records = blocks(&epoch.path(name), end)?;
    Ok(Box::new(records.filter_map(move |block| {
        block.map(|block| parse(&block)).transpose()
    })))
}

/// The same with what a crash left in the journal alone.
fn with_journals(
    epochs: &[Epoch],
    name: &str,
    parse: Parse,
    is_own: IsOwn,
) -> io::Result<Vec<List>> {
    let lists = epochs.iter().map(|epoch| {
        let in_file = list(epoch, name, "\n", parse)?;
        let in_journal = blocks(&epoch.path(FEED_NAME), "\n")?;
        let in_journal = in_journal.filter_map(move |line| {
            line.map(|line| records::of_journal(&line, is_own, parse))
                .transpose()
        });
        Ok(Box::new(Union::of([in_file, Box::new(in_journal) as List])) as List)
    });
    lists.collect()
}

/// The records of a file without their terminators. One that was torn by a crash is left out. A file that
/// does not exist has none.
fn blocks(
    path: &Path,
    end: &'static str,
) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>> + use<>> {
    let mut file = match File::open(path) {
        Ok(file) => Some(BufReader::new(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let path = path.to_owned();
    Ok(std::iter::from_fn(move || {
        let block = read_block(file.as_mut()?, end.as_bytes());
        let named = |error| io::Error::other(format!("{}: {error}", path.display()));
        block.map_err(named).transpose()
    }))
}

fn read_block(file: &mut impl BufRead, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut block = Vec::new();
    let mut file = file.take(RECORD_BYTES_MAX);
    while !block.ends_with(end) {
        if file.read_until(b'\n', &mut block)? == 0 {
            return match file.limit() {
                0 => Err(ErrorKind::FileTooLarge.into()),
                _ => Ok(None),
            };
        }
    }
    block.truncate(block.len() - end.len());
    Ok(Some(block))
}

/// A file that is written from start to end.
#[derive(Debug)]
struct Output {
    file: BufWriter<File>,
    record: Vec<u8>,
}

impl Output {
    fn new(path: &Path, header: &str) -> io::Result<Output> {
        let mut file = BufWriter::new(create_file(path)?);
        file.write_all(header.as_bytes())?;
        Ok(Output {
            file,
            record: Vec::new(),
        })
    }

    fn write(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.record.clear();
        put(&mut self.record);
        self.file.write_all(&self.record)
    }

    fn end(mut self) -> io::Result<()> {
        self.file.flush()
    }
}
