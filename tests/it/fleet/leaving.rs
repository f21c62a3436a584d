//! Nodes that leave in order, and names that are taken.

use super::{
    ALL, SETTINGS, Watch, all_speak, bounded, end, fleet, last_gap, meetings_of, node_of, speaking,
};
use crate::harness::{PATIENCE, wait_until};
use rtmsd::demo::End;

#[test]
fn by_hand_over() {
    let Some(mut fleet) = fleet(3) else { return };
    let meetings = speaking(&fleet, "handed", 5);
    let leaving = node_of(&fleet, &meetings[0]);
    let others: Vec<usize> = ALL.into_iter().filter(|at| *at != leaving).collect();
    let its = meetings_of(&fleet, &meetings, leaving);
    let rest: Vec<_> = (others.iter())
        .flat_map(|at| meetings_of(&fleet, &meetings, *at))
        .collect();
    let rest = Watch::new(&rest);
    fleet.terminate(leaving);
    for meeting in &meetings {
        fleet.wait_for_receiver(&meeting.streams()[0], &others);
    }
    all_speak(&meetings, 20);
    rest.are_untouched();
    let worst = its.iter().map(last_gap).max();
    bounded("hand-over", worst.expect("it had meetings"), 2.0);
    end(&fleet, &meetings);
    for meeting in &meetings {
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
    }
    for meeting in &its {
        let holders = fleet.holders(&meeting.streams()[0]);
        assert_eq!(holders.len(), 2, "{holders:?}");
        let (first, last) = (&holders[0].1, &holders[1].1);
        assert_eq!(first["end"], "handed_over", "{first}");
        assert_eq!(first["heir"], last["node"], "{first}");
        assert_eq!(last["predecessor"]["node"], first["node"], "{last}");
    }
    assert_eq!(fleet.end(), Vec::<String>::new());
}

#[test]
fn a_second_of_the_same_name_ends() {
    let Some(mut fleet) = fleet(1) else { return };
    let mut settings = SETTINGS.to_vec();
    settings.push(("RTMS_NODE", "a"));
    let second = fleet.add("second", &settings);
    let status = fleet.nodes[second].server.wait(PATIENCE);
    assert_eq!(status.and_then(|it| it.code()), Some(69), "{status:?}");
    fleet.nodes[second]
        .server
        .wait_until_logged(&["ERROR", "fleet"]);
    let meetings = speaking(&fleet, "alone", 1);
    end(&fleet, &meetings);
}

#[test]
fn withdrawn_consent_deletes_the_files_of_every_node() {
    let Some(mut fleet) = fleet(2) else { return };
    let meetings = speaking(&fleet, "withdrawn", 2);
    let first = node_of(&fleet, &meetings[0]);
    fleet.terminate(first);
    for meeting in &meetings {
        fleet.wait_for_receiver(&meeting.streams()[0], &[1 - first]);
    }
    let its: Vec<String> = (meetings.iter())
        .map(|meeting| meeting.streams()[0].clone())
        .filter(|stream| fleet.holders(stream).len() == 2)
        .collect();
    assert!(!its.is_empty(), "nothing was handed over");
    for meeting in &meetings {
        meeting.end(End::stopped(8));
    }
    for stream in &its {
        wait_until("who is there has deleted it", || {
            fleet.holders(stream).len() == 1
        });
    }
    // One that is away hears of it when it joins again.
    fleet.start_node(first);
    for stream in &its {
        wait_until("who comes back deletes it", || {
            fleet.holders(stream).is_empty()
        });
    }
    // While both are there, both delete it at once.
    let meetings = speaking(&fleet, "with both", 2);
    let second = node_of(&fleet, &meetings[0]);
    fleet.terminate(second);
    fleet.start_node(second);
    fleet.nodes[second]
        .server
        .wait_until_logged(&["store answers"]);
    let streams: Vec<String> = meetings.iter().map(|it| it.streams()[0].clone()).collect();
    for (meeting, stream) in meetings.iter().zip(&streams) {
        fleet.wait_for_receiver(stream, &[1 - second]);
        meeting.end(End::stopped(8));
    }
    for stream in &streams {
        wait_until("both have deleted it", || fleet.holders(stream).is_empty());
    }
}
