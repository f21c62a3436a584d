//! `rtmsd demo --nodes`: several servers behind a load balancer, with a store between them.
//!
//! Every second meeting is of a Zoom where a newer connection of a stream displaces the older one, every other
//! of one that refuses the newer: which of them Zoom is has never been said. As in `--chaos`, the demo's Zoom
//! sends what is due while no node is connected later, and the last two seconds before a loss again. So no
//! phrase may be lost. A phrase may be there twice, once at each of two nodes, only where a node was killed or
//! stopped: what it had just written, no other node can know.

mod incidents;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use super::table::{FleetRow, fleet_table};
use super::{DemoOptions, Folder, say};
use crate::demo::Zoom;
use crate::demo::balancer::Balancer;
use crate::demo::fleet_store::Server as Store;
use crate::demo::player::handle::MeetingHandle;
use crate::demo::player::script::{Begin, Duplicates, End, MeetingScript};
use crate::demo::process::{ServerCommand, ServerProcess, own_program};
use crate::demo::verify::phrases::compare;
use crate::demo::verify::union::{self, Part};
use crate::demo::zoom::oauth;
use crate::demo::zoom::record::{Step, left};

const PHRASES_PER_SECOND: f64 = 5.0;
/// Everything sent in this time before a loss is sent again after it.
const REPLAY: Duration = Duration::from_secs(2);
/// From a fault until every meeting has data again: 5 s until a node counts as dead, 4 s until Zoom finds a
/// stopped one silent, and a few tries.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// Until a node has heard from the store.
const JOIN_MAX: Duration = Duration::from_secs(20);
/// Hand-over and the balancer's time.
const EXIT_MAX: Duration = Duration::from_secs(45);
/// Data flows in this time, so that the next fault can lose something.
const BETWEEN: Duration = Duration::from_secs(2);
/// Most phrases that can be at two nodes after one of them was killed or stopped: what was written in the
/// second before and what Zoom sends again.
const DOUBLED_MAX: usize = 20;

/// Plays it; returns whether nothing failed.
pub(super) fn play(
    options: &DemoOptions,
    count: usize,
    store: Option<&str>,
    is_chaos: bool,
) -> io::Result<bool> {
    let (folder, out, zoom) = options.set_up()?;
    let own_store = match store {
        Some(_) => None,
        None => Some(Store::start(Box::new(now_ms))?),
    };
    let url = match (&own_store, store) {
        (Some(own), _) => own.url(),
        (None, url) => url.unwrap_or_default().to_owned(),
    };
    let balancer = Balancer::start()?;
    zoom.set_webhook_target(&format!("http://{}/webhook", balancer.address()))?;
    let seed = oauth::random();
    let mut stage = Stage {
        began: Instant::now(),
        nodes: nodes(count, &zoom, &folder, &out, &url, &seed)?,
        meetings: Vec::new(),
        faults: Vec::new(),
        excused: Vec::new(),
        seed,
        balancer,
        store: own_store,
        zoom,
    };
    stage.say(&format!(
        "{count} nodes behind http://{}, their store is {}",
        stage.balancer.address(),
        match store {
            Some(_) => "the given one",
            None => "the demo's",
        }
    ));
    for at in 0..count {
        stage.start(at)?;
    }
    stage.begin(options.meetings, "begin")?;
    if stage.faults.is_empty() {
        match is_chaos {
            false => stage.one_leaves()?,
            true => stage.chaos()?,
        }
    }
    let has_failed = stage.finish(options)?;
    Ok(!has_failed)
}

fn nodes(
    count: usize,
    zoom: &Zoom,
    folder: &Folder,
    out: &Path,
    store: &str,
    seed: &str,
) -> io::Result<Vec<Node>> {
    let program = own_program()?;
    let names = ('a'..='z').map(String::from).take(count);
    let nodes = names.map(|name| {
        let own = folder.0.join(&name);
        std::fs::create_dir_all(&own)?;
        let out = out.join(&name);
        let mut command = ServerCommand::new(&program, zoom, &own);
        // Ctrl-C is for the demo, which then ends the nodes.
        command.is_apart = true;
        let shown = out.display().to_string();
        for (key, value) in [
            ("RTMS_OUT", shown.as_str()),
            ("RTMS_STDOUT", "off"),
            ("RTMS_FLEET", store),
            // No other node's fleet on a store that was given.
            ("RTMS_FLEET_NAME", &format!("demo-{seed}")),
            ("RTMS_NODE", &name),
        ] {
            command.set(key, value);
        }
        Ok(Node {
            name,
            out,
            command,
            server: None,
        })
    });
    nodes.collect()
}

struct Node {
    name: String,
    out: PathBuf,
    command: ServerCommand,
    server: Option<ServerProcess>,
}

