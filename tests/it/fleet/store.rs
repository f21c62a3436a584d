//! What happens to the store.

use std::time::{Duration, Instant};

use rtmsd::demo::{Fault, Step};

use super::{
    ALL, SETTINGS, Watch, all_speak, bounded, each_has_one_receiver, end, fleet, fleet_with_links,
    meetings_of, node_of, options, speaking,
};
use crate::harness::fleet::{Fleet, Setup};
use crate::harness::redis::Redis;
use crate::harness::{PATIENCE, wait_until};

/// The store of the manual: what it has written is there after a restart, but for a second.
const WITH_FILE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

/// Every node hears from the store again.
#[track_caller]
fn wait_until_all_are_sure(fleet: &Fleet, among: &[usize]) {
    for at in among {
        wait_until("the node is sure", || {
            fleet.nodes[*at].metric("rtmsd_fleet_sure") == 1.0
        });
    }
}

#[track_caller]
fn wait_until_all_are_unsure(fleet: &Fleet, among: &[usize]) {
    for at in among {
        wait_until("the node is unsure", || {
            fleet.nodes[*at].metric("rtmsd_fleet_sure") == 0.0
        });
    }
}

#[test]
fn restarts_with_its_file_and_a_node_dies_with_it() {
    let setup = Setup {
        nodes: 3,
        options: options(),
        settings: &SETTINGS,
        redis: &WITH_FILE,
        has_links: false,
    };
    let Some(mut fleet) = Fleet::set_up(setup) else {
        return;
    };
    let meetings = speaking(&fleet, "with file", 4);
    let dead = node_of(&fleet, &meetings[0]);
    let others: Vec<usize> = ALL.into_iter().filter(|at| *at != dead).collect();
    let its = meetings_of(&fleet, &meetings, dead);
    let of_others: Vec<_> = others
        .iter()
        .flat_map(|at| meetings_of(&fleet, &meetings, *at))
        .collect();
    // A restart while all live costs nothing.
    let all = Watch::new(&meetings);
    fleet.redis.kill();
    fleet.redis.run();
    wait_until_all_are_sure(&fleet, &ALL);
    all_speak(&meetings, 10);
    all.are_untouched();
    // Now it stays away for longer, and a node dies with it.
    let rest = Watch::new(&of_others[1..]);
    let watch = Watch::new(&its);
    fleet.redis.kill();
    fleet.kill(dead);
    wait_until_all_are_unsure(&fleet, &others);
    // A newer server of Zoom is an order that is followed where it arrives.
    let failed_over = Watch::new(&of_others[..1]);
    assert!(of_others[0].fault(Fault::FailOver { cut: true }));
    failed_over.received_again_within("another server of Zoom while the store is away", 3.0);
    for (meeting, before) in its.iter().zip(&watch.readies) {
        assert_eq!(
            meeting.count(Step::Ready),
            *before,
            "taken over without the store"
        );
    }
    fleet.redis.run();
    let back = Instant::now();
    wait_until_all_are_sure(&fleet, &others);
    let first = || {
        its.iter().any(|it| {
            fleet
                .receiver(&it.streams()[0])
                .is_some_and(|at| at != dead)
        })
    };
    wait_until("a meeting of the dead node is received", first);
    let took = back.elapsed();
    assert!(
        took >= Duration::from_secs(5),
        "taken over {took:?} after the store's return"
    );
    for meeting in &its {
        fleet.wait_for_receiver(&meeting.streams()[0], &others);
    }
    bounded("a node and the store died together", back.elapsed(), 10.0);
    rest.are_untouched();
    each_has_one_receiver(&fleet, &meetings);
    end(&fleet, &meetings);
    for meeting in &of_others[1..] {
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
    }
}

#[test]
fn is_killed_and_returns_with_nothing() {
    let Some(fleet) = fleet(2) else { return };
    let before = speaking(&fleet, "before", 2);
    let watch = Watch::new(&before);
    fleet.redis.kill();
    for node in &fleet.nodes {
        node.server.wait_until_logged(&["store cannot be used"]);
    }
    let meanwhile = speaking(&fleet, "meanwhile", 2);
    fleet.redis.run();
    for node in &fleet.nodes {
        node.server.wait_until_logged(&["store answers again"]);
    }
    all_speak(before.iter().chain(&meanwhile), 20);
    watch.are_untouched();
    each_has_one_receiver(&fleet, &before);
    each_has_one_receiver(&fleet, &meanwhile);
    end(&fleet, &before);
    end(&fleet, &meanwhile);
    for meeting in before.iter().chain(&meanwhile) {
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
    }
    assert_eq!(fleet.end(), Vec::<String>::new());
}

