//! The sources of a configuration, and how they are read from this process.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Fault;
use super::file_format::FILE_BYTES_MAX;
use crate::net::host_name::host_name;

/// Read if it exists and no file is named.
pub const LOCAL_FILE: &str = "rtms.conf";
/// Read if it exists, no file is named and there is no [`LOCAL_FILE`].
pub const ETC_FILE: &str = "/etc/rtms.conf";

/// Most entries of a folder that are looked at.
const LISTED_MAX: usize = 10_000;

/// The purpose of the configuration, which determines the required keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The server: the app's credentials and the webhook secret token.
    Serve,
    /// One REST call: the app's id and credentials for a token.
    Rest,
    /// `rtmsd authorize`: the app's id and secret.
    Authorize,
    /// A request to the running server: no key.
    Admin,
    /// What several apps have in common: no key of an app.
    Common,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// At most one byte more than [`FILE_BYTES_MAX`], to detect a larger file.
    pub bytes: Vec<u8>,
    /// Permission bits, where the system has them.
    pub mode: Option<u32>,
}

/// Everything that a configuration is read from.
#[derive(Clone)]
pub struct Sources<'a> {
    /// Its purpose.
    pub needs: Needs,
    /// The file's name for faults, and its content.
    pub file: Option<(String, FileContent)>,
    /// The environment; it overrides the file.
    pub environment: Vec<(OsString, OsString)>,
    /// This machine's name.
    pub host_name: String,
    /// Reads the file of a secret, or of an app.
    pub read: &'a dyn Fn(&Path) -> io::Result<FileContent>,
    /// Lists the names of the files in a folder.
    pub list: &'a dyn Fn(&Path) -> io::Result<Vec<String>>,
}

impl Sources<'static> {
    /// The sources of this process: the named file, or `./rtms.conf`, or `/etc/rtms.conf`, or no
    /// file; and the environment.
    pub fn from_process(config: Option<&Path>, needs: Needs) -> Result<Sources<'static>, Fault> {
        let candidates = match &config {
            Some(path) => vec![*path],
            None => vec![Path::new(LOCAL_FILE), Path::new(ETC_FILE)],
        };
        let mut file = None;
        for path in candidates {
            let name = path.display().to_string();
            match read_file(path) {
                Ok(content) => {
                    file = Some((name, content));
                    break;
                }
                Err(error) if config.is_none() && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Fault {
                        place: name,
                        key: String::new(),
                        text: format!("cannot be read: {error}"),
                    });
                }
            }
        }
        Ok(Sources {
            needs,
            file,
            environment: std::env::vars_os().collect(),
            host_name: host_name(),
            read: &read_file,
            list: &list_files,
        })
    }
}

/// Reads a file of bounded size, and never a directory.
fn read_file(path: &Path) -> io::Result<FileContent> {
    let file = File::open(path)?;
    let mode = mode(&file.metadata()?);
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(FileContent { bytes, mode })
}

/// The names of the entries of a folder that are text; there is a limit to how many are looked at.
fn list_files(folder: &Path) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?.take(LISTED_MAX);
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(io::Result::transpose).collect()
}

#[cfg(unix)]
fn mode(metadata: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    // The permissions of a pipe or device (`--config /dev/stdin`) are not checked.
    metadata.is_file().then(|| metadata.permissions().mode())
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> Option<u32> {
    None
}
