//! `rtmsd demo --serve`: meetings that go on until Ctrl-C, to look at in a browser.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{DemoOptions, EXIT_MAX, say, server_command};
use crate::admin::streams::Streams;
use crate::admin::{DEFAULT_ADDRESS, ListenAddress, own_token};
use crate::cli::admin_client;
use crate::cli::signals::{Signal, Signals};
use crate::demo::Zoom;
use crate::demo::player::handle::MeetingHandle;
use crate::demo::player::script::{End, Ending, MeetingScript, SentDetail};
use crate::demo::process::{ServerCommand, ServerProcess};
use crate::demo::verify::files::stream_folder;
use crate::demo::zoom::oauth;
use crate::demo::zoom::record::Step;
use crate::domain::secret::Secret;
use crate::state::seal::StateKeys;

/// As people speak.
const PHRASES_PER_SECOND: f64 = 0.7;
/// Phrases of a meeting: two to four minutes, so that one ends after the other.
const PHRASES: [u64; 3] = [90, 130, 170];
const TOPICS: [&str; 5] = [
    "Weekly product sync",
    "Design review",
    "Garden project",
    "Budget forecast",
    "Support hand-over",
];
/// How often it is looked whether a meeting is over.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Zoom is asked about a meeting for a while after its end.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// Recordings that are kept in a temporary folder, so that a demo of days does not fill it.
const RECORDINGS_MAX: usize = 50;
/// For the admin listener.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// What the server logs before the address of its admin listener.
const ADMIN_LINE: &str = "health, metrics and streams are at http://";

/// Plays until a signal; `true` if nothing was wrong.
pub(super) fn play(options: &DemoOptions) -> io::Result<bool> {
    let (folder, out, zoom) = options.set_up()?;
    let stop = Stop::default();
    let stopping = stop.clone();
    let _signals = Signals::start(move |signal| {
        if signal == Signal::Stop {
            stopping.stop();
        }
    })?;
    let mut command = server_command(options, &zoom, None, &folder.0, &out)?;
    (command.shows_stdout, command.shows_log) = (false, false);
    // Ctrl-C is for the demo, which then ends the server.
    command.is_apart = true;
    command.set("RTMS_STOP_AFTER", "0");
    command.set("RTMS_STDOUT", "off");
    let (mut server, admin) = start(&mut command, &zoom)?;
    let mut show = Show {
        pages: Pages::new(admin, &folder.0.join("state"))?,
        options,
        zoom: &zoom,
        seed: oauth::random(),
        begun: 0,
        running: Vec::new(),
        over: Vec::new(),
        temporary: options.out.is_none().then_some(out),
        recorded: VecDeque::new(),
    };
    say(&format!(
        "demo: open {} in a browser; meetings begin as others end, Ctrl-C ends it\n",
        show.pages.status()
    ));
    while !stop.wait(LOOK_EVERY) {
        if let Some(status) = server.wait(Duration::ZERO) {
            return Err(io::Error::other(format!("the server ended: {status}")));
        }
        show.step();
    }
    let violations = zoom.violations();
    let status = server.terminate(EXIT_MAX);
    for violation in &violations {
        say(&format!("failed: {violation}"));
    }
    let has_ended = status.and_then(|status| status.code()) == Some(0);
    if !has_ended {
        say("failed: the server did not end by itself");
    }
    if let Some(out) = &options.out {
        say(&format!("\nfiles are in {}", out.display()));
    }
    Ok(violations.is_empty() && has_ended)
}

/// Starts the server with its usual admin address, or with a free port where that is taken.
fn start(command: &mut ServerCommand, zoom: &Zoom) -> io::Result<(ServerProcess, SocketAddr)> {
    let usual = TcpListener::bind(DEFAULT_ADDRESS).map(|_| DEFAULT_ADDRESS.to_string());
    let mut begin = |admin: &str| {
        command.set("RTMS_ADMIN", admin);
        let server = command.serve(zoom)?;
        let line = server.wait_for_line(ANSWER_MAX, |line| line.contains(ADMIN_LINE));
        let line = line.unwrap_or_default();
        let address = line.split_once(ADMIN_LINE).map_or("", |(_, it)| it);
        let address = address.trim().parse();
        let address = address.map_err(|_| io::Error::other("the server has no admin address"))?;
        Ok((server, address))
    };
    // Another program can have taken it meanwhile.
    let usual = usual.and_then(|usual| begin(&usual));
    usual.or_else(|_| begin("127.0.0.1:0"))
}

