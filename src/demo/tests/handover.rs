//! A stream passes from one client to the next, as in a fleet; at a Zoom that lets the newer one displace the
//! older, and at one that refuses the newer.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::domain::product::Product;
use crate::domain::secret::Secret;
use crate::net::dial::Dialer;
use crate::net::resolve::Resolver;
use crate::net::tls_client::TlsClient;
use crate::protocol::server_url::{AllowedHosts, ServerUrl};
use crate::protocol::tail::Tail;
use crate::protocol::{Command, EndReason, StopReason, StreamConfig, StreamEvent};
use crate::stream::permit::boot_time;
use crate::stream::{Permits, Sink, StreamHandle, StreamOptions, StreamPhase};
use crate::testing::wait_until;

const HOUR: Duration = Duration::from_secs(3600);

/// A phrase as it is compared: its time and its words.
type Said = (u64, String);

struct Texts(Sender<Said>);

impl Sink for Texts {
    fn on_event(&mut self, event: &StreamEvent<'_>) {
        if let StreamEvent::Transcript(phrase) = event {
            let said = (phrase.timestamp_ms, phrase.text.as_ref().to_owned());
            let _ = self.0.send(said);
        }
    }
}

struct Node {
    stream: StreamHandle,
    permits: Permits,
    texts: Receiver<Said>,
}

fn node(stage: &Stage, joined: &Joined, predecessor: Option<Tail>) -> Node {
    let allowed_hosts = AllowedHosts::parse("127.0.0.1,localhost").expect("hosts");
    let urls = vec![ServerUrl::parse(&joined.signaling_url, &allowed_hosts).expect("a URL")];
    let options = stage.zoom.options();
    let secret = Secret::new(options.client_secret.clone());
    let (id, stream) = (joined.id.clone(), joined.stream.clone());
    let client = options.client_id.clone();
    let mut config = StreamConfig::new(Product::Meeting, id, stream, urls, client, secret);
    config.allowed_hosts = allowed_hosts;
    let resolver = Resolver::new(Box::new(|_| Ok(vec![[127, 0, 0, 1].into()])));
    let tls = TlsClient::new(Some(&stage.zoom.ca_file())).expect("a certificate");
    let dialer = Dialer::start(tls, resolver).expect("a thread");
    let (sender, texts) = channel();
    let permits = Permits::new();
    permits.renew(boot_time() + HOUR);
    let mut options = StreamOptions::new(config, dialer);
    options.sinks.push(Box::new(Texts(sender)));
    options.permit = Some(permits.for_stream());
    options.tail_key = Some(Secret::new("a key of the fleet"));
    options.predecessor = predecessor;
    Node {
        stream: StreamHandle::spawn(options).expect("a thread"),
        permits,
        texts,
    }
}

impl Node {
    /// Waits for so many phrases.
    fn hear(&self, heard: &mut Vec<Said>, count: usize) {
        let texts = (0..count).map(|_| self.texts.recv_timeout(WITHIN).expect("a phrase"));
        heard.extend(texts);
    }

    /// Leaves for another node; its tail, after everything was passed on.
    fn hand_over(self, heard: &mut Vec<Said>) -> Tail {
        let heir = Some("b".to_owned());
        assert!(
            self.stream
                .command(Command::HandOver { heir: heir.clone() })
        );
        wait_until("it has left", || self.stream.is_finished());
        let tail = self.stream.tail().expect("it has one");
        let end = self.stream.join().expect("no panic");
        assert_eq!(end, EndReason::HandedOver { heir });
        heard.extend(self.texts.iter());
        tail
    }

    /// Waits for the end at Zoom.
    fn end(self, heard: &mut Vec<Said>) {
        let end = self.stream.join().expect("no panic");
        assert_eq!(end, EndReason::Stopped(StopReason(6)));
        heard.extend(self.texts.iter());
    }
}

