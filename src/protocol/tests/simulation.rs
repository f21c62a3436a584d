//! A simulated Zoom that drops, delays, repeats, reorders and corrupts at random, and the
//! invariants that must hold. A failure prints its seed; `RTMSD_SEED` replays one, `RTMSD_SEEDS`
//! sets how many to play instead of 3,000.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::random::Random;
use super::talk::{config, url};
use crate::protocol::codes::StopReason;
use crate::protocol::{
    Command, EndReason, LinkId, Loss, MediaKind, Notice, Output, Stream, StreamEvent,
};

struct World {
    random: Random,
    now: Instant,
    stream: Stream,
    /// Links that exist for the stream, and whether they were opened.
    links: HashMap<LinkId, bool>,
    /// Those of them whose server does not exist.
    dead: BTreeSet<LinkId>,
    asked: HashMap<LinkId, u64>,
    answered: HashMap<LinkId, u64>,
    phrases_sent: u64,
    phrases_received: u64,
    ended: bool,
    audio: Audio,
    /// Media links requested since signaling was accepted, and those of them that were given up.
    media: BTreeSet<LinkId>,
    given_up: BTreeSet<LinkId>,
    /// When signaling connections were requested, except those that a command forced.
    tries: Vec<Instant>,
    is_forced: bool,
}

/// What always happens to the audio link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audio {
    Good,
    NeverThere,
    NeverAnswered,
    /// Answered by data, without message 4.
    Mute,
    /// Refused each time with a code that may be temporary.
    Refused,
}

const MEDIA: [LinkId; 3] = [
    LinkId::Media(MediaKind::Transcript),
    LinkId::Media(MediaKind::Audio),
    LinkId::Media(MediaKind::All),
];
const AUDIO: LinkId = MEDIA[1];

impl World {
    fn new(seed: u64) -> World {
        let now = Instant::now();
        let mut random = Random::new(seed);
        let mut config = config("transcript,audio");
        if random.one_in(3) {
            config.urls = vec![url("dead"), url("sig")];
        }
        let audio = match random.below(10) {
            0 => Audio::NeverThere,
            1 => Audio::NeverAnswered,
            2 => Audio::Mute,
            3 => Audio::Refused,
            _ => Audio::Good,
        };
        let mut world = World {
            random,
            now,
            stream: Stream::new(now, config),
            audio,
            media: BTreeSet::new(),
            given_up: BTreeSet::new(),
            tries: Vec::new(),
            is_forced: false,
            links: HashMap::new(),
            dead: BTreeSet::new(),
            asked: HashMap::new(),
            answered: HashMap::new(),
            phrases_sent: 0,
            phrases_received: 0,
            ended: false,
        };
        world.drain();
        world
    }

    fn drain(&mut self) -> Option<Instant> {
        for _ in 0..10_000 {
            match self.stream.poll_output() {
                Output::Connect { link, url, .. } => {
                    let previous = self.links.insert(link, false);
                    assert_eq!(previous, None, "two links of a kind: {link}");
                    if link == LinkId::Signaling {
                        if !std::mem::take(&mut self.is_forced) {
                            self.check_tries();
                        }
                    } else {
                        self.media.insert(link);
                    }
                    if url.host().starts_with("dead") {
                        self.dead.insert(link);
                    } else {
                        self.dead.remove(&link);
                    }
                }
                Output::Send(link, text) => {
                    assert_eq!(self.links.get(&link), Some(&true), "sent on {link}: {text}");
                    // A number beyond the range of floats is valid JSON, and is echoed unchanged.
                    serde_json::from_str::<&RawValue>(&text).expect("JSON");
                    if text.starts_with("{\"msg_type\":13") {
                        *self.answered.entry(link).or_default() += 1;
                    }
                }
                Output::Close(link) => {
                    assert!(self.links.remove(&link).is_some(), "closed twice: {link}");
                }
                Output::Notice(notice) => self.note(&notice),
                Output::Wait(deadline) => return Some(deadline),
                Output::End(reason) => {
                    if let EndReason::Lost(link @ LinkId::Media(_), _) = reason {
                        self.given_up.insert(link);
                        assert_eq!(self.given_up, self.media, "ended with media left");
                    }
                    assert!(self.links.is_empty(), "left open: {:?}", self.links);
                    self.ended = true;
                    return None;
                }
            }
        }
        panic!("the stream never waits");
    }

    fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::Accepted(LinkId::Signaling) | Notice::OneSocket => {
                self.media.clear();
                self.given_up.clear();
            }
            Notice::Accepted(link) => {
                self.given_up.remove(link);
            }
            Notice::GivenUp { kind, .. } => {
                self.given_up.insert(LinkId::Media(*kind));
            }
            Notice::NotGranted { kind, .. } => {
                self.media.remove(&LinkId::Media(*kind));
            }
            _ => {}
        }
    }

    /// At most 30 tries per minute, unless commands force them.
    fn check_tries(&mut self) {
        let now = self.now;
        self.tries.push(now);
        self.tries
            .retain(|at| now.duration_since(*at) < Duration::from_secs(60));
        assert!(self.tries.len() <= 30, "{} tries", self.tries.len());
    }

    fn open_links(&self) -> Vec<LinkId> {
        let mut open: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, open)| **open)
            .map(|(link, _)| *link)
            .collect();
        open.sort_unstable();
        open
    }

    fn hear(&mut self, link: LinkId, message: &Value) {
        let mut text = message.to_string();
        let mut is_whole = true;
        if self.random.one_in(12) {
            let mut bytes = text.into_bytes();
            for _ in 0..=self.random.below(3) {
                let at = self.random.below(bytes.len() as u64) as usize;
                bytes[at] = b' ' + (self.random.below(94) as u8);
            }
            text = String::from_utf8(bytes).unwrap_or_default();
            is_whole = false;
        }
        let times = if self.random.one_in(10) { 2 } else { 1 };
        for _ in 0..times {
            if self.ended || self.links.get(&link) != Some(&true) {
                return;
            }
            let is_question = is_whole && message["msg_type"] == 12;
            if is_question {
                *self.asked.entry(link).or_default() += 1;
            }
            let is_phrase = is_whole && message["msg_type"] == 17;
            if is_phrase {
                self.phrases_sent += 1;
            }
            let event = self.stream.handle_message(self.now, link, &text);
            if is_phrase && matches!(event, Ok(Some(StreamEvent::Transcript(_)))) {
                self.phrases_received += 1;
            }
            if is_question {
                // Answered before anything else happens, on the link that sent it.
                self.drain();
                let asked = self.asked.get(&link).copied();
                let answered = self.answered.get(&link).copied();
                assert!(answered >= asked, "keep-alive unanswered on {link}");
            }
            self.drain();
        }
    }

    fn step(&mut self) {
        let open = self.open_links();
        let some_link = |world: &mut World| {
            (!open.is_empty()).then(|| open[world.random.below(open.len() as u64) as usize])
        };
        match self.random.below(21) {
            // Connections are opened, or fail.
            0..=4 => {
                let mut waiting: Vec<LinkId> = self
                    .links
                    .iter()
                    .filter(|(_, open)| !**open)
                    .map(|(link, _)| *link)
                    .collect();
                waiting.sort_unstable();
                for link in waiting {
                    let is_dead = self.dead.contains(&link)
                        || link == AUDIO && self.audio == Audio::NeverThere;
                    if is_dead || self.random.one_in(4) {
                        self.links.remove(&link);
                        self.stream
                            .handle_closed(self.now, link, Loss::Connect("no".into()));
                    } else {
                        self.links.insert(link, true);
                        self.stream.handle_opened(self.now, link);
                    }
                    self.drain();
                    if self.ended {
                        return;
                    }
                }
            }
            5..=8 => {
                let status = if self.random.one_in(5) {
                    self.random.below(50)
                } else {
                    0
                };
                let urls = match self.random.below(6) {
                    0 => json!({"all": "wss://all.zoom.us"}),
                    1 => json!({"transcript": ["wss://dead.zoom.us", "wss://t.zoom.us"],
                        "audio": "wss://dead.zoom.us,wss://a.zoom.us", "all": "wss://x.zoom.us"}),
                    _ => json!({"transcript": "wss://t.zoom.us", "audio": "wss://a.zoom.us"}),
                };
                self.hear(
                    LinkId::Signaling,
                    &json!({"msg_type": 2, "status_code": status,
                        "media_server": {"server_urls": urls}}),
                );
                for link in MEDIA {
                    let status = match (link == AUDIO, self.audio) {
                        (true, Audio::NeverAnswered) => continue,
                        (true, Audio::Mute) => {
                            let data = json!({"msg_type": 14, "content": {"data": "AAA="}});
                            self.hear(link, &data);
                            continue;
                        }
                        (true, Audio::Refused) => 45,
                        _ if self.random.one_in(6) => self.random.below(50),
                        _ => 0,
                    };
                    self.hear(link, &json!({"msg_type": 4, "status_code": status}));
                }
            }
            9..=10 => {
                if let Some(link) = some_link(self) {
                    let stamp = self.random.next() % 2_000_000_000_000;
                    self.hear(
                        link,
                        &json!({"msg_type": 12, "timestamp": stamp, "sequence": 1}),
                    );
                }
            }
            11..=13 => {
                let n = self.phrases_sent;
                let media = [MEDIA[0], MEDIA[2]];
                let link = media[usize::from(!self.links.contains_key(&MEDIA[0]))];
                self.hear(
                    link,
                    &json!({"msg_type": 17, "content": {"data": n.to_string()}}),
                );
            }
            14 => {
                if let Some(link) = some_link(self) {
                    self.links.remove(&link);
                    self.stream
                        .handle_closed(self.now, link, Loss::Closed(None));
                    self.drain();
                }
            }
            15 => {
                let state = self.random.below(4) as i64;
                let reason = if self.random.one_in(2) {
                    14
                } else {
                    self.random.below(27)
                };
                self.hear(
                    LinkId::Signaling,
                    &json!({"msg_type": 8, "state": state, "reason": reason}),
                );
            }
            16 => {
                let event_type = self.random.below(12);
                self.hear(
                    LinkId::Signaling,
                    &json!({"msg_type": 6, "event": {"event_type": event_type}}),
                );
            }
            17 => {
                self.is_forced = true;
                if self.random.one_in(4) {
                    // A newer start follows a stop.
                    let stop = Command::Stopped(StopReason(6));
                    self.stream.handle_command(self.now, stop);
                    self.drain();
                    if self.ended {
                        return;
                    }
                    self.now += Duration::from_millis(self.random.below(900));
                    self.stream
                        .handle_command(self.now, Command::FailOver(vec![url("next")]));
                    self.drain();
                    assert!(!self.ended, "a newer start was lost");
                    return;
                }
                let command = match self.random.below(8) {
                    0..=2 => Command::Interrupted {
                        event_ts_ms: self.random.next(),
                        urls: Vec::new(),
                    },
                    3 => Command::Interrupted {
                        event_ts_ms: 1,
                        urls: vec![url("other")],
                    },
                    4 => Command::FailOver(vec![url("next")]),
                    5 => Command::FailOver(vec![url("dead"), url("dead2"), url("next")]),
                    6 => Command::SystemResumed,
                    _ => Command::Interrupted {
                        event_ts_ms: 0,
                        urls: Vec::new(),
                    },
                };
                self.stream.handle_command(self.now, command);
                self.drain();
            }
            18 => {
                if let Some(link) = some_link(self) {
                    let before = self.links.len();
                    self.stream.handle_oversize(self.now, link, u64::MAX);
                    self.drain();
                    assert_eq!(self.links.len(), before, "a large message cost a link");
                }
            }
            _ => {
                self.now += Duration::from_millis(self.random.below(20_000));
                self.stream.handle_timeout(self.now);
                self.drain();
            }
        }
    }
}

