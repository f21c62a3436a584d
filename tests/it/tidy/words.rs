//! A guard for the prose of this repository: archaic and private words do not come back.

use std::fs;
use std::path::{Path, PathBuf};

/// Words for which there is a plainer one: again, everyone who, happen to, repair, most expensive, no node,
/// a person: who is meant is named.
const BANNED_WORDS: [&str; 14] = [
    "anew",
    "befall",
    "befalls",
    "dearest",
    "in vain",
    "mend",
    "mended",
    "mends",
    "nobody",
    "somebody",
    "thence",
    "to be had",
    "wherein",
    "whoever",
];

/// Each banned word in a text, with its line: whole words, in any case.
fn banned_words(file: &str, text: &str) -> Vec<String> {
    let is_whole = |line: &str, at: usize, word: &str| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphabetic) && !after.is_some_and(char::is_alphabetic)
    };
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        for word in BANNED_WORDS {
            if line
                .match_indices(word)
                .any(|(at, _)| is_whole(&line, at, word))
            {
                found.push(format!("{file}:{}: {word:?}", number + 1));
            }
        }
    }
    found
}

#[test]
fn the_prose_has_no_banned_word() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![top.join("README.md"), top.join("CHANGELOG.md")];
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches", "examples"]
        .map(|folder| top.join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let extension = path.extension().unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if extension == "rs" || extension == "md" {
                files.push(path);
            }
        }
    }
    // This file lists the words.
    files.retain(|file| !file.ends_with("tests/it/tidy/words.rs"));
    assert!(files.len() > 200, "only {} files were found", files.len());
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).expect("readable");
        banned_words(&file.display().to_string(), &text)
    };
    let found: Vec<String> = files.iter().flat_map(read).collect();
    assert_eq!(found, [""; 0], "use a plainer word");
}

#[test]
fn banned_words_are_found() {
    let text = "git commit --amend; a recommended fix\n// It Begins Anew: mend_it is one\n";
    assert_eq!(
        banned_words("a.rs", text),
        ["a.rs:2: \"anew\"", "a.rs:2: \"mend\""]
    );
}
