//! The journals that readers have open: shared and limited in number; the least recently used one
//! is closed first.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use super::key::JournalKey;
use crate::net::file_limit::file_limit;

/// Most open journals of all readers together; an eighth of the file limit if that is less.
pub(crate) const JOURNALS_OPEN_MAX: usize = 512;

/// Open files by key.
#[derive(Debug)]
pub(super) struct OpenFiles {
    files: HashMap<JournalKey, OpenFile>,
    uses: u64,
    files_max: usize,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<File>,
    incarnation: u16,
    last_use: u64,
}

impl Default for OpenFiles {
    fn default() -> OpenFiles {
        let share = usize::try_from(file_limit() / 8).unwrap_or(usize::MAX);
        OpenFiles::with_limit(JOURNALS_OPEN_MAX.min(share.max(1)))
    }
}

impl OpenFiles {
    fn with_limit(files_max: usize) -> OpenFiles {
        OpenFiles {
            files: HashMap::new(),
            uses: 0,
            files_max,
        }
    }

    /// The journal, if it is open.
    pub(super) fn get(&mut self, key: JournalKey, incarnation: u16) -> Option<Arc<File>> {
        self.uses += 1;
        let known = self.files.get_mut(&key)?;
        known.last_use = self.uses;
        (known.incarnation == incarnation).then(|| Arc::clone(&known.file))
    }

    /// Keeps a journal open that was opened meanwhile, without the lock held.
    pub(super) fn keep(&mut self, key: JournalKey, incarnation: u16, file: &Arc<File>) {
        if self.files.len() >= self.files_max && !self.files.contains_key(&key) {
            let files = self.files.iter();
            let oldest = files
                .min_by_key(|(_, file)| file.last_use)
                .map(|(key, _)| *key);
            oldest.and_then(|key| self.files.remove(&key));
        }
        self.uses += 1;
        let open = OpenFile {
            file: Arc::clone(file),
            incarnation,
            last_use: self.uses,
        };
        self.files.insert(key, open);
    }

    /// Closes a journal, after its current readers have finished.
    pub(super) fn forget(&mut self, key: JournalKey) {
        self.files.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn j10_the_least_recently_used_is_closed_first() {
        let root = scratch("feed-open");
        let path = root.join("file");
        std::fs::write(&path, "x").expect("a file");
        let key = |n: u64| -> JournalKey { format!("{n:016x}").parse().expect("a key") };
        let mut files = OpenFiles::with_limit(3);
        let open = |files: &mut OpenFiles, n: u64| {
            files.get(key(n), 0).unwrap_or_else(|| {
                let file = Arc::new(File::open(&path).expect("it opens"));
                files.keep(key(n), 0, &file);
                file
            })
        };
        for n in [0, 1, 2, 0, 3] {
            open(&mut files, n);
        }
        let mut keys: Vec<JournalKey> = files.files.keys().copied().collect();
        keys.sort_unstable();
        assert_eq!(keys, [key(0), key(2), key(3)]);
        // Another file with the same name is another file.
        let old = open(&mut files, 0);
        assert!(files.get(key(0), 1).is_none());
        files.keep(key(0), 1, &old);
        assert!(files.get(key(0), 1).is_some() && files.files.len() == 3);
        files.forget(key(0));
        assert!(files.get(key(0), 1).is_none() && files.files.len() == 2);
    }
}
