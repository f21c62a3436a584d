//! The scripts of the fleet: a real `redis-server` and the model of the demo get the same random calls, and
//! say the same.
//!
//! The time of the real scripts is a value in the store here, so that ages are equal to the millisecond and a
//! silence of five seconds takes none.

mod calls;
mod random;

use std::collections::{BTreeMap, HashMap};

use rtmsd::coordinator::fleet::call::{Boot, Call, Claimable, Member, Message, Reply, Routed};
use rtmsd::coordinator::fleet::record::StreamPhase;
use rtmsd::daemon::fleet_store::{Codec, Command, Script, Value, Verb};
use rtmsd::demo::fleet_store::Model;
use rtmsd::demo::fleet_store::model::Dumped;

use crate::harness::redis::{Client, Redis};
use crate::harness::report;
use calls::{Said, Step, Store, World, without_ids};

/// Calls of one sequence.
const CALLS: usize = 150;

impl Store for Model {
    fn call(&mut self, now_ms: u64, command: &Command) -> Value {
        Model::call(self, now_ms, command)
    }
}

/// A real server whose scripts read the time from a key.
struct Real {
    client: Client,
    sha1: HashMap<Script, String>,
}

impl Real {
    fn new(redis: &Redis) -> Real {
        let mut client = redis.client();
        let sha1 = Script::ALL.map(|script| {
            const TIME: &str = "redis.call('TIME')";
            let text = script.text();
            assert_eq!(text.matches(TIME).count(), 1, "{script:?}");
            let text = text.replace(TIME, "redis.call('HMGET', 'clock', 's', 'us')");
            let loaded = client.words(&["SCRIPT", "LOAD", &text]);
            let sha1 = loaded
                .str()
                .unwrap_or_else(|| panic!("{script:?}: {loaded:?}"));
            (script, sha1.to_owned())
        });
        let sha1 = HashMap::from(sha1);
        Real { client, sha1 }
    }

    fn empty(&mut self) {
        self.client.line("FLUSHDB");
    }

    /// All keys but the clock, as [`Model::dump`] has them.
    fn dump(&mut self) -> Vec<Dumped> {
        let keys = self.client.line("KEYS {*");
        let mut keys: Vec<Vec<u8>> = flat(&keys);
        keys.sort_unstable();
        let dump = keys.into_iter().map(|key| {
            let ask = |client: &mut Client, words: &[&[u8]]| client.words(words);
            let client = &mut self.client;
            let kind = ask(client, &[b"TYPE", &key]);
            let content = match kind.str() {
                Some("string") => {
                    vec![ask(client, &[b"GET", &key]).bytes().expect("text").to_vec()]
                }
                Some("hash") => {
                    let all = ask(client, &[b"HGETALL", &key]);
                    let pairs: BTreeMap<_, _> = all.pairs().expect("pairs").collect();
                    let words = pairs
                        .into_iter()
                        .flat_map(|(a, b)| [a.to_vec(), b.to_vec()]);
                    words.collect()
                }
                Some("set") => {
                    let mut members = flat(&ask(client, &[b"SMEMBERS", &key]));
                    members.sort_unstable();
                    members
                }
                Some("stream") => {
                    let entries = ask(client, &[b"XRANGE", &key, b"-", b"+"]);
                    let entries = entries.array().expect("entries").iter();
                    let fields = entries.map(|entry| flat(&entry.array().expect("an entry")[1]));
                    fields.flatten().collect()
                }
                kind => panic!("a key of type {kind:?}"),
            };
            let left = ask(client, &[b"PTTL", &key]).int().expect("a number");
            (key, content, left > 0)
        });
        dump.collect()
    }
}

fn flat(value: &Value) -> Vec<Vec<u8>> {
    let words = value.array().expect("an array").iter();
    words
        .map(|word| word.bytes().expect("a word").to_vec())
        .collect()
}

