//! Text that a person reads: safe for a terminal and for a subtitle.

use std::borrow::Cow;

/// Whether a character may change more than the place where it stands: controls (C0, C1, DEL),
/// line and paragraph separators, and the marks that turn the direction of the text around them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text on one line, without control characters: runs of line breaks and tabs become one
/// space, other controls vanish.
pub fn one_line(text: &str) -> Cow<'_, str> {
    // Most text is printable ASCII, which a loop without an exit finds out many bytes at a time.
    let is_plain = text
        .bytes()
        .fold(true, |is, b| is & matches!(b, b' '..=b'~'));
    if is_plain || !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text.trim());
    }
    let mut line = String::with_capacity(text.len());
    for c in text.trim().chars() {
        if !is_unsafe(c) {
            line.push(c);
        } else if matches!(c, '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}')
            && !line.ends_with(' ')
        {
            line.push(' ');
        }
    }
    Cow::Owned(line)
}

/// The name to show: what Zoom sent, or a number where it sent none.
pub fn speaker(user_id: u64, user_name: &str) -> Cow<'_, str> {
    let name = one_line(user_name);
    if name.is_empty() {
        Cow::Owned(format!("speaker {user_id}"))
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_could_steer_it() {
        let check = |text: &str, expected: &str| assert_eq!(one_line(text), expected, "{text:?}");
        check("good morning", "good morning");
        check(" a\r\nb\n\n\nc\td ", "a b c d");
        check("\u{1b}[31mred\u{1b}[0m \u{7}bell", "[31mred[0m bell");
        check("\u{9b}31mred", "31mred");
        check("a\u{0}b\u{7f}c", "abc");
        check("\u{202e}evil\u{202c}", "evil");
        check("a\u{2028}b", "a b");
        check("\n\n", "");
        check("日本語 – ü", "日本語 – ü");
    }

    #[test]
    fn somebody_without_a_name() {
        assert_eq!(speaker(7, "Ada"), "Ada");
        assert_eq!(speaker(7, "\u{1b}"), "speaker 7");
    }
}
