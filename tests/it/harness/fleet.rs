//! Several nodes with one Zoom, a real store between them and a balancer before them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rtmsd::demo::{Comparison, MeetingHandle, Options, Zoom, compare};
use serde_json::Value;

use super::files;
use super::redis::Redis;
use super::server::{Server, ServerSetup};
use super::{PATIENCE, TempDir, http, meta, wait_until};

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
        let balancer = Balancer::start();
        let target = format!("http://{}/webhook", balancer.address);
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

    /// No webhook goes to a node from now on.
    pub(crate) fn shut_out(&self, at: usize) {
        self.balancer.set(at, None);
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
        let mut lines = Vec::new();
        let streams = meeting.streams();
        let mut folders = Vec::new();
        for node in &self.nodes {
            for folder in node.stream_folders() {
                let meta = meta(&folder);
                if streams
                    .iter()
                    .any(|stream| meta["stream_id"] == stream.as_str())
                {
                    folders.push((meta["epoch"].as_u64(), folder));
                }
            }
        }
        folders.sort();
        for (_, folder) in folders {
            let text = std::fs::read_to_string(folder.join("transcript.jsonl"));
            lines.extend(text.unwrap_or_default().lines().map(str::to_owned));
        }
        compare(&meeting.sent(), lines.iter().map(String::as_str))
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

    /// A page of its admin listener, and the status.
    #[track_caller]
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        const BEFORE: &str = "health, metrics and streams are at http://";
        let line = self.server.wait_until_logged(&[BEFORE]);
        let (_, address) = line.split_once(BEFORE).expect("the marker");
        http::get(address.parse().expect("an address"), path)
    }

    /// Runs a command with its configuration.
    pub(crate) fn run(&self, zoom: &Zoom, arguments: &[&str]) -> super::Ran {
        let config = self.setup.write(zoom, &self.folder, "command.conf");
        let config = config.display().to_string();
        super::run(&[arguments, &["--config", &config]].concat(), &[])
    }

    /// Its private directory.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Round robin by connections; who does not take one is passed over.
struct Balancer {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<Option<SocketAddr>>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    fn start() -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let targets: Arc<Mutex<Vec<Option<SocketAddr>>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&targets), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let next = AtomicUsize::new(0);
            for client in listener.incoming() {
                if over.load(Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let known: Vec<SocketAddr> = shared
                    .lock()
                    .expect("whole")
                    .iter()
                    .flatten()
                    .copied()
                    .collect();
                let from = next.fetch_add(1, Relaxed);
                let mut turns = (0..known.len()).map(|turn| known[(from + turn) % known.len()]);
                let wait = Duration::from_millis(250);
                let found = turns.find_map(|to| TcpStream::connect_timeout(&to, wait).ok());
                if let Some(server) = found {
                    std::thread::spawn(move || relay(client, server));
                }
            }
        });
        Balancer {
            address,
            targets,
            is_over,
            thread: Some(thread),
        }
    }

    fn set(&self, at: usize, address: Option<SocketAddr>) {
        let mut targets = self.targets.lock().expect("whole");
        if targets.len() <= at {
            targets.resize(at + 1, None);
        }
        targets[at] = address;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn relay(client: TcpStream, server: TcpStream) {
    for socket in [&client, &server] {
        let _ = socket.set_read_timeout(Some(Duration::from_secs(30)));
    }
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let thread = std::thread::spawn(move || copy(from, to));
    copy(server, client);
    let _ = thread.join();
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_err() => break,
            Ok(_) => {}
        }
    }
    let _: io::Result<()> = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
