//! Which journals were opened since this machine was started: `feed-opened` in the state directory.
//!
//! A process may be killed when the start of a stream is noted and nothing of it is written yet. Then
//! the next process finds no folder, as it does after a power cut that took the folder, or when a person
//! deleted it. Only in these two cases numbers may have been given out before.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::feed::JournalKey;

/// The file's name: a line `<boot id> <Unix milliseconds>`, then a key in each line.
const NAME: &str = "feed-opened";

/// A longer list begins again. A server that never restarts has no use for it, and one that does needs those that
/// it received a moment before.
const KEYS_MAX: usize = 16_384;

/// Bytes of such a list, with its first line.
const BYTES_MAX: u64 = 17 * KEYS_MAX as u64 + 100;

/// The journals that were opened.
#[derive(Debug)]
pub(super) struct Opened {
    keys: HashSet<JournalKey>,
    /// From when on all are known, Unix milliseconds.
    since_ms: u64,
    file: Option<File>,
}

impl Opened {
    /// Without a state directory, or where the file cannot be used, nothing is certain.
    pub(super) fn open(state: Option<&Path>, boot_id: &str, now_ms: u64) -> Opened {
        let opened = state.map(|state| Opened::read(&state.join(NAME), boot_id, now_ms));
        opened
            .and_then(|opened| opened.inspect_err(complain).ok())
            .unwrap_or_else(Opened::uncertain)
    }

    fn uncertain() -> Opened {
        Opened {
            keys: HashSet::new(),
            since_ms: u64::MAX,
            file: None,
        }
    }

    fn read(path: &Path, boot_id: &str, now_ms: u64) -> io::Result<Opened> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let mut text = String::new();
        // What is not text is as good as nothing.
        let read = Read::by_ref(&mut file)
            .take(BYTES_MAX)
            .read_to_string(&mut text);
        let known = read.ok().and_then(|_| parse(&text, boot_id));
        let (since_ms, keys) = match known.filter(|_| (text.len() as u64) < BYTES_MAX) {
            Some(known) => known,
            None => {
                begin(&mut file, boot_id, now_ms)?;
                (now_ms, HashSet::new())
            }
        };
        Ok(Opened {
            keys,
            since_ms,
            file: Some(file),
        })
    }

    /// Notes that the journal of a stream is opened, before anything is written to it. Returns whether
    /// it was certainly never opened before.
    pub(super) fn note(
        &mut self,
        key: JournalKey,
        started_ms: u64,
        boot_id: &str,
        now_ms: u64,
    ) -> bool {
        let Some(file) = &mut self.file else {
            return false;
        };
        if self.keys.contains(&key) {
            return false;
        }
        let is_full = self.keys.len() >= KEYS_MAX;
        let begun = if is_full {
            self.keys.clear();
            self.since_ms = now_ms;
            begin(file, boot_id, now_ms)
        } else {
            Ok(())
        };
        self.keys.insert(key);
        let written = begun.and_then(|()| file.write_all(format!("{key}\n").as_bytes()));
        if let Err(error) = written {
            complain(&error);
            *self = Opened::uncertain();
        }
        // One that is older than the list may have been opened before that began.
        started_ms > self.since_ms
    }
}

/// Begins the list again.
fn begin(file: &mut File, boot_id: &str, now_ms: u64) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{boot_id} {now_ms}\n").as_bytes())
}

/// The list of this boot; `None` for that of another, or for one that is damaged.
fn parse(text: &str, boot_id: &str) -> Option<(u64, HashSet<JournalKey>)> {
    let (head, rest) = text.split_once('\n')?;
    let since_ms = head
        .strip_prefix(boot_id)?
        .strip_prefix(' ')?
        .parse()
        .ok()?;
    let keys = rest.split_terminator('\n').map(str::parse);
    let is_whole = rest.is_empty() || rest.ends_with('\n');
    let keys = keys.collect::<Result<_, _>>().ok().filter(|_| is_whole)?;
    Some((since_ms, keys))
}

fn complain(error: &io::Error) {
    log::error!(
        "cannot write the list of journals in the state directory: {error}; after a crash at the start of \
         a stream, its numbers may begin at 100001"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;
    use std::fs;

    /// At a time at which no list begins.
    fn note(opened: &mut Opened, key: JournalKey, started_ms: u64) -> bool {
        opened.note(key, started_ms, "boot", 9000)
    }

    fn key(n: u64) -> JournalKey {
        format!("{n:016x}").parse().expect("a key")
    }

    #[test]
    fn j3_a_stream_of_which_nothing_was_written_is_new_and_every_other_is_not() {
        let state = scratch("feed-opened");
        let open = |boot: &str, now_ms| Opened::open(Some(&state), boot, now_ms);
        let mut first = open("boot-1", 1000);
        assert!(note(&mut first, key(1), 1001));
        assert!(!note(&mut first, key(1), 1001), "opened again");
        assert!(!note(&mut first, key(2), 900), "older than the list");
        drop(first);
        // Killed: the next process of this boot knows what was opened.
        let mut second = open("boot-1", 2000);
        assert!(!note(&mut second, key(1), 1001), "its folder was deleted");
        assert!(
            note(&mut second, key(3), 1500),
            "the process was killed before it was opened"
        );
        drop(second);
        // Another boot: what was not synced may be lost.
        let mut third = open("boot-2", 3000);
        assert!(!note(&mut third, key(1), 1001) && !note(&mut third, key(4), 2500));
        assert!(note(&mut third, key(5), 3001));
        drop(third);
        // Whatever is in the file, nothing is certain then.
        for damage in [
            "",
            "x",
            "boot-2 x\n",
            "boot-2 1\nxyz\n",
            "boot-2 1\n00",
            "\u{0}\n",
        ] {
            fs::write(state.join(NAME), damage).expect("writable");
            assert!(!note(&mut open("boot-2", 4000), key(6), 3500), "{damage:?}");
        }
        let mut none = Opened::open(None, "boot-2", 1000);
        assert!(!note(&mut none, key(7), u64::MAX - 1));
    }

    #[test]
    fn a_long_list_begins_again() {
        let state = scratch("feed-opened-long");
        let bytes = || fs::metadata(state.join(NAME)).expect("a file").len();
        // An earlier version let it grow.
        let lines = (0..70_000).map(|n| format!("{}\n", key(n)));
        let text = "boot 1000\n".to_owned() + &lines.collect::<String>();
        fs::write(state.join(NAME), text).expect("writable");
        let mut opened = Opened::open(Some(&state), "boot", 5000);
        assert!(!note(&mut opened, key(1), 4000) && note(&mut opened, key(2), 5001));
        assert!(bytes() < 100, "{}", bytes());
        // While the process runs.
        let most = KEYS_MAX as u64;
        for n in 3..=most {
            assert!(opened.note(key(n), 6000, "boot", 6001));
        }
        assert!(bytes() > 17 * most && bytes() <= BYTES_MAX, "{}", bytes());
        let mut next = opened.note(key(most + 1), 7001, "boot", 7000);
        assert!(next && bytes() < 100, "{}", bytes());
        assert!(opened.keys.len() == 1);
        // One that is running all the time is not taken for a new one, nor by the next process.
        assert!(!opened.note(key(3), 6000, "boot", 7002));
        drop(opened);
        let mut opened = Opened::open(Some(&state), "boot", 8000);
        assert!(!note(&mut opened, key(4), 6000) && !note(&mut opened, key(most + 1), 7001));
        next = note(&mut opened, key(most + 2), 7500);
        assert!(next, "begun after the list");
    }
}
