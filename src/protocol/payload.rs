//! Decodes the base64 payload of audio, video and share packets.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::message::Packet;

/// Some senders pad and some do not; the bytes are the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The payload of a packet is not valid base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotBase64;

impl fmt::Display for NotBase64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the payload of a packet is not valid base64")
    }
}

impl std::error::Error for NotBase64 {}

impl Packet<'_> {
    /// Appends the decoded payload: the only copy between the socket's buffer and yours. If the
    /// buffer is reused, nothing is allocated once it is large enough.
    ///
    /// ```
    /// use rtmsd::stream::Sink;
    /// use rtmsd::protocol::message::PacketKind;
    /// use rtmsd::protocol::StreamEvent;
    ///
    /// /// How loud it is: of linear PCM, 16 bits, the largest sample so far.
    /// #[derive(Default)]
    /// struct Level {
    ///     samples: Vec<u8>,
    ///     peak: u16,
    /// }
    ///
    /// impl Sink for Level {
    ///     fn on_event(&mut self, event: &StreamEvent<'_>) {
    ///         let StreamEvent::Packet(PacketKind::Audio, packet) = event else {
    ///             return;
    ///         };
    ///         self.samples.clear();
    ///         if packet.decode_into(&mut self.samples).is_ok() {
    ///             let samples = self.samples.chunks_exact(2);
    ///             let levels = samples.map(|b| i16::from_le_bytes([b[0], b[1]]).unsigned_abs());
    ///             self.peak = levels.fold(self.peak, u16::max);
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// If the payload is not valid base64; `out` is unchanged then.
    pub fn decode_into(&self, out: &mut Vec<u8>) -> Result<(), NotBase64> {
        let from = out.len();
        BASE64.decode_vec(self.data.as_bytes(), out).map_err(|_| {
            out.truncate(from);
            NotBase64
        })
    }
}
