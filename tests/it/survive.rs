//! Streams survive: the real binary against a Zoom that cuts, moves and ends them, against its own
//! death, and against a disk that takes nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtmsd::demo::compare;
use rtmsd::demo::{
    Begin, Cut, End, Fault, MeetingHandle, MeetingScript, Options, Refusal, SentDetail,
    ServerCommand, ServerProcess, Socket, Step, Zoom, transcript_lines,
};
use serde_json::Value;

/// Nothing in these tests takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(40);

/// A Zoom, a server that can die and come back, and its files.
struct Harness {
    zoom: Zoom,
    folder: PathBuf,
    out: PathBuf,
    server: Option<ServerProcess>,
    address: Option<SocketAddr>,
    settings: Vec<(&'static str, String)>,
}

impl Harness {
    fn start() -> Harness {
        Harness::with(&[], None)
    }

    fn with(settings: &[(&'static str, &str)], out: Option<&Path>) -> Harness {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = std::env::temp_dir().join(format!(
            "rtmsd-survive-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let zoom = Zoom::start(Options {
            keep_alive: Duration::from_millis(500),
            directory: Some(folder.clone()),
            webhook_retries: [200, 400, 800, 1600, 3200]
                .map(Duration::from_millis)
                .to_vec(),
            ..Options::default()
        })
        .expect("a Zoom");
        let settings = settings
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()));
        let mut rig = Harness {
            zoom,
            out: out.map_or_else(|| folder.join("out"), Path::to_owned),
            folder,
            server: None,
            address: None,
            settings: settings.collect(),
        };
        rig.start_server();
        rig
    }

    fn start_server(&mut self) {
        let mut settings = self.zoom.environment();
        let port = self.address.map_or(0, |address| address.port());
        let own = [
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("RTMS_ADMIN", "off".to_owned()),
            ("RTMS_OUT", self.out.display().to_string()),
            (
                "RTMS_STATE",
                self.folder.join("state").display().to_string(),
            ),
            ("RTMS_STDOUT", "off".to_owned()),
            ("RTMS_LOG_FORMAT", "text".to_owned()),
            ("RTMS_TRANSCRIPT", "jsonl,vtt,srt".to_owned()),
        ];
        for (key, value) in own.into_iter().chain(self.settings.clone()) {
            settings.push((key.to_owned(), value));
        }
        let server = ServerCommand {
            program: env!("CARGO_BIN_EXE_rtmsd").into(),
            folder: self.folder.clone(),
            settings,
            shows_stdout: false,
            shows_log: std::env::var_os("RTMSD_SHOW_LOG").is_some(),
        }
        .start()
        .expect("the server starts");
        let address = server.address(PATIENCE).expect("the server listens");
        self.server = Some(server);
        if self.address.replace(address).is_none() {
            let target = format!("http://{address}/webhook");
            self.zoom.set_webhook_target(&target).expect("a URL");
        }
    }

    fn server(&mut self) -> &mut ServerProcess {
        self.server.as_mut().expect("it runs")
    }

    fn kill(&mut self) {
        self.server().kill();
    }

    fn terminate(&mut self) {
        let status = self.server().terminate(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0));
    }

    fn has_logged(&mut self, text: &str) -> bool {
        self.server().log().iter().any(|line| line.contains(text))
    }

    fn wait_for_log(&mut self, text: &str) {
        wait_for(text, || self.has_logged(text));
    }

    /// Ends the meeting, and sees that everything that was sent was written once.
    fn finish(mut self, meetings: &[MeetingHandle]) {
        for meeting in meetings {
            meeting.end(End::meeting_ended());
        }
        for meeting in meetings {
            let streams = meeting.streams().len();
            assert!(meeting.wait_for_times(Step::Closed, streams, PATIENCE));
            assert!(meeting.wait_for_times(Step::StoppedAnswered, streams, PATIENCE));
        }
        self.terminate();
        for meeting in meetings {
            self.is_exact(meeting);
            for folder in self.folders(meeting) {
                is_whole(&folder);
                assert_eq!(meta(&folder)["state"], "ended");
            }
        }
        self.end();
    }

    fn end(self) {
        drop(self.server);
        assert_eq!(self.zoom.stop(), Vec::<String>::new());
        let _ = fs::remove_dir_all(&self.folder);
    }

    fn is_exact(&self, meeting: &MeetingHandle) {
        let lines = transcript_lines(&self.out, &meeting.script().id).expect("readable");
        let mut result = compare(&meeting.sent(), lines.iter().map(String::as_str));
        // Several streams have folders whose names do not say which was first.
        if meeting.streams().len() > 1 {
            result.disordered = 0;
        }
        assert!(result.sent > 0 && result.is_exact(), "{result:?}");
    }

    /// The folders of a meeting's streams.
    fn folders(&self, meeting: &MeetingHandle) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        collect(&self.out, &mut folders);
        folders.retain(|folder| meta(folder)["meeting_uuid"] == meeting.script().id.as_str());
        folders.sort();
        folders
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), found);
        } else if entry.file_name() == "meta.json" {
            found.push(folder.to_owned());
        }
    }
}