impl Store for Real {
    fn call(&mut self, now_ms: u64, command: &Command) -> Value {
        if let Verb::Script(_) = command.verb {
            let (s, us) = (now_ms / 1000, now_ms % 1000 * 1000);
            self.client.send(
                &format!("HSET clock s {s} us {us}")
                    .split(' ')
                    .collect::<Vec<_>>(),
            );
        }
        let words = unblocked(command).words(|script| self.sha1[&script].clone());
        self.client.send(&words);
        if let Verb::Script(_) = command.verb {
            self.client.reply();
        }
        self.client.reply()
    }
}

/// A read that waits would only cost time here.
fn unblocked(command: &Command) -> Command {
    let mut command = command.clone();
    if let Some(at) = command.args.iter().position(|word| word == b"BLOCK") {
        command.args.drain(at..at + 2);
    }
    command
}

/// Both hold the same.
fn compare(model: &Model, real: &mut Real, context: &str) {
    let (modelled, really) = (model.dump(), real.dump());
    let shown = |dump: &[Dumped], other: &[Dumped]| {
        let keys = dump.iter().filter(|key| !other.contains(key));
        let keys = keys.map(|(name, content, goes)| {
            let content: Vec<_> = content.iter().map(|c| String::from_utf8_lossy(c)).collect();
            format!("{} {content:?} {goes}", String::from_utf8_lossy(name))
        });
        keys.collect::<Vec<_>>()
    };
    let (model, real) = (shown(&modelled, &really), shown(&really, &modelled));
    assert_eq!(model, real, "{context}");
}

/// Plays one sequence.
fn play(seed: u64, real: &mut Real, kinds: &mut BTreeMap<String, usize>) {
    real.empty();
    let (mut world, mut model) = (World::new(seed), Model::new());
    // What each node's queue holds, by the ids of the model and of the server.
    let mut queues: [Vec<String>; 3] = Default::default();
    let mut real_ids: HashMap<(usize, String), String> = HashMap::new();
    for n in 0..CALLS {
        let step = world.next(&queues);
        let context = || format!("RTMSD_SEED={seed}, call {n}: {step:?}");
        let modelled = world.ask(&step, &mut model);
        let really = match &step {
            Step::Call(by, Call::Remove { node, ids }) => {
                queues[*by].retain(|id| !ids.contains(id));
                let ids = ids
                    .iter()
                    .map(|id| real_ids[&(*by, id.clone())].clone())
                    .collect();
                let node = node.clone();
                let step = Step::Call(*by, Call::Remove { node, ids });
                world.ask(&step, real)
            }
            step => world.ask(step, real),
        };
        *kinds.entry(kind(&step, &modelled)).or_default() += 1;
        let ((modelled, ids), (really, theirs)) = (without_ids(modelled), without_ids(really));
        assert_eq!(modelled, really, "{}", context());
        if let Step::Read(by) = step {
            queues[by].clone_from(&ids);
            let ids = ids.into_iter().map(|id| (by, id));
            real_ids.extend(ids.zip(theirs));
        }
        if n % 15 == 14 {
            compare(&model, real, &context());
        }
    }
}

