//! Numbers as digits, where they are written by the hundred thousand a second.

/// A number.
pub fn number(out: &mut Vec<u8>, n: u64) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, &n);
}

/// A number with zeros before it, to so many digits at least.
pub fn padded(out: &mut Vec<u8>, n: u64, digits: u32) {
    let mut unit = 10_u64.pow(digits - 1);
    if n / unit > 9 {
        return number(out, n);
    }
    while unit > 0 {
        out.push(b'0' + (n / unit % 10) as u8);
        unit /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits() {
        for n in [0, 7, 9, 10, 99, 100, 999, 1000, 12_345, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, n);
            out.push(b' ');
            padded(&mut out, n, 2);
            out.push(b' ');
            padded(&mut out, n, 3);
            let text = String::from_utf8(out).expect("digits");
            assert_eq!(text, format!("{n} {n:02} {n:03}"));
        }
    }
}
