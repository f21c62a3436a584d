//! A node of a fleet: the pure machine ([`crate::coordinator::fleet`]) in the daemon's loop.
//!
//! | file | |
//! | --- | --- |
//! | here | what it owns; what goes in: events, the store's news, time |
//! | [`carry`] | what comes out: carries out the machine's wishes |
//! | [`report`] | what the machine is told about meetings and streams |
//! | [`status`] | what the admin listener shows |
//! | [`clock`] | the own clock beside the store's |
//! | [`kept`] | what the next process must know |
//!
//! The machine decides whether an event is this node's. So the coordinator gets only events of meetings that
//! this node holds, and each stream that it starts has a permit for its signaling connection
//! ([`crate::stream::permit`]). Nothing here waits: the store has threads of its own
//! ([`crate::daemon::fleet_store`]).

mod carry;
mod clock;
mod kept;
mod report;
mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::fleet_digests::{FleetDigests, events_digest};
use super::fleet_status::Times;
use super::fleet_store::Codec;
use super::fleet_store::advice::explained;
use super::fleet_store::facts::Facts;
use super::fleet_store::inbox::Inbox;
use super::fleet_store::store::{News, Reach, Store};
use super::shutdown::HAND_OVER_MAX;
use super::snapshot::Snapshot;
use super::start::Surroundings;
use super::{Daemon, Ending, Error, Event, OnExit, now};
use crate::clock::now_ms;
use crate::coordinator::Coordinator;
use crate::coordinator::fleet::{
    About, Boot, CallId, Config, Incoming, Left, Machine, Member, NodeState, Queued, Reply, Tail,
};
use crate::domain::secret::Secret;
use crate::domain::severity::Severity;
use crate::domain::stream_info::StreamInfo;
use crate::net::resolve::Resolver;
use crate::protocol::tail as phrases;
use crate::source::events::State;
use crate::source::webhook::desk::Accepted;
use crate::source::webhook::payload;
use crate::stream::StreamOptions;
use crate::stream::permit::Permits;
use clock::Clock;
use report::Reported;

/// The data layout that this program writes.
const LAYOUT: u32 = 1;

/// A balancer needs this long to notice that a node is not ready; until then it still sends webhooks.
const NOTICE_MAX: Duration = Duration::from_secs(5);

/// How often phases of streams are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the threads of the store say.
#[derive(Debug)]
pub(super) enum FleetNews {
    Store(News),
    Queue(Vec<Queued>),
}

/// A node of a fleet.
pub(super) struct Fleet {
    machine: Machine,
    // The threads end with it: first the one that reads.
    queue: Inbox,
    store: Store,
    permits: Permits,
    /// When each beat that is on its way was asked for, on the clock of permits.
    beats: BTreeMap<CallId, Duration>,
    /// When the last beat that was answered was asked for.
    beat_answered: Duration,
    /// Events that were answered and are not settled.
    events: BTreeMap<u64, Accepted>,
    next_event: u64,
    /// What was taken out of the queue and is to be saved; and what was saved under which number.
    delivered: Vec<u64>,
    saved: VecDeque<(u64, Vec<u64>)>,
    /// What the machine was told of each meeting.
    reported: HashMap<String, Reported>,
    /// Meetings whose streams are leaving.
    releasing: BTreeSet<String>,
    /// A stream of one of them has left: its heir waits.
    has_one_left: bool,
    /// Last phrases of streams that have left.
    left_tails: HashMap<String, Tail>,
    /// Phrases that the tail had when it was sent to the store, by stream.
    tails_sent: HashMap<String, u64>,
    /// A batch of the queue was taken in, and the next is not read yet.
    is_queue_taken: bool,
    /// What is being discarded was told by another node.
    is_echo: bool,
    /// Streams that may try once when they have a thread.
    once: BTreeSet<String>,
    /// Last phrases of streams that were taken over, from who had them before.
    tails: HashMap<String, Tail>,
    tail_key: Secret,
    /// What the balancer is told.
    is_ready: Arc<AtomicBool>,
    facts: Option<Facts>,
    down_since: Option<Instant>,
    /// The outages that are over.
    down_before: Duration,
    clock: Clock,
    times: Arc<Times>,
    looked: Instant,
    draining_since: Option<Instant>,
    is_drained: bool,
    ending: Option<Ending>,
    digests: FleetDigests,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("node", &self.machine.name())
            .finish_non_exhaustive()
    }
}

