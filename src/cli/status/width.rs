//! The width of a text in terminal columns.

/// Ranges of characters with two columns: the scripts of East Asia, and emoji (Unicode's
/// EastAsianWidth W and F, in large pieces).
const WIDE: [(u32, u32); 15] = [
    (0x1100, 0x115f),
    (0x231a, 0x231b),
    (0x23e9, 0x23ec),
    (0x2e80, 0x303e),
    (0x3041, 0x33ff),
    (0x3400, 0x4dbf),
    (0x4e00, 0x9fff),
    (0xa000, 0xa4cf),
    (0xac00, 0xd7a3),
    (0xf900, 0xfaff),
    (0xfe30, 0xfe6f),
    (0xff00, 0xff60),
    (0xffe0, 0xffe6),
    (0x1f300, 0x1faff),
    (0x20000, 0x3fffd),
];

/// Ranges of characters without width: marks over and under others, joiners, selectors.
const NARROW: [(u32, u32); 9] = [
    (0x0300, 0x036f),
    (0x0591, 0x05bd),
    (0x0610, 0x061a),
    (0x064b, 0x065f),
    (0x0e34, 0x0e3a),
    (0x1ab0, 0x1aff),
    (0x200b, 0x200f),
    (0x20d0, 0x20ff),
    (0xfe00, 0xfe0f),
];

fn of_char(c: char) -> usize {
    let is_in = |ranges: &[(u32, u32)]| {
        let after = ranges.partition_point(|(first, _)| *first <= u32::from(c));
        after > 0 && u32::from(c) <= ranges[after - 1].1
    };
    match c {
        ' '..='~' => 1,
        _ if is_in(&NARROW) => 0,
        _ if is_in(&WIDE) => 2,
        _ => 1,
    }
}

/// The columns of a text.
pub(crate) fn of(text: &str) -> usize {
    text.chars().map(of_char).sum()
}

/// The text with at most `columns_max` columns; a truncation is marked.
pub(crate) fn cut(text: &str, columns_max: usize) -> String {
    if of(text) <= columns_max {
        return text.to_owned();
    }
    let mut left = columns_max.saturating_sub(1);
    let mut kept: String = text
        .chars()
        .take_while(|&c| {
            let fits = of_char(c) <= left;
            left = left.saturating_sub(of_char(c));
            fits
        })
        .collect();
    if columns_max > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_not_characters() {
        for (text, expected) in [
            ("", 0),
            ("abc", 3),
            ("Ünïcödé", 7),
            ("e\u{301}", 1),
            ("四半期", 6),
            ("한국어", 6),
            ("ａ", 2),
            ("🙂!", 3),
            ("Привет", 6),
            ("שלום", 4),
            ("\u{3fffe}", 1),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn a_cut_text_fits() {
        for (text, columns, expected) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 4, "abc…"),
            ("四半期会議", 6, "四半…"),
            ("四半期会議", 5, "四半…"),
            ("四半期会議", 10, "四半期会議"),
            ("ab", 1, "…"),
            ("ab", 0, ""),
        ] {
            let found = cut(text, columns);
            assert_eq!(found, expected);
            assert!(of(&found) <= columns);
        }
    }
}
