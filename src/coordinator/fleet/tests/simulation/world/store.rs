//! The store, through the translation that a real one is asked with.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::super::super::*;
use super::super::process::{Entry, Told};
use super::{Happens, Node, World, ms};
use crate::daemon::fleet_store::{Codec, Value};

/// How often a node looks at its queue; a real one waits for it.
const INBOX_EVERY: Duration = Duration::from_millis(20);

impl World {
    pub(super) fn asked(&mut self, name: &str, run: u64, id: CallId, call: &Call, sent: Instant) {
        let node = &self.nodes[name];
        let is_cut = node.is_cut_to || node.is_lost || self.is_store_down;
        let late = sent + ms(800);
        let mut reply = Reply::Failed;
        let mut at = late;
        if !is_cut {
            let Some(codec) = self.codec_of(name, run) else {
                return;
            };
            let store_ms = self.store_ms();
            self.asked += 1;
            self.wake_inboxes();
            let commands = codec.encode(call);
            let values: Vec<Value> = (commands.iter())
                .map(|command| self.store.call(store_ms, command))
                .collect();
            let is_lost = self.nodes[name].is_cut_from
                || self.lost_replies > 0 && self.random.one_in(self.lost_replies);
            if !is_lost {
                reply = codec.decode(call, sent, &values);
                let slow = self.slow_replies > 0 && self.random.one_in(self.slow_replies);
                at = self.now
                    + ms(if slow {
                        self.random.below(1500)
                    } else {
                        self.random.below(4)
                    });
                if at > late {
                    (reply, at) = (Reply::Failed, late);
                }
                assert!(
                    reply != Reply::Failed || at == late || self.store.is_full,
                    "{call:?} -> {values:?}"
                );
            }
        } else if self.is_store_down && self.random.below(2) == 0 {
            // The connection is refused.
            at = self.now + ms(1);
        }
        if !matches!(call, Call::Beat { .. }) {
            self.note(|| format!("{name} asks {call:?} -> {reply:?}"));
        }
        if let Reply::Newer(record) = &reply
            && let Call::Publish { meeting, .. } | Call::Hand { meeting, .. } = call
            && let Some(process) = self.process(name)
        {
            process.newer.insert(meeting.clone(), record.clone());
        }
        if let (Reply::Failed, Call::Publish { streams, .. }) = (&reply, call) {
            self.zoom.is_not_told(streams.iter().map(|(id, _)| id));
        }
        self.at(at, name, run, Happens::Answered { id, reply });
    }

    fn codec_of(&self, name: &str, run: u64) -> Option<Rc<Codec>> {
        let node = self.nodes.get(name).filter(|node| node.run == run)?;
        Some(Rc::clone(&node.process.as_ref()?.codec))
    }

    /// A call may have filled a queue. Each is looked at in its own rhythm.
    fn wake_inboxes(&mut self) {
        let now = self.now;
        let mut due = Vec::new();
        for (name, node) in &mut self.nodes {
            let idle = node.process.as_mut().and_then(|it| it.inbox_idle.take());
            if let Some(since) = idle {
                let looks = (now - since).as_micros().div_ceil(INBOX_EVERY.as_micros());
                let looks = u32::try_from(looks.max(1)).expect("a simulation is short");
                due.push((since + INBOX_EVERY * looks, name.clone(), node.run));
            }
        }
        for (at, name, run) in due {
            self.at(at, &name, run, Happens::Inbox);
        }
    }

    pub(super) fn read_inbox(&mut self, name: &str) {
        let (store_ms, now) = (self.store_ms(), self.now);
        let node = &self.nodes[name];
        let is_cut = node.is_cut_to || node.is_cut_from || self.is_store_down;
        let Some(process) = &node.process else {
            return;
        };
        let reads = !is_cut && process.machine.has_room();
        if reads && process.inbox_read == Some(self.asked) {
            if let Some(process) = self.process(name) {
                process.inbox_idle = Some(now);
            }
            return;
        }
        let codec = Rc::clone(&process.codec);
        let command = codec.read_messages(&process.inbox_after);
        self.after(INBOX_EVERY, name, Happens::Inbox);
        if !reads {
            return;
        }
        let value = self.store.call(store_ms, &command);
        let (queued, last) = codec.messages(&value).expect("entries of a queue");
        let asked = self.asked;
        let Some(process) = self.process(name) else {
            return;
        };
        process.inbox_read = Some(asked).filter(|_| queued.is_empty());
        if let Some(last) = last {
            process.inbox_after = last;
        }
        for queued in queued {
            process.machine.handle_queued(now, queued);
        }
        self.drain_outputs(name);
    }

