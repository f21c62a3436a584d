//! Tests that take minutes and run on demand, best as a release build: `cargo test --release --test
//! it slow:: -- --ignored --nocapture --test-threads=1`.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtmsd::demo::{End, MeetingScript, Socket};
use serde_json::json;

use crate::harness::http::{connect, read_all, status};
use crate::harness::{
    Harness, frequent_keep_alives, open, plain, report, wait_until, wait_until_over,
    wait_until_streaming,
};

/// The kernel's statistics of a process.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    threads: u64,
    files: usize,
    rss_kib: u64,
    cpu_ms: u64,
}

fn footprint(id: u32) -> Footprint {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let digits = line.and_then(|rest| rest.split_whitespace().next());
        digits.and_then(|d| d.parse().ok()).expect(key)
    };
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    Footprint {
        threads: number("Threads:"),
        files: fs::read_dir(format!("/proc/{id}/fd"))
            .expect("it runs")
            .count(),
        rss_kib: number("VmRSS:"),
        // USER_HZ is 100 wherever Linux runs.
        cpu_ms: ticks * 10,
    }
}

/// Sends `count` webhooks with a wrong signature, from four threads, as fast as they are answered.
pub(crate) fn forge(harness: &Harness, count: u64) {
    let sent = AtomicU64::new(0);
    let address = harness.address();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while sent.fetch_add(1, Ordering::Relaxed) < count {
                    forge_one(address, sent.load(Ordering::Relaxed));
                }
            });
        }
    });
}

fn forge_one(address: SocketAddr, n: u64) {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock");
    let body = json!({"event": "meeting.rtms_started", "event_ts": now.as_millis() as u64,
        "payload": {"meeting_uuid": format!("forged {n}"), "rtms_stream_id": format!("forged{n}"),
            "server_urls": "wss://127.0.0.1:1/"}})
    .to_string();
    let request = format!(
        "POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         x-zm-request-timestamp: {}\r\nx-zm-signature: v0={n:064x}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        now.as_secs(),
        body.len()
    );
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).expect("sent");
    let answer = read_all(&mut stream);
    assert_eq!(status(&answer), 401, "{answer:?}");
}

#[test]
#[ignore = "takes minutes; add --ignored"]
fn a_thousand_meetings_leave_no_resources_in_use() {
    const AT_ONCE: usize = 20;
    let harness = Harness::start(frequent_keep_alives(200), &[]);
    harness.assert_answered();
    let id = harness.server.id();
    let before = footprint(id);
    let mut after_hundred = None;
    let begun = Instant::now();
    for wave in 0..1000 / AT_ONCE {
        let meetings: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let n = wave * AT_ONCE + n;
                let mut script = MeetingScript::varied("leak", n);
                let like = plain("", 20);
                script.phrases = like.phrases;
                script.phrases_per_second = like.phrases_per_second;
                script.ending = like.ending;
                script.linger = Duration::from_millis(20);
                harness.zoom.start_meeting(script)
            })
            .collect();
        for meeting in &meetings {
            harness.wait_until_ended(meeting);
            harness.wait_until_logged(&["stream ended", &meeting.streams()[0]]);
            let comparison = harness.comparison_so_far(meeting);
            assert!(comparison.is_exact(), "{comparison:?}");
        }
        if (wave + 1) * AT_ONCE == 100 {
            after_hundred = Some(footprint(id));
        }
    }
    let after_hundred = after_hundred.expect("a hundred meetings");
    let taken = begun.elapsed();
    // Threads of the backend end a while after their last request.
    wait_until("threads end", || footprint(id).threads <= before.threads);
    let after = footprint(id);
    let state = ["state/registry.json", "state/intents.log"];
    let state = state.map(|name| fs::metadata(harness.folder.join(name)));
    let state_bytes: u64 = state.iter().flatten().map(fs::Metadata::len).sum();
    report(&format!(
        "1000 meetings, {AT_ONCE} at a time, in {taken:?}; {state_bytes} bytes of state\n\
         before: {before:?}\nafter 100: {after_hundred:?}\nafter 1000: {after:?}"
    ));
    // Idle connections to the REST API are kept for the next call.
    assert!(after.files <= before.files + 8, "{before:?} {after:?}");
    // Ended streams are remembered for two hours, because webhooks may be repeated late: about a
    // kilobyte per meeting, with copies on the way to disk.
    let remembered_kib = 4 * state_bytes / 1024;
    assert!(
        after.rss_kib <= after_hundred.rss_kib * 12 / 10 + remembered_kib,
        "{after_hundred:?} {after:?}"
    );
    harness.end();
}

