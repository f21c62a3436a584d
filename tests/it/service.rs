//! The real binary as systemd runs it: notifications, watchdog, reload, socket activation.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rtmsd::demo::Options;
use rustix::process::Signal;

use crate::harness::{
    Builder, Harness, KilledOnDrop, PATIENCE, TempDir, http, plain, report, wait_until,
    wait_until_over,
};

/// So short that it is seen at once what is not fed.
const WATCHDOG: Duration = Duration::from_millis(800);

/// The service manager's side of the notifications.
pub(crate) struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    pub(crate) fn new() -> Manager {
        let folder = TempDir::new();
        let socket = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Manager { socket, folder }
    }

    /// A server that notifies it, and feeds its watchdog. `more` is shell that runs in the process
    /// that becomes the server.
    fn builder(&self, watchdog: Duration, more: &str) -> Builder {
        let environment = self.environment(watchdog);
        Harness::builder(Options::default()).prelude(&format!("{environment}; {more}"))
    }

    /// Shell that makes what runs after it notify this.
    pub(crate) fn environment(&self, watchdog: Duration) -> String {
        let notify = self.folder.join("notify");
        format!(
            "export NOTIFY_SOCKET='{}' WATCHDOG_USEC={}; unset WATCHDOG_PID",
            notify.display(),
            watchdog.as_micros()
        )
    }

    /// Collects each STATUS from now on, until the end of the test's process.
    pub(crate) fn statuses(&self) -> Arc<Mutex<Vec<String>>> {
        let socket = self.socket.try_clone().expect("a socket");
        let kept = Arc::new(Mutex::new(Vec::new()));
        let statuses = Arc::clone(&kept);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..n]);
                let found = text.lines().filter_map(|line| line.strip_prefix("STATUS="));
                let mut statuses = statuses.lock().expect("no panic");
                statuses.extend(found.map(str::to_owned));
            }
        });
        kept
    }

    #[track_caller]
    fn wait_until_told(&self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = [0; 4096];
        loop {
            let n = self.socket.recv(&mut bytes);
            let n = n.unwrap_or_else(|e| panic!("timed out: {line}: {e}"));
            assert!(Instant::now() < deadline, "timed out: {line}");
            let text = String::from_utf8_lossy(&bytes[..n]);
            if text.lines().any(|found| found.starts_with(line)) {
                return;
            }
        }
    }

    /// Reads everything that has arrived, and returns how many watchdog messages there were.
    fn pings(&self) -> usize {
        self.socket.set_nonblocking(true).expect("a socket");
        let (mut bytes, mut pings) = ([0; 4096], 0);
        while let Ok(n) = self.socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..n]);
            pings += text.lines().filter(|line| *line == "WATCHDOG=1").count();
        }
        self.socket.set_nonblocking(false).expect("a socket");
        pings
    }
}

#[test]
fn systemd_is_notified_of_each_change() {
    let manager = Manager::new();
    // Fed each second: a busy machine may take half of that.
    let mut harness = manager.builder(Duration::from_secs(4), "").start();
    manager.wait_until_told("READY=1");
    for _ in 0..3 {
        manager.wait_until_told("WATCHDOG=1");
    }
    let line = harness.reload(&[
        ("ZOOM_SECRET_TOKEN", "second"),
        ("RTMS_LOG", "debug"),
        ("RTMS_CA_FILE", "/etc/ssl/certs/ca-certificates.crt"),
    ]);
    assert!(line.contains("configuration reloaded"), "{line}");
    manager.wait_until_told("RELOADING=1");
    manager.wait_until_told("READY=1");
    harness.wait_until_logged(&["applied by a restart only keys=RTMS_CA_FILE"]);
    let line = harness.reload(&[("PORT", "x"), ("RTMS_NONSENSE", "1")]);
    assert!(
        line.contains("reload failed, configuration unchanged faults=2"),
        "{line}"
    );
    manager.wait_until_told("RELOADING=1");
    manager.wait_until_told("READY=1");
    harness.wait_until_logged(&["RTMS_NONSENSE"]);
    manager.wait_until_told("WATCHDOG=1");
    harness.server.signal(Signal::TERM);
    manager.wait_until_told("STOPPING=1");
    let status = harness.server.wait(PATIENCE);
    assert!(status.is_some_and(|status| status.success()));
    assert_eq!(harness.count_logged(&["makes no progress"]), 0);
}

#[test]
fn an_event_websocket_that_is_not_connected_is_in_the_status() {
    let manager = Manager::new();
    let url = "wss://127.0.0.1:9/ws?subscriptionId=a";
    let mut harness = manager
        .builder(WATCHDOG, "")
        .settings(&[("ZOOM_EVENTS_URL", url)])
        .start();
    manager.wait_until_told("STATUS=0 streams, 0 receiving; events connecting");
    harness.reload(&[("ZOOM_EVENTS_URL", &harness.zoom.events_url())]);
    harness.wait_until_logged(&["events connected"]);
    manager.wait_until_told("STATUS=0 streams, 0 receiving");
    harness.terminate();
}

