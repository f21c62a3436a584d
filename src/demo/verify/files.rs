//! Compares the files of a stream except transcripts (audio, pictures, chat, events) with what was
//! sent, byte by byte.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::phrases::{Comparison, tally};
use crate::demo::media::audio_source::{l16, tone_hz};
use crate::demo::media::sent_log::{Frame, Sent};
use crate::demo::media::video_source::pictures;
use crate::demo::player::content::{CHAT_SESSIONS, chat_id, chat_text};
use crate::demo::player::script::{DemoProduct, MeetingScript};

/// Milliseconds per audio packet.
const PACKET_MS: u64 = 20;

/// The results for each kind of media that was sent: its name and the count of its packets, frames
/// or messages. `stream` is the id of the stream, whose folder is below `out`.
///
/// Audio is compared if it became WAV from linear PCM in packets of 20 ms, as the `demo` command
/// requests it.
pub(crate) fn judge(
    out: &Path,
    stream: &str,
    script: &MeetingScript,
    sent: &[Sent],
) -> io::Result<Vec<(&'static str, Comparison)>> {
    let Some((folder, meta)) = stream_folder(out, stream)? else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no folder below {} has the stream {stream}", out.display()),
        ));
    };
    let (mut sounds, mut cameras, mut screens) = (Vec::new(), Vec::new(), Vec::new());
    let (mut chats, mut events) = (Vec::new(), Vec::new());
    for one in sent {
        match one {
            Sent::Audio { series, stamp_ms } => sounds.push((*series, *stamp_ms)),
            Sent::Video(frame) => cameras.push(*frame),
            Sent::Share(frame) => screens.push(*frame),
            Sent::Chat(index) => chats.push(*index),
            Sent::Event { number, stamp_ms } => events.push((*number, *stamp_ms)),
        }
    }
    let mut results = Vec::new();
    if !sounds.is_empty() {
        results.push(("audio", sound(&folder, &meta, script, &sounds)?));
    }
    if !cameras.is_empty() {
        results.push(("video", film(&folder, "video", &meta, &cameras)?));
    }
    if !screens.is_empty() {
        results.push(("share", film(&folder, "share", &meta, &screens)?));
    }
    if !chats.is_empty() {
        let found = lines(&folder.join("chat.jsonl"))?;
        results.push(("chat", tally(&chats, found.iter().map(chat))));
    }
    let found = lines(&folder.join("events.jsonl"))?;
    let found = found.iter().map(|line| event(script.product, line));
    results.push(("events", tally(&events, found)));
    Ok(results)
}

/// The folder with that stream's `meta.json`, and its content.
pub(crate) fn stream_folder(folder: &Path, stream: &str) -> io::Result<Option<(PathBuf, Value)>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = stream_folder(&entry.path(), stream)? {
                return Ok(Some(found));
            }
        } else if entry.file_name() == "meta.json" {
            let meta: Value = serde_json::from_slice(&fs::read(entry.path())?).unwrap_or_default();
            if meta["stream_id"] == stream {
                return Ok(Some((folder.to_owned(), meta)));
            }
        }
    }
    Ok(None)
}

/// The lines of a file; empty if there is no such file.
pub(crate) fn lines(path: &Path) -> io::Result<Vec<Value>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_default())
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Each packet must be at the position of its timestamp, in its speaker's own file, with silence
/// between packets.
fn sound(
    folder: &Path,
    meta: &Value,
    script: &MeetingScript,
    sent: &[(usize, u64)],
) -> io::Result<Comparison> {
    let series = |user_id: &Value| {
        let mut speakers = script.speakers.iter();
        speakers.position(|speaker| *user_id == speaker.user_id)
    };
    let mut found = Vec::new();
    for part in meta["audio"].as_array().into_iter().flatten() {
        let number = |key: &str| part[key].as_u64().unwrap_or(0);
        let (rate, channels) = (number("sample_rate"), number("channels"));
        let wav = fs::read(folder.join(part["file"].as_str().unwrap_or_default()))?;
        let is_true = wav.len() >= 44
            && wav.starts_with(b"RIFF")
            && wav[40..44] == (wav.len() as u32 - 44).to_le_bytes();
        let block = (rate * PACKET_MS / 1000 * 2 * channels) as usize;
        let place = series(&part["user_id"]).or((part["user_id"] == 0).then_some(0));
        let (Some(place), true, 1..) = (place, is_true, block) else {
            found.push(None);
            continue;
        };
        let tone = l16(tone_hz(place), rate as u32, channels as usize, PACKET_MS);
        for (n, bytes) in wav[44..].chunks(block).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                let stamp = number("first_ms") + PACKET_MS * n as u64;
                found.push((bytes == tone).then_some((place, stamp)));
            }
        }
    }
    // Series are in separate files, so the order between them is lost.
    let mut sent = sent.to_vec();
    sent.sort_unstable();
    found.sort_unstable();
    Ok(tally(&sent, found))
}

/// Each frame must be the picture that was sent, at the place in the index.
fn film(folder: &Path, kind: &str, meta: &Value, sent: &[Frame]) -> io::Result<Comparison> {
    let is_h264 = meta[kind]["codec"] == "h264";
    let shown = pictures(is_h264.then_some(7));
    let places: HashMap<&[u8], usize> = shown.iter().enumerate().map(|(n, p)| (*p, n)).collect();
    let whole = match is_h264 {
        true => fs::read(folder.join(format!("{kind}.h264")))?,
        false => Vec::new(),
    };
    let mut end = 0;
    let mut found = Vec::new();
    for line in lines(&folder.join(kind).join("frames.jsonl"))? {
        let still;
        let bytes: &[u8] = if is_h264 {
            let from = line["offset"].as_u64().unwrap_or(u64::MAX) as usize;
            end = from.saturating_add(line["bytes"].as_u64().unwrap_or(0) as usize);
            whole.get(from..end).unwrap_or_default()
        } else {
            let name = line["file"].as_str().unwrap_or_default();
            still = fs::read(folder.join(kind).join(name)).unwrap_or_default();
            &still
        };
        found.push(places.get(bytes).and_then(|picture| {
            Some(Frame {
                stamp_ms: line["timestamp_ms"].as_u64()?,
                user_id: line["user_id"].as_u64()?,
                picture: *picture,
            })
        }));
    }
    if whole.len() > end {
        found.push(None);
    }
    Ok(tally(sent, found))
}