struct Stage {
    began: Instant,
    nodes: Vec<Node>,
    meetings: Vec<Meeting>,
    faults: Vec<String>,
    /// What Zoom found wrong of a node that stood still: it could not do better.
    excused: Vec<String>,
    seed: String,
    balancer: Balancer,
    store: Option<Store>,
    zoom: Zoom,
}

struct Meeting {
    handle: MeetingHandle,
    /// How often its node was killed or stopped.
    crashes: usize,
}

impl Meeting {
    fn topic(&self) -> &str {
        &self.handle.script().topic
    }
}

/// How it was before a fault.
struct Before {
    /// How often each meeting's stream was received, and how many phrases were sent.
    counts: Vec<(usize, u64)>,
    at: Instant,
}

impl Stage {
    fn say(&self, what: &str) {
        say(&format!(
            "{:5.1} s  {what}",
            self.began.elapsed().as_secs_f64()
        ));
    }

    /// Starts a node, and waits until it is one of the fleet.
    fn start(&mut self, at: usize) -> io::Result<()> {
        let node = &mut self.nodes[at];
        let (server, address) = node.command.listen()?;
        self.balancer.set(at, Some(address));
        let is_it = |line: &str| line.contains("store answers");
        let has_joined = server.wait_for_line(JOIN_MAX, is_it).is_some();
        node.server = Some(server);
        if !has_joined {
            let fault = format!("node {}: the store did not answer it", node.name);
            self.faults.push(fault);
        }
        Ok(())
    }

    /// Starts meetings, and waits until all of them speak.
    fn begin(&mut self, count: usize, what: &str) -> io::Result<()> {
        let first = self.meetings.len();
        self.say(&format!("{count} meetings {what}"));
        for n in first..first + count {
            let handle = self.zoom.start_meeting(script(&self.seed, n));
            self.meetings.push(Meeting { handle, crashes: 0 });
        }
        let until = Instant::now() + RECOVERY_MAX;
        for meeting in &self.meetings[first..] {
            if !meeting.handle.wait_for_phrases(5, left(until)) {
                let fault = format!("{}: no phrase was sent", meeting.topic());
                self.faults.push(fault);
            }
        }
        let spread = self.spread()?;
        self.say(&spread);
        Ok(())
    }

    /// How many meetings each node has.
    fn spread(&self) -> io::Result<String> {
        let mut counts = vec![0; self.nodes.len()];
        for meeting in &self.meetings {
            if let Some(at) = self.receiver(meeting)? {
                counts[at] += 1;
            }
        }
        let nodes = self.nodes.iter().zip(counts);
        let words: Vec<String> = nodes
            .map(|(node, n)| format!("{} has {n}", node.name))
            .collect();
        Ok(format!("node {}", words.join(", ")))
    }

    fn parts(&self, meeting: &Meeting) -> io::Result<Vec<Part>> {
        let outs: Vec<PathBuf> = self.nodes.iter().map(|node| node.out.clone()).collect();
        let mut parts = Vec::new();
        for stream in meeting.handle.streams() {
            parts.extend(union::parts(&outs, &stream)?);
        }
        Ok(parts)
    }

    /// The node that receives a meeting now, by its files.
    fn receiver(&self, meeting: &Meeting) -> io::Result<Option<usize>> {
        let parts = self.parts(meeting)?;
        Ok(parts
            .iter()
            .rev()
            .find(|part| part.is_open())
            .map(|part| part.node))
    }

    /// The node that has the most meetings, and which.
    fn fullest(&self) -> io::Result<(usize, Vec<usize>)> {
        let mut of_node = vec![Vec::new(); self.nodes.len()];
        for (n, meeting) in self.meetings.iter().enumerate() {
            if let Some(at) = self.receiver(meeting)? {
                of_node[at].push(n);
            }
        }
        let most = (0..of_node.len()).max_by_key(|at| of_node[*at].len());
        let most = most.unwrap_or(0);
        Ok((most, std::mem::take(&mut of_node[most])))
    }

    fn before(&self) -> Before {
        std::thread::park_timeout(BETWEEN);
        let counts = self.meetings.iter().map(|meeting| {
            let handle = &meeting.handle;
            (handle.count(Step::Ready), handle.sent_count())
        });
        Before {
            counts: counts.collect(),
            at: Instant::now(),
        }
    }

