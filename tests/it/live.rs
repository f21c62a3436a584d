//! The live feed with the whole binary: each event once and in order, for every client, over kills of the
//! server and of the client.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rtmsd::demo::{End, MeetingHandle};
use serde_json::Value;

use crate::harness::{
    Harness, TempDir, files_below, http, open, plain, report, wait_until, wait_until_more,
    wait_until_over, wait_until_streaming,
};

pub(crate) mod client;
pub(crate) mod partners;

use client::{Event, Sse};

fn bearer(harness: &Harness) -> String {
    format!("Bearer {}", harness.own_token())
}

fn events(harness: &Harness, query: &str, last_id: Option<&str>) -> Sse {
    let bearer = bearer(harness);
    let mut fields = vec![("Authorization", bearer.as_str())];
    fields.extend(last_id.map(|id| ("Last-Event-ID", id)));
    Sse::open(harness.admin(), query, &fields)
}

fn page(harness: &Harness, query: &str) -> (u16, Value) {
    let answer = events(harness, query, None);
    let status = answer.status;
    let text = answer.text();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// Every line of the journals, in the order of positions.
fn written(harness: &Harness) -> Vec<Value> {
    let mut lines = Vec::new();
    for (path, bytes) in files_below(&harness.out()) {
        if path.ends_with("feed.jsonl") {
            let whole = bytes.split_inclusive(|b| *b == b'\n');
            let whole = whole.filter(|line| line.ends_with(b"\n"));
            lines.extend(whole.map(|line| serde_json::from_slice::<Value>(line).expect("JSON")));
        }
    }
    lines.sort_by_key(|line| line["pos"].as_str().map(str::to_owned));
    lines
}

fn ids(lines: &[Value]) -> Vec<String> {
    let id = |line: &Value| line["id"].as_str().expect("an id").to_owned();
    lines.iter().map(id).collect()
}

fn event_ids(events: &[Event]) -> Vec<String> {
    events.iter().map(Event::id).collect()
}

fn key(harness: &Harness, meeting: &MeetingHandle) -> String {
    let id = meeting.script().id.as_str();
    let mut found = None;
    wait_until("the journal", || {
        let lines = written(harness);
        let own = lines.iter().find(|line| line["subject"] == id);
        found = own.map(|line| line["id"].as_str().expect("an id")[..16].to_owned());
        found.is_some()
    });
    found.expect("a key")
}

fn is_ended(harness: &Harness, count: usize) -> bool {
    let lines = written(harness);
    let ends = lines.iter().filter(|line| line["type"] == "stream.ended");
    ends.count() >= count
}

#[test]
fn l1_kills_of_client_and_server_leave_each_event_once_and_in_order() {
    let mut harness = Harness::with_admin(&[]);
    let meetings: Vec<MeetingHandle> = (1..=3)
        .map(|n| harness.zoom.start_meeting(open(&format!("live-kill-{n}"))))
        .collect();
    meetings.iter().for_each(wait_until_streaming);
    let mut got: Vec<Event> = Vec::new();
    let read = |harness: &Harness, got: &mut Vec<Event>, count: usize| {
        let last = got.last().map(|event| event.pos.clone());
        let query = if last.is_none() { "?after=begin" } else { "" };
        let mut client = events(harness, query, last.as_deref());
        assert_eq!(client.status, 200);
        got.extend((0..count).map_while(|_| client.next()));
        client
    };
    for round in 0..4 {
        // The client is cut off in the middle of the stream, in other places each time.
        for count in [1, 7 + round, 23] {
            drop(read(&harness, &mut got, count));
        }
        let mut client = read(&harness, &mut got, 5);
        match round % 2 {
            0 => harness.server.kill(),
            _ => harness.terminate(),
        }
        got.extend(client.rest());
        harness.start_server();
        meetings.iter().for_each(wait_until_streaming);
        wait_until_more(&meetings[0], 5);
    }
    for meeting in &meetings {
        meeting.end(End::meeting_ended());
    }
    meetings.iter().for_each(wait_until_over);
    wait_until("the ends are written", || is_ended(&harness, 3));
    let all = written(&harness);
    let mut client = read(&harness, &mut got, 0);
    while got.last().map(|event| event.pos.as_str()) != all.last().and_then(|it| it["pos"].as_str())
    {
        got.push(client.next().expect("more comes"));
    }
    assert_eq!(event_ids(&got), ids(&all));
    assert!(got.len() > 100, "{}", got.len());
    // A client that asks for everything later gets the same from the files.
    let first = got[0].data["pos"].as_str().expect("a position");
    let before = format!("{:016}", first.parse::<u64>().expect("a number") - 1);
    let mut client = events(&harness, "", Some(&before));
    let again: Vec<Event> = (0..all.len()).map_while(|_| client.next()).collect();
    assert_eq!(event_ids(&again), ids(&all));
    harness.terminate();
}

#[test]
fn every_filter_sends_what_it_names() {
    let harness = Harness::with_admin(&[]);
    let first = harness.zoom.start_meeting(plain("live-filter-1", 40));
    let second = harness.zoom.start_meeting(plain("live-filter-2", 40));
    let meetings = [&first, &second];
    let keys = meetings.map(|meeting| key(&harness, meeting));
    let number = first.script().number.to_string();
    let id = first.script().id.clone();
    let mut live = events(&harness, "?types=transcript.*,stream.ended&event=on", None);
    let mut own = events(&harness, &format!("?stream={}&after=begin", keys[0]), None);
    meetings.into_iter().for_each(wait_until_over);
    wait_until("the ends are written", || is_ended(&harness, 2));
    let all = written(&harness);
    let of = |is_meant: &dyn Fn(&Value) -> bool| -> Vec<String> {
        ids(&all
            .iter()
            .filter(|it| is_meant(it))
            .cloned()
            .collect::<Vec<_>>())
    };
    let of_first = of(&|line| line["subject"] == id.as_str());
    assert!(of_first.len() > 40 && of_first.len() < all.len());
    assert_eq!(event_ids(&own.rest()), of_first);
    let mut ends = 0;
    while ends < 2 {
        let event = live.next().expect("more comes");
        assert!(event.kind().starts_with("transcript.") || event.kind() == "stream.ended");
        assert_eq!(event.name, event.kind());
        ends += usize::from(event.name == "stream.ended");
    }
    let stream = first_of(&all, &id)["streamid"]
        .as_str()
        .expect("an id")
        .to_owned();
    let get = |query: &str| {
        let (status, page) = page(&harness, &format!("?wait=0&limit=1000&{query}"));
        assert_eq!(status, 200, "{query}: {page}");
        ids(page["events"].as_array().expect("events"))
    };
    for query in [
        format!("stream={}&after=begin", keys[0]),
        format!("stream={}&after=begin", &keys[0][..8]),
        format!("stream={stream}&after=begin"),
        format!("stream={}&after=begin", &stream[..12]),
        format!("meeting={number}&after=begin"),
        format!("meeting={}&after=begin", id.replace('/', "%2F")),
    ] {
        assert_eq!(get(&query), of_first, "{query}");
    }
    let after = |at: usize| all[at]["pos"].as_str().expect("a position");
    assert_eq!(get(&format!("after={}", after(0))), ids(&all[1..]));
    assert_eq!(
        get(&format!("after={}", ids(&all)[5])),
        ids(&all[6..]),
        "after an event"
    );
    assert_eq!(get("after=2026-01-01T00:00:00Z"), ids(&all));
    assert_eq!(get("after=2026-01-01T00:00:00Z&types=stream.*"), {
        of(&|line| {
            line["type"]
                .as_str()
                .is_some_and(|kind| kind.starts_with("stream."))
        })
    });
    assert_eq!(get(""), [""; 0]);
    assert_eq!(get("after=begin"), [""; 0], "nothing runs");
    for query in ["after=x", "types=x", "wait=26", "wait=x", "limit=0"] {
        assert_eq!(page(&harness, &format!("?{query}")).0, 400, "{query}");
    }
    assert_eq!(events(&harness, "?stream=unknown", None).status, 404);
    assert_eq!(events(&harness, "?stream=ab", None).status, 404);
    harness.end();
}

fn first_of<'a>(lines: &'a [Value], id: &str) -> &'a Value {
    let mut lines = lines.iter();
    lines.find(|line| line["subject"] == id).expect("a line")
}

