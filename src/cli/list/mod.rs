//! `rtmsd list`: finds recordings. It reads the folders itself and needs no server.

mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::cli::exit;
use crate::recorder::catalog::{Query, Search};

/// Recordings that are shown where `-n` says nothing.
pub const COUNT_DEFAULT: usize = 50;

/// What is looked for, and how it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// TEXT; empty for any.
    pub text: String,
    /// `--since`, seconds ago.
    pub since_s: Option<u64>,
    /// `--speaker`; empty for any.
    pub speaker: String,
    /// `-n`; not 0.
    pub count: usize,
    /// `--json`.
    pub json: bool,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// Prints the recordings below `root`, the newest first. `columns` is the width of the terminal, if
/// there is one.
pub fn run(
    options: &Options,
    root: &Path,
    now_ms: u64,
    columns: Option<usize>,
    out: &mut impl Write,
) -> u8 {
    if let Err(error) = root.read_dir() {
        log::error!(
            "RTMS_OUT: found {}: {error}, expected a folder that can be read",
            root.display()
        );
        return exit::UNAVAILABLE;
    }
    let since_s = options.since_s.unwrap_or(u64::MAX);
    let query = Query {
        text: options.text.trim().to_lowercase(),
        speaker: options.speaker.trim().to_lowercase(),
        since_ms: now_ms.saturating_sub(since_s.saturating_mul(1000)),
    };
    let mut found = Search::new(root, &query).take(options.count);
    let written = match options.json {
        true => found.try_for_each(|recording| writeln!(out, "{}", recording.to_json())),
        false => {
            let found: Vec<_> = found.collect();
            out.write_all(table::render(&found, columns).as_bytes())
        }
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => exit::OK,
        // A pager that was left early.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => {
            log::error!("standard output: {error}");
            exit::UNAVAILABLE
        }
    }
}

/// A span of time in seconds: `90m`, `12h`, `7d`, `2w`.
pub fn seconds(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    number.checked_mul(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        assert_eq!(seconds("7d"), Some(604_800));
        assert_eq!(seconds("90m"), Some(5400));
        assert_eq!(seconds("1w"), Some(604_800));
        for text in [
            "",
            "d",
            "7",
            "7 d",
            "-1d",
            "7y",
            "1.5h",
            "99999999999999999999d",
            "7д",
        ] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }
}