    /// Waits until these meetings were connected to again, and phrases of all flow.
    fn recover(&mut self, before: &Before, moved: &[usize], what: &str) -> io::Result<()> {
        let until = Instant::now() + RECOVERY_MAX;
        let mut faults = Vec::new();
        for n in moved {
            let meeting = &self.meetings[*n];
            let again = before.counts[*n].0 + 1;
            if !meeting
                .handle
                .wait_for_times(Step::Ready, again, left(until))
            {
                faults.push(format!("{}: not received again: {what}", meeting.topic()));
            }
        }
        let took = before.at.elapsed().as_secs_f64();
        for (meeting, (_, sent)) in self.meetings.iter().zip(&before.counts) {
            if !meeting.handle.wait_for_phrases(sent + 10, left(until)) {
                faults.push(format!("{}: no phrases after: {what}", meeting.topic()));
            }
        }
        self.faults.extend(faults);
        if !moved.is_empty() {
            let count = moved.len();
            self.say(&format!(
                "       its {count} meetings are received again after {took:.1} s"
            ));
        }
        let spread = self.spread()?;
        self.say(&format!("       {spread}"));
        Ok(())
    }

    fn with_store(&self, work: impl FnOnce(&Store)) {
        if let Some(store) = &self.store {
            work(store);
        }
    }

    /// Ends everything and prints the results; returns whether something failed.
    fn finish(mut self, options: &DemoOptions) -> io::Result<bool> {
        let until = Instant::now() + RECOVERY_MAX;
        for meeting in &self.meetings {
            meeting.handle.end(End::meeting_ended());
        }
        let mut faults = std::mem::take(&mut self.faults);
        for meeting in &self.meetings {
            let handle = &meeting.handle;
            let has_ended = handle.wait_for(Step::StoppedAnswered, left(until))
                && handle.wait_for(Step::Closed, left(until));
            if !has_ended {
                faults.push(format!("{}: not closed at the end", meeting.topic()));
            }
        }
        for meeting in &self.meetings {
            // The files are complete a moment after the sockets are closed.
            while self.receiver(meeting)?.is_some() && !left(until).is_zero() {
                std::thread::park_timeout(Duration::from_millis(50));
            }
        }
        for at in 0..self.nodes.len() {
            self.signal(at, Signal::TERM);
        }
        let until = Instant::now() + EXIT_MAX;
        for node in &mut self.nodes {
            let Some(server) = &mut node.server else {
                continue;
            };
            let status = server.wait(left(until));
            if status.and_then(|status| status.code()) != Some(0) {
                faults.push(format!(
                    "node {}: found {status:?} after SIGTERM",
                    node.name
                ));
            }
        }
        let mut rows = Vec::new();
        for meeting in &self.meetings {
            let parts = self.parts(meeting)?;
            let lines = union::lines(&parts)?;
            let result = compare(&meeting.handle.sent(), lines.iter().map(String::as_str));
            let names = parts.iter().map(|part| self.nodes[part.node].name.as_str());
            let is_complete = result.sent > 0 && result.lost == 0 && result.foreign == 0;
            let is_exact = meeting.crashes > 0 || result.is_exact();
            if !is_complete || !is_exact || result.doubled > DOUBLED_MAX * meeting.crashes {
                faults.push(format!("{}: {result:?}", meeting.topic()));
            }
            rows.push(FleetRow {
                topic: meeting.topic().to_owned(),
                zoom: match meeting.handle.script().duplicates {
                    Duplicates::Displace => "displaces",
                    Duplicates::Refuse => "refuses",
                },
                nodes: names.collect::<Vec<_>>().join(" "),
                connected: meeting.handle.count(Step::Ready),
                result,
            });
        }
        say(&format!("\n{}", fleet_table(&rows)));
        if !faults.is_empty() {
            for node in &self.nodes {
                let log = node
                    .server
                    .as_ref()
                    .map(ServerProcess::log)
                    .unwrap_or_default();
                let last = log.len().saturating_sub(40);
                say(&format!("the log of node {}:", node.name));
                log[last..].iter().for_each(|line| say(line));
            }
        }
        let excused = std::mem::take(&mut self.excused);
        let found = self.zoom.stop().into_iter();
        faults.extend(found.filter(|it| !excused.contains(it)));
        if let Some(out) = &options.out {
            say(&format!("files are in {}", out.display()));
        }
        for fault in &faults {
            say(&format!("failed: {fault}"));
        }
        if faults.is_empty() {
            say("nothing was lost");
        }
        Ok(!faults.is_empty())
    }
}

fn script(seed: &str, n: usize) -> MeetingScript {
    let mut script = MeetingScript::varied(seed, n);
    script.topic = format!("Meeting {}", n + 1);
    script.phrases_per_second = PHRASES_PER_SECOND;
    script.replay = REPLAY;
    script.duplicates = [Duplicates::Displace, Duplicates::Refuse][n % 2];
    if n / 2 % 2 == 1 {
        script.begin = Begin::AtOnce;
    }
    script
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
