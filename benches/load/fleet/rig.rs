//! Nodes of one fleet, with the demo's Zoom and a balancer in this process.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rtmsd::demo::{
    Balancer, Begin, Comparison, Duplicates, End, MeetingHandle, MeetingScript, Options,
    ServerCommand, ServerProcess, Step, Zoom, compare,
};
use rustix::process::Signal;
use serde_json::Value;

use super::store::Store;
use crate::MINUTE;
use crate::process::{self, Usage};

/// Until a node has heard from the store, or has handed over.
const PATIENCE: Duration = Duration::from_secs(45);
/// Until a node that has just begun answers for a fleet.
const SETTLE: Duration = Duration::from_secs(7);
/// Streams that join at one time.
const JOINING: usize = 40;
/// Both ways in which Zoom may treat a second connection of a stream.
pub(crate) const BOTH: [Duplicates; 2] = [Duplicates::Displace, Duplicates::Refuse];

/// All of it. The nodes are `a`, `b`, `c`.
pub(crate) struct Rig {
    pub(crate) zoom: Zoom,
    pub(crate) store: Store,
    pub(crate) nodes: Vec<Node>,
    /// Zoom says nothing when a connection is lost.
    pub(crate) is_loss_silent: bool,
    balancer: Balancer,
    folder: PathBuf,
}

pub(crate) struct Node {
    command: ServerCommand,
    out: PathBuf,
    process: Option<ServerProcess>,
    address: Option<SocketAddr>,
}

/// A meeting of which every phrase is known.
pub(crate) struct Talk {
    pub(crate) handle: MeetingHandle,
    begun: Instant,
}

/// How often, and how long, a stream was received by no node.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// Seconds of each gap that is over.
    pub(crate) seconds: Vec<f64>,
    /// Streams that are received by no node now.
    pub(crate) open: usize,
}

impl Rig {
    /// Starts so many nodes; `None` where there is no store to measure with.
    pub(crate) fn start(count: usize) -> Option<Rig> {
        Rig::start_as(count, true)
    }

    /// Starts a server without a fleet, in the same surroundings.
    pub(crate) fn start_alone() -> Option<Rig> {
        Rig::start_as(1, false)
    }

