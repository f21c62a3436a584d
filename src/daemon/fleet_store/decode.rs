//! The store's replies, as what the machine understands.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::{Duration, Instant};

use super::encode::Codec;
use super::names::unescaped;
use super::row;
use super::seal::Kind;
use super::value::Value;
use crate::coordinator::fleet::call::{Boot, Call, Member, Message, Queued, Reply, Routed, Tail};
use crate::coordinator::fleet::record::{Phase, Record, StreamPhase};

impl Codec {
    /// The reply to a call, from those to its commands. `sent` is the moment before they were sent. An error, or
    /// what cannot be read, is [`Reply::Failed`].
    pub fn decode(&self, call: &Call, sent: Instant, values: &[Value]) -> Reply {
        self.read_reply(call, sent, values).unwrap_or(Reply::Failed)
    }

    fn read_reply(&self, call: &Call, sent: Instant, values: &[Value]) -> Option<Reply> {
        if values.iter().any(|value| matches!(value, Value::Error(_))) {
            return None;
        }
        // Only the last command of a call says something.
        let value = values.last()?;
        match call {
            Call::Beat { .. } => self.beat(sent, value),
            Call::Find { .. } => {
                let meeting = match value {
                    Value::Nil => None,
                    value => Some(value.str()?.to_owned()),
                };
                Some(Reply::Found { meeting })
            }
            Call::Read { meeting } => match words(value)? {
                ("none", _) => Some(Reply::Read { record: None }),
                ("held", [record, ..]) => {
                    let record = Some(self.record(meeting, record)?);
                    Some(Reply::Read { record })
                }
                _ => None,
            },
            Call::Route { .. } => Some(Reply::Routed(match words(value)? {
                ("queued", _) => Routed::Queued,
                ("mine", _) => Routed::Mine,
                ("none", _) => Routed::None,
                ("moved", [owner, ..]) => Routed::Moved {
                    owner: owner.str()?.to_owned(),
                },
                ("dead", _) => Routed::Dead,
                ("full", _) => Routed::Full,
                _ => return None,
            })),
            Call::Send { .. } => match words(value)? {
                ("queued", _) => Some(Reply::Sent { has_room: true }),
                ("full", _) => Some(Reply::Sent { has_room: false }),
                _ => None,
            },
            Call::Claim { meeting, .. } => self.claimed(meeting, value),
            Call::Publish { meeting, .. } | Call::Hand { meeting, .. } => match words(value)? {
                ("ok", [epoch]) => Some(Reply::Ok {
                    epoch: number(epoch)?,
                }),
                ("ok", [epoch, before]) => Some(Reply::Overwritten {
                    epoch: number(epoch)?,
                    before: self.record(meeting, before)?,
                }),
                ("bare", [epoch]) => Some(Reply::Bare {
                    epoch: number(epoch)?,
                }),
                ("newer", [record, ..]) => Some(Reply::Newer(self.record(meeting, record)?)),
                ("full", _) => Some(Reply::QueueFull),
                _ => None,
            },
            Call::Owned { .. } => {
                let names = value.array()?.iter().filter_map(Value::str);
                let mut meetings: Vec<String> = names.map(str::to_owned).collect();
                // A set has no order; what follows from it should have one.
                meetings.sort_unstable();
                Some(Reply::Meetings(meetings))
            }
            Call::ReadQueue { node } => {
                // A node that is away still has to delete: taking this out of its queue leaves its files on
                // the list.
                let mut entries = self.queued(node, value)?;
                for entry in &mut entries {
                    if let Some((id, _)) = entry.id.split_once(' ') {
                        entry.id = id.to_owned();
                    }
                }
                Some(Reply::Queue(entries))
            }
            Call::Remove { .. } | Call::RemoveRow { .. } => Some(Reply::Done),
        }
    }

    fn beat(&self, sent: Instant, value: &Value) -> Option<Reply> {
        match words(value)? {
            ("taken", [store_ms, other]) => {
                let (store_ms, node) = (number(store_ms)?, self.me.node.as_bytes());
                let other = row::seen(node, other.bytes()?, store_ms)?;
                Some(Reply::Taken { other })
            }
            ("beat", [store_ms, era, before, rows]) => {
                let store_ms = number(store_ms)?;
                let before = before.bytes().and_then(row::read).map(|(_, row)| row);
                // A row that cannot be read is of a version with which we could not live anyway, or by a node
                // else.
                let mut rows: Vec<_> = rows
                    .pairs()?
                    .filter_map(|(node, row)| row::seen(node, row, store_ms))
                    .collect();
                rows.sort_unstable_by(|a, b| a.node.cmp(&b.node));
                Some(Reply::Beat {
                    sent,
                    store_ms,
                    era: u64::from_str_radix(era.str()?, 16).ok()?,
                    before,
                    rows,
                })
            }
            _ => None,
        }
    }

    fn claimed(&self, meeting: &str, value: &Value) -> Option<Reply> {
        match words(value)? {
            ("claimed", [epoch, before, tails]) => {
                let before = match before {
                    Value::Nil => None,
                    before => Some(self.record(meeting, before)?),
                };
                let tails = tails.pairs()?.filter_map(|(id, sealed)| {
                    let stream = unescaped(std::str::from_utf8(id).ok()?);
                    let tail: Tail = self.seal.open(Kind::Tail, &stream, sealed)?.to_vec();
                    Some((stream, tail))
                });
                Some(Reply::Claimed {
                    epoch: number(epoch)?,
                    tails: tails.collect(),
                    silent_for: before.as_ref().and_then(|before| before.silent_for),
                    before,
                })
            }
            ("held", [record]) => Some(Reply::Held(self.record(meeting, record)?)),
            ("full", _) => Some(Reply::QueueFull),
            _ => None,
        }
    }

