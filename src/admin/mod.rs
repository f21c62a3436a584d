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
pub mod fleet;
pub(crate) mod forget_commands;
pub mod host;
pub mod links;
pub mod listen;
pub mod metrics;
mod overview;
pub mod own_token;
mod pages;
pub mod process;
pub(crate) mod prune;
pub(crate) mod push_commands;
mod recordings;
mod served;
pub mod streams;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub use access::Token;
pub use listen::ListenAddress;
use listen::reachable;
pub use served::{Served, ServedPart};

use crate::clock::now_ms;
use crate::daemon::Handle;
use crate::daemon::apps::Daemons;
use crate::daemon::status::StatusSnapshot;
use crate::delivery::live::Access;
use crate::delivery::live::query::Ask;
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
use overview::Overview;
use process::Process;
use recordings::{Recordings, Shelf, Wanted};
use served::app_in;

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
    route: OpenRoute,
    _recordings: Recordings,
}

impl Admin {
    /// Serves the status of the daemons and what is served of them on these listeners of the gate, to clients
    /// with the token. `state` is the server's state directory, if it has one.
    ///
    /// # Errors
    /// If a socket cannot be prepared.
    pub fn start(
        listeners: Vec<Listener>,
        token: Token,
        gate: &Gate,
        daemons: Daemons,
        served: Served,
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
        let (token, asked, told) = (guard.token.clone(), served.clone(), served.clone());
        let recordings = Recordings::new(recordings::Server {
            apps: Box::new(move |name| asked.outputs(name)),
            links: guard.links.clone(),
            base: Box::new(move || {
                let url = token.url().map(|url| url.to_string());
                url.or_else(|| address.map(|address| format!("http://{address}")))
            }),
            look_at_links: Box::new(move || told.look_at_links()),
        });
        let content = Content {
            guard: guard.clone(),
            doors: Arc::clone(&doors),
            served: served.clone(),
            shelf: recordings.shelf(),
        };
        let hand_over = HandOver {
            leaves: |path| {
                matches!(path, EVENTS | MEDIA) || Wanted::is_path(path) || pages::is_path(path)
            },
            decide: Box::new(move |request| content.decide(request)),
        };
        let answer_one = move |request: HttpRequest| {
            let judged = judged(&request, &doors);
            let path = request.path();
            let command = |give: &dyn Fn(&Handle) -> Answer| {
                guard.command(&judged).and_then(|()| {
                    let app = served.one(Some(request.query()))?;
                    Ok(give(&app.daemon))
                })
            };
            let answer = match path {
                prune::PATH => command(&|daemon| prune::answer(request.body(), daemon)),
                _ if push_commands::is_path(path) => {
                    command(&|daemon| push_commands::answer(path, request.body(), daemon))
                }
                _ if forget_commands::is_path(path) => {
                    command(&|daemon| forget_commands::answer(path, request.body(), daemon))
                }
                _ => guard.status(&judged).map(|()| {
                    let look = || overview(&served, &daemons, request.query());
                    answer(request.method(), path, started_ms, look)
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
    served: Served,
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
            return self.serve(wanted, app_in(query), access);
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
            return self.serve(Wanted::File(file), app_in(query), access);
        }
        if path == MEDIA {
            return self.tap(request, &access);
        }
        if path != EVENTS {
            let wanted = Wanted::parse(path, query).map_err(malformed)?;
            return self.serve(wanted, app_in(query), access);
        }
        let last_id = request.header("Last-Event-ID");
        let ask = Ask::parse(query, last_id, request.header("Accept"));
        let ask = ask.map_err(|text| line(400, &text))?;
        let apps = self.served.meant(query)?;
        match apps.as_slice() {
            [app] => app.follow(ask, access),
            _ => self.shelf.follow(apps, ask, access),
        }
    }

    /// Live media of the app that has the stream.
    fn tap(&self, request: &LeavingRequest, access: &Access) -> Result<Decision, Answer> {
        let mut refusal = None;
        for app in self.served.meant(request.query())? {
            match app.media.judge(request, access.clone()) {
                Ok(take) => return Ok(Decision::Take(take)),
                // That it does not run there says less than any other answer.
                Err(answer) if answer.status == 404 => {
                    refusal.get_or_insert(answer);
                }
                Err(answer) => return Err(answer),
            }
        }
        Err(refusal.unwrap_or_else(|| line(503, "no app is running")))
    }

    fn serve(
        &self,
        wanted: Wanted,
        app: Option<String>,
        access: Access,
    ) -> Result<Decision, Answer> {
        let serve = self.shelf.open(wanted, app, access)?;
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
    look: impl Fn() -> Result<Overview, Answer>,
) -> Answer {
    if !matches!(
        path,
        "/healthz" | "/readyz" | "/metrics" | "/streams" | "/fleet"
    ) {
        return line(
            404,
            "here are /healthz, /readyz, /metrics, /streams, /events and /media",
        );
    }
    if !matches!(method, "GET" | "HEAD") {
        return line(405, "this method is not allowed here").with("Allow", "GET, HEAD");
    }
    let overview = match look() {
        Ok(overview) => overview,
        Err(refusal) => return refusal,
    };
    // With several apps, the pages of the others go on.
    let is_silent = overview
        .silence()
        .filter(|_| !overview.is_several || path == "/healthz");
    if let Some(silence) = is_silent {
        return line(503, &silence);
    }
    let process = Process::read(started_ms);
    let unready = overview.unready_reason(&process);
    match path {
        "/healthz" => line(200, "alive"),
        "/readyz" => match unready {
            Some(why) => line(503, &why),
            None => line(200, &format!("ready{}", overview.troubles())),
        },
        "/fleet" => {
            let mut apps = overview.answering();
            let found = apps.find_map(|(_, status)| status.fleet.as_ref());
            let Some(status) = found else {
                return line(404, "there is no fleet: RTMS_FLEET is not set");
            };
            let page = fleet::FleetPage::of_node(status);
            let json = serde_json::to_string(&page).unwrap_or_default() + "\n";
            Answer::text(200, json).of_type("application/json")
        }
        "/metrics" => Answer::text(200, metrics::text(&overview, &process))
            .of_type("text/plain; version=0.0.4; charset=utf-8"),
        _ => {
            let streams = streams::Streams::from_overview(&overview, &process, unready);
            Answer::text(
                200,
                serde_json::to_string(&streams).unwrap_or_default() + "\n",
            )
            .of_type("application/json")
        }
    }
}

/// The status of all daemons, or of the one that the query names.
fn overview(served: &Served, daemons: &Daemons, query: &str) -> Result<Overview, Answer> {
    let disabled = match daemons {
        Daemons::One(_) => None,
        Daemons::Several(apps) => Some(apps.disabled()),
    };
    let query = Some(query);
    let is_several = disabled.is_some();
    Ok(Overview {
        apps: served.statuses(query)?,
        is_several,
        disabled: disabled
            .filter(|_| app_in(query).is_none())
            .unwrap_or_default(),
    })
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
    let fleet = status.fleet.as_ref();
    if let Some(reason) = fleet.and_then(|fleet| fleet.unready_reason()) {
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
