//! A process stands still, and goes on: a machine that is suspended does the same.

use std::time::{Duration, Instant};

use rtmsd::demo::Duplicates;
use rustix::process::Signal;
use serde_json::Value;

use super::{
    BOTH, SETTINGS, Watch, all_speak, each_has_one_receiver, end, fleet, kind, meetings_of,
    node_of, speaking,
};
use crate::harness::fleet::Fleet;
use crate::harness::wait_until;
use rtmsd::demo::MeetingHandle;

/// A node that was stopped, and what it receives.
struct Stopped {
    at: usize,
    since: Instant,
    /// By kind of Zoom.
    its: [Vec<MeetingHandle>; 2],
    watches: [Watch; 2],
}

impl Stopped {
    fn new(fleet: &mut Fleet, meetings: &[MeetingHandle], at: usize) -> Stopped {
        let its = meetings_of(fleet, meetings, at);
        let its = BOTH.map(|wanted| {
            let its = its.iter().filter(|it| kind(it) == wanted);
            its.cloned().collect::<Vec<_>>()
        });
        let watches = [0, 1].map(|n: usize| Watch::new(&its[n]));
        fleet.nodes[at].server.signal(Signal::STOP);
        Stopped {
            at,
            since: Instant::now(),
            its,
            watches,
        }
    }

    #[track_caller]
    fn go_on_after(&self, fleet: &mut Fleet, seconds: u64) {
        let most = Duration::from_secs(seconds);
        wait_until("the time of the pause", || self.since.elapsed() >= most);
        fleet.nodes[self.at].server.signal(Signal::CONT);
    }
}

/// Every phrase is there once: what lay unread was written. `epochs` nodes have had each stream.
#[track_caller]
fn are_whole(fleet: &Fleet, meetings: &[MeetingHandle], epochs: usize) {
    for meeting in meetings {
        let mut holders = fleet.holders(&meeting.streams()[0]);
        // Who tried and was not let in has a folder, too.
        holders.retain(|(_, meta)| meta["transcripts"] != 0);
        assert_eq!(holders.len(), epochs, "{holders:?}");
        let given = |(_, meta): &&(usize, Value)| meta["end"] == "handed_over";
        assert_eq!(
            holders.iter().filter(given).count(),
            epochs - 1,
            "{holders:?}"
        );
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
    }
}

#[test]
fn for_three_and_for_seven_seconds() {
    let Some(mut fleet) = fleet(4) else { return };
    let meetings = speaking(&fleet, "paused", 6);
    let short = node_of(&fleet, &meetings[0]);
    let elsewhere =
        |it: &&MeetingHandle| kind(it) == Duplicates::Displace && node_of(&fleet, it) != short;
    let other = meetings
        .iter()
        .find(elsewhere)
        .expect("a second node with meetings");
    let long = node_of(&fleet, other);
    let short = Stopped::new(&mut fleet, &meetings, short);
    let long = Stopped::new(&mut fleet, &meetings, long);
    short.go_on_after(&mut fleet, 3);
    let what = "stopped for 7 s, displacing Zoom";
    long.watches[0].received_again_within(what, 10.0);
    // The others have had them for a while.
    all_speak(&long.its[0], 40);
    long.go_on_after(&mut fleet, 7);
    // Zoom has not missed it: it goes on where its connection was never lost.
    all_speak(&meetings, 20);
    each_has_one_receiver(&fleet, &meetings);
    for watch in short.watches.iter().chain(&long.watches[1..]) {
        watch.are_untouched();
    }
    end(&fleet, &meetings);
    are_whole(&fleet, &short.its.concat(), 1);
    are_whole(&fleet, &long.its[1], 1);
    are_whole(&fleet, &long.its[0], 2);
}

#[test]
#[ignore = "takes a minute; .ci/nightly fleet_chaos"]
fn for_thirty_seconds() {
    let Some(mut fleet) = fleet(3) else { return };
    let meetings = speaking(&fleet, "paused for long", 3);
    let at = node_of(&fleet, &meetings[0]);
    let stopped = Stopped::new(&mut fleet, &meetings, at);
    let [displacing, refusing] = &stopped.watches;
    displacing.received_again_within("stopped for long, displacing Zoom", 10.0);
    // Zoom misses a silent connection after 30 s.
    refusing.received_again_within("stopped for long, refusing Zoom", 33.0);
    stopped.go_on_after(&mut fleet, 33);
    fleet.nodes[at]
        .server
        .wait_until_logged(&["store answers again"]);
    all_speak(&meetings, 20);
    each_has_one_receiver(&fleet, &meetings);
    end(&fleet, &meetings);
    are_whole(&fleet, &stopped.its.concat(), 2);
}

#[test]
fn while_another_takes_its_name() {
    let Some(mut fleet) = fleet(1) else { return };
    let meetings = speaking(&fleet, "doubled", 2);
    let stopped = Stopped::new(&mut fleet, &meetings, 0);
    fleet.pass_over(0);
    // Its row stands still: the name is the newcomer's, and so is what it had.
    let mut settings = SETTINGS.to_vec();
    settings.push(("RTMS_NODE", "a"));
    let second = fleet.add("second", &settings);
    let [displacing, refusing] = &stopped.watches;
    displacing.received_again_within("a process of the same name, on another disk", 10.0);
    stopped.go_on_after(&mut fleet, 0);
    let first = &fleet.nodes[0];
    first
        .server
        .wait_until_logged(&["ERROR", "another process is node a"]);
    wait_until("the balancer is told", || {
        first.admin_page("/readyz").0 == 503
    });
    all_speak(&meetings, 20);
    refusing.are_untouched();
    assert_eq!(fleet.nodes[second].admin_page("/readyz").0, 200);
    // The newcomer goes: the first is the node again.
    fleet.kill(second);
    fleet.nodes[0]
        .server
        .wait_until_logged(&["this one takes part again"]);
    each_has_one_receiver(&fleet, &meetings);
    all_speak(&meetings, 20);
    // On each disk the epochs are others.
    let [displacing, _] = &stopped.its;
    for meeting in displacing {
        let holders = fleet.holders(&meeting.streams()[0]);
        let had: Vec<_> = holders
            .iter()
            .map(|(at, meta)| (*at, meta["epoch"].as_u64()))
            .collect();
        assert_eq!(
            had,
            [(0, Some(1)), (second, Some(2)), (0, Some(3))],
            "{holders:?}"
        );
    }
}
