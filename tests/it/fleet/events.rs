//! Flow (k): nodes that share one event WebSocket, and a Zoom that tells nothing otherwise.

use std::time::{Duration, Instant};

use rtmsd::demo::{Cut, EventsBy, MeetingHandle, MeetingScript, Options, Step, Zoom};
use rustix::process::Signal;
use serde_json::Value;

use super::{
    ALL, BOTH, SETTINGS, all_speak, bounded, each_has_one_receiver, end, holds_in_time, node_of,
    open, options,
};
use crate::harness::PATIENCE;
use crate::harness::fleet::{Fleet, Setup};

/// A node knows after this time whether it is for it to connect.
const SETTLED: Duration = Duration::from_secs(7);

fn fleet(count: usize) -> Option<Fleet> {
    set_up(count, false)
}

fn set_up(count: usize, has_links: bool) -> Option<Fleet> {
    let options = Options {
        events_by: EventsBy::WebSocket,
        ..options()
    };
    let token = options.secret_token.clone();
    let mut settings = SETTINGS.to_vec();
    // They have a listener, too.
    settings.push(("ZOOM_SECRET_TOKEN", &token));
    Fleet::set_up(Setup {
        nodes: count,
        options,
        settings: &settings,
        redis: &[],
        has_links,
    })
}

/// What a node says of its event WebSocket.
fn events(fleet: &Fleet, at: usize) -> Value {
    let page = fleet.nodes[at].admin_page("/streams").1;
    let page: Value = serde_json::from_str(&page).expect("JSON");
    page["events"].clone()
}

/// The one node of these that has the connection. The others say so.
#[track_caller]
fn holder(fleet: &Fleet, among: &[usize]) -> usize {
    let mut seen = Vec::new();
    let mut found = None;
    let is_found = holds_in_time(|| {
        seen = among.iter().map(|at| (*at, events(fleet, *at))).collect();
        let mut connected = seen.iter().filter(|(_, it)| it["state"] == "connected");
        found = connected.next().map(|(at, _)| *at);
        let name = found.map(|at| fleet.nodes[at].name.as_str());
        let knows = |(at, it): &(usize, Value)| {
            found == Some(*at) || it["state"] == "elsewhere" && it["node"].as_str() == name
        };
        found.is_some() && seen.iter().all(knows)
    });
    assert!(is_found, "{seen:?}");
    found.expect("it was found")
}

/// The same when no node is new any more.
#[track_caller]
fn settled_holder(fleet: &Fleet, among: &[usize]) -> usize {
    let mut found = (holder(fleet, among), Instant::now());
    let is_settled = holds_in_time(|| {
        let now = holder(fleet, among);
        if now != found.0 {
            found = (now, Instant::now());
        }
        found.1.elapsed() >= SETTLED
    });
    assert!(is_settled, "it goes from node to node");
    found.0
}

fn start(zoom: &Zoom, seed: &str, n: usize) -> MeetingHandle {
    zoom.start_meeting(MeetingScript {
        phrases_per_second: 5.0,
        ..open(&format!("{seed}-{n}"), BOTH[n % 2])
    })
}

#[track_caller]
fn are_received(fleet: &Fleet, meetings: &[MeetingHandle]) {
    for meeting in meetings {
        let is_ready = meeting.wait_for(Step::Ready, PATIENCE);
        assert!(is_ready, "{:?}", meeting.steps());
    }
    all_speak(meetings, 5);
    each_has_one_receiver(fleet, meetings);
}

/// Nothing is said of a fault, and each meeting was received once.
#[track_caller]
fn is_whole(fleet: Fleet, meetings: &[MeetingHandle], receptions: usize) {
    end(&fleet, meetings);
    for meeting in meetings {
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
        assert!(
            meeting.count(Step::Ready) <= receptions,
            "{:?}",
            meeting.steps()
        );
    }
    assert_eq!(fleet.end(), Vec::<String>::new());
}

#[test]
fn one_node_connects_and_another_when_it_is_killed() {
    let Some(mut fleet) = fleet(3) else { return };
    let first = settled_holder(&fleet, &ALL);
    let accepted = fleet.zoom.events_accepted();
    assert!(accepted <= 3, "{accepted} connections");
    for at in ALL {
        let (code, ready) = fleet.nodes[at].admin_page("/readyz");
        assert_eq!((code, ready.as_str()), (200, "ready\n"), "{at}");
        let state = if at == first {
            "connected"
        } else {
            "elsewhere"
        };
        let series = format!("rtmsd_events_connected{{state=\"{state}\"}}");
        assert_eq!(fleet.nodes[at].metric(&series), 1.0);
        let faults = fleet.nodes[at].server.count_logged(&[" WARN ", "events"]);
        assert_eq!(faults, 0, "{:?}", fleet.nodes[at].server.log());
    }
    let status = fleet.run(0, &["status", "--fleet"]).stdout;
    let expected = format!("the event WebSocket is at {}\n", fleet.nodes[first].name);
    assert!(status.contains(&expected), "{status}");
    // It does not try the connection: the node would lose it for a moment.
    let other = ALL.into_iter().find(|at| *at != first).expect("one");
    let check = fleet.run(other, &["check", "--online"]);
    let name = &fleet.nodes[first].name;
    let expected = format!("ok    subscription: node {name} of the fleet has the connection");
    assert!(check.stdout.contains(&expected), "{check:?}");
    assert_eq!(fleet.zoom.events_accepted(), accepted);

    let mut meetings: Vec<_> = (0..4).map(|n| start(&fleet.zoom, "before", n)).collect();
    are_received(&fleet, &meetings);
    meetings.retain(|meeting| {
        let is_its = node_of(&fleet, meeting) == first;
        if is_its {
            meeting.end(rtmsd::demo::End::meeting_ended());
        }
        !is_its
    });
    fleet.kill(first);
    let killed = Instant::now();
    let others: Vec<usize> = ALL.into_iter().filter(|at| *at != first).collect();
    let is_again = holds_in_time(|| fleet.zoom.events_accepted() > accepted);
    assert!(is_again, "no other node connects");
    bounded("another node connects", killed.elapsed(), 7.0);
    let heir = holder(&fleet, &others);
    fleet.nodes[heir]
        .server
        .wait_until_logged(&["events may have been missed since="]);
    let after: Vec<_> = (0..4).map(|n| start(&fleet.zoom, "after", n)).collect();
    are_received(&fleet, &after);
    meetings.extend(after);
    is_whole(fleet, &meetings, 1);
}

