//! Socket activation, sd_listen_fds(3): systemd may own the webhook listener and keep it open
//! during a restart, so that no webhook is refused.
//!
//! Safe Rust cannot own a file descriptor given as a number. So we duplicate it with pidfd_getfd(2)
//! on our own process, which returns an owned descriptor. It needs Linux 5.6.

use std::net::TcpListener;

use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The first descriptor that is passed.
const FIRST: i32 = 3;
/// Limit for the count; no service has more.
const COUNT_MAX: i32 = 16;

/// The listeners that were passed to this process; empty if there are none.
///
/// # Errors
/// What was passed, and why it cannot be used.
pub fn listeners() -> Result<Vec<TcpListener>, String> {
    let get = |name| std::env::var(name).ok();
    let (pid, count) = (get("LISTEN_PID"), get("LISTEN_FDS"));
    passed(pid.as_deref(), count.as_deref(), std::process::id())
        .map(listener)
        .collect()
}

/// The numbers of the descriptors that are meant for this process.
fn passed(pid: Option<&str>, count: Option<&str>, own: u32) -> std::ops::Range<i32> {
    let is_ours = pid.is_some_and(|pid| pid.parse() == Ok(own));
    let count = count.and_then(|count| count.parse::<i32>().ok());
    match count.filter(|_| is_ours) {
        Some(count) => FIRST..FIRST + count.clamp(0, COUNT_MAX),
        None => FIRST..FIRST,
    }
}

fn listener(number: i32) -> Result<TcpListener, String> {
    let fault = |what: &str| format!("LISTEN_FDS: descriptor {number}: {what}");
    let own = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|own| pidfd_getfd(own, number, PidfdGetfdFlags::empty()))
        .map_err(|error| {
            fault(&format!(
                "cannot be used: {error}; pidfd_open(2) and pidfd_getfd(2) must be there (Linux \
                 5.6) and allowed (SystemCallFilter=, or what the container allows)"
            ))
        })?;
    if !socket_acceptconn(&own).unwrap_or(false) {
        return Err(fault("found no listening socket, expected ListenStream="));
    }
    let listener = TcpListener::from(own);
    match listener.local_addr() {
        Ok(_) => Ok(listener),
        Err(_) => Err(fault("found another kind of socket, expected TCP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descriptors_for_this_process_are_used() {
        for (pid, count, expected) in [
            (Some("7"), Some("2"), 3..5),
            (Some("8"), Some("2"), 3..3),
            (None, Some("2"), 3..3),
            (Some("7"), None, 3..3),
            (Some("7"), Some("x"), 3..3),
            (Some("7"), Some("-1"), 3..3),
            (Some("7"), Some("1000000"), 3..19),
        ] {
            assert_eq!(passed(pid, count, 7), expected, "{pid:?} {count:?}");
        }
    }

    #[test]
    fn a_descriptor_number_becomes_a_listener() {
        use std::os::fd::AsRawFd;
        let first = TcpListener::bind("127.0.0.1:0").expect("a port");
        let again = listener(first.as_raw_fd()).expect("it listens");
        assert_eq!(again.local_addr().ok(), first.local_addr().ok());
        let file = std::fs::File::open("/dev/null").expect("the device exists");
        assert!(listener(file.as_raw_fd()).is_err());
        assert!(listener(1_000_000).is_err());
    }
}
