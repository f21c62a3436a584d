//! HTTP push: from a phrase to the last byte of its request, an endpoint that is dead while thousands of
//! streams talk, and catching up afterwards.
//!
//! Phrase `n` of the demo is sent when its `start_ms` comes, so that is where times are taken from. The
//! demo's own delay on a busy machine is in them; the rows "from the journal" begin at the `pos` of the
//! line, the moment at which it was written, and have push's own share alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memchr::memmem::{find, find_iter};
use rtmsd::demo::{MeetingHandle, Step};

use super::process::{self, Server, Usage};
use super::table::{Goal, Table};
use super::{MINUTE, counted, end, finish, number, zoom};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// As many connections as an endpoint has by default.
const CONNECTIONS: usize = 8;
/// Events in a request of 20 kB.
const EVENTS: usize = 30;

/// An endpoint that takes everything. Its threads end with their connections.
struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    events: AtomicU64,
    delays: Mutex<Delays>,
}

/// Milliseconds to the last byte of a phrase's request, since they were taken last.
#[derive(Default)]
struct Delays {
    from_phrase: Vec<f64>,
    from_journal: Vec<f64>,
}

/// The share of the delays that is not exceeded.
fn at_share(delays: &mut [f64], share: f64) -> f64 {
    delays.sort_unstable_by(f64::total_cmp);
    let place = (delays.len() as f64 * share) as usize;
    let delay = delays.get(place.min(delays.len().saturating_sub(1)));
    delay.copied().unwrap_or(0.0)
}

impl Endpoint {
    fn start(address: SocketAddr) -> Endpoint {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = Arc::clone(&own);
                // The server that disconnects is at its end.
                thread::spawn(move || drop(serve(&stream, &own)));
            }
        });
        Endpoint { address, shared }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn events(&self) -> u64 {
        self.shared.events.load(Relaxed)
    }

    fn wait_for(&self, events: u64) {
        let until = Instant::now() + 10 * MINUTE;
        while self.events() < events {
            assert!(Instant::now() < until, "{} of {events}", self.events());
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// The delays since this was called last.
    fn delays(&self) -> Delays {
        std::mem::take(&mut *self.shared.delays.lock().expect("whole"))
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(32 << 10, stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let field = line.trim_end().split_once(": ");
            if let Some((name, value)) = field
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().unwrap_or(0);
            }
            if line.len() <= 2 {
                break;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.map_or(0.0, |now| now.as_secs_f64() * 1000.0);
        let numbers = |prefix: &'static [u8]| {
            find_iter(&body, prefix).map(|at| {
                let digits = body[at + prefix.len()..].iter();
                let digits = digits.take_while(|b| b.is_ascii_digit());
                digits.fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0')) as f64
            })
        };
        // `stream.started` has the stream's own start.
        if find(&body, b"\"transcript.phrase\"").is_some() {
            let mut delays = shared.delays.lock().expect("whole");
            let phrases = numbers(b"\"start_ms\":").map(|ms| now_ms - ms);
            delays.from_phrase.extend(phrases);
            let lines = numbers(b"{\"pos\":\"").map(|us| now_ms - us / 1000.0);
            delays.from_journal.extend(lines);
        }
        let events = find_iter(&body, b"{\"pos\":\"").count() as u64;
        shared.events.fetch_add(events, Relaxed);
        let mut out = stream;
        out.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}

/// Settings of endpoints: name, URL, most events in a request.
fn settings(endpoints: &[(&str, &str, &str)]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, url, batch) in endpoints {
        for (key, value) in [("URL", *url), ("SECRET", SECRET), ("BATCH", *batch)] {
            all.push((format!("RTMS_PUSH_{name}{key}"), value.to_owned()));
        }
    }
    all
}

fn start(zoom: &rtmsd::demo::Zoom, endpoints: &[(&str, &str, &str)]) -> Server {
    let settings = settings(endpoints);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    Server::start(zoom, &settings)
}

/// The yardstick: prepared requests over as many connections, events a second.
fn bare(events: u64) -> f64 {
    let endpoint = Endpoint::start((Ipv4Addr::LOCALHOST, 0).into());
    let event = format!("{{\"pos\":\"1\",\"data\":\"{}\"}}", "x".repeat(640));
    let body = vec![event; EVENTS].join(",");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let requests = events / (EVENTS * CONNECTIONS) as u64;
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(endpoint.address).expect("it listens");
                stream.set_nodelay(true).expect("TCP");
                let mut answer = [0; 27];
                for _ in 0..requests {
                    stream.write_all(request.as_bytes()).expect("it reads");
                    stream.read_exact(&mut answer).expect("an answer");
                }
            });
        }
    });
    endpoint.events() as f64 / begun.elapsed().as_secs_f64()
}

