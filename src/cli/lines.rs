//! Standard input line by line, with a time limit for each.
//!
//! It reads the descriptor itself: a buffer of the library would keep lines that the next reader needs.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest line, in bytes; the rest of a longer one is dropped.
const LINE_BYTES_MAX: usize = 64 << 10;

/// How many answers to one question may be wrong.
const REFUSED_MAX: u32 = 5;

/// The wrong answers to one question.
#[derive(Debug)]
pub(super) struct Refusals {
    left: u32,
}

impl Refusals {
    /// Where another answer may follow a wrong one.
    pub(super) const fn new() -> Refusals {
        Refusals { left: REFUSED_MAX }
    }

    /// For answers of which each belongs to one question. A person may mistype; but if standard input is
    /// no terminal, the next line is the answer to the next question.
    pub(super) fn of_answers() -> Refusals {
        match io::stdin().is_terminal() {
            true => Refusals::new(),
            false => Refusals { left: 1 },
        }
    }

    /// Counts one; whether there were too many.
    pub(super) fn add(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }
}

/// The next line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Text(String),
    /// None came in time.
    Nothing,
    /// The input has ended.
    End,
}

/// What was read and not yet used.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    is_over: bool,
}

impl Lines {
    /// The next line; without a time limit it is waited for.
    ///
    /// # Errors
    /// Standard input cannot be read.
    pub(super) fn next(&mut self, within: Option<Duration>) -> io::Result<Line> {
        let until = within.map(|within| Instant::now() + within);
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Ok(Line::Text(text(&line)));
            }
            if self.is_over {
                return Ok(match std::mem::take(&mut self.bytes) {
                    rest if rest.is_empty() => Line::End,
                    rest => Line::Text(text(&rest)),
                });
            }
            self.bytes.truncate(LINE_BYTES_MAX);
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let limit = left.and_then(|left| Timespec::try_from(left).ok());
            let stdin = io::stdin();
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], limit.as_ref()) {
                Ok(0) => return Ok(Line::Nothing),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let mut chunk = [0; 4096];
            match rustix::io::read(&stdin, &mut chunk) {
                Ok(0) => self.is_over = true,
                Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
                Err(rustix::io::Errno::INTR) => {}
                // A terminal that was closed.
                Err(rustix::io::Errno::IO) => self.is_over = true,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .trim_end_matches(['\n', '\r'])
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_wrong_answer_is_the_last() {
        let mut refusals = Refusals::new();
        let found: Vec<bool> = (0..6).map(|_| refusals.add()).collect();
        assert_eq!(found, [false, false, false, false, true, true]);
    }
}