#[test]
fn l2_an_ended_stream_is_closed_and_then_204() {
    let harness = Harness::with_admin(&[]);
    let meeting = harness.zoom.start_meeting(plain("live-end", 20));
    let key = key(&harness, &meeting);
    let query = format!("?stream={key}");
    let mut client = events(&harness, &format!("{query}&after=begin"), None);
    assert!(client.head.contains("Content-Type: text/event-stream\r\n"));
    assert!(client.head.contains("Cache-Control: no-store\r\n"));
    assert!(client.head.contains("X-Accel-Buffering: no\r\n"));
    assert!(client.head.contains("Connection: close\r\n"));
    let all = client.rest();
    let last = all.last().expect("events");
    assert_eq!(event_ids(&all), ids(&written(&harness)));
    let status = |query: &str, last: Option<&str>| events(&harness, query, last).status;
    assert_eq!(status(&query, Some(&last.pos)), 204);
    assert_eq!(status(&query, None), 204, "from now on");
    let phrase = all
        .iter()
        .rfind(|event| event.kind() == "transcript.phrase");
    let phrase = phrase.expect("a phrase");
    let filtered = format!("{query}&types=transcript.*");
    assert_eq!(status(&filtered, Some(&phrase.pos)), 204);
    assert_eq!(
        status(&format!("{query}&after=begin&types=feed.gap"), None),
        204
    );
    // What is no position, or one of the future, counts as absent.
    for id in ["x", "", "9999999999999999", "\u{e4}"] {
        assert_eq!(status(&query, Some(id)), 204, "{id}");
        let from_begin = format!("{query}&after=begin");
        let again = events(&harness, &from_begin, Some(id)).rest();
        assert_eq!(again.len(), all.len(), "{id}");
    }
    let before_last = &all[all.len() - 2].pos;
    assert_eq!(events(&harness, &query, Some(before_last)).rest().len(), 1);
    let (status, page) = page(&harness, &format!("{query}&wait=25"));
    assert_eq!((status, &page["ended"]), (200, &Value::Bool(true)));
    // Of a stream whose folder was deleted the position alone still counts.
    fs::remove_dir_all(harness.stream_folders()[0].clone()).expect("deleted");
    let mut all = events(&harness, "", Some(&last.pos));
    let other = harness.zoom.start_meeting(plain("live-end-2", 1));
    assert_eq!(all.next().expect("an event").kind(), "stream.started");
    wait_until_over(&other);
    harness.end();
}

