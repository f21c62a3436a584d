//! The key that signs links and tickets: `link-key` of the state directory, made at the first use.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::signed::{SECRET_BYTES, Secret};
use crate::state::seal::StateKeys;

/// Its name in the state directory.
pub const NAME: &str = "link-key";
/// A file that is longer is none of ours; an encrypted one has some hundred bytes.
const FILE_BYTES_MAX: u64 = 1024;
/// Its name until it is complete.
const NEW_NAME: &str = ".link-key.new";

/// The key of a running server. Clones share it. Reading it never waits for a disk; making and replacing
/// it does.
#[derive(Clone, Default)]
pub struct LinkKey(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The state directory; without one, links end with the process.
    state: Option<PathBuf>,
    keys: StateKeys,
    key: Mutex<Option<Key>>,
}

/// One key, until it is replaced.
#[derive(Clone)]
pub struct Key {
    /// What signs.
    pub secret: Secret,
    /// Whether another one has taken its place, so that what it signed is good for nothing.
    pub is_replaced: Arc<AtomicBool>,
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey")
    }
}

impl Key {
    fn new(secret: Secret) -> Key {
        Key {
            secret,
            is_replaced: Arc::default(),
        }
    }
}

impl LinkKey {
    /// The key in this state directory, if there is one already.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn open(state: Option<&Path>, keys: &StateKeys) -> io::Result<LinkKey> {
        let secret = match state {
            Some(state) => read(state, keys)?,
            None => None,
        };
        Ok(LinkKey(Arc::new(Shared {
            state: state.map(Path::to_owned),
            keys: keys.clone(),
            key: Mutex::new(secret.map(Key::new)),
        })))
    }

    /// The key; `None` as long as nothing was signed.
    pub fn get(&self) -> Option<Key> {
        self.lock().clone()
    }

    /// The key, made if there is none.
    ///
    /// # Errors
    /// There are no random numbers, or the file cannot be written.
    pub fn get_or_make(&self) -> io::Result<Key> {
        let mut key = self.lock();
        if let Some(key) = &*key {
            return Ok(key.clone());
        }
        let made = self.make()?;
        *key = Some(made.clone());
        Ok(made)
    }

    /// Another key takes its place: what was signed before is good for nothing.
    ///
    /// # Errors
    /// As for [`get_or_make`](LinkKey::get_or_make); the key is the old one then.
    pub fn replace(&self) -> io::Result<()> {
        let mut key = self.lock();
        let made = self.make()?;
        if let Some(old) = key.replace(made) {
            old.is_replaced.store(true, Release);
        }
        Ok(())
    }

    fn make(&self) -> io::Result<Key> {
        let mut secret = [0; SECRET_BYTES];
        openssl::rand::rand_bytes(&mut secret).map_err(io::Error::other)?;
        if let Some(state) = &self.0.state {
            let sealed = self.0.keys.seal(NAME, &secret);
            write(state, &sealed.map_err(io::Error::other)?)?;
        }
        Ok(Key::new(secret))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Key>> {
        self.0.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    /// Whether it still signs.
    pub fn is_in_use(&self) -> bool {
        !self.is_replaced.load(Acquire)
    }
}

/// Where no server runs: the next one makes another key. Returns whether there was one.
///
/// # Errors
/// The file cannot be removed.
pub fn remove(state: &Path) -> io::Result<bool> {
    match fs::remove_file(state.join(NAME)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn read(state: &Path, keys: &StateKeys) -> io::Result<Option<Secret>> {
    let file = match File::open(state.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let bytes = keys.open(NAME, bytes).map_err(io::Error::other)?;
    Ok(bytes.try_into().ok())
}

fn write(state: &Path, secret: &[u8]) -> io::Result<()> {
    let new = state.join(NEW_NAME);
    // What a crash left has perhaps another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(secret)?;
    file.sync_all()?;
    fs::rename(new, state.join(NAME))?;
    File::open(state)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::scratch;

    #[test]
    fn g3_the_key_is_made_at_the_first_use_and_only_its_owner_may_read_it() {
        let folder = scratch("link-key");
        let keys = LinkKey::open(Some(&folder), &StateKeys::default()).expect("no fault");
        assert!(keys.get().is_none() && !folder.join(NAME).exists());
        let key = keys.get_or_make().expect("a key");
        assert_eq!(keys.get_or_make().expect("a key").secret, key.secret);
        let place = folder.join(NAME);
        let mode = fs::metadata(&place).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read(&place).expect("a file"), key.secret);
        let again = LinkKey::open(Some(&folder), &StateKeys::default()).expect("no fault");
        assert_eq!(again.get().expect("a key").secret, key.secret);
    }

    #[test]
    fn g3_a_replaced_key_is_good_for_nothing() {
        let folder = scratch("link-key-replaced");
        let keys = LinkKey::open(Some(&folder), &StateKeys::default()).expect("no fault");
        let key = keys.get_or_make().expect("a key");
        assert!(key.is_in_use());
        keys.replace().expect("another key");
        assert!(!key.is_in_use());
        let other = keys.get().expect("a key");
        assert!(other.is_in_use() && other.secret != key.secret);
        assert_eq!(fs::read(folder.join(NAME)).expect("a file"), other.secret);
        assert!(remove(&folder).expect("removable"));
        assert!(!remove(&folder).expect("there is none"));
        fs::write(folder.join(NAME), "torn").expect("written");
        let torn = LinkKey::open(Some(&folder), &StateKeys::default()).expect("no fault");
        assert!(torn.get().is_none());
        torn.get_or_make().expect("it is replaced");
        // Without a state directory it is in memory alone.
        let memory = LinkKey::open(None, &StateKeys::default()).expect("no fault");
        let first = memory.get_or_make().expect("a key");
        memory.replace().expect("another key");
        assert!(!first.is_in_use());
    }
}
