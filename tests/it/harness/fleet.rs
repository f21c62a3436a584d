//! Several nodes with one Zoom, a real store between them and a balancer before them.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rtmsd::demo::{Balancer, Comparison, MeetingHandle, Options, Zoom, compare};
use serde_json::Value;

use super::redis::Redis;
use super::relay::Relay;
use super::server::{Server, ServerSetup};
use super::{PATIENCE, Ran, TempDir, files, http, meta, run, wait_until};

/// Nodes `a`, `b`, `c` … of one fleet.
pub(crate) struct Fleet {
    // Dropped first: nothing waits for a node that stands still.
    pub(crate) nodes: Vec<Node>,
    links: Option<Links>,
    balancer: Balancer,
    pub(crate) zoom: Zoom,
    pub(crate) redis: Redis,
    folder: TempDir,
}

/// One of them.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) server: Server,
    folder: PathBuf,
    setup: ServerSetup,
}

/// The ways of the nodes to Zoom and to the store.
pub(crate) struct Links {
    pub(crate) zoom: Relay,
    /// To its event WebSocket alone.
    pub(crate) events: Relay,
    pub(crate) store: Relay,
}

/// How a fleet differs from three nodes with a store in memory.
pub(crate) struct Setup<'a> {
    pub(crate) nodes: usize,
    pub(crate) options: Options,
    pub(crate) settings: &'a [(&'a str, &'a str)],
    /// Options of the store.
    pub(crate) redis: &'a [&'a str],
    /// Whether nodes reach Zoom and the store by [`Links`].
    pub(crate) has_links: bool,
}

impl Fleet {
    /// Starts them. `None`, with a line, where there is no store to test with.
    pub(crate) fn start(
        count: usize,
        options: Options,
        settings: &[(&str, &str)],
    ) -> Option<Fleet> {
        Fleet::set_up(Setup {
            nodes: count,
            options,
            settings,
            redis: &[],
            has_links: false,
        })
    }

    /// The same with these differences.
    pub(crate) fn set_up(setup: Setup<'_>) -> Option<Fleet> {
        let redis = Redis::start(setup.redis)?;
        let folder = TempDir::new();
        let mut options = setup.options;
        if options.webhook_retries.is_empty() {
            options.webhook_retries = vec![Duration::from_millis(100); 300];
        }
        if setup.has_links {
            "127.0.0.2".clone_into(&mut options.host);
        }
        let zoom = Zoom::start(options).expect("a Zoom");
        let balancer = Balancer::start().expect("a port");
        let target = format!("http://{}/webhook", balancer.address());
        zoom.set_webhook_target(&target).expect("a target");
        let links = setup.has_links.then(|| Links::new(&zoom, &redis));
        let mut fleet = Fleet {
            nodes: Vec::new(),
            links,
            balancer,
            zoom,
            redis,
            folder,
        };
        for n in 0..setup.nodes {
            let name = char::from(b'a' + n as u8).to_string();
            fleet.add(&name, setup.settings);
        }
        fleet.wait_until_sure();
        Some(fleet)
    }

    /// The ways of the nodes.
    #[track_caller]
    pub(crate) fn links(&self) -> &Links {
        self.links.as_ref().expect("a fleet with links")
    }

