//! The files of push and lines of journals: never panics, a damaged file of cursors has no floor, and what
//! is written from what was read is read the same.

use crate::delivery::push::cursors::{Cursors, push_cursor, push_floor};
use crate::delivery::push::known;
use crate::feed::Line;

/// Panics where the above does not hold.
pub fn run(bytes: &[u8]) {
    let read = Cursors::parse(bytes);
    assert!(!read.is_damaged || read.floor == 0);
    let mut text = Vec::new();
    push_floor(&mut text, read.floor);
    for cursor in read.places.values() {
        push_cursor(&mut text, cursor);
    }
    let again = Cursors::parse(&text);
    assert!(!again.is_damaged);
    assert_eq!((again.places, again.floor), (read.places, read.floor));
    if let Some(endpoints) = known::parse(bytes) {
        let text = known::text(&endpoints);
        assert_eq!(known::parse(text.as_bytes()), Some(endpoints));
    }
    for line in bytes.split(|byte| *byte == b'\n').filter_map(Line::parse) {
        assert!(line.seq > 0 && line.data().len() < line.bytes.len());
    }
}
