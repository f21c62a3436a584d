//! What the scripts decide, by the model of the demo; that the model is right is shown in
//! `tests/it/fleet_scripts.rs`.

use std::time::{Duration, Instant};

use super::seal::{Kind, Seal};
use super::{Codec, Script, Value};
use crate::coordinator::fleet::call::{
    Boot, Call, Claimable, Member, Message, Queued, Reply, Routed, Row,
};
use crate::coordinator::fleet::record::{Phase, Record, StreamPhase};
use crate::demo::fleet_store::Model;
use crate::domain::split_mix::SplitMix;

const DEAD: Duration = Duration::from_secs(5);

fn member(node: &str, boot: u64) -> Member {
    Member {
        node: node.to_owned(),
        boot: Boot(boot),
    }
}

/// A store, its clock, and the calls of any process.
struct Fleet {
    model: Model,
    now_ms: u64,
    sent: Instant,
}

impl Fleet {
    /// Nodes `a`, `b` and `c` have just beaten.
    fn new() -> Fleet {
        let mut fleet = Fleet {
            model: Model::new(),
            now_ms: 1_764_000_000_000,
            sent: Instant::now(),
        };
        for (node, boot) in [("a", 1), ("b", 2), ("c", 3)] {
            fleet.beat(node, boot);
        }
        fleet
    }

    fn codec(&self, node: &str, boot: u64) -> Codec {
        Codec::new("client", "client secret", "default", member(node, boot))
    }

    fn call(&mut self, (node, boot): (&str, u64), call: &Call) -> Reply {
        let codec = self.codec(node, boot);
        let commands = codec.encode(call).into_iter();
        let values: Vec<_> = commands
            .map(|command| self.model.call(self.now_ms, &command))
            .collect();
        codec.decode(call, self.sent, &values)
    }

    fn beat(&mut self, node: &str, boot: u64) -> Reply {
        self.beat_after(node, boot, None)
    }