    fn start_as(count: usize, is_fleet: bool) -> Option<Rig> {
        let folder = std::env::temp_dir().join(format!("rtmsd-bench-fleet-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a temporary folder");
        let store = Store::start(&folder)?;
        let zoom = Zoom::start(Options {
            webhook_threads: 64,
            webhook_retries: vec![Duration::from_millis(100); 300],
            ..Options::default()
        });
        let zoom = zoom.expect("the demo's Zoom starts");
        let balancer = Balancer::start().expect("a port");
        let mut rig = Rig {
            zoom,
            store,
            nodes: Vec::new(),
            is_loss_silent: false,
            balancer,
            folder,
        };
        rig.post_to_all();
        for at in 0..count {
            let name = char::from(b'a' + at as u8).to_string();
            let mut node = rig.node(&name);
            if !is_fleet {
                let of_fleet = ["RTMS_FLEET", "RTMS_NODE"];
                let settings = &mut node.command.settings;
                settings.retain(|(key, _)| !of_fleet.contains(&key.as_str()));
            }
            rig.nodes.push(node);
            rig.run(at);
        }
        // Until they know whether a node has what is announced to them.
        std::thread::park_timeout(SETTLE);
        Some(rig)
    }

    fn node(&self, name: &str) -> Node {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let mut command = ServerCommand::new(process::binary(), &self.zoom, &folder);
        command.environment = process::unit_environment();
        for (key, value) in [
            ("RTMS_FLEET", self.store.url().as_str()),
            ("RTMS_NODE", name),
            ("RTMS_AUTO_START", "off"),
        ] {
            command.set(key, value);
        }
        for (key, value) in process::settings_of_all() {
            command.set(key, value);
        }
        Node {
            command,
            out: folder.join("out"),
            process: None,
            address: None,
        }
    }

    /// Starts a node, again or for the first time, and waits until a balancer would use it.
    pub(crate) fn run(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let process = node.command.start().expect("the node starts");
        let address = process.address(PATIENCE).expect("the node listens");
        let has_fleet = node
            .command
            .settings
            .iter()
            .any(|(key, _)| key == "RTMS_FLEET");
        let until = Instant::now() + PATIENCE;
        while has_fleet && !is_ready(address) {
            assert!(Instant::now() < until, "the node is ready");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        (node.process, node.address) = (Some(process), Some(address));
        self.balancer.set(at, Some(address));
    }

    /// Webhooks go to all nodes in turn.
    pub(crate) fn post_to_all(&self) {
        self.post_to(self.balancer.address());
    }

    /// Webhooks go to this node.
    pub(crate) fn post_to_node(&self, at: usize) {
        self.post_to(self.nodes[at].address.expect("it runs"));
    }

    fn post_to(&self, address: SocketAddr) {
        let target = format!("http://{address}/webhook");
        self.zoom.set_webhook_target(&target).expect("a URL");
    }

    /// SIGKILL. The balancer notices it when it connects.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].process = None;
    }

    /// SIGTERM; waits until the node has ended, and says how long that took.
    pub(crate) fn terminate(&mut self, at: usize) -> Duration {
        let begun = Instant::now();
        let mut process = self.nodes[at].process.take().expect("it runs");
        process.signal(Signal::TERM);
        let status = process.wait(PATIENCE);
        assert!(
            status.is_some_and(|status| status.success()),
            "the node ends normally: {status:?}"
        );
        self.balancer.set(at, None);
        begun.elapsed()
    }

    /// The sum of what the nodes that run have used.
    pub(crate) fn usage(&self) -> Usage {
        let ids = self.nodes.iter().filter_map(|node| node.process.as_ref());
        ids.map(|process| process::usage(process.id()))
            .fold(Usage::default(), |sum, one| Usage {
                cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
                rss_mib: sum.rss_mib + one.rss_mib,
                peak_mib: sum.peak_mib + one.peak_mib,
                switches: sum.switches + one.switches,
            })
    }

    /// CPU seconds of this process: Zoom and the balancer.
    pub(crate) fn zoom_cpu() -> f64 {
        process::usage(std::process::id()).cpu_seconds
    }

    /// Starts meetings, half of each kind of Zoom, without all of them joining at once, and waits until all are
    /// received.
    pub(crate) fn speak(&self, seed: &str, count: usize, phrases_per_second: f64) -> Vec<Talk> {
        let mut talks: Vec<Talk> = Vec::new();
        for n in 0..count {
            talks.push(self.begin(&format!("{seed} {n}"), BOTH[n % 2], phrases_per_second));
            if let Some(earlier) = n.checked_sub(JOINING) {
                talks[earlier].wait_until_received();
            }
        }
        talks.iter().for_each(Talk::wait_until_received);
        talks
    }

    /// Starts a meeting.
    pub(crate) fn begin(
        &self,
        seed: &str,
        duplicates: Duplicates,
        phrases_per_second: f64,
    ) -> Talk {
        let mut script = MeetingScript {
            begin: Begin::AtOnce,
            duplicates,
            phrases_per_second,
            tell_signaling_loss: !self.is_loss_silent,
            ..MeetingScript::plain(seed)
        };
        script.speakers.truncate(1);
        Talk {
            begun: Instant::now(),
            handle: self.zoom.start_meeting(script),
        }
    }

    /// The folders of all nodes by stream: node, epoch, folder.
    fn folders(&self) -> HashMap<String, Vec<(usize, u64, PathBuf)>> {
        let mut found: HashMap<String, Vec<(usize, u64, PathBuf)>> = HashMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            collect(&node.out, &mut |folder, meta| {
                let stream = meta["stream_id"].as_str().unwrap_or_default().to_owned();
                let epoch = meta["epoch"].as_u64().unwrap_or(1);
                let found = found.entry(stream).or_default();
                found.push((at, epoch, folder.to_owned()));
            });
        }
        for epochs in found.values_mut() {
            epochs.sort_by_key(|(_, epoch, _)| *epoch);
        }
        found
    }

    /// Which node has each of these meetings, by its files.
    pub(crate) fn owners(&self, talks: &[Talk]) -> Vec<usize> {
        let folders = self.folders();
        let owner = |talk: &Talk| {
            let stream = talk.handle.streams().pop()?;
            Some(folders.get(&stream)?.last()?.0)
        };
        talks
            .iter()
            .map(|talk| owner(talk).expect("a node has it"))
            .collect()
    }

