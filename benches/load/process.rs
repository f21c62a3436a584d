//! The server as a child process, and its resource use as reported by the kernel.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rtmsd::demo::{ServerCommand, ServerProcess, Zoom};

pub(crate) struct Server {
    process: ServerProcess,
    folder: PathBuf,
    pub(crate) out: PathBuf,
    address: SocketAddr,
}

/// Resources that a process has used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_mib: f64,
    pub(crate) peak_mib: f64,
    pub(crate) switches: u64,
}

/// What a process keeps while nothing changes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    pub(crate) rss_mib: f64,
    /// Memory of its own, that no file backs.
    pub(crate) anonymous_mib: f64,
    /// Its share of everything it has mapped: pages of a library count by the number of its users.
    pub(crate) proportional_mib: f64,
    pub(crate) threads: f64,
    pub(crate) descriptors: f64,
    /// Files in its state directory, without those that are being written and not in their place yet.
    pub(crate) state_kib: f64,
}

impl Standing {
    /// Of each value the larger one.
    pub(crate) fn max(self, other: &Standing) -> Standing {
        Standing {
            rss_mib: self.rss_mib.max(other.rss_mib),
            anonymous_mib: self.anonymous_mib.max(other.anonymous_mib),
            proportional_mib: self.proportional_mib.max(other.proportional_mib),
            threads: self.threads.max(other.threads),
            descriptors: self.descriptors.max(other.descriptors),
            state_kib: self.state_kib.max(other.state_kib),
        }
    }
}

impl Usage {
    /// Time and wake-ups since then; memory is the current value.
    pub(crate) fn since(&self, before: &Usage) -> Usage {
        Usage {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            switches: self.switches - before.switches,
            ..*self
        }
    }
}

/// `RTMSD_BENCH_SETTINGS=KEY=VALUE,KEY=VALUE`: for a comparison of two settings.
pub(crate) fn settings_of_all() -> Vec<(&'static str, &'static str)> {
    let text: &str = std::env::var("RTMSD_BENCH_SETTINGS")
        .unwrap_or_default()
        .leak();
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .collect()
}

