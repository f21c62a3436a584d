//! The last lines of the journals, found by looking back in growing steps: no socket, no clock.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::feed::Line;

/// How far is looked back, in microseconds as in `pos`: two minutes, then ten times as far, then all.
const LOOK_BACK: [u64; 3] = [120_000_000, 1_200_000_000, 12_000_000_000];

/// Where an answer begins: `after=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Behind everything that there is.
    Now,
    /// Before everything that there is.
    Begin,
    /// Behind this position.
    Pos(u64),
}

impl After {
    /// Its text in a query.
    pub(super) fn text(self) -> String {
        match self {
            After::Now => "now".to_owned(),
            After::Begin => "begin".to_owned(),
            After::Pos(pos) => format!("{pos:016}"),
        }
    }
}

/// One answer of the server: some lines in the order of their positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) lines: Vec<String>,
    /// The position up to which was looked.
    pub(super) next: u64,
    /// There are more lines at once.
    pub(super) has_more: bool,
}

impl Page {
    /// Reads the JSON of an answer; the lines stay byte for byte. `None` if it is none.
    pub(super) fn read(json: &str) -> Option<Page> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            events: Vec<&'a RawValue>,
            next: String,
            more: bool,
        }

        let answer: Answer<'_> = serde_json::from_str(json).ok()?;
        let is_pos = !answer.next.is_empty() && answer.next.bytes().all(|b| b.is_ascii_digit());
        let next = answer.next.parse().ok().filter(|_| is_pos)?;
        Some(Page {
            lines: answer
                .events
                .iter()
                .map(|line| line.get().to_owned())
                .collect(),
            next,
            has_more: answer.more,
        })
    }

    /// Where to ask next, if there is more. A server that stays at a position is not asked again.
    pub(super) fn continues(&self, asked: After) -> Option<After> {
        let next = After::Pos(self.next);
        (self.has_more && next != asked).then_some(next)
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// The oldest first.
    pub(super) lines: VecDeque<String>,
    /// From which position to continue; `None` if the stream has ended before there was one.
    pub(super) next: Option<u64>,
}

