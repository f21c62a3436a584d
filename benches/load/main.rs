//! The real binary under load: `cargo bench --bench load`.
//!
//! Zoom's side is the demo's, in this process; the server is a child, as shipped: files (JSONL and
//! VTT) and stdout on. A bare WebSocket client that throws everything away is measured in the same
//! run, against the same sender, as the yardstick. `RTMSD_BENCH=flood,fifty,idle,many` chooses
//! rows; `many` (2,000 streams for five minutes) runs only when it is named.
#![allow(
    clippy::print_stdout,
    missing_docs,
    reason = "a bench prints its table"
)]

mod bare;
mod process;

use std::path::Path;
use std::time::{Duration, Instant};

use process::Server;
use rtmsd::demo::{
    Begin, End, Keep, Latencies, MeetingHandle, MeetingScript, Options, Socket, Step, Zoom,
};

const MINUTE: Duration = Duration::from_secs(60);

fn main() {
    let wanted = std::env::var("RTMSD_BENCH").unwrap_or_else(|_| "flood,fifty,idle".to_owned());
    for row in wanted.split(',') {
        match row {
            "flood" => flood(),
            "fifty" => fifty(),
            "idle" => idle(),
            "many" => many(),
            other => println!("RTMSD_BENCH: found {other:?}, expected flood, fifty, idle, many"),
        }
    }
}

fn zoom(keep_alive: Duration) -> Zoom {
    Zoom::start(Options {
        keep_alive,
        webhook_threads: 64,
        ..Options::default()
    })
    .expect("the demo's Zoom starts")
}

fn counted(seed: &str, phrases: u64, per_second: f64) -> MeetingScript {
    MeetingScript {
        begin: Begin::AtOnce,
        phrases: Some(phrases),
        phrases_per_second: per_second,
        keep: Keep::Count,
        ..MeetingScript::plain(seed)
    }
}