#[test]
#[ignore = "takes minutes; add --ignored"]
fn a_hundred_thousand_forged_webhooks() {
    const COUNT: u64 = 100_000;
    let harness = Harness::start(frequent_keep_alives(50), &[]);
    let meeting = harness.zoom.start_meeting(open("forged"));
    wait_until_streaming(&meeting);
    let id = harness.server.id();
    forge(&harness, 1000);
    let (before, connections) = (footprint(id), harness.zoom.connections());
    let begun = Instant::now();
    let is_over = AtomicBool::new(false);
    let correct = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut taken = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                taken.push(harness.assert_answered());
                std::thread::park_timeout(Duration::from_millis(5));
            }
            taken.sort_unstable();
            taken
        });
        forge(&harness, COUNT);
        is_over.store(true, Ordering::Relaxed);
        asking.join().expect("every correct webhook is answered")
    });
    let (after, taken) = (footprint(id), begun.elapsed());
    let at = |share: usize| correct[(correct.len() - 1) * share / 100];
    let keep_alives = harness.zoom.keep_alive_latencies(Socket::Signaling);
    report(&format!(
        "{COUNT} forged webhooks in {taken:?}, {} us of CPU each; {} correct ones among them: p50 \
         {:?}, p99 {:?}, slowest {:?}; keep-alives p99 {:?}, slowest {:?}\n\
         before: {before:?}\nafter: {after:?}",
        (after.cpu_ms - before.cpu_ms) * 1000 / COUNT,
        correct.len(),
        at(50),
        at(99),
        at(100),
        keep_alives.percentile(0.99),
        keep_alives.percentile(1.0)
    ));
    assert_eq!(harness.zoom.connections(), connections);
    assert_eq!(harness.stream_folders().len(), 1);
    assert!(
        after.rss_kib <= before.rss_kib + 2048,
        "{before:?} {after:?}"
    );
    wait_until_streaming(&meeting);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    harness.end();
}

/// With Zoom's own intervals: a heartbeat every 30 s, and the minute in which Zoom waits for us.
mod events {
    use rtmsd::demo::{EventsBy, MeetingScript, Options, Step};

    use super::*;
    use crate::harness::{wait_until_more, wait_until_step};

    fn by_websocket() -> Harness {
        let options = Options {
            events_by: EventsBy::WebSocket,
            ..Options::default()
        };
        Harness::start(options, &[("PORT", "off")])
    }

    fn wait_for(what: &str, within: Duration, is_true: impl Fn() -> bool) -> Duration {
        let begun = Instant::now();
        while !is_true() {
            assert!(begun.elapsed() < within, "timed out: {what}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        begun.elapsed()
    }

    #[test]
    #[ignore = "takes two minutes"]
    fn a_half_open_connection_is_noticed_within_a_minute_while_a_meeting_runs() {
        let harness = by_websocket();
        let meeting = harness.zoom.start_meeting(open("half-open"));
        wait_until_streaming(&meeting);
        harness.zoom.stall_events();
        let taken = wait_for("a new connection", Duration::from_secs(90), || {
            harness.zoom.events_accepted() == 2
        });
        report(&format!("noticed after {:.1} s", taken.as_secs_f32()));
        assert!(taken <= Duration::from_secs(62), "{taken:?}");
        wait_until_more(&meeting, 10);
        harness.leave();
    }

    #[test]
    #[ignore = "takes two minutes"]
    fn a_stream_that_was_announced_in_a_gap_is_received_after_the_minute() {
        let mut harness = by_websocket();
        let meeting = harness.zoom.start_meeting(MeetingScript {
            start_delay: Duration::from_secs(2),
            join_window: Duration::from_millis(200),
            ..open("gap")
        });
        wait_until_step(&meeting, Step::StartCalled);
        wait_for("the state is written", Duration::from_secs(20), || {
            let log = fs::read_to_string(harness.state().join("intents.log"));
            log.unwrap_or_default().contains("\"start\":\"Done\"")
        });
        harness.server.kill();
        wait_for("the announcement is lost", Duration::from_secs(20), || {
            let missed = harness.zoom.events_missed();
            missed.contains(&"meeting.rtms_stopped".to_owned())
        });
        harness.start_server();
        let taken = wait_for("the first phrase", Duration::from_secs(100), || {
            meeting.time_of(Step::FirstPhrase).is_some()
        });
        report(&format!("first phrase after {:.1} s", taken.as_secs_f32()));
        assert_eq!(meeting.streams().len(), 2);
        harness.leave();
    }
}