    fn beat_after(&mut self, node: &str, boot: u64, previous: Option<Boot>) -> Reply {
        let row = Row {
            boot: Boot(boot),
            seq: 1,
            layout: 1,
            version: "0.2.0".to_owned(),
            must: "same".to_owned(),
            streams: 0,
            capacity: 700,
            is_draining: false,
            admin: "127.0.0.1:9\"|".to_owned(),
            since_ms: 7,
            events: None,
        };
        self.call((node, boot), &Call::Beat { row, previous })
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    fn queue(&mut self, by: (&str, u64)) -> Vec<Queued> {
        let codec = self.codec(by.0, by.1);
        let value = self.model.call(self.now_ms, &codec.read_messages("0"));
        codec.messages(&value).expect("a list").0
    }

    fn read(&mut self, meeting: &str) -> Option<Record> {
        let meeting = meeting.to_owned();
        match self.call(A, &Call::Read { meeting }) {
            Reply::Read { record } => record,
            other => panic!("{other:?}"),
        }
    }
}

const A: (&str, u64) = ("a", 1);
const B: (&str, u64) = ("b", 2);

fn claim(expected: Option<&str>, to: (&str, u64), when: Claimable) -> Call {
    Call::Claim {
        meeting: "m".to_owned(),
        expected: expected.map(str::to_owned),
        to: member(to.0, to.1),
        when,
        messages: Vec::new(),
    }
}

fn publish(epoch: u64, phase: StreamPhase) -> Call {
    Call::Publish {
        meeting: "m".to_owned(),
        epoch,
        previous: None,
        streams: vec![("s 1".to_owned(), phase)],
        is_over: false,
        entry: Some(b"entry".to_vec()),
    }
}

fn route(expected: Option<&str>, body: &[u8]) -> Call {
    Call::Route {
        meeting: "m".to_owned(),
        expected: expected.map(str::to_owned),
        dead_after: DEAD,
        message: Message::Event(body.to_vec()),
    }
}

#[test]
fn scripts_are_few_lines_and_say_what_they_are() {
    let lines: usize = Script::ALL.iter().map(|s| s.text().lines().count()).sum();
    // Three have it.
    let lines = lines - 2 * include_str!("lua/record.lua").lines().count();
    assert!(lines < 200, "{lines}");
    for script in Script::ALL {
        let name = format!("{script:?}").to_lowercase();
        assert!(script.text().starts_with(&format!("-- {name} 1\n")));
        assert_eq!(Script::by_first_line(script.text()), Some(script));
    }
    assert_eq!(Script::by_first_line("-- beat 2\n"), None);
}

#[test]
fn a_beat_shows_all_rows() {
    let mut fleet = Fleet::new();
    fleet.pass(1_200);
    let Reply::Beat {
        store_ms,
        era,
        before,
        rows,
        ..
    } = fleet.beat("a", 1)
    else {
        panic!("no beat");
    };
    assert_eq!(store_ms, fleet.now_ms);
    assert_eq!(before.expect("a row").admin, "127.0.0.1:9\"|");
    let ages: Vec<_> = rows
        .iter()
        .map(|r| (r.node.as_str(), r.age.as_millis()))
        .collect();
    assert_eq!(ages, [("a", 0), ("b", 1_200), ("c", 1_200)]);
    // The era stays, and an empty store gets another.
    let eras = |reply| match reply {
        Reply::Beat { era, .. } => era,
        other => panic!("{other:?}"),
    };
    assert_eq!(eras(fleet.beat("b", 2)), era);
    fleet.model.clear();
    assert_ne!(eras(fleet.beat("b", 2)), era);
}

#[test]
fn one_name_is_one_process() {
    let mut fleet = Fleet::new();
    fleet.pass(4_999);
    let Reply::Taken { other } = fleet.beat("a", 9) else {
        panic!("two of one name");
    };
    assert_eq!(
        (other.row.boot, other.age),
        (Boot(1), Duration::from_millis(4_999))
    );
    // The state directory proves that the other is gone; or it has been silent.
    assert!(matches!(
        fleet.beat_after("a", 9, Some(Boot(1))),
        Reply::Beat { .. }
    ));
    fleet.pass(5_000);
    assert!(matches!(fleet.beat("a", 10), Reply::Beat { .. }));
    // Only its own row is removed.
    for boot in [Boot(9), Boot(10)] {
        let node = "a".to_owned();
        assert_eq!(fleet.call(A, &Call::RemoveRow { node, boot }), Reply::Done);
        let Reply::Beat { rows, .. } = fleet.beat("b", 2) else {
            panic!("no beat");
        };
        assert_eq!(rows.iter().any(|row| row.node == "a"), boot == Boot(9));
    }
}

#[test]
fn a_new_meeting_is_placed_and_taken() {
    let mut fleet = Fleet::new();
    assert_eq!(
        fleet.call(A, &route(None, b"1")),
        Reply::Routed(Routed::None)
    );
    let placed = Call::Claim {
        meeting: "m".to_owned(),
        expected: None,
        to: member("b", 2),
        when: Claimable::Free,
        messages: vec![Message::Event(b"started".to_vec())],
    };
    let claimed = Reply::Claimed {
        epoch: 1,
        before: None,
        tails: Vec::new(),
        silent_for: None,
    };
    // Without a row no process would read the queue.
    let elsewhere = Call::Claim {
        meeting: "m".to_owned(),
        expected: None,
        to: member("gone", 9),
        when: Claimable::Free,
        messages: vec![Message::Event(b"started".to_vec())],
    };
    assert_eq!(fleet.call(A, &elsewhere), Reply::QueueFull);
    assert_eq!(fleet.call(A, &placed), claimed);
    let messages: Vec<_> = fleet.queue(B).into_iter().map(|q| q.message).collect();
    let take = Message::Take {
        meeting: "m".to_owned(),
    };
    assert_eq!(
        messages,
        [Some(take), Some(Message::Event(b"started".to_vec()))]
    );
    // No other node can have it, until it was not taken for three seconds.
    let mine = claim(Some("b"), A, Claimable::Dead(DEAD));
    fleet.pass(2_999);
    assert!(matches!(fleet.call(A, &mine), Reply::Held(record) if record.phase == Phase::Placed));
    assert_eq!(
        fleet.call(B, &claim(Some("b"), B, Claimable::Free)),
        claimed
    );
    fleet.pass(1);
    assert!(matches!(fleet.call(A, &mine), Reply::Held(record) if record.phase == Phase::Held));
    assert_eq!(
        fleet.call(B, &publish(1, StreamPhase::Joining)),
        Reply::Ok { epoch: 1 }
    );
    assert_eq!(
        fleet.call(A, &route(None, b"2")),
        Reply::Routed(Routed::Moved {
            owner: "b".to_owned()
        })
    );
    assert_eq!(
        fleet.call(A, &route(Some("b"), b"2")),
        Reply::Routed(Routed::Queued)
    );
    assert_eq!(
        fleet.call(B, &route(Some("a"), b"2")),
        Reply::Routed(Routed::Mine)
    );
    let stream_id = "s 1".to_owned();
    let found = Reply::Found {
        meeting: Some("m".to_owned()),
    };
    assert_eq!(fleet.call(A, &Call::Find { stream_id }), found);
}

#[test]
fn what_is_placed_and_not_taken_is_claimed_by_its_guarantor() {
    let mut fleet = Fleet::new();
    fleet.call(A, &claim(None, B, Claimable::Free));
    fleet.pass(3_000);
    fleet.beat("b", 2);
    let reply = fleet.call(A, &claim(Some("b"), A, Claimable::Dead(DEAD)));
    assert!(
        matches!(reply, Reply::Claimed { epoch: 2, .. }),
        "{reply:?}"
    );
}

#[test]
fn a_dead_node_s_meeting_comes_with_its_entry_and_tails() {
    let mut fleet = Fleet::new();
    fleet.call(B, &publish(0, StreamPhase::Receiving));
    let codec = fleet.codec("b", 2);
    let tail = vec![7; 16];
    for command in codec.tails([("s 1", &tail)].into_iter(), true) {
        fleet.model.call(fleet.now_ms, &command);
    }
    fleet.pass(5_000);
    fleet.beat("a", 1);
    assert_eq!(
        fleet.call(A, &route(Some("b"), b"x")),
        Reply::Routed(Routed::Dead)
    );
    let Reply::Claimed {
        epoch,
        before,
        tails,
        silent_for,
    } = fleet.call(A, &claim(Some("b"), A, Claimable::Dead(DEAD)))
    else {
        panic!("not claimed");
    };
    let before = before.expect("a record");
    assert_eq!((epoch, before.epoch, before.owner), (2, 1, member("b", 2)));
    assert_eq!(before.entry, b"entry");
    // Who claims it does not receive.
    assert_eq!(before.streams, [("s 1".to_owned(), StreamPhase::Lost)]);
    assert_eq!(tails, [("s 1".to_owned(), tail)]);
    assert_eq!(silent_for, Some(DEAD));
    let owned = |fleet: &mut Fleet, node: &str| {
        let node = node.to_owned();
        fleet.call(A, &Call::Owned { node })
    };
    assert_eq!(
        owned(&mut fleet, "a"),
        Reply::Meetings(vec!["m".to_owned()])
    );
    assert_eq!(owned(&mut fleet, "b"), Reply::Meetings(Vec::new()));
}

#[test]
fn who_receives_owns() {
    let mut fleet = Fleet::new();
    fleet.call(B, &publish(0, StreamPhase::Receiving));
    // A has claimed it while B was silent, but does not receive; B comes back, and does.
    fleet.pass(5_000);
    fleet.beat("a", 1);
    fleet.call(A, &claim(Some("b"), A, Claimable::Dead(DEAD)));
    fleet.beat("b", 2);
    assert_eq!(
        fleet.call(B, &publish(1, StreamPhase::Receiving)),
        Reply::Ok { epoch: 3 }
    );
    // Now B owns and receives: A does not get it back by the same words.
    for phase in [StreamPhase::Joining, StreamPhase::Receiving] {
        let reply = fleet.call(A, &publish(2, phase));
        assert!(
            matches!(&reply, Reply::Newer(record) if record.epoch == 3),
            "{reply:?}"
        );
    }
    // Unless the store has gone back to a time before A's epoch.
    assert_eq!(
        fleet.call(A, &publish(4, StreamPhase::Receiving)),
        Reply::Ok { epoch: 5 }
    );
}

#[test]
fn a_restart_in_place_keeps_the_epoch() {
    let mut fleet = Fleet::new();
    fleet.call(B, &publish(4, StreamPhase::Receiving));
    fleet.beat_after("b", 20, Some(Boot(2)));
    let mut again = publish(4, StreamPhase::Lost);
    if let Call::Publish {
        previous, entry, ..
    } = &mut again
    {
        (*previous, *entry) = (Some(Boot(2)), None);
    }
    assert_eq!(fleet.call(("b", 20), &again), Reply::Ok { epoch: 4 });
    let record = fleet.read("m").expect("a record");
    assert_eq!(
        (record.owner, record.entry),
        (member("b", 20), b"entry".to_vec())
    );
}

#[test]
fn a_meeting_is_handed_over_with_its_tails() {
    let mut fleet = Fleet::new();
    fleet.call(A, &publish(0, StreamPhase::Receiving));
    let tail = vec![9; 24];
    let hand = |epoch| Call::Hand {
        meeting: "m".to_owned(),
        epoch,
        heir: member("b", 2),
        entry: b"last words".to_vec(),
        tails: vec![("s 1".to_owned(), tail.clone())],
    };
    assert!(
        matches!(fleet.call(A, &hand(7)), Reply::Newer(_)),
        "of another epoch"
    );
    // Without its row no node would read the queue of the heir.
    let gone = Call::RemoveRow {
        node: "b".to_owned(),
        boot: Boot(2),
    };
    fleet.call(B, &gone);
    assert_eq!(fleet.call(A, &hand(1)), Reply::QueueFull);
    fleet.beat("b", 2);
    assert_eq!(fleet.call(A, &hand(1)), Reply::Ok { epoch: 2 });
    let record = fleet.read("m").expect("a record");
    assert_eq!((record.phase, record.receives()), (Phase::Handing, false));
    let reply = fleet.call(B, &claim(Some("b"), B, Claimable::Free));
    let Reply::Claimed {
        epoch: 2,
        before: Some(before),
        tails,
        ..
    } = reply
    else {
        panic!("{reply:?}");
    };
    assert_eq!((before.owner, before.epoch), (member("a", 1), 1));
    // The heir learns that it was handed over, and when.
    assert_eq!(before.phase, Phase::Handing);
    assert_eq!((before.entry, tails.len()), (b"last words".to_vec(), 1));
    assert_eq!(tails[0].1, tail);
    // Whose reply was lost hears it, also when the heir has it already.
    assert_eq!(fleet.call(A, &hand(1)), Reply::Ok { epoch: 2 });
    assert!(matches!(
        fleet.call(A, &publish(1, StreamPhase::Lost)),
        Reply::Newer(_)
    ));
}

/// The answer that names them may be lost.
#[test]
fn who_takes_a_record_hears_of_its_other_streams_until_it_knows_its_epoch() {
    let mut fleet = Fleet::new();
    fleet.call(A, &publish(0, StreamPhase::Lost));
    let other = |epoch| Call::Publish {
        meeting: "m".to_owned(),
        epoch,
        previous: None,
        streams: vec![("s 2".to_owned(), StreamPhase::Receiving)],
        is_over: false,
        entry: Some(b"of the other".to_vec()),
    };
    for _ in 0..3 {
        let reply = fleet.call(B, &other(0));
        let Reply::Overwritten { epoch: 2, before } = reply else {
            panic!("{reply:?}");
        };
        assert_eq!((before.owner, before.epoch), (member("a", 1), 1));
        let listed = vec![("s 1".to_owned(), StreamPhase::Lost)];
        assert_eq!((before.streams, before.entry), (listed, b"entry".to_vec()));
    }
    assert_eq!(fleet.call(B, &other(2)), Reply::Ok { epoch: 2 });
    assert_eq!(fleet.call(B, &other(0)), Reply::Ok { epoch: 2 });
}

/// Without it no other node could take the meeting.
#[test]
fn who_publishes_a_record_without_an_entry_is_told_so() {
    let mut fleet = Fleet::new();
    let without = |is_over| Call::Publish {
        meeting: "m".to_owned(),
        epoch: 3,
        previous: None,
        streams: vec![("s 1".to_owned(), StreamPhase::Receiving)],
        is_over,
        entry: None,
    };
    assert_eq!(fleet.call(A, &without(false)), Reply::Bare { epoch: 3 });
    assert_eq!(fleet.call(A, &without(false)), Reply::Bare { epoch: 3 });
    let whole = publish(3, StreamPhase::Receiving);
    assert_eq!(fleet.call(A, &whole), Reply::Ok { epoch: 3 });
    assert_eq!(fleet.call(A, &without(false)), Reply::Ok { epoch: 3 });
    // What is over needs none.
    fleet.model = Model::new();
    assert_eq!(fleet.call(A, &without(true)), Reply::Ok { epoch: 3 });
}

#[test]
fn the_record_of_an_ended_meeting_leads_to_its_last_owner() {
    let mut fleet = Fleet::new();
    fleet.call(B, &publish(0, StreamPhase::Receiving));
    let over = Call::Publish {
        meeting: "m".to_owned(),
        epoch: 1,
        previous: None,
        streams: Vec::new(),
        is_over: true,
        entry: None,
    };
    assert_eq!(fleet.call(B, &over), Reply::Ok { epoch: 1 });
    assert_eq!(
        fleet.call(A, &route(Some("b"), b"x")),
        Reply::Routed(Routed::Queued)
    );
    fleet.pass(5_000);
    assert_eq!(
        fleet.call(A, &route(Some("b"), b"x")),
        Reply::Routed(Routed::None)
    );
    // It begins again elsewhere; its owner alone keeps the epoch.
    assert!(matches!(
        fleet.call(A, &claim(None, A, Claimable::Free)),
        Reply::Claimed { epoch: 2, .. }
    ));
}

#[test]
fn nothing_that_is_not_by_us_is_believed() {
    let seal = Seal::new("client secret", "default");
    let sealed = seal.seal(Kind::Entry, "m", b"content");
    assert_eq!(
        seal.open(Kind::Entry, "m", &sealed),
        Some(b"content".as_slice())
    );
    assert_eq!(seal.open(Kind::Entry, "n", &sealed), None);
    assert_eq!(seal.open(Kind::Message, "m", &sealed), None);
    assert_eq!(seal.open(Kind::Entry, "m", &sealed[..31]), None);
    for other in [
        Seal::new("another", "default"),
        Seal::new("client secret", "b"),
    ] {
        assert_eq!(other.open(Kind::Entry, "m", &sealed), None);
    }
    for n in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[n] ^= 1;
        assert_eq!(seal.open(Kind::Entry, "m", &changed), None);
    }

