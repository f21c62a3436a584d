//! The webhook listener of the real binary under attack while a stream runs: the stream continues,
//! and a correct webhook is answered.

use std::io::Write;
use std::net::TcpStream;

use rtmsd::demo::{End, MeetingHandle, Socket, Step};

use crate::harness::http::connect;
use crate::harness::{
    Harness, assert_another_works, frequent_keep_alives, open_at_once, report, wait_until,
    wait_until_over, wait_until_streaming,
};
use crate::public::attack;

fn running(harness: &Harness, seed: &str) -> MeetingHandle {
    let meeting = harness.zoom.start_meeting(open_at_once(seed));
    wait_until_streaming(&meeting);
    meeting
}

/// The stream continued throughout, and every phrase of it is on disk.
fn lived_through(mut harness: Harness, meeting: &MeetingHandle) {
    wait_until_streaming(meeting);
    assert_eq!(meeting.count(Step::Lost), 0);
    assert_eq!(meeting.count(Step::SignalingConnected), 1);
    meeting.end(End::meeting_ended());
    harness.wait_until_ended(meeting);
    harness.terminate();
    harness.assert_complete(meeting);
    let taken = harness.zoom.keep_alive_latencies(Socket::Signaling);
    report(&format!(
        "{}: {} keep-alives, p99 {:?}, slowest {:?}; webhooks p99 {:?}",
        meeting.script().topic,
        taken.len(),
        taken.percentile(0.99),
        taken.percentile(1.0),
        harness.zoom.webhook_latencies().percentile(0.99)
    ));
    harness.assert_no_violations();
}

#[test]
fn a_stream_is_not_affected_by_the_webhook_listener() {
    let harness = Harness::start(frequent_keep_alives(50), &[]);
    let meeting = running(&harness, "attacked");
    attack(harness.address(), &mut || {
        harness.assert_answered();
    });
    let log = harness.server.log();
    let is_loud = |line: &&String| line.contains(" WARN ") || line.contains(" ERROR ");
    assert_eq!(log.iter().filter(is_loud).count(), 0, "{log:?}");
    lived_through(harness, &meeting);
}

#[test]
fn stalled_clients_delay_no_other_client() {
    let harness = Harness::start(frequent_keep_alives(50), &[]);
    let meeting = running(&harness, "stalled");
    let mut clients: Vec<TcpStream> = (0..600).map(|_| connect(harness.address())).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        if n % 3 == 1 {
            let _ = client.write_all(b"POST /webhook HTTP/1.1\r\nContent-Length: 9\r\n\r\n{");
        } else if n % 3 == 2 {
            let _ = client.write_all(b"GET / HTTP/1.1\r\n\r\n");
        }
    }
    for n in 0..20 {
        harness.assert_answered();
        // A client that sends a byte now and then loses its place.
        let _ = clients[n * 3 + 1].write_all(b" ");
    }
    assert_another_works(&harness.zoom, "beside the stalled");
    drop(clients);
    harness.assert_answered();
    lived_through(harness, &meeting);
}

#[test]
fn out_of_files_and_back() {
    // Odd and even: tiny_http on its own would fail in another way for each.
    for files in [64, 65] {
        let limit = format!("ulimit -n {files}");
        let harness = Harness::builder(frequent_keep_alives(50))
            .prelude(&limit)
            .start();
        let meeting = running(&harness, &format!("{files} files"));
        let mut clients: Vec<TcpStream> = (0..200).map(|_| connect(harness.address())).collect();
        for client in &mut clients {
            let _ = client.write_all(b"POST /webhook HTTP/1.1\r\n");
        }
        wait_until_streaming(&meeting);
        drop(clients);
        wait_until("it serves again", || {
            let body = serde_json::json!({"event": "x", "event_ts": 1, "payload": {}});
            harness.zoom.post_webhook(&body).status == Ok(200)
        });
        wait_until_streaming(&meeting);
        assert_another_works(&harness.zoom, &format!("after {files} files"));
        assert_eq!(meeting.count(Step::Lost), 0);
        meeting.end(End::meeting_ended());
        wait_until_over(&meeting);
    }
}

#[test]
fn a_forged_webhook_does_nothing_at_all() {
    let harness = Harness::start(frequent_keep_alives(100), &[("RTMS_LOG", "info")]);
    // Until one is valid, the log suspects the secret token, with one line a minute.
    crate::slow::forge(&harness, 300);
    let is_logged = |line: &String| {
        line.contains("check that ZOOM_SECRET_TOKEN is")
            && line.contains("no proxy changes the body or drops the header")
    };
    assert_eq!(
        harness.server.log().into_iter().filter(is_logged).count(),
        1
    );
    harness.assert_answered();
    let lines = harness.server.log().len();
    let before = harness.zoom.connections();
    crate::slow::forge(&harness, 300);
    assert_eq!(harness.zoom.connections(), before);
    assert_eq!(
        harness.zoom.rest_calls().len() + harness.zoom.oauth_calls().len(),
        0
    );
    assert_eq!(harness.stream_folders().len(), 0);
    assert_eq!(harness.server.log().len(), lines);
    assert_another_works(&harness.zoom, "after the forged");
    harness.end();
}