fn script(seed: &str, duplicates: Duplicates) -> MeetingScript {
    MeetingScript {
        phrases_per_second: 10.0,
        // Ten phrases: far less than a tail has.
        replay: Duration::from_secs(1),
        duplicates,
        ..at_once(seed)
    }
}

/// Each phrase that was sent is there once, in whatever part.
fn assert_once(meeting: &MeetingHandle, mut heard: Vec<Said>) {
    let sent = meeting.sent();
    let mut sent: Vec<Said> = sent.into_iter().map(|p| (p.timestamp_ms, p.text)).collect();
    sent.sort_unstable();
    heard.sort_unstable();
    assert_eq!(heard, sent);
}

#[test]
fn a_handed_over_stream_has_each_phrase_once() {
    for duplicates in [Duplicates::Displace, Duplicates::Refuse] {
        let stage = stage(Options::default());
        let meeting = stage.zoom.start_meeting(script("hand over", duplicates));
        let joined = stage.announced();
        let mut heard = Vec::new();
        let mut node_before = node(&stage, &joined, None);
        for _ in 0..2 {
            node_before.hear(&mut heard, 8);
            assert_eq!(node_before.stream.phase(), StreamPhase::Receiving);
            let tail = node_before.hand_over(&mut heard);
            assert!(!tail.is_empty());
            assert_eq!(
                Some(tail.newest_ms()),
                heard.iter().map(|(ms, _)| *ms).max()
            );
            let packed = Tail::from_bytes(&tail.to_bytes());
            node_before = node(&stage, &joined, packed);
        }
        node_before.hear(&mut heard, 8);
        assert!(meeting.replayed() > 0, "Zoom has sent phrases again");
        assert!(node_before.stream.stats().repeated > 0);
        meeting.end(End::meeting_ended());
        node_before.end(&mut heard);
        assert_once(&meeting, heard);
        let violations = stage.end();
        assert!(violations.is_empty(), "{violations:?}");
    }
}

#[test]
fn who_is_cut_off_stays_quiet_when_it_is_displaced() {
    let stage = stage(Options::default());
    let meeting = stage
        .zoom
        .start_meeting(script("displaced", Duplicates::Displace));
    let joined = stage.announced();
    let mut heard = Vec::new();
    let cut_off = node(&stage, &joined, None);
    cut_off.hear(&mut heard, 3);
    // It has not reached the store any more.
    cut_off.permits.renew(Duration::ZERO);
    let tail = cut_off.stream.tail();
    let taker = node(&stage, &joined, tail);
    wait_until("it waits for a permit", || cut_off.permits.waiting() == 1);
    assert_eq!(cut_off.stream.phase(), StreamPhase::Lost);
    wait_until("it has taken over", || {
        taker.stream.phase() == StreamPhase::Receiving
    });
    taker.hear(&mut heard, 3);
    assert_eq!(meeting.count(Step::Lost), 0, "displaced once, and not back");
    cut_off.hand_over(&mut Vec::new());
    meeting.end(End::meeting_ended());
    taker.end(&mut heard);
    stage.end();
}

#[test]
fn who_is_refused_knows_that_another_has_the_stream() {
    let stage = stage(Options::default());
    let meeting = stage
        .zoom
        .start_meeting(script("refused", Duplicates::Refuse));
    let joined = stage.announced();
    let mut heard = Vec::new();
    let owner = node(&stage, &joined, None);
    owner.hear(&mut heard, 3);
    let second = node(&stage, &joined, owner.stream.tail());
    wait_until("it is refused", || second.stream.is_held_elsewhere());
    assert_eq!(second.stream.phase(), StreamPhase::Joining);
    second.stream.command(Command::HandOver { heir: None });
    let end = second.stream.join().expect("no panic");
    assert_eq!(end, EndReason::HandedOver { heir: None });
    owner.hear(&mut heard, 3);
    assert!(!owner.stream.is_held_elsewhere());
    meeting.end(End::meeting_ended());
    owner.end(&mut heard);
    assert_once(&meeting, heard);
    stage.end();
}
