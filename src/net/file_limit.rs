//! The limit of open files of this process, and the share of it that streams may use.

use std::io;
use std::os::fd::AsRawFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files of a stream: four sockets at most, three to wait for them, and those that are written.
pub const FILES_A_STREAM: u64 = 15;

/// Files that are kept free of streams: half a thousand webhook connections, REST calls, the state
/// directory, the files of streams that run, and the process itself.
const RESERVE_MAX: u64 = 600;

/// Raises the soft limit of open files to the hard limit, which needs no privilege. Returns the
/// limit then in force, `u64::MAX` for no limit.
///
/// # Errors
/// If the system refuses; the old limit then stays.
pub fn raise_file_limit() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(file_limit())
}

/// The soft limit of open files; `u64::MAX` for none.
pub fn file_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Files that streams do not use. A process with few files keeps a quarter of them.
fn reserve(limit: u64) -> u64 {
    RESERVE_MAX.min(limit / 4)
}

/// The number of streams that this limit allows.
pub fn streams_max(limit: u64) -> u64 {
    (limit - reserve(limit)) / FILES_A_STREAM
}

/// Whether there are enough files for another stream, beside `starting` ones that have not opened all of
/// theirs.
///
/// # Errors
/// There are not; how many there are, and what to do.
pub fn check_room(starting: usize) -> Result<(), String> {
    let limit = file_limit();
    // A new file gets the lowest free number: so many are open at least.
    let probe = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let open = u64::try_from(probe.as_raw_fd()).unwrap_or(0);
    room(limit, open, starting as u64)
}

fn room(limit: u64, open: u64, starting: u64) -> Result<(), String> {
    let reserve = reserve(limit);
    let needed = FILES_A_STREAM.saturating_mul(starting + 1);
    if open.saturating_add(needed) <= limit - reserve {
        return Ok(());
    }
    Err(format!(
        "{open} of {limit} files are open and {reserve} are kept for webhooks and state; raise LimitNOFILE"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_leave_files_for_everything_else() {
        for (limit, streams) in [(80, 4), (1024, 51), (65_536, 4329)] {
            assert_eq!(streams_max(limit), streams);
            // As many as `check` promises are started, one after the other and all at once.
            let open = |running: u64| running * FILES_A_STREAM;
            for n in 0..streams {
                assert_eq!(room(limit, open(n), 0), Ok(()), "{limit} {n}");
                assert_eq!(room(limit, 0, n), Ok(()), "{limit} {n}");
            }
            let full = room(limit, open(streams), 0).expect_err("it is full");
            assert!(full.contains(&format!("of {limit} files")), "{full}");
            assert!(room(limit, 0, streams).is_err());
            let left = limit - open(streams);
            assert!(left >= reserve(limit), "{limit}: only {left} are left");
        }
        assert_eq!(room(u64::MAX, 1 << 20, 1000), Ok(()));
    }
}
