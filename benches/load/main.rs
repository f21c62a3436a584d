//! The real binary under load: `cargo bench --bench load`.
//!
//! Zoom's side is the demo, in this process; the server is a child process with its defaults: files
//! and stdout on. A bare WebSocket client that drops everything is measured in the same run, with
//! the same sender, as the reference. `RTMSD_BENCH=flood,audio,fifty,idle`
//! chooses; these four are the default. What runs only if it is named:
//!
//! | row | what it shows |
//! | --- | --- |
//! | features | threads and memory of each feature that is configured, without a stream |
//! | floor | 1 to 2,000 streams beside a program that does the least |
//! | sound | 500 streams of audio |
//! | many | 2,000 streams for five minutes |
//! | churn | 2,000 streams at a time for an hour, each for a minute |
//! | push | HTTP push, also of 2,000 streams to an endpoint that is dead for a while |
//! | live, tap | the live feed, live media |
//! | fleet | three nodes and a store; needs `--features fleet` and redis-server |
//!
//! `RTMSD_BENCH_SERVER` names another binary to measure, `RTMSD_BENCH_SETTINGS=RTMS_FEED=off` gives it other
//! settings. Files are below `TMPDIR`.
#![allow(
    clippy::print_stdout,
    missing_docs,
    reason = "a bench prints its table"
)]

mod bare;
mod churn;
#[cfg(feature = "fleet")]
mod fleet;
mod floor;
mod idle;
mod live;
mod process;
mod push;
mod table;
mod tap;

use std::path::Path;
use std::time::{Duration, Instant};

use process::{Server, Usage};
use rtmsd::demo::{
    AudioScript, Begin, End, Latencies, MeetingHandle, MeetingScript, Options, SentDetail, Socket,
    Step, Zoom,
};
use table::{Goal, Table};

const MINUTE: Duration = Duration::from_secs(60);
/// Payload of one audio packet: 20 ms of 16-bit samples at 16 kHz.
const PACKET_BYTES: usize = 640;

fn main() {
    bare::server::run_if_it_is_one();
    let wanted = std::env::var("RTMSD_BENCH").unwrap_or_else(|_| "flood,audio,fifty,idle".into());
    let table = Table::begin();
    for row in wanted.split(',') {
        match row {
            "flood" => flood(&table),
            "audio" => audio(&table),
            "fifty" => fifty(&table),
            "idle" => idle::idle(&table),
            "features" => idle::features(&table),
            "sound" => sound(&table),
            "many" => many(&table),
            "floor" => floor::floor(&table),
            "churn" => churn::churn(&table),
            "push" => push::push(&table),
            "live" => live::live(&table),
            "tap" => tap::tap(&table),
            #[cfg(feature = "fleet")]
            name if fleet::fleet(&table, name) => {}
            other => println!(
                "RTMSD_BENCH: found {other:?}, expected flood, audio, fifty, idle, features, floor, sound, many, churn, push, live, tap, \
                 and with --features fleet fleet"
            ),
        }
    }
}

fn zoom(keep_alive: Duration) -> Zoom {
    Zoom::start(Options {
        keep_alive,
        // Thirty seconds, as with Zoom's own interval: a busy machine is slow and not silent.
        unanswered_max: 30_000 / keep_alive.as_millis().max(1) as usize,
        webhook_threads: 64,
        ..Options::default()
    })
    .expect("the demo's Zoom starts")
}

/// Phrases that are only counted. At a normal rate there is one speaker, because a change of
/// speaker is an event, and only phrases should be counted.
fn counted(seed: &str, phrases: u64, per_second: f64) -> MeetingScript {
    let mut script = MeetingScript {
        begin: Begin::AtOnce,
        phrases: Some(phrases),
        phrases_per_second: per_second,
        keep: SentDetail::Count,
        ..MeetingScript::plain(seed)
    };
    if per_second > 0.0 {
        script.speakers.truncate(1);
    }
    script
}

/// One series of packets, without intervals for a flood.
fn sounding(seed: &str, packets: u64, interval: Duration) -> MeetingScript {
    MeetingScript {
        granted: 1,
        audio: Some(AudioScript {
            per_speaker: false,
            interval,
            packets: Some(packets),
            mute: Duration::ZERO,
        }),
        ..counted(seed, 0, 1.0)
    }
}