/// The last `count` lines that `wants` accepts. `ask` returns what follows a position; `None` for a
/// stream that has ended there.
///
/// # Errors
/// Those of `ask`.
pub(super) fn last<E>(
    count: usize,
    ask: &mut impl FnMut(After) -> Result<Option<Page>, E>,
    wants: &impl Fn(&Line<'_>) -> bool,
) -> Result<Last, E> {
    let now = ask(After::Now)?.map(|page| page.next);
    let mut found = Last {
        lines: VecDeque::new(),
        next: now,
    };
    if count == 0 {
        return Ok(found);
    }
    // A stream that has ended may have done so long ago, so all of it is read.
    let starts = now.into_iter().flat_map(|now| {
        let starts = LOOK_BACK.map(|span| now.saturating_sub(span));
        starts.into_iter().map(After::Pos)
    });
    // Lines behind this position have been found by the step before.
    let mut end = None;
    for start in starts.chain([After::Begin]) {
        let room = count - found.lines.len();
        let (mut lines, next) = window(start, end, room, ask, wants)?;
        lines.append(&mut found.lines);
        found.lines = lines;
        if end.is_none() {
            found.next = next.or(found.next);
        }
        if found.lines.len() >= count {
            break;
        }
        end = match start {
            After::Pos(pos) => Some(pos),
            _ => end,
        };
    }
    Ok(found)
}

/// The last `count` lines between two positions, and up to where was looked.
fn window<E>(
    start: After,
    end: Option<u64>,
    count: usize,
    ask: &mut impl FnMut(After) -> Result<Option<Page>, E>,
    wants: &impl Fn(&Line<'_>) -> bool,
) -> Result<(VecDeque<String>, Option<u64>), E> {
    let mut found = VecDeque::new();
    let (mut next, mut after) = (None, start);
    let is_inside = |pos: u64| end.is_none_or(|end| pos <= end);
    while let Some(page) = ask(after)? {
        next = Some(page.next);
        let further = page.continues(after).filter(|_| is_inside(page.next));
        for text in page.lines {
            let line = Line::parse(text.as_bytes());
            if line.is_some_and(|line| is_inside(line.pos) && wants(&line)) {
                found.push_back(text);
                if found.len() > count {
                    found.pop_front();
                }
            }
        }
        match further {
            Some(further) => after = further,
            None => break,
        }
    }
    Ok((found, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose lines have these positions, and that answers with two lines at a time.
    struct Fake {
        lines: Vec<(u64, String)>,
        now: u64,
        /// A stream that has ended: at its end there is no answer.
        has_ended: bool,
        asked: Vec<After>,
    }

    fn line(pos: u64, kind: &str) -> String {
        format!(
            r#"{{"pos":"{pos:016}","seq":{pos},"id":"bdd2d51ed67606f5-{pos}","type":"{kind}","data":{{"v":1}}}}"#
        )
    }

    impl Fake {
        fn new(now: u64, positions: impl IntoIterator<Item = u64>) -> Fake {
            let lines = positions.into_iter();
            Fake {
                lines: lines.map(|pos| (pos, line(pos, "chat.message"))).collect(),
                now,
                has_ended: false,
                asked: Vec::new(),
            }
        }

        fn answer(&mut self, after: After) -> Result<Option<Page>, ()> {
            self.asked.push(after);
            assert!(self.asked.len() < 10_000);
            let from = match after {
                After::Now => self.now,
                After::Begin => 0,
                After::Pos(pos) => pos,
            };
            let mut rest = self.lines.iter().filter(|(pos, _)| *pos > from).peekable();
            if self.has_ended && rest.peek().is_none() {
                return Ok(None);
            }
            let lines: Vec<_> = rest.by_ref().take(2).cloned().collect();
            let has_more = rest.next().is_some();
            Ok(Some(Page {
                next: match (has_more, lines.last()) {
                    (true, Some((pos, _))) => *pos,
                    _ => self.now,
                },
                lines: lines.into_iter().map(|(_, line)| line).collect(),
                has_more,
            }))
        }

        fn last(&mut self, count: usize) -> (Vec<u64>, Option<u64>) {
            let found = last(count, &mut |after| self.answer(after), &|_| true).expect("no fault");
            let pos = |text: &String| Line::parse(text.as_bytes()).expect("a line").pos;
            (found.lines.iter().map(pos).collect(), found.next)
        }
    }

    const MINUTE: u64 = 60_000_000;
    const DAY: u64 = 24 * 60 * MINUTE;

    #[test]
    fn l9_the_last_lines_are_found_however_old_they_are() {
        let now = 20_000 * DAY;
        // A line every 50 seconds, and one of each age before.
        let recent = (1..=2).map(|n| now - n * 50_000_000);
        let older = [3, 19, 21, 100, 199, 201, 5000, 90_000].map(|minutes| now - minutes * MINUTE);
        let mut all: Vec<u64> = recent.chain(older).collect();
        all.sort_unstable();
        for count in 0..=all.len() + 2 {
            let mut fake = Fake::new(now, all.iter().copied());
            let expected = &all[all.len().saturating_sub(count)..];
            assert_eq!(
                fake.last(count),
                (expected.to_vec(), Some(now)),
                "{count} lines"
            );
        }
        // The last two need no look at what is older.
        let mut fake = Fake::new(now, all.iter().copied());
        fake.last(2);
        assert_eq!(fake.asked, [After::Now, After::Pos(now - 2 * MINUTE)]);
    }

    #[test]
    fn l9_each_line_is_read_once() {
        let now = 20_000 * DAY;
        let all: Vec<u64> = (0..50).rev().map(|n| now - n * 7 * MINUTE).collect();
        let mut fake = Fake::new(now, all.iter().copied());
        assert_eq!(fake.last(50), (all, Some(now)));
        // Two lines an answer, at most one answer of each step that overlaps the next.
        assert!(fake.asked.len() <= 1 + 25 + 2 * 4, "{:?}", fake.asked);
    }

    #[test]
    fn l9_lines_that_come_meanwhile_are_neither_lost_nor_repeated() {
        let now = 20_000 * DAY;
        let mut fake = Fake::new(now, [now - 1, now + 1, now + 2]);
        let mut asks = 0;
        let found = last(
            2,
            &mut |after| {
                asks += 1;
                let answer = fake.answer(after);
                fake.now = now + 2;
                answer
            },
            &|_| true,
        );
        let found = found.expect("no fault");
        assert_eq!(found.next, Some(now + 2));
        assert_eq!(found.lines.len(), 2);
        assert!(found.lines[1].contains(&(now + 2).to_string()));
        assert_eq!(asks, 3);
    }

    #[test]
    fn l9_a_stream_that_has_ended_is_read_as_a_whole() {
        let mut fake = Fake::new(DAY, [5, 6, 7]);
        fake.has_ended = true;
        assert_eq!(fake.last(2), (vec![6, 7], Some(DAY)));
        let mut fake = Fake::new(DAY, []);
        fake.has_ended = true;
        assert_eq!(fake.last(2), (vec![], None));
    }

    #[test]
    fn l9_only_wanted_lines_count() {
        let now = 20_000 * DAY;
        let mut fake = Fake::new(now, [now - 4, now - 3, now - 2, now - 1]);
        fake.lines[1].1 = line(now - 3, "transcript.phrase");
        fake.lines[2].1 = "no line".to_owned();
        let wants = |line: &Line<'_>| line.kind == "transcript.phrase";
        let found = last(2, &mut |after| fake.answer(after), &wants).expect("no fault");
        assert_eq!(found.lines, [line(now - 3, "transcript.phrase")]);
        assert_eq!(fake.asked.last(), Some(&After::Begin));
    }

    #[test]
    fn l3_an_answer_keeps_its_lines_byte_for_byte() {
        let line = r#"{"pos":"0000000000000007", "x" : 1.0,"data":{"text":"\u00e9\/"}}"#;
        let json = format!(
            "{{\"v\":1,\"events\":[{line},\n{line}],\"next\":\"1795529590941007\",\"more\":true}}\n"
        );
        assert_eq!(
            Page::read(&json),
            Some(Page {
                lines: vec![line.to_owned(); 2],
                next: 1_795_529_590_941_007,
                has_more: true,
            })
        );
        for other in [
            "",
            "{}",
            "[]",
            r#"{"v":1,"events":[],"next":null,"more":false}"#,
            r#"{"v":1,"events":[],"next":"","more":false}"#,
            r#"{"v":1,"events":[],"next":"+1","more":false}"#,
            r#"{"v":1,"events":[{"#,
        ] {
            assert_eq!(Page::read(other), None, "{other}");
        }
    }

    #[test]
    fn a_server_that_stays_at_a_position_is_not_asked_again() {
        let mut page = Page {
            lines: Vec::new(),
            next: 5,
            has_more: true,
        };
        assert_eq!(page.continues(After::Begin), Some(After::Pos(5)));
        assert_eq!(page.continues(After::Pos(5)), None);
        page.has_more = false;
        assert_eq!(page.continues(After::Begin), None);
    }
}