/// Call and reply in a word each, to see that all of them happen.
fn kind(step: &Step, said: &Said) -> String {
    let word = |text: String| {
        let end = text.find([' ', '{', '(']).unwrap_or(text.len());
        text[..end].to_owned()
    };
    match (step, said) {
        (Step::Call(_, call), Said::Reply(Reply::Routed(routed))) => {
            format!(
                "{} {}",
                word(format!("{call:?}")),
                word(format!("{routed:?}"))
            )
        }
        (Step::Call(_, call), Said::Reply(reply)) => {
            format!(
                "{} {}",
                word(format!("{call:?}")),
                word(format!("{reply:?}"))
            )
        }
        (Step::Grant(words), Said::Values(values)) => {
            let said = match &values[0] {
                Value::Array(words) => words[0].str().unwrap_or_default().to_owned(),
                other => format!("{other:?}"),
            };
            format!("Grant {} {said}", String::from_utf8_lossy(&words[0]))
        }
        (step, _) => word(format!("{step:?}")),
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// `RTMSD_SEEDS` says how many sequences, `RTMSD_SEED` with which the first begins.
#[test]
fn the_model_answers_as_a_real_server_does() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut real = Real::new(&redis);
    let (first, count) = (number("RTMSD_SEED", 1), number("RTMSD_SEEDS", 40));
    let mut kinds = BTreeMap::new();
    for seed in first..first + count {
        play(seed, &mut real, &mut kinds);
    }
    report(&format!("fleet scripts: {kinds:?}"));
    // What must have happened for the comparison to mean something.
    if count >= 40 {
        for kind in [
            "Beat Beat",
            "Beat Taken",
            "Find Found",
            "Read Read",
            "Route Queued",
            "Route Mine",
            "Route None",
            "Route Moved",
            "Route Dead",
            "Send Sent",
            "Claim Claimed",
            "Claim Held",
            "Publish Ok",
            "Publish Overwritten",
            "Publish Bare",
            "Publish Newer",
            "Hand Ok",
            "Hand Newer",
            "Owned Meetings",
            "ReadQueue Queue",
            "Remove Done",
            "RemoveRow Done",
            "Read",
            "ToDelete",
            "Tails",
            "Grant read read",
            "Grant lock locked",
            "Grant lock busy",
            "Grant put put",
            "Grant put refused",
            "Grant restore put",
            "Grant restore refused",
            "Grant forget forgotten",
        ] {
            assert!(kinds.contains_key(kind), "never: {kind}");
        }
        assert!(
            !kinds.keys().any(|kind| kind.contains("Failed")),
            "{kinds:?}"
        );
    }
}

/// A full queue takes nothing, and nothing is changed then.
#[test]
fn a_full_queue_is_refused() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (mut real, mut model) = (Real::new(&redis), Model::new());
    let member = |node: &str, boot| Member {
        node: node.to_owned(),
        boot: Boot(boot),
    };
    let (a, b) = (member("a", 1), member("b", 2));
    let codec = Codec::new("client", "client secret", "default", a);
    let message = Message::Event(b"{}".to_vec());
    let queue = codec.names().queue("b");
    let send = Call::Send {
        node: "b".to_owned(),
        message: message.clone(),
    };
    // 8,191 messages.
    let route = codec.encode(&send);
    for _ in 1..=8191 {
        model.call(1_764_000_000_000, &route[0]);
    }
    Store::call(&mut real, 1_764_000_000_000, &route[0]);
    let filling = "local m = redis.call('XRANGE', KEYS[1], '-', '+')[1][2][2] \
        for n = 2, 8191 do redis.call('XADD', KEYS[1], '*', 'm', m) end";
    let mut words = vec![b"EVAL".to_vec(), filling.into(), b"1".to_vec()];
    words.push(queue.clone());
    real.client.words(&words);
    let mut both = |call: &Call| {
        let now_ms = 1_764_000_000_000;
        let commands = codec.encode(call);
        let sent = std::time::Instant::now();
        let modelled: Vec<Value> = commands.iter().map(|c| model.call(now_ms, c)).collect();
        let really: Vec<Value> = commands
            .iter()
            .map(|c| Store::call(&mut real, now_ms, c))
            .collect();
        let modelled = codec.decode(call, sent, &modelled);
        assert_eq!(modelled, codec.decode(call, sent, &really), "{call:?}");
        compare(&model, &mut real, &format!("{call:?}"));
        modelled
    };
    let claim = Call::Claim {
        meeting: "m".to_owned(),
        expected: None,
        to: b.clone(),
        when: Claimable::Free,
        messages: vec![message.clone()],
    };
    assert_eq!(
        both(&claim),
        Reply::QueueFull,
        "a claim brings two messages"
    );
    assert_eq!(both(&send), Reply::Sent { has_room: true });
    assert_eq!(both(&send), Reply::Sent { has_room: false });
    let publish = Call::Publish {
        meeting: "m".to_owned(),
        epoch: 0,
        previous: None,
        streams: vec![("s".to_owned(), StreamPhase::Receiving)],
        is_over: false,
        entry: Some(b"entry".to_vec()),
    };
    assert_eq!(both(&publish), Reply::Ok { epoch: 1 });
    let hand = Call::Hand {
        meeting: "m".to_owned(),
        epoch: 1,
        heir: b,
        entry: Vec::new(),
        tails: Vec::new(),
    };
    assert_eq!(both(&hand), Reply::QueueFull);
    let route = Call::Route {
        meeting: "m".to_owned(),
        expected: Some("a".to_owned()),
        dead_after: std::time::Duration::from_secs(5),
        message,
    };
    assert_eq!(both(&route), Reply::Routed(Routed::Mine));
}