    // What stands in a queue and is not by us is only to be removed; an entry counts as none.
    let mut fleet = Fleet::new();
    fleet.call(A, &publish(0, StreamPhase::Receiving));
    let names = fleet.codec("a", 1).names().clone();
    let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
    let now_ms = fleet.now_ms;
    let mut write = |verb, key: Vec<u8>, args: &[&[u8]]| {
        let command = super::Command::plain(verb, vec![key], words(args));
        fleet.model.call(now_ms, &command)
    };
    write("HSET", names.meeting("m"), &[b"entry", &sealed]);
    write("XADD", names.queue("a"), &[b"*", b"m", &sealed]);
    write("XADD", names.queue("a"), &[b"*", b"f", b""]);
    assert_eq!(
        fleet.read("m").map(|record| record.entry),
        Some(b"content".to_vec())
    );
    let moved = Seal::new("client secret", "default").seal(Kind::Entry, "n", b"content");
    let args = words(&[b"entry", &moved]);
    let command = super::Command::plain("HSET", vec![names.meeting("m")], args);
    fleet.model.call(now_ms, &command);
    assert_eq!(fleet.read("m").map(|record| record.entry), Some(Vec::new()));
    let queue = fleet.queue(A);
    assert_eq!(queue.len(), 2);
    assert!(queue.iter().all(|queued| queued.message.is_none()));
    let ids = queue.into_iter().map(|queued| queued.id).collect();
    let node = "a".to_owned();
    assert_eq!(fleet.call(A, &Call::Remove { node, ids }), Reply::Done);
    assert_eq!(fleet.queue(A), []);
}

