//! The steps before a connection carries WebSocket frames, each with a deadline.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use native_tls::{TlsAcceptor, TlsStream};
use rustix::event::PollFlags;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::{StatusCode, Uri};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, WebSocket, accept_hdr_with_config};

use super::connection_queue::{Command, Inbox};
use super::record::lock;
use super::shared::Shared;

/// Time limit of a client for TLS and upgrade.
const OPENING_MAX: Duration = Duration::from_secs(10);

/// A WebSocket over TLS.
pub(in crate::demo) type Ws = WebSocket<TlsStream<TcpStream>>;

/// Serves TLS and the upgrade; returns the connection and what was requested.
pub(in crate::demo) fn accept(
    shared: &Shared,
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    inbox: &Inbox,
    config: Option<WebSocketConfig>,
    is_available: bool,
) -> Option<(Ws, Uri)> {
    let until = Instant::now() + OPENING_MAX;
    let tls = match accept_tls(stream, acceptor, inbox, until) {
        Ok(tls) => tls,
        Err(error) => {
            shared.tls_failures.fetch_add(1, Ordering::Relaxed);
            log::debug!("demo: TLS with a client: {error}");
            return None;
        }
    };
    let raw = tls.get_ref().try_clone().ok()?;
    let target = Arc::new(Mutex::new(Uri::default()));
    let seen = Arc::clone(&target);
    #[expect(
        clippy::result_large_err,
        reason = "tungstenite's callback has this type"
    )]
    let callback = move |request: &Request, response: Response| {
        lock(&seen).clone_from(request.uri());
        match is_available {
            true => Ok(response),
            false => {
                let mut refusal = ErrorResponse::new(Some("try later".to_owned()));
                *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                Err(refusal)
            }
        }
    };
    let mut step = accept_hdr_with_config(tls, callback, config);
    loop {
        match step {
            Ok(ws) => {
                let target = lock(&target).clone();
                return Some((ws, target));
            }
            Err(HandshakeError::Failure(error)) => {
                log::debug!("demo: upgrade with a client: {error}");
                return None;
            }
            Err(HandshakeError::Interrupted(middle)) => {
                if !wait_open(inbox, &raw, until) {
                    return None;
                }
                step = middle.handshake();
            }
        }
    }
}

fn accept_tls(
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
fn wait_open(inbox: &Inbox, socket: &TcpStream, until: Instant) -> bool {
    inbox
        .wait(Some((socket.as_fd(), PollFlags::IN)), Some(until))
        .is_ok()
        && !matches!(inbox.take(), Some(Command::Quit))
        && Instant::now() < until
}
