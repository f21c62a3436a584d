//! The steps before a connection carries WebSocket frames, each with a deadline.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use native_tls::{TlsAcceptor, TlsStream};
use rustix::event::PollFlags;

use super::connection_queue::{Command, Inbox};

/// Time limit of a client for TLS and upgrade.
pub(in crate::demo) const OPENING_MAX: Duration = Duration::from_secs(10);

pub(in crate::demo) fn accept_tls(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    inbox: &Inbox,
    until: Instant,
) -> io::Result<TlsStream<TcpStream>> {
    let raw = stream.try_clone()?;
    let mut step = acceptor.accept(stream);
    loop {
        match step {
            Ok(tls) => return Ok(tls),
            Err(native_tls::HandshakeError::Failure(error)) => return Err(io::Error::other(error)),
            Err(native_tls::HandshakeError::WouldBlock(middle)) => {
                if !wait_open(inbox, &raw, until) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                step = middle.handshake();
            }
        }
    }
}

/// Serves TLS only, for a listener that does not answer the upgrade.
pub(in crate::demo) fn hold_after_tls(stream: TcpStream, acceptor: &TlsAcceptor, inbox: &Inbox) {
    let Ok(raw) = stream.try_clone() else { return };
    if let Ok(tls) = accept_tls(stream, acceptor, inbox, Instant::now() + OPENING_MAX) {
        inbox.hold(tls, &raw);
    }
}

/// Waits while a connection is being opened; `false` at the time limit.
pub(in crate::demo) fn wait_open(inbox: &Inbox, socket: &TcpStream, until: Instant) -> bool {
    inbox
        .wait(Some((socket.as_fd(), PollFlags::IN)), Some(until))
        .is_ok()
        && !matches!(inbox.take(), Some(Command::Quit))
        && Instant::now() < until
}