    /// Ends meetings, and compares what was sent with what the nodes together have.
    pub(crate) fn end(&self, talks: &[Talk]) -> Comparison {
        for talk in talks {
            talk.handle.end(End::meeting_ended());
        }
        for talk in talks {
            assert!(talk.handle.wait_for(Step::Closed, MINUTE), "it ends");
        }
        self.compare(talks)
    }

    fn compare(&self, talks: &[Talk]) -> Comparison {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let folders = self.folders();
            let parts = |talk: &Talk| {
                let streams = talk.handle.streams();
                let parts = streams.iter().filter_map(|stream| folders.get(stream));
                let parts: Vec<_> = parts.flatten().collect();
                parts
            };
            let of = |talk: &Talk| {
                let texts = parts(talk).into_iter().map(|(_, _, folder)| {
                    fs::read_to_string(folder.join("transcript.jsonl")).unwrap_or_default()
                });
                let texts: Vec<String> = texts.collect();
                compare(
                    &talk.handle.sent(),
                    texts.iter().flat_map(|text| text.lines()),
                )
            };
            let all: Vec<Comparison> = talks.iter().map(of).collect();
            let sum = all
                .iter()
                .fold(Comparison::default(), |sum, one| sum.plus(one));
            // The last lines may still be on their way to the files.
            if sum.lost == 0 || Instant::now() >= until {
                let lossy = talks.iter().zip(&all).filter(|(_, one)| one.lost > 0);
                // A node that was killed loses some; of a few it is shown what happened.
                for (talk, one) in lossy.take(5) {
                    println!("{one:?} {:?} {:?}", parts(talk), talk.handle.steps());
                }
                return sum;
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// Ends everything, and prints violations. Nodes do not hand over: no node is left to take it.
    pub(crate) fn stop(mut self) {
        for node in &mut self.nodes {
            node.process = None;
        }
        for violation in self.zoom.violations() {
            println!("violation: {violation}");
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Talk {
    pub(crate) fn duplicates(&self) -> Duplicates {
        self.handle.script().duplicates
    }

    pub(crate) fn wait_until_received(&self) {
        let is_there = self.handle.wait_for(Step::Ready, 2 * MINUTE);
        assert!(is_there, "all are received: {:?}", self.handle.steps());
    }

    /// When the step was taken the first time after that.
    pub(crate) fn after(&self, since: Instant, step: Step) -> Option<Instant> {
        let steps = self.handle.steps().into_iter();
        let mut times = steps.filter(|(it, _)| *it == step);
        times.find_map(|(_, at)| Some(self.begun + at).filter(|at| *at >= since))
    }

    /// Waits until it is received again, and says when that was.
    pub(crate) fn received_after(&self, since: Instant, until: Instant) -> Option<Instant> {
        loop {
            if let Some(at) = self.after(since, Step::Ready) {
                return Some(at);
            }
            let left = until.saturating_duration_since(Instant::now());
            let count = self.handle.count(Step::Ready);
            let is_new = self.handle.wait_for_times(Step::Ready, count + 1, left);
            if !is_new && left.is_zero() {
                return None;
            }
        }
    }

    fn gaps_into(&self, since: Instant, gaps: &mut Gaps) {
        let mut lost = None;
        for (step, at) in self.handle.steps() {
            let at = self.begun + at;
            match step {
                _ if at < since => {}
                Step::Lost => {
                    lost.get_or_insert(at);
                }
                Step::Ready => {
                    let gap = lost.take().map(|lost| (at - lost).as_secs_f64());
                    gaps.seconds.extend(gap);
                }
                _ => {}
            }
        }
        gaps.open += usize::from(lost.is_some());
    }
}

impl Gaps {
    /// Those of all since then.
    pub(crate) fn since(since: Instant, talks: &[Talk]) -> Gaps {
        let mut gaps = Gaps::default();
        for talk in talks {
            talk.gaps_into(since, &mut gaps);
        }
        gaps
    }
}

/// What a balancer asks.
fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

fn collect(folder: &Path, found: &mut impl FnMut(&Path, Value)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        } else if entry.file_name() == "meta.json" {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            found(folder, serde_json::from_slice(&bytes).unwrap_or_default());
        }
    }
}

/// The value that this share does not exceed; of seconds or milliseconds alike.
pub(crate) fn at_share(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}