/// Ctrl-C.
#[derive(Clone, Default)]
struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    fn stop(&self) {
        let (is_over, changed) = &*self.0;
        *is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Waits so long, and says whether it came.
    fn wait(&self, within: Duration) -> bool {
        let (is_over, changed) = &*self.0;
        let guard = is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(guard, within, |is_over| !*is_over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The meetings.
struct Show<'a> {
    pages: Pages,
    options: &'a DemoOptions,
    zoom: &'a Zoom,
    seed: String,
    begun: usize,
    /// And whether the address of its page was printed.
    running: Vec<(MeetingHandle, bool)>,
    over: Vec<(MeetingHandle, Instant)>,
    /// The folder for the files, if it is ours.
    temporary: Option<PathBuf>,
    /// Streams that are over, the oldest first.
    recorded: VecDeque<String>,
}

impl Show<'_> {
    fn step(&mut self) {
        let is_over = |meeting: &MeetingHandle| meeting.time_of(Step::Closed).is_some();
        let (over, running) = self.running.drain(..).partition(|(it, _)| is_over(it));
        self.running = running;
        let over: Vec<(MeetingHandle, bool)> = over;
        self.over
            .extend(over.into_iter().map(|(it, _)| (it, Instant::now())));
        self.over.retain(|(meeting, since)| {
            let is_kept = since.elapsed() < FORGET_AFTER;
            if !is_kept {
                self.zoom.forget_meeting(meeting);
                self.recorded.extend(meeting.streams());
            }
            is_kept
        });
        self.remove_old();
        while self.running.len() < self.options.meetings {
            let script = self.script();
            self.begun += 1;
            self.running.push((self.zoom.start_meeting(script), false));
        }
        if self.running.iter().any(|(_, is_shown)| !is_shown) {
            let streams = self.pages.streams();
            for (meeting, is_shown) in &mut self.running {
                let ids = meeting.streams();
                let mut rows = streams.iter().flat_map(|it| &it.streams);
                let row = rows.find(|row| ids.contains(&row.stream_id) && !*is_shown);
                if let Some(key) = row.and_then(|row| row.key.as_deref()) {
                    let topic = &meeting.script().topic;
                    say(&format!("{topic:<20} {}", self.pages.live(key)));
                    *is_shown = true;
                }
            }
        }
    }

    fn remove_old(&mut self) {
        while self.recorded.len() > RECORDINGS_MAX {
            let stream = self.recorded.pop_front().unwrap_or_default();
            let Some(out) = &self.temporary else {
                continue;
            };
            // What cannot be deleted now goes with the temporary folder.
            if let Ok(Some((folder, _))) = stream_folder(out, &stream) {
                let _ = fs::remove_dir_all(folder);
            }
        }
    }

    fn script(&self) -> MeetingScript {
        let n = self.begun;
        MeetingScript {
            topic: TOPICS[n % TOPICS.len()].to_owned(),
            phrases: Some(PHRASES[n % PHRASES.len()]),
            phrases_per_second: PHRASES_PER_SECOND,
            ending: Ending::AfterPhrases(End::meeting_ended()),
            // It may go on for days.
            keep: SentDetail::Count,
            ..self.options.script(&self.seed, n)
        }
    }
}

/// The pages of the server.
struct Pages {
    admin: SocketAddr,
    token: Secret,
}

impl Pages {
    fn new(admin: SocketAddr, state: &Path) -> io::Result<Pages> {
        let token = own_token::read(state, &StateKeys::default())?;
        let token = token.ok_or_else(|| io::Error::other("the server has made no token"))?;
        Ok(Pages { admin, token })
    }

    fn status(&self) -> String {
        format!("http://{}/#t={}", self.admin, self.token.expose())
    }

    fn live(&self, key: &str) -> String {
        format!("http://{}/live/{key}#t={}", self.admin, self.token.expose())
    }

    /// What is running; `None` if the server is too busy to say.
    fn streams(&self) -> Option<Streams> {
        let address = ListenAddress::Tcp(self.admin);
        let token = Some(&self.token);
        let answer = admin_client::ask(&address, "/streams", None, token, ANSWER_MAX).ok()?;
        serde_json::from_str(&answer.text).ok()
    }
}
