//! The library inside another program: its own sink, no files, no standard output.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};

use rtmsd::daemon::SinkFactory;
use rtmsd::demo::{Credentials, End, MeetingScript, Step};
use rtmsd::domain::stream_info::StreamInfo;
use rtmsd::protocol::{EndReason, StreamEvent};
use rtmsd::stream::Sink;

use crate::harness::{
    Harness, PATIENCE, frequent_keep_alives, open_at_once, plain, wait_until_over,
    wait_until_streaming,
};

/// What a sink received.
#[derive(Debug)]
enum Seen {
    Phrase(String, u64, String),
    End(String, EndReason),
}

struct Teller {
    stream_id: String,
    panics_at: Option<String>,
    seen: Sender<Seen>,
}

impl Sink for Teller {
    fn on_event(&mut self, event: &StreamEvent<'_>) {
        if let StreamEvent::Transcript(phrase) = event {
            let is_fatal = self.panics_at.as_deref() == Some(phrase.text.as_ref());
            assert!(!is_fatal, "a sink with a bug");
            let text = phrase.text.as_ref().to_owned();
            let _ = self.seen.send(Seen::Phrase(
                self.stream_id.clone(),
                phrase.timestamp_ms,
                text,
            ));
        }
    }

    fn on_end(&mut self, reason: &EndReason) {
        let _ = self
            .seen
            .send(Seen::End(self.stream_id.clone(), reason.clone()));
    }
}

/// The daemon in this process with these sinks, and a Zoom that takes its token.
fn embed(sinks: Box<SinkFactory>) -> Harness {
    let mut options = frequent_keep_alives(100);
    options.credentials = Credentials::Static;
    Harness::builder(options).embed(sinks)
}

/// Phrases and end reason of each stream, until `streams` have ended.
fn collect(seen: &Receiver<Seen>, ends: usize) -> HashMap<String, (Vec<(u64, String)>, EndReason)> {
    let mut phrases: HashMap<String, Vec<(u64, String)>> = HashMap::new();
    let mut ended = HashMap::new();
    while ended.len() < ends {
        match seen
            .recv_timeout(PATIENCE)
            .expect("a sink receives something")
        {
            Seen::Phrase(id, at, text) => phrases.entry(id).or_default().push((at, text)),
            Seen::End(id, reason) => {
                let said = phrases.remove(&id).unwrap_or_default();
                ended.insert(id, (said, reason));
            }
        }
    }
    ended
}

#[test]
fn transcripts_reach_an_embedders_sink() {
    let (sender, seen) = channel();
    let harness = embed(Box::new(move |info: &StreamInfo| {
        vec![Box::new(Teller {
            stream_id: info.stream_id.clone(),
            panics_at: None,
            seen: sender.clone(),
        })]
    }));
    let meetings: Vec<_> = (0..3)
        .map(|n| {
            harness
                .zoom
                .start_meeting(plain(&format!("embedded {n}"), 20))
        })
        .collect();
    let streams = collect(&seen, 3);
    for meeting in &meetings {
        wait_until_over(meeting);
        let sent: Vec<_> = (meeting.sent().into_iter())
            .map(|phrase| (phrase.timestamp_ms, phrase.text))
            .collect();
        let (said, end) = &streams[&meeting.streams()[0]];
        assert_eq!(*said, sent);
        assert!(
            matches!(end, EndReason::Stopped(reason) if reason.0 == 6),
            "{end}"
        );
    }
    harness.end();
}

#[test]
fn a_panic_ends_one_stream_only() {
    let (sender, seen) = channel();
    let harness = embed(Box::new(move |info: &StreamInfo| {
        let is_ill = info.id == MeetingScript::plain("ill").id;
        vec![Box::new(Teller {
            stream_id: info.stream_id.clone(),
            panics_at: is_ill.then(|| "poison".to_owned()),
            seen: sender.clone(),
        })]
    }));
    let well = harness.zoom.start_meeting(open_at_once("well"));
    let mut script = open_at_once("ill");
    script.phrases_per_second = 10.0;
    let ill = harness.zoom.start_meeting(script);
    wait_until_streaming(&well);
    wait_until_streaming(&ill);
    let poison = serde_json::json!({"msg_type": 17, "content": {"user_id": 1, "user_name": "x",
        "timestamp": 1, "data": "poison"}});
    let frames = vec![rtmsd::demo::Frame::Text(poison.to_string())];
    assert!(ill.fault(rtmsd::demo::Fault::Frames(
        rtmsd::demo::Socket::Media,
        frames
    )));
    // Zoom keeps the stream for a minute. A new thread rejoins it, maybe before Zoom notices the
    // end of the old connection, so there may be no loss.
    assert!(ill.wait_for_times(Step::Ready, 2, PATIENCE));
    wait_until_streaming(&well);
    ill.end(End::meeting_ended());
    wait_until_over(&ill);
    let after = harness.zoom.start_meeting(plain("after the panic", 10));
    wait_until_over(&after);
    wait_until_streaming(&well);
    assert_eq!(well.count(Step::Lost), 0);
    well.end(End::meeting_ended());
    wait_until_over(&well);
    let streams = collect(&seen, 3);
    assert!(streams.contains_key(&well.streams()[0]));
    assert!(streams.contains_key(&after.streams()[0]));
    harness.end();
}
