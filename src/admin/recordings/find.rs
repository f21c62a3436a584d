//! Finds a recording by its key, or by what a person calls it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Written;
use crate::admin::line;
use crate::daemon::handle::Output;
use crate::delivery::clients::named::{Choice, Name, Search as Named};
use crate::feed::JournalKey;
use crate::feed::folders::StreamFolders;
use crate::gate::Answer;
use crate::recorder::catalog::{Query, Recording, Search};
use crate::recorder::removal::{Tombstone, tombstones};

/// Folders that are kept in mind.
const PLACES_MAX: usize = 64;

/// Where the recordings are that were asked for last: a player asks for one piece after the other, and
/// would have many folders looked through each time.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<VecDeque<(JournalKey, PathBuf)>>);

impl Places {
    /// The folder, if it is still there.
    fn get(&self, key: JournalKey) -> Option<PathBuf> {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.iter().find(|(known, _)| *known == key)?.1.clone();
        drop(places);
        place.is_dir().then_some(place)
    }

    fn add(&self, key: JournalKey, folder: &Path) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|(known, _)| *known != key);
        places.truncate(PLACES_MAX - 1);
        places.push_front((key, folder.to_owned()));
    }
}

const REVOKED: &str = "consent to this stream was withdrawn";

/// The key of the stream that is meant: by its key, its id or the beginning of one; or the newest stream
/// of a meeting, by its number or UUID.
pub(super) fn find_named(
    places: &Places,
    written: &[Written],
    name: &str,
) -> Result<JournalKey, Answer> {
    if let Ok(key) = name.parse() {
        return find(places, written, key).map(|_| key);
    }
    let meant = Name::new(name);
    let fitting = written.iter().flat_map(|Written { root, .. }| {
        let meant = &meant;
        StreamFolders::below(root).filter_map(move |folder| {
            let key = key_of(root, &folder);
            let fit = meant.fits(folder.file_name()?.to_str()?, key)?;
            Some((fit, key))
        })
    });
    match Choice::of(fitting) {
        Named::One(key) => return find(places, written, key).map(|_| key),
        Named::Several => {
            return Err(line(409, "several streams begin so; give more of the name"));
        }
        Named::None => {}
    }
    let number = name.replace([' ', '-'], "");
    let is_meant = |recording: &Recording| {
        recording.id == name || recording.meeting_id.as_deref() == Some(number.as_str())
    };
    let query = Query::default();
    let found = written.iter();
    let found = found.filter_map(|it| Search::new(&it.root, &query).find(is_meant));
    let newest = found.max_by_key(|recording| recording.started_ms);
    match newest.and_then(|newest| newest.key.parse().ok()) {
        Some(key) => find(places, written, key).map(|_| key),
        None => {
            let named = |it: &Tombstone| meant.fits(it.place.stream(), it.key()).is_some();
            let none = || line(404, "there is no such stream or meeting");
            let removed = written.iter().find_map(|it| removed(&it.root, named));
            Err(removed.unwrap_or_else(none))
        }
    }
}

/// That the stream was removed, if it was.
fn removed(root: &Path, is_meant: impl Fn(&Tombstone) -> bool) -> Option<Answer> {
    let tombstone = tombstones::newest(root, is_meant)?;
    Some(line(410, &tombstone.words()))
}

fn key_of(root: &Path, folder: &Path) -> JournalKey {
    JournalKey::of_folder(folder.strip_prefix(root).unwrap_or(folder))
}

/// The recording of that stream, unless consent to it was withdrawn, and who wrote it.
pub(super) fn find<'a>(
    places: &Places,
    written: &'a [Written],
    key: JournalKey,
) -> Result<(&'a Written, Recording), Answer> {
    let mut refusal = line(404, "there is no such stream");
    for one in written {
        match find_in(places, one, key) {
            Ok(Some(recording)) => return Ok((one, recording)),
            Ok(None) => {}
            Err(revoked) => refusal = revoked,
        }
    }
    Err(refusal)
}

/// The recording of one app; the error is that consent was withdrawn.
fn find_in(places: &Places, one: &Written, key: JournalKey) -> Result<Option<Recording>, Answer> {
    let Written { output, root } = one;
    if output.is_revoked(key) {
        return Err(line(410, REVOKED));
    }
    let on_board = output.board.as_ref().and_then(|board| board.get(key));
    let folder = match on_board {
        Some(journal) => Some(journal.folder.to_path_buf()),
        None => places.get(key).or_else(|| {
            let mut folders = StreamFolders::below(root);
            let found = folders.find(|folder| key_of(root, folder) == key)?;
            places.add(key, &found);
            Some(found)
        }),
    };
    let recording = folder.and_then(|folder| {
        let below = folder.strip_prefix(root).ok()?;
        Recording::read(root, below)
    });
    match recording {
        Some(recording) if is_revoked(output, &recording) => Err(line(410, REVOKED)),
        Some(recording) => Ok(Some(recording)),
        None => removed(root, |it| it.key() == key).map_or(Ok(None), Err),
    }
}

pub(super) fn is_revoked(output: &Output, recording: &Recording) -> bool {
    let key = recording.key.parse();
    recording.is_revoked || key.is_ok_and(|key| output.is_revoked(key))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::scratch;

    fn put(root: &Path, folder: &str, number: &str, started_ms: u64) {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        let stream = folder.file_name().and_then(|it| it.to_str()).unwrap_or("");
        let meta = serde_json::json!({
            "product": "meeting", "meeting_uuid": format!("uuid-{number}"), "stream_id": stream,
            "meeting_id": number, "started_ms": started_ms, "state": "ended",
        });
        fs::write(folder.join("meta.json"), meta.to_string()).expect("a file");
    }

    #[test]
    fn g3_a_stream_is_named_by_key_id_or_beginning_and_a_meeting_is_its_newest_one() {
        let root = scratch("find-named");
        put(&root, "2026-11-23/m-1/stream-aa", "84844962250", 1);
        put(&root, "2026-11-24/m-1/stream-ab", "84844962250", 2);
        put(&root, "2026-11-24/m-2/other", "777", 3);
        let output = Output {
            root: Some(root.to_path_buf()),
            board: None,
        };
        let written = [Written {
            output,
            root: root.to_path_buf(),
        }];
        let key = |folder: &str| JournalKey::of_folder(Path::new(folder));
        let (old, new) = (
            key("2026-11-23/m-1/stream-aa"),
            key("2026-11-24/m-1/stream-ab"),
        );
        for (name, expected) in [
            (old.to_string(), Ok(old)),
            (old.to_string()[..6].to_owned(), Ok(old)),
            ("stream-aa".to_owned(), Ok(old)),
            ("stream-".to_owned(), Err(409)),
            ("strea".to_owned(), Err(404)),
            ("848 4496 2250".to_owned(), Ok(new)),
            ("uuid-84844962250".to_owned(), Ok(new)),
            ("778".to_owned(), Err(404)),
            ("0123456789abcdef".to_owned(), Err(404)),
        ] {
            let found =
                find_named(&Places::default(), &written, &name).map_err(|answer| answer.status);
            assert_eq!(found, expected, "{name}");
        }
    }
}
