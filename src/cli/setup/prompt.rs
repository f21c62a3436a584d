//! Plain questions in the terminal. A secret is typed without being shown.

use std::io::{self, IsTerminal, Write};

use crate::cli::lines::{Line, Lines};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// A question, and the answer that counts if the line is empty.
pub(super) struct Question<'a> {
    /// What is asked, and where it is to be found.
    pub(super) text: &'a str,
    /// The answer to an empty line.
    pub(super) default: Option<String>,
    /// Neither the default nor what is typed is shown.
    pub(super) is_secret: bool,
}

/// Asks; `None` at the end of the input.
pub(super) fn ask(
    question: &Question<'_>,
    lines: &mut Lines,
    out: &mut impl Write,
) -> io::Result<Option<String>> {
    let default = match (&question.default, question.is_secret) {
        (None, _) => String::new(),
        (Some(_), true) => " [keep the present one]".to_owned(),
        (Some(default), false) => format!(" [{default}]"),
    };
    // Before the question is there, so that nothing of an answer is shown.
    let hidden = question.is_secret.then(Hidden::start).flatten();
    write!(out, "{}{default}: ", question.text)?;
    out.flush()?;
    let line = match lines.next(None)? {
        Line::Text(line) => line,
        Line::Nothing | Line::End => return Ok(None),
    };
    drop(hidden);
    if question.is_secret {
        // The line break was not shown either.
        writeln!(out)?;
    }
    let line = line.trim();
    Ok(Some(match (line, &question.default) {
        ("", Some(default)) => default.clone(),
        (line, _) => line.to_owned(),
    }))
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    /// `None` if standard input is no terminal.
    fn start() -> Option<Hidden> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &quiet).ok()?;
        Some(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
