//! What the machine asks, as commands.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::command::{Command, Script};
use super::names::{DAY_MS, DELETION_MS, Names, escaped};
use super::row;
use super::seal::{Kind, Seal};
use crate::coordinator::fleet::call::{Boot, Call, Claimable, Member, Message, Tail};
use crate::coordinator::fleet::record::{Phase, StreamPhase};

/// How many entries of a queue are read at once. What is left comes with the next read.
pub const QUEUE_READ_MAX: usize = 512;
/// How long a blocking read waits for a message, in ms.
pub const BLOCK_MS: u64 = 1000;

/// Translates for one process of a node.
#[derive(Debug, Clone)]
pub struct Codec {
    pub(super) names: Names,
    pub(super) seal: Seal,
    pub(super) me: Member,
}

impl Codec {
    /// For this process, in the fleet of this app.
    pub fn new(client_id: &str, client_secret: &str, fleet: &str, me: Member) -> Codec {
        Codec {
            names: Names::new(client_id, fleet),
            seal: Seal::new(client_secret, fleet),
            me,
        }
    }

    /// The names of keys.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The process it is for.
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// The commands of a call, at least one. They may be sent in one write; [`decode`](Codec::decode) takes
    /// their replies in this order.
    pub fn encode(&self, call: &Call) -> Vec<Command> {
        let names = &self.names;
        match call {
            Call::Beat { row, previous } => {
                let era =
                    self.seal
                        .number([b"era", &row.boot.0.to_be_bytes(), &row.seq.to_be_bytes()]);
                vec![Command::script(
                    Script::Beat,
                    vec![names.fleet(), names.nodes()],
                    vec![
                        text(&self.me.node),
                        boot(row.boot),
                        row::written(row),
                        previous.map(boot).unwrap_or_default(),
                        text(format!("{era:016x}")),
                        text(row.layout),
                    ],
                )]
            }
            Call::Find { stream_id } => {
                vec![Command::plain("GET", vec![names.stream(stream_id)], vec![])]
            }
            Call::Read { meeting } => {
                let keys = vec![names.meeting(meeting), names.nodes()];
                vec![Command::script(Script::Claim, keys, vec![text("read")])]
            }
            Call::Route {
                meeting,
                expected,
                dead_after,
                message,
            } => {
                let node = expected.as_ref().unwrap_or(&self.me.node);
                vec![Command::script(
                    Script::Route,
                    vec![names.queue(node), names.meeting(meeting), names.nodes()],
                    vec![
                        self.message(node, message),
                        text(&self.me.node),
                        boot(self.me.boot),
                        text(expected.as_deref().unwrap_or_default()),
                        text(dead_after.as_millis()),
                    ],
                )]
            }
            Call::Send { node, message } => self.send(node, message),
            Call::Claim {
                meeting,
                expected,
                to,
                when,
                messages,
            } => vec![self.claim(meeting, expected.as_deref(), to, *when, messages)],
            Call::Publish {
                meeting,
                epoch,
                previous,
                streams,
                is_over,
                entry,
            } => {
                let me = &self.me.node;
                let streams: &[_] = if *is_over { &[] } else { streams };
                let phase = if *is_over { Phase::Ended } else { Phase::Held };
                let mut keys = vec![
                    names.meeting(meeting),
                    names.nodes(),
                    names.owned(me),
                    names.tails(me),
                ];
                keys.extend(streams.iter().map(|(id, _)| names.stream(id)));
                let sealed = entry
                    .as_ref()
                    .map(|entry| self.seal.seal(Kind::Entry, meeting, entry));
                let args = vec![
                    text(meeting),
                    text(me),
                    boot(self.me.boot),
                    previous.map(boot).unwrap_or_default(),
                    text(epoch),
                    text(phase.name()),
                    lines(streams),
                    text(u8::from(sealed.is_some())),
                    sealed.unwrap_or_default(),
                ];
                vec![Command::script(Script::Publish, keys, args)]
            }
            Call::Hand {
                meeting,
                epoch,
                heir,
                entry,
                tails,
            } => vec![self.hand(meeting, *epoch, heir, entry, tails)],
            Call::Owned { node } => {
                vec![Command::plain("SMEMBERS", vec![names.owned(node)], vec![])]
            }
            Call::ReadQueue { node } => {
                let args = ["-", "+", "COUNT"].into_iter().map(text);
                let args = args.chain([text(QUEUE_READ_MAX)]).collect();
                vec![Command::plain("XRANGE", vec![names.queue(node)], args)]
            }
            Call::Remove { node, ids } => self.remove(node, ids),
            Call::RemoveRow { node, boot: of } => {
                let keys = vec![names.fleet(), names.nodes()];
                let args = vec![text(node), boot(*of), vec![]];
                vec![Command::script(Script::Beat, keys, args)]
            }
        }
    }

