//! The captions of a stream so far, as one WebVTT or text file, made from its journal.
//!
//! The files in the folder only grow, so what was corrected stands in them twice and what was deleted
//! stays. Here a corrected phrase is in its place, and a deleted one is gone.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

use super::catalog::Recording;
use super::seam::{phrase_of, phrase_of_journal};
use super::transcript::JSONL_NAME;
use super::transcript::cues::{self, Position, VTT_HEADER};
use crate::domain::phrase::{Change, Phrase};
use crate::feed::FEED_NAME;

/// A longer line is none of ours.
const LINE_BYTES_MAX: usize = 4 << 20;

/// The form of captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptionFormat {
    /// WebVTT.
    Vtt,
    /// Lines of text.
    Txt,
}

impl CaptionFormat {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            CaptionFormat::Vtt => "text/vtt; charset=utf-8",
            CaptionFormat::Txt => "text/plain; charset=utf-8",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            CaptionFormat::Vtt => "transcript.vtt",
            CaptionFormat::Txt => "transcript.txt",
        }
    }
}

/// Reads the phrase of a line.
type Parse = fn(&str) -> Option<Phrase<'_>>;

/// Which phrase a change is about: the speaker or the channel, and the start.
type Spoken = (String, u64);

fn spoken(phrase: &Phrase<'_>) -> Spoken {
    let who = match &phrase.channel_id {
        Some(channel) => format!("{}/{channel}", phrase.user_id),
        None => phrase.user_id.to_string(),
    };
    (who, phrase.start_ms)
}

/// What became of a phrase.
enum Changed {
    Deleted,
    Updated(String),
}

/// Writes the captions of a recording: from the journal, else from the transcript files. `may_go_on` is
/// asked before each piece.
///
/// # Errors
/// A file cannot be read, the output takes nothing, or it may not go on.
pub fn write_captions(
    recording: &Recording,
    format: CaptionFormat,
    out: &mut dyn Write,
    may_go_on: &dyn Fn() -> bool,
) -> io::Result<()> {
    let folder = recording.folder.as_path();
    let sources: [(&str, Parse); 2] = [(FEED_NAME, phrase_of_journal), (JSONL_NAME, phrase_of)];
    let mut sources = sources.into_iter();
    let Some((name, parse)) = sources.find(|(name, _)| folder.join(name).is_file()) else {
        return copy(&folder.join(format.file_name()), out, may_go_on);
    };
    let path = folder.join(name);
    let mut changes = HashMap::new();
    each_line(&path, may_go_on, |line| {
        if let Some(phrase) = parse(line)
            && phrase.change != Change::New
        {
            let changed = match phrase.change {
                Change::Delete => Changed::Deleted,
                _ => Changed::Updated(line.to_owned()),
            };
            changes.insert(spoken(&phrase), changed);
        }
        Ok(())
    })?;
    if format == CaptionFormat::Vtt {
        out.write_all(VTT_HEADER.as_bytes())?;
    }
    let (mut position, mut piece) = (Position::default(), Vec::new());
    let zero_ms = recording.started_ms;
    each_line(&path, may_go_on, |line| {
        let Some(phrase) = parse(line).filter(|phrase| phrase.change != Change::Delete) else {
            return Ok(());
        };
        // A change takes the place of its phrase; what follows of it stands there already.
        let place = spoken(&phrase);
        let text = match changes.get_mut(&place) {
            None if phrase.change == Change::New => None,
            None | Some(Changed::Deleted) => return Ok(()),
            Some(Changed::Updated(text)) => Some(std::mem::take(text)),
        };
        if text.is_some() {
            changes.insert(place, Changed::Deleted);
        }
        let updated = text.as_deref().and_then(parse);
        let phrase = updated.as_ref().unwrap_or(&phrase);
        piece.clear();
        match format {
            CaptionFormat::Vtt => cues::vtt(&mut piece, &mut position, zero_ms, phrase),
            CaptionFormat::Txt => cues::text(&mut piece, phrase),
        }
        out.write_all(&piece)
    })
}

/// Calls this with each whole line.
fn each_line(
    path: &Path,
    may_go_on: &dyn Fn() -> bool,
    mut each: impl FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 << 10, File::open(path)?);
    let mut line = Vec::new();
    loop {
        if !may_go_on() {
            return Err(ErrorKind::PermissionDenied.into());
        }
        line.clear();
        let read =
            io::Read::take(&mut reader, LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        // One that is being written has no end yet.
        if read == 0 || !line.ends_with(b"\n") {
            return Ok(());
        }
        if let Ok(text) = std::str::from_utf8(&line) {
            each(text.trim_end_matches('\n'))?;
        }
    }
}