#[test]
fn l2_a_withdrawn_stream_ends_with_that_event_and_is_then_gone() {
    let mut harness = Harness::with_admin(&[]);
    let meeting = harness.zoom.start_meeting(open("live-revoked"));
    wait_until_streaming(&meeting);
    let key = key(&harness, &meeting);
    let query = format!("?stream={key}");
    let mut client = events(&harness, &query, None);
    let mut everything = events(&harness, "", None);
    let before = client.next().expect("an event").pos;
    let mut end = End::meeting_ended();
    end.reason = 8;
    meeting.end(end);
    wait_until_over(&meeting);
    let last = client.rest().pop().expect("the event");
    assert_eq!(
        (last.kind(), last.data["data"]["key"].as_str()),
        ("stream.revoked", Some(&*key))
    );
    while everything.next().expect("more comes").kind() != "stream.revoked" {}
    for _ in 0..2 {
        let status = |query: &str, last: Option<&str>| events(&harness, query, last).status;
        assert_eq!(status(&query, Some(&last.pos)), 204);
        assert_eq!(status(&query, None), 410);
        assert_eq!(status(&format!("{query}&after=begin"), None), 410);
        assert_eq!(status(&format!("?after={key}-3"), None), 410);
        // A client that was there before gets that event alone.
        let behind = events(&harness, &query, Some(&before)).rest();
        assert_eq!(event_ids(&behind), [last.id()]);
        let (status, page) = page(&harness, &format!("{query}&wait=0&after={before}"));
        assert_eq!(status, 200);
        assert_eq!(ids(page["events"].as_array().expect("events")), [last.id()]);
        let text = events(
            &harness,
            "?wait=0&limit=1000&after=2026-01-01T00:00:00Z",
            None,
        )
        .text();
        assert!(
            text.contains("stream.revoked") && !text.contains("\"text\""),
            "{text}"
        );
        // The next process knows the same.
        harness.terminate();
        harness.start_server();
    }
    harness.terminate();
}

