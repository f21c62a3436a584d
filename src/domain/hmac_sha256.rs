//! HMAC-SHA256, with which we sign and verify: handshakes, webhooks, pushed events, calls to S3, tokens.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The code of all parts, one after the other.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    keyed(key, parts).finalize().into_bytes().into()
}

/// Whether `claimed` is that code. The comparison takes constant time, so that the time shows nothing.
pub fn is_hmac_sha256(key: &[u8], parts: &[&[u8]], claimed: &[u8; 32]) -> bool {
    keyed(key, parts).verify_slice(claimed).is_ok()
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test cases 1, 2 and 6 of RFC 4231.
    #[test]
    fn codes_equal_those_of_the_rfc() {
        check(
            &[0x0b; 20],
            &[b"Hi There"],
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            b"Jefe",
            &[b"what do ya want ", b"", b"for nothing?"],
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 131],
            &[b"Test Using Larger Than Block-Size Key - Hash Key First"],
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    fn check(key: &[u8], parts: &[&[u8]], expected: &str) {
        let mut code = hmac_sha256(key, parts);
        assert_eq!(hex::encode(code), expected);
        assert!(is_hmac_sha256(key, parts, &code));
        code[31] ^= 1;
        assert!(!is_hmac_sha256(key, parts, &code));
    }
}
