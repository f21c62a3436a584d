//! The network between nodes and their store, or their Zoom: a TCP proxy that a test breaks.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a thread that reads looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);

/// Passes connections on. Dropping it ends them.
pub(crate) struct Relay {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Rules>,
    changed: Condvar,
}

#[derive(Default)]
struct Rules {
    /// Where the connections of each listener go.
    targets: Vec<SocketAddr>,
    /// Nothing passes, in either way, and no side is told.
    is_held: bool,
    /// The same for these processes alone, and the local ports of their connections.
    held: Vec<u32>,
    held_ports: BTreeSet<u16>,
    /// What the target says to these processes is thrown away.
    unanswered: Vec<u32>,
    unanswered_ports: BTreeSet<u16>,
    /// Connections of these processes are cut, and new ones at once.
    refused: Vec<u32>,
    refused_ports: BTreeSet<u16>,
    /// What passes waits for so long.
    delay: Duration,
    /// Connections that were opened before the last cut have an older number.
    cuts: u64,
    is_over: bool,
}

/// One way of a connection.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    There,
    Back,
}

/// What happens to what was read.
enum Fate {
    Passes,
    IsLost,
    /// The connection is cut.
    Ends,
}

impl Relay {
    /// Listens on these addresses, and connects to the target of each.
    pub(crate) fn start(pairs: &[(SocketAddr, SocketAddr)]) -> io::Result<Relay> {
        let shared = Arc::new(Shared::default());
        let mut relay = Relay {
            addresses: Vec::new(),
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for (at, (from, to)) in pairs.iter().enumerate() {
            let listener = TcpListener::bind(from)?;
            relay.addresses.push(listener.local_addr()?);
            shared.lock().targets.push(*to);
            let own = Arc::clone(&shared);
            let thread = std::thread::spawn(move || own.accept(at, &listener));
            relay.threads.push(thread);
        }
        Ok(relay)
    }

    /// Where it listens first.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Nothing passes any more, and no end of a connection is seen.
    pub(crate) fn hold(&self) {
        self.shared.lock().is_held = true;
    }

    /// The same for the connections of one process, those to come included.
    pub(crate) fn hold_process(&self, process: u32) {
        let mut rules = self.shared.lock();
        rules.held.push(process);
        rules.held_ports.extend(ports_of(process));
    }

    /// The process is heard, and hears nothing.
    pub(crate) fn swallow_replies_to(&self, process: u32) {
        let mut rules = self.shared.lock();
        rules.unanswered.push(process);
        rules.unanswered_ports.extend(ports_of(process));
    }

    /// The process loses its connections, and gets no other.
    pub(crate) fn refuse_process(&self, process: u32) {
        let mut rules = self.shared.lock();
        rules.refused.push(process);
        rules.refused_ports.extend(ports_of(process));
        self.shared.changed.notify_all();
    }

    /// Each piece of data takes longer, both ways.
    pub(crate) fn delay(&self, by: Duration) {
        self.shared.lock().delay = by;
    }

    /// All is well again: what was held passes.
    pub(crate) fn pass(&self) {
        let mut rules = self.shared.lock();
        rules.is_held = false;
        rules.delay = Duration::ZERO;
        rules.held.clear();
        rules.held_ports.clear();
        rules.unanswered.clear();
        rules.unanswered_ports.clear();
        rules.refused.clear();
        rules.refused_ports.clear();
        self.shared.changed.notify_all();
    }

    /// Ends all connections. New ones go to this target.
    pub(crate) fn turn_to(&self, target: SocketAddr) {
        let mut rules = self.shared.lock();
        rules.cuts += 1;
        rules.targets = vec![target];
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        for address in &self.addresses {
            // Wakes the thread that accepts.
            let _ = TcpStream::connect(address);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Rules {
    /// Whether connections like this one end.
    fn are_cut(&self, (_, port, cuts): (Way, u16, u64)) -> bool {
        self.is_over || self.cuts != cuts || self.refused_ports.contains(&port)
    }

    /// A connection of which process is this? Of one whose connections are broken, or of none of these.
    fn note(&mut self, port: u16) {
        let is_of = |process: &u32| ports_of(*process).contains(&port);
        if self.held.iter().any(is_of) {
            self.held_ports.insert(port);
        }
        if self.unanswered.iter().any(is_of) {
            self.unanswered_ports.insert(port);
        }
        if self.refused.iter().any(is_of) {
            self.refused_ports.insert(port);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no panic before")
    }

    fn accept(self: &Arc<Self>, at: usize, listener: &TcpListener) {
        std::thread::scope(|scope| {
            loop {
                let accepted = listener.accept();
                let mut rules = self.lock();
                if rules.is_over {
                    return;
                }
                let Ok((client, from)) = accepted else {
                    continue;
                };
                rules.note(from.port());
                let (target, cuts) = (rules.targets[at], rules.cuts);
                drop(rules);
                scope.spawn(move || {
                    // Who is not there refuses, and so do we.
                    if let Ok(server) = TcpStream::connect(target) {
                        self.relay(&client, &server, from.port(), cuts);
                    }
                });
            }
        });
    }

    fn relay(&self, client: &TcpStream, server: &TcpStream, port: u16, cuts: u64) {
        for socket in [client, server] {
            let _ = socket.set_nodelay(true);
            let _ = socket.set_read_timeout(Some(LOOK));
        }
        std::thread::scope(|scope| {
            scope.spawn(|| self.copy(client, server, (Way::There, port, cuts)));
            self.copy(server, client, (Way::Back, port, cuts));
        });
    }

    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream, what: (Way, u16, u64)) {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let read = from.read(&mut bytes);
            let is_quiet = |error: &io::Error| {
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
            };
            if read.as_ref().is_err_and(is_quiet) && !self.lock().are_cut(what) {
                continue;
            }
            let fate = self.fate(what);
            match (fate, read) {
                (Fate::Passes, Ok(count)) if count > 0 => {
                    if to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                (Fate::IsLost, Ok(count)) if count > 0 => {}
                (Fate::Ends, _) => {
                    let _ = from.shutdown(Shutdown::Both);
                    break;
                }
                _ => break,
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Waits as long as nothing passes.
    fn fate(&self, what: (Way, u16, u64)) -> Fate {
        let (way, port, _) = what;
        let mut rules = self.lock();
        while !rules.are_cut(what) && (rules.is_held || rules.held_ports.contains(&port)) {
            rules = self.changed.wait(rules).expect("no panic before");
        }
        if rules.are_cut(what) {
            return Fate::Ends;
        }
        if way == Way::Back && rules.unanswered_ports.contains(&port) {
            return Fate::IsLost;
        }
        let delay = rules.delay;
        drop(rules);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        Fate::Passes
    }
}

/// The local ports of a process's connections.
fn ports_of(process: u32) -> BTreeSet<u16> {
    let open = fs::read_dir(format!("/proc/{process}/fd"));
    let links = open.into_iter().flatten().flatten();
    let sockets: BTreeSet<String> = links
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let rows = table.lines().skip(1).filter_map(|row| {
        let mut words = row.split_whitespace();
        let local = words.nth(1)?;
        sockets.contains(words.nth(7)?).then_some(local)
    });
    rows.filter_map(|local| u16::from_str_radix(local.rsplit(':').next()?, 16).ok())
        .collect()
}

#[test]
fn the_connections_of_one_process_are_found_and_held() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = server.local_addr().expect("an address");
    let relay = Relay::start(&[("127.0.0.1:0".parse().expect("an address"), target)]);
    let relay = relay.expect("a port");
    let mut client = TcpStream::connect(relay.address()).expect("it listens");
    let (mut served, _) = server.accept().expect("a connection");
    relay.hold_process(std::process::id());
    client.write_all(b"held").expect("a connection");
    let mut bytes = [0; 4];
    let wait = Some(Duration::from_millis(200));
    served.set_read_timeout(wait).expect("a socket");
    assert!(served.read(&mut bytes).is_err(), "it passed");
    relay.pass();
    let wait = Some(super::PATIENCE);
    served.set_read_timeout(wait).expect("a socket");
    served.read_exact(&mut bytes).expect("what was held");
    assert_eq!(&bytes, b"held");
    relay.turn_to(target);
    assert_eq!(client.read(&mut bytes).ok(), Some(0), "it was cut");
}
