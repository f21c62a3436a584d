//! The six scripts, once more, in Rust. Read them beside `daemon/fleet_store/lua`.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::model::{Model, Refusal, Text};
use crate::daemon::fleet_store::command::Script;
use crate::daemon::fleet_store::value::Value;

const DAY: u64 = 86_400_000;
const RECORD: u64 = 10_800_000;
const QUEUE_MAX: usize = 8192;

/// A record's fields, empty where it has none.
struct Read {
    owner: Option<Text>,
    boot: Text,
    epoch: u64,
    phase: Text,
    at: Text,
    streams: Text,
    entry: Option<Text>,
    was: Text,
    had: Option<Text>,
    had_entry: Option<Text>,
}

type Result<T> = std::result::Result<T, Refusal>;

impl Model {
    pub(super) fn script(&mut self, script: Script, keys: &[Text], args: &[Text]) -> Result<Value> {
        match script {
            Script::Beat => self.beat(keys, args),
            Script::Route => self.route(keys, args),
            Script::Claim => self.claim(keys, args),
            Script::Publish => self.publish(keys, args),
            Script::Hand => self.hand(keys, args),
            Script::Grant => self.grant(keys, args),
        }
    }

    fn most(&self) -> usize {
        self.queue_max.unwrap_or(QUEUE_MAX)
    }

    fn beat(&mut self, keys: &[Text], args: &[Text]) -> Result<Value> {
        let ([fleet, nodes], [node, boot, row, rest @ ..]) = (keys, args) else {
            return Err(arity());
        };
        let before = self.field(nodes, node)?;
        let stood = before.as_deref().and_then(beat_of);
        if row.is_empty() {
            if stood.as_ref().is_some_and(|(_, of)| of == boot) {
                self.drop_fields(nodes, std::slice::from_ref(node))?;
            }
            return Ok(words("removed", []));
        }
        let [previous, era, layout] = rest else {
            return Err(arity());
        };
        let now = self.now;
        if let Some((at, of)) = &stood
            && of != boot
            && of != previous
            && now.abs_diff(*at) < 5000
        {
            let before = before.unwrap_or_default();
            return Ok(words("taken", [int(now), Value::Bytes(before)]));
        }
        if !self.has(fleet) {
            let pairs = [
                ("era", era.clone()),
                ("born_ms", text(now)),
                ("v", layout.clone()),
            ];
            self.put(fleet, &pairs)?;
        }
        let said = [&text(now), boot, row].map(Vec::as_slice).join(&b'|');
        self.put_field(nodes, node, said)?;
        let era = self.field(fleet, b"era")?.map_or(Value::Nil, Value::Bytes);
        let before = before.map_or(Value::Nil, Value::Bytes);
        Ok(words("beat", [int(now), era, before, self.fields(nodes)?]))
    }

    fn route(&mut self, keys: &[Text], args: &[Text]) -> Result<Value> {
        let (Some(queue), Some(message)) = (keys.first(), args.first()) else {
            return Err(arity());
        };
        if let [_, meeting, nodes] = keys {
            let [_, me, my_boot, expected, limit] = args else {
                return Err(arity());
            };
            let r = self.read(meeting)?;
            let Some(owner) = r.owner else {
                return Ok(words("none", []));
            };
            if owner == *me && r.boot == *my_boot {
                return Ok(words("mine", []));
            }
            let silent = self.silent(nodes, &owner, &r.boot)?;
            let is_dead = silent.is_none_or(|silent| silent >= parsed(limit));
            if is_dead && r.phase == b"ended" {
                return Ok(words("none", []));
            }
            if owner != *expected {
                return Ok(words("moved", [Value::Bytes(owner)]));
            }
            if is_dead {
                return Ok(words("dead", []));
            }
        }
        if self.length(queue)? >= self.most() {
            return Ok(words("full", []));
        }
        self.enqueue(queue, message)?;
        Ok(words("queued", []))
    }

