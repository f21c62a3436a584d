//! The listeners of the demo's Zoom and the one thread that accepts on all of them.
//!
//! Most listeners have a fault: each blocks or refuses a client at another step of connecting.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::connection_queue::{ConnectionQueue, Inbox};
use super::link::Link;
use super::opening::hold_after_tls;
use super::record::lock;
use super::shared::Shared;
use super::{events, media, rest, signaling};
use crate::demo::player::script::{HandshakeFault, Socket};

/// Enough for a thousand clients at once.
const BACKLOG: i32 = 4096;
/// A port of loopback without a server.
const CLOSED_PORT: u16 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Rest,
    Events,
    WebSocket(HandshakeFault, Socket),
}

/// The listeners before they are served.
pub(in crate::demo) struct Doors {
    listeners: Vec<(TcpListener, Behind)>,
    waker: Arc<OwnedFd>,
}

/// The ports of the listeners.
pub(in crate::demo) struct Ports {
    ports: Vec<(Behind, u16)>,
    waker: Arc<OwnedFd>,
}

impl Doors {
    /// Binds every listener on 127.0.0.1, each with a port of its own.
    pub(in crate::demo) fn bind() -> io::Result<(Doors, Ports)> {
        let mut kinds = vec![Behind::Rest, Behind::Events];
        for socket in [Socket::Signaling, Socket::Media] {
            for door in [
                HandshakeFault::Open,
                HandshakeFault::NoTls,
                HandshakeFault::NoUpgrade,
                HandshakeFault::Unavailable,
                HandshakeFault::WrongHost,
                HandshakeFault::Expired,
            ] {
                kinds.push(Behind::WebSocket(door, socket));
            }
        }
        let waker = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let mut listeners = Vec::new();
        let mut ports = Vec::new();
        for kind in kinds {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            rustix::net::listen(&listener, BACKLOG)?;
            listener.set_nonblocking(true)?;
            ports.push((kind, listener.local_addr()?.port()));
            listeners.push((listener, kind));
        }
        let listeners = Doors {
            listeners,
            waker: Arc::clone(&waker),
        };
        Ok((listeners, Ports { ports, waker }))
    }

    /// Accepts until the demo stops.
    pub(in crate::demo) fn run(self, shared: &Arc<Shared>) {
        while !shared.is_stopping() {
            let mut fds = vec![PollFd::new(&*self.waker, PollFlags::IN)];
            fds.extend(
                self.listeners
                    .iter()
                    .map(|(listener, _)| PollFd::new(listener, PollFlags::IN)),
            );
            if let Err(error) = poll(&mut fds, None)
                && error != rustix::io::Errno::INTR
            {
                shared.violation(format!("the demo cannot poll its listeners: {error}"));
                return;
            }
            for ((listener, behind), fd) in self.listeners.iter().zip(&fds[1..]) {
                if !fd.revents().is_empty() {
                    accept_all(shared, listener, *behind);
                }
            }
        }
    }
}

fn accept_all(shared: &Arc<Shared>, listener: &TcpListener, behind: Behind) {
    loop {
        let opened = match listener.accept() {
            Ok((stream, _)) => open(shared, stream, behind),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => Err(error),
        };
        if let Err(error) = opened {
            shared.violation(format!("the demo cannot accept: {error}"));
            // Out of descriptors or threads: wait until others end.
            let pause = Timespec {
                tv_sec: 0,
                tv_nsec: Duration::from_millis(50).subsec_nanos().into(),
            };
            let _ = poll(&mut [], Some(&pause));
            return;
        }
    }
}