#[test]
fn a_node_that_is_away_deletes_when_it_returns() {
    let mut fleet = Fleet::new();
    let message = Message::Discard {
        stream_id: "s 1".to_owned(),
        withdrawal: b"{}".to_vec(),
    };
    let node = "b".to_owned();
    let send = Call::Send {
        node: node.clone(),
        message: message.clone(),
    };
    assert_eq!(fleet.call(A, &send), Reply::Sent { has_room: true });
    // Another node routes what waits there again, and removes it: the files stay on the list.
    let Reply::Queue(waits) = fleet.call(A, &Call::ReadQueue { node: node.clone() }) else {
        panic!("no queue");
    };
    assert_eq!(waits[0].message, Some(message.clone()));
    let ids = vec![waits[0].id.clone()];
    fleet.call(
        A,
        &Call::Remove {
            node: node.clone(),
            ids,
        },
    );
    assert_eq!(fleet.queue(B), []);
    // More than a day later.
    fleet.pass(80 * 24 * 3600 * 1000);
    let codec = fleet.codec("b", 2);
    let listed = |fleet: &mut Fleet| {
        let value = fleet.model.call(fleet.now_ms, &codec.read_to_delete());
        codec.to_delete(&value).expect("a list")
    };
    let queued = listed(&mut fleet);
    assert_eq!(queued[0].message, Some(message));
    let ids = vec![queued[0].id.clone()];
    fleet.call(B, &Call::Remove { node, ids });
    assert_eq!(listed(&mut fleet), []);
}

