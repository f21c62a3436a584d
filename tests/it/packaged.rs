//! The package with a real systemd: installed, started, upgraded, disturbed, purged.
//!
//! It changes the machine that it runs on; `.ci/try-package` gives it a container, and names two
//! packages in `RTMSD_PACKAGES`, the second of them the newer.
#![expect(
    clippy::print_stderr,
    reason = "the steps and their results are printed"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtmsd::config::keys::KEYS;
use rtmsd::demo::compare;
use rtmsd::demo::{
    Begin, End, MeetingHandle, MeetingScript, Options, Step, Zoom, transcript_lines,
};

use crate::harness::{
    PATIENCE, post_meaningless, run_to_end, wait_until, wait_until_more, wait_until_step,
};

const CONF: &str = "/etc/rtms.conf";
const SECRETS: &str = "/etc/rtmsd";
const MEETINGS: &str = "/var/lib/rtmsd/meetings";

/// The output of a shell command, stdout and stderr; it must succeed.
fn run(command: &str) -> String {
    let (is_fine, text) = tried(command);
    assert!(is_fine, "{command}: {text}");
    text
}

fn tried(command: &str) -> (bool, String) {
    let mut shell = Command::new("sh");
    let ran = run_to_end(shell.arg("-c").arg(format!("exec 2>&1; {command}")));
    let text = ran.stdout.trim().to_owned();
    eprintln!("$ {command}\n{text}");
    (ran.code == Some(0), text)
}

fn property(name: &str) -> String {
    let mut systemctl = Command::new("systemctl");
    let ran = run_to_end(systemctl.args(["show", "--value", "-p", name, "rtmsd"]));
    ran.stdout.trim().to_owned()
}

/// Shows what systemd knows when the test fails.
struct JournalOnPanic;

impl Drop for JournalOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tried("systemctl status rtmsd; journalctl -n 100 --no-pager");
        }
    }
}

fn wait_until_status(text: &str) {
    wait_until(text, || property("StatusText").contains(text));
}

fn has_logged(text: &str) -> bool {
    let mut journalctl = Command::new("journalctl");
    let ran = run_to_end(journalctl.args(["-u", "rtmsd", "-o", "cat", "--no-pager"]));
    ran.stdout.contains(text)
}

fn mode(path: impl AsRef<Path>) -> u32 {
    let found = fs::metadata(path.as_ref()).expect("the file exists");
    found.permissions().mode() & 0o7777
}

/// Settings as an operator makes them: secrets in separate files, the rest in `rtms.conf`.
fn configure(zoom: &Zoom) {
    let mut lines = fs::read_to_string(CONF).expect("the package has installed it");
    for (name, value) in zoom.environment() {
        if KEYS.iter().any(|key| key.is_secret && key.name == name) {
            run(&format!(
                "umask 077; printf '%s\\n' '{value}' >{SECRETS}/{name}"
            ));
        } else {
            lines += &format!("{name}={value}\n");
        }
    }
    lines += "HOST=127.0.0.1\n";
    fs::write(CONF, lines).expect("a file");
}

/// Whether a correct webhook with an unknown event is answered with 200.
fn is_answered(zoom: &Zoom) -> bool {
    let delivery = post_meaningless(zoom);
    if !delivery.is_accepted() {
        eprintln!("{delivery:?}");
    }
    delivery.is_accepted()
}

/// A meeting that does not end, and how often it was ready.
struct Playing {
    meeting: MeetingHandle,
    readies: usize,
}

impl Playing {
    fn begin(zoom: &Zoom) -> Playing {
        let meeting = zoom.start_meeting(MeetingScript {
            phrases_per_second: 20.0,
            begin: Begin::ByRest,
            // Webhooks that a hung process never read are sent again.
            replay: Duration::from_secs(6),
            ..MeetingScript::plain("package")
        });
        let mut playing = Playing {
            meeting,
            readies: 0,
        };
        playing.wait_until_rejoined("the first time");
        playing
    }

