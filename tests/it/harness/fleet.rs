//! Several nodes with one Zoom, a real store between them and a balancer before them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rtmsd::demo::{Balancer, Comparison, MeetingHandle, Options, Zoom, compare};
use serde_json::Value;

use super::files;
use super::redis::Redis;
use super::server::{Server, ServerSetup};
use super::{PATIENCE, TempDir, meta, wait_until};

/// Nodes `a`, `b`, `c` … of one fleet.
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
    balancer: Balancer,
    pub(crate) zoom: Zoom,
    pub(crate) redis: Redis,
    _folder: TempDir,
}

/// One of them.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) server: Server,
    folder: PathBuf,
    setup: ServerSetup,
}

impl Fleet {
    /// Starts them. `None`, with a line, where there is no store to test with.
    pub(crate) fn start(
        count: usize,
        options: Options,
        settings: &[(&str, &str)],
    ) -> Option<Fleet> {
        let redis = Redis::start(&[])?;
        let folder = TempDir::new();
        let mut options = options;
        if options.webhook_retries.is_empty() {
            options.webhook_retries = vec![Duration::from_millis(100); 300];
        }
        let zoom = Zoom::start(options).expect("a Zoom");
        let balancer = Balancer::start().expect("a port");
        let target = format!("http://{}/webhook", balancer.address());
        zoom.set_webhook_target(&target).expect("a target");
        let mut fleet = Fleet {
            nodes: Vec::new(),
            balancer,
            zoom,
            redis,
            _folder: folder,
        };
        for n in 0..count {
            let name = char::from(b'a' + n as u8).to_string();
            fleet.add(&name, settings);
        }
        fleet.wait_until_sure();
        Some(fleet)
    }

    /// Starts another node.
    pub(crate) fn add(&mut self, name: &str, settings: &[(&str, &str)]) -> usize {
        let folder = self._folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut setup = ServerSetup::default();
        let store = format!("unix://{}", self.redis.socket().display());
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
    pub(crate) fn terminate(&mut self, at: usize) {
        let status = self.nodes[at].server.terminate(PATIENCE);
        assert_eq!(status.and_then(|it| it.code()), Some(0), "{status:?}");
        self.balancer.set(at, None);
    }

    /// Every node has heard from the store for long enough to act.
    #[track_caller]
    pub(crate) fn wait_until_sure(&self) {
        for node in &self.nodes {
            node.server.wait_until_logged(&["store answers"]);
        }
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

    /// Ends all nodes at once.
    pub(crate) fn end(mut self) -> Vec<String> {
        for node in &mut self.nodes {
            node.setup.set("RTMS_ON_EXIT", "leave");
        }
        let violations = self.zoom.violations();
        for node in &mut self.nodes {
            node.server.kill();
        }
        violations
    }
}

impl Node {
    /// Where its files are.
    pub(crate) fn out(&self) -> PathBuf {
        self.folder.join("out")
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