#[test]
fn streams_that_come_home_bring_what_is_needed() {
    let mut fleet = Fleet::new();
    for tails in [
        vec![],
        vec![("s 1".to_owned(), vec![0; 16]), ("s2".to_owned(), vec![])],
    ] {
        let message = Message::Streams {
            meeting: "m/1==".to_owned(),
            from: "a".to_owned(),
            entry: b"{\"v\":1}".to_vec(),
            tails,
        };
        let node = "b".to_owned();
        let send = Call::Send {
            node,
            message: message.clone(),
        };
        assert_eq!(fleet.call(A, &send), Reply::Sent { has_room: true });
        let queue = fleet.queue(B);
        assert_eq!(queue.last().expect("it is there").message, Some(message));
    }
}

#[test]
fn removing_what_came_by_the_queue_takes_it_off_the_list() {
    let mut fleet = Fleet::new();
    let message = Message::Discard {
        stream_id: "s\n1".to_owned(),
        withdrawal: Vec::new(),
    };
    let node = "b".to_owned();
    fleet.call(
        A,
        &Call::Send {
            node: node.clone(),
            message,
        },
    );
    let ids: Vec<_> = fleet.queue(B).into_iter().map(|queued| queued.id).collect();
    fleet.call(B, &Call::Remove { node, ids });
    let codec = fleet.codec("b", 2);
    let value = fleet.model.call(fleet.now_ms, &codec.read_to_delete());
    assert_eq!(codec.to_delete(&value), Some(Vec::new()));
    assert_eq!(fleet.queue(B), []);
}

