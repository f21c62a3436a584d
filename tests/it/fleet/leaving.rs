//! Nodes that leave in order, and names that are taken.

use super::{BOTH, end, fleet, speaking};
use crate::harness::{PATIENCE, wait_until, wait_until_more};
use rtmsd::demo::End;

#[test]
fn flow_i_a_node_hands_its_streams_over_before_it_ends() {
    for duplicates in BOTH {
        let Some(mut fleet) = fleet(3) else { return };
        let meetings = speaking(&fleet, "handed", 6, duplicates);
        let leaving = fleet.wait_for_receiver(&meetings[0].streams()[0], &[0, 1, 2]);
        let others: Vec<usize> = (0..3).filter(|at| *at != leaving).collect();
        fleet.terminate(leaving);
        for meeting in &meetings {
            fleet.wait_for_receiver(&meeting.streams()[0], &others);
            wait_until_more(meeting, 20);
        }
        end(&fleet, &meetings);
        for meeting in &meetings {
            let comparison = fleet.comparison(meeting);
            assert_eq!(comparison.doubled, 0, "{comparison:?}");
            let holders = fleet.holders(&meeting.streams()[0]);
            if holders.len() == 1 {
                assert!(comparison.is_exact(), "{comparison:?}");
                continue;
            }
            let (first, last) = (&holders[0].1, &holders[1].1);
            assert_eq!(first["end"], "handed_over", "{first}");
            assert_eq!(first["heir"], last["node"], "{first}");
            assert_eq!(last["predecessor"]["node"], first["node"], "{last}");
        }
    }
}

#[test]
fn flow_n_a_second_process_with_the_same_name_ends_and_says_why() {
    let Some(mut fleet) = fleet(1) else { return };
    let settings = [("RTMS_AUTO_START", "off"), ("RTMS_NODE", "a")];
    let second = fleet.add("second", &settings);
    let status = fleet.nodes[second].server.wait(PATIENCE);
    assert_eq!(status.and_then(|it| it.code()), Some(69), "{status:?}");
    fleet.nodes[second]
        .server
        .wait_until_logged(&["ERROR", "fleet"]);
    let meetings = speaking(&fleet, "alone", 2, BOTH[0]);
    end(&fleet, &meetings);
}

#[test]
fn flow_j_withdrawn_consent_deletes_the_files_of_every_node_that_had_the_stream() {
    for duplicates in BOTH {
        let Some(mut fleet) = fleet(2) else { return };
        let meetings = speaking(&fleet, "withdrawn", 1, duplicates);
        let stream = &meetings[0].streams()[0];
        let first = fleet.wait_for_receiver(stream, &[0, 1]);
        fleet.terminate(first);
        fleet.wait_for_receiver(stream, &[1 - first]);
        assert_eq!(fleet.holders(stream).len(), 2);
        fleet.start_node(first);
        meetings[0].end(End::stopped(8));
        wait_until("both have deleted it", || fleet.holders(stream).is_empty());
        // One that is away hears of it when it joins again.
        let meetings = speaking(&fleet, "away", 1, duplicates);
        let stream = &meetings[0].streams()[0];
        let first = fleet.wait_for_receiver(stream, &[0, 1]);
        fleet.terminate(first);
        fleet.wait_for_receiver(stream, &[1 - first]);
        meetings[0].end(End::stopped(8));
        wait_until("who is there has deleted it", || {
            fleet.holders(stream).len() == 1
        });
        fleet.start_node(first);
        wait_until("who comes back deletes it", || {
            fleet.holders(stream).is_empty()
        });
    }
}
