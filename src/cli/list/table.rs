//! The page of `rtmsd list`: a line for each recording.

use crate::cli::status::width;
use crate::domain::text::one_line;
use crate::domain::time::Utc;
use crate::recorder::catalog::Recording;

/// Speakers that are named; of the others there is a count.
const SPEAKERS_MAX: usize = 2;

/// A topic is cut to this in a terminal, columns.
const TOPIC_MAX: usize = 40;

/// Between two columns.
const GAP: &str = "  ";

const COLUMNS: usize = 6;

/// Date, topic, number, duration, speakers and words in columns, and the folder behind them. In a
/// terminal a long topic is cut; the folder never is, for it is copied.
pub(super) fn render(found: &[Recording], terminal: Option<usize>) -> String {
    let rows: Vec<[String; COLUMNS]> = found.iter().map(|found| row(found, terminal)).collect();
    let widths: [usize; COLUMNS] = std::array::from_fn(|at| {
        rows.iter()
            .map(|row| width::of(&row[at]))
            .max()
            .unwrap_or(0)
    });
    let mut page = String::new();
    for (row, recording) in rows.iter().zip(found) {
        for (at, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[at] - width::of(cell));
            // Numbers stand to the right.
            match at {
                3 | 5 => page.extend([&padding, cell.as_str(), GAP]),
                _ => page.extend([cell.as_str(), &padding, GAP]),
            }
        }
        page.push_str(&one_line(&recording.folder.display().to_string()));
        page.push('\n');
    }
    page
}

fn row(recording: &Recording, terminal: Option<usize>) -> [String; COLUMNS] {
    let started = Utc::from_unix_ms(recording.started_ms);
    let clock = started.clock();
    let topic = recording.topic.as_deref().unwrap_or(&recording.id);
    let topic = one_line(topic);
    let topic = match terminal {
        Some(columns) => width::cut(&topic, TOPIC_MAX.min((columns / 3).max(12))),
        None => topic.into_owned(),
    };
    [
        format!("{} {}", started.date(), &clock[..5]),
        topic,
        one_line(recording.meeting_id.as_deref().unwrap_or("-")).into_owned(),
        recording
            .duration_s()
            .map_or_else(|| recording.state.clone(), duration),
        match &recording.removed {
            Some(tombstone) => tombstone.words(),
            None => speakers(&recording.speakers),
        },
        match recording.words {
            _ if recording.removed.is_some() => "-".to_owned(),
            // Its count is that of its beginning.
            None if recording.ended_ms.is_none() => "-".to_owned(),
            Some(1) => "1 word".to_owned(),
            Some(words) => format!("{} words", grouped(words)),
            None if recording.phrases == 1 => "1 phrase".to_owned(),
            None => format!("{} phrases", grouped(recording.phrases)),
        },
    ]
}

/// `0:48:12`.
fn duration(seconds: u64) -> String {
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!("{}:{:02}:{seconds:02}", minutes / 60, minutes % 60)
}

/// `Ada, Ines O'Neill +3`.
fn speakers(names: &[String]) -> String {
    if names.is_empty() {
        return "-".to_owned();
    }
    let shown: Vec<_> = names
        .iter()
        .take(SPEAKERS_MAX)
        .map(|name| one_line(name))
        .collect();
    let more = names.len() - shown.len();
    let shown = shown.join(", ");
    match more {
        0 => shown,
        more => format!("{shown} +{more}"),
    }
}

/// `6,204`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::domain::product::Product;

    fn recording(topic: &str, speakers: &[&str]) -> Recording {
        Recording {
            key: "bdd2d51ed67606f5".to_owned(),
            folder: PathBuf::from("/var/lib/rtmsd/meetings/2026-11-24/55key/ee3a"),
            product: Product::Meeting,
            id: "55key==".to_owned(),
            stream_id: "ee3a".to_owned(),
            meeting_id: Some("84844962250".to_owned()),
            topic: (!topic.is_empty()).then(|| topic.to_owned()),
            started_ms: 1_795_529_580_000,
            ended_ms: Some(1_795_529_580_000 + 2_892_000),
            state: "ended".to_owned(),
            phrases: 512,
            words: Some(6204),
            speakers: speakers.iter().map(ToString::to_string).collect(),
            languages: vec!["en".to_owned()],
            is_revoked: false,
            removed: None,
        }
    }

    #[test]
    fn a_line_for_each() {
        let found = [
            recording(
                "Weekly product sync",
                &["Ada", "Ines O'Neill", "a", "b", "c"],
            ),
            Recording {
                ended_ms: None,
                state: "receiving".to_owned(),
                words: None,
                ..recording("日本語\u{1b}[31m", &[])
            },
        ];
        let expected = "\
2026-11-24 14:13  Weekly product sync  84844962250    0:48:12  Ada, Ines O'Neill +3  6,204 words  /var/lib/rtmsd/meetings/2026-11-24/55key/ee3a
2026-11-24 14:13  日本語[31m           84844962250  receiving  -                               -  /var/lib/rtmsd/meetings/2026-11-24/55key/ee3a
";
        assert_eq!(render(&found, None), expected);
        assert_eq!(render(&[], None), "");
    }

    #[test]
    fn a_long_topic_is_cut_in_a_terminal_alone() {
        let topic = "quarterly ".repeat(20);
        let found = [recording(&topic, &["Ada"])];
        assert!(render(&found, None).contains(topic.trim()));
        let line = render(&found, Some(200));
        assert!(
            line.contains("quarterly") && !line.contains(topic.trim()),
            "{line}"
        );
        assert!(line.contains("/2026-11-24/55key/ee3a\n"), "{line}");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (6204, "6,204"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
