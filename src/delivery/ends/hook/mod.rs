//! The program that runs when a stream has ended: `RTMS_ON_STREAM_END`.

pub mod environment;
mod inherited;
pub mod run;

use std::path::PathBuf;
use std::time::Duration;

/// `RTMS_HOOK_TIMEOUT` where it is not set.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// `RTMS_HOOKS_AT_ONCE` where it is not set.
pub const DEFAULT_AT_ONCE: usize = 2;
/// The most that `RTMS_HOOKS_AT_ONCE` allows.
pub const AT_ONCE_MAX: usize = 32;

/// What is run, and within which limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSettings {
    /// `RTMS_ON_STREAM_END`: the absolute path of the program, and its arguments.
    pub command: Vec<String>,
    /// `RTMS_HOOK_TIMEOUT`.
    pub timeout: Duration,
    /// `RTMS_HOOKS_AT_ONCE`.
    pub at_once: usize,
    /// What the program gets of our environment: [`KEPT`].
    pub environment: Vec<(String, String)>,
}

/// Variables of our environment that a hook gets; others may hold secrets.
pub const KEPT: [&str; 4] = ["PATH", "LANG", "TZ", "HOME"];

impl HookSettings {
    /// The program.
    pub fn program(&self) -> PathBuf {
        self.command.first().map(PathBuf::from).unwrap_or_default()
    }
}

/// Splits a command at blanks; double quotes group. There is no shell, so no other sign means anything.
///
/// # Errors
/// What was expected instead.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    let expected = || "the absolute path of a program, and words; double quotes group".to_owned();
    let (mut words, mut word, mut is_quoted) = (Vec::new(), None, false);
    for c in text.chars() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_with(String::new);
            }
            ' ' | '\t' if !is_quoted => words.extend(word.take()),
            c => word.get_or_insert_with(String::new).push(c),
        }
    }
    words.extend(word);
    let is_absolute = words
        .first()
        .is_some_and(|program| program.starts_with('/'));
    match is_absolute && !is_quoted {
        true => Ok(words),
        false => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_at_blanks_and_double_quotes_group() {
        for (text, expected) in [
            (
                "/usr/bin/after --lang de",
                &["/usr/bin/after", "--lang", "de"][..],
            ),
            (
                "\"/opt/my hooks/after\"  --a=\"b  c\" \"\" $(id) `x` 'y z' > /tmp/f",
                &[
                    "/opt/my hooks/after",
                    "--a=b  c",
                    "",
                    "$(id)",
                    "`x`",
                    "'y",
                    "z'",
                    ">",
                    "/tmp/f",
                ],
            ),
            ("/a\t/b", &["/a", "/b"]),
        ] {
            assert_eq!(words(text).expect(text), expected);
        }
        for wrong in ["", "after", "./after", "\"/a", "~/after", "sh -c x"] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }
}
