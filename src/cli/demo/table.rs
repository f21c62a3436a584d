//! The result table of the `demo` command: every step with its time, and received against sent.

use std::time::Duration;

use crate::demo::player::handle::MeetingHandle;
use crate::demo::player::script::MeetingScript;
use crate::demo::verify::phrases::Comparison;
use crate::demo::zoom::record::Step;

/// The steps of a whole meeting, with the headers of their columns.
pub(crate) const COLUMNS: [(Step, &str); 9] = [
    (Step::MeetingAnswered, "webhook"),
    (Step::StartCalled, "start"),
    (Step::StartedAnswered, "stream"),
    (Step::SignalingHandshake, "signaling"),
    (Step::MediaHandshake, "media"),
    (Step::Ready, "ready"),
    (Step::FirstPhrase, "first phrase"),
    (Step::StopCalled, "stop"),
    (Step::Closed, "closed"),
];

/// Steps of a meeting of `demo --chaos` that are counted.
pub(crate) const CHAOS_COLUMNS: [(Step, &str); 5] = [
    (Step::Lost, "losses"),
    (Step::SignalingHandshake, "signaling"),
    (Step::MediaHandshake, "media"),
    (Step::Ready, "ready"),
    (Step::Closed, "closed"),
];

/// One row per meeting of `demo --chaos`, with the number of each step.
pub(crate) fn chaos_table(meetings: &[(MeetingHandle, Comparison)]) -> String {
    let mut rows = vec![
        ["meeting"]
            .into_iter()
            .chain(CHAOS_COLUMNS.map(|(_, head)| head))
            .chain(["sent", "sent again", "received", "lost", "doubled"])
            .map(str::to_owned)
            .collect::<Vec<String>>(),
    ];
    for (meeting, result) in meetings {
        let mut row = vec![meeting.script().topic.clone()];
        row.extend(CHAOS_COLUMNS.map(|(step, _)| meeting.count(step).to_string()));
        let again = usize::try_from(meeting.replayed()).unwrap_or(usize::MAX);
        let numbers = [
            result.sent,
            again,
            result.received,
            result.lost,
            result.doubled,
        ];
        row.extend(numbers.map(|n| n.to_string()));
        rows.push(row);
    }
    align(&rows)
}

/// A meeting of `demo --nodes`.
#[cfg(feature = "fleet")]
pub(crate) struct FleetRow {
    pub(crate) topic: String,
    /// What its Zoom does with a second connection.
    pub(crate) zoom: &'static str,
    /// The nodes that have its files, in the order of epochs.
    pub(crate) nodes: String,
    pub(crate) connected: usize,
    pub(crate) result: Comparison,
}

/// One row per meeting of `demo --nodes`, with what all nodes together have.
#[cfg(feature = "fleet")]
pub(crate) fn fleet_table(meetings: &[FleetRow]) -> String {
    let head = [
        "meeting",
        "zoom",
        "nodes",
        "connected",
        "sent",
        "received",
        "lost",
        "doubled",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for meeting in meetings {
        let result = &meeting.result;
        let mut row = vec![
            meeting.topic.clone(),
            meeting.zoom.to_owned(),
            meeting.nodes.clone(),
        ];
        let numbers = [
            meeting.connected,
            result.sent,
            result.received,
            result.lost,
            result.doubled,
        ];
        row.extend(numbers.map(|n| n.to_string()));
        rows.push(row);
    }
    align(&rows)
}

/// One row per meeting. Times are from the start of that meeting.
pub(crate) fn table(meetings: &[(MeetingHandle, Comparison)]) -> String {
    let mut rows = vec![
        ["meeting"]
            .into_iter()
            .chain(COLUMNS.map(|(_, head)| head))
            .chain(["sent", "received", "lost", "doubled"])
            .map(str::to_owned)
            .collect::<Vec<String>>(),
    ];
    for (meeting, result) in meetings {
        let mut row = vec![meeting.script().topic.clone()];
        row.extend(COLUMNS.map(|(step, _)| meeting.time_of(step).map_or("-".to_owned(), time)));
        row.extend(
            [result.sent, result.received, result.lost, result.doubled].map(|n| n.to_string()),
        );
        rows.push(row);
    }
    align(&rows)
}

/// One row per meeting: the phrases that HTTP push delivered.
pub(crate) fn push_table(meetings: &[(String, Comparison)]) -> String {
    let head = ["meeting", "sent", "pushed", "lost", "doubled"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (topic, result) in meetings {
        let numbers = [result.sent, result.received, result.lost, result.doubled];
        let numbers = numbers.map(|n| n.to_string());
        rows.push(std::iter::once(topic.clone()).chain(numbers).collect());
    }
    align(&rows)
}

/// One row per kind of media of each meeting.
pub(crate) fn media_table(
    meetings: &[(&MeetingScript, Vec<(&'static str, Comparison)>)],
) -> String {
    let head = [
        "meeting", "product", "medium", "sent", "received", "lost", "doubled",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (script, media) in meetings {
        for (medium, result) in media {
            let words = [&script.topic, script.product.word(), medium].map(str::to_owned);
            let numbers = [result.sent, result.received, result.lost, result.doubled];
            let numbers = numbers.map(|n| n.to_string());
            rows.push(words.into_iter().chain(numbers).collect());
        }
    }
    align(&rows)
}

fn time(taken: Duration) -> String {
    match taken.as_secs_f64() * 1000.0 {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1000.0),
    }
}

/// Columns as wide as their widest cell; the first is aligned to the left, the others to the right.
fn align(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|n| {
            let cells = rows.iter().filter_map(|row| row.get(n));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let cell = match n {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
            text.push_str(&cell);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = align(&[row(["a", "wide", "x"]), row(["long", "1", "22"])]);
        assert_eq!(text, "a     wide   x\nlong     1  22\n");
        assert_eq!(time(Duration::from_micros(1234)), "1.2 ms");
        assert_eq!(time(Duration::from_millis(4321)), "4.32 s");
    }
}