#[test]
fn nothing_is_missed_when_the_node_leaves_and_when_it_comes_back() {
    let Some(mut fleet) = fleet(2) else { return };
    let first = settled_holder(&fleet, &[0, 1]);
    let heir = 1 - first;
    let accepted = fleet.zoom.events_accepted();
    let mut meetings = Vec::new();
    let mut start_while = |fleet: &Fleet, goes_on: &dyn Fn() -> bool| {
        let until = Instant::now() + PATIENCE;
        while goes_on() {
            assert!(Instant::now() < until, "it goes on and on");
            meetings.push(start(&fleet.zoom, "meanwhile", meetings.len()));
            std::thread::park_timeout(Duration::from_millis(400));
        }
    };
    fleet.nodes[first].server.signal(Signal::TERM);
    start_while(&fleet, &|| fleet.nodes[first].server.is_running());
    fleet.terminate(first);
    assert_eq!(holder(&fleet, &[heir]), heir);
    assert_eq!(fleet.zoom.events_accepted(), accepted + 1);
    fleet.start_node(first);
    start_while(&fleet, &|| fleet.zoom.events_accepted() == accepted + 1);
    assert_eq!(settled_holder(&fleet, &[0, 1]), first);
    assert_eq!(fleet.zoom.events_accepted(), accepted + 2);
    assert_eq!(fleet.zoom.events_missed(), Vec::<String>::new());
    let server = &fleet.nodes[heir].server;
    for words in [[" WARN ", "events"], [" ERROR ", "events"]] {
        assert_eq!(server.count_logged(&words), 0, "{:?}", server.log());
    }
    are_received(&fleet, &meetings);
    // One of the node that left was handed over.
    is_whole(fleet, &meetings, 2);
}

#[test]
fn the_connection_stays_while_the_store_is_away() {
    let Some(fleet) = fleet(2) else { return };
    let first = settled_holder(&fleet, &[0, 1]);
    let accepted = fleet.zoom.events_accepted();
    fleet.redis.kill();
    for node in &fleet.nodes {
        let is_unsure = holds_in_time(|| node.metric("rtmsd_fleet_sure") == 0.0);
        assert!(is_unsure, "{}", node.name);
    }
    assert_eq!(events(&fleet, first)["state"], "connected");
    assert_eq!(events(&fleet, 1 - first)["state"], "elsewhere");
    let meetings: Vec<_> = (0..2).map(|n| start(&fleet.zoom, "away", n)).collect();
    for meeting in &meetings {
        assert_eq!(node_of(&fleet, meeting), first);
    }
    // The network takes it: it is made again, by the same node.
    fleet.zoom.cut_events(Cut::Reset);
    assert!(holds_in_time(|| fleet.zoom.events_accepted() > accepted));
    assert_eq!(events(&fleet, 1 - first)["state"], "elsewhere");
    fleet.redis.run();
    assert_eq!(settled_holder(&fleet, &[0, 1]), first);
    assert_eq!(fleet.zoom.events_accepted(), accepted + 1);
    are_received(&fleet, &meetings);
    is_whole(fleet, &meetings, 1);
}

#[test]
fn a_node_that_gets_no_connection_leaves_it_to_another() {
    let Some(fleet) = set_up(2, true) else { return };
    let first = settled_holder(&fleet, &[0, 1]);
    let other = 1 - first;
    let accepted = fleet.zoom.events_accepted();
    let process = fleet.nodes[first].server.id();
    let cut = Instant::now();
    fleet.links().events.refuse_process(process);
    let found = holds_in_time(|| events(&fleet, other)["state"] == "connected");
    assert!(found, "{}", events(&fleet, other));
    // 20 s without a connection, then a beat of each node.
    bounded("no way to Zoom's events", cut.elapsed(), 25.0);
    fleet.nodes[first]
        .server
        .wait_until_logged(&[" WARN ", "no events can come to this node"]);
    // Meetings come to both nodes as before.
    assert_eq!(holder(&fleet, &[0, 1]), other);
    let meetings: Vec<_> = (0..4).map(|n| start(&fleet.zoom, "then", n)).collect();
    are_received(&fleet, &meetings);
    // The way is there again: the connection stays where it is.
    fleet.links().events.pass();
    assert_eq!(settled_holder(&fleet, &[0, 1]), other);
    assert_eq!(fleet.zoom.events_accepted(), accepted + 1);
    is_whole(fleet, &meetings, 1);
}