#[test]
fn l3_pages_lead_through_everything() {
    let harness = Harness::with_admin(&[]);
    let meeting = harness.zoom.start_meeting(plain("live-pages", 60));
    let mut got = Vec::new();
    let mut after = "begin".to_owned();
    let mut waits = 0;
    wait_until_streaming(&meeting);
    let key = key(&harness, &meeting);
    let is_over = || is_ended(&harness, 1);
    loop {
        let was_over = is_over();
        let query = format!("?stream={key}&wait=1&limit=7&after={after}");
        let (status, page) = page(&harness, &query);
        assert_eq!(status, 200);
        assert_eq!(page["v"], 1);
        let events = page["events"].as_array().expect("events");
        assert!(events.len() <= 7);
        assert!(events.len() == 7 || page["more"] == false);
        got.extend(ids(events));
        after = page["next"].as_str().expect("a position").to_owned();
        waits += 1;
        if page["ended"] == true {
            break;
        }
        assert!(!was_over || page["more"] == true || !events.is_empty());
    }
    assert_eq!(got, ids(&written(&harness)));
    assert!(waits > 8, "{waits}");
    // Nothing for this filter, and yet a place to go on from.
    let (_, page) = page(
        &harness,
        "?wait=0&types=feed.gap&after=2026-01-01T00:00:00Z",
    );
    assert_eq!(page["events"].as_array().map(Vec::len), Some(0));
    assert!(page["next"].as_str() >= got.last().map(|_| after.as_str()));
    harness.end();
}

#[test]
fn s1_s4_content_needs_a_credential_and_an_own_host() {
    let harness = Harness::with_admin(&[]);
    let admin = harness.admin();
    let bearer = bearer(&harness);
    let get = |fields: &[(&str, &str)]| {
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let request = format!("GET /events?wait=0 HTTP/1.1\r\n{fields}\r\n");
        http::status(&http::ask(admin, request.as_bytes()))
    };
    let token = ("Authorization", bearer.as_str());
    let here = ("Host", "localhost");
    assert_eq!(get(&[here, token]), 200);
    assert_eq!(get(&[here]), 401);
    assert_eq!(get(&[here, ("Authorization", "Bearer 0")]), 401);
    assert_eq!(get(&[here, ("Cookie", "t=1")]), 401);
    assert_eq!(get(&[("Host", "127.0.0.1:1"), token]), 200);
    assert_eq!(get(&[("Host", "[::1]"), token]), 200);
    assert_eq!(get(&[("Host", "127.0.0.1.evil.example"), token]), 421);
    assert_eq!(get(&[("Host", "evil.example"), token]), 421);
    assert_eq!(get(&[token]), 400);
    assert_eq!(get(&[here, token, ("Origin", "http://evil.example")]), 200);
    let request = format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let answer = http::ask(admin, request.as_bytes());
    assert_eq!(http::status(&answer), 405);
    assert!(!answer.contains("Access-Control"), "{answer}");
    harness.end();
}

