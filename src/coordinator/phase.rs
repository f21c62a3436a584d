//! The phases of a meeting, and the effect of each event in each of them.

/// The phase of a meeting with regard to starting its stream by REST. Streams that Zoom announces
/// run in every phase.
///
/// A row is an event, a column the phase in which it arrives; `.` leaves the phase unchanged.
/// "Call" is a REST start, made at once unless the cell says otherwise.
///
/// | event | Idle | Starting | AwaitingHost | Started | GaveUp | Stopped | Ended |
/// | --- | --- | --- | --- | --- | --- | --- | --- |
/// | `meeting.started`, newer | call, Starting | . | . | . | call, Starting | . | call, Starting |
/// | a participant joined, newer | call, Starting | . | . | . | . | . | call, Starting |
/// | the host joined | call, Starting | . | call, Starting | . | . | . | call, Starting |
/// | the participant of `RTMS_PARTICIPANT_USER_ID` joined | call, Starting | . | call, Starting | . | . | . | call, Starting |
/// | any of these, older than a stream or the end | . | . | . | . | . | . | . |
/// | `rtms_started` | Started | Started | Started | . | Started | Started | Started |
/// | a stop by people (2) | Stopped | Stopped | Stopped | Stopped | Stopped | . | Stopped |
/// | consent withdrawn (8) | Stopped | Stopped | Stopped | Stopped | Stopped | . | Stopped |
/// | a stop by a fault (10) | call in 1 s, Starting | . | . | call in 1 s, Starting | call in 1 s, Starting | . | . |
/// | a stop for the meeting's end (6) | Ended | Ended | Ended | Ended | Ended | Ended | . |
/// | `meeting.ended` | Ended | Ended | Ended | Ended | Ended | Ended | . |
/// | the call succeeds | . | Started | Started | . | . | . | . |
/// | it fails temporarily | . | call later | call later, Starting | . | . | . | . |
/// | it is not permitted | . | call later, AwaitingHost | call later | . | . | . | . |
/// | it fails for good | . | GaveUp | GaveUp | . | . | . | . |
/// | our own stop is accepted | Stopped | Stopped | Stopped | Stopped | Stopped | . | . |
/// | a reload of the configuration | . | . | call, Starting | . | call, Starting | . | . |
/// | a restart of the process | . | call | call, Starting | . | call, Starting | . | . |
///
/// Waiting calls are cancelled when the phase changes to Started, Stopped or Ended. So nothing
/// automatic starts a meeting that people stopped: only a newer `rtms_started`, which is a person's
/// start, and a new start of the meeting lead out of Stopped. A start call that people overtook is
/// undone by a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No start was requested.
    Idle,
    /// A REST start is due, in progress, or waits for a retry.
    Starting,
    /// Zoom refuses the start, perhaps because the host or the named participant is absent; it is
    /// retried slowly, and at once when one of them joins.
    AwaitingHost,
    /// A start was accepted, or a stream started.
    Started,
    /// A start failed because of something that only a person can change.
    GaveUp,
    /// People or our schedule stopped the stream.
    Stopped,
    /// The meeting has ended.
    Ended,
}

#[cfg(test)]
mod tests {
    use super::Phase;
    use crate::coordinator::tests::*;
    use crate::coordinator::{Action, Settings, StopReason};
    use crate::domain::rest::{FailureClass, RestAction};
    use crate::domain::zoom_event::{MeetingInfo, ParticipantJoined, StreamStopped, ZoomEventKind};
    use crate::protocol::EndReason;

    const PHASES: [Phase; 7] = [
        Phase::Idle,
        Phase::Starting,
        Phase::AwaitingHost,
        Phase::Started,
        Phase::GaveUp,
        Phase::Stopped,
        Phase::Ended,
    ];

    /// Timestamp of the tested events; everything before is older.
    const THEN: u64 = T0 + 20_000;

    fn joined(who: &str) -> ZoomEventKind {
        ZoomEventKind::ParticipantJoined(ParticipantJoined {
            meeting: hosted(),
            participant_ids: vec![who.to_owned()],
        })
    }

    fn hosted() -> MeetingInfo {
        MeetingInfo {
            host_id: Some("host".to_owned()),
            ..life(UUID)
        }
    }

    fn named() -> Settings {
        Settings {
            participant_user_id: Some("named".to_owned()),
            app: None,
            ..settings()
        }
    }

    /// A world whose meeting is in that phase.
    fn in_phase(phase: Phase) -> World {
        let mut w = world(named());
        if phase == Phase::Idle {
            w.coordinator.settings.auto_start = false;
        }
        w.webhook(T0, ZoomEventKind::MeetingStarted(hosted()));
        w.coordinator.settings.auto_start = true;
        match phase {
            Phase::Idle | Phase::Starting => {}
            Phase::AwaitingHost => {
                drop(w.call(RestAction::Start, Err(failed(FailureClass::NotPermitted))));
            }
            Phase::Started | Phase::Stopped => {
                w.call(RestAction::Start, Ok(()));
                w.started(T0 + 1);
                if phase == Phase::Stopped {
                    w.stops(T0 + 2, 2);
                }
            }
            Phase::GaveUp => drop(w.call(RestAction::Start, Err(failed(FailureClass::GiveUp)))),
            Phase::Ended => drop(w.meeting_ended(T0 + 3)),
        }
        assert_eq!(phase_of(&w), phase);
        w.pass(std::time::Duration::from_secs(1));
        w
    }