    /// Starts another node.
    pub(crate) fn add(&mut self, name: &str, settings: &[(&str, &str)]) -> usize {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut setup = ServerSetup::default();
        let store = match &self.links {
            Some(links) => format!("redis://{}", links.store.address()),
            None => format!("unix://{}", self.redis.socket().display()),
        };
        for (key, value) in [
            ("RTMS_FLEET", store.as_str()),
            ("RTMS_NODE", name),
            ("RTMS_ADMIN", "127.0.0.1:0"),
            ("RTMS_STDOUT", "off"),
        ] {
            setup.set(key, value);
        }
        for (key, value) in settings {
            setup.set(key, value);
        }
        self.nodes.push(Node {
            name: name.to_owned(),
            server: Server::default(),
            folder,
            setup,
        });
        self.start_node(self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Starts a node, again or for the first time.
    pub(crate) fn start_node(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.server = node.setup.start(&self.zoom, &node.folder, &Stdio::null);
        let address = node.server.address(PATIENCE);
        let address = address.unwrap_or_else(|| panic!("no listener: {:#?}", node.server.log()));
        self.balancer.set(at, Some(address));
    }

    /// Kills a node. The balancer notices it when it connects.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].server.kill();
    }

    /// Ends a node by SIGTERM.
    #[track_caller]
    pub(crate) fn terminate(&mut self, at: usize) {
        let status = self.nodes[at].server.terminate(PATIENCE);
        assert_eq!(status.and_then(|it| it.code()), Some(0), "{status:?}");
        self.balancer.set(at, None);
    }

    /// Webhooks do not come to a node any more, as when a balancer has found it silent.
    pub(crate) fn pass_over(&self, at: usize) {
        self.balancer.set(at, None);
    }

    /// A node has no network from now on: nothing from it arrives anywhere, nothing comes to it, and no side is told.
    pub(crate) fn cut_off(&self, at: usize) {
        let process = self.nodes[at].server.id();
        self.links().zoom.hold_process(process);
        self.links().store.hold_process(process);
        self.pass_over(at);
    }

    /// Every node has heard from the store for long enough to act.
    #[track_caller]
    pub(crate) fn wait_until_sure(&self) {
        for node in &self.nodes {
            node.server.wait_until_logged(&["store answers"]);
        }
    }

    /// What `rtmsd status --fleet --json` says.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let ran = self.run(0, &["status", "--fleet", "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).expect("JSON")
    }

    /// Runs a command with the configuration of a node.
    pub(crate) fn run(&self, at: usize, arguments: &[&str]) -> Ran {
        let node = &self.nodes[at];
        let config = node.setup.write(&self.zoom, &node.folder, "command.conf");
        let config = config.display().to_string();
        run(&[arguments, &["--config", &config]].concat(), &[])
    }

    /// The nodes that have files of a stream, each with the state in `meta.json`, in the order of epochs.
    pub(crate) fn holders(&self, stream_id: &str) -> Vec<(usize, Value)> {
        let mut found = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            for folder in node.stream_folders() {
                let meta = meta(&folder);
                if meta["stream_id"] == stream_id {
                    found.push((at, meta));
                }
            }
        }
        found.sort_by_key(|(_, meta)| meta["epoch"].as_u64());
        found
    }

    /// The node that receives a stream now.
    pub(crate) fn receiver(&self, stream_id: &str) -> Option<usize> {
        let holders = self.holders(stream_id);
        let is_open = |meta: &Value| meta["state"] == "receiving";
        let open = holders.into_iter().rev().find(|(_, meta)| is_open(meta));
        open.map(|(at, _)| at)
    }

    /// The configuration of another machine, where no node runs.
    pub(crate) fn configuration_apart(&self) -> PathBuf {
        let folder = self.folder.join("apart");
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut setup = self.nodes[0].setup.clone();
        setup.set("RTMS_NODE", "apart");
        setup.write(&self.zoom, &folder, "rtms.conf")
    }

    /// Waits until one of these nodes receives the stream.
    #[track_caller]
    pub(crate) fn wait_for_receiver(&self, stream_id: &str, among: &[usize]) -> usize {
        let mut found = None;
        wait_until(&format!("one of {among:?} receives {stream_id}"), || {
            found = self.receiver(stream_id).filter(|at| among.contains(at));
            found.is_some()
        });
        found.expect("it was found")
    }

    /// What all nodes together have of a meeting, compared with what was sent.
    pub(crate) fn comparison(&self, meeting: &MeetingHandle) -> Comparison {
        let streams = meeting.streams();
        let folders = streams.iter().flat_map(|stream| self.folders(stream));
        let text = |folder: PathBuf| std::fs::read_to_string(folder.join("transcript.jsonl"));
        let text: String = folders.filter_map(|folder| text(folder).ok()).collect();
        compare(&meeting.sent(), text.lines())
    }

    /// Where the nodes have files of a stream, in the order of epochs.
    pub(crate) fn folders(&self, stream_id: &str) -> Vec<PathBuf> {
        let all = self.nodes.iter().flat_map(Node::stream_folders);
        let all = all.map(|folder| (meta(&folder), folder));
        let own = all.filter(|(meta, _)| meta["stream_id"] == stream_id);
        let own = own.map(|(meta, folder)| (meta["epoch"].as_u64(), folder));
        let mut own: Vec<_> = own.collect();
        own.sort();
        own.into_iter().map(|(_, folder)| folder).collect()
    }

    /// Every file of every node is complete.
    #[track_caller]
    pub(crate) fn wait_until_complete(&self, meeting: &MeetingHandle) {
        for stream in meeting.streams() {
            wait_until("the last node has ended the stream", || {
                let holders = self.holders(&stream);
                holders
                    .last()
                    .is_some_and(|(_, meta)| meta["state"] == "ended")
            });
        }
    }

    /// Ends all nodes at once. What Zoom found wrong.
    pub(crate) fn end(mut self) -> Vec<String> {
        let violations = self.zoom.violations();
        for node in &mut self.nodes {
            node.server.kill();
        }
        violations
    }
}

