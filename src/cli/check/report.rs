//! What was found, one finding a line, and the exit code of the worst.

use std::io::Write;

/// The level of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckLevel {
    Fine,
    Warn,
    /// With the exit code.
    Fault(u8),
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: CheckLevel,
    pub(crate) what: &'static str,
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn new(level: CheckLevel, what: &'static str, text: impl Into<String>) -> Finding {
        let text = text.into();
        Finding { level, what, text }
    }
}

/// Writes findings. If the reader is gone they are lost, but the exit code is still right.
#[derive(Debug)]
pub(crate) struct Report<W: Write> {
    out: W,
    faults: usize,
    warnings: usize,
    exit_code: u8,
}

impl<W: Write> Report<W> {
    pub(crate) fn new(out: W) -> Report<W> {
        Report {
            out,
            faults: 0,
            warnings: 0,
            exit_code: 0,
        }
    }

    pub(crate) fn add(&mut self, finding: &Finding) {
        self.write(
            finding.level,
            &format!("{}: {}", finding.what, finding.text),
        );
    }

    pub(crate) fn fine(&mut self, what: &str, text: &str) {
        self.write(CheckLevel::Fine, &format!("{what}: {text}"));
    }

    pub(crate) fn warn(&mut self, what: &str, text: &str) {
        self.write(CheckLevel::Warn, &format!("{what}: {text}"));
    }

    pub(crate) fn fault(&mut self, what: &str, exit_code: u8, text: &str) {
        self.write(CheckLevel::Fault(exit_code), &format!("{what}: {text}"));
    }

    /// Text that says for itself what it is about.
    pub(crate) fn write(&mut self, level: CheckLevel, text: &str) {
        let word = match level {
            CheckLevel::Fine => "ok   ",
            CheckLevel::Warn => {
                self.warnings += 1;
                "warn "
            }
            CheckLevel::Fault(code) => {
                self.faults += 1;
                // The codes grow with what has to be fixed first: reachability, permission, configuration.
                self.exit_code = self.exit_code.max(code);
                "fault"
            }
        };
        self.line(&format!("{word} {text}"));
    }

    /// A line that is no finding.
    pub(crate) fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    /// How many faults and warnings there were.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.faults, self.warnings)
    }

    /// The exit code.
    pub(crate) fn end(mut self) -> u8 {
        let _ = self.out.flush();
        self.exit_code
    }
}
