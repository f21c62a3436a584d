//! What all threads of the demo hold in common.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Options;
use super::certificate::Certificates;
use super::clock::Clock;
use super::doors::Ports;
use super::mailbox::Mailbox;
use super::meeting::Meeting;
use super::oauth::Oauth;
use super::record::{Latencies, Violations, lock};
use super::rest::Rest;
use super::script::{DemoProduct, Door, MeetingScript, Socket};
use super::webhooks::Webhooks;

/// Enough for a TLS handshake in a debug build; a thread's memory is only used as far as touched.
const STACK_BYTES: usize = 256 * 1024;

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) directory: PathBuf,
    pub(super) certificates: Certificates,
    pub(super) ports: Ports,
    pub(super) clock: Clock,
    pub(super) webhooks: Webhooks,
    pub(super) oauth: Mutex<Oauth>,
    pub(super) rest: Mutex<Rest>,
    pub(super) meetings: Mutex<Meetings>,
    /// WebSocket connections that live, each with where to tell it to stop.
    pub(super) connections: Mutex<HashMap<u64, Mailbox>>,
    /// HTTP connections that live, to shut them down at the end.
    pub(super) http_streams: Mutex<HashMap<u64, TcpStream>>,
    pub(super) violations: Mutex<Violations>,
    pub(super) signaling_keep_alives: Mutex<Latencies>,
    pub(super) media_keep_alives: Mutex<Latencies>,
    pub(super) tls_failures: AtomicU64,
    threads: Mutex<Threads>,
    stopping: AtomicBool,
    ids: AtomicU64,
}

/// The meetings, by each name under which they may be asked for.
#[derive(Default)]
pub(super) struct Meetings {
    pub(super) by_number: HashMap<u64, Arc<Meeting>>,
    pub(super) by_id: HashMap<String, Arc<Meeting>>,
    pub(super) by_stream: HashMap<String, Arc<Meeting>>,
}

#[derive(Default)]
struct Threads {
    handles: Vec<(String, JoinHandle<()>)>,
    prune_at: usize,
}

impl Shared {
    pub(super) fn new(
        options: Options,
        directory: PathBuf,
        certificates: Certificates,
        ports: Ports,
        clock: Clock,
    ) -> io::Result<Shared> {
        let webhooks = Webhooks::new(&certificates.ca_pem)?;
        Ok(Shared {
            oauth: Mutex::new(Oauth::new(&options)),
            options,
            directory,
            certificates,
            ports,
            clock,
            webhooks,
            rest: Mutex::default(),
            meetings: Mutex::default(),
            connections: Mutex::default(),
            http_streams: Mutex::default(),
            violations: Mutex::default(),
            signaling_keep_alives: Mutex::default(),
            media_keep_alives: Mutex::default(),
            tls_failures: AtomicU64::new(0),
            threads: Mutex::default(),
            stopping: AtomicBool::new(false),
            ids: AtomicU64::new(1),
        })
    }

    pub(super) fn violation(&self, text: String) {
        log::debug!("demo: violation: {text}");
        lock(&self.violations).add(text);
    }

    pub(super) fn keep_alive_answered(&self, socket: Socket, taken: std::time::Duration) {
        match socket {
            Socket::Signaling => lock(&self.signaling_keep_alives).add(taken),
            Socket::Media => lock(&self.media_keep_alives).add(taken),
        }
    }

    /// A number never given before.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The URL of a socket.
    pub(super) fn url(&self, door: Door, socket: Socket, path: &str) -> String {
        format!(
            "wss://{}:{}{path}",
            self.options.host,
            self.ports.of(door, socket)
        )
    }

    /// What the handshakes of this meeting must be signed with: id and secret.
    pub(super) fn credentials(&self, script: &MeetingScript) -> (&str, &str) {
        match script.product {
            DemoProduct::Session => (&self.options.sdk_key, &self.options.sdk_secret),
            _ => (&self.options.client_id, &self.options.client_secret),
        }
    }

    /// Starts a thread that is joined at the end; its panic becomes a violation.
    pub(super) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let handle = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(work)?;
        let mut threads = lock(&self.threads);
        threads.handles.push((name.to_owned(), handle));
        // Joining what is done now and then keeps the list as long as there are live threads.
        if threads.handles.len() >= threads.prune_at.max(64) {
            let (done, live) = std::mem::take(&mut threads.handles)
                .into_iter()
                .partition(|(_, handle)| handle.is_finished());
            threads.handles = live;
            threads.prune_at = 2 * threads.handles.len();
            drop(threads);
            self.join(done);
        }
        Ok(())
    }

    fn join(&self, handles: Vec<(String, JoinHandle<()>)>) {
        for (name, handle) in handles {
            if handle.join().is_err() {
                self.violation(format!("thread {name} of the demo panicked"));
            }
        }
    }

    /// Tells every thread to end and waits for all of them.
    pub(super) fn stop(&self, pool: usize) {
        if self.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        self.clock.stop();
        self.webhooks.stop(pool);
        self.ports.wake();
        loop {
            // A connection accepted meanwhile is caught by the next turn.
            for mailbox in lock(&self.connections).values() {
                mailbox.quit();
            }
            for stream in lock(&self.http_streams).values() {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
            let handles = std::mem::take(&mut lock(&self.threads).handles);
            if handles.is_empty() {
                return;
            }
            self.join(handles);
        }
    }
}

/// Lower-case hex of HMAC-SHA256.
pub(super) fn hmac_hex(key: &str, message: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_signatures_match_the_vectors() {
        assert_eq!(
            hmac_hex(
                "YZnKVUfug7N18Oej6gHHqNWc7CG5jQ6N",
                b"XkWfgHHASGOQC9b95AkIxB,/ajXp112QmuoKj4854875==,rtms_stream_0001"
            ),
            "6252b9ef5173e40298085aa2493e5c5635314726da681191d82cfcfc1ba66020"
        );
    }
}
