//! One recording as JSON.

use std::fs;
use std::io::{self, Read};

use serde_json::{Map, Value, json};

use crate::admin::files::media_type::{is_sound, media_type};
use crate::recorder::catalog::Recording;
use crate::recorder::meta::FILE_NAME;

/// A larger `meta.json` is none of ours.
const META_BYTES_MAX: u64 = 16 << 20;

/// `meta.json`, what `rtmsd list` says, who was there, and what the files are. For a link: without what
/// only the operator needs.
pub(super) fn meeting(recording: &Recording, is_for_link: bool) -> io::Result<Value> {
    let meta = read_meta(recording)?;
    let mut all = match is_for_link {
        true => Map::new(),
        false => meta.clone(),
    };
    if let Value::Object(listed) = recording.to_json() {
        all.extend(listed);
    }
    if is_for_link {
        all.remove("folder");
    }
    all.insert("is_open".to_owned(), recording.ended_ms.is_none().into());
    all.insert("participants".to_owned(), participants(&meta));
    all.insert("files".to_owned(), files(recording, &meta));
    Ok(Value::Object(all))
}

fn read_meta(recording: &Recording) -> io::Result<Map<String, Value>> {
    let file = fs::File::open(recording.folder.join(FILE_NAME))?;
    let mut bytes = Vec::new();
    file.take(META_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Each person once, in the order of their first coming.
fn participants(meta: &Map<String, Value>) -> Value {
    let rows = meta.get("participants").and_then(Value::as_array);
    let mut found: Vec<Value> = Vec::new();
    for row in rows.into_iter().flatten() {
        let ids = |it: &Value| {
            let id = |name: &str| it.get(name).cloned().unwrap_or_default();
            (id("user_id"), id("channel_id"), id("name"))
        };
        let name = row["user_name"].as_str().unwrap_or_default().trim();
        let name = match name {
            "" => row["mode"].as_str().unwrap_or_default(),
            name => name,
        };
        let mut person = json!({
            "user_id": row["user_id"], "name": name,
            "joined_ms": row["joined_ms"], "left_ms": row["left_ms"],
        });
        if let Some(channel_id) = row.get("channel_id") {
            person["channel_id"] = channel_id.clone();
        }
        match found.iter_mut().find(|other| ids(other) == ids(&person)) {
            Some(before) => before["left_ms"] = row["left_ms"].clone(),
            None => found.push(person),
        }
    }
    found.into()
}

fn files(recording: &Recording, meta: &Map<String, Value>) -> Value {
    let rows = meta.get("audio").and_then(Value::as_array);
    let first_ms = |name: &str| {
        let row = rows?.iter().find(|row| row["file"] == name)?;
        row["first_ms"].as_u64().filter(|ms| *ms > 0)
    };
    let file = |name: String| {
        let file = fs::metadata(recording.folder.join(&name)).ok()?;
        Some(json!({
            "name": name, "bytes": file.len(), "type": media_type(&name),
            "is_sound": is_sound(&name), "first_ms": first_ms(&name),
        }))
    };
    recording.files().into_iter().filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::testing::scratch;

    #[test]
    fn a_meeting_is_what_the_list_says_with_people_and_files() {
        let root = scratch("one-meeting");
        let folder = root.join("2026-11-24/m/s");
        fs::create_dir_all(&folder).expect("a folder");
        let meta = json!({
            "product": "meeting", "meeting_uuid": "u", "stream_id": "s", "started_ms": 1000,
            "state": "receiving", "account_id": "acc",
            "participants": [
                {"user_id": 1, "user_name": "Ada", "joined_ms": 5, "left_ms": 9},
                {"user_id": 2, "user_name": "Ines", "joined_ms": 6, "left_ms": null},
                {"user_id": 1, "user_name": "Ada", "joined_ms": 12, "left_ms": null},
                {"user_id": null, "user_name": "", "mode": "caller", "channel_id": 4},
            ],
            "audio": [{"file": "audio-1-Ada.wav", "first_ms": 1234}],
        });
        fs::write(folder.join("meta.json"), meta.to_string()).expect("a file");
        fs::write(folder.join("audio-1-Ada.wav"), [0; 100]).expect("a file");
        fs::write(folder.join(".meta.json.new"), "hidden").expect("a file");
        let recording = Recording::read(&root, Path::new("2026-11-24/m/s")).expect("one");
        let found = meeting(&recording, false).expect("JSON");
        assert_eq!(found["account_id"], "acc");
        assert_eq!(found["folder"], folder.to_str().expect("UTF-8"));
        assert_eq!(found["is_open"], true);
        assert_eq!(found["key"], recording.key.as_str());
        let people = found["participants"].as_array().expect("people");
        assert_eq!(people.len(), 3);
        assert_eq!(people[0]["name"], "Ada");
        assert_eq!(
            (&people[0]["joined_ms"], &people[0]["left_ms"]),
            (&json!(5), &Value::Null)
        );
        assert_eq!(people[2]["name"], "caller");
        assert_eq!(
            found["files"],
            json!([
                {
                    "name": "audio-1-Ada.wav", "bytes": 100, "type": "audio/wav",
                    "is_sound": true, "first_ms": 1234,
                },
                {
                    "name": "meta.json", "bytes": meta.to_string().len(),
                    "type": "application/json", "is_sound": false, "first_ms": null,
                },
            ])
        );
        let shared = meeting(&recording, true).expect("JSON");
        assert_eq!(shared.get("folder").or(shared.get("account_id")), None);
        assert_eq!(shared["participants"], found["participants"]);
    }
}