impl Links {
    fn new(zoom: &Zoom, redis: &Redis) -> Links {
        let at = |host, port| SocketAddr::from(([127, 0, 0, host], port));
        let door = |port| (at(2, port), at(1, port));
        let ports =
            |ports: &[(SocketAddr, SocketAddr)]| Relay::start(ports).expect("ports of Zoom");
        Links {
            zoom: ports(&zoom.ports().map(door)),
            events: ports(&[door(zoom.events_port())]),
            store: Relay::start(&[(at(1, 0), redis.address())]).expect("a port"),
        }
    }
}

impl Node {
    /// The answer of a page of its admin listener: status and body.
    #[track_caller]
    pub(crate) fn admin_page(&self, path: &str) -> (u16, String) {
        const BEFORE: &str = "health, metrics and streams are at http://";
        let line = self.server.wait_until_logged(&[BEFORE]);
        let (_, address) = line.split_once(BEFORE).expect("the marker");
        http::get(address.parse().expect("an address"), path)
    }

    /// The value of a series of its `/metrics`.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let (_, page) = self.admin_page("/metrics");
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no {series}"))
    }

    /// What it says of the fleet; nothing if it does not run.
    #[track_caller]
    pub(crate) fn fleet_page(&self) -> Value {
        match self.server.is_running() {
            true => serde_json::from_str(&self.admin_page("/fleet").1).expect("JSON"),
            false => Value::Null,
        }
    }

    /// Its disk is lost; it does not run any more.
    pub(crate) fn lose_disk(&self) {
        std::fs::remove_dir_all(&self.folder).expect("its folder");
    }

    /// Where its files are.
    pub(crate) fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("rtms.conf")
    }

    /// How many grants by an authorization it has on its disk.
    pub(crate) fn stored_grants(&self) -> usize {
        let state = std::fs::read_dir(self.folder.join("state")).expect("a folder");
        let names = state.flatten().map(|entry| entry.file_name());
        let is_grant = |name: &str| name.starts_with("grant-") && name.ends_with(".json");
        names
            .filter(|name| name.to_str().is_some_and(is_grant))
            .count()
    }

    /// The folder of each stream.
    pub(crate) fn stream_folders(&self) -> Vec<PathBuf> {
        let out = self.out();
        if out.exists() {
            files::stream_folders(&out)
        } else {
            Vec::new()
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut text = format!("zoom: {:?}\n", self.zoom.violations());
        for node in &self.nodes {
            let log = node.server.log();
            let last = log.len().saturating_sub(40);
            let name = &node.name;
            let lines = log[last..].iter();
            text.extend(lines.map(|line| format!("{name}: {line}\n")));
        }
        let _ = io::stderr().write_all(text.as_bytes());
    }
}
