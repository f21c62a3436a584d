//! `ends.json`: changes are appended and synced; now and then the file is rewritten without what
//! is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::entry::{Entries, EntryChange, lines};
use crate::feed::key::JournalKey;
use crate::state::{Error, StateDir};

/// Its name in the state directory.
pub(super) const NAME: &str = "ends.json";

/// What `rtmsd check` reads of it at most.
const READ_BYTES_MAX: u64 = 64 << 20;

/// A file that has grown by this much, and to twice its size, is rewritten.
const GROWTH_BYTES: u64 = 256 << 10;

/// The file. Without a state directory nothing is kept.
#[derive(Debug)]
pub(super) struct Store {
    state: Option<Arc<StateDir>>,
    /// Open while what is in it is known to be whole.
    file: Option<File>,
    bytes: u64,
    bytes_when_new: u64,
}

impl Store {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn open(state: Option<Arc<StateDir>>) -> Result<(Store, Entries), Error> {
        let bytes = state
            .as_ref()
            .map(|state| state.read(NAME))
            .transpose()?
            .flatten();
        let (entries, odd) = Entries::read(&bytes.unwrap_or_default());
        if odd > 0 {
            log::warn!("lines of ends.json cannot be read and are left out count={odd}");
        }
        let store = Store {
            state,
            file: None,
            bytes: 0,
            bytes_when_new: 0,
        };
        Ok((store, entries))
    }

    /// Writes the file without what is done: older lines may name people.
    ///
    /// # Errors
    /// The old file is still there.
    pub(super) fn rewrite(&mut self, entries: &Entries) -> Result<(), Error> {
        self.file = None;
        match (&self.state, entries.is_empty()) {
            (Some(state), true) => state.remove(NAME),
            _ => self.save(&[], entries),
        }
    }

    /// Makes changes survive a power cut. `entries` is what they lead to.
    ///
    /// # Errors
    /// They are not there; with the next changes all is written.
    pub(super) fn save(&mut self, changes: &[EntryChange], entries: &Entries) -> Result<(), Error> {
        let Some(state) = &self.state else {
            return Ok(());
        };
        let is_long = self.bytes > 2 * self.bytes_when_new + GROWTH_BYTES;
        if let Some(file) = self.file.as_mut().filter(|_| !is_long) {
            let text = lines(changes);
            let written = file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_data());
            if written.is_ok() {
                self.bytes += text.len() as u64;
                return Ok(());
            }
            // Half a line may be in it.
            self.file = None;
        }
        let text = entries.lines();
        self.file = Some(state.replace(NAME, text.as_bytes())?);
        self.bytes = text.len() as u64;
        self.bytes_when_new = self.bytes;
        Ok(())
    }
}

/// The streams that wait for something, by the file in this state directory.
///
/// # Errors
/// It cannot be read.
pub fn waiting_in(state: &Path) -> io::Result<BTreeSet<JournalKey>> {
    let mut bytes = Vec::new();
    match File::open(state.join(NAME)) {
        Ok(file) => file.take(READ_BYTES_MAX).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let (entries, _) = Entries::read(&bytes);
    let keys = entries.iter().map(|entry| entry.key.parse());
    Ok(keys.filter_map(Result::ok).collect())
}

/// The buckets of which something is to be deleted because consent was withdrawn, with how many streams
/// have objects there; none where the file cannot be read.
pub(crate) fn deletions(state: &Path) -> BTreeMap<String, usize> {
    let mut bytes = Vec::new();
    let file = File::open(state.join(NAME));
    let read = file.and_then(|file| file.take(READ_BYTES_MAX).read_to_end(&mut bytes));
    let (entries, _) = match read {
        Ok(_) => Entries::read(&bytes),
        Err(_) => return BTreeMap::new(),
    };
    let mut buckets = BTreeMap::new();
    for delete in entries.iter().filter_map(|entry| entry.delete.as_ref()) {
        *buckets.entry(delete.bucket.clone()).or_default() += 1;
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn what_was_saved_is_there_for_the_next_process() {
        let folder = scratch("ends-store");
        let open = || {
            StateDir::open(folder.join("state"))
                .map(Arc::new)
                .expect("a directory")
        };
        let state = open();
        let (mut store, mut entries) = Store::open(Some(Arc::clone(&state))).expect("no file");
        for n in 1..=300 {
            let change = EntryChange::Entry(Box::new(entry(n)));
            entries.apply(change.clone());
            store.save(&[change], &entries).expect("a disk");
        }
        for n in 1..=2000 {
            // The last one stays, again and again.
            let change = match n % 2 {
                0 => EntryChange::Entry(Box::new(entry(300))),
                _ => EntryChange::Done(entry(n % 300).key),
            };
            entries.apply(change.clone());
            store.save(&[change], &entries).expect("a disk");
        }
        let bytes = state.read(NAME).expect("readable").expect("a file").len() as u64;
        assert!(bytes < 4 * GROWTH_BYTES, "{bytes} bytes");
        drop((store, state));
        let (_, read) = Store::open(Some(open())).expect("a file");
        assert!(!read.is_empty() && read.iter().eq(entries.iter()));
    }
}
