//! The model of the store: plain data, and the commands that we use.
//!
//! The time is an argument. What it answers is compared with a real server (`tests/it/fleet_scripts.rs`), so a
//! simulation on the model says something about the real thing. Members of sets and fields of hashes are in
//! order here; a real server has no order.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::daemon::fleet_store::command::{Command, Verb};
use crate::daemon::fleet_store::value::Value;

/// Bytes of a key, field or value.
pub type Text = Vec<u8>;
/// A key, its content as a list, and whether it will go by itself.
pub type Dumped = (Text, Vec<Text>, bool);
/// Why a command was refused, in the words of a real server.
pub type Refusal = String;

/// A store. A clone is a snapshot: what a restart brings back.
#[derive(Debug, Clone, Default)]
pub struct Model {
    keys: BTreeMap<Text, Key>,
    /// It has no memory left: whatever may need some is refused.
    pub is_full: bool,
    /// A queue holds no more messages than this, which the scripts do not know.
    pub queue_max: Option<usize>,
    /// The time of the call that is carried out.
    pub(super) now: u64,
}

#[derive(Debug, Clone)]
struct Key {
    content: Content,
    /// When it goes, in ms.
    until: Option<u64>,
}

/// What a key holds.
#[derive(Debug, Clone)]
enum Content {
    Text(Text),
    Hash(BTreeMap<Text, Text>),
    Set(BTreeSet<Text>),
    Stream(Stream),
}

/// The entries of a stream, in the order of their ids.
#[derive(Debug, Clone, Default)]
struct Stream {
    entries: BTreeMap<Id, Vec<Text>>,
    last: Id,
}

type Id = (u64, u64);

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// A kind of content, by what makes it, and finds it in a key.
macro_rules! kind {
    ($read:ident, $write:ident, $variant:ident, $type:ty) => {
        fn $read(&self, key: &[u8]) -> Result<Option<&$type>, Refusal> {
            match self.keys.get(key).map(|key| &key.content) {
                None => Ok(None),
                Some(Content::$variant(content)) => Ok(Some(content)),
                Some(_) => Err(WRONG_TYPE.to_owned()),
            }
        }

        fn $write(&mut self, key: &[u8]) -> Result<&mut $type, Refusal> {
            if self.is_full {
                return Err(OOM.to_owned());
            }
            let key = self.keys.entry(key.to_vec()).or_insert_with(|| Key {
                content: Content::$variant(<$type>::default()),
                until: None,
            });
            match &mut key.content {
                Content::$variant(content) => Ok(content),
                _ => Err(WRONG_TYPE.to_owned()),
            }
        }
    };
}

impl Model {
    /// An empty store.
    pub fn new() -> Model {
        Model::default()
    }

    /// Carries a command out at this time, in Unix milliseconds by the store's clock. A blocking read does not
    /// wait: it says that nothing came.
    pub fn call(&mut self, now_ms: u64, command: &Command) -> Value {
        self.now = now_ms;
        self.keys
            .retain(|_, key| key.until.is_none_or(|until| until > now_ms));
        let result = match command.verb {
            Verb::Script(script) => self.script(script, &command.keys, &command.args),
            Verb::Plain(name) => self.plain(name, &command.keys, &command.args),
        };
        result.unwrap_or_else(Value::Error)
    }

    /// Loses everything.
    pub fn clear(&mut self) {
        self.keys.clear();
    }

    /// All keys, for a comparison.
    pub fn dump(&self) -> Vec<Dumped> {
        let keys = self.keys.iter().map(|(name, key)| {
            let content = match &key.content {
                Content::Text(text) => vec![text.clone()],
                Content::Hash(hash) => hash
                    .iter()
                    .flat_map(|(field, value)| [field.clone(), value.clone()])
                    .collect(),
                Content::Set(set) => set.iter().cloned().collect(),
                Content::Stream(stream) => stream.entries.values().flatten().cloned().collect(),
            };
            (name.clone(), content, key.until.is_some())
        });
        keys.collect()
    }

    kind!(read_hash, write_hash, Hash, BTreeMap<Text, Text>);
    kind!(read_set, write_set, Set, BTreeSet<Text>);
    kind!(read_stream, write_stream, Stream, Stream);

