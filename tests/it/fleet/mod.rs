//! Several nodes behind a balancer, with a real store. Half of the meetings are of a Zoom where a second signaling
//! connection displaces the first, half of one where it is refused.
//!
//! What each failure costs, by the manual, and the test that shows it:
//!
//! | what happens | test |
//! | --- | --- |
//! | a process is killed, its unit starts it again | `killed::in_place` |
//! | a process is killed and stays away; its disk, too | `killed::for_good_and_its_disk_too` |
//! | a machine or its network is gone | `network::a_node_is_gone_without_a_word` |
//! | the store restarts with its file | `store::restarts_with_its_file_and_a_node_dies_with_it` |
//! | the store restarts empty | `store::is_killed_and_returns_with_nothing`, `store::is_emptied` |
//! | the store's primary changes | `store::another_becomes_the_primary` |
//! | the store is down for long | `store::restarts_with_its_file_and_a_node_dies_with_it` |
//! | one node is cut off from the store | `network::a_node_is_cut_off_from_the_store` |
//! | a node and the store die together | `store::restarts_with_its_file_and_a_node_dies_with_it` |
//! | hand-over, upgrade | `leaving::by_hand_over`, `haproxy`: one after the other, and a kill |
//! | consent is withdrawn | `leaving::withdrawn_consent_deletes_the_files_of_every_node` |
//! | a clock is wrong | `limits::a_wrong_clock_is_named`, `limits::a_jump_of_the_store_s_clock_kills_no_node` |
//! | all nodes are full | `limits::full_nodes_refuse_nothing` |
//! | a process stands still | `paused::for_three_and_for_seven_seconds`, `paused::for_thirty_seconds` |
//! | the store stands still, is slow, forgets its scripts | `store::stands_still` |
//! | the node with the event WebSocket is killed, leaves; the store is killed | `events` |
//! | two nodes of one name | `paused::while_another_takes_its_name`, `leaving::a_second_of_the_same_name_ends` |
//!
//! Bounds are those of the manual, doubled: the suite runs four tests at once, on two cores.

mod authorized;
mod demo;
mod events;
mod grants;
mod haproxy;
mod killed;
mod leaving;
mod limits;
mod merging;
mod network;
mod paused;
mod store;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rtmsd::demo::{Begin, Duplicates, MeetingHandle, MeetingScript, Options, Step};
use serde_json::Value;

use crate::harness::fleet::{Fleet, Setup};
use crate::harness::{
    PATIENCE, frequent_keep_alives, report, wait_until, wait_until_more, wait_until_over,
};

const BOTH: [Duplicates; 2] = [Duplicates::Displace, Duplicates::Refuse];

/// The nodes of a fleet of three.
const ALL: [usize; 3] = [0, 1, 2];

/// Nodes that need no credentials for REST: Zoom starts the streams.
const SETTINGS: [(&str, &str); 1] = [("RTMS_AUTO_START", "off")];

fn fleet(count: usize) -> Option<Fleet> {
    Fleet::start(count, options(), &SETTINGS)
}

/// The same with a relay before Zoom and the store.
fn fleet_with_links(count: usize, options: Options) -> Option<Fleet> {
    Fleet::set_up(Setup {
        nodes: count,
        options,
        settings: &SETTINGS,
        redis: &[],
        has_links: true,
    })
}

fn options() -> Options {
    frequent_keep_alives(200)
}

/// A meeting that goes on until it is ended.
fn open(seed: &str, duplicates: Duplicates) -> MeetingScript {
    MeetingScript {
        begin: Begin::AtOnce,
        duplicates,
        phrases_per_second: 20.0,
        ..MeetingScript::plain(seed)
    }
}

/// Starts so many meetings of each kind of Zoom, and waits until all of them speak.
#[track_caller]
fn speaking(fleet: &Fleet, seed: &str, of_each: usize) -> Vec<MeetingHandle> {
    speaking_as(fleet, seed, of_each, |script| script)
}

/// The same with other scripts.
#[track_caller]
fn speaking_as(
    fleet: &Fleet,
    seed: &str,
    of_each: usize,
    change: impl Fn(MeetingScript) -> MeetingScript,
) -> Vec<MeetingHandle> {
    let meetings: Vec<_> = (0..2 * of_each)
        .map(|n| {
            let script = open(&format!("{seed}-{n}"), BOTH[n % 2]);
            fleet.zoom.start_meeting(change(script))
        })
        .collect();
    for meeting in &meetings {
        let is_ready = meeting.wait_for(Step::Ready, PATIENCE);
        assert!(is_ready, "{:?}", meeting.steps());
    }
    all_speak(&meetings, 5);
    meetings
}

