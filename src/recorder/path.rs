//! The folder of a stream's files: `<date>/<meeting>/<stream>`, safe for any ids.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::domain::stream_info::StreamInfo;
use crate::domain::time::Utc;
use crate::feed::key::JournalKey;

/// Characters of an id that are shown; the digest after them distinguishes ids.
const SHOWN_MAX: usize = 48;

/// Stands before the number of an epoch in a folder's name; a safe name has no dot.
const EPOCH: &str = ".e";

/// The folder of a stream below the output directory. `started_ms` gives the date, in UTC.
pub fn stream_folder(started_ms: u64, id: &str, stream_id: &str) -> PathBuf {
    let date = Utc::from_unix_ms(started_ms).date();
    [date, safe_name(id), safe_name(stream_id)].iter().collect()
}

/// The folder of a stream as this process receives it. Who takes it over from another node of a fleet has
/// another epoch and a folder beside: so neither a shared disk nor a stream's return mixes two.
pub fn folder_of(info: &StreamInfo) -> PathBuf {
    let folder = stream_folder(info.started_ms, &info.id, &info.stream_id);
    of_epoch(folder, info.epoch)
}

/// The folder beside the first one that belongs to an epoch.
pub fn of_epoch(first: PathBuf, epoch: u64) -> PathBuf {
    match epoch {
        0 | 1 => first,
        epoch => {
            let mut name = first.into_os_string();
            name.push(format!("{EPOCH}{epoch}"));
            name.into()
        }
    }
}

/// Whether a folder's name is that of a stream, of any epoch; `stream` is the first one's.
pub fn is_of_stream(name: &str, stream: &str) -> bool {
    let epoch = name.strip_prefix(stream);
    epoch.is_some_and(|rest| {
        let digits = rest.strip_prefix(EPOCH).unwrap_or_default();
        rest.is_empty() || !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The key of a stream's journal: it follows from where the folder is.
pub fn journal_key(info: &StreamInfo) -> JournalKey {
    JournalKey::of_folder(&folder_of(info))
}

/// A safe file name for an id from outside. Letters, digits, `-` and `_` stay, every other
/// character becomes `_`; a digest of the whole id follows, so that two ids never share a name,
/// even on a file system that ignores case.
pub fn safe_name(id: &str) -> String {
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            c
        } else {
            '_'
        }
    };
    let shown: String = id.chars().take(SHOWN_MAX).map(keep).collect();
    let digest = hex::encode(&Sha256::digest(id.as_bytes())[..6]);
    format!("{}-{digest}", shown.trim_start_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_escapes_its_folder() {
        let long = "x".repeat(10_000);
        for id in [
            "/etc/passwd",
            "../../x",
            "..",
            ".",
            "",
            "a/b+c==",
            "-rf",
            "a\0b",
            "日本",
            &long,
        ] {
            let name = safe_name(id);
            let ok = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            assert!(
                name.chars().all(ok) && name.len() < 100,
                "{id:?} gave {name:?}"
            );
            assert!(name.len() >= 13, "{id:?} gave {name:?}");
        }
    }

    #[test]
    fn different_ids_have_different_names() {
        let ids = ["a/b==", "a+b==", "a_b__", "A/b==", "/a/b==", "a/b=="];
        let names: std::collections::BTreeSet<String> = ids
            .iter()
            .map(|id| safe_name(id).to_ascii_lowercase())
            .collect();
        assert_eq!(names.len(), ids.len() - 1, "only the repeated id repeats");
    }

    #[test]
    fn each_epoch_has_a_folder_of_its_own() {
        let mut info = StreamInfo::new(crate::domain::product::Product::Meeting, "m", "s", 1);
        let first = folder_of(&info);
        assert_eq!(first, stream_folder(1, "m", "s"));
        info.epoch = 12;
        let later = folder_of(&info);
        assert_eq!(later.parent(), first.parent());
        let name = |folder: &PathBuf| {
            folder
                .file_name()
                .map(|it| it.to_string_lossy().into_owned())
        };
        let (first, later) = (name(&first).expect("a name"), name(&later).expect("a name"));
        assert_eq!(later, format!("{first}.e12"));
        assert!(is_of_stream(&first, &first) && is_of_stream(&later, &first));
        for other in ["", ".e", ".e1x", "0", ".x1"] {
            let other = format!("{first}{other}");
            assert_eq!(is_of_stream(&other, &first), other == first, "{other}");
        }
    }

    #[test]
    fn the_folder_has_date_meeting_and_stream() {
        let folder = stream_folder(1_767_000_000_123, "a/B+c==", "5f0c1d");
        assert_eq!(folder.iter().count(), 3);
        assert!(folder.starts_with("2025-12-29"), "{}", folder.display());
        let stream = folder.file_name().and_then(|name| name.to_str());
        assert!(stream.is_some_and(|name| name.starts_with("5f0c1d-")));
    }
}
