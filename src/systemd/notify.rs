//! The protocol of sd_notify(3): lines in a datagram to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// systemd takes a datagram at once; one that does not is not worth our own progress.
const SEND_MAX: Duration = Duration::from_millis(500);

/// The way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
    is_stopping: AtomicBool,
}

impl Notifier {
    /// To the service manager that started us, if one did that wants to be told.
    ///
    /// # Errors
    /// A name that is no socket's, or no socket to be had.
    pub fn from_process() -> io::Result<Option<Notifier>> {
        match std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) {
            Some(name) => Notifier::to(&name).map(Some),
            None => Ok(None),
        }
    }

    /// To a socket by its name: a path, or an abstract name with `@` in front.
    ///
    /// # Errors
    /// A name that is no socket's, or no socket to be had.
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

    /// Sends lines such as `READY=1`. Whether they were taken; nobody can do anything about it.
    pub fn send(&self, lines: &str) -> bool {
        let sent = self.socket.send_to_addr(lines.as_bytes(), &self.address);
        if let Err(error) = &sent {
            log::debug!("the service manager was not told: {error}");
        }
        sent.is_ok()
    }

    /// A reload begins. The time tells systemd which request is answered.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// A reload is over, whatever came of it.
    pub fn reloaded(&self) {
        self.send("READY=1");
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.is_stopping.store(true, Relaxed);
        self.send("STOPPING=1\nSTATUS=stopping");
    }
}

/// The time within which the service manager wants to hear of us, if it does:
/// `WATCHDOG_USEC`, if it is meant for this process.
pub(super) fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec = usec?.parse().ok().filter(|&usec: &u64| usec > 0)?;
    is_ours.then(|| Duration::from_micros(usec))
}

impl Notifier {
    /// Whether the end has begun, in which the daemon answers no more.
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