/// Starts that wait in the store for their node are lost with it: who placed them there repeats them.
#[test]
fn is_emptied() {
    let Some(mut fleet) = fleet_with_links(0, options()) else {
        return;
    };
    // The first is soon full, so that meetings are placed on the second.
    for (name, capacity) in [("a", "1"), ("b", "100")] {
        let mut settings = SETTINGS.to_vec();
        settings.push(("RTMS_NODE_STREAMS", capacity));
        fleet.add(name, &settings);
    }
    fleet.wait_until_sure();
    let before = speaking(&fleet, "before", 2);
    let watch = Watch::new(&meetings_of(&fleet, &before, 0));
    wait_until("the first says that it is full", || {
        let status = fleet.status();
        let mut nodes = status["nodes"].as_array().into_iter().flatten();
        let is_full = |node: &serde_json::Value| node["streams"].as_u64() >= Some(1);
        nodes.any(|node| node["name"] == "a" && is_full(node))
    });
    // A node that takes nothing out of its queue.
    fleet.links().store.hold_process(fleet.nodes[1].server.id());
    fleet.pass_over(1);
    let placed: Vec<_> = (0..8)
        .map(|n| {
            let script = super::open(&format!("placed-{n}"), super::BOTH[n % 2]);
            fleet.zoom.start_meeting(script)
        })
        .collect();
    for meeting in &placed {
        assert!(
            meeting.wait_for(Step::StartedAnswered, PATIENCE),
            "{:?}",
            meeting.steps()
        );
    }
    wait_until("a start waits in the store", || {
        fleet.status()["queues"]["b"]
            .as_u64()
            .is_some_and(|count| count > 0)
    });
    let since = Instant::now();
    fleet.redis.client().line("FLUSHALL");
    for meeting in &placed {
        assert!(
            meeting.wait_for(Step::Ready, PATIENCE),
            "{:?}",
            meeting.steps()
        );
    }
    // Three seconds until it is missed; five until a store that was emptied is believed again.
    bounded("starts lost with the store", since.elapsed(), 9.0);
    fleet.links().store.pass();
    wait_until_all_are_sure(&fleet, &[0, 1]);
    watch.are_untouched();
    // Nothing is left of what they had in it, but in their own state.
    fleet.redis.client().line("FLUSHALL");
    fleet.kill(0);
    fleet.start_node(0);
    let all: Vec<_> = before.into_iter().chain(placed).collect();
    all_speak(&all, 10);
    each_has_one_receiver(&fleet, &all);
    end(&fleet, &all);
}

#[test]
fn another_becomes_the_primary() {
    let Some(fleet) = fleet_with_links(2, options()) else {
        return;
    };
    let port = fleet.redis.address().port().to_string();
    let Some(replica) = Redis::start(&["--replicaof", "127.0.0.1", &port]) else {
        return;
    };
    let is_in_step = || {
        let info = replica.client().line("INFO replication");
        info.str()
            .is_some_and(|info| info.contains("master_link_status:up"))
    };
    wait_until("the replica has everything", is_in_step);
    let meetings = speaking(&fleet, "primary", 3);
    let watch = Watch::new(&meetings);
    let cut = Instant::now();
    fleet.links().store.hold();
    wait_until("a second has passed", || {
        cut.elapsed() >= Duration::from_secs(1)
    });
    fleet.redis.kill();
    replica.client().line("REPLICAOF NO ONE");
    fleet.links().store.turn_to(replica.address());
    fleet.links().store.pass();
    wait_until("both write to the new primary", || {
        let status = fleet.status();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        nodes.len() == 2 && nodes.iter().all(|node| node["state"] == "sure")
    });
    for node in &fleet.nodes {
        assert_eq!(node.server.count_logged(&["the store does not answer"]), 0);
    }
    let later = speaking(&fleet, "later", 1);
    watch.are_untouched();
    let all: Vec<_> = meetings.into_iter().chain(later).collect();
    each_has_one_receiver(&fleet, &all);
    end(&fleet, &all);
    for meeting in &all {
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
        let holders = fleet.holders(&meeting.streams()[0]);
        assert_eq!(holders.len(), 1, "{holders:?}");
    }
    assert_eq!(fleet.end(), Vec::<String>::new());
}

#[test]
fn stands_still() {
    let Some(fleet) = fleet_with_links(2, options()) else {
        return;
    };
    let mut meetings = speaking(&fleet, "still", 2);
    let watch = Watch::new(&meetings);
    for seconds in [2, 7] {
        let mut client = fleet.redis.client();
        client.send(&["DEBUG", "SLEEP", &seconds.to_string()]);
        if seconds == 7 {
            wait_until_all_are_unsure(&fleet, &[0, 1]);
        }
        meetings.extend(speaking(&fleet, &format!("for {seconds} s"), 1));
        client.reply();
        wait_until_all_are_sure(&fleet, &[0, 1]);
    }
    fleet.redis.client().line("SCRIPT FLUSH");
    meetings.extend(speaking(&fleet, "without scripts", 1));
    fleet.links().store.delay(Duration::from_millis(100));
    meetings.extend(speaking(&fleet, "slow", 1));
    fleet.links().store.pass();
    watch.are_untouched();
    each_has_one_receiver(&fleet, &meetings);
    end(&fleet, &meetings);
    for meeting in &meetings {
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
    }
    assert_eq!(fleet.end(), Vec::<String>::new());
}