    fn claim(&mut self, keys: &[Text], args: &[Text]) -> Result<Value> {
        let ([key, nodes, rest @ ..], [limit, more @ ..]) = (keys, args) else {
            return Err(arity());
        };
        let r = self.read(key)?;
        let owner = r.owner.clone();
        let current = match &owner {
            Some(owner) => Some(self.record(nodes, &r, owner, &r.boot, r.epoch, &r.phase, &r.at)?),
            None => None,
        };
        if limit == b"read" {
            return Ok(current.map_or_else(|| words("none", []), |record| words("held", [record])));
        }
        let [its_set, its_queue, old_set, old_tails, its_tails] = rest else {
            return Err(arity());
        };
        let [meeting, to, boot, phase, expected, messages @ ..] = more else {
            return Err(arity());
        };
        let is_same = owner.as_ref() == Some(to) && r.boot == *boot;
        let is_free = owner.is_none() || r.phase == b"ended";
        if let (false, Some(owner), Some(current)) = (is_same || is_free, &owner, &current) {
            if owner != expected {
                if !expected.is_empty() {
                    self.drop_members(old_set, std::slice::from_ref(meeting))?;
                }
                return Ok(words("held", [current.clone()]));
            }
            let is_open = r.phase == b"placed" || r.phase == b"handing";
            let is_late = is_open && self.now.abs_diff(parsed(&r.at)) >= 3000;
            let silent = self.silent(nodes, owner, &r.boot)?;
            let may = limit != b"free"
                && (is_late || silent.is_none_or(|silent| silent >= parsed(limit)));
            if !may {
                return Ok(words("held", [current.clone()]));
            }
        }
        let count = messages.len();
        if count > 0
            && (self.field(nodes, to)?.is_none() || self.length(its_queue)? + count > self.most())
        {
            return Ok(words("full", []));
        }
        let mut tails = Vec::new();
        for id in ids(&r.streams) {
            if let Some(tail) = self.field(old_tails, &id)? {
                tails.extend([Value::Bytes(id.clone()), Value::Bytes(tail.clone())]);
                if phase == b"placed" {
                    self.put_field(its_tails, &id, tail)?;
                    self.expire(its_tails, DAY)?;
                }
            }
        }
        let streams = not_received(&r.streams);
        let r = Read {
            streams: streams.clone(),
            ..r
        };
        let (mut epoch, mut before) = (r.epoch, None);
        if let Some(owner) = &owner {
            before = Some(self.record(nodes, &r, owner, &r.boot, r.epoch, &r.phase, &r.at)?);
        }
        if is_same && !is_free {
            before = match was(&r.was) {
                Some((owner, boot, epoch, phase, at)) => {
                    Some(self.record(nodes, &r, &owner, &boot, epoch, &phase, &at)?)
                }
                None => before.filter(|_| r.entry.is_some()),
            };
            if phase == b"held" && r.phase != b"held" {
                let pairs = [
                    ("phase", phase.clone()),
                    ("at_ms", text(self.now)),
                    ("streams", streams),
                ];
                self.put(key, &pairs)?;
            }
        } else {
            epoch += u64::from(!is_same);
            let pairs = [
                ("owner", to.clone()),
                ("boot", boot.clone()),
                ("epoch", text(epoch)),
                ("phase", phase.clone()),
                ("at_ms", text(self.now)),
                ("was", r.as_was()),
                ("streams", streams),
            ];
            self.put(key, &pairs)?;
            self.drop_members(old_set, std::slice::from_ref(meeting))?;
        }
        self.expire(key, RECORD)?;
        self.add_member(its_set, meeting)?;
        self.expire(its_set, RECORD)?;
        for message in messages {
            self.enqueue(its_queue, message)?;
        }
        let before = before.unwrap_or(Value::Nil);
        Ok(words("claimed", [int(epoch), before, Value::Array(tails)]))
    }