#[test]
fn without_journals_there_is_no_feed() {
    let harness = Harness::with_admin(&[("RTMS_FEED", "off")]);
    let answer = events(&harness, "", None);
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("RTMS_FEED=off"));
    harness.end();
}

/// Reads what has arrived; whether the connection is still open.
fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    let mut piece = [0; 16 << 10];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return false,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}

fn ask(address: SocketAddr, bearer: &str, query: &str) -> TcpStream {
    let mut stream = http::connect(address);
    let request = format!(
        "GET /events{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it is sent");
    stream
}

#[test]
fn l5_l8_a_thousand_clients_get_the_same_and_a_slow_one_harms_no_other() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let clients = limit.maximum.map_or(1000, |files| (files / 8).min(1000)) as usize;
    rtmsd::net::file_limit::raise_file_limit().expect("a limit");
    let harness = Harness::with_admin(&[]);
    let meeting = harness.zoom.start_meeting(open("live-many"));
    wait_until_streaming(&meeting);
    let (admin, bearer) = (harness.admin(), bearer(&harness));
    // It reads nothing at all: the kernel's buffers take some, and then it is behind.
    let slow = ask(admin, &bearer, "?after=begin");
    let mut open: Vec<(TcpStream, Vec<u8>)> = (0..clients)
        .map(|_| {
            let stream = ask(admin, &bearer, "");
            stream.set_nonblocking(true).expect("a socket");
            (stream, Vec::new())
        })
        .collect();
    wait_until("all are served", || {
        harness.metric("rtmsd_live_clients{kind=\"sse\"}") == (clients + 1) as f64
    });
    wait_until_more(&meeting, 20);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    let last = |bytes: &[u8]| memchr_last(bytes, b"\"type\":\"stream.ended\"");
    wait_until("all have the end", || {
        let mut all = open.iter_mut();
        all.all(|(stream, bytes)| {
            assert!(read_some(stream, bytes), "closed");
            last(bytes)
        })
    });
    let texts: Vec<Vec<String>> = open
        .iter()
        .map(|(_, bytes)| {
            let text = String::from_utf8_lossy(bytes);
            let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
            ids.map(str::to_owned).collect()
        })
        .collect();
    let longest = texts.iter().max_by_key(|ids| ids.len()).expect("one");
    assert!(longest.len() > 20);
    for ids in &texts {
        // They came one after another, and from then on they miss nothing.
        assert!(longest.ends_with(ids) && ids.len() > 20, "{}", ids.len());
    }
    assert_eq!(harness.metric("rtmsd_live_refused_total"), 0.0);
    drop(open);
    wait_until("all but the slow one are gone", || {
        harness.metric("rtmsd_live_clients{kind=\"sse\"}") == 1.0
    });
    drop(slow);
    harness.end();
}

/// How many clients there may be, with sockets.
#[test]
#[ignore = "takes some seconds; .ci/nightly slow"]
fn l8_two_thousand_and_forty_eight_clients_and_no_more() {
    const CLIENTS: usize = 2048;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert!(
        limit
            .maximum
            .is_none_or(|files| files >= 4 * CLIENTS as u64),
        "raise the limit of open files to {}",
        4 * CLIENTS
    );
    rtmsd::net::file_limit::raise_file_limit().expect("a limit");
    let harness = Harness::with_admin(&[]);
    let meeting = harness.zoom.start_meeting(open("live-full"));
    wait_until_streaming(&meeting);
    let (admin, bearer) = (harness.admin(), bearer(&harness));
    let count = || harness.metric("rtmsd_live_clients{kind=\"sse\"}");
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| ask(admin, &bearer, "")).collect();
    wait_until("all are served", || count() == CLIENTS as f64);
    for query in ["", "?wait=0"] {
        let answer = http::read_all(&mut ask(admin, &bearer, query));
        assert_eq!(http::status(&answer), 503, "{answer}");
        assert!(answer.contains("\r\nRetry-After: 5\r\n"), "{answer}");
    }
    assert_eq!(harness.metric("rtmsd_live_refused_total"), 2.0);
    harness.wait_until_logged(&[" WARN ", "live: too many clients", "clients=2048"]);
    // Each of them is served, the last one, too; and where one leaves, another one finds room.
    for client in [0, CLIENTS - 1] {
        let mut piece = [0; 15];
        clients[client].read_exact(&mut piece).expect("the head");
        assert_eq!(&piece, b"HTTP/1.1 200 OK");
    }
    clients.truncate(CLIENTS - 1);
    wait_until("one is gone", || count() == (CLIENTS - 1) as f64);
    let mut other = events(&harness, "", None);
    assert_eq!(other.status, 200);
    assert!(other.next().is_some());
    harness.leave();
}

