//! A map that tracks which entries may have changed, and its size as JSON.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// Entries by id.
#[derive(Debug)]
pub(super) struct Table<V> {
    /// Boxed, because a map allocates room for up to twice as many entries as it holds.
    entries: HashMap<String, Box<Slot<V>>>,
    /// Keys of entries that were handed out for changes, inserted or removed.
    changed: HashSet<String>,
    /// The same for who watches; `None` if no node does.
    watched: Option<HashSet<String>>,
    bytes: usize,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    /// Size of key and value as JSON, when they were last counted.
    bytes: usize,
}

impl<V: Serialize> Table<V> {
    pub(super) fn new() -> Table<V> {
        Table {
            entries: HashMap::new(),
            changed: HashSet::new(),
            watched: None,
            bytes: 0,
        }
    }

    /// From now on [`take_watched`](Table::take_watched) knows what was changed.
    pub(super) fn watch(&mut self) {
        self.watched.get_or_insert_default();
    }

    /// Keys of entries that may have changed since the last call.
    pub(super) fn take_watched(&mut self) -> HashSet<String> {
        self.watched
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn note(&mut self, key: &str) {
        if !self.changed.contains(key) {
            self.changed.insert(key.to_owned());
        }
        if let Some(watched) = &mut self.watched
            && !watched.contains(key)
        {
            watched.insert(key.to_owned());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The size as JSON. The growth of an entry is counted at the next
    /// [`take_changes`](Table::take_changes).
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains_key(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.entries.get(key).map(|slot| &slot.value)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        if !self.entries.contains_key(key) {
            return None;
        }
        self.note(key);
        self.entries.get_mut(key).map(|slot| &mut slot.value)
    }

    pub(super) fn get_or_insert_with(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        self.note(key);
        let bytes = &mut self.bytes;
        let slot = self.entries.entry(key.to_owned()).or_insert_with(|| {
            let slot = Box::new(Slot::new(key, make()));
            *bytes += slot.bytes;
            slot
        });
        &mut slot.value
    }

    pub(super) fn insert(&mut self, key: String, value: V) {
        let slot = Box::new(Slot::new(&key, value));
        self.bytes += slot.bytes;
        self.note(&key);
        if let Some(old) = self.entries.insert(key, slot) {
            self.bytes -= old.bytes;
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<V> {
        let slot = self.entries.remove(key)?;
        self.bytes -= slot.bytes;
        self.note(key);
        Some(slot.value)
    }

    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&str, &V) -> bool) {
        let (changed, bytes) = (&mut self.changed, &mut self.bytes);
        let watched = &mut self.watched;
        self.entries.retain(|key, slot| {
            let keeps = is_kept(key, &slot.value);
            if !keeps {
                *bytes -= slot.bytes;
                changed.insert(key.clone());
                watched.as_mut().map(|watched| watched.insert(key.clone()));
            }
            keeps
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &V)> {
        self.entries.iter().map(|(key, slot)| (key, &slot.value))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|slot| &slot.value)
    }

    /// The entries that may have changed since the last call, or `None` for a removed one. Each
    /// entry is converted to JSON once, which also gives its size.
    pub(super) fn take_changes(&mut self) -> BTreeMap<String, Option<Box<RawValue>>> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|key| self.as_json(key)).collect()
    }

    fn as_json(&mut self, key: String) -> (String, Option<Box<RawValue>>) {
        let json = self.entries.get_mut(&key).and_then(|slot| {
            let json = to_raw_value(&slot.value).ok()?;
            self.bytes -= slot.bytes;
            slot.bytes = json_bytes(&key, json.get().len());
            self.bytes += slot.bytes;
            Some(json)
        });
        (key, json)
    }

    /// Applies the [`take_changes`](Table::take_changes) of an earlier process. They do not count
    /// as changes of this one.
    pub(super) fn apply(&mut self, changes: BTreeMap<String, Option<V>>) {
        for (key, value) in changes {
            match value {
                Some(value) => self.insert(key, value),
                None => drop(self.remove(&key)),
            }
        }
        self.changed.clear();
    }
}

impl<V: Serialize> Slot<V> {
    /// Counted at once, because a burst must not pass the limit before its changes are taken.
    fn new(key: &str, value: V) -> Slot<V> {
        let mut count = Count(0);
        // Counting does not fail.
        let _ = serde_json::to_writer(&mut count, &value);
        Slot {
            bytes: json_bytes(key, count.0),
            value,
        }
    }
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of `"key":value,`. An id hardly ever needs an escape.
fn json_bytes(key: &str, value_bytes: usize) -> usize {
    key.len() + value_bytes + 4
}

impl<V: Serialize> Serialize for Table<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, V: Serialize + Deserialize<'de>> Deserialize<'de> for Table<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Table<V>, D::Error> {
        let values = HashMap::<String, V>::deserialize(deserializer)?;
        let mut table = Table::new();
        for (key, value) in values {
            table.insert(key, value);
        }
        table.changed.clear();
        Ok(table)
    }
}