fn play(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..300 {
        if world.ended {
            break;
        }
        world.step();
    }
    assert_eq!(
        world.phrases_sent, world.phrases_received,
        "a phrase that arrived was not kept"
    );
    if !world.ended {
        // In any state, a stop ends it within the drain time.
        let stopped = world.now;
        world
            .stream
            .handle_command(world.now, Command::Stopped(StopReason(6)));
        while let Some(deadline) = world.drain() {
            world.now = world.now.max(deadline);
            world.stream.handle_timeout(world.now);
        }
        assert!(
            world.now - stopped <= Duration::from_secs(2),
            "a stop that takes too long"
        );
    }
    // Without messages from Zoom it ends by itself.
    let mut silent = World::new(seed);
    for _ in 0..(seed % 40) {
        if !silent.ended {
            silent.step();
        }
    }
    let since = silent.now;
    let mut turns = 0;
    while !silent.ended
        && let Some(deadline) = silent.drain()
    {
        assert!(
            deadline >= silent.now || deadline < since,
            "a deadline in the past"
        );
        silent.now = silent.now.max(deadline);
        silent.stream.handle_timeout(silent.now);
        turns += 1;
        assert!(
            turns < 1000,
            "it loops without progress: {:?}",
            silent.stream
        );
        assert!(
            silent.now - since < Duration::from_secs(300),
            "it never gives up"
        );
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a failing test must print its seed")]
fn invariants_hold_for_any_behavior_of_zoom() {
    let number = |key| std::env::var(key).ok().map(|n| n.parse().expect(key));
    let seeds = match number("RTMSD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RTMSD_SEEDS").unwrap_or(3000),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| play(seed)) {
            eprintln!("replay with RTMSD_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
