//! Conversations with Zoom's event WebSocket in virtual time.

use super::*;

const S: Duration = Duration::from_secs(1);

/// A machine, its clock, and what it said so far.
struct World {
    start: Instant,
    now: Instant,
    machine: Machine,
    said: Vec<(Severity, String)>,
    gaps: Vec<(u64, u64)>,
    events: Vec<String>,
    serial: u64,
    token_life: Option<Duration>,
}

/// What the machine wants next, apart from log lines, gaps and events.
#[derive(Debug, PartialEq, Eq)]
enum Want {
    Token(usize, Option<u64>),
    Connect(LinkId),
    Beat(LinkId),
    Close(LinkId),
}

fn world(kinds: usize) -> World {
    let start = Instant::now();
    let times = Times {
        heartbeat: HEARTBEAT_EVERY,
    };
    let mut machine = Machine::new(start, Turn::Ours, kinds, times, 1);
    machine.handle_time(start);
    World {
        start,
        now: start,
        machine,
        said: Vec::new(),
        gaps: Vec::new(),
        events: Vec::new(),
        serial: 0,
        token_life: None,
    }
}

impl World {
    fn wants(&mut self) -> Vec<Want> {
        let mut wants = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::FetchToken { kind, refused } => wants.push(Want::Token(kind, refused)),
                Output::Connect(id) => wants.push(Want::Connect(id)),
                Output::Beat(id, text) => {
                    assert_eq!(text, r#"{"module":"heartbeat"}"#);
                    wants.push(Want::Beat(id));
                }
                Output::Close(id) => wants.push(Want::Close(id)),
                Output::Event(body) => self
                    .events
                    .push(String::from_utf8(body).expect("it was text")),
                Output::GapOver { since, until, .. } => {
                    let ms = |at: Instant| (at - self.start).as_millis() as u64;
                    self.gaps.push((ms(since), ms(until)));
                }
                Output::Unknown(_) | Output::Trouble(_) => {}
                Output::Log(severity, text) => self.said.push((severity, text)),
            }
        }
        wants
    }

    fn token(&mut self) -> Vec<Want> {
        self.serial += 1;
        let renew_at = self.token_life.map(|life| self.now + life);
        let stamp = TokenStamp {
            serial: self.serial,
            renew_at,
        };
        self.machine.handle_token(self.now, Ok(stamp));
        self.wants()
    }

    fn text(&mut self, id: LinkId, text: &str) -> Vec<Want> {
        self.machine
            .handle_message(self.now, id, Some(text.as_bytes()));
        self.wants()
    }

    /// The connection is opened and accepted.
    fn up(&mut self, id: LinkId) -> Vec<Want> {
        self.machine.handle_open(self.now, id);
        self.text(id, r#"{"module":"build_connection","success":true}"#)
    }

    /// From the wish for a token to an accepted connection; returns its number.
    fn connect(&mut self) -> LinkId {
        let wants = self.wants();
        assert!(matches!(wants[..], [Want::Token(..)]), "{wants:?}");
        let wants = self.token();
        let [Want::Connect(id)] = wants[..] else {
            panic!("{wants:?}");
        };
        let wants = self.up(id);
        assert!(wants.is_empty(), "{wants:?}");
        id
    }

    fn lost(&mut self, id: LinkId, loss: Loss) -> Vec<Want> {
        self.machine.handle_lost(self.now, id, &loss);
        self.wants()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// To the next deadline.
    fn wait(&mut self) -> (Duration, Vec<Want>) {
        let at = self.machine.poll_timeout().expect("something is planned");
        let waited = at.saturating_duration_since(self.now);
        self.now = self.now.max(at);
        self.machine.handle_time(self.now);
        (waited, self.wants())
    }

    fn answer_beats(&mut self, id: LinkId, count: usize) {
        for _ in 0..count {
            let (_, wants) = self.wait();
            assert_eq!(wants, [Want::Beat(id)]);
            let answer = r#"{"module":"heartbeat","success":true,"content":"live"}"#;
            assert!(self.text(id, answer).is_empty());
        }
    }

    fn said(&self, severity: Severity, word: &str) -> usize {
        let is_it = |line: &&(Severity, String)| line.0 == severity && line.1.contains(word);
        self.said.iter().filter(is_it).count()
    }
}

#[test]
fn events_follow_an_accepted_connection() {
    let mut w = world(1);
    assert_eq!(w.machine.state(), State::Connecting);
    let id = w.connect();
    assert_eq!(w.machine.state(), State::Connected);
    assert_eq!(w.machine.deaf_since(), None);
    w.text(id, r#"{"module":"message","content":"{\"event\":\"a\"}"}"#);
    assert_eq!(w.events, [r#"{"event":"a"}"#]);
    assert_eq!(w.gaps, [(0, 0)]);
    assert_eq!(w.said(Severity::Info, "events connected"), 1);
    w.answer_beats(id, 100);
    assert_eq!((w.gaps.len(), w.said.len()), (1, 1));
}

#[test]
fn a_connection_that_zoom_does_not_accept_is_not_used() {
    let mut w = world(1);
    w.wants();
    w.token();
    w.machine.handle_open(w.now, 1);
    // Nothing comes after the upgrade.
    let (waited, wants) = w.wait();
    assert_eq!((waited, wants), (BUILD_MAX, vec![Want::Close(1)]));
    let (waited, wants) = w.wait();
    assert!(waited >= S / 2 && waited <= S, "{waited:?}");
    assert_eq!(wants, [Want::Token(0, None)]);
    assert_eq!(w.gaps, []);
}

#[test]
fn a_lost_connection_is_replaced_at_once_and_then_more_slowly() {
    let mut w = world(1);
    let id = w.connect();
    w.answer_beats(id, 3);
    assert!(w.lost(id, Loss::Broken("reset".to_owned())).is_empty());
    assert_eq!(w.machine.state(), State::Connecting);
    let (waited, wants) = w.wait();
    assert_eq!(
        (waited, wants),
        (Duration::ZERO, vec![Want::Token(0, None)])
    );
    // The network stays away for ten minutes.
    let (mut tries, mut longest) = (0, Duration::ZERO);
    let until = w.now + 600 * S;
    while w.now < until {
        let wants = w.token();
        let [Want::Connect(id)] = wants[..] else {
            panic!("{wants:?}");
        };
        assert!(w.lost(id, Loss::Connect("no route".to_owned())).is_empty());
        let (waited, wants) = w.wait();
        assert_eq!(wants, [Want::Token(0, None)]);
        longest = longest.max(waited);
        tries += 1;
    }
    assert!((15..60).contains(&tries), "{tries}");
    assert!(longest > WAIT_MAX / 2 && longest <= WAIT_MAX, "{longest:?}");
    assert!(
        w.said(Severity::Warn, "events not connected") <= 3,
        "{:?}",
        w.said
    );
    let wants = w.token();
    let [Want::Connect(id)] = wants[..] else {
        panic!("{wants:?}");
    };
    w.up(id);
    let (since, to) = w.gaps[1];
    // Since Zoom was heard last, not since the loss was noticed.
    assert_eq!(since, 90_000);
    assert!(to >= 690_000, "{to}");
    assert_eq!(w.said(Severity::Info, "connected again gap_s="), 1);
}

#[test]
fn a_half_open_connection_is_noticed_within_two_heartbeats() {
    let mut w = world(1);
    let id = w.connect();
    w.answer_beats(id, 2);
    let silent_since = w.now;
    w.pass(S);
    let (_, wants) = w.wait();
    assert_eq!(wants, [Want::Beat(id)]);
    let (_, wants) = w.wait();
    assert_eq!(wants, [Want::Close(id), Want::Token(0, None)]);
    assert_eq!(w.now - silent_since, 2 * HEARTBEAT_EVERY);
    let since = w.machine.deaf_since().expect("it is not connected");
    assert_eq!(since, silent_since);
}

#[test]
fn anything_that_arrives_answers_a_heartbeat() {
    let mut w = world(1);
    let id = w.connect();
    for _ in 0..10 {
        let (_, wants) = w.wait();
        assert_eq!(wants, [Want::Beat(id)]);
        w.pass(S);
        // A pong.
        w.machine.handle_message(w.now, id, None);
    }
}

#[test]
fn the_next_connection_is_there_before_the_token_ends_and_nothing_is_missed() {
    let mut w = world(1);
    w.token_life = Some(3310 * S);
    let first = w.connect();
    w.answer_beats(first, 109);
    let wants = loop {
        let (_, wants) = w.wait();
        if wants != [Want::Beat(first)] {
            break wants;
        }
        w.machine.handle_message(w.now, first, None);
    };
    assert_eq!(wants, [Want::Token(0, None)]);
    assert_eq!(w.now - w.start, 3310 * S);
    let wants = w.token();
    assert_eq!(wants, [Want::Connect(2)]);
    // Events still arrive on the old one, and on the new one from its first message on.
    w.text(first, r#"{"module":"message","content":"1"}"#);
    assert!(w.up(2).is_empty());
    w.text(first, r#"{"module":"message","content":"2"}"#);
    w.text(2, r#"{"module":"message","content":"3"}"#);
    assert_eq!(w.events, ["1", "2", "3"]);
    // Zoom closes the old one.
    assert!(w.lost(first, Loss::Closed(Some(1000))).is_empty());
    assert_eq!(w.machine.state(), State::Connected);
    assert_eq!(w.gaps.len(), 1);
    // A second time Zoom does not close it.
    loop {
        let (_, wants) = w.wait();
        if wants == [Want::Token(0, None)] {
            break;
        }
        w.machine.handle_message(w.now, 2, None);
    }
    w.token();
    w.up(3);
    let (waited, wants) = w.wait();
    assert_eq!((waited, wants), (LEAVE_MAX, vec![Want::Close(2)]));
}

#[test]
fn a_close_that_overtakes_the_answer_to_the_next_connection_is_no_gap() {
    let mut w = world(1);
    w.token_life = Some(100 * S);
    let first = w.connect();
    w.answer_beats(first, 3);
    let (_, wants) = w.wait();
    assert_eq!(wants, [Want::Token(0, None)]);
    w.token();
    // Even before we have noticed that the next one is open.
    assert!(w.lost(first, Loss::Closed(Some(1000))).is_empty());
    assert!(w.up(2).is_empty());
    assert_eq!((w.gaps.len(), w.machine.state()), (1, State::Connected));
    // If it is not accepted after all, it is one.
    let mut w = world(1);
    w.token_life = Some(100 * S);
    let first = w.connect();
    w.answer_beats(first, 3);
    w.wait();
    w.token();
    w.machine.handle_open(w.now, 2);
    w.lost(first, Loss::Closed(Some(1000)));
    w.lost(2, Loss::Broken("reset".to_owned()));
    assert!(w.machine.deaf_since().is_some());
}

#[test]
fn a_renewal_that_fails_leaves_the_connection_alone() {
    let mut w = world(1);
    w.token_life = Some(60 * S);
    let id = w.connect();
    w.answer_beats(id, 1);
    loop {
        let (_, wants) = w.wait();
        if wants.contains(&Want::Token(0, None)) {
            break;
        }
        w.machine.handle_message(w.now, id, None);
    }
    let failure = TokenFailure {
        text: "fetch access token: no connection".to_owned(),
        is_final: false,
        retry_after: None,
    };
    w.machine.handle_token(w.now, Err(failure));
    assert!(w.wants().iter().all(|want| *want == Want::Beat(id)));
    assert_eq!(w.machine.state(), State::Connected);
    w.machine.handle_message(w.now, id, None);
    assert!(w.machine.poll_timeout().expect("a plan") <= w.now + RENEW_AGAIN);
    assert_eq!(w.said(Severity::Warn, "the present connection goes on"), 1);
    assert_eq!(w.gaps.len(), 1);
}

#[test]
fn a_refused_token_is_replaced_then_each_other_kind_is_tried_then_a_person_is_called() {
    let mut w = world(2);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let wants = w.wants();
        let wants = match wants.is_empty() {
            true => w.wait().1,
            false => wants,
        };
        let [Want::Token(kind, refused)] = wants[..] else {
            panic!("{wants:?}");
        };
        asked.push((kind, refused));
        let wants = w.token();
        let [Want::Connect(id)] = wants[..] else {
            panic!("{wants:?}");
        };
        w.machine.handle_open(w.now, id);
        w.lost(id, Loss::Closed(Some(1008)));
    }
    assert_eq!(asked, [(0, None), (0, Some(1)), (1, None), (1, Some(3))]);
    assert_eq!(w.machine.state(), State::Refused);
    assert_eq!(w.said(Severity::Error, "check that ZOOM_EVENTS_URL"), 1);
    let (waited, wants) = w.wait();
    assert!(waited >= REFUSED_FIRST / 2, "{waited:?}");
    // The first kind again; a person may have fixed it at Zoom.
    assert_eq!(wants, [Want::Token(0, None)]);
    let wants = w.token();
    let [Want::Connect(id)] = wants[..] else {
        panic!("{wants:?}");
    };
    w.up(id);
    assert_eq!(w.machine.state(), State::Connected);
}

#[test]
fn a_token_that_ends_in_use_is_replaced_at_once() {
    let mut w = world(1);
    let id = w.connect();
    w.answer_beats(id, 5);
    assert!(w.lost(id, Loss::Closed(Some(1008))).is_empty());
    let (waited, wants) = w.wait();
    assert_eq!(
        (waited, wants),
        (Duration::ZERO, vec![Want::Token(0, Some(1))])
    );
    w.token();
    w.up(2);
    assert_eq!(w.machine.state(), State::Connected);
    assert_eq!(w.said(Severity::Error, ""), 0);
}

#[test]
fn a_refused_build_connection_shows_zooms_reason() {
    let mut w = world(1);
    for _ in 0..2 {
        let wants = w.wants();
        if wants.is_empty() {
            w.wait();
        }
        let wants = w.token();
        let [Want::Connect(id)] = wants[..] else {
            panic!("{wants:?}");
        };
        w.machine.handle_open(w.now, id);
        let wants = w.text(
            id,
            r#"{"module":"build_connection","success":false,"content":"no such subscription"}"#,
        );
        assert!(wants.contains(&Want::Close(id)), "{wants:?}");
    }
    assert_eq!(w.said(Severity::Error, "\"no such subscription\""), 1);
}

#[test]
fn two_clients_do_not_fight() {
    let mut w = world(1);
    let mut id = w.connect();
    w.answer_beats(id, 10);
    // The other client connects, and again whenever we do.
    w.lost(id, Loss::Closed(Some(1000)));
    let (waited, wants) = w.wait();
    assert_eq!(
        (waited, wants),
        (Duration::ZERO, vec![Want::Token(0, None)])
    );
    let mut takes = 0;
    let day = w.now + 86_400 * S;
    while w.now < day {
        let wants = w.token();
        let [Want::Connect(next)] = wants[..] else {
            panic!("{wants:?}");
        };
        id = next;
        w.up(id);
        takes += 1;
        w.pass(S);
        w.lost(id, Loss::Closed(Some(1000)));
        let (_, wants) = w.wait();
        assert_eq!(wants, [Want::Token(0, None)]);
    }
    assert_eq!(w.machine.state(), State::Displaced);
    assert_eq!(w.said(Severity::Error, "events displaced"), 1);
    assert!(takes < 120, "{takes} in a day");
    // The other client ends.
    w.token();
    w.up(id + 1);
    w.answer_beats(id + 1, 3);
    assert_eq!(w.said(Severity::Info, "the other client has left"), 1);
    // A single close after that is nothing special.
    w.lost(id + 1, Loss::Closed(Some(1001)));
    assert_eq!(w.machine.state(), State::Connecting);
    let (waited, _) = w.wait();
    assert_eq!(waited, Duration::ZERO);
}

#[test]
fn a_restart_of_zooms_server_is_not_taken_for_another_client() {
    let mut w = world(1);
    let id = w.connect();
    w.answer_beats(id, 10);
    w.lost(id, Loss::Closed(Some(1001)));
    w.wait();
    w.token();
    w.up(2);
    w.pass(5 * S);
    w.lost(2, Loss::Closed(Some(1001)));
    assert_eq!(w.machine.state(), State::Connecting);
    let (waited, _) = w.wait();
    assert!(waited <= S, "{waited:?}");
}

#[test]
fn after_a_suspend_the_connection_is_replaced_and_its_silence_is_a_gap() {
    let mut w = world(1);
    let id = w.connect();
    w.answer_beats(id, 1);
    w.pass(3600 * S);
    w.machine.handle_resume(w.now);
    let wants = w.wants();
    assert!(wants.contains(&Want::Token(0, None)), "{wants:?}");
    w.token();
    w.up(2);
    assert_eq!(w.gaps.last(), Some(&(30_000, 3_630_000)));
}

#[test]
fn other_settings_are_used_at_once_without_a_gap() {
    let mut w = world(2);
    let id = w.connect();
    w.answer_beats(id, 1);
    w.machine.handle_settings(w.now, 1);
    assert_eq!(w.wants(), [Want::Token(0, None)]);
    assert_eq!(w.token(), [Want::Connect(2)]);
    assert_eq!(w.machine.state(), State::Connected);
    w.up(2);
    assert_eq!(w.gaps.len(), 1);
}

#[test]
fn a_token_that_cannot_be_had_is_replaced_by_one_of_another_kind() {
    let mut w = world(2);
    assert_eq!(w.wants(), [Want::Token(0, None)]);
    let failure = TokenFailure {
        text: "fetch access token: bad account".to_owned(),
        is_final: true,
        retry_after: None,
    };
    w.machine.handle_token(w.now, Err(failure));
    assert_eq!(w.wants(), []);
    assert_eq!(w.wait(), (Duration::ZERO, vec![Want::Token(1, None)]));
    w.token();
    w.up(1);
    assert_eq!(w.machine.state(), State::Connected);
}

#[test]
fn a_token_that_only_a_person_can_fix_is_asked_for_seldom_and_said_once() {
    let mut w = world(1);
    let until = w.now + 3600 * S;
    let mut tries = 0;
    w.wants();
    while w.now < until {
        tries += 1;
        let failure = TokenFailure {
            text: "fetch access token: zoom refuses the client id".to_owned(),
            is_final: true,
            retry_after: None,
        };
        w.machine.handle_token(w.now, Err(failure));
        w.wants();
        let (_, wants) = w.wait();
        assert_eq!(wants, [Want::Token(0, None)]);
    }
    assert!(tries < 40, "{tries}");
    let errors = w.said(Severity::Error, "refuses the client id");
    assert!((1..=7).contains(&errors), "{errors}");
}

/// A node of a fleet, told that it is its turn.
fn of_fleet(replaces: bool) -> World {
    let mut w = world(1);
    w.machine = Machine::new(w.start, Turn::Anothers, 1, w.machine.times, 1);
    w.machine.handle_time(w.now);
    assert_eq!((w.wants(), w.machine.poll_timeout()), (vec![], None));
    assert_eq!(w.machine.state(), State::Elsewhere);
    assert_eq!(w.machine.deaf_since(), None);
    w.turn(Turn::Ours, replaces);
    w
}

impl World {
    fn turn(&mut self, turn: Turn, replaces: bool) {
        self.machine.handle_turn(self.now, turn, replaces);
    }
}

#[test]
fn who_takes_the_place_of_a_node_that_runs_has_missed_nothing() {
    let mut w = of_fleet(true);
    w.pass(S);
    w.connect();
    assert_eq!(w.gaps, [(1000, 1000)]);
    assert_eq!(w.said.len(), 1, "{:?}", w.said);
    assert!(w.said[0].1.contains("in place of another node"));
    // Where that took longer the node may have left.
    let mut w = of_fleet(true);
    w.pass(6 * S);
    w.connect();
    assert_eq!(w.gaps, [(0, 6000)]);
    // And where none had it.
    let mut w = of_fleet(false);
    w.pass(S);
    w.connect();
    assert_eq!(w.gaps, [(0, 1000)]);
}

#[test]
fn a_connection_is_kept_until_zoom_closes_it_for_another_node() {
    let mut w = of_fleet(false);
    w.token_life = Some(20 * S);
    let id = w.connect();
    w.turn(Turn::Anothers, false);
    assert_eq!(w.machine.state(), State::Connected);
    // It sends its heartbeats, and is not renewed.
    let (after, wants) = w.wait();
    assert_eq!((after, wants), (30 * S, vec![Want::Beat(id)]));
    w.text(id, r#"{"module":"heartbeat"}"#);
    assert!(w.machine.is_leaving(id), "it is no loss");
    assert_eq!(w.lost(id, Loss::Closed(Some(1000))), []);
    assert_eq!(w.machine.state(), State::Elsewhere);
    assert_eq!(
        (w.machine.deaf_since(), w.machine.poll_timeout()),
        (None, None)
    );
    // Nothing else makes it connect.
    w.machine.handle_resume(w.now);
    w.machine.handle_settings(w.now, 1);
    assert_eq!(w.wants(), []);
    assert_eq!(w.gaps.len(), 1);
    let faults = w
        .said
        .iter()
        .filter(|(severity, _)| *severity >= Severity::Warn);
    assert_eq!(faults.count(), 0, "{:?}", w.said);
    // Its turn again.
    w.turn(Turn::Ours, true);
    w.connect();
}

#[test]
fn a_turn_that_comes_back_goes_on_with_the_connection() {
    let mut w = of_fleet(false);
    w.token_life = Some(20 * S);
    w.connect();
    w.turn(Turn::Anothers, false);
    w.pass(5 * S);
    w.turn(Turn::Ours, false);
    assert_eq!(w.wants(), []);
    let (after, wants) = w.wait();
    assert_eq!((after, wants), (15 * S, vec![Want::Token(0, None)]));
}

#[test]
fn what_is_on_its_way_when_the_turn_ends_is_given_up() {
    let mut w = of_fleet(false);
    assert_eq!(w.wants(), [Want::Token(0, None)]);
    let wants = w.token();
    let [Want::Connect(id)] = wants[..] else {
        panic!("{wants:?}");
    };
    w.turn(Turn::Anothers, false);
    assert_eq!(w.wants(), [Want::Close(id)]);
    assert_eq!(w.machine.poll_timeout(), None);
    // A token that comes later is not used.
    w.turn(Turn::Ours, false);
    assert_eq!(w.wants(), [Want::Token(0, None)]);
    w.turn(Turn::Anothers, false);
    assert_eq!(w.token(), []);
}

#[test]
fn who_does_not_know_whose_turn_it_is_connects_again_but_does_not_fight() {
    let mut w = of_fleet(false);
    let id = w.connect();
    w.pass(100 * S);
    w.turn(Turn::Unsure, false);
    assert_eq!(w.wants(), []);
    // The network: at once.
    assert_eq!(w.lost(id, Loss::Broken("reset".to_owned())), []);
    assert_eq!(w.wait(), (Duration::ZERO, vec![Want::Token(0, None)]));
    let wants = w.token();
    let [Want::Connect(id)] = wants[..] else {
        panic!("{wants:?}");
    };
    w.up(id);
    w.pass(100 * S);
    // Zoom: once, and later.
    assert_eq!(w.lost(id, Loss::Closed(Some(1000))), []);
    let (after, wants) = w.wait();
    assert_eq!((after, wants), (UNSURE_WAIT, vec![Want::Token(0, None)]));
    let wants = w.token();
    let [Want::Connect(id)] = wants[..] else {
        panic!("{wants:?}");
    };
    w.up(id);
    w.pass(S);
    assert_eq!(w.lost(id, Loss::Closed(Some(1000))), []);
    assert_eq!(w.machine.state(), State::Displaced);
    let (after, _) = w.wait();
    assert!(after >= AWAY_FIRST / 2, "{after:?}");
    let errors = w
        .said
        .iter()
        .filter(|(severity, _)| *severity == Severity::Error);
    assert_eq!(errors.count(), 0, "{:?}", w.said);
}

#[test]
fn when_the_store_says_that_the_turn_is_ours_a_try_is_made_at_once() {
    let mut w = of_fleet(false);
    let id = w.connect();
    w.pass(100 * S);
    w.turn(Turn::Unsure, false);
    assert_eq!(w.lost(id, Loss::Closed(Some(1000))), []);
    w.pass(S);
    w.turn(Turn::Ours, true);
    w.connect();
    // The other node had it meanwhile.
    assert_eq!(w.gaps.last(), Some(&(101_000, 101_000)));
}
