//! The names of objects in a bucket: ids, dates and our own file names, never a topic or a person's
//! name.
//!
//! `<prefix>/v1/date=2026-11-24/account=<id>/stream=<key>/<file>`; in a fleet `epoch=<n>/` stands before the
//! file.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::domain::id::Id;
use crate::domain::time::Utc;

/// The last object of a stream: once it exists, all exist.
pub const MANIFEST: &str = "manifest.json";

/// Maximum characters of an id in a name.
const ID_CHARS_MAX: usize = 64;

/// Which files are uploaded: `RTMS_S3_FILES`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileChoice {
    /// Every file that rtmsd wrote.
    #[default]
    All,
    /// Transcripts, chat, events, the journal and `meta.json`.
    Text,
}

impl FileChoice {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            FileChoice::All => "all",
            FileChoice::Text => "text",
        }
    }
}

/// A file of a stream's folder and the name of its object below the stream's own prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Relative to the stream's folder, as it is on the disk.
    pub local: String,
    /// Ids only.
    pub object: String,
}

/// The common prefix of a stream's objects, from the bucket's root on, with a slash at the end. `epoch` is
/// that of a fleet.
pub fn stream_prefix(
    prefix: &str,
    started_ms: u64,
    account_id: Option<&str>,
    key: &str,
    epoch: Option<u64>,
) -> String {
    let date = Utc::from_unix_ms(started_ms).date();
    let account = account_id.map(plain).filter(|id| !id.is_empty());
    let account = account.unwrap_or_else(|| "unknown".to_owned());
    let slash = if prefix.is_empty() { "" } else { "/" };
    let epoch = epoch.map_or_else(String::new, |epoch| format!("epoch={epoch}/"));
    format!("{prefix}{slash}v1/date={date}/account={account}/stream={key}/{epoch}")
}

/// The files to upload, in order: small text first, `meta.json` last of it.
///
/// `files` are paths below the stream's folder; `meta` is its `meta.json`, which says whose sound is
/// in which file. A file that rtmsd did not write is left where it is.
pub fn plan(files: &[String], meta: &Value, choice: FileChoice) -> Vec<Named> {
    let sound = sound_names(files, meta);
    let mut plan: Vec<(u8, Named)> = files
        .iter()
        .filter_map(|local| {
            let class = class(local)?;
            if choice == FileChoice::Text && class > META {
                return None;
            }
            let object = sound.get(local.as_str()).unwrap_or(local).clone();
            let local = local.clone();
            Some((class, Named { local, object }))
        })
        .collect();
    plan.sort_by(|(a, x), (b, y)| (a, &x.object).cmp(&(b, &y.object)));
    plan.into_iter().map(|(_, named)| named).collect()
}

const TEXT: u8 = 0;
const META: u8 = 1;
const SOUND: u8 = 2;
const PICTURES: u8 = 3;

/// The class of one of our files; `None` for other files.
fn class(local: &str) -> Option<u8> {
    match local {
        "meta.json" => return Some(META),
        "feed.jsonl" | "transcript.jsonl" | "transcript.txt" | "transcript.vtt"
        | "transcript.srt" | "events.jsonl" | "chat.jsonl" => return Some(TEXT),
        _ => {}
    }
    if let Some((folder, name)) = local.split_once('/') {
        let is_ours = matches!(folder, "video" | "share") && is_plain_name(name);
        return is_ours.then_some(PICTURES);
    }
    if local.starts_with("audio-") {
        return Some(SOUND);
    }
    let is_pictures = (local.starts_with("video.") || local.starts_with("share."))
        && local.ends_with(".h264")
        && is_plain_name(local);
    is_pictures.then_some(PICTURES)
}

/// Letters, digits and signs that every server treats as plain characters.
fn is_plain_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
}

/// A row of `meta.json` about an audio file.
#[derive(Deserialize)]
struct SoundRow {
    file: String,
    user_id: Id<'static>,
    #[serde(default)]
    channel_id: Option<Id<'static>>,
}

/// The names of the files of sound: `audio-<user_id>[-n].wav`, by the rows of `meta.json`. One that no
/// row knows gets a number only, for its own name may be a person's.
fn sound_names<'a>(files: &'a [String], meta: &Value) -> BTreeMap<&'a str, String> {
    let rows = meta["audio"].as_array().into_iter().flatten();
    let rows: Vec<SoundRow> = rows
        .filter_map(|row| SoundRow::deserialize(row).ok())
        .collect();
    let mut sound: Vec<&str> = files.iter().map(String::as_str).collect();
    sound.retain(|file| class(file) == Some(SOUND));
    sound.sort_unstable();
    // In the order of the rows, where the parts of one speaker follow each other.
    let place = |file: &str| rows.iter().position(|row| row.file == file);
    sound.sort_by_key(|file| place(file).unwrap_or(usize::MAX));
    let mut given = BTreeSet::new();
    sound
        .into_iter()
        .map(|file| {
            let stem = match place(file).map(|at| &rows[at]) {
                Some(row) => sound_stem(row),
                None => "audio-unlisted".to_owned(),
            };
            let known = ["wav", "ogg", "opus", "g722", "alaw", "rtp"];
            let end = file.rsplit_once('.').map(|(_, end)| end);
            let end = end.filter(|end| known.contains(end)).unwrap_or("bin");
            let mut object = format!("{stem}.{end}");
            let mut number = 1;
            while !given.insert(object.clone()) {
                number += 1;
                object = format!("{stem}-{number}.{end}");
            }
            (file, object)
        })
        .collect()
}