/// One request an event, from fifty streams.
fn latency(table: &Table) {
    let endpoint = Endpoint::start((Ipv4Addr::LOCALHOST, 0).into());
    let zoom = zoom(Duration::from_secs(10));
    let server = start(&zoom, &[("", &endpoint.url(), "1")]);
    let meetings: Vec<MeetingHandle> = (0..50)
        .map(|n| zoom.start_meeting(counted(&format!("push {n}"), 100, 5.0)))
        .collect();
    for meeting in &meetings {
        assert!(meeting.wait_for(Step::Ready, MINUTE), "all join");
    }
    // What joining cost does not count.
    thread::park_timeout(Duration::from_secs(2));
    endpoint.delays();
    let (before, events) = (server.usage(), endpoint.events());
    for meeting in &meetings {
        assert!(meeting.wait_for(Step::LastPhrase, MINUTE));
    }
    let lines = process::count(&server.out, "feed.jsonl", 0, process::lines);
    endpoint.wait_for(lines);
    let used = server.usage().since(&before);
    let pushed = endpoint.events() - events;
    let mut delays = endpoint.delays().from_phrase;
    let (p50, p99) = (at_share(&mut delays, 0.5), at_share(&mut delays, 0.99));
    table.row("push: to the last byte p50, ms", p50, 1, Goal::None);
    table.row("push: to the last byte p99, ms", p99, 1, Goal::Most(50.0));
    let cpu = used.cpu_seconds * 1e4 / pushed as f64;
    table.row("push: CPU s per 10,000, batch 1", cpu, 3, Goal::None);
    finish(server, zoom, &meetings);
}

/// What many streams cost while all endpoints are well, or one is dead.
struct Many {
    used: Usage,
    /// From the phrase, from the journal.
    p99: (f64, f64),
}

/// Thousands of streams with a phrase a second each, to an endpoint that is well and to one that is
/// dead, if that is wanted. The dead one lives again in the end.
fn many(table: &Table, streams: u64, seconds: u64, is_dead: bool) -> Many {
    let well = Endpoint::start((Ipv4Addr::LOCALHOST, 0).into());
    // What the run before left to write and to delete must not delay the writes of this one. On a slow
    // disk this does not suffice: TMPDIR on a tmpfs takes the disk out of all rows.
    rustix::fs::sync();
    // A port where nothing listens.
    let late = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = late.local_addr().expect("bound");
    drop(late);
    let late_url = format!("http://{address}/");
    let endpoints = [("", &*well.url(), "100"), ("LATE_", &*late_url, "100")];
    let endpoints = &endpoints[..if is_dead { 2 } else { 1 }];
    let zoom = zoom(Duration::from_secs(10));
    let server = start(&zoom, endpoints);
    let script = |n: u64| counted(&format!("push many {n}"), seconds, 1.0);
    let meetings: Vec<MeetingHandle> = (0..streams)
        .map(|n| zoom.start_meeting(script(n)))
        .collect();
    for meeting in &meetings {
        assert!(meeting.wait_for(Step::Ready, 2 * MINUTE), "all join");
    }
    // What joining cost does not count.
    thread::park_timeout(Duration::from_secs(2));
    well.delays();
    for meeting in &meetings {
        assert!(meeting.wait_for(Step::LastPhrase, Duration::from_secs(seconds) + 2 * MINUTE));
    }
    let used = server.usage();
    let mut delays = well.delays();
    let p99 = (
        at_share(&mut delays.from_phrase, 0.99),
        at_share(&mut delays.from_journal, 0.99),
    );
    if is_dead {
        catch_up(table, &zoom, &well, address, &server, p99.0);
    }
    finish(server, zoom, &meetings);
    Many { used, p99 }
}

fn catch_up(
    table: &Table,
    zoom: &rtmsd::demo::Zoom,
    well: &Endpoint,
    address: SocketAddr,
    server: &Server,
    p99: f64,
) {
    // Some talk on, and are listened to meanwhile.
    let talking: Vec<MeetingHandle> = (0..20)
        .map(|n| zoom.start_meeting(counted(&format!("push live {n}"), 100_000, 10.0)))
        .collect();
    for meeting in &talking {
        assert!(meeting.wait_for(Step::Ready, MINUTE));
    }
    let backlog = process::count(&server.out, "feed.jsonl", 0, process::lines);
    let late = Endpoint::start(address);
    // It is tried again within five minutes.
    late.wait_for(1);
    well.delays();
    let begun = Instant::now();
    late.wait_for(backlog);
    let rate = backlog as f64 / begun.elapsed().as_secs_f64();
    let live = at_share(&mut well.delays().from_phrase, 0.99);
    table.row(
        "push many: events that waited",
        backlog as f64,
        0,
        Goal::None,
    );
    table.row(
        "push many: catching up, events/s",
        rate,
        0,
        Goal::Least(20_000.0),
    );
    let goal = Goal::Most(2.0 * p99);
    table.row("push many: others meanwhile p99, ms", live, 1, goal);
    end(&talking);
}

/// All of it.
pub(crate) fn push(table: &Table) {
    let streams = number("RTMSD_BENCH_STREAMS", 2000);
    let seconds = number("RTMSD_BENCH_SECONDS", 60);
    latency(table);
    let events = bare(600_000);
    table.row("push: bare client, events/s", events, 0, Goal::None);
    let all_well = many(table, streams, seconds, false);
    let one_dead = many(table, streams, seconds, true);
    table.row("push many: streams", streams as f64, 0, Goal::None);
    let rss = (all_well.used.rss_mib, one_dead.used.rss_mib);
    table.row("push many: RSS, all well, MiB", rss.0, 1, Goal::None);
    table.row(
        "push many: RSS, one dead, MiB",
        rss.1,
        1,
        Goal::Most(rss.0 + 4.0),
    );
    // A dead endpoint is no business of the others: the same, but for noise.
    for (from, well, dead) in [
        ("p99", all_well.p99.0, one_dead.p99.0),
        ("from the journal p99", all_well.p99.1, one_dead.p99.1),
    ] {
        let row = format!("push many: {from}, all well, ms");
        table.row(&row, well, 1, Goal::None);
        let row = format!("push many: {from}, one dead, ms");
        table.row(&row, dead, 1, Goal::Most(1.5 * well));
    }
}