impl Fleet {
    /// Joins the fleet of the settings, if there is one. The store is connected to later: a node starts without
    /// it.
    ///
    /// # Errors
    /// The state directory cannot be written; the system refuses a thread.
    pub(super) fn start(surroundings: Surroundings<'_>) -> Result<Option<Fleet>, Error> {
        let Surroundings {
            settings,
            state,
            coordinator,
            sender,
            tls,
            ingress,
        } = surroundings;
        let (Some(chosen), Some(state)) = (&settings.fleet, state) else {
            return Ok(None);
        };
        let mut random = [0; 16];
        openssl::rand::rand_bytes(&mut random).map_err(|error| Error::Io(error.into()))?;
        let [boot, seed] = [0, 8].map(|at| {
            let bytes = random.iter().skip(at).take(8);
            bytes.fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        });
        let me = Member {
            node: chosen.node.clone(),
            boot: Boot(boot),
        };
        let previous = kept::begin(state, &chosen.node, me.boot).map_err(Error::State)?;
        let app = settings.app();
        let (id, secret) = (&app.credentials.id, app.credentials.secret.expose());
        let codec = Codec::new(id, secret, &chosen.name, me.clone());
        // Others have the same: who takes a stream over recognizes its phrases.
        let tail_key = app.credentials.secret.clone();
        let reach = Reach {
            address: Arc::new(chosen.store.clone()),
            resolver: Resolver::default(),
            tls: tls.clone(),
            seed,
        };
        let digests = FleetDigests::of(settings);
        let config = Config {
            me,
            previous,
            layout: LAYOUT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            must: digests.must.clone(),
            capacity: settings.fleet_capacity(),
            admin: chosen.admin.clone(),
            since_ms: now_ms(),
            events: events_digest(settings),
            read: |body| payload::webhook(body).ok().map(|event| About::of(&event)),
        };
        let left = left(coordinator);
        let is_ready = Arc::new(AtomicBool::new(false));
        ingress.show_readiness(Arc::clone(&is_ready));
        let machine = Machine::new(Instant::now(), config, left);
        coordinator.watch();
        let news = sender.clone();
        let store = Store::start(
            &reach,
            codec.clone(),
            Box::new(move |it| news.send_always(Event::Fleet(FleetNews::Store(it)))),
        )?;
        store.set_settings(digests.settings.clone());
        let queue = sender.clone();
        let queue = Inbox::start(
            &reach,
            codec,
            Box::new(move |it| queue.send_always(Event::Fleet(FleetNews::Queue(it)))),
        )?;
        log::info!(
            "joining the fleet name={} node={} store={}",
            chosen.name,
            chosen.node,
            chosen.store
        );
        Ok(Some(Fleet {
            machine,
            queue,
            store,
            permits: Permits::new(),
            beats: BTreeMap::new(),
            beat_answered: Duration::ZERO,
            events: BTreeMap::new(),
            next_event: 0,
            delivered: Vec::new(),
            saved: VecDeque::new(),
            reported: HashMap::new(),
            releasing: BTreeSet::new(),
            has_one_left: false,
            left_tails: HashMap::new(),
            tails_sent: HashMap::new(),
            is_queue_taken: false,
            is_echo: false,
            once: BTreeSet::new(),
            tails: HashMap::new(),
            tail_key,
            is_ready,
            facts: None,
            down_since: None,
            down_before: Duration::ZERO,
            clock: Clock::default(),
            times: Arc::default(),
            looked: Instant::now(),
            draining_since: None,
            is_drained: false,
            ending: None,
            digests,
        }))
    }

    /// When the loop must look again.
    pub(super) fn due(&self, has_streams: bool) -> Instant {
        let look = self.looked + LOOK_EVERY;
        let needs_look = has_streams || !self.saved.is_empty() || self.draining_since.is_some();
        let due = self.machine.due();
        if needs_look { due.min(look) } else { due }
    }

