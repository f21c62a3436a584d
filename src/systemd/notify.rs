//! The protocol of sd_notify(3): lines in a datagram to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time limit for a datagram. systemd reads it at once; we do not wait longer if it does not.
const SEND_MAX: Duration = Duration::from_millis(500);

/// The socket of the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
    is_stopping: AtomicBool,
}

impl Notifier {
    /// Connects to the service manager that started this process; `None` if there is none.
    ///
    /// # Errors
    /// If the name is not that of a socket, or no socket can be created.
    pub fn from_process() -> io::Result<Option<Notifier>> {
        match std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            Some(name) => Notifier::to(&name).map(Some),
            None => Ok(None),
        }
    }

    /// Connects to a socket by its name: a path, or an abstract name with `@` in front.
    ///
    /// # Errors
    /// If the name is not that of a socket, or no socket can be created.
    pub fn to(name: &OsStr) -> io::Result<Notifier> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_MAX))?;
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => {
                let text = format!("NOTIFY_SOCKET: found {name:?}, expected a path or @name");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        Ok(Notifier {
            socket,
            address,
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Sends lines such as `READY=1`. Returns whether they were sent; a failure is only logged.
    pub fn send(&self, lines: &str) -> bool {
        let sent = self.socket.send_to_addr(lines.as_bytes(), &self.address);
        if let Err(error) = &sent {
            log::debug!("cannot notify the service manager: {error}");
        }
        sent.is_ok()
    }

    /// A reload starts. The time identifies the request for systemd.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// A reload has ended, with or without success.
    pub fn reloaded(&self) {
        self.send("READY=1");
    }

    /// The shutdown has started.
    pub fn stopping(&self) {
        self.is_stopping.store(true, Relaxed);
        self.send("STOPPING=1\nSTATUS=stopping");
    }
}

/// The time within which the service manager expects a notification: `WATCHDOG_USEC`, if it is
/// meant for this process.
pub(super) fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec = usec?.parse().ok().filter(|&usec: &u64| usec > 0)?;
    is_ours.then(|| Duration::from_micros(usec))
}

impl Notifier {
    /// Whether the shutdown has started, during which the daemon does not answer.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }

    /// `WATCHDOG_USEC` of this process.
    pub fn watchdog() -> Option<Duration> {
        let get = |name| std::env::var(name).ok();
        let (usec, pid) = (get("WATCHDOG_USEC"), get("WATCHDOG_PID"));
        watchdog(usec.as_deref(), pid.as_deref(), std::process::id())
    }
}
