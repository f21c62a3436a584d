//! A fleet as text: its nodes, its streams.

use crate::admin::fleet::{FleetPage, NodeLine, StreamLine};
use crate::cli::status::table::{Room, age, printable};
use crate::cli::status::width;

/// The whole page.
pub(super) fn page(page: &FleetPage, room: Room) -> String {
    let columns = room.columns.unwrap_or(usize::MAX);
    let mut lines = head(page);
    lines.push(String::new());
    lines.extend(nodes(page));
    if !page.streams.is_empty() {
        let rows_max = room.lines.map_or(usize::MAX, |all| {
            // An empty line, the headers, and a line about those that are not shown.
            all.saturating_sub(lines.len() + 4).max(1)
        });
        let omitted = page.streams.len().saturating_sub(rows_max);
        lines.push(String::new());
        lines.extend(streams(&page.streams[..page.streams.len() - omitted]));
        if omitted > 0 {
            lines.push(format!("and {omitted} more"));
        }
    }
    let lines = lines.iter().map(|line| width::cut(line, columns) + "\n");
    lines.collect()
}

fn head(page: &FleetPage) -> Vec<String> {
    let count = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let living = page.living().count();
    let mut text = format!(
        "fleet {}: {}, {}",
        printable(&page.fleet),
        count(living, "node"),
        count(page.streams.len(), "stream")
    );
    let dead = page.nodes.len() - living;
    if dead > 0 {
        text += &format!(", {dead} DEAD");
    }
    if page.to_delete > 0 {
        let streams = count(page.to_delete as usize, "stream");
        text += &format!("; files of {streams} wait to be deleted");
    }
    let having = page.nodes.iter().filter(|node| node.has_events);
    let having: Vec<String> = having.map(|node| printable(&node.name)).collect();
    if !having.is_empty() {
        text += &format!("; the event WebSocket is at {}", having.join(", "));
    }
    let store = printable(&page.store);
    let second = match page.source.as_str() {
        "store" => format!("by the store, {store}"),
        _ => format!(
            "THE STORE CANNOT BE READ: {store}; this is what the node on this machine knows"
        ),
    };
    vec![text, second]
}

fn nodes(page: &FleetPage) -> Vec<String> {
    let cells = |node: &NodeLine| {
        let queue = page.queues.get(&node.name);
        vec![
            printable(&node.name),
            printable(&node.state),
            age(node.age_s),
            printable(&node.version),
            format!("{}/{}", node.streams, node.capacity),
            queue.map_or_else(|| "-".to_owned(), u64::to_string),
            or_dash(&node.admin),
            or_dash(&node.differs.join(",")),
        ]
    };
    let head = [
        "NODE", "STATE", "SEEN", "VERSION", "STREAMS", "QUEUE", "ADMIN", "DIFFERS",
    ];
    aligned(&head, page.nodes.iter().map(cells))
}

fn streams(lines: &[StreamLine]) -> Vec<String> {
    let cells = |line: &StreamLine| {
        vec![
            printable(&line.stream_id),
            printable(&line.node),
            line.epoch.to_string(),
            printable(&line.phase),
            age(line.age_s),
            printable(&line.meeting),
        ]
    };
    let head = ["STREAM", "NODE", "EPOCH", "PHASE", "SAVED", "MEETING"];
    aligned(&head, lines.iter().map(cells))
}

fn or_dash(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => printable(text),
    }
}

/// A table: columns as wide as what is in them.
fn aligned(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<String> {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let mut widths = vec![0; rows[0].len()];
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width::of(cell).max(*widest);
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, wide)| {
            let room = " ".repeat(wide - width::of(cell));
            format!("{cell}{room}")
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: &str, streams: u32) -> NodeLine {
        NodeLine {
            name: name.to_owned(),
            state: state.to_owned(),
            age_s: if state == "dead" { 65 } else { 0 },
            version: "0.2.0".to_owned(),
            streams,
            capacity: 400,
            ..NodeLine::default()
        }
    }

    fn fleet() -> FleetPage {
        FleetPage {
            v: 1,
            source: "store".to_owned(),
            fleet: "default".to_owned(),
            store: "redis 7.0.15 at rediss://store:6379/0".to_owned(),
            nodes: vec![
                NodeLine {
                    admin: "http://10.0.0.1:9464".to_owned(),
                    has_events: true,
                    ..node("a", "sure", 2)
                },
                NodeLine {
                    differs: vec!["RTMS_MEDIA".to_owned()],
                    ..node("b", "dead", 1)
                },
            ],
            streams: ["s1", "s2", "s3"]
                .map(|id| StreamLine {
                    stream_id: id.to_owned(),
                    meeting: "m==\u{1b}[31m".to_owned(),
                    node: "a".to_owned(),
                    epoch: 2,
                    phase: "receiving".to_owned(),
                    age_s: 90,
                })
                .to_vec(),
            queues: [("a".to_owned(), 3)].into(),
            to_delete: 1,
        }
    }

    #[test]
    fn nodes_and_streams_are_listed() {
        let expected = "\
fleet default: 1 node, 3 streams, 1 DEAD; files of 1 stream wait to be deleted; the event WebSocket is at a
by the store, redis 7.0.15 at rediss://store:6379/0

NODE  STATE  SEEN   VERSION  STREAMS  QUEUE  ADMIN                 DIFFERS
a     sure   0s     0.2.0    2/400    3      http://10.0.0.1:9464  -
b     dead   1m05s  0.2.0    1/400    -      -                     RTMS_MEDIA

STREAM  NODE  EPOCH  PHASE      SAVED  MEETING
s1      a     2      receiving  1m30s  m==[31m
s2      a     2      receiving  1m30s  m==[31m
s3      a     2      receiving  1m30s  m==[31m
";
        assert_eq!(page(&fleet(), Room::default()), expected);
    }

    #[test]
    fn what_only_a_node_knows_is_marked() {
        let mut known = fleet();
        (known.source, known.store) = ("node".to_owned(), "no route to host".to_owned());
        let text = page(&known, Room::default());
        assert!(
            text.contains("\nTHE STORE CANNOT BE READ: no route to host; this is what the node")
        );
    }

    #[test]
    fn the_page_fits_the_screen() {
        let mut many = fleet();
        many.streams = (0..500).map(|_| many.streams[0].clone()).collect();
        let room = Room {
            columns: Some(60),
            lines: Some(24),
        };
        let text = page(&many, room);
        assert!(text.lines().count() < 24, "{text}");
        assert!(text.lines().all(|line| width::of(line) <= 60), "{text}");
        assert!(text.contains(" more\n"), "{text}");
    }
}
