//! A writer for stderr that does not block if the reader has stopped reading.
//!
//! A hung journal, or a stopped terminal, must not block the threads that log: a stream would miss
//! its keep-alives. A line that is not written in time is lost and counted, and the count is logged
//! as soon as lines can be written again.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a line may wait for the reader. Once the time has passed, further lines do not wait
/// until the reader reads again.
const PATIENCE: Duration = Duration::from_millis(200);

/// A pipe accepts this many bytes without blocking when poll(2) reports it writable (PIPE_BUF).
const PIECE_BYTES: usize = 4096;

/// The writer.
pub(super) struct Stderr<W> {
    out: W,
    /// Lines lost since the last line that reported them.
    lost: u64,
    /// The last piece written did not end a line.
    is_torn: bool,
}

impl<W: Write + AsFd> Stderr<W> {
    pub(super) fn new(out: W) -> Stderr<W> {
        Stderr {
            out,
            lost: 0,
            is_torn: false,
        }
    }

    /// Writes a line including its line break. `report` formats a line with the number of lost
    /// ones.
    pub(super) fn write(&mut self, line: &str, report: impl FnOnce(u64) -> String) {
        let patience = match self.lost {
            0 => PATIENCE,
            _ => Duration::ZERO,
        };
        let until = Instant::now() + patience;
        if self.lost > 0 && self.put(&report(self.lost), until) {
            self.lost = 0;
        }
        if self.lost > 0 || !self.put(line, until) {
            self.lost += 1;
        }
    }

    /// `false` if it was not written completely.
    fn put(&mut self, line: &str, until: Instant) -> bool {
        if self.is_torn {
            if !self.piece(b"\n", until) {
                return false;
            }
            self.is_torn = false;
        }
        for piece in line.as_bytes().chunks(PIECE_BYTES) {
            if !self.piece(piece, until) {
                return false;
            }
            self.is_torn = true;
        }
        self.is_torn = false;
        true
    }

    fn piece(&mut self, piece: &[u8], until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut fds = [PollFd::new(&self.out, PollFlags::OUT)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => false,
            // If stderr is closed there is no reader to wait for.
            Ok(_) => {
                let _ = self.out.write_all(piece);
                true
            }
            Err(error) => error == rustix::io::Errno::INTR && self.piece(piece, until),
        }
    }
}

/// Stderr of this process.
pub(super) fn stderr() -> Stderr<io::Stderr> {
    // It has no buffer: one call is one write.
    Stderr::new(io::stderr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    #[test]
    fn with_a_stopped_reader_lines_are_lost_without_blocking() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut stderr = Stderr::new(writer);
        let told = |n| format!("{n} lost\n");
        let line = format!("{}\n", "x".repeat(10_000));
        let began = Instant::now();
        for _ in 0..1000 {
            stderr.write(&line, told);
        }
        // Only the first line waited.
        assert!(began.elapsed() < PATIENCE * 20, "{:?}", began.elapsed());
        let lost = stderr.lost;
        assert!(lost > 900, "{lost}");

        let thread = std::thread::Builder::new().spawn(move || {
            let lines = BufReader::new(reader).lines();
            lines
                .map(|line| line.expect("a line"))
                .collect::<Vec<String>>()
        });
        let until = Instant::now() + Duration::from_secs(20);
        while stderr.lost > 0 {
            assert!(Instant::now() < until, "it reads again");
            stderr.write("again\n", told);
        }
        drop(stderr);
        let lines = thread.expect("a thread").join().expect("it reads");
        let count =
            |is_it: fn(&str) -> bool| lines.iter().filter(|line| is_it(line)).count() as u64;
        let whole = count(|line| line.len() == 10_000);
        assert!(whole > 0);
        assert_eq!(count(|line| line == "again"), 1);
        let told = lines.iter().find(|line| line.ends_with(" lost"));
        let told: u64 = told
            .and_then(|line| line.strip_suffix(" lost")?.parse().ok())
            .expect("told");
        assert!(told >= lost, "{told} of {lost}");
        assert_eq!(whole + lost, 1000);
    }
}
