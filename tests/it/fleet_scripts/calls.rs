//! Random calls of three nodes, some of which restart, about few meetings: so that they meet.

use std::time::{Duration, Instant};

use rtmsd::coordinator::fleet::call::{Boot, Call, Claimable, Member, Message, Queued, Reply, Row};
use rtmsd::coordinator::fleet::record::StreamPhase;
use rtmsd::daemon::fleet_store::{Codec, Command, Script, Value};

use super::random::Random;

/// A store under test.
pub(super) trait Store {
    /// Carries a command out when its clock says this.
    fn call(&mut self, now_ms: u64, command: &Command) -> Value;
}

/// The nodes, the clock, and what they know.
pub(super) struct World {
    random: Random,
    pub(super) now_ms: u64,
    boots: [u64; 3],
    seq: u64,
    sent: Instant,
}

const NODES: [&str; 3] = ["a", "b.example", "c-3"];
const MEETINGS: [&str; 3] = ["4zqWGRxdQ+u6nM/Hw==", "second meeting", "3"];
const STREAMS: [&str; 4] = ["plain", "with space", "100%25", "line\nbreak"];

/// What one step asks.
#[derive(Debug)]
pub(super) enum Step {
    /// By which node, and what.
    Call(usize, Call),
    /// A node reads its queue.
    Read(usize),
    /// A node reads which files it must delete.
    ToDelete(usize),
    /// A node sends the last phrases of its streams.
    Tails(usize, Vec<(String, Vec<u8>)>, bool),
    /// A node asks for, or brings, a token.
    Grant(Vec<Vec<u8>>),
}

impl Step {
    /// Whether that node calls.
    pub(super) fn is_by(&self, node: &str) -> bool {
        matches!(self, Step::Call(by, _) if NODES[*by] == node)
    }
}