#[test]
fn a_stopped_process_notifies_the_watchdog_after_it_continues() {
    let manager = Manager::new();
    let mut harness = manager.builder(WATCHDOG, "").start();
    manager.wait_until_told("WATCHDOG=1");
    harness.server.signal(Signal::STOP);
    let id = harness.server.id();
    wait_until("it is stopped", || {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('T'))
    });
    // Messages sent earlier are read now; later ones were sent after the stop.
    manager.pings();
    harness.server.signal(Signal::CONT);
    manager.wait_until_told("WATCHDOG=1");
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg(target_os = "linux")]
#[test]
fn with_a_hung_thread_the_watchdog_is_not_notified() {
    let manager = Manager::new();
    let harness = manager.builder(WATCHDOG, "").start();
    let id = harness.server.id();
    for (thread, who) in [
        ("rtmsd", "the daemon's loop"),
        ("gate", "the gate"),
        ("rest-timer", "the timer"),
    ] {
        // Of the time before. What is heard afterwards is that all is well.
        manager.pings();
        manager.wait_until_told("WATCHDOG=1");
        let Some(held) = hold(&thread_id(id, thread)) else {
            report("skipped: this machine does not let one process stop another's thread");
            return;
        };
        harness.wait_until_logged(&[&format!("{who} makes no progress")]);
        manager.pings();
        wait_until_looked(id, 4);
        assert_eq!(manager.pings(), 0, "{who}");
        drop(held);
    }
    manager.wait_until_told("WATCHDOG=1");
}

/// Waits until the thread that feeds the watchdog has looked so often again. It sleeps once or twice
/// in between.
#[cfg(target_os = "linux")]
fn wait_until_looked(process: u32, times: u64) {
    let path = format!(
        "/proc/{process}/task/{}/status",
        thread_id(process, "systemd")
    );
    let sleeps = || -> u64 {
        let status = fs::read_to_string(&path).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok())
            .expect("a count")
    };
    let before = sleeps();
    wait_until("the thread that feeds the watchdog", || {
        sleeps() >= before + 2 * times
    });
}

/// The number of the thread with that name.
#[cfg(target_os = "linux")]
fn thread_id(process: u32, name: &str) -> String {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let mut paths = threads.map(|entry| entry.expect("a thread").path());
    let is_named = |path: &PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|found| found.trim_end() == name)
    };
    let path = paths.find(is_named).expect(name);
    path.file_name()
        .and_then(|id| id.to_str())
        .expect("a number")
        .to_owned()
}

/// Holds a thread, as one that hangs in the kernel stands still, until what is returned is dropped:
/// the kernel lets the thread go on when its tracer is no more. The tracer is in Perl, which every
/// Debian has: Rust has no safe ptrace(2).
#[cfg(target_os = "linux")]
fn hold(thread: &str) -> Option<KilledOnDrop> {
    // PTRACE_SEIZE, PTRACE_INTERRUPT, and waiting for the stop, with __WALL.
    const TRACER: &str = "my ($thread, $ptrace) = map { $_ + 0 } @ARGV; $| = 1; \
        syscall($ptrace, 0x4206, $thread, 0, 0) == 0 or exit 1; \
        syscall($ptrace, 0x4207, $thread, 0, 0) == 0 or exit 1; \
        waitpid($thread, 0x40000000) == $thread or exit 1; \
        print 'stopped'; <STDIN>;";
    let ptrace = if cfg!(target_arch = "aarch64") {
        "117"
    } else {
        "101"
    };
    let tracer = Command::new("perl")
        .args(["-e", TRACER, thread, ptrace])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut tracer = KilledOnDrop(tracer);
    let mut said = [0; 7];
    let out = tracer.0.stdout.as_mut()?;
    out.read_exact(&mut said).ok()?;
    Some(tracer)
}

/// Shell that passes its standard input on as systemd passes a socket.
const ACTIVATION: &str =
    "LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec 3<&0 </dev/null";

#[cfg(target_os = "linux")]
#[test]
fn a_socket_of_systemd_stays_open_between_processes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let stdin = || Stdio::from(OwnedFd::from(listener.try_clone().expect("a descriptor")));
    let manager = Manager::new();
    let mut harness = manager.builder(WATCHDOG, ACTIVATION).without_server();
    // A client that connects before a server runs waits for it.
    let early = std::thread::spawn(move || http::get(address, "/"));
    harness.start_server_on(&stdin);
    assert_eq!(early.join().expect("no panic").1, "rtmsd is up\n");
    manager.wait_until_told("READY=1");
    harness.server.signal(Signal::TERM);
    manager.wait_until_told("STOPPING=1");
    harness.server.wait(PATIENCE).expect("it ends");
    // Between two processes no connection is refused.
    let between = std::thread::spawn(move || http::get(address, "/"));
    harness.start_server_on(&stdin);
    assert_eq!(between.join().expect("no panic").1, "rtmsd is up\n");
    harness.wait_until_logged(&["HOST and PORT are not used"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hook_does_not_inherit_the_socket_of_systemd() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stdin = || Stdio::from(OwnedFd::from(listener.try_clone().expect("a descriptor")));
    let manager = Manager::new();
    let mut harness = manager.builder(WATCHDOG, ACTIVATION).without_server();
    let (hook, found) = (harness.folder.join("hook"), harness.folder.join("found"));
    let text = format!(
        "#!/bin/sh\nls -l /proc/$$/fd >'{0}.new'; echo \"$@\" >>'{0}.new'; mv '{0}.new' '{0}'\n",
        found.display()
    );
    fs::write(&hook, text).expect("a script");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("ours");
    harness.set("RTMS_ON_STREAM_END", &format!("{} a b", hook.display()));
    harness.start_server_on(&stdin);
    manager.wait_until_told("READY=1");
    let meeting = harness.zoom.start_meeting(plain("activated", 3));
    wait_until_over(&meeting);
    wait_until("the hook has run", || found.exists());
    let found = fs::read_to_string(found).expect("a list");
    let socket = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd()));
    let socket = socket.expect("a socket").display().to_string();
    assert!(
        found.contains("pipe:") && !found.contains(&socket),
        "{found}"
    );
    assert!(found.ends_with("a b\n"), "{found}");
    harness.end();
}