/// Waits until the files contain as much as was sent; returns how much they contain.
fn received(sent: u64, within: Duration, count: impl Fn() -> u64) -> u64 {
    let until = Instant::now() + within;
    loop {
        let found = count();
        if found >= sent || Instant::now() >= until {
            return found;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn phrases_sent(meetings: &[MeetingHandle]) -> u64 {
    meetings.iter().map(MeetingHandle::sent_count).sum()
}

fn is_tmpfs(folder: &Path) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    let found = rustix::fs::statfs(folder);
    found.is_ok_and(|it| u64::try_from(it.f_type) == Ok(TMPFS_MAGIC))
}

fn phrases_in(out: &Path) -> u64 {
    process::count(out, "transcript.jsonl", 0, process::lines)
}

/// Packets in WAV files; missing packets in the middle of a file are silence, and not detected.
fn packets_in(out: &Path) -> u64 {
    let is_sound = |bytes: &[u8]| {
        let packets = bytes.chunks_exact(PACKET_BYTES);
        packets
            .filter(|packet| packet.iter().any(|b| *b != 0))
            .count() as u64
    };
    process::count(out, ".wav", 44, is_sound)
}

fn wav_bytes(out: &Path) -> u64 {
    process::bytes(out, ".wav")
}

fn ms(latencies: &Latencies, share: f64) -> f64 {
    latencies.percentile(share).as_secs_f64() * 1000.0
}

/// CPU seconds per ten thousand items.
fn per_ten_thousand(used: &Usage, count: u64) -> f64 {
    used.cpu_seconds * 1e4 / count.max(1) as f64
}

/// One meeting, phrases as fast as the socket accepts them.
fn flood(table: &Table) {
    const PHRASES: u64 = 400_000;
    let bare = bare::flood(PHRASES);
    let zoom = zoom(Duration::from_millis(50));
    let server = Server::start(&zoom, &[]);
    let before = server.usage();
    let began = Instant::now();
    let meeting = zoom.start_meeting(counted("flood", PHRASES, 0.0));
    assert!(
        meeting.wait_for(Step::LastPhrase, MINUTE),
        "the flood goes out"
    );
    let sent = meeting.sent_count();
    let lines = received(sent, MINUTE, || phrases_in(&server.out));
    let rate = sent as f64 / began.elapsed().as_secs_f64();
    let used = server.usage().since(&before);
    let alive = zoom.keep_alive_latencies(Socket::Signaling);
    table.row("flood: bare client, phrases/s", bare, 0, Goal::None);
    let goal = (bare / 2.0).min(400_000.0);
    table.row("flood: phrases/s", rate, 0, Goal::Least(goal));
    table.row(
        "flood: lost",
        sent.abs_diff(lines) as f64,
        0,
        Goal::Most(0.0),
    );
    let cpu = per_ten_thousand(&used, sent);
    table.row("flood: CPU s per 10,000", cpu, 4, Goal::Most(0.025));
    let p99 = ms(&alive, 0.99);
    table.row("flood: keep-alive p99, ms", p99, 2, Goal::Most(5.0));
    table.row("flood: peak RSS, MiB", used.peak_mib, 1, Goal::None);
    finish(server, zoom, &[meeting]);
}

/// One meeting, audio as fast as the socket accepts it.
fn audio(table: &Table) {
    const PACKETS: u64 = 200_000;
    let zoom = zoom(Duration::from_millis(50));
    let server = Server::start(&zoom, &[("RTMS_MEDIA", "audio")]);
    let before = server.usage();
    let began = Instant::now();
    let meeting = zoom.start_meeting(sounding("audio", PACKETS, Duration::ZERO));
    assert!(
        meeting.wait_for_audio(PACKETS, MINUTE),
        "the audio goes out"
    );
    let sent = PACKETS;
    let bytes = sent * PACKET_BYTES as u64;
    received(bytes, MINUTE, || wav_bytes(&server.out));
    let rate = sent as f64 / began.elapsed().as_secs_f64();
    let used = server.usage().since(&before);
    let alive = zoom.keep_alive_latencies(Socket::Signaling);
    table.row("audio: packets/s", rate, 0, Goal::Least(150_000.0));
    let lost = sent.abs_diff(packets_in(&server.out));
    table.row("audio: lost", lost as f64, 0, Goal::Most(0.0));
    let cpu = per_ten_thousand(&used, sent);
    table.row("audio: CPU s per 10,000", cpu, 4, Goal::None);
    let p99 = ms(&alive, 0.99);
    table.row("audio: keep-alive p99, ms", p99, 2, Goal::Most(5.0));
    table.row("audio: peak RSS, MiB", used.peak_mib, 1, Goal::None);
    finish(server, zoom, &[meeting]);
}

/// Fifty meetings with ten phrases per second each, started at once.
fn fifty(table: &Table) {
    const PHRASES: u64 = 200;
    const SINGLES: usize = 11;
    let zoom = zoom(Duration::from_secs(10));
    let server = Server::start(&zoom, &[]);
    // The roots are read after the start, on a thread of their own.
    std::thread::park_timeout(Duration::from_secs(2));
    let mut singles: Vec<Duration> = Vec::with_capacity(SINGLES);
    for n in 0..SINGLES {
        let single = zoom.start_meeting(counted(&format!("single {n}"), 1, 1.0));
        assert!(single.wait_for(Step::LastPhrase, MINUTE));
        singles.push(single.time_of(Step::Ready).unwrap_or_default());
        single.end(End::meeting_ended());
        assert!(single.wait_for(Step::Closed, MINUTE));
    }
    let before = server.usage();
    let meetings: Vec<MeetingHandle> = (0..50)
        .map(|n| zoom.start_meeting(counted(&format!("fifty {n}"), PHRASES, 10.0)))
        .collect();
    for meeting in &meetings {
        assert!(meeting.wait_for(Step::Ready, MINUTE));
    }
    let joined = server.usage();
    for meeting in &meetings {
        assert!(meeting.wait_for(Step::LastPhrase, MINUTE));
    }
    let sent = phrases_sent(&meetings);
    let all = sent + SINGLES as u64;
    let lines = received(all, Duration::from_secs(5), || phrases_in(&server.out));
    let used = server.usage().since(&joined);
    let mut readies: Vec<Duration> = meetings
        .iter()
        .filter_map(|meeting| meeting.time_of(Step::Ready))
        .collect();
    readies.sort_unstable();
    let last = readies.last().copied().unwrap_or_default();
    table.row("fifty: peak RSS, MiB", used.peak_mib, 1, Goal::Most(12.0));
    let cpu = per_ten_thousand(&used, sent);
    table.row("fifty: CPU s for the 10,000", cpu, 3, Goal::Most(0.25));
    let wake_ups = used.switches as f64 / sent.max(1) as f64;
    table.row("fifty: wake-ups per phrase", wake_ups, 2, Goal::None);
    let joins = joined.since(&before).cpu_seconds;
    table.row("fifty: CPU s to join all 50", joins, 3, Goal::None);
    table.row(
        "fifty: lost",
        all.abs_diff(lines) as f64,
        0,
        Goal::Most(0.0),
    );
    let ack = ms(&zoom.webhook_latencies(), 0.99);
    // An event is synced before it is answered, which costs nothing on a tmpfs.
    let most = if is_tmpfs(&server.out) { 10.0 } else { 15.0 };
    table.row("fifty: webhook answered p99, ms", ack, 2, Goal::Most(most));
    // The first one of a process runs with cold caches.
    let first = singles[0].as_secs_f64() * 1e3;
    table.row(
        "fifty: webhook to ready, first, ms",
        first,
        1,
        Goal::Most(10.0),
    );
    let slowest = singles[1..].iter().max().copied().unwrap_or_default();
    let slowest = slowest.as_secs_f64() * 1e3;
    table.row(
        "fifty: webhook to ready, next 10, ms",
        slowest,
        1,
        Goal::Most(10.0),
    );
    let p99 = last.as_secs_f64() * 1e3;
    table.row("fifty: webhook to ready p99, ms", p99, 1, Goal::Most(150.0));
    finish(server, zoom, &meetings);
}

fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// 500 streams of audio at the rate of speech.
fn sound(table: &Table) {
    let streams = number("RTMSD_BENCH_SOUNDS", 500);
    let packets = 50 * number("RTMSD_BENCH_SECONDS", 20);
    let zoom = zoom(Duration::from_secs(2));
    let server = Server::start(&zoom, &[("RTMS_MEDIA", "audio")]);
    // Measured before the first one: most packets arrive while others still join.
    let before = server.usage();
    // A few at a time, while the others send audio; all at once is what `many` does.
    let mut meetings: Vec<MeetingHandle> = Vec::new();
    while meetings.len() < streams as usize {
        let few = 20.min(streams as usize - meetings.len());
        let from = meetings.len();
        meetings.extend((from..from + few).map(|n| {
            let script = sounding(&format!("sound {n}"), packets, Duration::from_millis(20));
            zoom.start_meeting(script)
        }));
        for meeting in &meetings[from..] {
            assert!(meeting.wait_for(Step::Ready, 2 * MINUTE), "all join");
        }
    }
    for meeting in &meetings {
        assert!(meeting.wait_for_audio(packets, 5 * MINUTE), "all is sent");
    }
    let sent = packets * meetings.len() as u64;
    let bytes = sent * PACKET_BYTES as u64;
    received(bytes, MINUTE, || wav_bytes(&server.out));
    let used = server.usage().since(&before);
    let lost = sent.abs_diff(packets_in(&server.out));
    table.row("sound: streams", streams as f64, 0, Goal::None);
    table.row("sound: lost", lost as f64, 0, Goal::Most(0.0));
    let p99 = ms(&zoom.keep_alive_latencies(Socket::Signaling), 0.99);
    table.row("sound: keep-alive p99, ms", p99, 2, Goal::Most(100.0));
    let cpu = per_ten_thousand(&used, sent);
    table.row("sound: CPU s per 10,000, with joining", cpu, 3, Goal::None);
    table.row("sound: RSS, MiB", used.rss_mib, 0, Goal::None);
    finish(server, zoom, &meetings);
}

/// A whole account: 2,000 streams with a phrase per second each.
fn many(table: &Table) {
    let streams = number("RTMSD_BENCH_STREAMS", 2000);
    let seconds = number("RTMSD_BENCH_SECONDS", 300);
    let zoom = zoom(Duration::from_secs(10));
    let server = Server::start(&zoom, &[]);
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
    let sent = phrases_sent(&meetings);
    let lines = received(sent, MINUTE, || phrases_in(&server.out));
    let used = server.usage().since(&before);
    let share = 100.0 * used.cpu_seconds / steady.elapsed().as_secs_f64();
    let alive = zoom.keep_alive_latencies(Socket::Signaling);
    table.row("many: streams", streams as f64, 0, Goal::None);
    table.row("many: all joined, s", joined, 1, Goal::Most(40.0));
    table.row(
        "many: lost",
        sent.abs_diff(lines) as f64,
        0,
        Goal::Most(0.0),
    );
    let (p99, p999) = (ms(&alive, 0.99), ms(&alive, 0.999));
    table.row("many: keep-alive p99, ms", p99, 1, Goal::None);
    table.row("many: keep-alive p99.9, ms", p999, 1, Goal::Most(100.0));
    table.row("many: CPU, % of a core", share, 1, Goal::Most(15.0));
    let cpu = per_ten_thousand(&used, sent);
    table.row("many: CPU s per 10,000", cpu, 3, Goal::None);
    table.row("many: RSS, MiB", used.rss_mib, 0, Goal::Most(160.0));
    let each = (used.rss_mib - alone.rss_mib) * 1024.0 / streams as f64;
    table.row("many: RSS a stream, KiB", each, 1, Goal::Most(70.0));
    end(&meetings);
    std::thread::park_timeout(Duration::from_secs(15));
    let after = server.usage().rss_mib;
    table.row("many: RSS after the wave, MiB", after, 0, Goal::None);
    finish(server, zoom, &[]);
}

/// Ends every meeting.
fn end(meetings: &[MeetingHandle]) {
    for meeting in meetings {
        meeting.end(End::meeting_ended());
    }
    for meeting in meetings {
        let _ = meeting.wait_for(Step::StoppedAnswered, MINUTE)
            && meeting.wait_for(Step::Closed, MINUTE);
    }
}

/// Ends every meeting, then the server, and prints violations.
fn finish(server: Server, zoom: Zoom, meetings: &[MeetingHandle]) {
    end(meetings);
    server.stop();
    for violation in zoom.stop() {
        println!("violation: {violation}");
    }
}
