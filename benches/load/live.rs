//! The live feed: from a phrase to a client, a thousand clients of one stream, and thousands of journals
//! read from their beginning.
//!
//! Phrase `n` of the demo is sent when its `start_ms` comes, so that is where times are taken from. The
//! demo's own delay on a busy machine is in them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rtmsd::demo::{MeetingHandle, Step, Zoom};
use rtmsd::feed::JournalKey;
use rtmsd::feed::line::{Envelope, set_pos};
use rustix::event::epoll::{self, Event, EventData, EventFlags};

use super::process::Server;
use super::table::{Goal, Table};
use super::{MINUTE, counted, finish, number, zoom};

const TOKEN: &str = "bench";
const CLIENTS: usize = 1_000;
/// Phrases a second of the stream that a thousand listen to.
const PER_SECOND: u64 = 10;
const LINES_EACH: u64 = 100;

fn start(zoom: &Zoom) -> Server {
    let settings = [("RTMS_ADMIN", "127.0.0.1:0"), ("RTMS_ADMIN_TOKEN", TOKEN)];
    Server::start(zoom, &settings)
}

fn ask(server: &Server, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.admin()).expect("it listens");
    let request = format!(
        "GET /events{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    stream
}

fn number_behind(line: &str, name: &str) -> Option<u64> {
    let rest = &line[line.find(name)? + name.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

/// Fifty streams with five phrases a second each, and one client.
fn latency(table: &Table) {
    const PHRASES: u64 = 100;
    let zoom = zoom(Duration::from_secs(10));
    let server = start(&zoom);
    let client = ask(&server, "?types=transcript.*");
    let meetings: Vec<MeetingHandle> = (0..50)
        .map(|n| zoom.start_meeting(counted(&format!("live {n}"), PHRASES, 5.0)))
        .collect();
    let mut delays = Vec::new();
    for line in BufReader::with_capacity(64 << 10, &client).lines() {
        let line = line.expect("it comes");
        if let Some(start_ms) = number_behind(&line, "\"start_ms\":") {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later");
            delays.push(now.as_secs_f64() * 1000.0 - start_ms as f64);
        }
        if delays.len() as u64 == 50 * PHRASES {
            break;
        }
    }
    delays.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    table.row("live: to the client p50, ms", at(0.5), 1, Goal::Most(12.0));
    table.row("live: to the client p99, ms", at(0.99), 1, Goal::Most(25.0));
    drop(client);
    finish(server, zoom, &meetings);
}

/// Reads from all of them and throws it away, until told to stop.
pub(crate) fn drain(streams: &[TcpStream], is_over: &AtomicBool) {
    let epoll: OwnedFd = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    for (n, stream) in streams.iter().enumerate() {
        stream.set_nonblocking(true).expect("a socket");
        epoll::add(&epoll, stream, EventData::new_u64(n as u64), EventFlags::IN).expect("epoll");
    }
    let nothing = Event {
        flags: EventFlags::empty(),
        data: EventData::new_u64(0),
    };
    let (mut events, mut bytes) = ([nothing; 256], [0; 16 << 10]);
    while !is_over.load(Relaxed) {
        let limit = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        let count = epoll::wait(&epoll, &mut events, Some(&limit)).unwrap_or(0);
        for event in &events[..count] {
            let _ = (&streams[event.data.u64() as usize]).read(&mut bytes);
        }
    }
}

/// CPU seconds of this thread so far.
pub(crate) fn own_cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns: f64 = text.split(' ').next().unwrap_or("").parse().unwrap_or(0.0);
    ns / 1e9
}

/// The yardstick: one prepared event to as many sockets as often, share of a core.
fn bare(seconds: u64) -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let (mut read, mut written) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        read.push(TcpStream::connect(address).expect("it listens"));
        let stream = listener.accept().expect("a client").0;
        stream.set_nodelay(true).expect("TCP");
        written.push(stream);
    }
    let event = format!("id: 1\ndata: {}\n\n", "x".repeat(640));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| drain(&read, &is_over));
        let begun = own_cpu();
        for _ in 0..seconds * PER_SECOND {
            for mut stream in &written {
                stream.write_all(event.as_bytes()).expect("it reads");
            }
            thread::park_timeout(Duration::from_millis(1000 / PER_SECOND));
        }
        let used = own_cpu() - begun;
        is_over.store(true, Relaxed);
        used / seconds as f64
    })
}

