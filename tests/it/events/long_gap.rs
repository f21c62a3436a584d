//! Ten minutes without the event WebSocket while meetings run: what is asked, said, and kept.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rtmsd::demo::{End, MeetingHandle, MeetingScript, Step};

use super::{assert_gap_is_told, by_websocket};
use crate::harness::{
    Harness, http, open, report, wait_until, wait_until_more, wait_until_over, wait_until_step,
    wait_until_streaming,
};
use crate::service::Manager;

/// How long no event can arrive: ten minutes, or RTMSD_GAP seconds. Below about 70 Zoom would still wait
/// for us on a stream that was announced in the gap.
fn gap() -> Duration {
    let given = std::env::var("RTMSD_GAP").ok();
    let seconds = given.and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(600))
}

/// The network between the server and the event WebSocket, which can be cut.
struct Network {
    address: SocketAddr,
    /// The connections through it; `None` while it is cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Network {
    /// Passes connections on to that address, until the end of the test's process.
    fn to(target: SocketAddr) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let connections = Arc::clone(&open);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut connections = connections.lock().expect("no panic");
                let (Some(connections), Ok(zoom)) = (&mut *connections, TcpStream::connect(target))
                else {
                    continue;
                };
                let copy = |stream: &TcpStream| stream.try_clone().expect("a socket");
                for (mut from, mut to) in
                    [(copy(&client), copy(&zoom)), (copy(&zoom), copy(&client))]
                {
                    std::thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
                connections.extend([client, zoom]);
            }
        });
        Network { address, open }
    }

    fn cut(&self) {
        let connections = self.open.lock().expect("no panic").take();
        for stream in connections.expect("not cut yet") {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn restore(&self) {
        *self.open.lock().expect("no panic") = Some(Vec::new());
    }
}

fn slowly(seed: &str) -> MeetingScript {
    MeetingScript {
        phrases_per_second: 5.0,
        ..open(seed)
    }
}

/// How often a stream was asked for by REST, and the last answer.
fn starts(harness: &Harness, meeting: &MeetingHandle) -> (usize, Option<u16>) {
    let statuses = harness.rest_statuses(meeting);
    (statuses.len(), statuses.last().copied())
}

#[test]
#[ignore = "takes eleven minutes; .ci/nightly slow"]
fn a_gap_of_ten_minutes_while_meetings_run() {
    let gap = gap();
    let manager = Manager::new();
    let statuses = manager.statuses();
    let mut harness = Harness::builder(by_websocket())
        .settings(&[("PORT", "off"), ("RTMS_ADMIN", "127.0.0.1:0")])
        .prelude(&manager.environment(Duration::from_secs(20)))
        .without_server();
    let url = harness.zoom.events_url();
    let (host, path) = url["wss://".len()..].split_once('/').expect("a path");
    let network = Network::to(host.parse().expect("an address"));
    harness.set(
        "ZOOM_EVENTS_URL",
        &format!("wss://{}/{path}", network.address),
    );
    harness.start_server();

    let runs = harness.zoom.start_meeting(slowly("runs"));
    let ends = harness.zoom.start_meeting(slowly("ends"));
    let is_lost = harness.zoom.start_meeting(slowly("is lost"));
    for meeting in [&runs, &ends, &is_lost] {
        wait_until_streaming(meeting);
    }
    // Its stream was asked for, and is announced only in the gap.
    let is_announced = harness.zoom.start_meeting(MeetingScript {
        start_delay: Duration::from_secs(5),
        join_window: Duration::from_secs(60),
        ..slowly("is announced")
    });
    wait_until_step(&is_announced, Step::StartCalled);

    network.cut();
    let cut = Instant::now();
    wait_until("Zoom has no client", || !harness.zoom.has_events_client());
    // The end that Zoom says on the stream needs no event.
    ends.end(End::meeting_ended());
    harness.wait_until_logged(&["stream ended", &format!("stream={} ", ends.streams()[0])]);
    // This one's sockets are closed, and why is in a lost event alone.
    is_lost.end(End {
        by_state: false,
        ..End::meeting_ended()
    });
    let begins = harness.zoom.start_meeting(slowly("begins"));
    for event in ["meeting.started", "meeting.ended", "meeting.rtms_started"] {
        wait_until(event, || {
            harness.zoom.events_missed().contains(&event.to_owned())
        });
    }

    // What the operator sees meanwhile.
    let page = || http::get(harness.admin(), "/readyz");
    wait_until("it is not ready", || {
        let (code, text) = page();
        code == 503 && text.contains("events connecting; what happens is missed since 20")
    });
    assert_eq!(
        harness.metric("rtmsd_events_connected{state=\"connecting\"}"),
        1.0
    );
    let status = harness.run(&["status"]);
    assert!(
        status.stdout.contains("NOT READY: events connecting"),
        "{status:?}"
    );
    let is_down = |line: &String| line.contains("events connecting");
    wait_until("systemd is told", || {
        statuses.lock().expect("no panic").iter().any(is_down)
    });
    let calls = harness.zoom.rest_calls().len();
    while cut.elapsed() < gap {
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(harness.streams()["events"]["state"], "connecting");
    }
    // Nothing is asked in the gap, and not each try is logged.
    assert_eq!(harness.zoom.rest_calls().len(), calls);
    let lines = harness.count_logged(&["events not connected"]);
    assert!((1..=2).contains(&lines), "{:#?}", harness.server.log());
    wait_until_more(&runs, 3);

    network.restore();
    harness.wait_until_logged(&["events connected again gap_s="]);
    let since = "events may have been missed since=";
    let line = harness.wait_until_logged(&[since, " until=", "Zoom does not send them again"]);
    assert!(line.contains(" WARN "), "{line}");
    report(&line);
    // Zoom is asked about what should have a stream and has none; the rest it is not asked.
    wait_until_streaming(&is_announced);
    assert_eq!(starts(&harness, &is_announced), (2, Some(204)));
    assert_eq!(is_announced.streams().len(), 2);
    // Zoom may not know a meeting yet, so its refusal counts after half a minute.
    let number = format!("start meeting {}: ", is_lost.script().number);
    let is_final =
        |line: &String| line.contains(&number) && !line.contains("will be tried again in");
    wait_until("the meeting that is over was asked about", || {
        harness.server.log().iter().any(is_final)
    });
    let (count, last) = starts(&harness, &is_lost);
    assert!((3..=8).contains(&count), "{count}");
    assert_eq!(last, Some(404));
    assert_eq!(starts(&harness, &runs), (1, Some(204)));
    assert_eq!(starts(&harness, &ends), (1, Some(204)));
    assert_eq!(runs.streams().len(), 1);
    for step in [Step::SignalingConnected, Step::MediaConnected] {
        assert_eq!(runs.count(step), 1, "{step:?}");
    }

    // What is said afterwards.
    assert_gap_is_told(&harness);
    let missed = harness.streams()["events"]["missed"].clone();
    let ms = |key: &str| missed[key].as_u64().expect("a time");
    let gap_ms = ms("until_ms") - ms("since_ms");
    assert!(gap_ms >= gap.as_millis() as u64, "{missed}");
    assert!(harness.metric("rtmsd_events_gap_seconds_total") >= gap.as_secs_f64());
    assert_eq!(
        harness.metric("rtmsd_events_missed_since_seconds"),
        ms("since_ms") as f64 / 1000.0
    );
    wait_until("systemd is told that it is over", || {
        let statuses = statuses.lock().expect("no panic");
        statuses.last().is_some_and(|line| !is_down(line))
    });

    // The meeting that began in the gap is not known: a person can start it.
    assert_eq!(starts(&harness, &begins), (0, None));
    let number = begins.script().number.to_string();
    let ran = harness.run(&["start", &number]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    wait_until_streaming(&begins);
    for meeting in [&runs, &is_announced, &begins] {
        meeting.end(End::meeting_ended());
        wait_until_over(meeting);
        // The first stream of one of them was never announced here.
        let stream = meeting.streams().pop().expect("a stream");
        harness.wait_until_logged(&["stream ended", &format!("stream={stream} ")]);
    }
    harness.terminate();
    for meeting in [&runs, &ends, &begins] {
        harness.assert_complete(meeting);
    }
    harness.assert_no_violations();
}
