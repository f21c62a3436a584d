//! A TCP stream with a 4 KiB read-ahead, so that one recv(2) serves several reads by OpenSSL.
//!
//! OpenSSL reads five bytes, then the rest of the record, then the next five, which are not there:
//! three system calls per phrase, and system calls are most of a phrase's cost. Here one call reads
//! what has arrived; if it returned less than its buffer size, the next read returns `WouldBlock`
//! without a system call. poll(2) reports what arrives later.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::sync::Arc;

/// Maximum bytes per call, unless the caller asks for more: in a flood, ten phrases.
const READ_BYTES: usize = 4 << 10;

/// A nonblocking TCP connection. It has no buffer while it waits.
#[derive(Debug)]
pub(crate) struct ReadAheadTcp {
    tcp: Arc<TcpStream>,
    ahead: Vec<u8>,
    from: usize,
    is_drained: bool,
}

impl ReadAheadTcp {
    pub(crate) fn new(tcp: TcpStream) -> ReadAheadTcp {
        ReadAheadTcp {
            tcp: Arc::new(tcp),
            ahead: Vec::new(),
            from: 0,
            is_drained: false,
        }
    }

    /// The socket to wait on.
    pub(crate) fn tcp(&self) -> &Arc<TcpStream> {
        &self.tcp
    }

    /// Whether a read is known to find nothing, without a system call; returns `true` only once.
    pub(crate) fn known_empty(&mut self) -> bool {
        self.ahead.is_empty() && std::mem::take(&mut self.is_drained)
    }

    /// Makes the next read call the kernel, whatever the last one found.
    pub(crate) fn force_read(&mut self) {
        self.is_drained = false;
    }
}

impl Read for ReadAheadTcp {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.known_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.ahead.is_empty() {
            if out.len() >= READ_BYTES {
                return (&*self.tcp).read(out);
            }
            // Read to the stack first, because the number of bytes is known only afterwards.
            let mut arrived = [MaybeUninit::uninit(); READ_BYTES];
            let (arrived, _) = rustix::io::read(&*self.tcp, &mut arrived)?;
            // Zero bytes are the end of the connection, which every further read must report again.
            self.is_drained = !arrived.is_empty() && arrived.len() < READ_BYTES;
            let (given, left) = arrived.split_at(arrived.len().min(out.len()));
            out[..given.len()].copy_from_slice(given);
            self.ahead.extend_from_slice(left);
            return Ok(given.len());
        }
        let left = &self.ahead[self.from..];
        let taken = left.len().min(out.len());
        out[..taken].copy_from_slice(&left[..taken]);
        self.from += taken;
        if self.from == self.ahead.len() {
            self.ahead = Vec::new();
            self.from = 0;
        }
        Ok(taken)
    }
}

impl Write for ReadAheadTcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.tcp).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.tcp).flush()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A connection, and Zoom's end of it.
    pub(crate) fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("a client");
        near.set_nonblocking(true).expect("a socket");
        let (far, _) = listener.accept().expect("the client");
        (near, far)
    }

    /// Reads in small steps until nothing is left.
    fn drain(wire: &mut ReadAheadTcp, step: usize) -> (Vec<u8>, io::Result<usize>) {
        let (mut all, mut piece) = (Vec::new(), vec![0; step]);
        loop {
            match wire.read(&mut piece) {
                Ok(n @ 1..) => all.extend_from_slice(&piece[..n]),
                end => return (all, end),
            }
        }
    }

    fn arrived(wire: &ReadAheadTcp) {
        let mut fds = [rustix::event::PollFd::new(
            wire.tcp(),
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(rustix::event::poll(&mut fds, Some(&limit)), Ok(1));
    }

    #[test]
    fn all_bytes_arrive_once_in_order_and_then_the_end() {
        let (tcp, mut peer) = pair();
        let mut wire = ReadAheadTcp::new(tcp);
        let is_empty = |end: io::Result<usize>| {
            end.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        assert!(is_empty(drain(&mut wire, 5).1));
        let mut sent = Vec::new();
        let mut got = Vec::new();
        for (n, length) in [1, 5, 300, READ_BYTES, 3 * READ_BYTES + 7]
            .iter()
            .enumerate()
        {
            let message = vec![n as u8 + 1; *length];
            peer.write_all(&message).expect("it is sent");
            sent.extend(message);
            // As the poll loop does: read until nothing is left each time something has arrived.
            while got.len() < sent.len() {
                arrived(&wire);
                let (piece, end) = drain(&mut wire, 5 + 2000 * n);
                got.extend(piece);
                assert!(is_empty(end));
                assert_eq!(wire.ahead.capacity(), 0);
            }
        }
        assert_eq!(got, sent);
        peer.write_all(b"last").expect("it is sent");
        drop(peer);
        let mut last = Vec::new();
        let end = loop {
            arrived(&wire);
            let (piece, end) = drain(&mut wire, 5);
            last.extend(piece);
            if end.is_ok() {
                break end;
            }
        };
        assert_eq!((last.as_slice(), end.ok()), (&b"last"[..], Some(0)));
    }
}