    fn send(&self, node: &str, message: &Message) -> Vec<Command> {
        let queue = vec![self.names.queue(node)];
        let sealed = self.message(node, message);
        let send = Command::script(Script::Route, queue, vec![sealed.clone()]);
        let Message::Discard { stream_id, .. } = message else {
            return vec![send];
        };
        // The queue lives for a day, this for as long as a node may be away.
        let key = self.names.to_delete(node);
        vec![
            Command::plain(
                "HSET",
                vec![key.clone()],
                vec![text(escaped(stream_id)), sealed],
            ),
            Command::plain("PEXPIRE", vec![key], vec![text(DELETION_MS)]),
            send,
        ]
    }

    fn claim(
        &self,
        meeting: &str,
        expected: Option<&str>,
        to: &Member,
        when: Claimable,
        messages: &[Message],
    ) -> Command {
        let names = &self.names;
        let is_mine = *to == self.me;
        let phase = if is_mine { Phase::Held } else { Phase::Placed };
        let old = expected.unwrap_or(&to.node);
        let limit = match when {
            Claimable::Dead(silence) => text(silence.as_millis()),
            Claimable::Free => text("free"),
        };
        let keys = vec![
            names.meeting(meeting),
            names.nodes(),
            names.owned(&to.node),
            names.queue(&to.node),
            names.owned(old),
            names.tails(old),
            names.tails(&to.node),
        ];
        let mut args = vec![
            limit,
            text(meeting),
            text(&to.node),
            boot(to.boot),
            text(phase.name()),
            text(expected.unwrap_or_default()),
        ];
        if !is_mine {
            let meeting = meeting.to_owned();
            args.push(self.message(&to.node, &Message::Take { meeting }));
            args.extend(messages.iter().map(|m| self.message(&to.node, m)));
        }
        Command::script(Script::Claim, keys, args)
    }

    fn hand(
        &self,
        meeting: &str,
        epoch: u64,
        heir: &Member,
        entry: &[u8],
        tails: &[(String, Tail)],
    ) -> Command {
        let (names, me) = (&self.names, &self.me.node);
        let keys = vec![
            names.meeting(meeting),
            names.nodes(),
            names.owned(me),
            names.tails(me),
            names.owned(&heir.node),
            names.tails(&heir.node),
            names.queue(&heir.node),
        ];
        let take = Message::Take {
            meeting: meeting.to_owned(),
        };
        let mut args = vec![
            text(meeting),
            text(me),
            boot(self.me.boot),
            text(epoch),
            text(&heir.node),
            boot(heir.boot),
            self.seal.seal(Kind::Entry, meeting, entry),
            self.message(&heir.node, &take),
        ];
        for (stream, tail) in tails {
            args.push(text(escaped(stream)));
            args.push(self.seal.seal(Kind::Tail, stream, tail));
        }
        Command::script(Script::Hand, keys, args)
    }

    fn remove(&self, node: &str, ids: &[String]) -> Vec<Command> {
        let (mut entries, mut streams) = (Vec::new(), Vec::new());
        for id in ids {
            // See `decode::queued`: a message to delete files has the stream behind its id.
            let (entry, stream) = match id.split_once(' ') {
                Some((entry, stream)) => (entry, Some(stream)),
                None => (id.as_str(), None),
            };
            // An id that the store would not read would spoil all others.
            if is_entry_id(entry) {
                entries.push(text(entry));
            }
            streams.extend(stream.map(text));
        }
        let mut commands = Vec::new();
        if !streams.is_empty() {
            let keys = vec![self.names.to_delete(node)];
            commands.push(Command::plain("HDEL", keys, streams));
        }
        if !entries.is_empty() {
            let keys = vec![self.names.queue(node)];
            commands.push(Command::plain("XDEL", keys, entries));
        }
        if commands.is_empty() {
            commands.push(Command::plain("PING", vec![], vec![]));
        }
        commands
    }

