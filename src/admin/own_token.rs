//! The token that the server makes where no `RTMS_ADMIN_TOKEN` is set: a user who may read it in the state
//! directory may give commands to the server.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::domain::secret::Secret;
use crate::state::seal::StateKeys;

/// Its name in the state directory.
pub const NAME: &str = "admin-token";

const BYTES: usize = 32;
/// A file that is longer is none of ours.
const FILE_BYTES_MAX: u64 = 1024;

/// The token in this state directory, made where it is missing.
///
/// # Errors
/// It cannot be read or written.
pub fn open(state: &Path, keys: &StateKeys) -> io::Result<Secret> {
    if let Some(token) = read(state, keys)? {
        return Ok(token);
    }
    let mut bytes = [0; BYTES];
    openssl::rand::rand_bytes(&mut bytes).map_err(io::Error::other)?;
    let token = hex::encode(bytes);
    let mut options = OpenOptions::new();
    // A file that is empty or torn is replaced.
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(state.join(NAME))?;
    let line = format!("{token}\n");
    let sealed = keys.seal(NAME, line.as_bytes());
    file.write_all(&sealed.map_err(io::Error::other)?)?;
    file.sync_data()?;
    Ok(Secret::new(token))
}

/// The token in this state directory, if there is one.
///
/// # Errors
/// It is there and cannot be read.
pub fn read(state: &Path, keys: &StateKeys) -> io::Result<Option<Secret>> {
    let file = match File::open(state.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let bytes = keys.open(NAME, bytes).map_err(io::Error::other)?;
    let text = String::from_utf8_lossy(&bytes);
    let token = text.trim();
    Ok((token.len() == 2 * BYTES).then(|| Secret::new(token)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn s1_it_is_made_once_and_only_its_owner_may_read_it() {
        let folder = std::env::temp_dir().join(format!("rtmsd-token-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let none = StateKeys::default();
        assert_eq!(read(&folder, &none).expect("no fault"), None);
        let token = open(&folder, &none).expect("a token");
        assert_eq!(token.expose().len(), 64);
        assert_eq!(open(&folder, &none).expect("a token"), token);
        assert_eq!(read(&folder, &none).expect("no fault"), Some(token.clone()));
        let mode = std::fs::metadata(folder.join(NAME))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.join(NAME), "torn").expect("written");
        assert_ne!(open(&folder, &none).expect("a token"), token);
        // With a key it is encrypted, and without that key it is not overwritten.
        let keys = StateKeys::new(vec![vec![7; 32]]).expect("a key");
        std::fs::remove_file(folder.join(NAME)).expect("removable");
        let token = open(&folder, &keys).expect("a token");
        assert_eq!(read(&folder, &keys).expect("no fault"), Some(token));
        let sealed = std::fs::read(folder.join(NAME)).expect("a file");
        assert!(open(&folder, &none).is_err());
        assert_eq!(std::fs::read(folder.join(NAME)).expect("a file"), sealed);
        std::fs::remove_dir_all(&folder).expect("removable");
    }
}
