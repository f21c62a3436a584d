//! A process of a node is killed.

use super::{ALL, Watch, all_speak, end, fleet, kind, meetings_of, node_of, speaking_as};
use crate::harness::report;
use rtmsd::demo::{MeetingHandle, MeetingScript};
use std::time::Duration;

/// Zoom sends again what it sent in this time before a loss: a killed process may not have written it.
const REPLAY: Duration = Duration::from_secs(3);
const PHRASES_PER_SECOND: f64 = 5.0;

fn with_replay(script: MeetingScript) -> MeetingScript {
    MeetingScript {
        phrases_per_second: PHRASES_PER_SECOND,
        replay: REPLAY,
        ..script
    }
}

#[test]
fn in_place() {
    let Some(mut fleet) = fleet(2) else { return };
    let meetings = speaking_as(&fleet, "in place", 3, with_replay);
    for at in 0..2 {
        let its = meetings_of(&fleet, &meetings, at);
        let watch = Watch::new(&its);
        fleet.kill(at);
        fleet.start_node(at);
        let what = "killed, and started again at once";
        watch.received_again_within(what, 1.5);
    }
    all_speak(&meetings, 5);
    end(&fleet, &meetings);
    for meeting in &meetings {
        let holders = fleet.holders(&meeting.streams()[0]);
        assert_eq!(holders.len(), 1, "{holders:?}");
        assert_eq!(holders[0].1["epoch"], 1, "{holders:?}");
        // Its own file says what it has.
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
    }
    assert_eq!(fleet.end(), Vec::<String>::new());
}

#[test]
fn for_good_and_its_disk_too() {
    let Some(mut fleet) = fleet(3) else { return };
    let meetings = speaking_as(&fleet, "for good", 4, with_replay);
    let dead = node_of(&fleet, &meetings[0]);
    let others: Vec<usize> = ALL.into_iter().filter(|at| *at != dead).collect();
    let its = meetings_of(&fleet, &meetings, dead);
    let of_others: Vec<MeetingHandle> = others
        .iter()
        .flat_map(|at| meetings_of(&fleet, &meetings, *at))
        .collect();
    let rest = Watch::new(&of_others);
    // Its tails are in the store, a second old at most.
    all_speak(&its, 4 * PHRASES_PER_SECOND as u64);
    let watch = Watch::new(&its);
    fleet.kill(dead);
    watch.received_again_within("killed for good", 10.0);
    all_speak(&its, 5);
    rest.are_untouched();
    end(&fleet, &meetings);
    for meeting in &its {
        assert!(meeting.replayed() > 0, "Zoom has sent nothing again");
        let comparison = fleet.comparison(meeting);
        // A second of phrases, and what came while the tail was on its way.
        let doubled = (1.5 * PHRASES_PER_SECOND) as usize;
        report(&format!(
            "killed for good: {} phrases twice",
            comparison.doubled
        ));
        assert!(comparison.doubled <= doubled, "{comparison:?}");
        assert_eq!(
            (comparison.lost, comparison.foreign),
            (0, 0),
            "{comparison:?}"
        );
    }
    let name = fleet.nodes[dead].name.clone();
    fleet.nodes[dead].lose_disk();
    for meeting in &its {
        // What the other has is whole, and says that something was before it.
        let holders = fleet.holders(&meeting.streams()[0]);
        let [(at, meta)] = &holders[..] else {
            panic!("{:?}: {holders:?}", kind(meeting));
        };
        assert!(others.contains(at), "{holders:?}");
        assert_eq!(meta["epoch"], 2, "{meta}");
        assert_eq!(meta["predecessor"]["node"], name.as_str(), "{meta}");
        assert_eq!(meta["predecessor"]["epoch"], 1, "{meta}");
        let comparison = fleet.comparison(meeting);
        assert!(comparison.received > 0, "{comparison:?}");
        assert_eq!(
            (
                comparison.doubled,
                comparison.foreign,
                comparison.disordered
            ),
            (0, 0, 0),
            "{comparison:?}"
        );
    }
    for meeting in &of_others {
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
    }
}