    fn record(&self, meeting: &str, value: &Value) -> Option<Record> {
        let [owner, boot, epoch, phase, age, silent, streams, entry] = value.array()? else {
            return None;
        };
        let phase = phase.str()?;
        let streams = streams.str()?.split_terminator('\n').filter_map(|line| {
            let (phase, id) = line.split_once(' ')?;
            let phase = StreamPhase::ALL.into_iter().find(|p| p.name() == phase)?;
            Some((unescaped(id), phase))
        });
        // One that is not by us counts as none.
        let entry = self.seal.open(Kind::Entry, meeting, entry.bytes()?);
        Some(Record {
            owner: Member {
                node: owner.str()?.to_owned(),
                boot: Boot::parse(boot.str()?)?,
            },
            epoch: number(epoch)?,
            phase: Phase::ALL.into_iter().find(|p| p.name() == phase)?,
            age: Duration::from_millis(age.int()?.unsigned_abs()),
            silent_for: u64::try_from(silent.int()?).ok().map(Duration::from_millis),
            streams: streams.collect(),
            entry: entry.unwrap_or_default().to_vec(),
        })
    }

    /// The entries of a node's queue: what XRANGE says. The id of a message to delete files has the stream
    /// behind it, for [`Call::Remove`] takes it from both places.
    pub fn queued(&self, node: &str, entries: &Value) -> Option<Vec<Queued>> {
        let entries = entries.array()?.iter();
        let entries = entries.filter_map(|entry| {
            let [id, fields] = entry.array()? else {
                return None;
            };
            let mut id = id.str()?.to_owned();
            let message = fields
                .pairs()
                .and_then(|mut fields| fields.find(|(name, _)| *name == b"m"))
                .and_then(|(_, sealed)| self.message_of(node, sealed));
            if let Some(Message::Discard { stream_id, .. }) = &message {
                id = format!("{id} {}", super::names::escaped(stream_id));
            }
            Some(Queued { id, message })
        });
        Some(entries.collect())
    }

    /// What [`read_messages`](Codec::read_messages) has brought, and the entry after which to read on.
    pub fn messages(&self, value: &Value) -> Option<(Vec<Queued>, Option<String>)> {
        let entries = match value {
            // Nothing came.
            Value::Nil => return Some((Vec::new(), None)),
            value => match value.array()? {
                [] => return Some((Vec::new(), None)),
                [stream, ..] => stream.array()?.get(1)?,
            },
        };
        let last = entries
            .array()?
            .last()
            .and_then(|entry| entry.array()?.first()?.str());
        let last = last.map(str::to_owned);
        Some((self.queued(&self.me.node, entries)?, last))
    }

    /// What [`read_to_delete`](Codec::read_to_delete) has brought, as messages.
    pub fn to_delete(&self, value: &Value) -> Option<Vec<Queued>> {
        let fields = value.pairs()?.filter_map(|(stream, sealed)| {
            let stream = std::str::from_utf8(stream).ok()?;
            let message = self.message_of(&self.me.node, sealed);
            let is_its = matches!(&message, Some(Message::Discard { stream_id, .. })
                if *stream_id == unescaped(stream));
            Some(Queued {
                id: format!("- {stream}"),
                message: message.filter(|_| is_its),
            })
        });
        Some(fields.collect())
    }

    fn message_of(&self, node: &str, sealed: &[u8]) -> Option<Message> {
        let (kind, rest) = self.seal.open(Kind::Message, node, sealed)?.split_first()?;
        match kind {
            b'e' => Some(Message::Event(rest.to_vec())),
            b't' => {
                let meeting = String::from_utf8(rest.to_vec()).ok()?;
                Some(Message::Take { meeting })
            }
            b's' => streams(rest),
            b'd' => {
                let (stream, withdrawal) = part(rest)?;
                Some(Message::Discard {
                    stream_id: String::from_utf8(stream.to_vec()).ok()?,
                    withdrawal: withdrawal.to_vec(),
                })
            }
            _ => None,
        }
    }
}

fn streams(content: &[u8]) -> Option<Message> {
    let name = |part: &[u8]| String::from_utf8(part.to_vec()).ok();
    let (meeting, rest) = part(content)?;
    let (from, rest) = part(rest)?;
    let (entry, mut rest) = part(rest)?;
    let mut tails = Vec::new();
    while !rest.is_empty() {
        let (stream, tail);
        (stream, rest) = part(rest)?;
        (tail, rest) = part(rest)?;
        tails.push((name(stream)?, tail.to_vec()));
    }
    Some(Message::Streams {
        meeting: name(meeting)?,
        from: name(from)?,
        entry: entry.to_vec(),
        tails,
    })
}

/// A part that its length precedes, and what follows.
fn part(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = content.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)
}

/// The first word of a script's reply, and what follows.
fn words(value: &Value) -> Option<(&str, &[Value])> {
    let (first, rest) = value.array()?.split_first()?;
    Some((first.str()?, rest))
}

fn number(value: &Value) -> Option<u64> {
    u64::try_from(value.int()?).ok()
}