    fn plain(&mut self, name: &str, keys: &[Text], args: &[Text]) -> Result<Value, Refusal> {
        let key = keys.first().map(Vec::as_slice).unwrap_or_default();
        match (name, keys, args) {
            ("PING", [], []) => Ok(Value::text("PONG")),
            ("TIME", [], []) => {
                let parts = [self.now / 1000, self.now % 1000 * 1000];
                let parts = parts.map(|part| Value::text(part.to_string()));
                Ok(Value::Array(parts.to_vec()))
            }
            ("DEL", _, []) => {
                let gone = keys.iter().filter(|key| self.keys.remove(*key).is_some());
                Ok(count(gone.count()))
            }
            ("EXISTS", [_], []) => Ok(count(usize::from(self.keys.contains_key(key)))),
            ("PEXPIRE", [_], [ms]) => self.expire(key, number(ms)?),
            ("PTTL", [_], []) => Ok(match self.keys.get(key).map(|key| key.until) {
                None => Value::Int(-2),
                Some(None) => Value::Int(-1),
                Some(Some(until)) => Value::Int((until - self.now) as i64),
            }),
            ("GET", [_], []) => match self.keys.get(key).map(|key| &key.content) {
                None => Ok(Value::Nil),
                Some(Content::Text(text)) => Ok(Value::Bytes(text.clone())),
                Some(_) => Err(WRONG_TYPE.to_owned()),
            },
            ("SET", [_], [text]) => self.set(key, text, None),
            ("HSET", [_], [_, _, ..]) if args.len().is_multiple_of(2) => {
                let hash = self.write_hash(key)?;
                let pairs = args.chunks(2);
                let new =
                    pairs.filter(|pair| hash.insert(pair[0].clone(), pair[1].clone()).is_none());
                Ok(count(new.count()))
            }
            ("HGET", [_], [field]) => Ok(self.field(key, field)?.map_or(Value::Nil, Value::Bytes)),
            ("HMGET", [_], _) => {
                let values = args.iter().map(|field| self.field(key, field));
                let values: Result<Vec<_>, _> = values.collect();
                let values = values?.into_iter();
                Ok(Value::Array(
                    values.map(|v| v.map_or(Value::Nil, Value::Bytes)).collect(),
                ))
            }
            ("HGETALL", [_], []) => Ok(self.fields(key)?),
            ("HDEL", [_], _) => {
                let gone = self.drop_fields(key, args)?;
                Ok(count(gone))
            }
            ("SADD", [_], _) => {
                let set = self.write_set(key)?;
                Ok(count(
                    args.iter().filter(|a| set.insert((*a).clone())).count(),
                ))
            }
            ("SREM", [_], _) => Ok(count(self.drop_members(key, args)?)),
            ("SMEMBERS", [_], []) => {
                let set = self.read_set(key)?.into_iter().flatten();
                Ok(Value::Array(set.cloned().map(Value::Bytes).collect()))
            }
            ("SCARD", [_], []) => Ok(count(self.read_set(key)?.map_or(0, BTreeSet::len))),
            ("XADD", [_], [id, fields @ ..]) if id == b"*" && fields.len().is_multiple_of(2) => {
                let id = self.add(key, fields.to_vec())?;
                Ok(Value::text(id))
            }
            ("XLEN", [_], []) => Ok(count(self.length(key)?)),
            ("XDEL", [_], _) => {
                let ids: Result<Vec<Id>, _> = args.iter().map(|id| entry_id(id)).collect();
                let ids = ids?;
                let Some(Content::Stream(stream)) = self.keys.get_mut(key).map(|k| &mut k.content)
                else {
                    return self.read_stream(key).map(|_| count(0));
                };
                // An empty stream stays, as it does in a real server.
                let gone = ids.iter().filter(|id| stream.entries.remove(*id).is_some());
                Ok(count(gone.count()))
            }
            ("XRANGE", [_], [from, to, limit @ ..]) if from == b"-" && to == b"+" => {
                let most = match limit {
                    [] => u64::MAX,
                    [word, most] if word == b"COUNT" => number(most)?,
                    _ => return Err("ERR syntax error".to_owned()),
                };
                self.entries_after(key, None, most)
            }
            ("XREAD", [_], [options @ .., streams, after]) if streams == b"STREAMS" => {
                let mut most = u64::MAX;
                for option in options.chunks(2) {
                    match option {
                        [word, value] if word == b"COUNT" => most = number(value)?,
                        [word, _] if word == b"BLOCK" => {}
                        _ => return Err("ERR syntax error".to_owned()),
                    }
                }
                let entries = self.entries_after(key, Some(entry_id(after)?), most)?;
                if entries == Value::Array(Vec::new()) {
                    return Ok(Value::Nil);
                }
                let stream = vec![Value::Bytes(key.to_vec()), entries];
                Ok(Value::Array(vec![Value::Array(stream)]))
            }
            _ => Err(format!("ERR the model does not know this use of {name}")),
        }
    }

