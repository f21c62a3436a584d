//! Replaces lone surrogates in JSON escapes before a message is parsed.

use memchr::memchr;

/// Replaces each lone surrogate by U+FFFD, so that the phrase around it is kept: JSON forbids them,
/// but real senders produce them (an emoji cut in two). `None` if there is none, which is nearly
/// always: then nothing is copied.
pub fn replace_lone_surrogates(data: &str) -> Option<String> {
    let bytes = data.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let escape = bytes.get(at..at + 6)?;
        if !escape.starts_with(b"\\u") {
            return None;
        }
        u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
    };
    let mut replaced = String::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += found;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                replaced.push_str(&data[copied..at]);
                replaced.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            // Any other escape: skip its second byte, which does not start another one.
            _ => at += 2,
        }
    }
    if copied == 0 {
        return None;
    }
    replaced.push_str(&data[copied..]);
    Some(replaced)
}
