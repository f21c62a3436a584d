//! One request to the backend, and its answer.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::answer;
use super::answer::{ANSWER_BYTES_MAX, ParsedAnswer};

/// The state of an exchange.
pub(super) enum Progress {
    /// Waiting for the backend.
    Pending,
    /// Its status code, and the answer for the client.
    Answered(u16, Vec<u8>),
    /// The connection failed, or the answer was malformed.
    Failed,
}

/// A connection to the backend, for one request.
pub(super) struct Exchange {
    stream: UnixStream,
    /// The number of the server, of those built so far.
    pub(super) generation: u64,
    sent_bytes: usize,
    is_sent: bool,
    answer: Vec<u8>,
}

impl Exchange {
    /// Connects. This cannot block, because the gate has fewer concurrent exchanges than the
    /// backlog has places.
    pub(super) fn start(socket: &Path, generation: u64) -> io::Result<Exchange> {
        let stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        Ok(Exchange {
            stream,
            generation,
            sent_bytes: 0,
            is_sent: false,
            answer: Vec::new(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether part of the request is still to be sent.
    pub(super) fn wants_to_write(&self) -> bool {
        !self.is_sent
    }

    /// Sends and receives as far as possible.
    pub(super) fn step(&mut self, request: &[u8], is_head: bool, scratch: &mut [u8]) -> Progress {
        while let Some(rest) = request
            .get(self.sent_bytes..)
            .filter(|rest| !rest.is_empty())
        {
            match (&self.stream).write(rest) {
                Ok(n) => self.sent_bytes += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // It may have answered without reading all; the read below shows it.
                Err(_) => self.sent_bytes = request.len(),
            }
        }
        self.is_sent = self.sent_bytes >= request.len();
        loop {
            match (&self.stream).read(scratch) {
                Ok(0) => return Progress::Failed,
                Ok(n) => {
                    self.answer.extend_from_slice(&scratch[..n]);
                    match answer::parse_answer(&self.answer, is_head) {
                        ParsedAnswer::Complete(code, bytes) => {
                            return Progress::Answered(code, bytes);
                        }
                        ParsedAnswer::Broken => return Progress::Failed,
                        ParsedAnswer::More if self.answer.len() > 2 * ANSWER_BYTES_MAX => {
                            return Progress::Failed;
                        }
                        ParsedAnswer::More => {}
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Progress::Pending,
                Err(_) => return Progress::Failed,
            }
        }
    }
}
