//! Deletion of a stream's files, in every day's folder below the current and the former output
//! folders.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::path::safe_name;
use super::removal;
use super::stream_files::discard_folder;
use crate::feed::epoch;

/// Deletes the folders of a stream. Without a meeting id, every meeting's folder is searched.
/// Returns how many files there were.
///
/// # Errors
/// The first folder that could not be read or deleted; the others were deleted.
pub fn delete_stream(roots: &[PathBuf], id: Option<&str>, stream_id: &str) -> io::Result<usize> {
    let mut deleted = 0;
    let mut fault = None;
    for folder in candidates(roots, id, stream_id, &mut fault) {
        // One that was being removed when the process ended.
        if let Some(hidden) = removal::hidden_folder(&folder)
            && let Err(error) = discard_folder(&hidden)
        {
            fault.get_or_insert(error);
        }
        match discard_folder(&folder) {
            Ok(files) => deleted += files,
            Err(error) => drop(fault.get_or_insert(error)),
        }
    }
    fault.map_or(Ok(deleted), Err)
}

/// The folders of a stream that are there.
pub fn find_stream(roots: &[PathBuf], id: Option<&str>, stream_id: &str) -> Vec<PathBuf> {
    let mut found = candidates(roots, id, stream_id, &mut None);
    found.retain(|folder| folder.is_dir());
    found
}

/// Where the stream may be.
fn candidates(
    roots: &[PathBuf],
    id: Option<&str>,
    stream_id: &str,
    fault: &mut Option<io::Error>,
) -> Vec<PathBuf> {
    let (meeting, stream) = (id.map(safe_name), safe_name(stream_id));
    let mut found = Vec::new();
    for root in roots {
        for day in folders(root, fault) {
            let meetings = match &meeting {
                Some(name) => vec![day.join(name)],
                None => folders(&day, fault),
            };
            for meeting in meetings {
                found.extend(epochs(&meeting, &stream, fault));
            }
        }
    }
    found
}

/// The folders of all epochs of a stream, and that of the first one in any case. One that is being removed
/// has a hidden name.
fn epochs(meeting: &Path, stream: &str, fault: &mut Option<io::Error>) -> BTreeSet<PathBuf> {
    let names = folders(meeting, fault).into_iter().filter_map(|folder| {
        let name = folder.file_name()?.to_str()?.to_owned();
        Some(removal::shown_name(&name).to_owned())
    });
    let of_stream = names.filter(|name| epoch::is_of(name, stream));
    let first = std::iter::once(stream.to_owned());
    first
        .chain(of_stream)
        .map(|name| meeting.join(name))
        .collect()
}

/// The subfolders of a folder; none if it does not exist.
fn folders(folder: &Path, fault: &mut Option<io::Error>) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                fault.get_or_insert(error);
            }
            return Vec::new();
        }
    };
    let entries = entries.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::path::stream_folder;
    use crate::testing::scratch;

    const DAY_MS: u64 = 86_400_000;

    fn write(root: &Path, started_ms: u64, id: &str, stream_id: &str) -> PathBuf {
        let folder = root.join(stream_folder(started_ms, id, stream_id));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("transcript.jsonl"), "{}\n").expect("a file");
        folder
    }

    #[test]
    fn every_day_and_every_former_folder_is_searched() {
        let (now, before) = (scratch("withdrawal-now"), scratch("withdrawal-before"));
        let roots = [now.to_path_buf(), before.to_path_buf(), now.join("never")];
        for id in [Some("a/B+c=="), None] {
            let gone = [
                write(&now, 0, "a/B+c==", "s1"),
                write(&now, 3 * DAY_MS, "a/B+c==", "s1"),
                write(&before, DAY_MS, "a/B+c==", "s1"),
            ];
            let kept = [
                write(&now, 0, "a/B+c==", "s2"),
                write(&before, DAY_MS, "other", "s10"),
            ];
            assert_eq!(delete_stream(&roots, id, "s1").expect("readable"), 3);
            assert!(gone.iter().all(|folder| !folder.exists()));
            assert!(kept.iter().all(|folder| folder.exists()));
            assert_eq!(delete_stream(&roots, id, "s1").expect("readable"), 0);
        }
        // The same stream id in another meeting is not deleted.
        write(&now, 0, "a/B+c==", "s1");
        assert_eq!(delete_stream(&roots, Some("x"), "s1").expect("readable"), 0);
    }

    /// In a fleet, a stream that came back has several folders on one node.
    #[test]
    fn every_epoch_of_the_stream_is_deleted() {
        let root = scratch("withdrawal-epochs");
        let roots = [root.to_path_buf()];
        let beside = |folder: &Path, name: &str| {
            let folder = folder.with_file_name(name);
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join("transcript.jsonl"), "{}\n").expect("a file");
            folder
        };
        for id in [Some("m"), None] {
            let first = write(&root, 0, "m", "s1");
            let name = safe_name("s1");
            let gone = [
                first.clone(),
                beside(&first, &format!("{name}.e2")),
                beside(&first, &format!("{name}.e13")),
                beside(&first, &format!(".removing-{name}.e3")),
            ];
            let kept = [
                beside(&first, &format!("{name}.e1x")),
                beside(&first, &format!("{}.e2", safe_name("s2"))),
            ];
            let found = find_stream(&roots, id, "s1");
            assert_eq!(found.len(), 3, "{found:?}");
            assert_eq!(delete_stream(&roots, id, "s1").expect("readable"), 3);
            assert!(gone.iter().all(|folder| !folder.exists()));
            assert!(kept.iter().all(|folder| folder.exists()));
            // The first one need not be here.
            let later = beside(&first, &format!("{name}.e4"));
            assert_eq!(find_stream(&roots, id, "s1"), [later]);
            assert_eq!(delete_stream(&roots, id, "s1").expect("readable"), 1);
        }
    }

    #[test]
    fn an_unreadable_folder_is_an_error_and_the_rest_is_deleted() {
        let root = scratch("withdrawal-fault");
        write(&root, 0, "m", "s1");
        fs::write(root.join("no folder"), "").expect("a file");
        let roots = [root.join("no folder"), root.to_path_buf()];
        assert!(delete_stream(&roots, None, "s1").is_err());
        assert_eq!(delete_stream(&roots[1..], None, "s1").expect("readable"), 0);
    }
}
