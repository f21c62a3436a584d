//! What was recorded: streams below `RTMS_OUT` by day, and what their `meta.json` says of them.
//!
//! Nothing is indexed: the folders are the index. A search reads one day after another, the newest
//! first, and no further than its caller asks for.

mod query;
mod recording;

use std::fs;
use std::path::{Path, PathBuf};

pub use query::Query;
pub use recording::Recording;

use super::removal::place::is_day;
use super::removal::{Part, State, tombstones};

/// The recordings below a folder that a query wants: the newest day first, and within a day the
/// newest first. Reads a day when it is asked for its first recording.
#[derive(Debug)]
pub struct Search<'a> {
    root: &'a Path,
    query: &'a Query,
    /// Folders of days that are not read yet, the newest one last.
    days: Vec<String>,
    /// The day at hand, the newest one last.
    found: Vec<Recording>,
}

impl<'a> Search<'a> {
    /// Below `RTMS_OUT`, which may not exist.
    pub fn new(root: &'a Path, query: &'a Query) -> Search<'a> {
        let mut days = folders(root);
        days.retain(|day| is_day(day) && query.wants_day(day));
        days.sort_unstable();
        Search {
            root,
            query,
            days,
            found: Vec::new(),
        }
    }

    /// The recordings of one day, the newest one last.
    fn read_day(&self, day: &str) -> Vec<Recording> {
        let mut found = Vec::new();
        let day = PathBuf::from(day);
        for meeting in folders(&self.root.join(&day)) {
            let meeting = day.join(meeting);
            for stream in folders(&self.root.join(&meeting)) {
                let below = meeting.join(stream);
                let recording = Recording::read(self.root, &below);
                found.extend(recording.filter(|recording| self.query.wants(recording)));
            }
        }
        // Of those that were removed the ids are left.
        let removed = tombstones::of_day(self.root, &day.to_string_lossy());
        for tombstone in removed.unwrap_or_default() {
            let is_gone = tombstone.part == Part::All && tombstone.state != State::Kept;
            let recording = is_gone.then(|| Recording::removed(self.root, &tombstone));
            let recording = recording.filter(|it| self.query.wants(it) && !it.folder.is_dir());
            found.extend(recording);
        }
        found.sort_by(|a, b| (a.started_ms, &a.folder).cmp(&(b.started_ms, &b.folder)));
        found
    }
}

impl Iterator for Search<'_> {
    type Item = Recording;

    fn next(&mut self) -> Option<Recording> {
        while self.found.is_empty() {
            let day = self.days.pop()?;
            self.found = self.read_day(&day);
        }
        self.found.pop()
    }
}

/// The names of the folders in a folder. Links are not followed; what cannot be read holds none.
fn folders(folder: &Path) -> Vec<String> {
    let inside = fs::read_dir(folder).into_iter().flatten().flatten();
    inside
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::scratch;

    fn put(root: &Path, folder: &str, meta: &str) {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("meta.json"), meta).expect("a file");
    }

    fn meta(started_ms: u64, topic: &str) -> String {
        json!({
            "v": 1, "product": "meeting", "meeting_uuid": "a/B==", "stream_id": "s",
            "meeting_id": "84844962250", "topic": topic, "started_ms": started_ms,
            "ended_ms": started_ms + 60_000, "state": "ended", "transcripts": 2, "words": 6204,
            "speakers": ["Ada", "Ines O'Neill"], "languages": ["en"],
            "participants": {"any": "form"},
        })
        .to_string()
    }

    const NOON: u64 = 1_795_521_600_000;
    const DAY: u64 = 86_400_000;

    fn topics(root: &Path, query: &Query) -> Vec<String> {
        let topic = |recording: Recording| recording.topic.unwrap_or_default();
        Search::new(root, query).map(topic).collect()
    }

    #[test]
    fn the_newest_is_first_and_what_is_foreign_is_passed_over() {
        let root = scratch("catalog");
        put(&root, "2026-11-24/m-1/s-1", &meta(NOON, "noon"));
        put(&root, "2026-11-24/m-2/s-2", &meta(NOON + 1000, "later"));
        put(&root, "2026-11-23/m-3/s-3", &meta(NOON - DAY, "yesterday"));
        put(&root, "2026-11-24/m-4/torn", &meta(NOON, "torn")[..80]);
        put(
            &root,
            "2026-11-24/m-5/foreign",
            r#"{"topic":"no id of ours"}"#,
        );
        put(&root, "2026-11-24/m-6/empty", "");
        put(&root, "notes/m/s", &meta(NOON, "not a day"));
        fs::write(root.join("2026-11-25"), "a file").expect("a file");
        std::os::unix::fs::symlink(root.join("2026-11-24"), root.join("2026-11-26"))
            .expect("a link");
        let all = Query::default();
        assert_eq!(topics(&root, &all), ["later", "noon", "yesterday"]);
        assert!(topics(&root.join("missing"), &all).is_empty());
    }

    #[test]
    fn a_query_finds_by_text_speaker_and_time() {
        let root = scratch("catalog-query");
        put(&root, "2026-11-24/m/s", &meta(NOON, "Weekly Product SYNC"));
        put(&root, "2026-11-23/m/s", &meta(NOON - DAY, "Überblick"));
        let found = |text: &str, speaker: &str, since_ms: u64| {
            let query = Query {
                text: text.to_lowercase(),
                speaker: speaker.to_lowercase(),
                since_ms,
            };
            topics(&root, &query).len()
        };
        assert_eq!(found("", "", 0), 2);
        assert_eq!(found("product sync", "", 0), 1);
        assert_eq!(found("ÜBERBLICK", "", 0), 1);
        assert_eq!(found("84844962250", "", 0), 2);
        assert_eq!(found("848 4496 2250", "", 0), 2, "as people write numbers");
        assert_eq!(found("a/b==", "", 0), 2, "ids");
        assert_eq!(found("o'neill", "", 0), 2, "speakers");
        assert_eq!(found("unknown", "", 0), 0);
        assert_eq!(found("", "ines", 0), 2);
        assert_eq!(found("überblick", "ines", NOON - 1), 0);
        assert_eq!(found("", "", NOON - 1), 1);
    }
}
