//! The credentials of links and tickets, and the paths of files. Never panics; what is accepted is what
//! was signed, character for character.

use crate::admin::files::{key_and_name, path};
use crate::admin::links::signed::SECRET_BYTES;
use crate::admin::links::ticket::Ticket;
use crate::admin::links::token::Link;

/// The seeds are signed with it.
const SECRET: [u8; SECRET_BYTES] = [7; SECRET_BYTES];

/// Panics where the above does not hold. Lines: link, ticket, path of a file.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (link, ticket, place) = (next(), next(), next());
    if let Some(read) = Link::read(link, &SECRET) {
        assert_eq!(read.sign(&SECRET), link);
        assert_eq!(Link::read(link, &[8; SECRET_BYTES]), None);
    }
    let Some((key, name)) = key_and_name(place) else {
        return;
    };
    let written = path(key, &name);
    assert!(written.is_ascii() && !written.contains([' ', '?', '#', '"', '\\']));
    assert_eq!(
        key_and_name(&format!("/{written}")).as_ref(),
        Some(&(key, name.clone()))
    );
    if let Some(read) = Ticket::read(ticket, key, &name, &SECRET) {
        assert_eq!(read.sign(&SECRET), ticket);
        assert_eq!(
            Ticket::read(ticket, key, &format!("{name}x"), &SECRET),
            None
        );
    }
}