/// The end of a connection and the end of its sending side are the same to a server that only sends, so
/// a client that ends it has gone; at once, not at the next write.
#[test]
fn a_client_that_ends_its_sending_side_has_gone() {
    let harness = Harness::with_admin(&[]);
    let meeting = harness.zoom.start_meeting(open("live-half"));
    wait_until_streaming(&meeting);
    let (admin, bearer) = (harness.admin(), bearer(&harness));
    let mut client = ask(admin, &bearer, "?types=feed.gap");
    wait_until("it is served", || {
        harness.metric("rtmsd_live_clients{kind=\"sse\"}") == 1.0
    });
    client
        .shutdown(std::net::Shutdown::Write)
        .expect("a socket");
    let answer = http::read_all(&mut client);
    assert_eq!(http::status(&answer), 200);
    assert_eq!(harness.metric("rtmsd_live_clients{kind=\"sse\"}"), 0.0);
    harness.leave();
}

fn memchr_last(bytes: &[u8], part: &[u8]) -> bool {
    bytes
        .windows(part.len())
        .rev()
        .take(4096)
        .any(|it| it == part)
}

#[test]
fn l8_at_the_end_of_the_server_an_answer_ends_behind_an_event() {
    let mut harness = Harness::with_admin(&[]);
    let meeting = harness.zoom.start_meeting(open("live-sigterm"));
    wait_until_streaming(&meeting);
    let (admin, bearer) = (harness.admin(), bearer(&harness));
    let mut clients: Vec<TcpStream> = (0..20)
        .map(|_| ask(admin, &bearer, "?after=begin"))
        .collect();
    let mut waiting = ask(admin, &bearer, "?wait=25&types=feed.gap");
    wait_until("all are served", || {
        harness.metric("rtmsd_live_clients{kind=\"sse\"}") == 20.0
    });
    wait_until_more(&meeting, 5);
    harness.terminate();
    for client in &mut clients {
        let answer = http::read_all(client);
        assert!(answer.ends_with("\n\n"), "{answer}");
        assert!(!answer.contains("stream.ended"), "it goes on later");
    }
    let answer = http::read_all(&mut waiting);
    assert!(
        answer.contains("{\"v\":1,\"events\":[],\"next\":\""),
        "{answer}"
    );
}

#[test]
fn s7_no_content_and_no_secret_is_logged() {
    let harness = Harness::with_admin(&[("RTMS_LOG", "debug")]);
    let meeting = harness.zoom.start_meeting(plain("live-log", 10));
    let key = key(&harness, &meeting);
    let bearer = bearer(&harness);
    let secret = "hunter2hunter2";
    let mut client = events(
        &harness,
        &format!("?stream={key}&x={secret}&after=begin"),
        None,
    );
    Sse::open(
        harness.admin(),
        &format!("?after={secret}"),
        &[("Authorization", &bearer)],
    );
    Sse::open(
        harness.admin(),
        "",
        &[("Authorization", &format!("Bearer {secret}"))],
    );
    let events = client.rest();
    wait_until_over(&meeting);
    let texts: BTreeSet<&str> = events
        .iter()
        .filter_map(|event| event.data["data"]["text"].as_str())
        .collect();
    assert!(!texts.is_empty());
    let log = harness.server.log().join("\n");
    let token = bearer.trim_start_matches("Bearer ").to_owned();
    for hidden in texts.into_iter().chain([secret, &*token]) {
        assert!(!log.contains(hidden), "{hidden}");
    }
    harness.end();
}