    fn publish(&mut self, keys: &[Text], args: &[Text]) -> Result<Value> {
        let [key, nodes, my_set, my_tails, streams_keys @ ..] = keys else {
            return Err(arity());
        };
        let [
            meeting,
            me,
            boot,
            previous,
            had,
            phase,
            streams,
            has_entry,
            entry,
        ] = args
        else {
            return Err(arity());
        };
        let (r, had) = (self.read(key)?, parsed(had));
        let mut epoch = r.epoch.max(had).max(1);
        let before = match &r.owner {
            Some(owner) => self.record(nodes, &r, owner, &r.boot, r.epoch, &r.phase, &r.at)?,
            None => Value::Nil,
        };
        let mut pairs = Vec::new();
        let is_known = r.boot == *previous && r.phase == b"held" && r.epoch <= had;
        if let Some(owner) = &r.owner
            && !(owner == me && (r.boot == *boot || is_known))
        {
            let i_do = receives(streams);
            let it_does = r.phase == b"held" && receives(&r.streams);
            let is_free = r.phase == b"ended";
            if !(is_free || i_do && (!it_does || had > r.epoch)) {
                if owner != me {
                    self.drop_members(my_set, std::slice::from_ref(meeting))?;
                }
                return Ok(words("newer", [before]));
            }
            epoch = r.epoch.max(had) + 1;
            pairs.push(("was", r.as_was()));
        }
        let is_taken = !pairs.is_empty();
        pairs.extend([
            ("owner", me.clone()),
            ("boot", boot.clone()),
            ("epoch", text(epoch)),
            ("phase", phase.clone()),
            ("at_ms", text(self.now)),
            ("streams", streams.clone()),
        ]);
        if has_entry == b"1" {
            pairs.push(("entry", entry.clone()));
        }
        self.put(key, &pairs)?;
        self.expire(key, RECORD)?;
        for stream in streams_keys {
            self.set(stream, meeting, Some(RECORD))?;
        }
        let now = ids(streams);
        let gone: Vec<Text> = ids(&r.streams)
            .into_iter()
            .filter(|id| !now.contains(id))
            .collect();
        self.drop_fields(my_tails, &gone)?;
        if phase == b"ended" {
            self.drop_members(my_set, std::slice::from_ref(meeting))?;
        } else {
            self.add_member(my_set, meeting)?;
        }
        self.expire(my_set, RECORD)?;
        let is_told = !gone.is_empty() && r.phase != b"ended" && phase != b"ended";
        let mut told = Some((before, r.entry.clone().unwrap_or_default())).filter(|_| is_told);
        if is_taken && is_told {
            let pairs = [
                ("had", r.streams.clone()),
                ("had_entry", r.entry.clone().unwrap_or_default()),
            ];
            self.put(key, &pairs)?;
        } else if let Some(streams) = r.had.clone() {
            if !is_taken && had < r.epoch {
                if let Some((owner, boot, epoch, phase, at)) = was(&r.was) {
                    let entry = r.had_entry.clone().unwrap_or_default();
                    let r = Read {
                        streams,
                        entry: Some(entry.clone()),
                        ..r
                    };
                    let record = self.record(nodes, &r, &owner, &boot, epoch, &phase, &at)?;
                    told = Some((record, entry));
                }
            } else {
                let gone = ["had", "had_entry"].map(|field| field.as_bytes().to_vec());
                self.drop_fields(key, &gone)?;
            }
        }
        if let Some((record, _)) = told.filter(|(_, entry)| !entry.is_empty()) {
            return Ok(words("ok", [int(epoch), record]));
        }
        let is_bare = r.entry.is_none() && has_entry != b"1" && phase != b"ended";
        Ok(words(if is_bare { "bare" } else { "ok" }, [int(epoch)]))
    }

    fn hand(&mut self, keys: &[Text], args: &[Text]) -> Result<Value> {
        let [key, nodes, my_set, my_tails, its_set, its_tails, its_queue] = keys else {
            return Err(arity());
        };
        let [
            meeting,
            me,
            boot,
            had,
            heir,
            its_boot,
            entry,
            message,
            tails @ ..,
        ] = args
        else {
            return Err(arity());
        };
        let (r, epoch) = (self.read(key)?, parsed(had));
        if r.owner.as_ref() == Some(heir) && r.boot == *its_boot && r.epoch == epoch + 1 {
            return Ok(words("ok", [int(r.epoch)]));
        }
        if let Some(owner) = &r.owner {
            let is_mine = owner == me && r.boot == *boot && r.epoch == epoch;
            if !is_mine || r.phase == b"ended" {
                let record = self.record(nodes, &r, owner, &r.boot, r.epoch, &r.phase, &r.at)?;
                return Ok(words("newer", [record]));
            }
        }
        let is_gone = self.field(nodes, heir)?.is_none();
        if is_gone || self.length(its_queue)? >= self.most() {
            return Ok(words("full", []));
        }
        let (phase, at) = (b"handing".to_vec(), text(self.now));
        let was = [me, boot, had, &phase, &at].map(Vec::as_slice).join(&b'|');
        let pairs = [
            ("owner", heir.clone()),
            ("boot", its_boot.clone()),
            ("epoch", text(epoch + 1)),
            ("phase", b"handing".to_vec()),
            ("at_ms", text(self.now)),
            ("entry", entry.clone()),
            ("was", was),
        ];
        self.put(key, &pairs)?;
        self.expire(key, RECORD)?;
        self.drop_members(my_set, std::slice::from_ref(meeting))?;
        self.add_member(its_set, meeting)?;
        self.expire(its_set, RECORD)?;
        for pair in tails.chunks_exact(2) {
            self.drop_fields(my_tails, &pair[..1])?;
            self.put_field(its_tails, &pair[0], pair[1].clone())?;
            self.expire(its_tails, DAY)?;
        }
        self.enqueue(its_queue, message)?;
        Ok(words("ok", [int(epoch + 1)]))
    }

