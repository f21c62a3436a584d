//! A node's row as text: `at_ms|boot|JSON`. Scripts read the first two parts.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::coordinator::fleet::call::{Boot, EventsRow, Row, SeenRow};

/// The JSON. Unknown fields are of a newer version; missing ones of an older.
#[derive(Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Text {
    seq: u64,
    v: u32,
    version: String,
    must: String,
    streams: u32,
    capacity: u32,
    draining: bool,
    admin: String,
    since_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Events>,
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Events {
    subscription: String,
    connected: bool,
    failing: bool,
}

/// The third part.
pub(super) fn written(row: &Row) -> Vec<u8> {
    let text = Text {
        seq: row.seq,
        v: row.layout,
        version: row.version.clone(),
        must: row.must.clone(),
        streams: row.streams,
        capacity: row.capacity,
        draining: row.is_draining,
        admin: row.admin.clone(),
        since_ms: row.since_ms,
        events: row.events.as_ref().map(|events| Events {
            subscription: events.subscription.clone(),
            connected: events.is_connected,
            failing: events.is_failing,
        }),
    };
    // Plain fields: it cannot fail. An empty row would remove the row, so it must not become one.
    serde_json::to_vec(&text).unwrap_or_else(|_| b"{}".to_vec())
}

/// A row, and when it was written, by the store's clock.
pub(super) fn read(value: &[u8]) -> Option<(u64, Row)> {
    let value = std::str::from_utf8(value).ok()?;
    let (at, rest) = value.split_once('|')?;
    let (boot, json) = rest.split_once('|')?;
    let text: Text = serde_json::from_str(json).ok()?;
    let row = Row {
        boot: Boot::parse(boot)?,
        seq: text.seq,
        layout: text.v,
        version: text.version,
        must: text.must,
        streams: text.streams,
        capacity: text.capacity,
        is_draining: text.draining,
        admin: text.admin,
        since_ms: text.since_ms,
        events: text.events.map(|events| EventsRow {
            subscription: events.subscription,
            is_connected: events.connected,
            is_failing: events.failing,
        }),
    };
    Some((at.parse().ok()?, row))
}

/// A row with its age. What lies in the future is as old as it is far away: the store's clock was set, and a
/// node that lives writes its row again within a second.
pub(super) fn seen(node: &[u8], value: &[u8], store_ms: u64) -> Option<SeenRow> {
    let (at, row) = read(value)?;
    Some(SeenRow {
        node: String::from_utf8(node.to_vec()).ok()?,
        row,
        age: Duration::from_millis(store_ms.abs_diff(at)),
    })
}
