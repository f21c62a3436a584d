//! What can be wrong with a state directory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A state directory that cannot be used, or a file in it that cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Another process has it.
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, if it could be told.
        pid: Option<u32>,
    },
    /// Others than its owner may look into it, and it is not plainly ours to change.
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Somebody else owns it.
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// Our effective user id.
        us: u32,
    },
    /// There is something else at its path.
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// A file is larger than anything written here.
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A name that is no plain file name.
    Name,
    /// The system said no.
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The kind of the system's answer.
        kind: io::ErrorKind,
        /// The system's words.
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
                f.write_str(", expected to have it alone; stop that one, or give this one an RTMS_STATE of its own (and a ZOOM_REFRESH_TOKEN of its own, if it has one)")
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
                "state directory {}: found something else, expected a directory; set RTMS_STATE to another path",
                path.display()
            ),
            Error::TooLarge { path } => write!(
                f,
                "{}: found more than {} bytes; move the file away",
                path.display(),
                super::FILE_BYTES_MAX
            ),
            Error::Name => f.write_str("state file: found a name that is no plain file name"),
            Error::Io {
                doing, path, text, ..
            } => write!(f, "cannot {doing} {}: {text}", path.display()),
        }
    }
}

impl std::error::Error for Error {}
