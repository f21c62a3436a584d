//! How long a stream is disconnected after several faults in a row, with the current retry policy
//! and with the previous one.
//!
//! `RTMSD_OUTAGES=2000 cargo test --lib outages -- --nocapture` plays more meetings and prints the
//! table.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::json;

use super::random::Random;
use super::talk::{config, url};
use crate::protocol::reconnect::{POLICY, Policy};
use crate::protocol::{Command, LinkId, Loss, MediaKind, Output, Stream};

const MEETINGS: u64 = 10;
const FAULTS: usize = 5;

/// Zoom's advice, implemented literally: a link accepted for less than three seconds did not
/// restart the series, and the delays kept growing.
static PREDECESSOR: Policy = Policy {
    delays: &[
        Duration::ZERO,
        Duration::from_secs(3),
        Duration::from_secs(6),
        Duration::from_secs(12),
        Duration::from_secs(24),
        Duration::from_secs(30),
    ],
    steady: Duration::from_secs(3),
    has_jitter: false,
    is_always_renewed: false,
};
static PRESENT: Policy = POLICY;

const MEDIA: [LinkId; 2] = [
    LinkId::Media(MediaKind::Audio),
    LinkId::Media(MediaKind::Transcript),
];

/// What Zoom's side of a meeting will do.
enum Event {
    /// The connection with this number is open.
    Opened(LinkId),
    Refused(LinkId),
    Answer(LinkId),
    Cut(LinkId),
    Fault,
}

struct Meeting {
    random: Random,
    now: Instant,
    stream: Stream,
    /// Future events in order; the number is that of the link's connection.
    events: BTreeMap<(Instant, u64), (u64, Event)>,
    sequence: u64,
    /// The number of each link's connection, and whether its handshake was accepted.
    links: HashMap<LinkId, (u64, bool)>,
    /// Refusals to come, for signaling and for media.
    refusals: [Vec<i64>; 2],
    /// Number of further accepted connections that are cut after 0.2 s.
    short_lives: u64,
    /// Until then no connection can be made.
    outage: Instant,
    /// Until then no handshake is answered.
    stall: Instant,
    faults_left: usize,
    is_fault_due: bool,
    lost_at: Option<Instant>,
    away: Vec<Duration>,
    has_ended: bool,
}

