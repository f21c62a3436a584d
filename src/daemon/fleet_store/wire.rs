//! The bytes between us and the store: TCP with or without TLS, or a Unix socket, with a deadline for each wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use openssl::ssl::SslStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::domain::fleet::StorePlace as Place;
use crate::net::resolve::Resolver;
use crate::net::tls_client::{TlsClient, TlsProgress, resume_handshake};
use crate::net::tls_sessions::mark_shutdown_sent;
use crate::net::waker::waker;

/// How often a wait looks whether it should end before its deadline.
const LOOK: Duration = Duration::from_millis(200);
/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// What every connection of the process needs.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    /// Looks names up.
    pub(crate) resolver: Resolver,
    /// The TLS configuration, with the roots of the system and of `RTMS_CA_FILE`.
    pub(crate) tls: TlsClient,
    /// The threads that wait here are to end.
    pub(crate) is_ending: Arc<AtomicBool>,
}

/// An open connection.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(Timed),
    Tls(Box<SslStream<Timed>>),
}

/// A socket whose reads and writes end at a deadline with [`ErrorKind::WouldBlock`].
#[derive(Debug)]
pub(crate) struct Timed {
    socket: Socket,
    deadline: Instant,
    is_ending: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    /// Connects; the error says why not, for a person.
    pub(crate) fn open(place: &Place, net: &Net, deadline: Instant) -> Result<Wire, String> {
        let timed = |socket| Timed {
            socket,
            deadline,
            is_ending: Arc::clone(&net.is_ending),
        };
        match place {
            Place::Unix(path) => match connect_unix(path) {
                Ok(socket) => Ok(Wire::Plain(timed(Socket::Unix(socket)))),
                Err(error) => Err(format!("connect: {error}")),
            },
            Place::Tcp { host, port, is_tls } => {
                let addresses = net.look_up(host, deadline)?;
                let socket = connect_tcp(&addresses, *port, deadline)?;
                let timed = timed(Socket::Tcp(socket));
                match is_tls {
                    false => Ok(Wire::Plain(timed)),
                    true => shake_hands(&net.tls, host, timed),
                }
            }
        }
    }

    /// Until when the next reads and writes may take.
    pub(crate) fn limit(&mut self, deadline: Instant) {
        let timed = match self {
            Wire::Plain(timed) => timed,
            Wire::Tls(stream) => stream.get_mut(),
        };
        timed.deadline = deadline;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Wire::Tls(stream) = self {
            mark_shutdown_sent(stream);
        }
    }
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(timed) => timed.read(out),
            Wire::Tls(stream) => stream.read(out),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(timed) => timed.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Timed {
    /// Tries until it can, or the deadline has come.
    fn until_deadline(&self, mut attempt: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_ending.load(Ordering::Relaxed) {
                return Err(ErrorKind::WouldBlock.into());
            }
            // Not less than a millisecond: zero would mean no limit.
            let wait = Some(left.min(LOOK).max(Duration::from_millis(1)));
            match &self.socket {
                Socket::Tcp(socket) => {
                    socket.set_read_timeout(wait)?;
                    socket.set_write_timeout(wait)?;
                }
                Socket::Unix(socket) => {
                    socket.set_read_timeout(wait)?;
                    socket.set_write_timeout(wait)?;
                }
            }
            match attempt() {
                Err(error) if is_temporary(&error) => {}
                result => return result,
            }
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

impl Read for Timed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.until_deadline(|| match &self.socket {
            Socket::Tcp(socket) => (&*socket).read(out),
            Socket::Unix(socket) => (&*socket).read(out),
        })
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until_deadline(|| match &self.socket {
            Socket::Tcp(socket) => (&*socket).write(bytes),
            Socket::Unix(socket) => (&*socket).write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Net {
    /// The addresses of a name. The system's resolver has no deadline; ours leaves it to its thread.
    fn look_up(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, String> {
        let (waker, wakeable) = waker().map_err(|error| error.to_string())?;
        let pending = self.resolver.resolve(host, waker);
        loop {
            wakeable.clear();
            if let Some(found) = pending.poll() {
                let found = found.map_err(|error| format!("name look-up: {error}"))?;
                return match found.is_empty() {
                    true => Err("name look-up: no address".to_owned()),
                    false => Ok(found),
                };
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_ending.load(Ordering::Relaxed) {
                return Err("name look-up: no answer in time".to_owned());
            }
            let wait = Timespec::try_from(left.min(LOOK)).unwrap_or_default();
            let mut fds = [PollFd::from_borrowed_fd(wakeable.as_fd(), PollFlags::IN)];
            // Interrupted or not: the loop looks again.
            let _ = poll(&mut fds, Some(&wait));
        }
    }
}

fn connect_tcp(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<TcpStream, String> {
    let addresses = &addresses[..addresses.len().min(ADDRESSES_MAX)];
    let mut fault = "connect: no answer in time".to_owned();
    for (n, address) in addresses.iter().enumerate() {
        // Each gets its share: one that does not answer must not keep the next from being tried.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - n).unwrap_or(1);
        if share.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&SocketAddr::new(*address, port), share) {
            Ok(socket) => {
                // Without it a write may wait for the answer to the one before.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Err(error) => fault = format!("connect: {error}"),
        }
    }
    Err(fault)
}

/// Connects without waiting: a connect to a server that accepts no node would have no deadline.
fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(false)?;
    Ok(socket)
}

fn shake_hands(tls: &TlsClient, host: &str, timed: Timed) -> Result<Wire, String> {
    let (deadline, is_ending) = (timed.deadline, Arc::clone(&timed.is_ending));
    let mut progress = tls.connect(host, timed);
    loop {
        match progress.map_err(|error| format!("TLS: {error}"))? {
            TlsProgress::Done(stream) => return Ok(Wire::Tls(Box::new(stream))),
            TlsProgress::Waiting(_) if Instant::now() >= deadline => {
                return Err("TLS: no answer in time".to_owned());
            }
            TlsProgress::Waiting(_) if is_ending.load(Ordering::Relaxed) => {
                return Err("TLS: not needed any more".to_owned());
            }
            TlsProgress::Waiting(waiting) => progress = resume_handshake(waiting),
        }
    }
}