/// What a store said to a step. The ids of queues are taken out: a server makes them of its own clock.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Reply(Reply),
    Queued(Vec<Queued>),
    Values(Vec<Value>),
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            random: Random::new(seed),
            now_ms: 1_764_000_000_000,
            boots: [10, 20, 30],
            seq: 0,
            sent: Instant::now(),
        }
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.random.below(from.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn member(&mut self) -> Member {
        let n = self.random.below(3) as usize;
        Member {
            node: NODES[n].to_owned(),
            boot: Boot(self.boots[n]),
        }
    }

    fn text(&mut self, of: &[&str]) -> String {
        (*self.pick(of)).to_owned()
    }

    fn expected(&mut self) -> Option<String> {
        self.chance(85).then(|| self.text(&NODES))
    }

    fn streams(&mut self) -> Vec<(String, StreamPhase)> {
        let some = STREAMS.into_iter().filter(|_| self.random.below(100) < 40);
        let some: Vec<&str> = some.collect();
        let some = some.into_iter();
        some.map(|id| (id.to_owned(), *self.pick(&StreamPhase::ALL)))
            .collect()
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.random.below(most);
        (0..length).map(|_| self.random.below(256) as u8).collect()
    }

    fn message(&mut self) -> Message {
        match self.random.below(6) {
            0 => Message::Take {
                meeting: self.text(&MEETINGS),
            },
            1 => Message::Discard {
                stream_id: self.text(&STREAMS),
                withdrawal: self.bytes(20),
            },
            _ => Message::Event(self.bytes(60)),
        }
    }

    /// The process that does something, by its translation.
    pub(super) fn codec(&self, node: usize) -> Codec {
        let me = Member {
            node: NODES[node].to_owned(),
            boot: Boot(self.boots[node]),
        };
        Codec::new("client", "client secret", "default", me)
    }

    /// Time passes, mostly little; a clock may be set back.
    fn pass(&mut self) {
        let ms = match self.random.below(20) {
            0 => *self.pick(&[2_999, 3_000, 4_999, 5_000, 5_001]),
            1 => 8_000,
            2..8 => self.random.below(1_200),
            _ => self.random.below(4),
        };
        self.now_ms += ms;
        if self.chance(1) {
            self.now_ms -= self.random.below(9_000);
        }
    }

    /// What comes next. `ids` are what each node's queue holds, in its order.
    pub(super) fn next(&mut self, ids: &[Vec<String>; 3]) -> Step {
        self.pass();
        let by = self.random.below(3) as usize;
        let meeting = self.text(&MEETINGS);
        let call = match self.random.below(100) {
            0..25 => {
                let old = Boot(self.boots[by]);
                let has_restarted = self.chance(8);
                self.boots[by] += u64::from(has_restarted);
                self.seq += 1;
                let row = Row {
                    boot: Boot(self.boots[by]),
                    seq: self.seq,
                    layout: 1,
                    version: "0.2.0".to_owned(),
                    must: "m".to_owned(),
                    streams: 3,
                    capacity: 700,
                    is_draining: self.chance(10),
                    admin: String::new(),
                    since_ms: 5,
                    events: None,
                };
                let previous = self.chance(50).then_some(old);
                Call::Beat { row, previous }
            }
            25..28 => Call::Find {
                stream_id: self.text(&STREAMS),
            },
            28..33 => Call::Read { meeting },
            33..43 => Call::Route {
                meeting,
                expected: self.expected(),
                dead_after: Duration::from_millis(*self.pick(&[2_500, 5_000])),
                message: self.message(),
            },
            43..46 => Call::Send {
                node: self.text(&NODES),
                message: self.message(),
            },
            46..61 => Call::Claim {
                meeting,
                expected: self.expected(),
                to: self.member(),
                when: match self.random.below(4) {
                    0 => Claimable::Free,
                    1 => Claimable::Dead(Duration::from_millis(2_500)),
                    _ => Claimable::Dead(Duration::from_secs(5)),
                },
                messages: match self.random.below(3) {
                    0 => vec![self.message()],
                    _ => Vec::new(),
                },
            },
            61..77 => Call::Publish {
                meeting,
                epoch: self.random.below(6),
                previous: self.chance(30).then(|| Boot(self.boots[by] - 1)),
                streams: self.streams(),
                is_over: self.chance(15),
                entry: self.chance(60).then(|| self.bytes(50)),
            },
            77..85 => Call::Hand {
                meeting,
                epoch: 1 + self.random.below(4),
                heir: self.member(),
                entry: self.bytes(50),
                tails: self.tails(),
            },
            85 => Call::Owned {
                node: self.text(&NODES),
            },
            86 => Call::ReadQueue {
                node: NODES[by].to_owned(),
            },
            87 | 88 => Call::Remove {
                node: NODES[by].to_owned(),
                ids: ids[by].iter().take(2).cloned().collect(),
            },
            89 => Call::RemoveRow {
                node: NODES[by].to_owned(),
                boot: Boot(self.boots[by] - self.random.below(2)),
            },
            90 | 91 => return Step::Read(by),
            92 => return Step::ToDelete(by),
            93..96 => return Step::Tails(by, self.tails(), self.chance(20)),
            _ => return Step::Grant(self.grant(by)),
        };
        Step::Call(by, call)
    }

    fn tails(&mut self) -> Vec<(String, Vec<u8>)> {
        let streams = self.streams().into_iter();
        streams.map(|(id, _)| (id, self.bytes(264))).collect()
    }

    fn grant(&mut self, by: usize) -> Vec<Vec<u8>> {
        let what = *self.pick(&[
            "read", "lock", "lock", "put", "put", "put", "restore", "forget",
        ]);
        let mut words = vec![what.to_owned(), Boot(self.boots[by]).to_string()];
        if matches!(what, "put" | "restore") {
            words.push(self.random.below(4).to_string());
            words.extend(["access", "1764000009000", "refresh"].map(str::to_owned));
        }
        words.into_iter().map(String::into_bytes).collect()
    }

    /// Asks a store, and reads what it says as the node would.
    pub(super) fn ask(&self, step: &Step, store: &mut impl Store) -> Said {
        let mut all = |commands: Vec<Command>| {
            let calls = commands
                .iter()
                .map(|command| store.call(self.now_ms, command));
            calls.collect::<Vec<Value>>()
        };
        match step {
            Step::Call(by, call) => {
                let codec = self.codec(*by);
                let values = all(codec.encode(call));
                Said::Reply(codec.decode(call, self.sent, &values))
            }
            Step::Read(by) => {
                let codec = self.codec(*by);
                let values = all(vec![codec.read_messages("0")]);
                let (queued, last) = codec.messages(&values[0]).expect("it can be read");
                assert_eq!(last.is_some(), !queued.is_empty());
                Said::Queued(queued)
            }
            Step::ToDelete(by) => {
                let codec = self.codec(*by);
                let values = all(vec![codec.read_to_delete()]);
                let mut queued = codec.to_delete(&values[0]).expect("it can be read");
                queued.sort_by(|a, b| a.id.cmp(&b.id));
                Said::Queued(queued)
            }
            Step::Tails(by, tails, is_all) => {
                let tails = tails.iter().map(|(id, tail)| (id.as_str(), tail));
                Said::Values(all(self.codec(*by).tails(tails, *is_all)))
            }
            Step::Grant(words) => {
                let keys = vec![self.codec(0).names().grant("g")];
                let command = Command::script(Script::Grant, keys, words.clone());
                Said::Values(all(vec![command]))
            }
        }
    }
}

/// A copy without the ids of queues, and those.
pub(super) fn without_ids(said: Said) -> (Said, Vec<String>) {
    let take = |queued: Vec<Queued>| {
        let (mut ids, mut left) = (Vec::new(), Vec::new());
        for Queued { id, message } in queued {
            // The stream behind an id is not made by a clock.
            let (entry, stream) = id.split_once(' ').unwrap_or((&id, ""));
            let is_listed = entry == "-";
            let kept = if is_listed { &id } else { stream };
            left.push(Queued {
                id: kept.to_owned(),
                message,
            });
            ids.push(id);
        }
        (left, ids)
    };
    match said {
        Said::Reply(Reply::Queue(queued)) => {
            let (queued, ids) = take(queued);
            (Said::Reply(Reply::Queue(queued)), ids)
        }
        Said::Queued(queued) => {
            let (queued, ids) = take(queued);
            (Said::Queued(queued), ids)
        }
        said => (said, Vec::new()),
    }
}