    fn grant(&mut self, keys: &[Text], args: &[Text]) -> Result<Value> {
        let ([key], [what, boot, rest @ ..]) = (keys, args) else {
            return Err(arity());
        };
        let now = self.now;
        let read = |field: &str| self.field(key, field.as_bytes());
        let generation = read("gen")?.map_or(0, |text| parsed(&text));
        let until = read("lock_until_ms")?.map_or(0, |text| parsed(&text));
        let mut left = until.saturating_sub(now);
        let is_forgotten = read("forgotten")?.is_some();
        let by = read("by")?;
        let shown = [
            read("access")?.unwrap_or_default(),
            read("expires_ms")?.unwrap_or_else(|| b"0".to_vec()),
            read("refresh")?.unwrap_or_default(),
        ];
        let mut holder = read("lock")?.filter(|_| left > 0 && left <= 45_000);
        let mut said = "read";
        match (what.as_slice(), rest) {
            (b"read", []) => {}
            (b"lock", []) => {
                said = "locked";
                if holder.as_ref().is_some_and(|holder| holder != boot) {
                    said = "busy";
                } else {
                    (holder, left) = (Some(boot.clone()), 45_000);
                    let until = text(now + left);
                    let pairs = [("lock", boot.clone()), ("lock_until_ms", until)];
                    self.put(key, &pairs)?;
                }
            }
            (b"put" | b"restore", [new, access, expires, refresh]) => {
                let number = parsed(new);
                if number == generation && by.as_ref() == Some(boot) && !is_forgotten {
                    return Ok(words("put", []));
                }
                let may = match what.as_slice() {
                    b"put" => number == generation + 1 && holder.as_ref() == Some(boot),
                    _ => number > generation && !is_forgotten,
                };
                if !may {
                    return Ok(words("refused", [int(generation)]));
                }
                self.remove(key);
                let pairs = [
                    ("gen", new.clone()),
                    ("access", access.clone()),
                    ("expires_ms", expires.clone()),
                    ("refresh", refresh.clone()),
                    ("by", boot.clone()),
                ];
                self.put(key, &pairs)?;
                return Ok(words("put", []));
            }
            (b"forget", []) => {
                let gone = ["access", "expires_ms", "refresh", "lock", "lock_until_ms"];
                self.drop_fields(key, &gone.map(|field| field.as_bytes().to_vec()))?;
                let pairs = [("gen", text(generation)), ("forgotten", b"1".to_vec())];
                self.put(key, &pairs)?;
                self.expire(key, 90 * DAY)?;
                return Ok(words("forgotten", []));
            }
            _ => return Err(arity()),
        }
        let [access, expires, refresh] = shown.map(Value::Bytes);
        let left = if holder.is_some() { left } else { 0 };
        let holder = Value::Bytes(holder.unwrap_or_default());
        let forgotten = Value::Int(i64::from(is_forgotten));
        let rest = [
            int(generation),
            access,
            expires,
            refresh,
            holder,
            int(left),
            forgotten,
        ];
        Ok(words(said, rest))
    }

