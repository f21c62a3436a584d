//! Lone surrogates in JSON escapes, replaced before a message is parsed.

/// Repairs text that JSON forbids but real senders produce: an escape for half a surrogate pair
/// (an emoji cut in two). Each half becomes U+FFFD, so that the phrase around it is kept.
pub fn replace_lone_surrogates(data: &str) -> Option<String> {
    let bytes = data.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let escape = bytes.get(at..at + 6)?;
        if !escape.starts_with(b"\\u") {
            return None;
        }
        u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
    };
    let mut replaced = String::with_capacity(data.len());
    let (mut at, mut copied, mut found) = (0, 0, false);
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                replaced.push_str(&data[copied..at]);
                replaced.push_str("\\ufffd");
                at += 6;
                copied = at;
                found = true;
            }
            // Any other escape: its second byte must not be taken for the begin of a new one.
            _ => at += 2,
        }
    }
    replaced.push_str(data.get(copied..).unwrap_or_default());
    found.then_some(replaced)
}
