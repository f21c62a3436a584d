//! The admin listener: `/healthz`, `/readyz`, `/metrics`, `/streams` and commands, for the operator.
//!
//! It is a route of the gate, so it is as robust as the webhook listener. It asks the daemon
//! through its inbox and waits for at most a second. The configuration decides which address may
//! serve it without a token.

pub mod control_socket;
pub mod events;
pub mod metrics;
pub mod own_token;
pub mod process;
pub(crate) mod push_commands;
pub mod streams;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::now_ms;
use crate::daemon::Handle;
use crate::daemon::status::StatusSnapshot;
use crate::domain::secret::Secret;
use crate::gate;
use crate::gate::{Answer, Gate, HttpRequest, Limits, Listeners, OpenRoute};
use process::Process;

/// Default of `RTMS_ADMIN`.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// The settings of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `RTMS_ADMIN`; `None` for off.
    pub address: Option<SocketAddr>,
    /// `RTMS_ADMIN_TOKEN`: required if the address is not loopback.
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

/// Time limit for the daemon, which answers in microseconds.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Percentage of the open file limit above which the server reports itself full. A stream needs up
/// to a dozen files.
const FILES_PERCENT_MAX: u64 = 90;

/// The same for places in the daemon's inbox, as a number.
const INBOX_MAX: usize = 4096;

/// The running admin listener. Dropping it stops it.
#[derive(Debug)]
pub struct Admin {
    route: OpenRoute,
}

/// The bearer token that every request must show, if there is one. Clones share it, so that it can
/// be changed while the listener runs.
#[derive(Debug, Clone, Default)]
pub struct Token(Arc<Mutex<Tokens>>);

#[derive(Debug, Clone, Default)]
struct Tokens {
    /// `RTMS_ADMIN_TOKEN`, for everything.
    configured: Option<Secret>,
    /// The server's own, for what must not be open to every user of this machine.
    own: Option<Secret>,
}

impl Token {
    /// Creates it with this token.
    pub fn new(token: Option<Secret>) -> Token {
        Token(Arc::new(Mutex::new(Tokens {
            configured: token,
            own: None,
        })))
    }

    /// Replaces the token for future requests.
    pub fn set(&self, token: Option<Secret>) {
        self.lock().configured = token;
    }

