//! Live media: what a tap of L16 at 16 kHz costs, beside a writer that does nothing but write the same.
//!
//! A packet of the demo is sent when its timestamp comes, so that is where times are taken from.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rtmsd::demo::{End, Socket, Zoom};
use tungstenite::{ClientRequestBuilder, Message};

use super::live::{drain, own_cpu};
use super::process::Server;
use super::table::{Goal, Table};
use super::{MINUTE, PACKET_BYTES, finish, ms, number, sounding, zoom};

const TOKEN: &str = "bench";
const TAPS: usize = 20;
/// A packet each 20 ms; they are read together for up to 40 ms.
const PACKETS_PER_SECOND: u64 = 50;
const WRITES_PER_SECOND: u64 = 25;
/// Head of the message and of the frame.
const HEAD_BYTES: usize = 4 + 24;

fn start(zoom: &Zoom) -> Server {
    let settings = [
        ("RTMS_MEDIA", "audio"),
        ("RTMS_ADMIN", "127.0.0.1:0"),
        ("RTMS_ADMIN_TOKEN", TOKEN),
    ];
    Server::start(zoom, &settings)
}

fn target(stream_id: &str) -> String {
    format!("/media?kind=audio&stream={stream_id}")
}

/// A client that only reads.
fn ask(server: &Server, stream_id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.admin()).expect("it listens");
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        target(stream_id)
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("it answers");
    assert_eq!(&status, b"HTTP/1.1 101");
    stream
}

/// A client that takes the time of each frame, until the stream ends.
fn delays(server: &Server, stream_id: &str) -> Vec<f64> {
    let address = server.admin();
    let uri = format!("ws://{address}{}", target(stream_id));
    let request = ClientRequestBuilder::new(uri.parse().expect("an address"))
        .with_header("Authorization", format!("Bearer {TOKEN}"));
    let stream = TcpStream::connect(address).expect("it listens");
    let (mut socket, _) = tungstenite::client(request, stream).expect("it answers");
    let mut delays = Vec::new();
    while let Ok(message) = socket.read() {
        if let Message::Binary(bytes) = message {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later");
            let stamp = u64::from_be_bytes(bytes[8..16].try_into().expect("eight"));
            delays.push(now.as_secs_f64() * 1000.0 - stamp as f64);
        }
    }
    delays
}

/// The yardstick: two packets together to as many sockets as often, share of a core for each.
fn bare(seconds: u64) -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let (mut read, mut written) = (Vec::new(), Vec::new());
    for _ in 0..TAPS {
        read.push(TcpStream::connect(address).expect("it listens"));
        let stream = listener.accept().expect("a client").0;
        stream.set_nodelay(true).expect("TCP");
        written.push(stream);
    }
    let bytes = vec![0; 2 * (HEAD_BYTES + PACKET_BYTES)];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| drain(&read, &is_over));
        let begun = own_cpu();
        for _ in 0..seconds * WRITES_PER_SECOND {
            for mut stream in &written {
                stream.write_all(&bytes).expect("it reads");
            }
            thread::park_timeout(Duration::from_millis(1000 / WRITES_PER_SECOND));
        }
        let used = own_cpu() - begun;
        is_over.store(true, Relaxed);
        100.0 * used / seconds as f64 / TAPS as f64
    })
}

/// Twenty taps of one stream.
pub(crate) fn tap(table: &Table) {
    let seconds = number("RTMSD_BENCH_SECONDS", 20);
    table.row(
        "tap: bare writer, % of a core each",
        bare(10),
        2,
        Goal::None,
    );
    let zoom = zoom(Duration::from_millis(500));
    let server = start(&zoom);
    let packets = PACKETS_PER_SECOND * (2 * seconds + 20);
    let meeting = zoom.start_meeting(sounding("tap", packets, Duration::from_millis(20)));
    assert!(meeting.wait_for_audio(100, MINUTE), "sound is sent");
    let stream_id = meeting.streams().remove(0);
    let before = server.usage();
    thread::park_timeout(Duration::from_secs(seconds));
    let alone = server.usage().since(&before).cpu_seconds;
    let taps: Vec<TcpStream> = (1..TAPS).map(|_| ask(&server, &stream_id)).collect();
    let (is_over, timed) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let used = thread::scope(|scope| {
        scope.spawn(|| drain(&taps, &is_over));
        scope.spawn(|| {
            let delays = delays(&server, &stream_id);
            *timed.lock().expect("no panic") = delays;
        });
        thread::park_timeout(Duration::from_secs(2));
        let before = server.usage();
        thread::park_timeout(Duration::from_secs(seconds));
        let used = server.usage().since(&before).cpu_seconds;
        meeting.end(End::meeting_ended());
        is_over.store(true, Relaxed);
        used
    });
    let mut delays = timed.into_inner().expect("no panic");
    delays.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    let share = 100.0 * (used - alone) / seconds as f64 / TAPS as f64;
    table.row(
        "tap of L16 16 kHz: CPU, % of a core",
        share,
        2,
        Goal::Most(1.0),
    );
    table.row("tap: to the client p50, ms", at(0.5), 1, Goal::None);
    table.row("tap: to the client p99, ms", at(0.99), 1, Goal::Most(60.0));
    let p99 = ms(&zoom.keep_alive_latencies(Socket::Signaling), 0.99);
    table.row("tap: keep-alive p99, ms", p99, 2, Goal::Most(5.0));
    drop(taps);
    finish(server, zoom, &[meeting]);
}