#[test]
fn an_error_of_the_store_is_a_failure() {
    let mut fleet = Fleet::new();
    fleet.model.is_full = true;
    for call in [
        publish(0, StreamPhase::Joining),
        claim(None, A, Claimable::Free),
    ] {
        assert_eq!(fleet.call(A, &call), Reply::Failed);
    }
    fleet.model.is_full = false;
    // Replies of another shape.
    let codec = fleet.codec("a", 1);
    for value in [
        super::Value::Nil,
        super::Value::Int(1),
        super::Value::text("ok"),
        super::Value::Array(vec![]),
        super::Value::Array(vec![super::Value::text("claimed"), super::Value::Int(-1)]),
    ] {
        for call in [
            publish(0, StreamPhase::Joining),
            claim(None, A, Claimable::Free),
            route(None, b""),
        ] {
            assert_eq!(
                codec.decode(&call, fleet.sent, std::slice::from_ref(&value)),
                Reply::Failed
            );
        }
    }
    assert_eq!(
        codec.decode(&route(None, b""), fleet.sent, &[]),
        Reply::Failed
    );
}

#[test]
fn records_go_three_hours_after_they_were_touched() {
    let mut fleet = Fleet::new();
    fleet.call(A, &publish(0, StreamPhase::Receiving));
    fleet.pass(3 * 3600 * 1000 - 1);
    assert!(fleet.read("m").is_some());
    fleet.pass(1);
    assert_eq!(fleet.read("m"), None);
    let stream_id = "s 1".to_owned();
    assert_eq!(
        fleet.call(A, &Call::Find { stream_id }),
        Reply::Found { meeting: None }
    );
}

