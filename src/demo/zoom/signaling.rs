//! The signaling socket of a stream, from message 1 to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::connection_queue::ConnectionQueue;
use super::handshake;
use super::handshake::Place;
use super::link::{Event, Gone, Link};
use super::record::{Step, lock, unix_ms};
use super::shared::Shared;
use crate::demo::player::Meeting;
use crate::demo::player::script::{Cut, End, Refusal, Socket};

/// Time limit of a client from the upgrade to its first message.
const FIRST_MAX: Duration = Duration::from_secs(10);

/// Maximum difference of a client's timestamp from our time.
const STAMP_MAX_MS: u64 = 60_000;

/// Serves one signaling connection.
pub(in crate::demo) fn serve(
    shared: &Arc<Shared>,
    mut link: Link,
    path: &str,
    connection: u64,
    mailbox: ConnectionQueue,
) {
    let Some((place, request)) = first(shared, &mut link, path, Step::SignalingConnected) else {
        return;
    };
    let admitted =
        handshake::check(shared, Socket::Signaling, &request, &link.label).and_then(|meeting| {
            let id = request["rtms_stream_id"].as_str().unwrap_or_default();
            let generation = place.generation;
            let urls =
                meeting.admit_signaling(shared, id, generation, connection, mailbox.clone())?;
            Ok((meeting, id.to_owned(), urls))
        });
    let (meeting, id, urls) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(&mut link, refusal, 2),
    };
    link.set_manners(&meeting.script);
    let mut answer = json!({"msg_type": 2, "protocol_version": 1, "sequence": 0,
        "status_code": 0, "reason": "", "media_server": {"server_urls": urls}});
    if meeting.script.unknown {
        answer["media_server"]["srtp_keys"] = json!({"audio": "00"});
        answer["weather"] = json!(["fair", 21.5]);
    }
    let _ = link.send(&answer);
    if meeting.script.unknown {
        let _ = link.send(&json!({"msg_type": 4242, "content": {"deep": [[[]]]}}));
    }
    let gone = run(shared, &mut link, &meeting, &id);
    log::debug!("demo: signaling of {id} is gone: {gone:?}");
    // Closed before the loss is recorded, so that no test waits for a state that never comes.
    drop(link);
    meeting.signaling_gone(shared, &id, connection);
}

/// Waits for the first message of a client; `None` if there was none.
pub(in crate::demo) fn first(
    shared: &Arc<Shared>,
    link: &mut Link,
    path: &str,
    step: Step,
) -> Option<(Place, Value)> {
    let Some(place) = Place::parse(path) else {
        link.violation("no such path; a URL must be used unchanged");
        link.cut(Cut::Close(1008));
        return None;
    };
    let meeting = lock(&shared.meetings).by_stream.get(&place.stream).cloned();
    if let Some(meeting) = meeting {
        meeting.step(step);
    }
    match link.next(Some(Instant::now() + FIRST_MAX)) {
        Event::Message(message) => Some((place, message)),
        Event::Timer => {
            link.violation("no handshake within 10 s of the upgrade");
            None
        }
        // A client may close the connection before its first message.
        Event::Command(_) | Event::Gone(_) => None,
    }
}