    /// Whether webhooks should come here: not while it leaves, nor while its secrets are not those of most.
    fn is_ready(&self) -> bool {
        let state = self.machine.node_state(Instant::now());
        let is_alike = !self.machine.view().is_minority();
        is_alike && matches!(state, NodeState::Sure | NodeState::Unsure)
    }
}

/// The live meetings of the state directory.
fn left(coordinator: &Coordinator) -> Vec<Left> {
    let meetings = coordinator.meetings().into_iter();
    let left = meetings.map(|meeting| Left {
        epoch: coordinator.epoch_of(&meeting.id).unwrap_or(0),
        entry: coordinator.export(&meeting.id).unwrap_or_default(),
        streams: meeting.streams,
        meeting: meeting.id,
    });
    left.collect()
}

impl Daemon {
    /// Goes on with what an earlier process left, but for meetings of which the fleet knows more.
    pub(super) fn resume(&mut self) {
        let unsure = match &self.fleet {
            Some(_) => self
                .coordinator
                .meetings()
                .into_iter()
                .map(|it| it.id)
                .collect(),
            None => BTreeSet::new(),
        };
        let actions = self.coordinator.resume_except(now(), &unsure);
        if !actions.is_empty() {
            log::info!(
                "resuming what an earlier process left actions={}",
                actions.len()
            );
        }
        self.apply(actions);
    }

    /// Gives the fleet's machine an event that was answered; gives it back where there is no fleet.
    pub(super) fn for_fleet(&mut self, mut accepted: Accepted) -> Option<Accepted> {
        let Some(fleet) = &mut self.fleet else {
            return Some(accepted);
        };
        let number = fleet.next_event;
        fleet.next_event += 1;
        let event = Incoming {
            number,
            about: About::of(&accepted.event),
            body: std::mem::take(&mut accepted.body).into_vec(),
        };
        fleet.events.insert(number, accepted);
        fleet.machine.handle_event(Instant::now(), event);
        None
    }

    /// What the store's threads say.
    pub(super) fn fleet_news(&mut self, news: FleetNews) {
        let Some(fleet) = &mut self.fleet else {
            return;
        };
        let now = Instant::now();
        match news {
            FleetNews::Store(News::Reply(id, reply)) => {
                let id = CallId(id);
                if let Some(asked) = fleet.beats.remove(&id) {
                    fleet.beat_answered = asked;
                }
                if let Reply::Beat { sent, store_ms, .. } = &reply {
                    let took = sent.elapsed();
                    fleet.times.beat.record(took);
                    fleet.clock.compare(now_ms(), *store_ms, took);
                }
                fleet.machine.handle_reply(now, id, reply);
            }
            FleetNews::Store(News::Up(facts)) => {
                fleet.machine.handle_connected();
                fleet.is_up(facts);
                self.rest_timer.publish_grants();
            }
            FleetNews::Store(News::Down(why)) => fleet.is_down(&why),
            FleetNews::Store(News::Refused(why)) => {
                log::error!("the fleet's store refuses a call: {}", explained(&why));
            }
            FleetNews::Queue(queued) => {
                for it in queued {
                    fleet.machine.handle_queued(now, it);
                }
                fleet.is_queue_taken = true;
            }
        }
    }

    /// To be called after each event and when [`Fleet::due`] has come.
    pub(super) fn fleet_turn(&mut self) {
        let Some(fleet) = &mut self.fleet else {
            return;
        };
        let now = Instant::now();
        if let Some(events) = &self.events {
            let state = events.shared().snapshot().state;
            // Where another client has the subscription, another node would not do better.
            let is_fault = matches!(state, State::Connecting | State::Refused);
            (fleet.machine).set_events_state(now, state == State::Connected, is_fault);
        }
        if fleet.machine.due() <= now {
            fleet.machine.handle_timeout(now);
        }
        let is_look_due = now.saturating_duration_since(fleet.looked) >= LOOK_EVERY;
        if is_look_due {
            fleet.looked = now;
        }
        if std::mem::take(&mut fleet.has_one_left) {
            self.tell_released();
        }
        self.report_changes(is_look_due);
        self.carry_out();
        if is_look_due {
            self.after_look();
        }
    }