/// Whatever a store says, it is read or a failure.
#[test]
fn no_reply_breaks_us() {
    fn value(random: &mut SplitMix, depth: u32) -> Value {
        const WORDS: [&str; 16] = [
            "",
            "beat",
            "taken",
            "held",
            "claimed",
            "ok",
            "newer",
            "moved",
            "none",
            "queued",
            "a",
            "0000000000000001",
            "1764000000000|0000000000000001|{}",
            "held |x",
            "receiving s\nlost t",
            "1-0",
        ];
        match random.next() % 12 {
            0 => Value::Nil,
            1 | 2 => Value::Int([-1, 0, 1, i64::MIN, i64::MAX][(random.next() % 5) as usize]),
            3..8 => Value::text(WORDS[(random.next() % 16) as usize]),
            _ if depth == 5 => Value::Nil,
            8 => Value::Error("ERR".to_owned()),
            _ => {
                let count = random.next() % 10;
                Value::Array((0..count).map(|_| value(random, depth + 1)).collect())
            }
        }
    }
    let fleet = Fleet::new();
    let codec = fleet.codec("a", 1);
    let node = || "a".to_owned();
    let calls = [
        publish(0, StreamPhase::Joining),
        claim(None, A, Claimable::Free),
        route(None, b""),
        Call::Read { meeting: node() },
        Call::Find { stream_id: node() },
        Call::Owned { node: node() },
        Call::ReadQueue { node: node() },
        Call::RemoveRow {
            node: node(),
            boot: Boot(1),
        },
    ];
    for seed in 0..20_000 {
        let mut random = SplitMix::new(seed);
        let values = [value(&mut random, 0)];
        for call in &calls {
            let _ = codec.decode(call, fleet.sent, &values);
        }
        let _ = codec.messages(&values[0]);
        let _ = codec.to_delete(&values[0]);
    }
}
