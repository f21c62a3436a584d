//! The admin listener: `/healthz`, `/readyz`, `/metrics`, `/streams` and commands, for the operator,
//! `/events` and `/media` for programs, and pages for people.
//!
//! It is a route of the gate, so it is as robust as the webhook listener. It asks the daemon
//! through its inbox and waits for at most a second; what goes on for long leaves the gate with its
//! socket for [`delivery::live`](crate::delivery::live) or
//! [`delivery::media`](crate::delivery::media). [`access`] says who may ask what.

pub mod access;
pub mod accounts;
pub mod control_socket;
pub mod events;
pub mod files;
pub mod host;
pub mod links;
pub mod listen;
pub mod metrics;
pub mod own_token;
mod pages;
pub mod process;
pub(crate) mod prune;
pub(crate) mod push_commands;
mod recordings;
pub mod streams;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub use access::Token;
pub use listen::ListenAddress;
use listen::reachable;

use crate::clock::now_ms;
use crate::daemon::Handle;
use crate::daemon::status::StatusSnapshot;
use crate::delivery::live::query::Ask;
use crate::delivery::live::{self, Access, Intake, Live, RETRY_AFTER_S, Times};
use crate::delivery::media;
use crate::domain::secret::Secret;
use crate::gate;
use crate::gate::{
    Answer, Decision, Gate, HandOver, HttpRequest, LeavingRequest, Limits, Listener, Listeners,
    OpenRoute,
};
use crate::state::seal::StateKeys;
use access::{Door, Guard, Request};
use files::FileRequest;
use host::AdminUrl;
use links::key::LinkKey;
use process::Process;
use recordings::{Recordings, Shelf, Wanted};

/// Default of `RTMS_ADMIN`.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// The settings of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `RTMS_ADMIN`; empty for off.
    pub listen: Vec<ListenAddress>,
    /// `RTMS_ADMIN_TOKEN`: required if an address is not loopback.
    pub token: Option<Secret>,
    /// `RTMS_ADMIN_URL`: how browsers reach the listener through a proxy.
    pub url: Option<AdminUrl>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: vec![ListenAddress::Tcp(DEFAULT_ADDRESS)],
            token: None,
            url: None,
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

/// The paths of the live feed, and of live media.
const EVENTS: &str = "/events";
const MEDIA: &str = "/media";

/// The running admin listener. Dropping it stops it.
#[derive(Debug)]
pub struct Admin {
    // Declared in this order: no request comes when the feed ends.
    route: OpenRoute,
    _live: Live,
    _media: media::Open,
    _recordings: Recordings,
}

impl Admin {
    /// Serves the daemon's status and its live feed on these listeners of the gate, to clients with the
    /// token. `state` is the daemon's state directory, if it has one.
    ///
    /// # Errors
    /// If a socket cannot be prepared.
    pub fn start(
        listeners: Vec<Listener>,
        token: Token,
        gate: &Gate,
        daemon: Handle,
        state: Option<&Path>,
        keys: &StateKeys,
    ) -> io::Result<Admin> {
        let started_ms = now_ms();
        let doors: Arc<[Door]> = listeners.iter().map(door).collect::<io::Result<_>>()?;
        let guard = Guard {
            links: open_links(state, keys),
            token,
        };
        let address = listeners.iter().find_map(|it| it.address().ok().flatten());
        let address = address.map(reachable);
        let asked = daemon.clone();
        let live = Live::new(live::Process {
            board: Box::new(move || Some(asked.output(ANSWER_MAX)?.board)),
            has_mark: state.is_some(),
            times: Times::default(),
        });
        let asked = daemon.clone();
        let (token, intake) = (guard.token.clone(), live.intake());
        let recordings = Recordings::new(recordings::Server {
            output: Box::new(move || asked.output(ANSWER_MAX)),
            links: guard.links.clone(),
            base: Box::new(move || {
                let url = token.url().map(|url| url.to_string());
                url.or_else(|| address.map(|address| format!("http://{address}")))
            }),
            look_at_links: Box::new(move || intake.look_at_links()),
        });
        let media = daemon.media().open();
        let content = Content {
            guard: guard.clone(),
            doors: Arc::clone(&doors),
            live: live.intake(),
            media: media.intake(),
            shelf: recordings.shelf(),
        };
        let hand_over = HandOver {
            leaves: |path| {
                matches!(path, EVENTS | MEDIA) || Wanted::is_path(path) || pages::is_path(path)
            },
            decide: Box::new(move |request| content.decide(request)),
        };
        let counters = Arc::clone(live.counters());
        let answer_one = move |request: HttpRequest| {
            let judged = judged(&request, &doors);
            let path = request.path();
            let answer = match path {
                prune::PATH => guard
                    .command(&judged)
                    .map(|()| prune::answer(request.body(), &daemon)),
                _ if push_commands::is_path(path) => guard
                    .command(&judged)
                    .map(|()| push_commands::answer(path, request.body(), &daemon)),
                _ => guard.status(&judged).map(|()| {
                    let ask = || daemon.status(ANSWER_MAX);
                    answer(request.method(), request.path(), started_ms, &counters, ask)
                }),
            };
            let answer = answer.unwrap_or_else(|refusal| refusal);
            request.answer(answer.with("Cache-Control", "no-store"));
        };
        let route = gate.open(Listeners {
            name: "admin",
            listeners,
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
            hand_over: Some(hand_over),
        })?;
        Ok(Admin {
            route,
            _live: live,
            _media: media,
            _recordings: recordings,
        })
    }

    /// The addresses of the listeners that have one.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.route.addresses()
    }
}