/// Waits until the files hold every phrase that was sent; says how many they hold.
fn received(out: &Path, meetings: &[MeetingHandle], within: Duration) -> (u64, u64) {
    let until = Instant::now() + within;
    let sent: u64 = meetings.iter().map(MeetingHandle::sent_count).sum();
    loop {
        let lines = process::count_lines(out);
        if lines >= sent || Instant::now() >= until {
            return (sent, lines);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn ms(latencies: &Latencies, share: f64) -> f64 {
    latencies.percentile(share).as_secs_f64() * 1000.0
}

/// One meeting, as fast as the socket takes it.
fn flood() {
    const PHRASES: u64 = 400_000;
    let bare = bare::flood(PHRASES);
    println!("flood      bare client   {:>9.0} phrases/s", bare);

    let zoom = zoom(Duration::from_millis(50));
    let server = Server::start(&zoom);
    let before = server.usage();
    let began = Instant::now();
    let meeting = zoom.start_meeting(counted("flood", PHRASES, 0.0));
    assert!(
        meeting.wait_for(Step::LastPhrase, MINUTE),
        "the flood goes out"
    );
    let (sent, lines) = received(&server.out, std::slice::from_ref(&meeting), MINUTE);
    let took = began.elapsed().as_secs_f64();
    let used = server.usage().since(&before);
    let signaling = zoom.keep_alive_latencies(Socket::Signaling);
    println!(
        "flood      rtmsd         {:>9.0} phrases/s  ({:.0} % of bare)  CPU {:.4} s per 10,000  \
         sent {sent} received {lines}  keep-alive p99 {:.2} ms (n={})  peak RSS {:.1} MiB",
        sent as f64 / took,
        100.0 * sent as f64 / took / bare,
        used.cpu_seconds * 1e4 / sent as f64,
        ms(&signaling, 0.99),
        signaling.len(),
        used.peak_mib,
    );
    finish(server, zoom, &[meeting]);
}

/// Fifty meetings, ten phrases a second each, begun at once.
fn fifty() {
    let zoom = zoom(Duration::from_secs(2));
    let server = Server::start(&zoom);
    let single = zoom.start_meeting(counted("single", 1, 1.0));
    assert!(single.wait_for(Step::LastPhrase, MINUTE));
    let first = single.time_of(Step::Ready).unwrap_or_default();
    single.end(End::meeting_ended());
    let before = server.usage();
    let meetings: Vec<MeetingHandle> = (0..50)
        .map(|n| zoom.start_meeting(counted(&format!("fifty {n}"), 200, 10.0)))
        .collect();
    for meeting in &meetings {
        assert!(meeting.wait_for(Step::LastPhrase, MINUTE));
    }
    let (sent, lines) = received(&server.out, &meetings, Duration::from_secs(5));
    let used = server.usage().since(&before);
    let mut readies: Vec<Duration> = meetings
        .iter()
        .filter_map(|meeting| meeting.time_of(Step::Ready))
        .collect();
    readies.sort_unstable();
    println!(
        "fifty      one meeting: webhook to ready {:.1} ms; 50 at once: ack p99 {:.2} ms, webhook \
         to ready p99 {:.1} ms; sent {sent} received {}  CPU {:.3} s  peak RSS {:.1} MiB",
        first.as_secs_f64() * 1e3,
        ms(&zoom.webhook_latencies(), 0.99),
        readies.last().copied().unwrap_or_default().as_secs_f64() * 1e3,
        lines.saturating_sub(1),
        used.cpu_seconds,
        used.peak_mib,
    );
    finish(server, zoom, &meetings);
}

/// Nothing to do.
fn idle() {
    let zoom = zoom(Duration::from_secs(10));
    let began = Instant::now();
    let server = Server::start(&zoom);
    let started = began.elapsed();
    let before = server.usage();
    std::thread::park_timeout(Duration::from_secs(10));
    let used = server.usage().since(&before);
    println!(
        "idle       start to listening {:.1} ms; RSS {:.1} MiB; in 10 s: CPU {:.3} s, {} wake-ups; \
         binary {:.2} MB",
        started.as_secs_f64() * 1e3,
        used.rss_mib,
        used.cpu_seconds,
        used.switches,
        process::binary_bytes() as f64 / 1e6,
    );
    finish(server, zoom, &[]);
}

/// A whole account: 2,000 streams, a phrase a second each.
fn many() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let (streams, seconds) = (
        number("RTMSD_BENCH_STREAMS", 2000),
        number("RTMSD_BENCH_SECONDS", 300),
    );
    let zoom = zoom(Duration::from_secs(10));
    let server = Server::start(&zoom);
    let alone = server.usage();
    let began = Instant::now();
    let meetings: Vec<MeetingHandle> = (0..streams)
        .map(|n| zoom.start_meeting(counted(&format!("many {n}"), seconds, 1.0)))
        .collect();
    for meeting in &meetings {
        assert!(meeting.wait_for(Step::Ready, 2 * MINUTE), "all join");
    }
    let joined = began.elapsed().as_secs_f64();
    let before = server.usage();
    let steady = Instant::now();
    for meeting in &meetings {
        assert!(meeting.wait_for(Step::LastPhrase, Duration::from_secs(seconds) + 2 * MINUTE));
    }
    let (sent, lines) = received(&server.out, &meetings, MINUTE);
    let used = server.usage().since(&before);
    let share = 100.0 * used.cpu_seconds / steady.elapsed().as_secs_f64();
    let alive = zoom.keep_alive_latencies(Socket::Signaling);
    println!(
        "many       {streams} streams joined in {joined:.1} s; {seconds} s: sent {sent} received \
         {lines}; keep-alive p50 {:.1} p99 {:.1} p99.9 {:.1} ms (n={}); CPU {share:.1} % of a core; \
         RSS {:.0} MiB, {:.1} KiB a stream",
        ms(&alive, 0.5),
        ms(&alive, 0.99),
        ms(&alive, 0.999),
        alive.len(),
        used.rss_mib,
        (used.rss_mib - alone.rss_mib) * 1024.0 / streams as f64,
    );
    finish(server, zoom, &meetings);
}

/// Ends every meeting, then the server, and tells what was not as it should be.
fn finish(server: Server, zoom: Zoom, meetings: &[MeetingHandle]) {
    for meeting in meetings {
        meeting.end(End::meeting_ended());
    }
    for meeting in meetings {
        let _ = meeting.wait_for(Step::StoppedAnswered, MINUTE)
            && meeting.wait_for(Step::Closed, MINUTE);
    }
    server.stop();
    for violation in zoom.stop() {
        println!("           not as it should be: {violation}");
    }
}
