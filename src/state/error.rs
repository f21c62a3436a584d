//! Errors of the state directory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::seal::SealFault;

/// The state directory, or a file in it, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Another process uses it.
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process id, if it could be read.
        pid: Option<u32>,
    },
    /// Other users may read it, and it may not be ours to change.
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another user owns it.
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// Our effective user id.
        us: u32,
    },
    /// Its path is not a directory.
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// A file is larger than anything that rtmsd writes here.
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The name is not a plain file name.
    Name,
    /// A file is encrypted and cannot be read.
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: SealFault,
    },
    /// A system call failed.
    Io {
        /// What was attempted, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kind of the system's error.
        kind: io::ErrorKind,
        /// The system's message.
        text: String,
    },
}

impl Error {
    pub(super) fn io(doing: &'static str, path: &Path, error: &io::Error) -> Error {
        Error::Io {
            doing,
            path: path.to_owned(),
            kind: error.kind(),
            text: error.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InUse { path, pid } => {
                let path = path.display();
                write!(f, "state directory {path}: in use by another process")?;
                if let Some(pid) = pid {
                    write!(f, " (pid {pid})")?;
                }
                f.write_str(", expected no other process; stop that one, or set another RTMS_STATE for this one (and another ZOOM_REFRESH_TOKEN, if it uses one)")
            }
            Error::NotPrivate { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "state directory {path}: found mode {mode:04o}, expected 0700 because tokens are kept there; \
                     run `chmod 700 {path}`, or set RTMS_STATE to a directory of its own"
                )
            }
            Error::NotOurs { path, owner, us } => write!(
                f,
                "state directory {}: found owner with user id {owner}, expected {us}; \
                 change the owner, or set RTMS_STATE to a directory of its own",
                path.display()
            ),
            Error::NotDirectory { path } => write!(
                f,
                "state directory {}: found no directory, expected one; set RTMS_STATE to another path",
                path.display()
            ),
            Error::TooLarge { path } => write!(
                f,
                "{}: found more than {} bytes; move the file away",
                path.display(),
                super::FILE_BYTES_MAX
            ),
            Error::Sealed { path, fault } => write!(f, "{}: {fault}", path.display()),
            Error::Name => f.write_str("state file: found a name that is not a plain file name"),
            Error::Io {
                doing, path, text, ..
            } => write!(f, "cannot {doing} {}: {text}", path.display()),
        }
    }
}

impl std::error::Error for Error {}