/// The demo's store, by the client that a server uses.
#[cfg(feature = "fleet")]
impl Store for rtmsd::daemon::fleet_store::direct::Direct {
    fn call(&mut self, _: u64, command: &Command) -> Value {
        let values = self.commands(&[unblocked(command)]);
        values.map_or_else(Value::Error, |mut values| values.remove(0))
    }
}

#[cfg(feature = "fleet")]
#[test]
fn the_demo_s_store_answers_as_the_model_does() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rtmsd::daemon::fleet_store::direct::Direct;
    use rtmsd::demo::fleet_store::Server;

    let now_ms = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&now_ms);
    let server = Server::start(Box::new(move || clock.load(Ordering::Relaxed))).expect("a port");
    let reach = crate::fleet_store::reach(&server.url(), None);
    let first = number("RTMSD_SEED", 1);
    for seed in first..first + 10 {
        server.clear();
        let (mut world, mut model) = (World::new(seed), Model::new());
        let mut direct = Direct::open(&reach, world.codec(0)).expect("a connection");
        let mut queues: [Vec<String>; 3] = Default::default();
        for n in 0..CALLS {
            let step = world.next(&queues);
            now_ms.store(world.now_ms, Ordering::Relaxed);
            let modelled = world.ask(&step, &mut model);
            let served = world.ask(&step, &mut direct);
            assert_eq!(modelled, served, "RTMSD_SEED={seed}, call {n}: {step:?}");
            if let (Step::Read(by), Said::Queued(queued)) = (step, modelled) {
                queues[by] = queued.into_iter().map(|queued| queued.id).collect();
            }
        }
        assert_eq!(
            server.with_model(|model| model.dump()),
            model.dump(),
            "RTMSD_SEED={seed}"
        );
    }
}

/// A call whose reply was lost is made again: the reply is the one that was lost. What a publish has overwritten is
/// said once.
#[test]
fn a_call_that_is_made_again_is_answered_alike() {
    let first = number("RTMSD_SEED", 1);
    for seed in first..first + 200 {
        let (mut world, mut model) = (World::new(seed), Model::new());
        for n in 0..CALLS {
            let step = world.next(&Default::default());
            let lost = world.ask(&step, &mut model);
            let is_repeatable = matches!(
                &step,
                Step::Call(
                    _,
                    Call::Claim { .. } | Call::Publish { .. } | Call::Hand { .. }
                )
            );
            if is_repeatable {
                let again = world.ask(&step, &mut model);
                // What its own record listed a node knows.
                let lost = match lost {
                    Said::Reply(Reply::Overwritten { epoch, before })
                        if step.is_by(&before.owner.node)
                            && again == Said::Reply(Reply::Ok { epoch }) =>
                    {
                        continue;
                    }
                    lost => lost,
                };
                assert_eq!(lost, again, "RTMSD_SEED={seed}, call {n}: {step:?}");
            }
        }
    }
}
