//! Nothing comes and nothing goes, and no side is told.

use std::time::Duration;

use rtmsd::demo::{Duplicates, MeetingHandle, Options, Step};

use super::{
    ALL, BOTH, Watch, all_speak, bounded, each_has_one_receiver, end, fleet_with_links, kind,
    last_gap, meetings_of, node_of, options, phrases_in, speaking,
};
use crate::harness::wait_until;

/// Zoom notices a silent connection in this time. The real one takes 30 to 40 s: here a quarter.
const NOTICED: Duration = Duration::from_secs(9);

/// Those of a kind of Zoom.
fn of_kind(meetings: &[MeetingHandle], wanted: Duplicates) -> Vec<MeetingHandle> {
    let is_it = |meeting: &&MeetingHandle| kind(meeting) == wanted;
    meetings.iter().filter(is_it).cloned().collect()
}

#[test]
fn a_node_is_gone_without_a_word() {
    let every = Duration::from_millis(500);
    let options = Options {
        keep_alive: every,
        unanswered_max: (NOTICED.as_millis() / every.as_millis()) as usize,
        ..options()
    };
    let Some(mut fleet) = fleet_with_links(3, options) else {
        return;
    };
    let meetings = speaking(&fleet, "gone", 4);
    let gone = node_of(&fleet, &meetings[0]);
    let its = meetings_of(&fleet, &meetings, gone);
    let rest: Vec<MeetingHandle> = (ALL.into_iter().filter(|at| *at != gone))
        .flat_map(|at| meetings_of(&fleet, &meetings, at))
        .collect();
    let rest = Watch::new(&rest);
    let [displacing, refusing] = BOTH.map(|wanted| Watch::new(&of_kind(&its, wanted)));
    fleet.cut_off(gone);
    displacing.received_again_within("machine gone, displacing Zoom", 10.0);
    // Refused until Zoom misses the old connection; then within the three seconds between two tries.
    let most = NOTICED.as_secs_f64() + 3.0;
    refusing.received_again_within("machine gone, refusing Zoom", most);
    rest.are_untouched();
    all_speak(&its, 40);
    // The network comes back: the node learns that others have what it had.
    fleet.links().zoom.pass();
    fleet.links().store.pass();
    for meeting in &its {
        let stream = &meeting.streams()[0];
        wait_until("the node has ended it", || {
            fleet.holders(stream)[0].1["end"] == "handed_over"
        });
    }
    all_speak(&its, 10);
    each_has_one_receiver(&fleet, &meetings);
    // It does not come back for good.
    fleet.kill(gone);
    end(&fleet, &meetings);
    for meeting in &its {
        let comparison = fleet.comparison(meeting);
        assert_eq!(comparison.foreign, 0, "{comparison:?}");
        // Of what Zoom sent into the silence nothing is sent again here.
        let silence = 2.0 * (NOTICED.as_secs_f64() + 3.0);
        assert!(comparison.lost <= phrases_in(silence), "{comparison:?}");
        let holders = fleet.holders(&meeting.streams()[0]);
        let last = &holders[holders.len() - 1].1;
        assert_eq!(last["predecessor"]["node"], fleet.nodes[gone].name.as_str());
    }
}

#[test]
fn a_node_is_cut_off_from_the_store() {
    let Some(fleet) = fleet_with_links(3, options()) else {
        return;
    };
    let meetings = speaking(&fleet, "cut off", 4);
    let alone = node_of(&fleet, &meetings[0]);
    let its = meetings_of(&fleet, &meetings, alone);
    let [displacing, refusing] = BOTH.map(|wanted| of_kind(&its, wanted));
    let refusing = Watch::new(&refusing);
    let watch = Watch::new(&displacing);
    // What it asks for may be done; it hears nothing of it.
    let process = fleet.nodes[alone].server.id();
    fleet.links().store.swallow_replies_to(process);
    // The others take what they can have, once.
    for (meeting, before) in displacing.iter().zip(&watch.readies) {
        wait_until("others receive it", || meeting.count(Step::Ready) > *before);
        bounded("cut off from the store", last_gap(meeting), 2.0);
    }
    assert!(
        fleet.nodes[alone]
            .server
            .count_logged(&["the store does not answer"])
            > 0
    );
    fleet.links().store.pass();
    fleet.nodes[alone]
        .server
        .wait_until_logged(&["the store answers again"]);
    each_has_one_receiver(&fleet, &meetings);
    refusing.are_untouched();
    for (meeting, before) in displacing.iter().zip(&watch.readies) {
        assert_eq!(meeting.count(Step::Ready), before + 1);
    }
    end(&fleet, &meetings);
    for meeting in &meetings {
        let comparison = fleet.comparison(meeting);
        assert_eq!(
            (comparison.doubled, comparison.foreign),
            (0, 0),
            "{comparison:?}"
        );
        let holders = fleet.holders(&meeting.streams()[0]);
        if displacing
            .iter()
            .any(|it| it.streams() == meeting.streams())
        {
            assert_eq!(holders[0].1["end"], "handed_over", "{holders:?}");
            assert_eq!(holders.len(), 2, "{holders:?}");
        } else {
            assert!(comparison.is_exact(), "{comparison:?}");
            // Who tried and was not let in has written nothing.
            for (_, meta) in &holders[1..] {
                assert_eq!(meta["transcripts"], 0, "{holders:?}");
            }
        }
    }
    // Zoom noticed what it displaced: each once, and nothing else.
    let violations = fleet.end();
    let is_displaced =
        |text: &&String| text.starts_with("Signaling") && text.contains("still open");
    let displaced = violations.iter().filter(is_displaced).count();
    assert_eq!(displaced, displacing.len(), "{violations:?}");
}
