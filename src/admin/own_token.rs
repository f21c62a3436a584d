//! The token that the server makes where no `RTMS_ADMIN_TOKEN` is set: a user who may read it in the state
//! directory may give commands to the server.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::domain::secret::Secret;

/// Its name in the state directory.
pub const NAME: &str = "admin-token";

const BYTES: usize = 32;
/// A file that is longer is none of ours.
const FILE_BYTES_MAX: u64 = 1024;

/// The token in this state directory, made where it is missing.
///
/// # Errors
/// It cannot be read or written.
pub fn open(state: &Path) -> io::Result<Secret> {
    if let Some(token) = read(state)? {
        return Ok(token);
    }
    let mut bytes = [0; BYTES];
    openssl::rand::rand_bytes(&mut bytes).map_err(io::Error::other)?;
    let token = hex::encode(bytes);
    let mut options = OpenOptions::new();
    // A file that is empty or torn is replaced.
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(state.join(NAME))?;
    file.write_all(format!("{token}\n").as_bytes())?;
    file.sync_data()?;
    Ok(Secret::new(token))
}

/// The token in this state directory, if there is one.
///
/// # Errors
/// It is there and cannot be read.
pub fn read(state: &Path) -> io::Result<Option<Secret>> {
    let file = match File::open(state.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
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
        assert_eq!(read(&folder).expect("no fault"), None);
        let token = open(&folder).expect("a token");
        assert_eq!(token.expose().len(), 64);
        assert_eq!(open(&folder).expect("a token"), token);
        assert_eq!(read(&folder).expect("no fault"), Some(token.clone()));
        let mode = std::fs::metadata(folder.join(NAME))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.join(NAME), "torn").expect("written");
        assert_ne!(open(&folder).expect("a token"), token);
        std::fs::remove_dir_all(&folder).expect("removable");
    }
}