    fn read(&self, key: &[u8]) -> Result<Read> {
        let field = |name: &str| self.field(key, name.as_bytes());
        Ok(Read {
            owner: field("owner")?,
            boot: field("boot")?.unwrap_or_default(),
            epoch: field("epoch")?.map_or(0, |text| parsed(&text)),
            phase: field("phase")?.unwrap_or_default(),
            at: field("at_ms")?.unwrap_or_default(),
            streams: field("streams")?.unwrap_or_default(),
            entry: field("entry")?,
            was: field("was")?.unwrap_or_default(),
            had: field("had")?,
            had_entry: field("had_entry")?,
        })
    }

    /// How long ago the process's last beat was; `None` if another process has the row, or no node.
    fn silent(&self, nodes: &[u8], node: &[u8], boot: &[u8]) -> Result<Option<u64>> {
        let row = self.field(nodes, node)?;
        let beat = row.as_deref().and_then(beat_of);
        let beat = beat.filter(|(_, of)| of == boot);
        Ok(beat.map(|(at, _)| self.now.abs_diff(at)))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a record")]
    fn record(
        &self,
        nodes: &[u8],
        r: &Read,
        owner: &[u8],
        boot: &[u8],
        epoch: u64,
        phase: &[u8],
        at: &[u8],
    ) -> Result<Value> {
        let silent = self.silent(nodes, owner, boot)?;
        Ok(Value::Array(vec![
            Value::Bytes(owner.to_vec()),
            Value::Bytes(boot.to_vec()),
            int(epoch),
            Value::Bytes(phase.to_vec()),
            Value::Int(signed(self.now) - signed(parsed(at))),
            silent.map_or(Value::Int(-1), int),
            Value::Bytes(r.streams.clone()),
            Value::Bytes(r.entry.clone().unwrap_or_default()),
        ]))
    }

    fn enqueue(&mut self, queue: &[u8], message: &Text) -> Result<()> {
        self.add(queue, vec![b"m".to_vec(), message.clone()])?;
        self.expire(queue, DAY)?;
        Ok(())
    }
}

impl Read {
    /// The owner, for the field that keeps who had the meeting before.
    fn as_was(&self) -> Text {
        let Some(owner) = &self.owner else {
            return Vec::new();
        };
        [owner, &self.boot, &text(self.epoch), &self.phase, &self.at]
            .map(Vec::as_slice)
            .join(&b'|')
    }
}

/// Owner, boot, epoch, phase and time.
fn was(text: &[u8]) -> Option<(Text, Text, u64, Text, Text)> {
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b'|').collect();
    let [owner, boot, epoch, phase, at] = parts[..] else {
        return None;
    };
    let [owner, boot, phase, at] = [owner, boot, phase, at].map(<[u8]>::to_vec);
    Some((owner, boot, parsed(epoch), phase, at))
}

/// When a row was written, and by which boot.
fn beat_of(row: &[u8]) -> Option<(u64, Text)> {
    let mut parts = row.splitn(3, |byte| *byte == b'|');
    let (at, boot, _) = (parts.next()?, parts.next()?, parts.next()?);
    Some((parsed(at), boot.to_vec()))
}

/// The streams of a record.
fn ids(streams: &[u8]) -> Vec<Text> {
    let lines = streams.split(|byte| *byte == b'\n');
    let ids = lines.filter_map(|line| {
        let space = line.iter().position(|byte| *byte == b' ')?;
        Some(line[space + 1..].to_vec())
    });
    ids.filter(|id| !id.is_empty()).collect()
}

/// The same streams, none of them received.
fn not_received(streams: &[u8]) -> Text {
    let lines = streams.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.flat_map(|line| match line.strip_prefix(b"receiving ") {
        Some(id) => [&b"lost "[..], id],
        None => [line, b""],
    });
    lines.flatten().copied().collect()
}

fn receives(streams: &[u8]) -> bool {
    streams
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(b"receiving "))
}

fn words<const N: usize>(first: &str, rest: [Value; N]) -> Value {
    Value::Array([Value::text(first)].into_iter().chain(rest).collect())
}

fn parsed(text: &[u8]) -> u64 {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn text(number: u64) -> Text {
    number.to_string().into_bytes()
}

fn int(number: u64) -> Value {
    Value::Int(signed(number))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn arity() -> Refusal {
    "ERR wrong number of keys or arguments".to_owned()
}
