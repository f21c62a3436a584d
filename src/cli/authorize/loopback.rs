//! The loopback port of `rtmsd authorize`: takes the browser's request and answers it with one line.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};

/// Time limit for a request. Browsers open connections that they may not use, and one is served at a time.
const REQUEST_MAX: Duration = Duration::from_secs(2);
/// Time limit for the command, which asks the server, and for the browser to read our answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Maximum bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A request of a browser that came back.
pub(super) struct Callback {
    /// Path and query.
    pub(super) target: String,
    reply: Sender<bool>,
}

impl Callback {
    /// Whether it was expected.
    pub(super) fn answer(self, is_ours: bool) {
        // The browser may have gone.
        let _ = self.reply.send(is_ours);
    }
}

/// The listening port. Dropping it closes the port and joins its thread.
pub(super) struct Loopback {
    listener: TcpListener,
    callbacks: Receiver<Callback>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    /// Listens at this address, if it is `http` on a loopback address of this machine.
    pub(super) fn listen(redirect: &str) -> io::Result<Option<Loopback>> {
        let Some((address, path)) = target(redirect) else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address)?;
        let accepting = listener.try_clone()?;
        let (sender, callbacks) = channel();
        let work = move || {
            while let Ok((stream, _)) = accepting.accept() {
                // A client that breaks off is no fault of the next one.
                let _ = serve(stream, &path, &sender);
            }
        };
        let thread = Builder::new()
            .name("loopback".to_owned())
            .stack_size(128 << 10)
            .spawn(work)?;
        Ok(Some(Loopback {
            listener,
            callbacks,
            thread: Some(thread),
        }))
    }

    /// A request that waits for its answer, if there is one.
    pub(super) fn next(&self) -> Option<Callback> {
        self.callbacks.try_recv().ok()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        // Ends accept(2) in the thread; one request may still take its time limit.
        let _ = shutdown(&self.listener, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Address and path of `http://127.0.0.1:8765/oauth`.
pub(crate) fn target(redirect: &str) -> Option<(SocketAddr, String)> {
    let rest = redirect.strip_prefix("http://")?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let authority = match authority.strip_prefix("localhost") {
        Some(port) => format!("127.0.0.1{port}"),
        None => authority.to_owned(),
    };
    let authority =
        match authority.ends_with(|c: char| c.is_ascii_digit()) && authority.contains(':') {
            true => authority,
            false => format!("{authority}:80"),
        };
    let address: SocketAddr = authority.parse().ok()?;
    address
        .ip()
        .is_loopback()
        .then(|| (address, path.to_owned()))
}

fn serve(mut stream: TcpStream, path: &str, callbacks: &Sender<Callback>) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk)?;
        if count == 0 || head.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(&chunk[..count]);
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let found = target.split('?').next().unwrap_or_default();
    let (status, text) = match (method, found == path) {
        ("GET", true) => match ask(target, callbacks) {
            true => ("200 OK", "rtmsd has received it. You can close this page."),
            false => (
                "400 Bad Request",
                "This is not an authorization that was begun here, or it was used or is older than ten minutes.",
            ),
        },
        ("GET", false) => ("404 Not Found", "nothing is here"),
        _ => ("405 Method Not Allowed", "this method is not allowed here"),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    )?;
    stream.flush()
}

fn ask(target: &str, callbacks: &Sender<Callback>) -> bool {
    let (reply, answer) = channel();
    let sent = callbacks.send(Callback {
        target: target.to_owned(),
        reply,
    });
    sent.is_ok() && answer.recv_timeout(ANSWER_MAX).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_listened_at() {
        for (redirect, expected) in [
            ("http://127.0.0.1:8765/oauth", Some("127.0.0.1:8765")),
            ("http://localhost:8765/oauth", Some("127.0.0.1:8765")),
            ("http://[::1]:8765/oauth", Some("[::1]:8765")),
            ("https://127.0.0.1:8765/oauth", None),
            ("https://rtms.example.com/oauth", None),
            ("http://10.0.0.7:8765/oauth", None),
        ] {
            let found = target(redirect).map(|(address, path)| {
                assert_eq!(path, "/oauth");
                address.to_string()
            });
            assert_eq!(found.as_deref(), expected, "{redirect}");
        }
    }
}