    /// The token of [`own_token`], which commands need where none is configured.
    pub fn set_own(&self, token: Secret) {
        self.lock().own = Some(token);
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admin {
    /// Serves the daemon's status on this listener of the gate, to clients with the token.
    ///
    /// # Errors
    /// If the socket cannot be prepared.
    pub fn start(
        listener: TcpListener,
        token: Token,
        gate: &Gate,
        daemon: Handle,
    ) -> io::Result<Admin> {
        let started_ms = now_ms();
        let answer_one = move |request: HttpRequest| {
            let Tokens {
                configured: token,
                own,
            } = token.lock().clone();
            let answer = if !is_allowed(token.as_ref(), request.header("Authorization")) {
                line(
                    401,
                    "the bearer token of RTMS_ADMIN_TOKEN is missing or wrong",
                )
                .with("WWW-Authenticate", "Bearer")
            } else if token.is_none() && !is_direct(request.header("Host")) {
                line(
                    403,
                    "without RTMS_ADMIN_TOKEN the Host must be an IP address or localhost",
                )
            } else if push_commands::is_path(request.path()) {
                match refusal(&request, token.or(own).as_ref()) {
                    Some(refusal) => refusal,
                    None => push_commands::answer(
                        request.path(),
                        request.header("Content-Type"),
                        request.body(),
                        &daemon,
                    ),
                }
            } else {
                let ask = || daemon.status(ANSWER_MAX);
                answer(request.method(), request.path(), started_ms, ask)
            };
            request.answer(answer.with("Cache-Control", "no-store"));
        };
        let route = gate.open(Listeners {
            name: "admin",
            listeners: vec![listener],
            config: gate::Config {
                limits: Limits {
                    head_bytes_max: 8 << 10,
                    body_bytes_max: 4 << 10,
                    connections_max: 64,
                    ..Limits::default()
                },
                tls: None,
            },
            // A request may wait for the daemon, and the other worker must stay free for webhooks.
            in_flight_max: 1,
            handler: Arc::new(move |requests| requests.into_iter().for_each(&answer_one)),
        })?;
        Ok(Admin { route })
    }

    /// The addresses of the listener.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.route.addresses()
    }
}

/// Why a command is refused before its body is read: another method, no credential, a request of a web
/// page from another host.
fn refusal(request: &HttpRequest, token: Option<&Secret>) -> Option<Answer> {
    if request.method() != "POST" {
        let answer = line(405, "this method is not allowed here");
        return Some(answer.with("Allow", "POST"));
    }
    let Some(token) = token else {
        let text = "commands need a token: set RTMS_ADMIN_TOKEN, or RTMS_STATE so that the server \
                    can make one";
        return Some(line(403, text));
    };
    if !is_allowed(Some(token), request.header("Authorization")) {
        let text = "the bearer token is missing or wrong; it is RTMS_ADMIN_TOKEN, or else in the \
                    file admin-token of RTMS_STATE";
        return Some(line(401, text).with("WWW-Authenticate", "Bearer"));
    }
    let is_foreign = request.header("Origin").is_some_and(|origin| {
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        request.header("Host") != Some(host)
    });
    is_foreign.then(|| line(403, "commands of another web page are not taken"))
}

/// Compares digests, so that the time taken shows neither the first difference nor the length.
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

/// Whether a request was made for this machine and not for a name that another web page has
/// resolved to it (DNS rebinding). A request without a `Host` is not from a browser.
fn is_direct(host: Option<&str>) -> bool {
    let Some(host) = host.filter(|host| *host != "-") else {
        return true;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok() || name.trim_end_matches('.').eq_ignore_ascii_case("localhost")
}

/// One line of text.
fn line(status: u16, text: &str) -> Answer {
    Answer::text(status, format!("{text}\n")).of_type("text/plain; charset=utf-8")
}

fn answer(
    method: &str,
    path: &str,
    started_ms: u64,
    ask: impl Fn() -> Option<StatusSnapshot>,
) -> Answer {
    if !matches!(path, "/healthz" | "/readyz" | "/metrics" | "/streams") {
        return line(404, "here are /healthz, /readyz, /metrics and /streams");
    }
    if !matches!(method, "GET" | "HEAD") {
        return line(405, "this method is not allowed here").with("Allow", "GET, HEAD");
    }
    let Some(status) = ask() else {
        return line(503, "the daemon does not answer");
    };
    let process = Process::read(started_ms);
    match path {
        "/healthz" => line(200, "alive"),
        "/readyz" => match unready_reason(&status, &process) {
            Some(why) => line(503, &why),
            // An endpoint that fails is no reason to send work elsewhere: its events wait on the disk.
            None => {
                let troubles = push_troubles(&status) + &events::troubles(&status);
                line(200, &format!("ready{troubles}"))
            }
        },
        "/metrics" => Answer::text(
            200,
            metrics::text(
                &status,
                &process,
                unready_reason(&status, &process).is_none(),
            ),
        )
        .of_type("text/plain; version=0.0.4; charset=utf-8"),
        _ => {
            let streams =
                streams::Streams::from_status(&status, &process, unready_reason(&status, &process));
            Answer::text(
                200,
                serde_json::to_string(&streams).unwrap_or_default() + "\n",
            )
            .of_type("application/json")
        }
    }
}

/// A line for each endpoint that takes nothing.
fn push_troubles(status: &StatusSnapshot) -> String {
    let endpoints = status.push.iter().flat_map(|push| &push.endpoints);
    let troubled = endpoints.filter(|endpoint| !matches!(endpoint.report.state, "ok" | "failing"));
    troubled
        .map(|endpoint| {
            let report = &endpoint.report;
            format!(
                "\npush endpoint {} is {}: {} events wait",
                endpoint.name, report.state, report.lag_events
            )
        })
        .collect()
}

/// Why the server should get no more work; `None` if it is ready.
fn unready_reason(status: &StatusSnapshot, process: &Process) -> Option<String> {
    if status.is_draining {
        return Some("draining: the server is stopping".to_owned());
    }
    if let Some(reason) = status.unready_reason {
        return Some(reason.to_owned());
    }
    if let Some(reason) = events::unready_reason(status) {
        return Some(reason);
    }
    let disk = status.disk.as_ref();
    if let Some(hung) = disk.and_then(|disk| disk.progress.hung_for()) {
        return Some(format!(
            "cannot write to the disk: it has not answered for {} s under RTMS_OUT",
            hung.as_secs()
        ));
    }
    let failing = (status.disk.as_ref()).map_or(0, |disk| disk.failing_streams.load(Relaxed));
    if failing > 0 {
        return Some(format!(
            "cannot write to the disk: files of {failing} streams wait to be written under RTMS_OUT"
        ));
    }
    if status.is_state_failing {
        let text = "cannot write to the disk: the state for a restart waits to be written under RTMS_STATE";
        return Some(text.to_owned());
    }
    if process.open_files.saturating_mul(100) >= process.files_max.saturating_mul(FILES_PERCENT_MAX)
    {
        return Some(format!(
            "at capacity: {} of {} files are open; raise LimitNOFILE",
            process.open_files, process.files_max
        ));
    }
    if status.waiting_streams > 0 {
        return Some(format!(
            "at capacity: {} streams wait for files or threads, {} of {} files are open; raise LimitNOFILE",
            status.waiting_streams, process.open_files, process.files_max
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
