//! The page of `rtmsd status`: the server's answer as a table that fits the terminal.

use super::width;
use crate::admin::accounts::Accounts;
use crate::admin::streams::{AppLine, Counts, Endpoint, Line, Streams};
use crate::stream::stats::KIND_LABELS;

/// The available room; `None` for no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    pub(crate) columns: Option<usize>,
    pub(crate) lines: Option<usize>,
}

/// A name is truncated to this many columns if there is enough room, otherwise to the other value.
const NAME_MAX: usize = 32;
const NAME_MIN: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Meeting,
    App,
    Product,
    State,
    Age,
    Media,
    Messages,
    LastData,
    Reconnects,
    WaitsFor,
}

impl Column {
    const ALL: [Column; 10] = [
        Column::Meeting,
        Column::App,
        Column::Product,
        Column::State,
        Column::Age,
        Column::Media,
        Column::Messages,
        Column::LastData,
        Column::Reconnects,
        Column::WaitsFor,
    ];

    /// The columns that a narrow terminal leaves out, the first one first.
    const SPARE: [Column; 5] = [
        Column::Product,
        Column::Media,
        Column::Messages,
        Column::Age,
        Column::Reconnects,
    ];

    fn head(self) -> &'static str {
        match self {
            Column::Meeting => "MEETING",
            Column::App => "APP",
            Column::Product => "PRODUCT",
            Column::State => "STATE",
            Column::Age => "AGE",
            Column::Media => "MEDIA",
            Column::Messages => "MESSAGES",
            Column::LastData => "LAST DATA",
            Column::Reconnects => "RECONNECTS",
            Column::WaitsFor => "WAITS FOR",
        }
    }

    /// Numbers and times are aligned to the right.
    fn is_right(self) -> bool {
        use Column::{Age, LastData, Messages, Reconnects};
        matches!(self, Age | Messages | LastData | Reconnects)
    }

    fn cell(self, line: &Line, now_ms: u64) -> String {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        match self {
            Column::Meeting => {
                let name = line.topic.as_ref().filter(|topic| !topic.trim().is_empty());
                let name = name.or(line.meeting_id.as_ref()).unwrap_or(&line.id);
                printable(name)
            }
            Column::App => or_dash(line.app.as_deref().map(printable)),
            Column::Product => printable(&line.product),
            Column::State => printable(&line.state),
            Column::Age => age(line.age_s),
            Column::Media => {
                // In the order of the configuration, and events at the end.
                let names: Vec<&str> = KIND_LABELS
                    .into_iter()
                    .filter(|name| line.media.contains_key(*name))
                    .collect();
                or_dash(Some(names.join(",")).filter(|names| !names.is_empty()))
            }
            Column::Messages => {
                let messages = line.media.values().map(|count| count.messages);
                messages.sum::<u64>().to_string()
            }
            Column::LastData => or_dash(line.last_data_ms.map(|ms| {
                let seconds = now_ms.saturating_sub(ms) / 1000;
                format!("{} ago", age(seconds))
            })),
            Column::Reconnects => line.reconnects.to_string(),
            Column::WaitsFor => or_dash(line.waits_for.as_deref().map(printable)),
        }
    }
}

/// The whole page.
pub(super) fn page(answer: &Streams, room: Room) -> String {
    let mut heads = vec![head(answer)];
    for reason in answer.unready_reason.iter().flat_map(|text| text.lines()) {
        heads.push(format!("NOT READY: {}", printable(reason)));
    }
    heads.extend(answer.apps.iter().flatten().flat_map(app));
    heads.extend(
        answer
            .events
            .as_ref()
            .map(|events| printable(&events.line())),
    );
    let accounts = answer.accounts.iter().flat_map(Accounts::lines);
    heads.extend(accounts.map(|line| printable(&line)));
    let keeping = answer.keeping.as_deref();
    heads.extend(keeping.map(|it| format!("disk: {}", printable(it))));
    let endpoints = answer.push.iter().flatten();
    let troubled = endpoints.filter(|endpoint| endpoint.state != "ok");
    heads.extend(troubled.map(endpoint));
    heads.extend(answer.counts.as_ref().map(totals));
    let columns = room.columns.unwrap_or(usize::MAX);
    let mut text: String = heads
        .iter()
        .map(|line| width::cut(line, columns) + "\n")
        .collect();
    if answer.streams.is_empty() {
        return text;
    }
    // An empty line, the headers of the columns, and a line about streams that are not shown.
    let taken = heads.len() + 3;
    let rows_max = room
        .lines
        .map_or(usize::MAX, |lines| lines.saturating_sub(taken + 1).max(1));
    // Streams that wait for something come first, because the user looks for them.
    let mut lines: Vec<&Line> = answer.streams.iter().collect();
    lines.sort_by_key(|line| line.waits_for.is_none());
    let omitted = answer.omitted + lines.len().saturating_sub(rows_max);
    lines.truncate(rows_max);
    text += "\n";
    text += &table(&lines, answer.now_ms, columns);
    if omitted > 0 {
        text += &width::cut(&format!("and {omitted} more"), columns);
        text.push('\n');
    }
    text
}