    fn entries_after(&self, key: &[u8], after: Option<Id>, most: u64) -> Result<Value, Refusal> {
        let entries = self.read_stream(key)?.into_iter();
        let entries = entries
            .flat_map(|stream| &stream.entries)
            .filter(|(id, _)| after.is_none_or(|after| **id > after))
            .take(usize::try_from(most).unwrap_or(usize::MAX));
        let entries = entries.map(|((ms, seq), fields)| {
            let fields = fields.iter().cloned().map(Value::Bytes).collect();
            Value::Array(vec![
                Value::text(format!("{ms}-{seq}")),
                Value::Array(fields),
            ])
        });
        Ok(Value::Array(entries.collect()))
    }

    // What the scripts use.

    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    pub(super) fn field(&self, key: &[u8], field: &[u8]) -> Result<Option<Text>, Refusal> {
        let hash = self.read_hash(key)?;
        Ok(hash.and_then(|hash| hash.get(field).cloned()))
    }

    pub(super) fn fields(&self, key: &[u8]) -> Result<Value, Refusal> {
        let fields = self.read_hash(key)?.into_iter().flatten();
        let words = fields.flat_map(|(field, value)| [field.clone(), value.clone()]);
        Ok(Value::Array(words.map(Value::Bytes).collect()))
    }

    pub(super) fn put(&mut self, key: &[u8], pairs: &[(&str, Text)]) -> Result<(), Refusal> {
        let hash = self.write_hash(key)?;
        for (field, value) in pairs {
            hash.insert(field.as_bytes().to_vec(), value.clone());
        }
        Ok(())
    }

    pub(super) fn put_field(
        &mut self,
        key: &[u8],
        field: &[u8],
        value: Text,
    ) -> Result<(), Refusal> {
        self.write_hash(key)?.insert(field.to_vec(), value);
        Ok(())
    }

    pub(super) fn drop_fields(&mut self, key: &[u8], fields: &[Text]) -> Result<usize, Refusal> {
        let Some(Content::Hash(hash)) = self.keys.get_mut(key).map(|key| &mut key.content) else {
            return self.read_hash(key).map(|_| 0);
        };
        let gone = fields.iter().filter(|field| hash.remove(*field).is_some());
        let gone = gone.count();
        if hash.is_empty() {
            self.keys.remove(key);
        }
        Ok(gone)
    }

    pub(super) fn add_member(&mut self, key: &[u8], member: &[u8]) -> Result<(), Refusal> {
        self.write_set(key)?.insert(member.to_vec());
        Ok(())
    }

    pub(super) fn drop_members(&mut self, key: &[u8], members: &[Text]) -> Result<usize, Refusal> {
        let Some(Content::Set(set)) = self.keys.get_mut(key).map(|key| &mut key.content) else {
            return self.read_set(key).map(|_| 0);
        };
        let gone = members.iter().filter(|member| set.remove(*member)).count();
        if set.is_empty() {
            self.keys.remove(key);
        }
        Ok(gone)
    }

    pub(super) fn length(&self, key: &[u8]) -> Result<usize, Refusal> {
        let stream = self.read_stream(key)?;
        Ok(stream.map_or(0, |stream| stream.entries.len()))
    }

    pub(super) fn add(&mut self, key: &[u8], fields: Vec<Text>) -> Result<String, Refusal> {
        let now = self.now;
        let stream = self.write_stream(key)?;
        // Ids grow, also where the clock was set back.
        let id = match stream.last {
            (ms, seq) if ms >= now => (ms, seq + 1),
            _ => (now, 0),
        };
        stream.last = id;
        stream.entries.insert(id, fields);
        Ok(format!("{}-{}", id.0, id.1))
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.keys.remove(key);
    }

    pub(super) fn set(
        &mut self,
        key: &[u8],
        text: &[u8],
        ms: Option<u64>,
    ) -> Result<Value, Refusal> {
        if self.is_full {
            return Err(OOM.to_owned());
        }
        let key = key.to_vec();
        let content = Content::Text(text.to_vec());
        let until = ms.map(|ms| self.now + ms);
        self.keys.insert(key, Key { content, until });
        Ok(Value::text("OK"))
    }

    pub(super) fn expire(&mut self, key: &[u8], ms: u64) -> Result<Value, Refusal> {
        let until = self.now + ms;
        let key = self.keys.get_mut(key);
        Ok(count(usize::from(
            key.map(|k| k.until = Some(until)).is_some(),
        )))
    }
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn number(text: &[u8]) -> Result<u64, Refusal> {
    let text = std::str::from_utf8(text).ok();
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| "ERR value is not an integer or out of range".to_owned())
}

fn entry_id(text: &[u8]) -> Result<Id, Refusal> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
    match (ms.parse(), seq.parse()) {
        (Ok(ms), Ok(seq)) => Ok((ms, seq)),
        _ => Err("ERR Invalid stream ID specified as stream command argument".to_owned()),
    }
}