/// A thousand clients of one stream.
fn thousand(table: &Table) {
    let seconds = number("RTMSD_BENCH_SECONDS", 30);
    let _ = rtmsd::net::file_limit::raise_file_limit();
    table.row(
        "live: bare writer, % of a core",
        100.0 * bare(10),
        1,
        Goal::None,
    );
    let zoom = zoom(Duration::from_secs(10));
    let server = start(&zoom);
    let script = |seed: &str| counted(seed, 100_000, PER_SECOND as f64);
    let meeting = zoom.start_meeting(script("live thousand"));
    assert!(meeting.wait_for(Step::Ready, MINUTE));
    // With one client everything that is shared is there.
    let first = ask(&server, "");
    thread::park_timeout(Duration::from_secs(3));
    let before = server.usage();
    thread::park_timeout(Duration::from_secs(seconds));
    let alone = server.usage().since(&before).cpu_seconds;
    let streams: Vec<TcpStream> = (0..CLIENTS).map(|_| ask(&server, "")).collect();
    let is_over = AtomicBool::new(false);
    let used = thread::scope(|scope| {
        scope.spawn(|| drain(&streams, &is_over));
        thread::park_timeout(Duration::from_secs(3));
        let before = server.usage();
        thread::park_timeout(Duration::from_secs(seconds));
        let used = server.usage().since(&before);
        is_over.store(true, Relaxed);
        used
    });
    let share = 100.0 * (used.cpu_seconds - alone) / seconds as f64;
    table.row(
        "live: 1,000 clients, % of a core",
        share,
        1,
        Goal::Most(10.0),
    );
    let kib = (used.rss_mib - before.rss_mib) * 1024.0 / CLIENTS as f64;
    table.row("live: 1,000 clients, KiB each", kib, 2, Goal::Most(4.0));
    drop((first, streams));
    meeting.end(rtmsd::demo::End::meeting_ended());
    finish(server, zoom, &[meeting]);
}

/// Journals as an earlier process has left them, with lines in turn.
fn write_journals(server: &Server, journals: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later");
    let first = now.as_micros() as u64 - 3_600_000_000;
    let day = rtmsd::domain::time::Utc::from_unix_ms(first / 1000).date();
    for n in 0..journals {
        let below = format!("{day}/meeting-{n}/stream-{n}");
        let key = JournalKey::of_folder(below.as_ref());
        let info = rtmsd::StreamInfo::new(
            rtmsd::domain::product::Product::Meeting,
            &format!("meeting-{n}"),
            &format!("stream-{n}"),
            first / 1000,
        );
        let mut envelope = Envelope::new(key, "/bench", Some(&info));
        let mut text = Vec::new();
        for seq in 1..=LINES_EACH {
            let from = text.len();
            envelope.begin(&mut text, seq, "transcript.phrase", first / 1000);
            let data = format!("{{\"v\":1,\"text\":\"{}\"}}", "phrase ".repeat(30));
            text.extend_from_slice(data.as_bytes());
            Envelope::end(&mut text);
            set_pos(&mut text[from..], first + seq * journals + n);
        }
        let folder = server.out.join(below);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("feed.jsonl"), text).expect("a journal");
    }
}

/// Everything of thousands of journals to one client.
fn from_files(table: &Table) {
    let journals = number("RTMSD_BENCH_STREAMS", 2000);
    let zoom = zoom(Duration::from_secs(10));
    let server = start(&zoom);
    write_journals(&server, journals);
    drop(ask(&server, "?wait=0").read(&mut [0; 1]));
    thread::park_timeout(Duration::from_secs(1));
    let before = server.usage();
    let begun = Instant::now();
    let client = ask(&server, "?after=2020-01-01T00:00:00Z");
    let (mut count, mut last) = (0, 0);
    for line in BufReader::with_capacity(256 << 10, &client).lines() {
        let line = line.expect("it comes");
        if let Some(pos) = line
            .strip_prefix("id: ")
            .and_then(|pos| pos.parse::<u64>().ok())
        {
            assert!(pos > last, "in order");
            last = pos;
            count += 1;
        }
        if count == journals * LINES_EACH && line.is_empty() {
            break;
        }
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let used = server.usage().since(&before);
    table.row(
        "live: 2,000 journals, events/s",
        rate,
        0,
        Goal::Least(20_000.0),
    );
    let more = used.peak_mib - before.peak_mib;
    table.row("live: 2,000 journals, RSS + MiB", more, 1, Goal::Most(8.0));
    table.row(
        "live: 2,000 journals, CPU s",
        used.cpu_seconds,
        2,
        Goal::None,
    );
    drop(client);
    finish(server, zoom, &[]);
}

/// All of it.
pub(crate) fn live(table: &Table) {
    latency(table);
    thousand(table);
    from_files(table);
}
