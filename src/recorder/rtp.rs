//! RTP packets: finds the payload. The other fields are not needed; messages have better
//! timestamps.

/// The payload of an RTP packet (RFC 3550, section 5.1).
pub fn payload(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut from = 12 + 4 * usize::from(first & 15);
    if first & 0x10 != 0 {
        let words = packet.get(from + 2..from + 4)?;
        from += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    let mut to = packet.len();
    if first & 0x20 != 0 {
        to = to.checked_sub(usize::from(*packet.last()?))?;
    }
    packet.get(from..to)
}

#[cfg(test)]
mod tests {
    #[test]
    fn payloads_of_all_header_forms() {
        for (packet, payload) in [
            (
                &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..],
                Some(&[9][..]),
            ),
            // One contributing source, an extension of one word, two bytes of padding.
            (
                &[
                    0xb1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0xbe, 0xde, 0, 1, 5, 5, 5,
                    5, 9, 0, 2,
                ],
                Some(&[9]),
            ),
            (&[0x40; 20], None),
            (&[0x90; 14], None),
            (&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200], None),
            (&[], None),
        ] {
            assert_eq!(super::payload(packet), payload);
        }
    }
}
