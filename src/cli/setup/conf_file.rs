//! The `rtms.conf` that `rtmsd setup` writes: lines that it does not manage stay as they are.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::file_format;

/// The text of a file, changed line by line.
pub(super) struct ConfFile {
    path: PathBuf,
    text: String,
}

impl ConfFile {
    /// Reads the file; an absent one is empty.
    ///
    /// # Errors
    /// It cannot be read, or has lines that are no configuration.
    pub(super) fn open(path: &Path) -> io::Result<ConfFile> {
        let text = match fs::read(path) {
            Ok(bytes) => {
                let (_, faults) = file_format::parse(&bytes);
                if let Some(fault) = faults.first() {
                    let text = format!("{}:{}: {}", path.display(), fault.line, fault.text);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                "# Written by rtmsd setup. \"rtmsd print conf\" shows every key with its meaning.\n"
                    .to_owned()
            }
            Err(error) => return Err(error),
        };
        Ok(ConfFile {
            path: path.to_owned(),
            text,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The value of a key, if it has one.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        let (entries, _) = file_format::parse(self.text.as_bytes());
        let mut entries = entries.into_iter().filter(|entry| entry.key == key);
        entries
            .next()
            .map(|entry| entry.value)
            .filter(|value| !value.is_empty())
    }

    /// Sets a key, in its own line if it has one; `None` removes it.
    pub(super) fn set(&mut self, key: &str, value: Option<&str>) {
        let (entries, _) = file_format::parse(self.text.as_bytes());
        let line = value.map(|value| format!("{key}={}", quoted(value)));
        let known = entries.iter().find(|entry| entry.key == key);
        let mut lines: Vec<String> = self.text.lines().map(str::to_owned).collect();
        match (known, line) {
            (Some(entry), Some(line)) => lines[entry.line - 1] = line,
            (Some(entry), None) => drop(lines.remove(entry.line - 1)),
            (None, Some(line)) => lines.push(line),
            (None, None) => return,
        }
        self.text = lines.join("\n") + "\n";
    }

    /// Writes it in one step, readable by its owner alone.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&self) -> io::Result<()> {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        // Of an earlier try it may have another mode.
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        file.set_permissions(owner_only)?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)
    }
}

/// Quoted where a reader would take the value for something else.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=?&+@%~".contains(c);
    match value.chars().all(is_plain) {
        true => value.to_owned(),
        false if !value.contains('\'') => format!("'{value}'"),
        false => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_its_own_lines_change_and_only_the_owner_may_read_them() {
        let folder = crate::testing::scratch("setup");
        let path = folder.join("rtms.conf");
        fs::write(&path, "# mine\nRTMS_LOG=debug # why\nPORT=3000\n").expect("a file");
        let mut file = ConfFile::open(&path).expect("a file");
        assert_eq!(file.get("PORT").as_deref(), Some("3000"));
        file.set("PORT", Some("off"));
        file.set("ZOOM_CLIENT_SECRET", Some("a b'c\"d"));
        file.set("ZOOM_CLIENT_ID", Some("abc"));
        file.set("RTMS_OUT", None);
        file.save().expect("it is written");
        let text = fs::read_to_string(&path).expect("a file");
        assert!(
            text.starts_with("# mine\nRTMS_LOG=debug # why\nPORT=off\n"),
            "{text}"
        );
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut again = ConfFile::open(&path).expect("a file");
        assert_eq!(again.get("ZOOM_CLIENT_SECRET").as_deref(), Some("a b'c\"d"));
        again.set("ZOOM_CLIENT_ID", None);
        assert_eq!(again.get("ZOOM_CLIENT_ID"), None);
        assert_eq!(again.get("PORT").as_deref(), Some("off"));
    }
}
