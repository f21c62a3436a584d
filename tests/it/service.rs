//! The real binary as systemd runs it: notifications, watchdog, reload, socket activation.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::wait_for;

/// Nothing in these tests takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
const RTMSD: &str = env!("CARGO_BIN_EXE_rtmsd");

struct Service {
    manager: UnixDatagram,
    folder: PathBuf,
    child: Option<Child>,
}

impl Service {
    fn new(name: &str) -> Service {
        let folder = std::env::temp_dir().join(format!("rtmsd-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let manager = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        manager.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let service = Service {
            manager,
            folder,
            child: None,
        };
        service.configure("first", "");
        service
    }

    fn configure(&self, secret_token: &str, more: &str) {
        let folder = self.folder.display();
        let text = format!(
            "ZOOM_CLIENT_ID=a\nZOOM_CLIENT_SECRET=b\nZOOM_SECRET_TOKEN={secret_token}\n\
             HOST=127.0.0.1\nPORT=0\nRTMS_ADMIN=off\nRTMS_OUT={folder}/out\n\
             RTMS_STATE={folder}/state\nRTMS_STDOUT=off\n{more}\n"
        );
        fs::write(self.folder.join("rtms.conf"), text).expect("a file");
    }

    /// `before` is shell that runs in the process that becomes the server.
    fn start(&mut self, before: &str, stdin: Stdio) {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!(
                "{before} exec \"$0\" serve --config \"$1\" 3<&0 </dev/null"
            ))
            .arg(RTMSD)
            .arg(self.folder.join("rtms.conf"))
            .env("NOTIFY_SOCKET", self.folder.join("notify"))
            .env("WATCHDOG_USEC", "200000")
            .env_remove("WATCHDOG_PID")
            .stdin(stdin)
            .stderr(fs::File::create(self.folder.join("log")).expect("a file"));
        self.child = Some(command.spawn().expect("it starts"));
    }

    fn hears(&self, line: &str) {
        let mut bytes = [0; 4096];
        loop {
            let n = self.manager.recv(&mut bytes);
            let n = n.unwrap_or_else(|e| panic!("{line}: {e}; log:\n{}", self.log()));
            let text = String::from_utf8_lossy(&bytes[..n]);
            if text.lines().any(|found| found.starts_with(line)) {
                return;
            }
        }
    }

    /// Takes all that has arrived, and returns how many pings were among it.
    fn pings(&self) -> usize {
        self.manager.set_nonblocking(true).expect("a socket");
        let (mut bytes, mut pings) = ([0; 4096], 0);
        while let Ok(n) = self.manager.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..n]);
            pings += text.lines().filter(|line| *line == "WATCHDOG=1").count();
        }
        self.manager.set_nonblocking(false).expect("a socket");
        pings
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("it runs").id();
        let id = Pid::from_raw(i32::try_from(id).expect("a pid")).expect("a pid");
        kill_process(id, signal).expect("it runs");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn reload(&self) {
        self.signal(Signal::HUP);
        self.hears("RELOADING=1");
        self.hears("READY=1");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn systemd_hears_of_every_turn_of_its_life() {
    let mut service = Service::new("notify");
    service.start("", Stdio::null());
    service.hears("READY=1");
    for _ in 0..3 {
        service.hears("WATCHDOG=1");
    }
    service.configure(
        "second",
        "RTMS_LOG=debug\nRTMS_CA_FILE=/etc/ssl/certs/ca-certificates.crt",
    );
    service.reload();
    let log = service.log();
    assert!(log.contains("configuration reloaded"), "{log}");
    assert!(
        log.contains("applied by a restart only keys=RTMS_CA_FILE"),
        "{log}"
    );
    service.configure("third", "PORT=x\nRTMS_NONSENSE=1");
    service.reload();
    let log = service.log();
    assert!(
        log.contains("reload failed, configuration unchanged faults=2"),
        "{log}"
    );
    assert!(log.contains("RTMS_NONSENSE"), "{log}");
    service.hears("WATCHDOG=1");
    service.signal(Signal::TERM);
    service.hears("STOPPING=1");
    let status = service
        .child
        .as_mut()
        .map(|child| child.wait().expect("it ends"));
    assert!(status.is_some_and(|status| status.success()));
    assert!(
        !service.log().contains("makes no progress"),
        "{}",
        service.log()
    );
}

#[test]
fn a_stopped_process_is_fed_when_it_goes_on() {
    let mut service = Service::new("hang");
    service.start("", Stdio::null());
    service.hears("WATCHDOG=1");
    service.signal(Signal::STOP);
    let id = service.child.as_ref().expect("it runs").id();
    wait_for("it is stopped", || {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('T'))
    });
    // Of the time before. What is heard afterwards was sent afterwards.
    service.pings();
    service.signal(Signal::CONT);
    service.hears("WATCHDOG=1");
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::print_stderr, reason = "what was not tested must be said")]
fn a_server_with_a_thread_that_hangs_is_not_fed() {
    let mut service = Service::new("thread");
    service.start("", Stdio::null());
    let id = service.child.as_ref().expect("it runs").id();
    for (thread, who) in [
        ("rtmsd", "the daemon's loop"),
        ("gate", "the gate"),
        ("timer", "the timer"),
    ] {
        service.hears("WATCHDOG=1");
        let Some(held) = Held::hold(thread_id(id, thread)) else {
            eprintln!("skipped: this machine does not let one process stop another's thread");
            return;
        };
        let expected = format!("{who} makes no progress");
        wait_for(&expected, || service.log().contains(&expected));
        service.pings();
        // The thread that feeds it looks every 50 to 100 ms.
        std::thread::park_timeout(Duration::from_millis(400));
        assert_eq!(service.pings(), 0, "{who}");
        drop(held);
    }
    service.hears("WATCHDOG=1");
}

/// The number of the thread of that name.
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

/// A thread that stands still, as one that hangs in the kernel does, until this is dropped. The
/// tracer is in Perl, which every Debian has: Rust has no safe ptrace(2).
#[cfg(target_os = "linux")]
struct Held(Child);

#[cfg(target_os = "linux")]
impl Held {
    fn hold(thread: String) -> Option<Held> {
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
        let mut tracer = Command::new("perl")
            .args(["-e", TRACER, &thread, ptrace])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = [0; 7];
        let read = tracer.stdout.as_mut().map(|out| out.read_exact(&mut said));
        let held = Held(tracer);
        matches!(read, Some(Ok(()))).then_some(held)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Held {
    fn drop(&mut self) {
        // The kernel lets the thread go on when its tracer is no more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_socket_of_systemd_outlives_the_process() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    let stdin = || Stdio::from(OwnedFd::from(listener.try_clone().expect("a descriptor")));
    let mut service = Service::new("activation");
    // A client that comes before there is a server waits for it.
    let early = std::thread::spawn(move || get(address));
    service.start(
        "LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS;",
        stdin(),
    );
    assert!(early.join().expect("no panic").contains("rtmsd is up"));
    service.hears("READY=1");
    service.signal(Signal::TERM);
    service.hears("STOPPING=1");
    service
        .child
        .take()
        .expect("it runs")
        .wait()
        .expect("it ends");
    // Between two processes nobody is refused.
    let between = std::thread::spawn(move || get(address));
    service.start(
        "LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS;",
        stdin(),
    );
    assert!(between.join().expect("no panic").contains("rtmsd is up"));
    let log = service.log();
    assert!(log.contains("HOST and PORT are not used"), "{log}");
}

fn get(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("nobody is refused");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