/// Waits until so many more phrases of each were sent.
#[track_caller]
fn all_speak<'a>(meetings: impl IntoIterator<Item = &'a MeetingHandle>, phrases: u64) {
    let then = |meeting: &'a MeetingHandle| (meeting, meeting.sent_count() + phrases);
    let then: Vec<_> = meetings.into_iter().map(then).collect();
    for (meeting, count) in then {
        let is_sent = meeting.wait_for_phrases(count, PATIENCE);
        assert!(is_sent, "{:?}", meeting.steps());
    }
}

/// Ends meetings, and waits until the nodes have completed their files.
#[track_caller]
fn end(fleet: &Fleet, meetings: &[MeetingHandle]) {
    for meeting in meetings {
        meeting.end(rtmsd::demo::End::meeting_ended());
    }
    for meeting in meetings {
        wait_until_over(meeting);
        fleet.wait_until_complete(meeting);
    }
}

/// Three times nine meetings, which nodes start by REST, each time with another access token; something may be done
/// while they run. Returns the nodes that received them.
fn nine_meetings_for_each_of_three_tokens(
    fleet: &Fleet,
    lifetime: Duration,
    mut meanwhile: impl FnMut(usize, &[MeetingHandle]),
) -> BTreeSet<usize> {
    let mut nodes = BTreeSet::new();
    for round in 0..3 {
        let before = fleet.zoom.oauth_calls().len();
        let meetings: Vec<_> = (0..9)
            .map(|n| {
                fleet.zoom.start_meeting(MeetingScript {
                    phrases_per_second: 20.0,
                    ..MeetingScript::plain(&format!("token-{round}-{n}"))
                })
            })
            .collect();
        for meeting in &meetings {
            let is_started = meeting.wait_for(Step::StartedAnswered, PATIENCE);
            assert!(is_started, "{:?}", meeting.steps());
            wait_until_more(meeting, 5);
        }
        meanwhile(round, &meetings);
        end(fleet, &meetings);
        for meeting in &meetings {
            let holders = fleet.holders(&meeting.streams()[0]);
            nodes.extend(holders.into_iter().map(|(at, _)| at));
            let comparison = fleet.comparison(meeting);
            assert!(comparison.is_exact(), "{comparison:?}");
        }
        let calls = fleet.zoom.oauth_calls();
        // A refresh token that is used twice is refused, and ends the grant.
        assert!(calls.iter().all(|call| call.status == 200), "{calls:?}");
        assert!(
            round == 0 || calls.len() > before,
            "no refresh in round {round}"
        );
        let last = calls.last().map(|call| call.at);
        wait_until("the end of the last token", || {
            last.is_some_and(|at| at.elapsed() > lifetime)
        });
    }
    nodes
}

fn kind(meeting: &MeetingHandle) -> Duplicates {
    meeting.script().duplicates
}

/// The node that receives a meeting.
#[track_caller]
fn node_of(fleet: &Fleet, meeting: &MeetingHandle) -> usize {
    let all: Vec<usize> = (0..fleet.nodes.len()).collect();
    fleet.wait_for_receiver(&meeting.streams()[0], &all)
}

/// The meetings that a node receives.
#[track_caller]
fn meetings_of(fleet: &Fleet, meetings: &[MeetingHandle], at: usize) -> Vec<MeetingHandle> {
    let is_its = |meeting: &&MeetingHandle| node_of(fleet, meeting) == at;
    meetings.iter().filter(is_its).cloned().collect()
}

/// What happens to meetings from now on.
struct Watch {
    meetings: Vec<MeetingHandle>,
    readies: Vec<usize>,
    losses: Vec<usize>,
    began: Instant,
}

impl Watch {
    fn new(meetings: &[MeetingHandle]) -> Watch {
        let count = |step| meetings.iter().map(|it| it.count(step)).collect();
        Watch {
            meetings: meetings.to_vec(),
            readies: count(Step::Ready),
            losses: count(Step::Lost),
            began: Instant::now(),
        }
    }

