//! A strict reader of WebVTT files as rtmsd writes them: anything unknown is an error.

/// A cue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cue {
    pub(crate) start_ms: u64,
    pub(crate) end_ms: u64,
    pub(crate) voice: String,
    pub(crate) text: String,
}

/// Every cue of a complete file; panics if the file is invalid.
pub(crate) fn parse(file: &str) -> Vec<Cue> {
    let body = file.strip_prefix("WEBVTT\n\n").expect("a header");
    if body.is_empty() {
        return Vec::new();
    }
    let body = body.strip_suffix("\n\n").expect("a complete last cue");
    let mut last_ms = 0;
    let cue = |(n, block): (usize, &str)| {
        let lines: Vec<&str> = block.split('\n').collect();
        let [number, times, payload] = lines.as_slice() else {
            panic!("three lines, not {block:?}");
        };
        assert_eq!(*number, (n + 1).to_string());
        let (start, end) = times.split_once(" --> ").expect("an arrow");
        let (start_ms, end_ms) = (stamp(start), stamp(end));
        assert!(last_ms <= start_ms && start_ms < end_ms, "{block:?}");
        last_ms = start_ms;
        assert!(!payload.contains("-->") && !payload.contains(char::is_control));
        let (voice, text) = payload
            .strip_prefix("<v ")
            .and_then(|rest| rest.split_once('>'))
            .expect("a voice");
        Cue {
            start_ms,
            end_ms,
            voice: unescaped(voice),
            text: unescaped(text),
        }
    };
    body.split("\n\n").enumerate().map(cue).collect()
}

/// `00:00:01.250` in milliseconds; hours may have more digits.
fn stamp(text: &str) -> u64 {
    let (hours, rest) = text.split_once(':').expect("hours");
    let bytes = rest.as_bytes();
    assert!(hours.len() >= 2 && bytes.len() == 9, "{text}");
    assert!(bytes[2] == b':' && bytes[5] == b'.', "{text}");
    let number = |digits: &str| {
        assert!(digits.bytes().all(|b| b.is_ascii_digit()), "{text}");
        digits.parse::<u64>().expect("digits")
    };
    let (minutes, seconds) = (number(&rest[..2]), number(&rest[3..5]));
    assert!(minutes < 60 && seconds < 60, "{text}");
    ((number(hours) * 60 + minutes) * 60 + seconds) * 1000 + number(&rest[6..])
}

fn unescaped(text: &str) -> String {
    assert!(!text.contains(['<', '>']), "{text:?}");
    let mut pieces = text.split('&');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once(';').expect("an escape");
        plain.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            other => panic!("the escape {other:?}"),
        });
        plain.push_str(rest);
    }
    plain
}