    /// Waits for messages of the own queue that come after this entry; `0` is before all.
    pub fn read_messages(&self, after: &str) -> Command {
        let options = ["COUNT", "64", "BLOCK"].into_iter().map(text);
        let args = options.chain([text(BLOCK_MS), text("STREAMS"), text(after)]);
        Command::plain(
            "XREAD",
            vec![self.names.queue(&self.me.node)],
            args.collect(),
        )
    }

    /// Reads which files the own node must delete.
    pub fn read_to_delete(&self) -> Command {
        let keys = vec![self.names.to_delete(&self.me.node)];
        Command::plain("HGETALL", keys, vec![])
    }

    /// Puts the digests of the own settings into the store, where other nodes and `rtmsd status` compare them.
    /// What the settings had before and have no more goes.
    pub fn settings(&self, digests: &[(&'static str, String)]) -> Vec<Command> {
        let key = self.names.settings(&self.me.node);
        let args = digests
            .iter()
            .flat_map(|(name, digest)| [text(name), text(digest)]);
        vec![
            Command::plain("DEL", vec![key.clone()], vec![]),
            Command::plain("HSET", vec![key.clone()], args.collect()),
            Command::plain("PEXPIRE", vec![key], vec![text(DAY_MS)]),
        ]
    }

    /// Puts the last phrases of the own streams into the store. Everything that is there is replaced if
    /// `is_all`: after each new connection, so that nothing stays of streams that went elsewhere.
    pub fn tails<'a>(
        &self,
        tails: impl Iterator<Item = (&'a str, &'a Tail)>,
        is_all: bool,
    ) -> Vec<Command> {
        let key = self.names.tails(&self.me.node);
        let mut args = Vec::new();
        for (stream, tail) in tails {
            args.push(text(escaped(stream)));
            args.push(self.seal.seal(Kind::Tail, stream, tail));
        }
        let mut commands = Vec::new();
        if is_all {
            commands.push(Command::plain("DEL", vec![key.clone()], vec![]));
        }
        if !args.is_empty() {
            commands.push(Command::plain("HSET", vec![key.clone()], args));
            commands.push(Command::plain("PEXPIRE", vec![key], vec![text(DAY_MS)]));
        }
        commands
    }

    /// Removes the last phrases of own streams that are over or another node's.
    pub fn drop_tails<'a>(&self, streams: impl Iterator<Item = &'a str>) -> Command {
        let key = self.names.tails(&self.me.node);
        let streams = streams.map(|stream| text(escaped(stream)));
        Command::plain("HDEL", vec![key], streams.collect())
    }

    fn message(&self, node: &str, message: &Message) -> Vec<u8> {
        let content = match message {
            Message::Event(body) => [b"e", body.as_slice()].concat(),
            Message::Take { meeting } => [b"t", meeting.as_bytes()].concat(),
            Message::Streams {
                meeting,
                from,
                entry,
                tails,
            } => {
                let parts = [meeting.as_bytes(), from.as_bytes(), entry.as_slice()];
                let tails = (tails.iter()).flat_map(|(id, tail)| [id.as_bytes(), tail.as_slice()]);
                let mut content = b"s".to_vec();
                for part in parts.into_iter().chain(tails) {
                    content.extend_from_slice(&(part.len() as u64).to_be_bytes());
                    content.extend_from_slice(part);
                }
                content
            }
            Message::Discard {
                stream_id,
                withdrawal,
            } => {
                let length = (stream_id.len() as u64).to_be_bytes();
                [b"d", length.as_slice(), stream_id.as_bytes(), withdrawal].concat()
            }
        };
        self.seal.seal(Kind::Message, node, &content)
    }
}

/// Whether it looks like `1526919030474-0`.
fn is_entry_id(id: &str) -> bool {
    let is_number = |text: &str| {
        (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    id.split_once('-')
        .is_some_and(|(ms, seq)| is_number(ms) && is_number(seq))
}

fn lines(streams: &[(String, StreamPhase)]) -> Vec<u8> {
    let lines = streams
        .iter()
        .map(|(id, phase)| format!("{} {}\n", phase.name(), escaped(id)));
    lines.collect::<String>().into_bytes()
}

fn text(text: impl ToString) -> Vec<u8> {
    text.to_string().into_bytes()
}

fn boot(boot: Boot) -> Vec<u8> {
    text(boot)
}
