//! The server beside a program that does the least: the CPU time of both for the same phrases.

use std::time::Duration;

use rtmsd::demo::{End, MeetingHandle, Socket, Step, Zoom};

use crate::bare::server::BareServer;
use crate::process::{self, Server};
use crate::table::{Goal, Table};
use crate::{MINUTE, counted, end, ms, number, phrases_in, phrases_sent, received};

/// Streams, and phrases a second of each: a quiet meeting, and up to a whole account.
const ROWS: [(u64, f64); 5] = [(1, 2.0), (1, 200.0), (50, 10.0), (500, 2.0), (2000, 1.0)];

/// What one of the two needs for a row.
struct Cost {
    /// CPU seconds for ten thousand phrases.
    cpu: f64,
    lost: u64,
    keep_alive_p99_ms: f64,
}

pub(crate) fn floor(table: &Table) {
    let seconds = number("RTMSD_BENCH_SECONDS", 20);
    let most = number("RTMSD_BENCH_STREAMS", 2000);
    for (streams, rate) in ROWS {
        if streams > most {
            continue;
        }
        let script = (streams, rate, seconds);
        let (bare, ours) = (of_bare(script), of_server(script));
        let row = |what: &str| format!("floor, {streams} x {rate}/s: {what}");
        table.row(&row("bare, CPU s per 10,000"), bare.cpu, 3, Goal::None);
        table.row(&row("rtmsd, CPU s per 10,000"), ours.cpu, 3, Goal::None);
        table.row(
            &row("times the bare one"),
            ours.cpu / bare.cpu,
            2,
            Goal::Most(1.5),
        );
        table.row(
            &row("lost, both"),
            (bare.lost + ours.lost) as f64,
            0,
            Goal::Most(0.0),
        );
        table.row(
            &row("bare, keep-alive p99, ms"),
            bare.keep_alive_p99_ms,
            1,
            Goal::None,
        );
        table.row(
            &row("rtmsd, keep-alive p99, ms"),
            ours.keep_alive_p99_ms,
            1,
            Goal::None,
        );
    }
}

fn of_bare(script: (u64, f64, u64)) -> Cost {
    let zoom = crate::zoom(Duration::from_secs(10));
    let server = BareServer::start(&zoom);
    let cost = measure(&zoom, script, server.id(), || phrases_in(&server.out));
    server.stop();
    // It leaves without a word, as it always would.
    let _ = zoom.stop();
    cost
}

fn of_server(script: (u64, f64, u64)) -> Cost {
    let zoom = crate::zoom(Duration::from_secs(10));
    let server = Server::start(&zoom, &[]);
    let cost = measure(&zoom, script, server.id(), || phrases_in(&server.out));
    server.stop();
    for violation in zoom.stop() {
        println!("violation: {violation}");
    }
    cost
}

/// From when all are joined until all is in the files.
fn measure(
    zoom: &Zoom,
    (streams, rate, seconds): (u64, f64, u64),
    process: u32,
    in_files: impl Fn() -> u64,
) -> Cost {
    let phrases = (seconds as f64 * rate) as u64;
    let mut meetings: Vec<MeetingHandle> = Vec::new();
    for n in 0..streams {
        // Different seconds of their scripts, and no thousand handshakes at once: joining is not measured.
        meetings.push(zoom.start_meeting(counted(&format!("floor {n}"), phrases, rate)));
        if n % 50 == 49 || n + 1 == streams {
            for meeting in &meetings {
                assert!(meeting.wait_for(Step::Ready, 2 * MINUTE), "all join");
            }
        }
    }
    let (before, earlier) = (process::cpu_of_threads(process), phrases_sent(&meetings));
    for meeting in &meetings {
        let within = Duration::from_secs(seconds) + 2 * MINUTE;
        assert!(meeting.wait_for(Step::LastPhrase, within), "all is sent");
    }
    let sent = phrases_sent(&meetings);
    let found = received(sent, MINUTE, in_files);
    let used = process::cpu_of_threads(process) - before;
    let cost = Cost {
        cpu: used * 1e4 / (sent - earlier).max(1) as f64,
        lost: sent.abs_diff(found),
        keep_alive_p99_ms: ms(&zoom.keep_alive_latencies(Socket::Signaling), 0.99),
    };
    for meeting in &meetings {
        meeting.end(End::meeting_ended());
    }
    end(&meetings);
    cost
}