    fn phase_of(w: &World) -> Phase {
        w.coordinator.meetings.get(UUID).expect("known").phase()
    }

    /// The running stream, or one that was missed, is stopped.
    fn stop(w: &mut World, reason: i64) -> Vec<Action> {
        let stream_id = match phase_of(w) {
            Phase::Started => "s1",
            _ => "missed",
        };
        let event = ZoomEventKind::StreamStopped(StreamStopped {
            product: crate::domain::product::Product::Meeting,
            id: Some(UUID.to_owned()),
            stream_id: stream_id.to_owned(),
            stop_reason: Some(reason),
        });
        let mut actions = w.webhook(THEN, event);
        let end = EndReason::Stopped(StopReason(reason));
        actions.extend(w.coordinator.handle_end(w.now, stream_id, &end));
        actions
    }

    fn happens(w: &mut World, event: &str) -> Vec<Action> {
        let fails = |class| Err(failed(class));
        match event {
            "`meeting.started`, newer" => w.webhook(THEN, ZoomEventKind::MeetingStarted(hosted())),
            "a participant joined, newer" => w.webhook(THEN, joined("guest")),
            "the host joined" => w.webhook(THEN, joined("host")),
            "the participant of `RTMS_PARTICIPANT_USER_ID` joined" => {
                w.webhook(THEN, joined("named"))
            }
            "any of these, older than a stream or the end" => {
                let mut actions = w.webhook(T0 - 1, ZoomEventKind::MeetingStarted(hosted()));
                actions.extend(w.webhook(T0 - 1, joined("guest")));
                actions
            }
            "`rtms_started`" => {
                w.webhook(THEN, ZoomEventKind::StreamStarted(stream_of(UUID, "s7")))
            }
            "a stop by people (2)" => stop(w, 2),
            "consent withdrawn (8)" => stop(w, 8),
            "a stop by a fault (10)" => stop(w, 10),
            "a stop for the meeting's end (6)" => stop(w, 6),
            "`meeting.ended`" => w.meeting_ended(THEN),
            "the call succeeds" => w.call(RestAction::Start, Ok(())),
            "it fails temporarily" => w.call(RestAction::Start, fails(FailureClass::Retry)),
            "it is not permitted" => w.call(RestAction::Start, fails(FailureClass::NotPermitted)),
            "it fails for good" => w.call(RestAction::Start, fails(FailureClass::GiveUp)),
            "our own stop is accepted" => w.call(RestAction::Stop, Ok(())),
            "a reload of the configuration" => w.coordinator.reload(w.now, named()),
            "a restart of the process" => w.restart(named()),
            other => panic!("the test has no case for the row: {other}"),
        }
    }

    /// Each cell of the table above.
    #[test]
    fn the_table_is_correct() {
        let rows = include_str!("phase.rs").lines().filter_map(|line| {
            let cells = line.strip_prefix("/// | ")?.strip_suffix(" |")?;
            let mut cells = cells.split(" | ");
            let event = cells.next()?;
            (!event.starts_with("event") && !event.starts_with("---"))
                .then(|| (event, cells.collect::<Vec<_>>()))
        });
        let mut walked = 0;
        for (event, cells) in rows {
            assert_eq!(cells.len(), PHASES.len(), "{event}");
            for (phase, cell) in PHASES.into_iter().zip(cells) {
                let mut w = in_phase(phase);
                let actions = happens(&mut w, event);
                let calls: Vec<String> = w
                    .calls(&actions)
                    .into_iter()
                    .map(|(action, wait)| match (action, wait.as_millis()) {
                        (RestAction::Start, 0) => "call".to_owned(),
                        (RestAction::Start, 1000) => "call in 1 s".to_owned(),
                        (RestAction::Start, _) => "call later".to_owned(),
                        (other, _) => panic!("{event} in {phase:?}: {other:?}"),
                    })
                    .collect();
                let expected: Vec<&str> = cell.split(", ").filter(|part| *part != ".").collect();
                let (next, called): (Vec<&str>, Vec<&str>) = expected
                    .into_iter()
                    .partition(|part| !part.starts_with("call"));
                let next = next
                    .first()
                    .map_or(format!("{phase:?}"), |next| (*next).to_owned());
                let found = (format!("{:?}", phase_of(&w)), calls);
                let called: Vec<String> = called.into_iter().map(str::to_owned).collect();
                assert_eq!(found, (next, called), "{event} in {phase:?}: {actions:?}");
                walked += 1;
            }
        }
        assert_eq!(walked, 18 * PHASES.len());
    }
}
