//! The lock on `RTMS_OUT`: a second server would take the streams of the first one for abandoned.

use std::fmt;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::append_file::{FILE_MODE, make_folder};
use crate::net::host_name::host_name;
use crate::state::folder_lock::{FolderLock, LockError, LockHolder, is_held};

/// The file whose lock says that a server writes here. Hidden, since it is no recording.
const LOCK_NAME: &str = ".rtmsd.lock";

/// The lock, held as long as this value lives.
#[derive(Debug)]
pub struct OutLock {
    _lock: FolderLock,
}

/// A server writes to this folder already.
#[derive(Debug)]
pub struct OutInUse {
    folder: PathBuf,
    holder: LockHolder,
}

impl OutLock {
    /// Locks the folder, which is created if it does not exist. `None`, with a warning, if the file
    /// system refuses: a folder that cannot be locked today may be written to tomorrow.
    ///
    /// # Errors
    /// A server holds the lock.
    pub fn take(folder: &Path) -> Result<Option<OutLock>, OutInUse> {
        OutLock::take_as(folder, None)
    }

    /// The same for a server whose name in a fleet, `RTMS_NODE`, another server then shows.
    ///
    /// # Errors
    /// A server holds the lock.
    pub fn take_as(folder: &Path, node: Option<&str>) -> Result<Option<OutLock>, OutInUse> {
        let host = host_name();
        let mut text = format!("{} {}", std::process::id(), host.trim());
        if let Some(node) = node {
            let _ = write!(text, " node={node}");
        }
        let made = make_folder(folder).map_err(|error| LockError::Io("create", error));
        let path = folder.join(LOCK_NAME);
        let taken = made.and_then(|()| FolderLock::take(&path, FILE_MODE, text.trim()));
        match taken {
            Ok(lock) => Ok(Some(OutLock { _lock: lock })),
            Err(LockError::Held(holder)) => Err(OutInUse {
                folder: folder.to_owned(),
                holder,
            }),
            Err(LockError::Io(doing, error)) => {
                log::warn!(
                    "cannot {doing} path={} error=\"{error}\"; only one server may write below RTMS_OUT, \
                     and that is not checked now",
                    path.display()
                );
                Ok(None)
            }
        }
    }
}

/// The folder of recordings in which a path is: the nearest one above it in which a server has written.
pub fn out_above(path: &Path) -> Option<&Path> {
    let mut above = path.ancestors().skip(1);
    above.find(|folder| folder.join(LOCK_NAME).exists())
}

/// Whether a server writes to that folder of recordings now.
pub fn is_written(out: &Path) -> bool {
    is_held(&out.join(LOCK_NAME))
}

impl OutInUse {
    /// Whether this process itself holds the lock.
    pub fn is_ours(&self) -> bool {
        self.holder.is_us
    }
}

impl fmt::Display for OutInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.display();
        write!(f, "RTMS_OUT {folder}: found a server that writes there")?;
        if let Some(pid) = self.holder.pid {
            write!(f, " (pid {pid}")?;
            if let Some(host) = &self.holder.host {
                write!(f, " on {host}")?;
            }
            if let Some(node) = &self.holder.node {
                write!(f, ", node {node} of a fleet")?;
            }
            f.write_str(")")?;
        }
        f.write_str(
            ", expected none, because each server completes the streams of the other; stop that one, or \
             set another RTMS_OUT",
        )
    }
}

impl std::error::Error for OutInUse {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::testing::scratch;

    #[test]
    fn a_folder_has_one_server_and_the_second_says_which() {
        let root = scratch("out-lock").join("made/out");
        let lock = OutLock::take(&root).expect("it is free");
        assert!(lock.is_some());
        // The same folder by another name.
        let again = OutLock::take(&root.join("../out")).expect_err("it is locked");
        assert!(again.is_ours());
        let text = again.to_string();
        let pid = format!("(pid {} on ", std::process::id());
        assert!(text.contains(&pid), "{text}");
        drop(lock);
        assert!(OutLock::take(&root).expect("it is free").is_some());
    }

    #[test]
    fn a_server_of_a_fleet_is_named() {
        let root = scratch("out-lock-node").join("out");
        let _lock = OutLock::take_as(&root, Some("vm-1")).expect("it is free");
        let text = OutLock::take_as(&root, Some("vm-2")).expect_err("it is locked");
        let text = text.to_string();
        let named = ", node vm-1 of a fleet)";
        assert!(text.contains(named), "{text}");
    }

    #[test]
    fn a_folder_that_cannot_be_locked_is_no_reason_not_to_start() {
        let root = scratch("out-lock-refused");
        fs::write(root.join("file"), "").expect("writable");
        assert!(
            OutLock::take(&root.join("file/out"))
                .expect("it is free")
                .is_none()
        );
    }
}
