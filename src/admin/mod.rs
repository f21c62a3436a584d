//! The admin listener: `/healthz`, `/readyz`, `/metrics` and `/streams`, for the operator alone.
//!
//! It stands behind a gate of its own, so a port scanner can do here as little as at the public
//! listener; it asks the daemon through its inbox and waits for a second at most. Which address is
//! fit for it without a token is decided by the configuration.

pub mod metrics;
pub mod process;
pub mod streams;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tiny_http::{Header, Request, Response};

use crate::clock::now_ms;
use crate::daemon::Handle;
use crate::daemon::status::Status;
use crate::domain::secret::Secret;
use crate::gate;
use crate::gate::{Gate, Limits};
use crate::source::ingress::default_socket_parent;
use process::Process;

/// `RTMS_ADMIN` where it is not set.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// What an operator decides about the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `RTMS_ADMIN`; `None` for off.
    pub address: Option<SocketAddr>,
    /// `RTMS_ADMIN_TOKEN`: given if the address is not loopback.
    pub token: Option<Secret>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            address: Some(DEFAULT_ADDRESS),
            token: None,
        }
    }
}

/// The daemon answers in microseconds; one that needs this long is not well.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Of the files that may be open, how many may be before we call it full, in percent. A stream
/// needs up to a dozen.
const FILES_PERCENT_MAX: u64 = 90;

/// Of the places in the daemon's inbox.
const INBOX_MAX: usize = 4096;

/// The running admin listener. Dropping it stops it.
#[derive(Debug)]
pub struct Admin {
    gate: Gate,
}

/// What every request must show as `Authorization: Bearer`, if anything. Clones are one and the
/// same, so that it can be changed while the listener runs.
#[derive(Debug, Clone, Default)]
pub struct Token(Arc<Mutex<Option<Secret>>>);

impl Token {
    /// This one.
    pub fn new(token: Option<Secret>) -> Token {
        Token(Arc::new(Mutex::new(token)))
    }

    /// Another one, for requests from now on.
    pub fn set(&self, token: Option<Secret>) {
        *self.lock() = token;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Secret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admin {
    /// Serves the daemon's state on this listener, to those who show the token.
    ///
    /// # Errors
    /// A directory, a socket or a thread that is not to be had.
    pub fn start(listener: TcpListener, token: Token, daemon: Handle) -> io::Result<Admin> {
        let started_ms = now_ms();
        let answer_one = move |request: Request| {
            let authorization = (request.headers().iter())
                .find(|header| header.field.equiv("Authorization"))
                .map(|header| header.value.as_str().to_owned());
            let answer = if !is_allowed(token.lock().as_ref(), authorization.as_deref()) {
                Answer::text(
                    401,
                    "the bearer token of RTMS_ADMIN_TOKEN is missing or wrong",
                )
            } else {
                let ask = || daemon.status(ANSWER_MAX);
                answer(request.method().as_str(), request.url(), started_ms, ask)
            };
            // A client that is gone does not want to know.
            let _ = answer.send(request);
        };
        let handler = move |requests: Vec<Request>| requests.into_iter().for_each(&answer_one);
        let config = gate::Config {
            limits: Limits {
                head_bytes_max: 8 << 10,
                body_bytes_max: 4 << 10,
                connections_max: 64,
                ..Limits::default()
            },
            tls: None,
        };
        let parent = default_socket_parent();
        let gate = Gate::start(vec![listener], config, parent, Arc::new(handler))?;
        Ok(Admin { gate })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.gate.addresses()
    }
}

/// Compares digests, so that neither the place of the first difference nor the length shows in the
/// time it takes.
fn is_allowed(token: Option<&Secret>, authorization: Option<&str>) -> bool {
    let Some(token) = token else {
        return true;
    };
    let shown = authorization.and_then(|value| value.split_once(' '));
    let Some((_, shown)) = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return false;
    };
    let digest = |text: &str| Sha256::digest(text.trim().as_bytes());
    openssl::memcmp::eq(&digest(shown), &digest(token.expose()))
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u16,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(code: u16, line: &str) -> Answer {
        Answer {
            code,
            content_type: "text/plain; charset=utf-8",
            body: format!("{line}\n"),
        }
    }

    fn send(self, request: Request) -> io::Result<()> {
        // The gate wants a length, whatever the size.
        let mut response = Response::from_string(self.body)
            .with_status_code(self.code)
            .with_chunked_threshold(usize::MAX);
        for (name, value) in [
            ("Content-Type", Some(self.content_type)),
            ("Cache-Control", Some("no-store")),
            ("WWW-Authenticate", (self.code == 401).then_some("Bearer")),
            ("Allow", (self.code == 405).then_some("GET, HEAD")),
        ] {
            if let Some(Ok(header)) = value.map(|value| Header::from_bytes(name, value)) {
                response.add_header(header);
            }
        }
        request.respond(response)
    }
}

fn answer(method: &str, url: &str, started_ms: u64, ask: impl Fn() -> Option<Status>) -> Answer {
    let path = url.split('?').next().unwrap_or_default();
    if !matches!(path, "/healthz" | "/readyz" | "/metrics" | "/streams") {
        return Answer::text(404, "here are /healthz, /readyz, /metrics and /streams");
    }
    if !matches!(method, "GET" | "HEAD") {
        return Answer::text(405, "this method is not for here");
    }
    let Some(status) = ask() else {
        return Answer::text(503, "the daemon does not answer");
    };
    let process = Process::read(started_ms);
    match path {
        "/healthz" => Answer::text(200, "alive"),
        "/readyz" => match trouble(&status, &process) {
            Some(why) => Answer::text(503, &why),
            None => Answer::text(200, "ready"),
        },
        "/metrics" => Answer {
            code: 200,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: metrics::text(&status, &process, trouble(&status, &process).is_none()),
        },
        _ => {
            let streams = streams::Streams::of(&status, &process, trouble(&status, &process));
            Answer {
                code: 200,
                content_type: "application/json",
                body: serde_json::to_string(&streams).unwrap_or_default() + "\n",
            }
        }
    }
}

/// Why no more work should be sent here, if so.
fn trouble(status: &Status, process: &Process) -> Option<String> {
    if status.is_draining {
        return Some("draining: the server was told to end".to_owned());
    }
    if let Some(trouble) = status.edge_trouble {
        return Some(trouble.to_owned());
    }
    let troubled = (status.disk.as_ref()).map_or(0, |disk| disk.troubled.load(Relaxed));
    if troubled > 0 {
        return Some(format!(
            "the disk cannot be used: files of {troubled} streams wait to be written under RTMS_OUT"
        ));
    }
    if status.is_state_troubled {
        let text =
            "the disk cannot be used: what a restart needs waits to be written under RTMS_STATE";
        return Some(text.to_owned());
    }
    if process.open_files.saturating_mul(100) >= process.files_max.saturating_mul(FILES_PERCENT_MAX)
    {
        return Some(format!(
            "at capacity: {} of {} files are open; raise LimitNOFILE",
            process.open_files, process.files_max
        ));
    }
    (status.inbox_len >= INBOX_MAX).then(|| {
        format!(
            "at capacity: {} webhooks wait for the daemon",
            status.inbox_len
        )
    })
}

#[cfg(test)]
mod tests;
