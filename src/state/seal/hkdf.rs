//! HKDF-SHA256 (RFC 5869) for one output of 32 bytes.

use crate::domain::hmac_sha256::hmac_sha256;

/// Derives a key from a secret of any length. `salt` makes it another one for each use, `info` for each
/// purpose.
pub(super) fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let extracted = hmac_sha256(salt, &[secret]);
    hmac_sha256(&extracted, &[info, &[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 32 bytes of the output of test case 1 in appendix A of RFC 5869.
    #[test]
    fn it_equals_the_test_case_of_the_rfc() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        assert_eq!(
            hex::encode(derive(&[0x0b; 22], &salt, &info)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        );
    }
}
