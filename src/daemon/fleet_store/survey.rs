//! Everything that the store knows of a fleet, for commands: nodes, meetings, queues, settings.

use std::collections::BTreeMap;
use std::time::Instant;

use super::command::Command;
use super::connection::Fault;
use super::direct::Direct;
use super::row;
use super::value::Value;
use crate::coordinator::fleet::call::{Call, Reply, SeenRow};
use crate::coordinator::fleet::record::Record;

/// Meetings that are asked for in one write.
const BATCH: usize = 64;

/// What the store knows.
#[derive(Debug)]
pub struct Survey {
    /// The store's time, Unix milliseconds.
    pub store_ms: u64,
    /// When it was asked, on this machine's clock, and how long the answer took.
    pub asked_ms: u64,
    /// Round trip of that question, in milliseconds.
    pub round_trip_ms: u64,
    /// The nodes, by name.
    pub nodes: Vec<SurveyedNode>,
    /// Each meeting that a node owns, with its record.
    pub meetings: Vec<(String, Record)>,
}

/// What the store knows of a node.
#[derive(Debug)]
pub struct SurveyedNode {
    /// Its row.
    pub seen: SeenRow,
    /// Messages that wait for it.
    pub queue: u64,
    /// Streams whose files it must delete.
    pub to_delete: u64,
    /// Digests of its settings.
    pub settings: BTreeMap<String, String>,
}

impl Survey {
    /// Asks. `now_ms` is this machine's clock.
    ///
    /// # Errors
    /// The connection is lost, or the store refuses a command.
    pub fn take(direct: &mut Direct, now_ms: impl Fn() -> u64) -> Result<Survey, Fault> {
        let names = direct.codec().names().clone();
        let (asked_ms, asked) = (now_ms(), Instant::now());
        let values = direct.commands(&[
            Command::plain("TIME", vec![], vec![]),
            Command::plain("HGETALL", vec![names.nodes()], vec![]),
        ])?;
        let round_trip_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        let [time, rows] = values.as_slice() else {
            return Err("an answer is missing".to_owned());
        };
        let store_ms = milliseconds(time).ok_or("it does not tell its time")?;
        let rows = rows.pairs().ok_or("it does not tell its nodes")?;
        let mut rows: Vec<SeenRow> = rows
            .filter_map(|(node, row)| row::seen(node, row, store_ms))
            .collect();
        rows.sort_unstable_by(|a, b| a.node.cmp(&b.node));
        let (mut nodes, mut ids) = (Vec::new(), Vec::new());
        for seen in rows {
            let node = &seen.node;
            let values = direct.commands(&[
                Command::plain("SMEMBERS", vec![names.owned(node)], vec![]),
                Command::plain("XLEN", vec![names.queue(node)], vec![]),
                Command::plain("HGETALL", vec![names.to_delete(node)], vec![]),
                Command::plain("HGETALL", vec![names.settings(node)], vec![]),
            ])?;
            let owned = values.first().and_then(Value::array).unwrap_or_default();
            ids.extend(owned.iter().filter_map(Value::str).map(str::to_owned));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let pairs = |at: usize| values.get(at).and_then(Value::pairs).into_iter().flatten();
            let queue = values.get(1).and_then(Value::int);
            nodes.push(SurveyedNode {
                queue: queue.and_then(|it| u64::try_from(it).ok()).unwrap_or(0),
                to_delete: pairs(2).count() as u64,
                settings: pairs(3).map(|(key, it)| (text(key), text(it))).collect(),
                seen,
            });
        }
        // A set may still name a meeting that went elsewhere.
        ids.sort_unstable();
        ids.dedup();
        Ok(Survey {
            store_ms,
            asked_ms,
            round_trip_ms,
            nodes,
            meetings: meetings(direct, ids)?,
        })
    }

    /// By how much this machine's clock is ahead of the store's, in milliseconds.
    pub fn clock_ahead_ms(&self) -> i64 {
        let here = self.asked_ms + self.round_trip_ms / 2;
        here.cast_signed()
            .saturating_sub(self.store_ms.cast_signed())
    }
}

fn meetings(direct: &mut Direct, ids: Vec<String>) -> Result<Vec<(String, Record)>, Fault> {
    let mut meetings = Vec::new();
    for batch in ids.chunks(BATCH) {
        let calls: Vec<Call> = batch
            .iter()
            .map(|meeting| Call::Read {
                meeting: meeting.clone(),
            })
            .collect();
        let codec = direct.codec().clone();
        let commands: Vec<Command> = calls.iter().flat_map(|call| codec.encode(call)).collect();
        let sent = Instant::now();
        let values = direct.commands(&commands)?;
        for ((call, meeting), value) in calls.iter().zip(batch).zip(values) {
            if let Reply::Read {
                record: Some(record),
            } = codec.decode(call, sent, &[value])
            {
                meetings.push((meeting.clone(), record));
            }
        }
    }
    Ok(meetings)
}

fn milliseconds(time: &Value) -> Option<u64> {
    let [seconds, micros] = time.array()? else {
        return None;
    };
    let number = |value: &Value| value.str()?.parse::<u64>().ok();
    Some(number(seconds)? * 1000 + number(micros)? / 1000)
}