    /// Waits until each of them was received again. This must not take longer than twice the time of the manual.
    #[track_caller]
    fn received_again_within(&self, what: &str, seconds: f64) {
        for (meeting, before) in self.meetings.iter().zip(&self.readies) {
            let is_again = meeting.wait_for_times(Step::Ready, before + 1, PATIENCE);
            assert!(is_again, "{what}: {:?}", meeting.steps());
        }
        bounded(what, self.began.elapsed(), seconds);
    }

    /// None of them was lost, received again, or displaced.
    #[track_caller]
    fn are_untouched(&self) {
        let before = self.readies.iter().zip(&self.losses);
        for (meeting, (readies, losses)) in self.meetings.iter().zip(before) {
            let now = [Step::Ready, Step::Lost].map(|step| meeting.count(step));
            assert_eq!(now, [*readies, *losses], "{:?}", meeting.steps());
        }
    }
}

/// Twice what the manual says, for a busy machine; the figure is printed.
#[track_caller]
fn bounded(what: &str, took: Duration, seconds: f64) {
    let took = took.as_secs_f64();
    report(&format!("{what}: {took:.1} s of {seconds} s"));
    assert!(took <= 2.0 * seconds, "{what}: {took:.1} s");
}

/// How long the meeting was not received before it was received last: since its connection was lost, or since
/// another took its place.
fn last_gap(meeting: &MeetingHandle) -> Duration {
    let steps = meeting.steps();
    let readies = |(_, (step, _)): &(usize, &(Step, Duration))| *step == Step::Ready;
    let mut readies = steps.iter().enumerate().filter(readies).rev();
    let (Some((_, (_, end))), Some((before, _))) = (readies.next(), readies.next()) else {
        return Duration::ZERO;
    };
    let begins =
        |(step, _): &&(Step, Duration)| matches!(step, Step::Lost | Step::SignalingHandshake);
    let begin = steps[before..]
        .iter()
        .find(begins)
        .map_or(*end, |(_, at)| *at);
    end.saturating_sub(begin)
}

/// The phrases that were sent meanwhile, at most.
fn phrases_in(seconds: f64) -> usize {
    (20.0 * seconds) as usize
}

/// Exactly one node receives each meeting, and the store says so.
#[track_caller]
fn each_has_one_receiver(fleet: &Fleet, meetings: &[MeetingHandle]) {
    let rows = |page: &Value, name: Option<&str>| -> Vec<(String, String)> {
        let rows = page["streams"].as_array().into_iter().flatten();
        let receiving = rows.filter(|row| row["phase"] == "receiving");
        let of_row = |row: &Value| {
            let node = name.or(row["node"].as_str()).unwrap_or_default();
            let stream = row["stream_id"].as_str().unwrap_or_default();
            (stream.to_owned(), node.to_owned())
        };
        receiving.map(of_row).collect()
    };
    let (mut by_nodes, mut by_store) = (Vec::new(), Vec::new());
    let streams: BTreeSet<String> = meetings.iter().flat_map(|it| it.streams()).collect();
    let is_so = || {
        by_nodes.clear();
        for node in &fleet.nodes {
            by_nodes.extend(rows(&node.fleet_page(), Some(&node.name)));
        }
        by_store = rows(&fleet.status(), None);
        let ours = |rows: &mut Vec<(String, String)>| {
            rows.retain(|(stream, _)| streams.contains(stream));
            rows.sort();
        };
        ours(&mut by_nodes);
        ours(&mut by_store);
        by_nodes == by_store && by_nodes.len() == streams.len()
    };
    let is_in_time = holds_in_time(is_so);
    assert!(is_in_time, "nodes: {by_nodes:?}\nstore: {by_store:?}");
}

/// Whether it becomes true in time.
fn holds_in_time(mut is_true: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    true
}

#[test]
fn flows_a_and_b_meetings_are_spread_and_their_events_find_them() {
    let Some(fleet) = fleet(3) else { return };
    let meetings = speaking(&fleet, "spread", 5);
    let mut used: Vec<usize> = meetings.iter().map(|it| node_of(&fleet, it)).collect();
    used.sort_unstable();
    used.dedup();
    assert!(used.len() > 1, "one node has all meetings: {used:?}");
    // The end of a meeting arrives at any node.
    end(&fleet, &meetings);
    for meeting in &meetings {
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
        let holders = fleet.holders(&meeting.streams()[0]);
        assert_eq!(holders.len(), 1, "{holders:?}");
    }
    assert_eq!(fleet.end(), Vec::<String>::new());
}
