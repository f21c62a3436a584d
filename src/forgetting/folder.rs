//! The files of a stream in its folder, and taking a person out of them.
//!
//! A file is written again beside the old one, synced, and takes its place by a rename: a crash leaves
//! the old one or the new one, and readers see one of them whole. The journal and the other lines keep
//! their length, so that what readers remember as bytes stays right.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::blank::{self, Files, Plan, TEXT_BYTES_MAX};
use super::person::Person;
use crate::recorder::append_file::create_file;

/// The new file, until it takes the place of the old one.
const NEW: &str = ".forgetting.new";

/// The files in a folder.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl Files for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for below in ["", "video/", "share/"] {
            let entries = match fs::read_dir(self.0.join(below)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    continue;
                }
                let name = entry.file_name().to_string_lossy().into_owned();
                names.push(format!("{below}{name}"));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.0.join(name);
        match fs::metadata(&path) {
            Ok(found) if found.len() > TEXT_BYTES_MAX => Err(io::Error::other(format!(
                "{} has {} bytes, expected at most {TEXT_BYTES_MAX}",
                path.display(),
                found.len()
            ))),
            Ok(_) => fs::read(&path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Folder {
    /// Takes the person out of all files. `person` knows what earlier runs found, and learns what this
    /// one finds. Returns what was done.
    ///
    /// # Errors
    /// A file cannot be read, written or deleted; the others may be done.
    pub fn apply(&self, person: &mut Person, with_mixed: bool) -> io::Result<Plan> {
        let plan = blank::plan(self, person, with_mixed)?;
        let names = self.names()?;
        let words = blank::words(self, &names, person)?;
        let mut order: Vec<&String> = plan.blanked.keys().collect();
        order.sort_by_key(|name| blank::order(name));
        let (last, first): (Vec<&String>, Vec<&String>) =
            order.into_iter().partition(|name| blank::order(name) == 3);
        for name in first {
            self.replace(name, person, &words)?;
        }
        for name in plan.deleted.iter().chain(&plan.leftovers) {
            match fs::remove_file(self.0.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for name in last {
            self.replace(name, person, &words)?;
        }
        for below in ["video", "share"] {
            // Not empty means that something stays.
            let _ = fs::remove_dir(self.0.join(below));
        }
        if !plan.is_empty() {
            File::open(&self.0)?.sync_all()?;
        }
        Ok(plan)
    }

    fn replace(&self, name: &str, person: &Person, words: &super::texts::Words) -> io::Result<()> {
        let Some(bytes) = self.read(name)? else {
            return Ok(());
        };
        let Some((blanked, _)) = blank::blank(name, &bytes, person, words) else {
            return Ok(());
        };
        let path = self.0.join(name);
        let temporary = path.with_file_name(NEW);
        let mut file = create_file(&temporary)?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.write_all(&blanked)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    }
}

/// How many files there are below a folder.
pub fn count_files(folder: &Path) -> u64 {
    let names = Folder(folder.to_owned()).names();
    names.map_or(0, |names| names.len() as u64)
}