fn meta(folder: &Path) -> Value {
    let bytes = fs::read(folder.join("meta.json")).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Every line is JSON, every cue a cue, numbers and times only grow.
fn is_whole(folder: &Path) {
    let text = fs::read_to_string(folder.join("transcript.jsonl")).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "torn");
    for line in text.lines() {
        serde_json::from_str::<Value>(line).expect("a line is JSON");
    }
    let vtt = fs::read_to_string(folder.join("transcript.vtt")).unwrap_or_default();
    if vtt.is_empty() {
        return;
    }
    assert!(vtt.ends_with("\n\n"), "torn");
    let cues = vtt.strip_prefix("WEBVTT\n\n").expect("a header");
    let mut last = (0, String::new());
    for cue in cues.split_terminator("\n\n") {
        let lines: Vec<&str> = cue.lines().collect();
        let [number, times, text] = lines[..] else {
            panic!("a cue of {} lines", lines.len());
        };
        let number: u64 = number.parse().expect("a number");
        let (start, end) = times.split_once(" --> ").expect("times");
        assert_eq!((start.len(), end.len()), (12, 12), "{times}");
        assert!(start < end, "{times}");
        assert!(text.starts_with("<v "));
        assert_eq!(number, last.0 + 1);
        assert!(start >= last.1.as_str(), "{start} after {}", last.1);
        last = (number, start.to_owned());
    }
}

fn script(seed: &str) -> MeetingScript {
    let mut script = MeetingScript::plain(seed);
    script.phrases_per_second = 50.0;
    script.replay = Duration::from_secs(2);
    script
}

/// Waits until data flows on a further connection.
fn flows_again(meeting: &MeetingHandle, readies: usize) {
    assert!(meeting.wait_for_times(Step::Ready, readies + 1, PATIENCE));
    assert!(meeting.wait_for_phrases(meeting.sent_count() + 10, PATIENCE));
}

// The four scenarios.

#[test]
fn a_newer_start_moves_the_stream_at_once() {
    for cut in [true, false] {
        let rig = Harness::start();
        let meeting = rig.zoom.start_meeting(script("fail over"));
        assert!(meeting.wait_for_phrases(10, PATIENCE));
        assert!(meeting.fault(Fault::FailOver { cut }));
        flows_again(&meeting, 1);
        // The same once more, as a retry, changes nothing.
        assert!(
            meeting
                .repeat_started()
                .is_some_and(|delivery| delivery.is_accepted())
        );
        assert!(meeting.wait_for_phrases(meeting.sent_count() + 10, PATIENCE));
        assert_eq!(meeting.count(Step::Ready), 2);
        rig.finish(&[meeting]);
    }
}

