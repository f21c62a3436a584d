//! State that all threads of the demo share.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::certificate::Certificates;
use super::clock::Clock;
use super::connection_queue::ConnectionQueue;
use super::events::EventHub;
use super::listeners::Ports;
use super::oauth::Oauth;
use super::record::{Latencies, Violations, lock};
use super::rest::Rest;
use super::webhooks::Webhooks;
use crate::demo::Options;
use crate::demo::player::Meeting;
use crate::demo::player::script::{DemoProduct, HandshakeFault, MeetingScript, Socket};

/// Enough for a TLS handshake in a debug build; only touched pages use memory.
const STACK_BYTES: usize = 256 * 1024;

pub(in crate::demo) struct Shared {
    pub(in crate::demo) options: Options,
    pub(in crate::demo) directory: PathBuf,
    pub(in crate::demo) certificates: Certificates,
    pub(in crate::demo) ports: Ports,
    pub(in crate::demo) clock: Clock,
    pub(in crate::demo) webhooks: Webhooks,
    pub(in crate::demo) events: EventHub,
    pub(in crate::demo) oauth: Mutex<Oauth>,
    pub(in crate::demo) rest: Mutex<Rest>,
    pub(in crate::demo) meetings: Mutex<Meetings>,
    /// Open WebSocket connections, each with the queue to stop it.
    pub(in crate::demo) connections: Mutex<HashMap<u64, ConnectionQueue>>,
    /// Open HTTP connections, to shut them down at the end.
    pub(in crate::demo) http_streams: Mutex<HashMap<u64, TcpStream>>,
    pub(in crate::demo) violations: Mutex<Violations>,
    pub(in crate::demo) signaling_keep_alives: Mutex<Latencies>,
    pub(in crate::demo) media_keep_alives: Mutex<Latencies>,
    pub(in crate::demo) tls_failures: AtomicU64,
    threads: Mutex<Threads>,
    stopping: AtomicBool,
    ids: AtomicU64,
}

/// The meetings, under each of their ids.
#[derive(Default)]
pub(in crate::demo) struct Meetings {
    pub(in crate::demo) by_number: HashMap<u64, Arc<Meeting>>,
    pub(in crate::demo) by_id: HashMap<String, Arc<Meeting>>,
    pub(in crate::demo) by_stream: HashMap<String, Arc<Meeting>>,
}

#[derive(Default)]
struct Threads {
    handles: Vec<(String, JoinHandle<()>)>,
    prune_at: usize,
}

impl Shared {
    pub(in crate::demo) fn new(
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
            events: EventHub::default(),
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

    pub(in crate::demo) fn violation(&self, text: String) {
        log::debug!("demo: violation: {text}");
        lock(&self.violations).add(text);
    }

    pub(in crate::demo) fn keep_alive_answered(&self, socket: Socket, taken: std::time::Duration) {
        match socket {
            Socket::Signaling => lock(&self.signaling_keep_alives).add(taken),
            Socket::Media => lock(&self.media_keep_alives).add(taken),
        }
    }

    /// A new number at each call.
    pub(in crate::demo) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(in crate::demo) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The URL of a socket.
    pub(in crate::demo) fn url(&self, door: HandshakeFault, socket: Socket, path: &str) -> String {
        format!(
            "wss://{}:{}{path}",
            self.options.host,
            self.ports.of(door, socket)
        )
    }

    /// The id and secret that must sign the handshakes of this meeting.
    pub(in crate::demo) fn credentials(&self, script: &MeetingScript) -> (&str, &str) {
        match script.product {
            DemoProduct::Session => (&self.options.sdk_key, &self.options.sdk_secret),
            _ => (&self.options.client_id, &self.options.client_secret),
        }
    }

    /// The account that the meeting belongs to.
    pub(in crate::demo) fn account_of<'a>(&'a self, script: &'a MeetingScript) -> &'a str {
        script
            .account
            .as_deref()
            .unwrap_or(&self.options.account_id)
    }

    /// Starts a thread that is joined at the end; its panic becomes a violation.
    pub(in crate::demo) fn spawn(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let handle = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(work)?;
        let mut threads = lock(&self.threads);
        threads.handles.push((name.to_owned(), handle));
        // Joining ended threads now and then keeps the list short.
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

    /// Stops every thread and waits for all of them.
    pub(in crate::demo) fn stop(&self, pool: usize) {
        if self.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        self.clock.stop();
        self.webhooks.stop(pool);
        self.ports.wake();
        loop {
            // A connection accepted meanwhile is stopped in the next turn.
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
pub(in crate::demo) fn hmac_hex(key: &str, message: &[u8]) -> String {
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