/// Refuses a handshake; `answer_type` is 2 or 4.
pub(in crate::demo) fn refuse(link: &mut Link, refusal: Refusal, answer_type: u32) {
    let answer = json!({"msg_type": answer_type, "protocol_version": 1, "sequence": 0,
        "reason": "refused by the demo"});
    let with_status = |status: i64| {
        let mut answer = answer.clone();
        answer["status_code"] = json!(status);
        answer
    };
    let answer = match refusal {
        Refusal::Status(status) => Some(with_status(status)),
        Refusal::StatusAndReason(status, reason) => {
            let mut answer = with_status(status);
            answer["reason"] = json!(reason);
            Some(answer)
        }
        Refusal::NoStatus => Some(answer),
        Refusal::NoUrls => Some(with_status(0)),
        Refusal::Close(code) => return link.cut(Cut::Close(code)),
        Refusal::Reset => return link.cut(Cut::Reset),
        Refusal::Garbage => {
            let _ = link.send_text("\u{feff}{\"msg_type\":".to_owned());
            None
        }
        Refusal::Silence => None,
    };
    match answer {
        Some(answer) => {
            let _ = link.send(&answer);
            link.cut(Cut::Close(1000));
        }
        None => {
            let until = Instant::now() + Duration::from_secs(120);
            loop {
                match link.next(Some(until)) {
                    Event::Gone(_) | Event::Timer => return,
                    Event::Message(_) | Event::Command(_) => {}
                }
            }
        }
    }
}

fn run(shared: &Arc<Shared>, link: &mut Link, meeting: &Arc<Meeting>, id: &str) -> Gone {
    loop {
        match link.next(None) {
            Event::Gone(gone) => return gone,
            Event::Timer | Event::Command(_) => {}
            Event::Message(message) => {
                if let Err(gone) = handle(shared, link, meeting, id, &message) {
                    return gone;
                }
            }
        }
    }
}

fn handle(
    shared: &Arc<Shared>,
    link: &mut Link,
    meeting: &Arc<Meeting>,
    id: &str,
    message: &Value,
) -> Result<(), Gone> {
    let timestamp = unix_ms();
    match message["msg_type"].as_u64() {
        Some(5) => subscribe(link, meeting, id, message),
        Some(7) => {
            if let Err(what) = meeting.ready(id, message) {
                link.violation(&what);
            }
        }
        Some(10) => {
            let session = message["rtms_session_id"].clone();
            link.send(
                &json!({"msg_type": 11, "rtms_session_id": session, "state": 2,
                "timestamp": timestamp}),
            )?;
        }
        Some(19) => {
            let state = if meeting.is_stream_live(id) { 1 } else { 4 };
            link.send(
                &json!({"msg_type": 20, "rtms_stream_id": id, "state": state,
                "timestamp": timestamp}),
            )?;
        }
        Some(21) => {
            if message["rtms_stream_id"].as_str() != Some(id) {
                link.violation("STREAM_CLOSE_REQ without the stream's id");
            }
            link.send(
                &json!({"msg_type": 22, "rtms_stream_id": id, "status_code": 0,
                "reason": "", "timestamp": timestamp}),
            )?;
            link.flush()?;
            meeting.end(
                shared,
                End {
                    by_state: false,
                    ..End::stopped(20)
                },
            );
        }
        Some(28) => {
            let user = message["user_id"].clone();
            let stamp = message["timestamp"].as_u64().unwrap_or(0);
            if stamp.abs_diff(timestamp) > STAMP_MAX_MS {
                link.violation(&format!(
                    "message 28 with timestamp {stamp}, at {timestamp}"
                ));
            }
            meeting.camera_wanted(user.as_u64().unwrap_or(0));
            link.send(
                &json!({"msg_type": 29, "user_id": user, "status_code": 0, "reason": "",
                "timestamp": timestamp}),
            )?;
        }
        _ => link.violation(&format!(
            "message {} does not belong on signaling here",
            message["msg_type"]
        )),
    }
    Ok(())
}

fn subscribe(link: &Link, meeting: &Meeting, id: &str, message: &Value) {
    let Some(events) = message["events"].as_array() else {
        link.violation("EVENT_SUBSCRIPTION without events");
        return;
    };
    for event in events {
        match (event["event_type"].as_u64(), event["subscribe"].as_bool()) {
            (Some(1 | 7), _) => link.violation("events 1 and 7 need no subscription"),
            (Some(number), Some(is_wanted)) => meeting.subscribe(id, number, is_wanted),
            _ => link.violation(&format!(
                "an event subscription without its fields: {event}"
            )),
        }
    }
}
