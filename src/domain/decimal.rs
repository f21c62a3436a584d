//! Fast formatting of decimal numbers, for hot paths that write hundreds of thousands of them per
//! second.

/// Appends a number.
pub fn number(out: &mut Vec<u8>, n: u64) {
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(out, &n);
}

/// Fills `place` with the last digits of a number, padded with zeros.
pub fn fill(place: &mut [u8], n: u64) {
    let mut left = n;
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

/// Adds one to the number in these digits, which becomes zeros after the last one.
pub fn increment(digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        if *digit != b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_incremented() {
        let mut digits = *b"000";
        for n in 1..1000_u64 {
            increment(&mut digits);
            assert_eq!(digits, format!("{n:03}").as_bytes());
        }
        increment(&mut digits);
        assert_eq!(&digits, b"000");
    }

    #[test]
    fn numbers_and_padded_digits() {
        for n in [0, 7, 9, 10, 99, 100, 999, 1000, 12_345, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, n);
            assert_eq!(out, n.to_string().as_bytes());
            let mut place = *b"....";
            fill(&mut place[1..3], n);
            assert_eq!(place, format!(".{:02}.", n % 100).as_bytes());
        }
    }
}