fn open(shared: &Arc<Shared>, stream: TcpStream, behind: Behind) -> io::Result<()> {
    let name = match behind {
        Behind::Rest => "zoom-rest",
        Behind::Events => "zoom-events",
        Behind::WebSocket(_, Socket::Signaling) => "zoom-signaling",
        Behind::WebSocket(_, Socket::Media) => "zoom-media",
    };
    let again = Arc::clone(shared);
    match behind {
        Behind::Rest => shared.spawn(name, move || rest::serve(&again, stream)),
        Behind::Events => connect(shared, stream, name, |shared, stream, id, queue, inbox| {
            let acceptor = &shared.certificates.good;
            events::serve(shared, stream, acceptor, id, queue, &inbox);
        }),
        Behind::WebSocket(door, socket) => connect(
            shared,
            stream,
            name,
            move |shared, stream, id, queue, inbox| {
                serve(shared, stream, (door, socket), id, queue, inbox);
            },
        ),
    }
}

/// Serves a WebSocket on a thread of its own, with the queue by which others reach it.
fn connect(
    shared: &Arc<Shared>,
    stream: TcpStream,
    name: &str,
    serve: impl FnOnce(&Arc<Shared>, TcpStream, u64, ConnectionQueue, Inbox) + Send + 'static,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let (mailbox, inbox) = ConnectionQueue::new()?;
    let again = Arc::clone(shared);
    shared.spawn(name, move || {
        let id = again.next_id();
        lock(&again.connections).insert(id, mailbox.clone());
        if !again.is_stopping() {
            serve(&again, stream, id, mailbox, inbox);
        }
        lock(&again.connections).remove(&id);
    })
}

fn serve(
    shared: &Arc<Shared>,
    stream: TcpStream,
    (door, socket): (HandshakeFault, Socket),
    id: u64,
    mailbox: ConnectionQueue,
    inbox: Inbox,
) {
    let certificates = &shared.certificates;
    let acceptor = match door {
        HandshakeFault::NoTls => {
            let Ok(raw) = stream.try_clone() else { return };
            return inbox.hold(stream, &raw);
        }
        HandshakeFault::NoUpgrade => return hold_after_tls(stream, &certificates.good, &inbox),
        HandshakeFault::WrongHost => &certificates.wrong_host,
        HandshakeFault::Expired => &certificates.expired,
        HandshakeFault::Open | HandshakeFault::Unavailable | HandshakeFault::Refused => {
            &certificates.good
        }
    };
    let is_available = door != HandshakeFault::Unavailable;
    let accepted = Link::accept(
        Arc::clone(shared),
        socket,
        stream,
        acceptor,
        inbox,
        is_available,
    );
    let Some((link, path)) = accepted else { return };
    if matches!(door, HandshakeFault::WrongHost | HandshakeFault::Expired) {
        shared.violation(format!("{path}: the client took a bad certificate"));
    }
    match socket {
        Socket::Signaling => signaling::serve(shared, link, &path, id, mailbox),
        Socket::Media => media::serve(shared, link, &path, id, mailbox),
    }
}

impl Ports {
    /// Those of REST and of the sockets without a fault.
    pub(in crate::demo) fn good(&self) -> [u16; 3] {
        let of = |socket| self.of(HandshakeFault::Open, socket);
        [self.rest(), of(Socket::Signaling), of(Socket::Media)]
    }

    /// The port of this kind of socket with that fault.
    pub(in crate::demo) fn of(&self, door: HandshakeFault, socket: Socket) -> u16 {
        self.find(Behind::WebSocket(door, socket))
    }

    /// The port of REST and OAuth.
    pub(in crate::demo) fn rest(&self) -> u16 {
        self.find(Behind::Rest)
    }

    /// The port of the event WebSocket.
    pub(in crate::demo) fn events(&self) -> u16 {
        self.find(Behind::Events)
    }

    fn find(&self, behind: Behind) -> u16 {
        self.ports
            .iter()
            .find(|(kind, _)| *kind == behind)
            .map_or(CLOSED_PORT, |(_, port)| *port)
    }

    /// Wakes the accepting thread.
    pub(in crate::demo) fn wake(&self) {
        let _ = rustix::io::write(&*self.waker, &1u64.to_ne_bytes());
    }
}