impl Meeting {
    fn new(seed: u64, policy: &'static Policy) -> Meeting {
        let now = Instant::now();
        let mut config = config("transcript,audio");
        config.stream_id = format!("stream {seed}");
        let mut meeting = Meeting {
            random: Random::new(seed),
            now,
            stream: Stream::with_policy(now, config, policy),
            events: BTreeMap::new(),
            sequence: 0,
            links: HashMap::new(),
            refusals: Default::default(),
            short_lives: 0,
            outage: now,
            stall: now,
            faults_left: FAULTS,
            is_fault_due: false,
            lost_at: Some(now),
            away: Vec::new(),
            has_ended: false,
        };
        meeting.drain();
        meeting
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.random.below(to - from))
    }

    fn after(&mut self, delay: Duration, number: u64, event: Event) {
        self.sequence += 1;
        let at = (self.now + delay, self.sequence);
        self.events.insert(at, (number, event));
    }

    fn drain(&mut self) -> Instant {
        loop {
            match self.stream.poll_output() {
                Output::Connect { link, .. } => {
                    self.sequence += 1;
                    let number = self.sequence;
                    self.links.insert(link, (number, false));
                    let (delay, event) = match self.now < self.outage {
                        true => (self.ms(1, 30), Event::Refused(link)),
                        false => (self.ms(20, 80), Event::Opened(link)),
                    };
                    self.after(delay, number, event);
                }
                Output::Send(link, text)
                    if text.starts_with("{\"msg_type\":1,")
                        || text.starts_with("{\"msg_type\":3,") =>
                {
                    let number = self.links[&link].0;
                    let wait = self.stall.saturating_duration_since(self.now);
                    let delay = wait + self.ms(20, 60);
                    self.after(delay, number, Event::Answer(link));
                }
                Output::Send(..) | Output::Notice(_) => {}
                Output::Close(link) => {
                    self.links.remove(&link);
                }
                Output::Wait(deadline) => {
                    self.note_readiness();
                    return deadline;
                }
                Output::End(_) => {
                    self.has_ended = true;
                    return self.now;
                }
            }
        }
    }

    fn note_readiness(&mut self) {
        let is_up = |link: &LinkId| self.links.get(link).is_some_and(|(_, up)| *up);
        let is_whole =
            self.stream.is_ready() && is_up(&LinkId::Signaling) && MEDIA.iter().all(is_up);
        match (is_whole, self.lost_at) {
            (true, Some(lost)) => {
                // The first connection is not a recovery.
                if self.faults_left < FAULTS {
                    self.away.push(self.now - lost);
                }
                self.lost_at = None;
                if self.faults_left > 0 && !self.is_fault_due {
                    self.is_fault_due = true;
                    let delay = self.ms(100, 15_000);
                    self.after(delay, 0, Event::Fault);
                }
            }
            (false, None) => self.lost_at = Some(self.now),
            _ => {}
        }
    }

    fn happen(&mut self, number: u64, event: Event) {
        let is_present = |link: &LinkId| self.links.get(link).is_some_and(|(n, _)| *n == number);
        match event {
            Event::Opened(link) if is_present(&link) => {
                self.stream.handle_opened(self.now, link);
            }
            Event::Refused(link) if is_present(&link) => {
                self.links.remove(&link);
                let loss = Loss::Connect("refused".to_owned());
                self.stream.handle_closed(self.now, link, loss);
            }
            Event::Cut(link) if is_present(&link) => self.cut(link),
            Event::Answer(link) if is_present(&link) => self.answer(link, number),
            Event::Fault => self.fault(),
            _ => {}
        }
    }

    fn cut(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some() {
            self.stream
                .handle_closed(self.now, link, Loss::Closed(None));
        }
    }

    fn answer(&mut self, link: LinkId, number: u64) {
        let is_media = link != LinkId::Signaling;
        let status = self.refusals[usize::from(is_media)].pop().unwrap_or(0);
        if status == 0 {
            self.links.insert(link, (number, true));
            if self.short_lives > 0 {
                self.short_lives -= 1;
                self.after(Duration::from_millis(200), number, Event::Cut(link));
            }
        }
        let answer = match is_media {
            true => json!({"msg_type": 4, "status_code": status}),
            false => json!({"msg_type": 2, "status_code": status, "media_server":
                {"server_urls": {"transcript": "wss://t.zoom.us", "audio": "wss://a.zoom.us"}}}),
        };
        let text = answer.to_string();
        let _ = self.stream.handle_message(self.now, link, &text);
    }

    fn fault(&mut self) {
        self.faults_left -= 1;
        self.is_fault_due = false;
        let which = match self.random.below(3) {
            0 => LinkId::Signaling,
            n => MEDIA[n as usize - 1],
        };
        let is_media = usize::from(which != LinkId::Signaling);
        match self.random.below(12) {
            0..=2 => {}
            // All of it within a second.
            3 => {
                for link in MEDIA {
                    let number = self.links.get(&link).map_or(0, |link| link.0);
                    let delay = self.ms(0, 100);
                    self.after(delay, number, Event::Cut(link));
                }
                return self.cut(LinkId::Signaling);
            }
            4..=5 => {
                let command = Command::FailOver(vec![url("next")]);
                return self.stream.handle_command(self.now, command);
            }
            6..=7 => {
                let times = 1 + self.random.below(3) as usize;
                let codes = [[8, 45], [16, 15]][is_media];
                let code = codes[self.random.below(2) as usize];
                self.refusals[is_media] = vec![code; times];
            }
            8 => {
                self.short_lives = 1 + self.random.below(3);
                self.refusals[is_media] = vec![[8, 16][is_media]; 2];
            }
            9 => self.stall = self.now + self.ms(500, 2000),
            10 => self.outage = self.now + self.ms(200, 2500),
            _ => {
                self.cut(LinkId::Signaling);
                self.short_lives = self.random.below(3);
                self.refusals = [vec![8; 2], vec![16; 1]];
            }
        }
        self.cut(which);
    }

    fn play(mut self) -> (Vec<Duration>, bool) {
        let limit = self.now + Duration::from_secs(1200);
        loop {
            let deadline = self.drain();
            let is_done = self.faults_left == 0 && self.lost_at.is_none();
            if self.has_ended || is_done {
                return (self.away, self.has_ended);
            }
            assert!(self.now < limit, "neither connected nor given up");
            match self.events.pop_first() {
                Some(((at, _), (number, event))) if at <= deadline => {
                    self.now = at;
                    self.happen(number, event);
                }
                next => {
                    if let Some((at, event)) = next {
                        self.events.insert(at, event);
                    }
                    self.now = self.now.max(deadline);
                    self.stream.handle_timeout(self.now);
                }
            }
        }
    }
}

/// Median, p99 and longest time disconnected in seconds, and how many streams were given up.
fn measure(seeds: u64, policy: &'static Policy) -> (f64, f64, f64, usize) {
    let (mut away, mut lost) = (Vec::new(), 0);
    for seed in 0..seeds * MEETINGS {
        let (times, is_lost) = Meeting::new(seed, policy).play();
        away.extend(times);
        lost += usize::from(is_lost);
    }
    away.sort_unstable();
    let at = |percent: usize| away[(away.len() - 1) * percent / 100].as_secs_f64();
    (at(50), at(99), at(100), lost)
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is printed on request")]
fn several_faults_in_a_row_lose_no_stream() {
    let seeds = std::env::var("RTMSD_OUTAGES").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
    let row = |name, (p50, p99, longest, lost): (f64, f64, f64, usize)| {
        println!("{name:<12} {p50:>8.2} {p99:>8.2} {longest:>8.2} {lost:>6}");
    };
    let (before, now) = (measure(seeds, &PREDECESSOR), measure(seeds, &PRESENT));
    println!(
        "{} meetings, {FAULTS} faults each: seconds from loss to ready",
        seeds * MEETINGS
    );
    println!(
        "{:<12} {:>8} {:>8} {:>8} {:>6}",
        "policy", "p50", "p99", "longest", "lost"
    );
    row("predecessor", before);
    row("present", now);
    let (p50, p99, longest, lost) = now;
    assert_eq!(lost, 0);
    assert!(p50 <= 0.5, "{p50}");
    assert!(p99 <= 4.0, "{p99}");
    assert!(longest <= 10.0, "{longest}");
    assert!(
        before.1 > p99,
        "the faults are such that the policy matters"
    );
}