    /// A save has taken everything that was delivered until now.
    pub(super) fn note_fleet_save(&mut self) {
        let mark = self.snapshot.as_ref().map(Snapshot::mark);
        if let (Some(fleet), Some(mark)) = (&mut self.fleet, mark) {
            fleet.note_save(mark);
        }
    }

    /// A stream's signaling connections need a permit, and its phrases have a tail.
    pub(super) fn use_permit(&self, info: &StreamInfo, options: &mut StreamOptions) {
        if let Some(fleet) = &self.fleet {
            options.permit = Some(fleet.permits.for_stream());
            let before = fleet.tails.get(&info.stream_id);
            options.tail_key = Some(fleet.tail_key.clone());
            options.predecessor = before.and_then(|tail| phrases::Tail::from_bytes(tail));
        }
    }

    /// Of a fleet's keys a reload changes the capacity alone; digests are those of the settings in force.
    pub(super) fn reload_fleet(&mut self) {
        if let Some(fleet) = &mut self.fleet {
            fleet.machine.set_capacity(self.settings.fleet_capacity());
            let subscription = events_digest(&self.settings);
            fleet.machine.set_subscription(Instant::now(), subscription);
            fleet.digests = FleetDigests::of(&self.settings);
            fleet.store.set_settings(fleet.digests.settings.clone());
        }
    }

    /// The threads of the store end.
    pub(super) fn end_fleet(&mut self) {
        if let Some(fleet) = self.fleet.take() {
            fleet.queue.end();
            fleet.store.end();
        }
    }

    /// Whether the loop is to end, and how.
    pub(super) fn fleet_ending(&self) -> Option<Ending> {
        let fleet = self.fleet.as_ref()?;
        if let Some(ending) = fleet.ending {
            return Some(ending);
        }
        let since = fleet.draining_since?.elapsed();
        let is_done = fleet.is_drained && since >= NOTICE_MAX.min(HAND_OVER_MAX);
        (is_done || since >= HAND_OVER_MAX).then_some(Ending::Stopped)
    }

    /// SIGTERM: gives everything away first, if that is wanted. Whether the loop goes on meanwhile.
    pub(super) fn begins_hand_over(&mut self) -> bool {
        let is_wanted = self.settings.on_exit == OnExit::HandOver;
        let Some(fleet) = self.fleet.as_mut().filter(|_| is_wanted) else {
            return false;
        };
        if fleet.draining_since.is_some() {
            // Told twice: at once.
            return false;
        }
        log::info!(
            "handing meetings over to other nodes streams={}",
            self.running.len()
        );
        fleet.draining_since = Some(Instant::now());
        fleet.is_ready.store(false, Relaxed);
        fleet.machine.drain(Instant::now());
        true
    }
}

impl Fleet {
    fn is_up(&mut self, facts: Facts) {
        for (severity, finding) in facts.findings() {
            let store = facts.product();
            log::log!(level(severity), "the fleet's store ({store}): {finding}");
        }
        match self.down_since.take() {
            Some(since) => {
                let time = since.elapsed();
                self.down_before += time;
                log::info!(
                    "the fleet's store answers again seconds={:.1}",
                    time.as_secs_f64()
                );
            }
            None => log::info!(
                "the fleet's store answers product={} version={}",
                facts.name,
                facts.version
            ),
        }
        self.facts = Some(facts);
    }

    fn is_down(&mut self, why: &str) {
        // The reasons of one outage differ: first a connection breaks, then none can be made.
        let is_known = self.down_since.is_some();
        self.down_since.get_or_insert_with(Instant::now);
        log::log!(
            if is_known {
                log::Level::Debug
            } else {
                log::Level::Error
            },
            "the fleet's store cannot be used: {}; streams run on, and what comes here is received here",
            explained(why)
        );
    }
}

fn level(severity: Severity) -> log::Level {
    super::actions::log_level(severity)
}