    /// Waits until data flows once more.
    fn wait_until_rejoined(&mut self, what: &str) {
        self.readies += 1;
        let is_ready = (self.meeting).wait_for_times(Step::Ready, self.readies, PATIENCE);
        assert!(is_ready, "{what}: {:?}", self.meeting.steps());
        let steps = self.meeting.steps();
        let last = |wanted: Step| {
            let mut found = steps.iter().rev().filter(|(step, _)| *step == wanted);
            found.next().map(|(_, at)| *at)
        };
        if let (Some(lost), Some(ready)) = (last(Step::Lost), last(Step::Ready)) {
            eprintln!(
                "{what}: receiving {:?} after the loss",
                ready.saturating_sub(lost)
            );
        }
        wait_until_more(&self.meeting, 20);
        wait_until_status("1 streams, 1 receiving");
    }

    fn end(self) {
        self.meeting.end(End::meeting_ended());
        wait_until_step(&self.meeting, Step::StoppedAnswered);
        wait_until_step(&self.meeting, Step::Closed);
        wait_until_status("0 streams");
        assert_eq!(self.meeting.streams().len(), 1);
        let lines = transcript_lines(Path::new(MEETINGS), &self.meeting.script().id);
        let lines = lines.expect("files");
        let result = compare(&self.meeting.sent(), lines.iter().map(String::as_str));
        eprintln!("{result:?}");
        assert!(result.is_exact(), "{result:?}");
    }
}