#[test]
fn signaling_that_is_lost_comes_back_and_media_after_it() {
    for fault in [
        Fault::Cut(Socket::Signaling, Cut::Reset),
        Fault::Cut(Socket::Signaling, Cut::Close(1000)),
        Fault::InterruptedWebhook,
    ] {
        let rig = Harness::start();
        let meeting = rig.zoom.start_meeting(script("signaling"));
        // The webhook alone is taken for a late one until the connection has lived for 5 s.
        let phrases = if fault == Fault::InterruptedWebhook {
            270
        } else {
            10
        };
        assert!(meeting.wait_for_phrases(phrases, PATIENCE));
        meeting.fault(Fault::Refuse(Socket::Signaling, Refusal::Status(8), 1));
        assert!(meeting.fault(fault));
        flows_again(&meeting, 1);
        rig.finish(&[meeting]);
    }
}

#[test]
fn media_that_is_lost_comes_back_and_signaling_stays() {
    for (cut, status) in [(Cut::Fin, 15), (Cut::Reset, 16), (Cut::Close(1011), 16)] {
        let rig = Harness::start();
        let meeting = rig.zoom.start_meeting(script("media"));
        assert!(meeting.wait_for_phrases(10, PATIENCE));
        meeting.fault(Fault::Refuse(Socket::Media, Refusal::Status(status), 1));
        assert!(meeting.fault(Fault::Cut(Socket::Media, cut)));
        flows_again(&meeting, 1);
        assert_eq!(meeting.count(Step::SignalingHandshake), 1);
        rig.finish(&[meeting]);
    }
}

