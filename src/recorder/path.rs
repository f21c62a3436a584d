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
use crate::feed::epoch::folder_name;
use crate::feed::key::JournalKey;

/// Characters of an id that are shown; the digest after them distinguishes ids.
const SHOWN_MAX: usize = 48;

/// The folder of a stream below the output directory. `started_ms` gives the date, in UTC.
pub fn stream_folder(started_ms: u64, id: &str, stream_id: &str) -> PathBuf {
    let date = Utc::from_unix_ms(started_ms).date();
    [date, safe_name(id), safe_name(stream_id)].iter().collect()
}

/// The folder in which this part of a stream is written, below the output directory.
pub fn folder_of(info: &StreamInfo) -> PathBuf {
    epoch_folder(info, info.epoch())
}

/// The folder of another epoch of a stream.
pub fn epoch_folder(info: &StreamInfo, epoch: u64) -> PathBuf {
    let date = Utc::from_unix_ms(info.started_ms).date();
    let stream = folder_name(safe_name(&info.stream_id), epoch);
    [date, safe_name(&info.id), stream].iter().collect()
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
    fn the_folder_has_date_meeting_and_stream() {
        let folder = stream_folder(1_767_000_000_123, "a/B+c==", "5f0c1d");
        assert_eq!(folder.iter().count(), 3);
        assert!(folder.starts_with("2025-12-29"), "{}", folder.display());
        let stream = folder.file_name().and_then(|name| name.to_str());
        assert!(stream.is_some_and(|name| name.starts_with("5f0c1d-")));
    }

    #[test]
    fn a_later_epoch_has_a_folder_beside_the_first() {
        let product = crate::domain::product::Product::Meeting;
        let mut info = StreamInfo::new(product, "a/B+c==", "5f0c1d", 1_767_000_000_123);
        let first = stream_folder(info.started_ms, &info.id, &info.stream_id);
        assert_eq!(folder_of(&info), first);
        for epoch in [1, 2, 13] {
            info.tenure = Some(Box::new(crate::domain::stream_info::Tenure {
                node: "a".to_owned(),
                epoch,
                predecessor: None,
            }));
            let folder = folder_of(&info);
            assert_eq!(folder.parent(), first.parent());
            assert_eq!(folder == first, epoch == 1);
            let name = folder
                .file_name()
                .and_then(|name| name.to_str())
                .expect("text");
            assert_eq!(
                crate::feed::epoch::split(name),
                (safe_name("5f0c1d").as_str(), epoch)
            );
        }
    }
}
