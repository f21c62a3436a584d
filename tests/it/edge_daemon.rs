//! The public edge of the real binary under attack while a stream runs: the stream goes on, and a
//! correct webhook is answered.

use std::io::Write;
use std::net::TcpStream;

use rtmsd::demo::{Begin, End, MeetingHandle, Socket, Step};

use crate::harness::{Harness, frequent_keep_alives};
use crate::meeting::{another_works, open, report, wait_until_over, wait_until_streaming};
use crate::public::{attack, connect};

fn running(stage: &Harness, seed: &str) -> MeetingHandle {
    let mut script = open(seed);
    script.begin = Begin::AtOnce;
    let meeting = stage.zoom.start_meeting(script);
    wait_until_streaming(&meeting);
    meeting
}

/// The stream lived through it all, and everything that was said in it is on disk.
fn lived_through(mut stage: Harness, meeting: &MeetingHandle) {
    wait_until_streaming(meeting);
    assert_eq!(meeting.count(Step::Lost), 0);
    assert_eq!(meeting.count(Step::SignalingConnected), 1);
    meeting.end(End::meeting_ended());
    wait_until_over(meeting);
    stage.terminate();
    stage.is_complete(meeting);
    let taken = stage.zoom.keep_alive_latencies(Socket::Signaling);
    report(&format!(
        "{}: {} keep-alives, p99 {:?}, slowest {:?}; webhooks p99 {:?}",
        meeting.script().topic,
        taken.len(),
        taken.percentile(0.99),
        taken.percentile(1.0),
        stage.zoom.webhook_latencies().percentile(0.99)
    ));
    assert_eq!(stage.zoom.violations(), Vec::<String>::new());
}

#[test]
fn a_stream_does_not_notice_what_happens_at_the_edge() {
    let stage = Harness::start(frequent_keep_alives(50), &[]);
    let meeting = running(&stage, "attacked");
    attack(stage.address(), &mut || {
        stage.assert_answered();
    });
    let log = stage.server.log();
    let is_loud = |line: &&String| line.contains(" WARN ") || line.contains(" ERROR ");
    assert_eq!(log.iter().filter(is_loud).count(), 0, "{log:?}");
    lived_through(stage, &meeting);
}

#[test]
fn clients_that_stall_hold_nobody_up() {
    let stage = Harness::start(frequent_keep_alives(50), &[]);
    let meeting = running(&stage, "stalled");
    let mut clients: Vec<TcpStream> = (0..600).map(|_| connect(stage.address())).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        if n % 3 == 1 {
            let _ = client.write_all(b"POST /webhook HTTP/1.1\r\nContent-Length: 9\r\n\r\n{");
        } else if n % 3 == 2 {
            let _ = client.write_all(b"GET / HTTP/1.1\r\n\r\n");
        }
    }
    for n in 0..20 {
        stage.assert_answered();
        // A byte now and then keeps nobody's place.
        let _ = clients[n * 3 + 1].write_all(b" ");
    }
    another_works(&stage.zoom, "beside the stalled");
    drop(clients);
    stage.assert_answered();
    lived_through(stage, &meeting);
}

#[test]
fn out_of_files_and_back() {
    // Odd and even: tiny_http on its own would die in another way for each.
    for files in [64, 65] {
        let limit = format!("ulimit -n {files}");
        let stage = Harness::start_in(frequent_keep_alives(50), &[], &limit);
        let meeting = running(&stage, &format!("{files} files"));
        let mut clients: Vec<TcpStream> = (0..200).map(|_| connect(stage.address())).collect();
        for client in &mut clients {
            let _ = client.write_all(b"POST /webhook HTTP/1.1\r\n");
        }
        wait_until_streaming(&meeting);
        drop(clients);
        stage.wait_for("it serves again", || {
            let body = serde_json::json!({"event": "x", "event_ts": 1, "payload": {}});
            stage.zoom.post_webhook(&body).status == Ok(200)
        });
        wait_until_streaming(&meeting);
        another_works(&stage.zoom, &format!("after {files} files"));
        assert_eq!(meeting.count(Step::Lost), 0);
        meeting.end(End::meeting_ended());
        wait_until_over(&meeting);
    }
}

#[test]
fn a_forged_webhook_does_nothing_at_all() {
    let stage = Harness::start(frequent_keep_alives(100), &[("RTMS_LOG", "info")]);
    // As long as none was right, the secret token is suspected: in one line a minute.
    crate::slow::forge(&stage, 300);
    let is_told = |line: &String| line.contains("check that ZOOM_SECRET_TOKEN is");
    assert_eq!(stage.server.log().into_iter().filter(is_told).count(), 1);
    stage.assert_answered();
    let lines = stage.server.log().len();
    let before = stage.zoom.connections();
    crate::slow::forge(&stage, 300);
    assert_eq!(stage.zoom.connections(), before);
    assert_eq!(
        stage.zoom.rest_calls().len() + stage.zoom.oauth_calls().len(),
        0
    );
    assert_eq!(stage.stream_folders().len(), 0);
    assert_eq!(stage.server.log().len(), lines);
    another_works(&stage.zoom, "after the forged");
    stage.end();
}