fn head(answer: &Streams) -> String {
    let up = age(answer.now_ms.saturating_sub(answer.started_ms) / 1000);
    let streams = match answer.streams.len() + answer.omitted {
        0 => "no streams".to_owned(),
        1 => "1 stream".to_owned(),
        n => format!("{n} streams"),
    };
    let mut text = format!("rtmsd {}, up {up}, {streams}", printable(&answer.version));
    // If all streams receive, the state column is left out.
    for (at, state) in ["connecting", "receiving", "reconnecting"]
        .iter()
        .enumerate()
    {
        let count = answer.streams.iter().filter(|line| line.state == *state);
        let count = count.count();
        if count > 0 && (count < answer.streams.len() || at != 1) {
            text += &format!(", {count} {state}");
        }
    }
    text
}

/// What is said of an app: that it is disabled, its event WebSocket, its grants.
fn app(app: &AppLine) -> Vec<String> {
    let events = app.events.as_ref().map(|events| events.line());
    let trouble = app.trouble.as_deref().filter(|_| app.state == "disabled");
    let disabled = trouble.map(|trouble| format!("DISABLED, because {trouble}"));
    let accounts = app.accounts.iter().flat_map(Accounts::lines);
    let keeping = app.keeping.as_ref().map(|it| format!("disk: {it}"));
    let lines = disabled.into_iter().chain(events).chain(accounts);
    let lines = lines.chain(keeping);
    let name = printable(&app.name);
    lines
        .map(|line| format!("app {name}: {}", printable(&line)))
        .collect()
}

/// An endpoint of HTTP push in trouble.
fn endpoint(endpoint: &Endpoint) -> String {
    let Endpoint {
        name,
        app,
        host,
        state,
        lag_events,
        lag_s,
        ..
    } = endpoint;
    let app = app
        .as_ref()
        .map_or_else(String::new, |app| format!("app {}: ", printable(app)));
    let mut text = format!(
        "{app}PUSH {}: {} is {}",
        printable(name),
        printable(host),
        printable(state)
    );
    if *lag_events > 0 {
        text += &format!(", {lag_events} events wait, the oldest for {}", age(*lag_s));
    }
    match (endpoint.last_status, &endpoint.last_error) {
        (Some(status), _) => text += &format!("; last answer {status}"),
        (None, Some(error)) => text += &format!("; last failure {}", printable(error)),
        (None, None) => {}
    }
    text
}

fn totals(counts: &Counts) -> String {
    let Counts {
        webhooks_accepted,
        webhooks_refused,
        calls_ok,
        calls_failed,
        streams_begun,
        connections_lost,
        records_dropped,
        uploads_waiting,
        hooks_waiting,
        hooks_failed,
    } = counts;
    let mut text = format!(
        "since the start: {streams_begun} streams, {connections_lost} connections lost, webhooks \
         {webhooks_accepted} taken and {webhooks_refused} refused, REST calls {calls_ok} ok and \
         {calls_failed} failed"
    );
    if *records_dropped > 0 {
        text += &format!(", {records_dropped} records LOST");
    }
    for (count, what) in [
        (uploads_waiting, "uploads waiting"),
        (hooks_waiting, "hooks waiting"),
        (hooks_failed, "hooks FAILED"),
    ] {
        if *count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    text
}

fn table(lines: &[&Line], now_ms: u64, columns_max: usize) -> String {
    let has_apps = lines.iter().any(|line| line.app.is_some());
    let mut columns = Column::ALL.to_vec();
    columns.retain(|column| *column != Column::App || has_apps);
    let mut cells: Vec<Vec<String>> = Vec::with_capacity(lines.len() + 1);
    cells.push(
        columns
            .iter()
            .map(|column| column.head().to_owned())
            .collect(),
    );
    for line in lines {
        cells.push(
            columns
                .iter()
                .map(|column| column.cell(line, now_ms))
                .collect(),
        );
    }
    let mut spare = Column::SPARE.iter();
    let widths = loop {
        let mut widths = widths(&cells);
        let gaps = 2 * (widths.len() - 1);
        widths[0] = widths[0].min(NAME_MAX);
        let rest: usize = widths.iter().skip(1).sum::<usize>() + gaps;
        // A column without values is left out.
        let is_name_kept = rest + widths[0].min(NAME_MIN) <= columns_max;
        if is_name_kept || spare.len() == 0 {
            widths[0] = widths[0].min(columns_max.saturating_sub(rest).max(NAME_MIN));
            break widths;
        }
        if let Some(at) = spare
            .next()
            .and_then(|gone| columns.iter().position(|column| column == gone))
        {
            columns.remove(at);
            cells.iter_mut().for_each(|row| drop(row.remove(at)));
        }
    };
    let mut text = String::new();
    for row in cells {
        let mut line = String::new();
        for ((cell, column), &wide) in row.iter().zip(&columns).zip(&widths) {
            let cell = width::cut(cell, wide);
            let room = " ".repeat(wide - width::of(&cell));
            if !line.is_empty() {
                line += "  ";
            }
            line += &match column.is_right() {
                true => room + &cell,
                false => cell + &room,
            };
        }
        text += &width::cut(line.trim_end(), columns_max);
        text.push('\n');
    }
    text
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths = vec![0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width::of(cell).max(*widest);
        }
    }
    widths
}