/// The key that signs links, if there is one.
fn open_links(state: Option<&Path>, keys: &StateKeys) -> LinkKey {
    LinkKey::open(state, keys).unwrap_or_else(|error| {
        log::warn!(
            "links that were made before are not known: {} in RTMS_STATE cannot be read: {error}",
            links::key::NAME
        );
        LinkKey::default()
    })
}

fn door(listener: &Listener) -> io::Result<Door> {
    Ok(match listener.address()? {
        None => Door::Unix,
        Some(address) if address.ip().is_loopback() => Door::Loopback,
        Some(_) => Door::Network,
    })
}

/// The gate writes a hyphen where there is no `Host`.
fn host(text: Option<&str>) -> Option<&str> {
    text.filter(|host| *host != "-")
}

/// What is read of a request to judge it.
fn judged<'a>(request: &'a HttpRequest, doors: &[Door]) -> Request<'a> {
    Request {
        door: doors
            .get(request.listener())
            .copied()
            .unwrap_or(Door::Network),
        method: request.method(),
        host: host(request.header("Host")),
        origin: request.header("Origin"),
        authorization: request.header("Authorization"),
        content_type: request.header("Content-Type"),
        is_upgrade: false,
    }
}

/// What leaves the gate with its socket: events, live media, and recordings.
struct Content {
    guard: Guard,
    doors: Arc<[Door]>,
    live: Intake,
    media: media::Intake,
    shelf: Shelf,
}

impl Content {
    fn decide(&self, request: &LeavingRequest) -> Decision {
        self.judge(request)
            .unwrap_or_else(|refusal| Decision::Answer(refusal.with("Cache-Control", "no-store")))
    }

    fn judge(&self, request: &LeavingRequest) -> Result<Decision, Answer> {
        let door = self.doors.get(request.listener()).copied();
        let judged = Request {
            door: door.unwrap_or(Door::Network),
            method: request.method(),
            host: host(request.header("Host")),
            origin: request.header("Origin"),
            authorization: request.header("Authorization"),
            content_type: request.header("Content-Type"),
            is_upgrade: request.header("Upgrade").is_some(),
        };
        let (path, query) = (request.path(), request.query());
        let malformed = |(status, text): (u16, String)| line(status, &text);
        if let Some(page) = pages::find(path, query) {
            self.guard.page(&judged)?;
            let answer = page.answer(request.method(), request.header("If-None-Match"));
            return Ok(Decision::Answer(answer));
        }
        if Wanted::is_posted(path) {
            let access = self.guard.post(&judged)?;
            let wanted = Wanted::parse_body(path, request.body()).map_err(malformed)?;
            return self.serve(wanted, access);
        }
        if !matches!(path, EVENTS | MEDIA) && !Wanted::is_path(path) {
            return Err(line(404, "there is no such file"));
        }
        let file = FileRequest::new(request).filter(|_| files::is_path(path));
        let access = match &file {
            Some(FileRequest { key, name, .. }) => {
                let ticket = recordings::ticket(query);
                self.guard.file(&judged, *key, name, ticket)?
            }
            None => self.guard.content(&judged)?,
        };
        let methods = if file.is_some() { "GET, HEAD" } else { "GET" };
        if !methods.split(", ").any(|it| it == request.method()) {
            return Err(line(405, "this method is not allowed here").with("Allow", methods));
        }
        if let Some(file) = file {
            return self.serve(Wanted::File(file), access);
        }
        if path == MEDIA {
            return Ok(Decision::Take(self.media.judge(request, access)?));
        }
        if path != EVENTS {
            let wanted = Wanted::parse(path, query).map_err(malformed)?;
            return self.serve(wanted, access);
        }
        let last_id = request.header("Last-Event-ID");
        let ask = Ask::parse(query, last_id, request.header("Accept"));
        let ask = ask.map_err(|text| line(400, &text))?;
        if !self.live.has_room() {
            let answer = line(503, "there are too many clients, come again");
            return Err(answer.with("Retry-After", RETRY_AFTER_S.to_string()));
        }
        let live = self.live.clone();
        Ok(Decision::Take(Box::new(move |socket| {
            live.take(socket, ask, access)
        })))
    }

    fn serve(&self, wanted: Wanted, access: Access) -> Result<Decision, Answer> {
        let serve = self.shelf.open(wanted, access)?;
        Ok(Decision::Take(Box::new(move |socket| serve.start(socket))))
    }
}

/// One line of text.
fn line(status: u16, text: &str) -> Answer {
    Answer::line(status, text)
}

fn answer(
    method: &str,
    path: &str,
    started_ms: u64,
    live: &live::Counters,
    ask: impl Fn() -> Option<StatusSnapshot>,
) -> Answer {
    if !matches!(path, "/healthz" | "/readyz" | "/metrics" | "/streams") {
        return line(
            404,
            "here are /healthz, /readyz, /metrics, /streams, /events and /media",
        );
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
                let troubles = push_troubles(&status)
                    + &events::troubles(&status)
                    + &accounts::troubles(&status)
                    + &keeping_trouble(&status);
                line(200, &format!("ready{troubles}"))
            }
        },
        "/metrics" => Answer::text(
            200,
            metrics::text(
                &status,
                &process,
                live,
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

/// A line if recordings take more space than they may, and nothing can be removed.
fn keeping_trouble(status: &StatusSnapshot) -> String {
    let trouble = status.keeping.as_ref().and_then(|it| it.trouble());
    trouble.map_or_else(String::new, |trouble| format!("\n{trouble}"))
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
