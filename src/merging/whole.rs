//! `meta.json` of the whole stream, made of those of its epochs.

use serde_json::{Map, Value, json};

use super::epoch::Epoch;
use super::texts::Phrases;
use crate::recorder::meta::offset_ms;
use crate::recorder::participants::ParticipantLog;
use crate::recorder::summary::Summary;

/// What is one epoch's own. It is kept in `epochs`; the whole has no journal that the server knows, and no
/// copy in a bucket.
const OWN: [&str; 17] = [
    "epoch",
    "node",
    "predecessor",
    "heir",
    "key",
    "feed_seq",
    "opened_ms",
    "openings",
    "state",
    "ended_ms",
    "ended",
    "end",
    "end_text",
    "stop_reason",
    "transcripts",
    "dropped",
    "uploaded",
];

/// When the stream started, by which every `offset_ms` counts.
pub(super) fn zero_ms(epochs: &[Epoch]) -> u64 {
    let starts = epochs
        .iter()
        .filter_map(|it| it.meta["started_ms"].as_u64());
    starts.min().unwrap_or(0)
}

/// The content of the file.
pub(super) fn meta(epochs: &[Epoch], phrases: Phrases, summary: Option<Summary>) -> Value {
    let mut whole = Map::new();
    for epoch in epochs {
        // What the last node says holds, and what only an earlier one knows.
        for (key, value) in epoch.meta.as_object().into_iter().flatten() {
            match (whole.get_mut(key), value) {
                (Some(Value::Object(known)), Value::Object(newer)) => {
                    known.extend(newer.clone());
                }
                _ => {
                    whole.insert(key.clone(), value.clone());
                }
            }
        }
    }
    // A later node has no end, reason or heir of an earlier one.
    let last = epochs.last().map(|epoch| &epoch.meta);
    for key in OWN
        .into_iter()
        .chain(["boot_id", "words", "speakers", "languages"])
    {
        whole.remove(key);
    }
    for key in [
        "state",
        "ended_ms",
        "ended",
        "end",
        "end_text",
        "stop_reason",
    ] {
        if let Some(value) = last.and_then(|meta| meta.get(key)) {
            whole.insert(key.to_owned(), value.clone());
        }
    }
    let numbers = |key: &'static str| epochs.iter().filter_map(move |it| it.meta[key].as_u64());
    let first = epochs.first().map(|epoch| &epoch.meta);
    let started = first.map_or(Value::Null, |meta| meta["started"].clone());
    for (key, value) in [
        ("started_ms", json!(zero_ms(epochs))),
        ("started", started),
        ("opened_ms", json!(numbers("opened_ms").min())),
        ("openings", json!(numbers("openings").sum::<u64>())),
        ("dropped", json!(numbers("dropped").sum::<u64>())),
        ("transcripts", json!(phrases.written)),
        ("epochs", epochs.iter().map(own).collect()),
        (
            "written_by",
            json!(concat!("rtmsd ", env!("CARGO_PKG_VERSION"))),
        ),
    ] {
        whole.insert(key.to_owned(), value);
    }
    let malformed: u64 = numbers("malformed_packets").sum();
    let optional = [
        (
            "malformed_packets",
            (malformed > 0).then(|| json!(malformed)),
        ),
        ("words", summary.as_ref().map(|it| json!(it.words))),
        ("speakers", summary.as_ref().map(|it| json!(it.speakers))),
        ("languages", summary.as_ref().map(|it| json!(it.languages))),
        ("participants", participants(epochs)),
        ("audio", audio(epochs)),
        ("video", pictures(epochs, "video")),
        ("share", pictures(epochs, "share")),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            whole.insert(key.to_owned(), value);
        }
    }
    Value::Object(whole)
}

/// What is one epoch's own.
fn own(epoch: &Epoch) -> Value {
    let own = OWN.into_iter().filter_map(|key| {
        let value = epoch.meta.get(key)?.clone();
        Some((key.to_owned(), value))
    });
    let mut own: Map<String, Value> = own.collect();
    own.insert("epoch".to_owned(), epoch.number.into());
    Value::Object(own)
}

fn participants(epochs: &[Epoch]) -> Option<Value> {
    let mut whole = ParticipantLog::default();
    for epoch in epochs {
        let list: Option<ParticipantLog> =
            serde_json::from_value(epoch.meta["participants"].clone()).ok();
        whole.continue_with(list.unwrap_or_default());
    }
    let list = serde_json::to_value(&whole).ok();
    list.filter(|_| !whole.is_empty())
}

/// The audio files of all epochs, by their names in the whole.
fn audio(epochs: &[Epoch]) -> Option<Value> {
    let zero_ms = zero_ms(epochs);
    let rows = epochs.iter().flat_map(|epoch| {
        let rows = epoch.meta["audio"].as_array().into_iter().flatten();
        rows.map(move |row| renamed(row, epoch, zero_ms))
    });
    let rows: Vec<Value> = rows.collect();
    (!rows.is_empty()).then_some(Value::Array(rows))
}

/// What is said of the pictures is that of the first epoch that has some: the index has all.
fn pictures(epochs: &[Epoch], kind: &str) -> Option<Value> {
    let mut with = epochs.iter().filter(|it| it.meta[kind].is_object());
    let epoch = with.next()?;
    Some(renamed(&epoch.meta[kind], epoch, zero_ms(epochs)))
}

fn renamed(row: &Value, epoch: &Epoch, zero_ms: u64) -> Value {
    let mut row = row.clone();
    match row["file"].as_str() {
        // The folder of single pictures.
        Some(name) if name.ends_with('/') => {}
        Some(name) => row["file"] = epoch.name_in_whole(name).into(),
        None => {}
    }
    if let Some(first_ms) = row["first_ms"].as_u64() {
        row["offset_ms"] = offset_ms(first_ms, zero_ms).into();
    }
    row
}
