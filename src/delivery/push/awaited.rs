//! What endpoints have not had yet, by the files in the state directory: for those who must not delete
//! it while no server runs.

use std::fs;
use std::io;
use std::path::Path;

use super::cursor_file::file_name;
use super::cursors::Cursors;
use super::known::{self, Known};
use super::machine::Mode;
use super::thread::KNOWN_NAME;
use crate::feed::key::JournalKey;

/// Where the endpoints are.
#[derive(Debug, Default)]
pub struct Awaited {
    endpoints: Vec<Cursors>,
}

impl Awaited {
    /// Of these endpoints, those that are known and not paused. One that is new has nothing to wait for.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(state: &Path, names: &[String]) -> io::Result<Awaited> {
        let Some(bytes) = read(&state.join(KNOWN_NAME))? else {
            return Ok(Awaited::default());
        };
        let known =
            known::parse(&bytes).ok_or_else(|| io::Error::other("push-endpoints is damaged"))?;
        let is_waiting = |it: &&Known| names.contains(&it.name) && it.mode() != Mode::Paused;
        let mut endpoints = Vec::new();
        for endpoint in known.iter().filter(is_waiting) {
            let file = read(&state.join(file_name(&endpoint.name)))?;
            let mut cursors = Cursors::parse(&file.unwrap_or_default());
            // Its file is lost: everything since its beginning is sent.
            if cursors.is_damaged {
                cursors.floor = endpoint.since;
            }
            endpoints.push(cursors);
        }
        Ok(Awaited { endpoints })
    }

    /// Whether no endpoint waits for anything.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Whether one has not had all of a journal that ends with that number and position.
    pub fn has(&self, key: JournalKey, seq: u64, pos: u64) -> bool {
        self.endpoints.iter().any(|endpoint| {
            let place = endpoint.places.get(&key);
            place.map_or(pos > endpoint.floor, |place| place.seq < seq)
        })
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::push::url::PushUrl;
    use crate::testing::scratch;

    #[test]
    fn what_an_endpoint_has_not_had_is_awaited() {
        let state = scratch("push-awaited");
        let names = ["crm".to_owned(), "new".to_owned(), "quiet".to_owned()];
        assert!(Awaited::read(&state, &names).expect("readable").is_empty());
        let url = PushUrl::parse("https://a.test/").expect("a URL");
        let mut quiet = Known::new("quiet", &url, 0);
        quiet.set_mode(Mode::Paused);
        let known = [
            Known::new("crm", &url, 500),
            quiet,
            Known::new("former", &url, 0),
        ];
        fs::write(state.join("push-endpoints"), known::text(&known)).expect("writable");
        fs::write(
            state.join("push-crm"),
            "floor 1000\nbdd2d51ed67606f5 3 99\n",
        )
        .expect("writable");
        let awaited = Awaited::read(&state, &names).expect("readable");
        let named: JournalKey = "bdd2d51ed67606f5".parse().expect("a key");
        let other: JournalKey = "000000000000000a".parse().expect("a key");
        assert!(awaited.has(named, 4, 900) && !awaited.has(named, 3, 2000));
        assert!(awaited.has(other, 1, 1001) && !awaited.has(other, 9, 1000));
        // The cursors are lost: everything since its beginning comes.
        for lost in [Some("garbage\n"), None] {
            match lost {
                Some(text) => fs::write(state.join("push-crm"), text).expect("writable"),
                None => fs::remove_file(state.join("push-crm")).expect("a file"),
            }
            let awaited = Awaited::read(&state, &names).expect("readable");
            assert!(awaited.has(other, 1, 501) && !awaited.has(other, 1, 500));
        }
        fs::write(state.join("push-endpoints"), "{").expect("writable");
        assert!(Awaited::read(&state, &names).is_err());
    }
}