fn sound_stem(row: &SoundRow) -> String {
    let word = |id: &Id<'_>| plain(&id.to_string());
    let user = (!row.user_id.is_unknown()).then(|| word(&row.user_id));
    match (user, row.channel_id.as_ref().map(word)) {
        (None, None) => "audio-mixed".to_owned(),
        (None, Some(channel)) => format!("audio-channel-{channel}"),
        (Some(user), None) => format!("audio-{user}"),
        (Some(user), Some(channel)) => format!("audio-{user}-channel-{channel}"),
    }
}

/// An id from outside as a part of a name.
fn plain(id: &str) -> String {
    let keep = |c: char| match c {
        '-' | '_' => c,
        c if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    id.chars().take(ID_CHARS_MAX).map(keep).collect()
}

/// The content type of an object, by its name.
pub fn content_type(object: &str) -> &'static str {
    match object.rsplit_once('.').map(|(_, end)| end) {
        Some("json") => "application/json",
        Some("jsonl") => "application/x-ndjson",
        Some("txt") => "text/plain; charset=utf-8",
        Some("vtt") => "text/vtt",
        Some("srt") => "application/x-subrip",
        Some("wav") => "audio/wav",
        Some("ogg" | "opus") => "audio/ogg",
        Some("jpg") => "image/jpeg",
        Some("png") => "image/png",
        Some("h264") => "video/h264",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(files: &[&str], meta: &Value, choice: FileChoice) -> Vec<(String, String)> {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        let plan = plan(&files, meta, choice);
        plan.into_iter()
            .map(|named| (named.local, named.object))
            .collect()
    }

    #[test]
    fn the_prefix_of_a_stream_has_ids_only() {
        let day_ms = 1_795_529_590_000;
        assert_eq!(
            stream_prefix(
                "recordings/zoom",
                day_ms,
                Some("aC-1_x"),
                "bdd2d51ed67606f5",
                None
            ),
            "recordings/zoom/v1/date=2026-11-24/account=aC-1_x/stream=bdd2d51ed67606f5/"
        );
        assert_eq!(
            stream_prefix("", day_ms, None, "bdd2d51ed67606f5", None),
            "v1/date=2026-11-24/account=unknown/stream=bdd2d51ed67606f5/"
        );
        assert_eq!(
            stream_prefix("", day_ms, Some("../a b"), "k", None),
            "v1/date=2026-11-24/account=___a_b/stream=k/"
        );
        assert_eq!(
            stream_prefix("p", day_ms, Some("a"), "k", Some(3)),
            "p/v1/date=2026-11-24/account=a/stream=k/epoch=3/"
        );
    }

    #[test]
    fn object_names_contain_no_persons_name() {
        let row = |file: &str, user: Value, channel: Value| json!({"file": file, "user_id": user, "channel_id": channel, "user_name": "Ada"});
        let meta = json!({"audio": [
            row("audio-7-2-Cy.wav", json!("7-2"), Value::Null),
            row("audio-7-Ada.wav", json!(7), Value::Null),
            row("audio-7-Ada.2.wav", json!(7), Value::Null),
            row("audio-agent_1-channel-9-Bo.ogg", json!("agent/1"), json!("9")),
            row("audio-mixed.wav", json!(0), Value::Null),
            "no row",
        ]});
        let files = [
            "audio-mixed.wav",
            "audio-7-2-Cy.wav",
            "audio-7-Ada.2.wav",
            "audio-7-Ada.wav",
            "audio-agent_1-channel-9-Bo.ogg",
            "audio-8-Grace_Hopper.wav",
            "audio-9-Grace.ogg",
        ];
        let found = names(&files, &meta, FileChoice::All);
        let objects: Vec<&str> = found.iter().map(|(_, object)| object.as_str()).collect();
        assert_eq!(
            objects,
            [
                "audio-7-2.wav",
                "audio-7-3.wav",
                "audio-7.wav",
                "audio-agent_1-channel-9.ogg",
                "audio-mixed.wav",
                "audio-unlisted.ogg",
                "audio-unlisted.wav",
            ]
        );
        assert!(found.contains(&("audio-7-Ada.wav".to_owned(), "audio-7.wav".to_owned())));
        for word in ["Ada", "Bo", "Cy", "Grace"] {
            assert!(objects.iter().all(|object| !object.contains(word)));
        }
    }

    #[test]
    fn other_files_are_not_uploaded_and_text_excludes_media() {
        let files = [
            "notes of Ada.txt",
            ".meta.json.new",
            "video/00000000-T+3600000-16778240.jpg",
            "video/.hidden",
            "video/a b.jpg",
            "other/x.jpg",
            "video.h264",
            "share.2.h264",
            "meta.json",
            "transcript.vtt",
            "chat.jsonl",
            "audio-mixed.wav",
            "meeting.mp4",
        ];
        let all = names(&files, &Value::Null, FileChoice::All);
        let all: Vec<&str> = all.iter().map(|(local, _)| local.as_str()).collect();
        assert_eq!(
            all,
            [
                "chat.jsonl",
                "transcript.vtt",
                "meta.json",
                "audio-mixed.wav",
                "share.2.h264",
                "video.h264",
                "video/00000000-T+3600000-16778240.jpg",
            ]
        );
        let text = names(&files, &Value::Null, FileChoice::Text);
        let text: Vec<&str> = text.iter().map(|(local, _)| local.as_str()).collect();
        assert_eq!(text, ["chat.jsonl", "transcript.vtt", "meta.json"]);
    }
}
