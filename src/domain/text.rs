//! Text for people: safe for a terminal and for a subtitle.

use std::borrow::Cow;

use super::id::Id;

/// Whether a character may affect other text than itself: controls (C0, C1, DEL), line and
/// paragraph separators, and marks that change the direction of the text around them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text on one line, without control characters: runs of line breaks and tabs become one space,
/// other controls are removed.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let is_printable_ascii = text.is_ascii() && !has_control(text);
    if is_printable_ascii || !text.chars().any(is_unsafe) {
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

/// A text of JSON with such characters escaped, which changes nothing of what it means: they can stand in
/// strings alone.
pub fn escape_unsafe(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match is_unsafe(c) {
            // All of them have four digits at most.
            true => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// Whether there is an ASCII control character: C0 or DEL. Checks eight bytes at a time.
pub fn has_control(text: &str) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    words.iter().any(|word| {
        let word = u64::from_ne_bytes(*word);
        // The high bit of a byte is set if the byte is below the subtracted value; a borrow reaches
        // the next byte only if one was found already.
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let other_than_del = word ^ (ONES * 0x7f);
        let is_del = other_than_del.wrapping_sub(ONES) & !other_than_del;
        (below_space | is_del) & (ONES * 0x80) != 0
    }) || rest.iter().any(u8::is_ascii_control)
}

/// The longest start of a text that has at most `bytes_max` bytes.
pub fn bounded(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A text as one part of a path or query: everything that is not plainly harmless (RFC 3986,
/// unreserved) becomes `%XX`.
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Undoes percent-encoding in a query, where a plus is a space. Bytes that are not UTF-8 become U+FFFD.
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None if *first == b'+' => bytes.push(b' '),
            None => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The name to show: Zoom's, otherwise the user's id, otherwise the channel of the call.
pub fn speaker<'a>(
    user_id: &Id<'_>,
    channel_id: Option<&Id<'_>>,
    user_name: &'a str,
) -> Cow<'a, str> {
    let name = one_line(user_name);
    match channel_id {
        _ if !name.is_empty() => name,
        Some(channel) if user_id.is_unknown() => Cow::Owned(format!("channel {channel}")),
        _ => Cow::Owned(format!("speaker {user_id}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_a_terminal() {
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
    fn escapes_do_not_change_json() {
        let json = "{\"a\":\"\u{7f}\u{9b}\u{2028}\u{202e}é日🙂\"}";
        let escaped = escape_unsafe(json);
        assert_eq!(escaped, r#"{"a":"\u007f\u009b\u2028\u202eé日🙂"}"#);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&escaped), value(json));
        assert!(matches!(escape_unsafe("{\"a\":1}"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_control_character_is_found_at_any_position() {
        for c in (0..=0xff_u32).filter_map(char::from_u32) {
            for before in 0..17 {
                let text = format!("{}{c}{}", "x".repeat(before), "é".repeat(17 - before));
                assert_eq!(has_control(&text), c.is_ascii_control(), "{text:?}");
            }
        }
        assert!(!has_control(""));
    }

    #[test]
    fn a_speaker_without_a_name_is_shown_by_id() {
        for (user, name, channel, expected) in [
            ("7", "Ada", None, "Ada"),
            ("7", "\u{1b}", None, "speaker 7"),
            ("7", "", Some("9"), "speaker 7"),
            ("0", "", None, "speaker 0"),
            ("0", "", Some("123abc"), "channel 123abc"),
            ("0", " ", Some("9\u{1b}\n9"), "channel 9 9"),
            ("customer-1", "", Some("9"), "speaker customer-1"),
        ] {
            let user_id = Id::from_text(user).expect("an id");
            let channel_id = channel.and_then(Id::from_text);
            let found = speaker(&user_id, channel_id.as_ref(), name);
            assert_eq!(found, expected, "{user} {channel:?}");
        }
    }

    #[test]
    fn texts_become_one_part_of_a_path() {
        assert_eq!(percent_encoded("81234567890"), "81234567890");
        assert_eq!(percent_encoded("a/B+c=="), "a%2FB%2Bc%3D%3D");
        assert_eq!(percent_encoded("../ü?#"), "..%2F%C3%BC%3F%23");
        assert_eq!(percent_encoded(&percent_encoded("/")), "%252F");
    }

    #[test]
    fn percent_decoding_undoes_the_encoding() {
        for text in ["", "81234567890", "a/B+c==", "../ü?#", "%", "100% %4 %zz"] {
            assert_eq!(percent_decoded(&percent_encoded(text)), text);
        }
        assert_eq!(percent_decoded("a+b%20c%2"), "a b c%2");
        assert_eq!(percent_decoded("%ff"), "\u{fffd}");
    }

    #[test]
    fn a_bounded_text_ends_between_characters() {
        assert_eq!(bounded("aé", 2), "a");
        assert_eq!(bounded("aé", 3), "aé");
        assert_eq!(bounded("", 0), "");
    }
}
