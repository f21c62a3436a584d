//! Iterates over the folders of streams below `RTMS_OUT`, the newest day first.

use std::fs;
use std::path::{Path, PathBuf};

use super::FEED_NAME;
use super::key::JournalKey;

/// Levels of folders below `RTMS_OUT`: day, meeting, stream.
pub(super) const DEPTH: usize = 3;

/// Iterates over the folders of streams below `RTMS_OUT`, the newest day first. No directory stays
/// open between two steps.
#[derive(Debug)]
pub struct StreamFolders {
    root: PathBuf,
    /// The oldest day to read, as its folder is named.
    from_day: Option<String>,
    /// Folders still to be read with their depth; the last one is next.
    waiting: Vec<(PathBuf, usize)>,
}

impl StreamFolders {
    /// All folders that exist now or are created during the iteration.
    pub fn below(root: &Path) -> StreamFolders {
        StreamFolders {
            root: root.to_owned(),
            from_day: None,
            waiting: vec![(root.to_owned(), 0)],
        }
    }

    /// Only those of one day.
    pub fn of_day(root: &Path, day: &str) -> StreamFolders {
        StreamFolders {
            root: root.to_owned(),
            from_day: None,
            waiting: vec![(root.join(day), 1)],
        }
    }

    /// Only those of that day, as in `2026-11-24`, and of later days.
    pub fn from_day(mut self, day: &str) -> StreamFolders {
        self.from_day = Some(day.to_owned());
        self
    }

    /// The output directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The key and folder of each stream that has a journal.
    pub fn with_journals(self) -> impl Iterator<Item = (JournalKey, PathBuf)> {
        let root = self.root.clone();
        self.filter(|folder| folder.join(FEED_NAME).is_file())
            .map(move |folder| {
                let below = folder.strip_prefix(&root).unwrap_or(&folder);
                (JournalKey::of_folder(below), folder)
            })
    }
}

/// The days of the folders below `RTMS_OUT`, from that day on, the oldest first.
pub fn days(root: &Path, from_day: &str) -> Vec<String> {
    let inside = fs::read_dir(root).into_iter().flatten().flatten();
    let is_day = |name: &str| {
        let is_plain = |b: u8| b.is_ascii_digit() || b == b'-';
        name.len() == from_day.len() && name.bytes().all(is_plain) && name >= from_day
    };
    let mut days: Vec<String> = inside
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_day(name))
        .collect();
    days.sort_unstable();
    days
}

impl Iterator for StreamFolders {
    type Item = PathBuf;

    fn next(&mut self) -> Option<PathBuf> {
        loop {
            let (folder, depth) = self.waiting.pop()?;
            if depth == DEPTH {
                return Some(folder);
            }
            // A folder that cannot be read is skipped.
            let inside = fs::read_dir(folder).into_iter().flatten().flatten();
            let from_day = self.from_day.as_deref().filter(|_| depth == 0);
            let mut inside: Vec<PathBuf> = inside
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                // Hidden ones are being removed.
                .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
                .filter(|entry| from_day.is_none_or(|day| entry.file_name().as_os_str() >= day))
                .map(|entry| entry.path())
                .collect();
            // The names of days sort by age.
            inside.sort_unstable();
            let deeper = inside.into_iter().map(|path| (path, depth + 1));
            self.waiting.extend(deeper);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn journals_are_found_by_day() {
        let root = scratch("feed-folders");
        for (folder, has_journal) in [
            ("2026-11-23/m/old", true),
            ("2026-11-24/m/a", true),
            ("2026-11-24/m/b", false),
            ("2026-11-25/n/c", true),
            ("2026-11-25/n/.removing-d", true),
        ] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
            if has_journal {
                fs::write(root.join(folder).join(FEED_NAME), "").expect("a file");
            }
        }
        let found = |folders: StreamFolders| -> Vec<String> {
            let found = folders.with_journals();
            found
                .map(|(key, folder)| {
                    let below = folder.strip_prefix(&*root).expect("below");
                    assert_eq!(key, JournalKey::of_folder(below));
                    below.display().to_string()
                })
                .collect()
        };
        assert_eq!(
            found(StreamFolders::below(&root)),
            ["2026-11-25/n/c", "2026-11-24/m/a", "2026-11-23/m/old"]
        );
        assert_eq!(
            found(StreamFolders::below(&root).from_day("2026-11-24")),
            ["2026-11-25/n/c", "2026-11-24/m/a"]
        );
        assert_eq!(StreamFolders::below(&root).count(), 4);
        assert_eq!(
            found(StreamFolders::of_day(&root, "2026-11-24")),
            ["2026-11-24/m/a"]
        );
        assert_eq!(days(&root, "2026-11-24"), ["2026-11-24", "2026-11-25"]);
        assert_eq!(days(&root.join("missing"), "2026-11-24"), [""; 0]);
    }
}