/// The file as it is; an empty one where there is none.
fn copy(path: &Path, out: &mut dyn Write, may_go_on: &dyn Fn() -> bool) -> io::Result<()> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    match may_go_on() {
        true => out.write_all(&text),
        false => Err(ErrorKind::PermissionDenied.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::JournalKey;
    use crate::feed::kind;
    use crate::feed::line::Envelope;
    use crate::feed::tests::info;
    use crate::testing::scratch;
    use serde_json::json;

    const ZERO_MS: u64 = 1_795_529_580_000;

    fn data(who: u64, at_ms: u64, text: &str, attribute: Option<&str>) -> String {
        let mut data = json!({
            "v": 1, "type": "transcript", "user_id": who, "user_name": format!("speaker {who}"),
            "start_ms": ZERO_MS + at_ms, "end_ms": ZERO_MS + at_ms + 500,
            "timestamp_ms": ZERO_MS + at_ms + 600, "text": text,
        });
        if let Some(attribute) = attribute {
            data["attribute"] = attribute.into();
        }
        data.to_string()
    }

    fn recording(folder: &Path) -> Recording {
        let stream = folder.join("2026-11-24/m/s");
        fs::create_dir_all(&stream).expect("a folder");
        let meta = json!({
            "v": 1, "product": "meeting", "meeting_uuid": "m", "stream_id": "s",
            "started_ms": ZERO_MS, "state": "receiving",
        });
        fs::write(stream.join("meta.json"), meta.to_string()).expect("a file");
        Recording::read(folder, Path::new("2026-11-24/m/s")).expect("a recording")
    }

    fn captions(recording: &Recording, format: CaptionFormat) -> String {
        let mut out = Vec::new();
        write_captions(recording, format, &mut out, &|| true).expect("written");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn what_was_corrected_is_in_its_place_and_what_was_deleted_is_gone() {
        let root = scratch("captions");
        let recording = recording(&root);
        let key = JournalKey::of_folder(Path::new("x"));
        let mut envelope = Envelope::new(key, "/x", Some(&info("m", "s")));
        let mut text = Vec::new();
        let phrases = [
            (kind::TRANSCRIPT_PHRASE, data(1, 1000, "helo", None)),
            (kind::CHAT_MESSAGE, "{\"v\":1,\"text\":\"chat\"}".to_owned()),
            (kind::TRANSCRIPT_PHRASE, data(2, 1000, "good morning", None)),
            (kind::TRANSCRIPT_PHRASE, data(1, 3000, "a slip", None)),
            (
                kind::TRANSCRIPT_UPDATED,
                data(1, 1000, "hullo", Some("update")),
            ),
            (kind::TRANSCRIPT_DELETED, data(1, 3000, "", Some("delete"))),
            (
                kind::TRANSCRIPT_UPDATED,
                data(1, 1000, "hello", Some("update")),
            ),
            // Of which nothing came before.
            (
                kind::TRANSCRIPT_UPDATED,
                data(3, 5000, "late", Some("update")),
            ),
            (kind::TRANSCRIPT_PHRASE, data(2, 7000, "bye", None)),
        ];
        for (seq, (kind, data)) in phrases.iter().enumerate() {
            envelope.begin(&mut text, seq as u64 + 1, kind, ZERO_MS);
            text.extend_from_slice(data.as_bytes());
            Envelope::end(&mut text);
        }
        // One is being written.
        text.extend_from_slice(b"{\"pos\":\"0000");
        fs::write(recording.folder.join(FEED_NAME), &text).expect("a file");
        assert_eq!(
            captions(&recording, CaptionFormat::Txt),
            "14:13:01  speaker 1: hello\n14:13:01  speaker 2: good morning\n\
             14:13:05  speaker 3: late\n14:13:07  speaker 2: bye\n"
        );
        let vtt = captions(&recording, CaptionFormat::Vtt);
        assert!(
            vtt.starts_with("WEBVTT\n\n1\n00:00:01.000 --> 00:00:01.500\n<v speaker 1>hello\n\n")
        );
        assert_eq!(vtt.matches(" --> ").count(), 4);
        let mut out = Vec::new();
        let stopped = write_captions(&recording, CaptionFormat::Txt, &mut out, &|| false);
        assert!(stopped.is_err() && out.is_empty());
    }

    #[test]
    fn without_a_journal_the_transcript_files_are_used() {
        let root = scratch("captions-files");
        let recording = recording(&root);
        assert_eq!(captions(&recording, CaptionFormat::Txt), "");
        let put = |name: &str, text: &str| {
            fs::write(recording.folder.join(name), text).expect("a file");
        };
        put("transcript.vtt", "WEBVTT\n\n");
        assert_eq!(captions(&recording, CaptionFormat::Vtt), "WEBVTT\n\n");
        put(JSONL_NAME, &(data(1, 1000, "hello", None) + "\n"));
        assert_eq!(
            captions(&recording, CaptionFormat::Txt),
            "14:13:01  speaker 1: hello\n"
        );
    }
}
