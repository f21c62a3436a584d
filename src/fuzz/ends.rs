//! `ends.json`: never panics, and what is written from what was read is read the same.

use crate::delivery::ends::entry::Entries;

/// Panics where the above does not hold.
pub fn run(bytes: &[u8]) {
    let (entries, odd) = Entries::read(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(odd + entries.len() <= lines);
    let (again, odd) = Entries::read(entries.lines().as_bytes());
    assert_eq!(odd, 0);
    assert!(again.iter().eq(entries.iter()));
}