/// A topic is untrusted text: control characters and text direction marks must not reach the terminal.
pub(crate) fn printable(text: &str) -> String {
    let is_safe = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(is_safe).collect()
}

/// The two largest units: `3s`, `2m05s`, `4h02m`, `3d04h`.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::count::Count;

    fn line(topic: &str, state: &str, waits_for: Option<&str>) -> Line {
        let count = Count {
            messages: 12,
            bytes: 4000,
        };
        let media = ["event", "transcript"].map(|kind| (kind.to_owned(), count));
        Line {
            given_up: Vec::new(),
            app: None,
            stream_id: "s".to_owned(),
            key: None,
            product: "meeting".to_owned(),
            id: "uuid==".to_owned(),
            meeting_id: Some("81234567890".to_owned()),
            topic: (!topic.is_empty()).then(|| topic.to_owned()),
            operator_id: None,
            is_original_host: None,
            account_id: None,
            state: state.to_owned(),
            waits_for: waits_for.map(str::to_owned),
            age_s: 125,
            media: media.into_iter().filter(|_| waits_for.is_none()).collect(),
            last_data_ms: waits_for.is_none().then_some(999_000),
            reconnects: 1,
            losses: 1,
            keep_alives: 9,
        }
    }

    fn answer() -> Streams {
        Streams {
            v: 1,
            version: "0.1.0".to_owned(),
            started_ms: 0,
            now_ms: 1_000_000,
            unready_reason: Some("draining".to_owned()),
            counts: Some(Counts {
                webhooks_accepted: 6,
                webhooks_refused: 1,
                calls_ok: 3,
                streams_begun: 2,
                connections_lost: 4,
                records_dropped: 7,
                ..Counts::default()
            }),
            push: None,
            events: None,
            accounts: None,
            apps: None,
            keeping: None,
            omitted: 0,
            streams: vec![
                line(
                    "Board\u{1b}[31m of a very long name indeed, sir",
                    "receiving",
                    None,
                ),
                line("四半期レビュー", "receiving", None),
                line("", "connecting", Some("the signaling handshake")),
            ],
        }
    }

    #[test]
    fn the_table_is_readable() {
        let expected = "\
rtmsd 0.1.0, up 16m40s, 3 streams, 1 connecting, 2 receiving
NOT READY: draining
since the start: 2 streams, 4 connections lost, webhooks 6 taken and 1 refused, REST calls 3 ok and 0 failed, 7 records LOST

MEETING                           PRODUCT  STATE         AGE  MEDIA             MESSAGES  LAST DATA  RECONNECTS  WAITS FOR
81234567890                       meeting  connecting  2m05s  -                        0          -           1  the signaling handshake
Board[31m of a very long name i…  meeting  receiving   2m05s  transcript,event        24     1s ago           1  -
四半期レビュー                    meeting  receiving   2m05s  transcript,event        24     1s ago           1  -
";
        assert_eq!(page(&answer(), Room::default()), expected);
    }

    #[test]
    fn the_table_fits_any_width() {
        for columns in 0..160 {
            let room = Room {
                columns: Some(columns),
                lines: Some(24),
            };
            let text = page(&answer(), room);
            assert!(
                text.lines().all(|line| width::of(line) <= columns),
                "{columns}\n{text}"
            );
        }
        let narrow = Room {
            columns: Some(80),
            lines: None,
        };
        let text = page(&answer(), narrow);
        let head = text.lines().nth(4).expect("the heads");
        assert_eq!(
            head.split("  ").filter(|word| !word.is_empty()).count(),
            6,
            "{text}"
        );
        assert!(text.contains("the signaling handshake"), "{text}");
    }

    #[test]
    fn the_table_fits_the_screens_height() {
        let many = Streams {
            streams: (0..2000).map(|_| line("x", "receiving", None)).collect(),
            omitted: 5,
            ..answer()
        };
        let room = Room {
            columns: Some(80),
            lines: Some(24),
        };
        let text = page(&many, room);
        assert_eq!(text.lines().count(), 23);
        assert!(text.ends_with("and 1988 more\n"), "{text}");
        assert!(text.starts_with("rtmsd 0.1.0, up 16m40s, 2005 streams\n"));
        let unlimited = page(&many, Room::default());
        assert!(unlimited.ends_with("and 5 more\n"));
    }

    #[test]
    fn an_age_has_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3_600, "1h00m"),
            (90_000, "1d01h"),
        ] {
            assert_eq!(age(seconds), expected);
        }
    }
}
