//! Several nodes behind a balancer, with a real store. Each test plays both kinds of Zoom: one where a second
//! signaling connection displaces the first, and one where it is refused.

mod demo;
mod failures;
mod grants;
mod haproxy;
mod leaving;
mod merging;

use rtmsd::demo::{Begin, Duplicates, MeetingHandle, MeetingScript, Options, Step};

use crate::harness::fleet::Fleet;
use crate::harness::{PATIENCE, frequent_keep_alives, wait_until_more, wait_until_over};

pub(crate) const BOTH: [Duplicates; 2] = [Duplicates::Displace, Duplicates::Refuse];

/// Nodes that need no credentials for REST: Zoom starts the streams.
pub(crate) fn fleet(count: usize) -> Option<Fleet> {
    Fleet::start(count, options(), &[("RTMS_AUTO_START", "off")])
}

fn options() -> Options {
    frequent_keep_alives(200)
}

/// A meeting that goes on until it is ended.
pub(crate) fn open(seed: &str, duplicates: Duplicates) -> MeetingScript {
    MeetingScript {
        begin: Begin::AtOnce,
        duplicates,
        phrases_per_second: 20.0,
        ..MeetingScript::plain(seed)
    }
}

/// Starts meetings, and waits until all of them speak.
#[track_caller]
pub(crate) fn speaking(
    fleet: &Fleet,
    seed: &str,
    count: usize,
    duplicates: Duplicates,
) -> Vec<MeetingHandle> {
    let meetings: Vec<_> = (0..count)
        .map(|n| {
            fleet
                .zoom
                .start_meeting(open(&format!("{seed}-{n}-{duplicates:?}"), duplicates))
        })
        .collect();
    for meeting in &meetings {
        assert!(
            meeting.wait_for(Step::Ready, PATIENCE),
            "{:?}",
            meeting.steps()
        );
        wait_until_more(meeting, 5);
    }
    meetings
}

/// Ends meetings, and waits until the nodes have completed their files.
#[track_caller]
pub(crate) fn end(fleet: &Fleet, meetings: &[MeetingHandle]) {
    for meeting in meetings {
        meeting.end(rtmsd::demo::End::meeting_ended());
    }
    for meeting in meetings {
        wait_until_over(meeting);
        fleet.wait_until_complete(meeting);
    }
}

#[test]
fn flows_a_and_b_meetings_are_spread_and_their_events_find_them() {
    for duplicates in BOTH {
        let Some(fleet) = fleet(3) else { return };
        let meetings = speaking(&fleet, "spread", 9, duplicates);
        let receivers: Vec<usize> = meetings
            .iter()
            .map(|meeting| fleet.wait_for_receiver(&meeting.streams()[0], &[0, 1, 2]))
            .collect();
        let mut used = receivers.clone();
        used.sort_unstable();
        used.dedup();
        assert!(used.len() > 1, "one node has all meetings: {receivers:?}");
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
}