    /// Connections to the store were dropped, and made again: the queue is read from its begin.
    pub(crate) fn reread(&mut self) {
        for process in self
            .nodes
            .values_mut()
            .filter_map(|node| node.process.as_mut())
        {
            process.inbox_after = "0".to_owned();
            process.inbox_read = None;
            process.machine.handle_connected();
        }
        self.wake_inboxes();
    }

    /// What the store answers to a call of that process, which does not hear it.
    pub(crate) fn ask_as(&mut self, me: Member, call: &Call) -> Reply {
        let codec = codec(me);
        let store_ms = self.store_ms();
        let values: Vec<Value> = (codec.encode(call).iter())
            .map(|command| self.store.call(store_ms, command))
            .collect();
        codec.decode(call, self.now, &values)
    }

    /// The record of a meeting.
    pub(crate) fn record(&mut self, meeting: &str) -> Option<Record> {
        let unknown = Member {
            node: "unknown".to_owned(),
            boot: Boot(1),
        };
        let call = Call::Read {
            meeting: meeting.to_owned(),
        };
        match self.ask_as(unknown, &call) {
            Reply::Read { record } => record,
            reply => panic!("{reply:?}"),
        }
    }

    /// Whether a stream is known anywhere: at a node, on its disk, or in the store.
    pub(crate) fn is_known(&self, id: &str) -> bool {
        // An older start names a server that does not have it any more.
        let stamp = self.zoom.streams[id].stamp;
        let has = |entry: &Entry| entry.streams.get(id).is_some_and(|it| it.stamp >= stamp);
        let is_told = |body: &Vec<u8>| {
            let is_start = |told: &Told| told.kind == Kind::StreamStarts && told.stream == id;
            Told::parse(body).is_some_and(|told| is_start(&told) && told.stamp >= stamp)
        };
        let knows = |node: &Node| {
            let memory = node.process.iter();
            let memory = memory.flat_map(|it| it.meetings.values().chain(it.left.values()));
            // A running process may have given up what it has not saved yet.
            let disk = node.disk.meetings.values();
            let disk = disk.filter(|_| node.process.is_none());
            let mut all = memory.chain(disk);
            let is_settled = |number: &u64| {
                let process = node.process.as_ref();
                process.is_some_and(|it| it.to_settle.contains(number))
            };
            let mut intents = node.disk.intents.iter();
            all.any(has) || intents.any(|(number, body)| !is_settled(number) && is_told(body))
        };
        let mut nodes = self.nodes.values().filter(|node| !node.is_lost);
        nodes.any(knows) || self.is_in_store(id)
    }

    /// In the entry of a meeting, or as a start in a queue.
    pub(super) fn is_in_store(&self, id: &str) -> bool {
        let meeting = &self.zoom.streams[id].meeting;
        let start = format!("starts {meeting} {id} ");
        let words = [format!(" {id}="), format!(",{id}="), start];
        let dump = self.store.dump();
        let mut values = dump.iter().flat_map(|(_, values, _)| values);
        values.any(|value| {
            // Behind the code. Streams that are given away are with who gives them until they are taken.
            let text = value.get(32..).unwrap_or_default();
            let text = String::from_utf8_lossy(text.strip_prefix(b"s").map_or(text, |_| b""));
            words.iter().any(|word| text.contains(word.as_str()))
        })
    }
}

pub(super) fn codec(me: Member) -> Codec {
    Codec::new("app", "secret", "default", me)
}
