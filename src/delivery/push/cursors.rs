//! The file of an endpoint's cursors: what a restart needs to know of its progress.
//!
//! Text, append-only: `<key> <seq> <offset>`, the newest line of a key counts; and `floor <pos>`, up
//! to which everything in journals that are not named has been delivered. So a new endpoint is a file
//! with nothing but a floor, and a stream that has ended and is delivered can leave the file.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::HashMap;
use std::io::Write as _;

use crate::feed::cursor::Cursor;
use crate::feed::key::JournalKey;

/// What a file of cursors says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// By the key of the journal.
    pub places: HashMap<JournalKey, Cursor>,
    /// `pos` up to which everything else is delivered; 0 for nothing.
    pub floor: u64,
    /// Something in the file cannot be read, so a key may be missing: the floor is then 0.
    pub is_damaged: bool,
}

impl Cursors {
    /// Reads a file, whatever is in it. A last line that was cut off by a crash is ignored; any other
    /// that cannot be read is damage.
    pub fn parse(bytes: &[u8]) -> Cursors {
        let mut found = Cursors::default();
        let mut has_floor = false;
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else {
                break;
            };
            match read(line) {
                Some(Line::Place(cursor)) => drop(found.places.insert(cursor.key, cursor)),
                Some(Line::Floor(floor)) => {
                    found.floor = floor;
                    has_floor = true;
                }
                None => found.is_damaged = true,
            }
        }
        found.is_damaged |= !has_floor;
        if found.is_damaged {
            found.floor = 0;
        }
        found
    }
}

enum Line {
    Place(Cursor),
    Floor(u64),
}

fn read(line: &[u8]) -> Option<Line> {
    let text = std::str::from_utf8(line).ok()?;
    let Some(pos) = text.strip_prefix("floor ") else {
        return text.parse().ok().map(Line::Place);
    };
    // `parse` alone would take a sign.
    let is_plain = pos.bytes().all(|b| b.is_ascii_digit());
    pos.parse().ok().filter(|_| is_plain).map(Line::Floor)
}

/// Appends a cursor.
pub fn push_cursor(out: &mut Vec<u8>, cursor: &Cursor) {
    // Writing to a vector does not fail.
    let _ = writeln!(out, "{cursor}");
}

/// Appends the floor.
pub fn push_floor(out: &mut Vec<u8>, pos: u64) {
    let _ = writeln!(out, "floor {pos}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> JournalKey {
        "bdd2d51ed67606f5".parse().expect("a key")
    }

    fn at(key: JournalKey, seq: u64, offset: u64) -> Cursor {
        Cursor { key, seq, offset }
    }

    #[test]
    fn p5_the_newest_line_of_a_key_counts() {
        let mut file = Vec::new();
        push_floor(&mut file, 1_795_529_590_941_007);
        push_cursor(&mut file, &at(key(), 1, 635));
        push_cursor(&mut file, &at(JournalKey::SERVER, 7, 99));
        push_cursor(&mut file, &at(key(), 2, 1270));
        let text = "floor 1795529590941007\nbdd2d51ed67606f5 1 635\n0000000000000000 7 99\n\
                    bdd2d51ed67606f5 2 1270\n";
        assert_eq!(String::from_utf8_lossy(&file), text);
        let read = Cursors::parse(&file);
        let expected = [at(key(), 2, 1270), at(JournalKey::SERVER, 7, 99)];
        let expected = expected.map(|cursor| (cursor.key, cursor));
        assert_eq!(read.places, HashMap::from(expected));
        assert_eq!(
            (read.floor, read.is_damaged),
            (1_795_529_590_941_007, false)
        );
        // Killed within a write: what is whole counts.
        let read = Cursors::parse(&file[..file.len() - 1]);
        assert_eq!(read.places[&key()], at(key(), 1, 635));
        assert!(!read.is_damaged);
    }

    #[test]
    fn s10_garbage_never_hides_an_event() {
        let good = "floor 10\nbdd2d51ed67606f5 1 635\n";
        for bad in [
            "\n",
            "floor\n",
            "floor \n",
            "floor x\n",
            "floor +1\n",
            "floor 1 2\n",
            "bdd2d51ed67606f5 1\n",
            "bdd2d51ed67606f5 1 -1\n",
            "BDD2D51ED67606F5 1 2\n",
            "\u{0}\u{0}\u{0}\n",
        ] {
            let read = Cursors::parse(format!("{good}{bad}").as_bytes());
            assert_eq!((read.floor, read.is_damaged), (0, true), "{bad:?}");
            assert_eq!(read.places[&key()], at(key(), 1, 635));
        }
        for lost in [&b""[..], b"\xff\xfe\n", b"bdd2d51ed67606f5 1 635\n", b"flo"] {
            assert!(Cursors::parse(lost).is_damaged, "{lost:?}");
        }
    }
}