#[test]
#[ignore = "changes the machine; run .ci/try-package"]
fn the_package_works_with_systemd() {
    let _shown = JournalOnPanic;
    let packages = std::env::var("RTMSD_PACKAGES").expect("the packages");
    let (old, new) = packages.split_once(' ').expect("two packages");

    // Installed: enabled but not started, because there are no credentials.
    run(&format!("dpkg -i {old}"));
    assert_eq!(run("systemctl is-enabled rtmsd"), "enabled");
    assert_eq!(property("ActiveState"), "inactive");
    assert_eq!(property("ConditionResult"), "no");
    assert_eq!(mode(SECRETS), 0o700);
    run("man -w 8 rtmsd && man -w 5 rtms.conf");
    run("rtmsd --version");
    let verified = run("systemd-analyze verify rtmsd.service");
    assert_eq!(verified, "");
    let judged = run("systemd-analyze security --no-pager --threshold=20 rtmsd | tail -n 2");
    assert!(judged.contains("OK"), "{judged}");

    // Credentials, and a meeting.
    let shared = Path::new("/usr/local/share/zoom");
    fs::create_dir_all(shared).expect("a folder");
    fs::set_permissions(shared, fs::Permissions::from_mode(0o755)).expect("ours");
    let zoom = Zoom::start(Options {
        // A host name, so that the name service inside the sandbox is tested, too.
        host: "localhost".to_owned(),
        directory: Some(shared.to_owned()),
        webhook_retries: vec![Duration::from_millis(300); 20],
        ..Options::default()
    })
    .expect("a Zoom");
    configure(&zoom);
    run(&format!("CREDENTIALS_DIRECTORY={SECRETS} rtmsd check"));
    run("systemctl start rtmsd");
    zoom.set_webhook_target("http://127.0.0.1:3000/webhook")
        .expect("a target");
    wait_until("its log is in the journal", || {
        has_logged("listening addr=")
    });
    let mut playing = Playing::begin(&zoom);
    run("systemctl status --no-pager rtmsd");
    run("rtmsd status");
    run("curl -fsS http://127.0.0.1:9464/healthz http://127.0.0.1:9464/readyz");
    assert_eq!(mode("/var/lib/private/rtmsd"), 0o700);
    let secret = &zoom.options().client_secret;
    let (is_found, _) = tried(&format!(
        "find / -xdev -type f -perm -o=r ! -path '/root/*' ! -path '/proc/*' -size -200k \
         -exec grep -lF -e '{secret}' {{}} +"
    ));
    assert!(!is_found, "a secret that all can read");

    // Upgraded while a stream runs: the settings stay, and the stream is rejoined.
    run(&format!("dpkg -i {new}"));
    playing.wait_until_rejoined("upgrade");
    assert!(
        fs::read_to_string(CONF)
            .expect("it stays")
            .contains("HOST=127.0.0.1")
    );

    // Killed, hung, restarted, reloaded.
    let before = property("MainPID");
    run("systemctl kill -s KILL rtmsd");
    playing.wait_until_rejoined("killed");
    assert_ne!(property("MainPID"), before);
    run(
        "mkdir -p /run/systemd/system/rtmsd.service.d && printf '[Service]\\nWatchdogSec=2s\\n' \
         >/run/systemd/system/rtmsd.service.d/watchdog.conf && systemctl daemon-reload && \
         systemctl restart rtmsd",
    );
    playing.wait_until_rejoined("restart");
    run("systemctl kill -s STOP rtmsd");
    playing.wait_until_rejoined("watchdog");
    assert!(has_logged("Watchdog timeout"));
    run("rm -r /run/systemd/system/rtmsd.service.d && systemctl daemon-reload");
    run(&format!(
        "echo RTMS_LOG=debug >>{CONF} && systemctl reload rtmsd"
    ));
    wait_until("reloaded", || has_logged("configuration reloaded"));
    assert_eq!(property("ActiveState"), "active");

    // With the port held by systemd, no webhook is refused during a restart.
    run(
        "rtmsd print socket >/etc/systemd/system/rtmsd.socket && systemctl daemon-reload && \
         systemctl stop rtmsd && systemctl enable --now rtmsd.socket rtmsd",
    );
    playing.wait_until_rejoined("socket activation");
    let (is_over, mut posted) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        let poster = scope.spawn(|| {
            let (mut accepted, mut refused) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                match is_answered(&zoom) {
                    true => accepted += 1,
                    false => refused += 1,
                }
            }
            (accepted, refused)
        });
        for _ in 0..3 {
            run("systemctl restart rtmsd");
            playing.wait_until_rejoined("restart under load");
        }
        is_over.store(true, Ordering::Relaxed);
        let (accepted, refused) = poster.join().expect("no panic");
        assert_eq!(refused, 0);
        posted = accepted;
    });
    eprintln!("{posted} webhooks posted during three restarts, none refused");
    playing.end();

    // A wrong configuration ends the service for good, even if webhooks wait.
    run(&format!("echo PORT=x >>{CONF}"));
    let (is_started, _) = tried("systemctl restart rtmsd");
    assert!(!is_started);
    assert_eq!(property("ExecMainStatus"), "78");
    assert!(!is_answered(&zoom));
    wait_until("the socket gives up", || {
        !tried("systemctl is-active rtmsd.socket").0
    });
    let starts = run("journalctl -u rtmsd --no-pager | grep -c 'PORT: found'");
    assert!(
        starts.parse::<u32>().is_ok_and(|starts| starts < 10),
        "{starts}"
    );
    assert_eq!(property("ActiveState"), "failed");
    run("journalctl -u rtmsd -n 5 --no-pager");
    run(&format!(
        "sed -i '/^PORT=x/d' {CONF} && systemctl restart rtmsd"
    ));
    run("systemctl is-active rtmsd rtmsd.socket");
    assert!(is_answered(&zoom));

    // Without the socket the server is not restarted either. A service that will be is
    // "activating".
    run(
        "systemctl disable --now rtmsd.socket && rm /etc/systemd/system/rtmsd.socket && \
         systemctl daemon-reload && systemctl restart rtmsd",
    );
    run(&format!("echo PORT=x >>{CONF}; ! systemctl restart rtmsd"));
    assert_eq!(property("ActiveState"), "failed");
    assert_eq!(property("SubState"), "failed");
    assert_eq!(property("NRestarts"), "0");
    run(&format!(
        "sed -i '/^PORT=x/d' {CONF} && systemctl restart rtmsd"
    ));

    // After the removal it does not run; after the purge only the operator's files are left.
    run("dpkg -r rtmsd");
    assert!(!tried("systemctl is-active rtmsd").0);
    assert!(!tried("pgrep -x rtmsd").0);
    assert!(Path::new(CONF).exists() && Path::new(SECRETS).exists());
    run("dpkg -P rtmsd");
    assert!(!Path::new(CONF).exists() && !Path::new(SECRETS).exists());
    let left = run("ls -A /var/lib/private/rtmsd");
    assert_eq!(left, "meetings");
    assert!(!run("find /var/lib/private/rtmsd/meetings -name transcript.jsonl").is_empty());
    zoom.stop();
}