#[test]
fn a_stream_that_zoom_ends_for_a_fault_is_started_again() {
    let rig = Harness::start();
    let meeting = rig.zoom.start_meeting(script("restart"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    meeting.end(End::stopped(10));
    flows_again(&meeting, 1);
    assert_eq!(meeting.streams().len(), 2);
    assert_eq!(meeting.count(Step::StartCalled), 2);
    assert_eq!(rig.folders(&meeting).len(), 2);
    rig.finish(&[meeting]);
}

// The end of the process, and the next one.

#[test]
fn sigterm_leaves_and_the_next_process_takes_up() {
    let mut rig = Harness::start();
    let meeting = rig.zoom.start_meeting(script("sigterm"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    rig.terminate();
    let [folder] = &rig.folders(&meeting)[..] else {
        panic!("one stream, one folder");
    };
    is_whole(folder);
    assert_eq!(meta(folder)["state"], "receiving");
    rig.start_server();
    flows_again(&meeting, 1);
    assert_eq!(meta(folder)["openings"], 2);
    // A retry of what the process before has answered.
    let before = meeting.count(Step::SignalingHandshake);
    assert!(
        meeting
            .repeat_started()
            .is_some_and(|delivery| delivery.is_accepted())
    );
    assert!(meeting.wait_for_phrases(meeting.sent_count() + 10, PATIENCE));
    assert_eq!(meeting.count(Step::SignalingHandshake), before);
    rig.finish(&[meeting]);
}

#[test]
fn sigterm_stops_where_that_is_wanted() {
    let mut rig = Harness::with(&[("RTMS_ON_EXIT", "stop")], None);
    let meeting = rig.zoom.start_meeting(script("on exit"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    rig.terminate();
    assert!(meeting.wait_for(Step::Ended, PATIENCE));
    assert_eq!(meeting.stop_reason(), Some(20));
    for folder in rig.folders(&meeting) {
        assert_eq!(meta(&folder)["state"], "ended");
    }
    rig.start_server();
    assert!(meeting.wait_for(Step::StoppedAnswered, PATIENCE));
    rig.end();
}

#[test]
fn files_of_a_stream_that_is_gone_are_closed() {
    let mut rig = Harness::start();
    let mut script = script("gone");
    script.signaling_window = Duration::from_millis(100);
    let meeting = rig.zoom.start_meeting(script);
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    rig.kill();
    assert!(meeting.wait_for(Step::Ended, PATIENCE));
    let [folder] = &rig.folders(&meeting)[..] else {
        panic!("one stream, one folder");
    };
    // A write that the crash cut short.
    let jsonl = folder.join("transcript.jsonl");
    let torn = fs::read_to_string(&jsonl).expect("readable") + "{\"v\":1,\"te";
    fs::write(&jsonl, torn).expect("writable");
    rig.start_server();
    wait_for("the files are closed", || meta(folder)["state"] == "ended");
    is_whole(folder);
    rig.terminate();
    rig.end();
}

#[test]
fn a_scheduled_stop_is_made_by_the_next_process() {
    let mut rig = Harness::with(&[("RTMS_STOP_AFTER", "2")], None);
    let meeting = rig.zoom.start_meeting(script("stop after"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    rig.kill();
    rig.start_server();
    assert!(meeting.wait_for(Step::StopCalled, PATIENCE));
    assert!(meeting.wait_for(Step::Closed, PATIENCE));
    assert_eq!(meeting.count(Step::StartCalled), 1);
    rig.terminate();
    rig.end();
}

#[test]
fn sigkill_in_a_flood_tears_nothing() {
    let slowest = kill_in_a_flood(3);
    assert!(slowest < PATIENCE, "{slowest:?}");
}

#[test]
#[ignore = "takes minutes; add --ignored"]
fn sigkill_in_a_flood_tears_nothing_two_hundred_times() {
    let slowest = kill_in_a_flood(200);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

/// SIGKILL at so many instants of a flood. Returns how long the slowest return took.
fn kill_in_a_flood(kills: u64) -> Duration {
    let mut rig = Harness::start();
    let mut script = script("flood");
    script.phrases_per_second = 2000.0;
    script.keep = SentDetail::Count;
    script.begin = Begin::AtOnce;
    script.replay = Duration::from_millis(100);
    let meeting = rig.zoom.start_meeting(script);
    assert!(meeting.wait_for_phrases(100, PATIENCE));
    let [folder] = &rig.folders(&meeting)[..] else {
        panic!("one stream, one folder");
    };
    let jsonl = folder.join("transcript.jsonl");
    let mut slowest = Duration::ZERO;
    let mut torn = 0;
    for n in 0..kills {
        // So far into the flood, which is another instant of a write each time.
        let further = 20 + (n * 7919) % 977;
        let sent = meeting.sent_count() + further;
        assert!(meeting.wait_for_phrases(sent, PATIENCE));
        let readies = meeting.count(Step::Ready);
        rig.kill();
        let left = fs::read(&jsonl).expect("readable");
        let whole = left
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        torn += usize::from(whole < left.len());
        let restarted = Instant::now();
        rig.start_server();
        assert!(meeting.wait_for_times(Step::Ready, readies + 1, PATIENCE));
        slowest = slowest.max(restarted.elapsed());
        let sent = meeting.sent_count() + 10;
        assert!(meeting.wait_for_phrases(sent, PATIENCE));
        wait_for("the file goes on", || {
            fs::metadata(&jsonl).is_ok_and(|meta| meta.len() > whole as u64)
        });
        let now = fs::read(&jsonl).expect("readable");
        assert!(
            now.starts_with(&left[..whole]),
            "a whole line was lost, kill {n}"
        );
    }
    let before = meeting.sent_count();
    rig.terminate();
    is_whole(folder);
    let lines = fs::read_to_string(&jsonl)
        .expect("readable")
        .lines()
        .count();
    report(&format!(
        "{kills} kills, {torn} of them in the middle of a record, slowest rejoin {} ms, {before} \
         phrases sent, {lines} lines",
        slowest.as_millis()
    ));
    rig.server = None;
    drop(rig.zoom);
    let _ = fs::remove_dir_all(&rig.folder);
    slowest
}

/// Figures of the slow mode, where they are asked for.
fn report(text: &str) {
    if let Some(path) = std::env::var_os("RTMSD_REPORT") {
        fs::write(path, text).expect("a report");
    }
}

// Disks.

/// A small disk of its own, or `None` where only root may have one.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(name: &str, size: &str) -> Option<Tmpfs> {
        let path = std::env::temp_dir().join(format!("rtmsd-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&path)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Tmpfs(path))
    }

    fn remount(&self, options: &str) {
        let output = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .output();
        assert!(
            output.is_ok_and(|output| output.status.success()),
            "{options}"
        );
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_disk_costs_nothing_but_time() {
    let Some(disk) = Tmpfs::mount("full", "256k") else {
        return;
    };
    let mut rig = Harness::with(&[], Some(&disk.0.join("out")));
    let meeting = rig.zoom.start_meeting(script("full disk"));
    let other = rig.zoom.start_meeting(script("full disk too"));
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    fs::write(disk.0.join("ballast"), vec![0; 1 << 20]).expect_err("the disk is full now");
    rig.wait_for_log("cannot write");
    let sent = meeting.sent_count();
    assert!(
        meeting.wait_for_phrases(sent + 100, PATIENCE),
        "the stream lives"
    );
    assert_eq!(meeting.count(Step::Lost), 0);
    fs::remove_file(disk.0.join("ballast")).expect("removable");
    disk.remount("size=64m");
    rig.wait_for_log("disk writable again");
    assert!(!rig.has_logged("are dropped"));
    rig.finish(&[meeting, other]);
}

#[test]
fn a_disk_that_is_read_only_for_a_while_costs_nothing_but_time() {
    let Some(disk) = Tmpfs::mount("read-only", "64m") else {
        return;
    };
    let mut rig = Harness::with(&[], Some(&disk.0.join("out")));
    let meeting = rig.zoom.start_meeting(script("read only"));
    // A file that is open for writing keeps a disk writable; so before the first.
    disk.remount("ro");
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    let troubled = disk.0.join("out").join("x");
    if fs::write(&troubled, "").is_err() {
        rig.wait_for_log("cannot write");
    }
    disk.remount("rw");
    let sent = meeting.sent_count();
    assert!(meeting.wait_for_phrases(sent + 50, PATIENCE));
    rig.finish(&[meeting]);
}

#[test]
fn a_folder_that_is_removed_is_made_anew() {
    let mut rig = Harness::start();
    let meeting = rig.zoom.start_meeting(script("removed"));
    assert!(meeting.wait_for_phrases(20, PATIENCE));
    // The server writes on meanwhile: emptied in the wrong instant it is not empty.
    wait_for("removable", || fs::remove_dir_all(&rig.out).is_ok());
    let before = meeting.sent_count() as usize;
    rig.wait_for_log("recreating it");
    let sent = meeting.sent_count();
    assert!(meeting.wait_for_phrases(sent + 20, PATIENCE));
    meeting.end(End::meeting_ended());
    assert!(meeting.wait_for(Step::Closed, PATIENCE));
    assert!(meeting.wait_for(Step::StoppedAnswered, PATIENCE));
    assert_eq!(meeting.count(Step::Lost), 0);
    rig.terminate();
    let lines = transcript_lines(&rig.out, &meeting.script().id).expect("readable");
    let result = compare(&meeting.sent(), lines.iter().map(String::as_str));
    // What was written since the folder went is there, also what went to the old files at first.
    assert!(
        result.received + before >= meeting.sent().len(),
        "{result:?} {before}"
    );
    assert_eq!(result.doubled, 0, "{result:?}");
    assert_eq!(meta(&rig.folders(&meeting)[0])["state"], "ended");
    rig.end();
}

// Peers that say nothing.

#[test]
fn a_peer_that_never_finishes_its_handshake_is_left_behind() {
    let rig = Harness::start();
    let mut script = script("silent handshake");
    // The answer to message 1 never comes: ten seconds, then the next attempt.
    script.refusals = vec![(Socket::Signaling, Refusal::Silence)];
    let meeting = rig.zoom.start_meeting(script);
    assert!(meeting.wait_for_phrases(10, PATIENCE));
    assert_eq!(meeting.count(Step::SignalingConnected), 2);
    rig.finish(&[meeting]);
}