fn chat(line: &Value) -> Option<u64> {
    let content = &line["content"];
    let index: u64 = content["message_id"]
        .as_str()?
        .rsplit('-')
        .next()?
        .parse()
        .ok()?;
    let (_, session) = CHAT_SESSIONS[index as usize % CHAT_SESSIONS.len()];
    let is_right = content["message_id"] == chat_id(index)
        && content["data"] == chat_text(index)
        && line["operation"] == "new"
        && line["session"] == session;
    is_right.then_some(index)
}

/// The number and the timestamp, if the name belongs to that number in the product.
fn event(product: DemoProduct, line: &Value) -> Option<(u64, u64)> {
    let number = line["event"]["event_type"].as_u64()?;
    let name = match (number, product) {
        (8, DemoProduct::ContactCenter) => "CONSUMER_ANSWERED",
        (9, DemoProduct::ContactCenter) => "CONSUMER_END",
        (1, _) => "FIRST_PACKET_TIMESTAMP",
        (2, _) => "ACTIVE_SPEAKER_CHANGE",
        (3, _) => "PARTICIPANT_JOIN",
        (4, _) => "PARTICIPANT_LEAVE",
        (5, _) => "SHARING_START",
        (8, _) => "PARTICIPANT_VIDEO_ON",
        _ => return None,
    };
    (line["name"] == name).then_some((number, line["timestamp_ms"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counts(result: &Comparison) -> [usize; 5] {
        let Comparison {
            sent,
            received,
            lost,
            doubled,
            foreign,
            ..
        } = *result;
        [sent, received, lost, doubled, foreign]
    }

    #[test]
    fn lost_moved_duplicated_and_foreign_items_are_detected() {
        let out = crate::demo::temporary_directory().expect("it is made");
        let folder = out.join("day/meeting/stream");
        fs::create_dir_all(folder.join("video")).expect("writable");
        let script = MeetingScript::plain("judge");
        let user_id = script.speakers[1].user_id;
        let write =
            |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("writable");
        let meta = json!({"stream_id": "s1", "video": {"codec": "h264"}, "audio": [{
            "file": "a.wav", "user_id": user_id, "sample_rate": 16_000, "channels": 1,
            "first_ms": 1000}]});
        write("meta.json", meta.to_string().as_bytes());
        // Sound, silence, sound; then another speaker's sound.
        let (own, other) = (
            l16(tone_hz(1), 16_000, 1, 20),
            l16(tone_hz(0), 16_000, 1, 20),
        );
        let sound = [&own[..], &[0; 640], &own, &other].concat();
        let head = [&b"RIFF"[..], &[0; 36], &(sound.len() as u32).to_le_bytes()].concat();
        write("a.wav", &[head, sound].concat());
        let clip = pictures(Some(7));
        write("video.h264", &[clip[0], clip[1], &[9]].concat());
        let line = |offset: usize, bytes: usize, stamp: u64| json!({"offset": offset, "bytes": bytes, "timestamp_ms": stamp, "user_id": 7});
        let (first, second) = (clip[0].len(), clip[1].len());
        let index = [line(0, first, 5), line(0, first, 5), line(first, second, 6)];
        write(
            "video/frames.jsonl",
            index.map(|line| format!("{line}\n")).concat().as_bytes(),
        );
        let chat = |index: u64, session: &str| {
            json!({"operation": "new", "session": session, "content":
                {"message_id": chat_id(index), "data": chat_text(index)}})
        };
        let chats = [chat(0, "everyone"), chat(1, "everyone")];
        write(
            "chat.jsonl",
            chats.map(|line| format!("{line}\n")).concat().as_bytes(),
        );
        write(
            "events.jsonl",
            b"{\"name\":\"CONSUMER_END\",\"timestamp_ms\":9,\"event\":{\"event_type\":9}}\n",
        );
        let frame = |picture: usize| Frame {
            stamp_ms: 5 + picture as u64,
            user_id: 7,
            picture,
        };
        let audio = |stamp_ms| Sent::Audio {
            series: 1,
            stamp_ms,
        };
        let sent = [
            audio(1000),
            audio(1020),
            audio(1040),
            Sent::Video(frame(0)),
            Sent::Video(frame(1)),
            Sent::Chat(0),
            Sent::Chat(1),
            Sent::Event {
                number: 9,
                stamp_ms: 9,
            },
        ];
        let results = judge(&out, "s1", &script, &sent).expect("readable");
        let results: HashMap<&str, [usize; 5]> = results
            .iter()
            .map(|(name, result)| (*name, counts(result)))
            .collect();
        assert_eq!(results["audio"], [3, 3, 1, 0, 1]);
        // A frame twice, and an additional byte.
        assert_eq!(results["video"], [2, 4, 0, 1, 1]);
        assert_eq!(results["chat"], [2, 2, 1, 0, 1]);
        // A meeting has no such event.
        assert_eq!(results["events"], [1, 1, 1, 0, 1]);
        assert!(judge(&out, "s2", &script, &sent).is_err());
        fs::remove_dir_all(out).expect("removable");
    }
}