impl Server {
    /// Starts the binary with its defaults: JSONL and VTT, stdout on (to nowhere). A setting
    /// without a value is removed.
    pub(crate) fn start(zoom: &Zoom, settings_too: &[(&str, &str)]) -> Server {
        let folder = std::env::temp_dir().join(format!("rtmsd-bench-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let out = folder.join("out");
        fs::create_dir_all(&out).expect("a temporary folder");
        let mut settings = zoom.environment();
        let state = folder.join("state");
        for (key, value) in [
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("RTMS_ADMIN", "off"),
            ("RTMS_OUT", &out.display().to_string()),
            ("RTMS_STATE", &state.display().to_string()),
        ]
        .iter()
        .chain(settings_too)
        .chain(&settings_of_all())
        {
            settings.retain(|(known, _)| known != key);
            if !value.is_empty() {
                settings.push(((*key).to_owned(), (*value).to_owned()));
            }
        }
        let process = ServerCommand {
            program: binary(),
            folder: folder.clone(),
            settings,
            environment: unit_environment(),
            shows_stdout: false,
            shows_log: false,
            is_apart: false,
        }
        .start()
        .expect("the server starts");
        let address = process
            .address(Duration::from_secs(10))
            .expect("the server listens");
        zoom.set_webhook_target(&format!("http://{address}/webhook"))
            .expect("a URL");
        Server {
            process,
            folder,
            out,
            address,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a request and waits for any answer.
    pub(crate) fn ask(&self) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        assert!(answer.starts_with(b"HTTP/1.1 "), "an answer");
    }

    /// The address of its admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        const BEFORE: &str = "health, metrics and streams are at http://";
        let is_it = |line: &str| line.contains(BEFORE);
        let line = self.process.wait_for_line(Duration::from_secs(10), is_it);
        let line = line.expect("it has one");
        let (_, address) = line.split_once(BEFORE).expect("the marker");
        address.parse().expect("an address")
    }

    pub(crate) fn usage(&self) -> Usage {
        usage(self.process.id())
    }

    pub(crate) fn standing(&self) -> Standing {
        let of = |name: &str| PathBuf::from(format!("/proc/{}/{name}", self.id()));
        let status = fs::read_to_string(of("status")).unwrap_or_default();
        let shares = fs::read_to_string(of("smaps_rollup")).unwrap_or_default();
        let entries = |name: &str| fs::read_dir(of(name)).map_or(0, Iterator::count);
        Standing {
            rss_mib: field(&status, "VmRSS:") / 1024.0,
            anonymous_mib: field(&status, "RssAnon:") / 1024.0,
            proportional_mib: field(&shares, "Pss:") / 1024.0,
            threads: field(&status, "Threads:"),
            descriptors: entries("fd") as f64,
            state_kib: self.state_kib(),
        }
    }

    /// The field of the same name in [`Standing`]: it can be asked for often.
    pub(crate) fn state_kib(&self) -> f64 {
        let files = fs::read_dir(self.folder.join("state")).expect("it has one");
        let in_place = files.flatten().filter(|file| {
            let name = file.file_name();
            !name.as_encoded_bytes().starts_with(b".")
        });
        let sizes = in_place.map(|file| file.metadata().map_or(0, |meta| meta.len()));
        sizes.sum::<u64>() as f64 / 1024.0
    }

    pub(crate) fn stop(mut self) {
        let status = self.process.terminate(Duration::from_secs(10));
        assert!(
            status.is_some_and(|status| status.success()),
            "the server ends normally: {status:?}"
        );
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a process has used so far.
pub(crate) fn usage(id: u32) -> Usage {
    let read = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    // The name in parentheses may contain spaces; user and system time are the 12th and 13th
    // field after it, in ticks of 1/100 s on Linux.
    let stat = read("stat");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks = |n: usize| {
        fields
            .get(n)
            .and_then(|n| n.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    let status = read("status");
    Usage {
        cpu_seconds: (ticks(11) + ticks(12)) / 100.0,
        rss_mib: field(&status, "VmRSS:") / 1024.0,
        peak_mib: field(&status, "VmHWM:") / 1024.0,
        switches: switches(id),
    }
}

/// The number behind a key of one of these files of the kernel.
fn field(text: &str, key: &str) -> f64 {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
    value.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// CPU time of the threads that run now, in seconds: to the nanosecond, where [`usage`] counts hundredths of a
/// second.
pub(crate) fn cpu_of_threads(id: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else {
        return 0.0;
    };
    let of = |path: PathBuf| -> Option<f64> {
        let times = fs::read_to_string(path.join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse().ok()
    };
    let each = threads.flatten().filter_map(|thread| of(thread.path()));
    each.sum::<f64>() / 1e9
}

/// Voluntary context switches of all threads: the number of wake-ups.
fn switches(id: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else {
        return 0;
    };
    let of = |path: PathBuf| -> Option<u64> {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    threads
        .flatten()
        .filter_map(|thread| of(thread.path()))
        .sum()
}

/// The sum over every file below a folder whose name has this end.
fn each(folder: &Path, name_end: &str, of: &impl Fn(&Path) -> u64) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let of_entry = |entry: fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() {
            return each(&path, name_end, of);
        }
        let is_wanted = path.to_string_lossy().ends_with(name_end);
        if is_wanted { of(&path) } else { 0 }
    };
    entries.flatten().map(of_entry).sum()
}

/// Bytes of those files.
pub(crate) fn bytes(folder: &Path, name_end: &str) -> u64 {
    each(folder, name_end, &|path| {
        fs::metadata(path).map_or(0, |meta| meta.len())
    })
}

/// The sum of what is counted in those files, from `from` on, in pieces of a whole number of audio
/// packets.
pub(crate) fn count(
    folder: &Path,
    name_end: &str,
    from: u64,
    in_piece: impl Fn(&[u8]) -> u64,
) -> u64 {
    each(folder, name_end, &|path| {
        let Ok(mut file) = fs::File::open(path) else {
            return 0;
        };
        if file.seek(SeekFrom::Start(from)).is_err() {
            return 0;
        }
        let mut piece = Vec::new();
        let mut sum = 0;
        while let Ok(1..) = (&mut file).take(640_000).read_to_end(&mut piece) {
            sum += in_piece(&piece);
            piece.clear();
        }
        sum
    })
}

/// Number of line breaks in a piece.
pub(crate) fn lines(piece: &[u8]) -> u64 {
    piece.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// What the service has in its environment by its unit.
pub(crate) fn unit_environment() -> Vec<(String, String)> {
    let printed = Command::new(binary()).args(["print", "unit"]).output();
    let unit = String::from_utf8(printed.expect("it runs").stdout).expect("text");
    let lines = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn binary() -> PathBuf {
    let named = std::env::var_os("RTMSD_BENCH_SERVER");
    named.map_or_else(|| env!("CARGO_BIN_EXE_rtmsd").into(), PathBuf::from)
}

pub(crate) fn binary_bytes() -> u64 {
    fs::metadata(binary()).map_or(0, |meta| meta.len())
}