#[test]
fn curl_prints_the_feed() {
    let harness = Harness::with_admin(&[]);
    let meeting = harness.zoom.start_meeting(plain("live-curl", 20));
    let key = key(&harness, &meeting);
    let url = format!("http://{}/events?stream={key}&after=begin", harness.admin());
    let curl = Command::new("curl")
        .args(["-sN", "--max-time", "50", "-H"])
        .arg(format!("Authorization: {}", bearer(&harness)))
        .arg(url)
        .stderr(Stdio::null())
        .output();
    let Ok(output) = curl else {
        return report("skipped: curl is not installed");
    };
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let found: Vec<&str> = text
        .lines()
        .filter_map(|it| it.strip_prefix("id: "))
        .collect();
    let all = written(&harness);
    let expected: Vec<&str> = all.iter().filter_map(|it| it["pos"].as_str()).collect();
    assert_eq!(found, expected);
    harness.end();
}

#[test]
fn s1_a_unix_socket_needs_no_token() {
    let folder = TempDir::new();
    let socket = folder.join("admin.sock");
    let place = format!("unix:{}", socket.display());
    let mut harness = Harness::with_admin(&[("RTMS_ADMIN", &format!("127.0.0.1:0,{place}"))]);
    let meeting = harness.zoom.start_meeting(plain("live-unix", 20));
    let key = key(&harness, &meeting);
    wait_until_over(&meeting);
    wait_until("the end is written", || is_ended(&harness, 1));
    let mode = fs::metadata(&socket)
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let ask = |target: &str| {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        let request = format!("GET {target} HTTP/1.1\r\nHost: any.example\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is sent");
        http::read_all(&mut stream)
    };
    let answer = ask(&format!("/events?stream={key}&after=begin"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let ids = answer.lines().filter(|line| line.starts_with("id: "));
    assert_eq!(ids.count(), written(&harness).len());
    assert!(ask("/healthz").ends_with("alive\n"));
    let environment = [("RTMS_ADMIN", place.as_str())];
    let status = harness.run_with(&environment, &["status", "--json"]);
    assert_eq!(status.code, Some(0), "{}", status.stdout);
    let tail = harness.run_with(&environment, &["tail", &key, "--json", "-n", "all"]);
    assert_eq!(tail.stdout.lines().count(), written(&harness).len());
    // A socket that a killed server has left is no obstacle, and none is left at the end.
    harness.server.kill();
    assert!(socket.exists());
    harness.start_server();
    wait_until("it listens again", || UnixStream::connect(&socket).is_ok());
    harness.terminate();
    assert!(!socket.exists());
}

/// The answer to GET of that target, with the token.
fn get(harness: &Harness, target: &str) -> (u16, String, String) {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n",
        bearer(harness)
    );
    let answer = http::ask(harness.admin(), request.as_bytes());
    let (status, body) = http::status_and_body(&answer);
    (
        status,
        answer
            .split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .to_owned(),
        body,
    )
}

#[test]
fn recordings_are_listed_and_their_captions_are_made_from_the_journal() {
    let harness = Harness::with_admin(&[("RTMS_TRANSCRIPT", "off")]);
    let meetings: Vec<MeetingHandle> = (1..=3)
        .map(|n| {
            let mut script = plain(&format!("live-list-{n}"), 20);
            script.topic = format!("Topic {n}");
            let meeting = harness.zoom.start_meeting(script);
            wait_until_over(&meeting);
            meeting
        })
        .collect();
    wait_until("the ends are written", || is_ended(&harness, 3));
    let json = |target: &str| -> Value {
        let (status, _, body) = get(&harness, target);
        assert_eq!(status, 200, "{target}: {body}");
        serde_json::from_str(&body).expect("JSON")
    };
    let mut topics = Vec::new();
    let mut after = String::new();
    loop {
        let page = json(&format!("/meetings?format=json&limit=1{after}"));
        assert_eq!(page["meetings"].as_array().map(Vec::len), Some(1));
        topics.push(
            page["meetings"][0]["topic"]
                .as_str()
                .expect("a topic")
                .to_owned(),
        );
        match page["next"].as_str() {
            Some(key) => after = format!("&after={key}"),
            None => break,
        }
    }
    topics.sort();
    assert_eq!(topics, ["Topic 1", "Topic 2", "Topic 3"]);
    let found = json("/meetings?format=json&q=topic+2");
    assert_eq!(found["meetings"].as_array().map(Vec::len), Some(1));
    let key = key(&harness, &meetings[1]);
    assert_eq!(found["meetings"][0]["key"], key.as_str());
    let meeting = json(&format!("/meetings/{key}?format=json"));
    assert_eq!(meeting["topic"], "Topic 2");
    let files = meeting["files"].as_array().expect("files");
    let journal = files.iter().find(|file| file["name"] == "feed.jsonl");
    let journal = journal.expect("the journal");
    assert_eq!(journal["type"], "application/x-ndjson");
    assert!(journal["bytes"].as_u64() > Some(1000));
    let (status, head, vtt) = get(&harness, &format!("/live/{key}.vtt"));
    assert_eq!(status, 200);
    assert!(
        head.contains("Content-Type: text/vtt; charset=utf-8"),
        "{head}"
    );
    assert!(head.contains("Cache-Control: no-store"), "{head}");
    assert!(vtt.starts_with("WEBVTT\n\n1\n"), "{vtt}");
    let (status, head, text) = get(&harness, &format!("/live/{key}.txt"));
    assert_eq!(
        (status, text.lines().count()),
        (200, vtt.matches(" --> ").count())
    );
    assert!(
        head.contains("Content-Type: text/plain; charset=utf-8"),
        "{head}"
    );
    assert_eq!(text.lines().count() as u64, meetings[1].sent_count());
    for (target, expected) in [
        ("/meetings?format=json&limit=x", 400),
        ("/meetings/0123456789abcdef?format=json", 404),
        ("/live/0123456789abcdef.vtt", 404),
        ("/live/x.vtt", 404),
    ] {
        assert_eq!(get(&harness, target).0, expected, "{target}");
    }
    let bare = "GET /meetings?format=json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(
        http::status(&http::ask(harness.admin(), bare.as_bytes())),
        401
    );
    harness.end();
}

#[test]
fn j11_of_a_withdrawn_recording_that_was_kept_nothing_is_shown() {
    let harness = Harness::with_admin(&[("RTMS_ON_REVOKED", "keep")]);
    let meeting = harness.zoom.start_meeting(open("live-kept"));
    wait_until_streaming(&meeting);
    let key = key(&harness, &meeting);
    assert_eq!(get(&harness, &format!("/live/{key}.txt")).0, 200);
    let mut end = End::meeting_ended();
    end.reason = 8;
    meeting.end(end);
    wait_until_over(&meeting);
    wait_until("it is known", || {
        get(&harness, &format!("/live/{key}.txt")).0 == 410
    });
    assert_eq!(
        get(&harness, &format!("/meetings/{key}?format=json")).0,
        410
    );
    let (_, _, list) = get(&harness, "/meetings?format=json");
    assert_eq!(list, "{\"meetings\":[],\"next\":null,\"v\":1}\n");
    assert_eq!(
        events(&harness, &format!("?stream={key}&after=begin"), None).status,
        410
    );
    harness.end();
}
