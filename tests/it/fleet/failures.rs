//! Nodes that die, and a store that is not there.

use super::{BOTH, end, fleet, speaking};
use crate::harness::{wait_until, wait_until_more};

#[test]
fn flow_c_the_streams_of_a_killed_node_go_on_elsewhere() {
    for duplicates in BOTH {
        let Some(mut fleet) = fleet(3) else { return };
        let meetings = speaking(&fleet, "killed", 6, duplicates);
        let receiver =
            |fleet: &super::Fleet, stream: &str| fleet.wait_for_receiver(stream, &[0, 1, 2]);
        let dead = receiver(&fleet, &meetings[0].streams()[0]);
        let others: Vec<usize> = (0..3).filter(|at| *at != dead).collect();
        let of_dead: Vec<_> = meetings
            .iter()
            .filter(|meeting| receiver(&fleet, &meeting.streams()[0]) == dead)
            .collect();
        fleet.kill(dead);
        for meeting in &of_dead {
            let stream = &meeting.streams()[0];
            wait_until("another node receives it", || {
                let holders = fleet.holders(stream);
                holders.iter().any(|(at, _)| others.contains(at))
            });
            wait_until_more(meeting, 20);
        }
        end(&fleet, &meetings);
        for meeting in &meetings {
            let comparison = fleet.comparison(meeting);
            let is_of_dead = of_dead.iter().any(|it| it.streams() == meeting.streams());
            assert!(is_of_dead || comparison.is_exact(), "{comparison:?}");
            assert_eq!(comparison.foreign, 0, "{comparison:?}");
            let holders = fleet.holders(&meeting.streams()[0]);
            assert_eq!(holders.len(), if is_of_dead { 2 } else { 1 }, "{holders:?}");
            if is_of_dead {
                let (_, meta) = &holders[1];
                assert_eq!(meta["epoch"], 2, "{meta}");
                assert_eq!(
                    meta["predecessor"]["node"], fleet.nodes[dead].name,
                    "{meta}"
                );
            }
        }
    }
}

#[test]
fn flow_c_a_node_that_restarts_in_time_goes_on_in_the_same_folder() {
    for duplicates in BOTH {
        let Some(mut fleet) = fleet(2) else { return };
        let meetings = speaking(&fleet, "restart", 4, duplicates);
        for at in 0..2 {
            fleet.kill(at);
            fleet.start_node(at);
        }
        for meeting in &meetings {
            wait_until_more(meeting, 20);
        }
        end(&fleet, &meetings);
        for meeting in &meetings {
            let holders = fleet.holders(&meeting.streams()[0]);
            assert_eq!(holders.len(), 1, "{holders:?}");
            assert_eq!(holders[0].1["epoch"], 1);
        }
    }
}

#[test]
fn store_down_running_streams_run_on_and_new_ones_are_received_where_zoom_announces_them() {
    for duplicates in BOTH {
        let Some(fleet) = fleet(2) else { return };
        let before = speaking(&fleet, "before", 3, duplicates);
        fleet.redis.kill();
        for node in &fleet.nodes {
            node.server.wait_until_logged(&["store cannot be used"]);
        }
        let meanwhile = speaking(&fleet, "meanwhile", 3, duplicates);
        // It comes back with nothing.
        fleet.redis.run();
        for node in &fleet.nodes {
            node.server.wait_until_logged(&["store answers again"]);
        }
        for meeting in before.iter().chain(&meanwhile) {
            wait_until_more(meeting, 20);
        }
        end(&fleet, &before);
        end(&fleet, &meanwhile);
        for meeting in before.iter().chain(&meanwhile) {
            let comparison = fleet.comparison(meeting);
            assert!(comparison.is_exact(), "{comparison:?}");
        }
        assert_eq!(fleet.end(), Vec::<String>::new());
    }
}
