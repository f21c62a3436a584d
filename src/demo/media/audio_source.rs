//! Audio of the demo's meetings: a tone for each speaker, in the granted codec.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Four tones from 400 Hz on, a second each: 50 packets of 40 bytes, 48 kHz, mono.
const OPUS: &[u8] = include_bytes!("clips/tones.opus");
const OPUS_PACKET_BYTES: usize = 40;
/// The same four tones, a fifth of a second each: 10 packets of 160 bytes.
const G722: &[u8] = include_bytes!("clips/tones.g722");
const G722_PACKET_BYTES: usize = 160;
const CLIP_TONES: usize = 4;

/// Half of the maximum amplitude.
const LOUDNESS: f64 = 8000.0;

/// The frequency of a speaker's tone in Hz: 400, 500, 600 … A multiple of 50, so that every packet
/// of 20 ms contains whole periods and all packets of a speaker are equal.
pub fn tone_hz(speaker: usize) -> u32 {
    400 + 100 * (speaker as u32 % 30)
}

/// One speaker's tone, packet by packet.
pub(in crate::demo) struct Tone {
    /// Packets in base64, which are repeated.
    packets: Vec<String>,
    /// Bytes per packet.
    pub(in crate::demo) bytes: usize,
    /// Milliseconds of audio per packet.
    pub(in crate::demo) packet_ms: u64,
}

impl Tone {
    /// `params` are the granted audio parameters.
    pub(in crate::demo) fn new(params: &Value, speaker: usize) -> Tone {
        let packet_ms = params["send_rate"].as_u64().unwrap_or(20).clamp(20, 1000);
        let clip = |clip: &[u8], packet_bytes: usize| -> Vec<Vec<u8>> {
            let tone = clip.len() / CLIP_TONES;
            let from = tone * (speaker % CLIP_TONES);
            let packets = clip[from..from + tone].chunks_exact(packet_bytes);
            packets.map(<[u8]>::to_vec).collect()
        };
        let (packets, packet_ms) = match params["codec"].as_u64() {
            Some(2) => (vec![alaw(tone_hz(speaker))], 20),
            Some(3) => (clip(G722, G722_PACKET_BYTES), 20),
            Some(4) => (clip(OPUS, OPUS_PACKET_BYTES), 20),
            _ => {
                let rate_hz = match params["sample_rate"].as_u64() {
                    Some(0) => 8000,
                    Some(2) => 32_000,
                    Some(3) => 48_000,
                    _ => 16_000,
                };
                let channels = params["channel"].as_u64().unwrap_or(1).clamp(1, 2) as usize;
                let packet = l16(tone_hz(speaker), rate_hz, channels, packet_ms);
                (vec![packet], packet_ms)
            }
        };
        Tone {
            bytes: packets[0].len(),
            packets: packets.iter().map(|bytes| STANDARD.encode(bytes)).collect(),
            packet_ms,
        }
    }

    /// The `n`th packet, in base64.
    pub(in crate::demo) fn packet(&self, n: u64) -> &str {
        &self.packets[(n % self.packets.len() as u64) as usize]
    }
}

/// The 16-bit samples of a tone.
fn samples(hz: u32, rate_hz: u32, ms: u64) -> impl Iterator<Item = i16> {
    (0..u64::from(rate_hz) * ms / 1000).map(move |n| {
        let turn = f64::from(hz) * n as f64 / f64::from(rate_hz);
        (sine(turn) * LOUDNESS) as i16
    })
}

/// The sine of a number of turns, exact to a ten-thousandth of a 16-bit step. The system's sine is
/// in a library that nothing else here needs, and every server would load it for the demo.
fn sine(turns: f64) -> f64 {
    let turn = turns - (turns as u64) as f64;
    // The absolute value is symmetric, so a quarter turn is enough.
    let (sign, half) = if turn < 0.5 {
        (1.0, turn)
    } else {
        (-1.0, turn - 0.5)
    };
    let x = half.min(0.5 - half) * std::f64::consts::TAU;
    let square = x * x;
    let steps = [
        13.0 * 12.0,
        11.0 * 10.0,
        9.0 * 8.0,
        7.0 * 6.0,
        5.0 * 4.0,
        3.0 * 2.0,
    ];
    let series = steps
        .iter()
        .fold(1.0, |rest, step| 1.0 - square / step * rest);
    sign * x * series
}

/// One packet as linear PCM, little-endian.
pub(in crate::demo) fn l16(hz: u32, rate_hz: u32, channels: usize, ms: u64) -> Vec<u8> {
    samples(hz, rate_hz, ms)
        .flat_map(|sample| std::iter::repeat_n(sample.to_le_bytes(), channels))
        .flatten()
        .collect()
}

/// One packet of 20 ms at 8 kHz as A-law (ITU-T G.711): a sign, three bits for the power of two,
/// four bits for the remainder; every other bit is inverted.
fn alaw(hz: u32) -> Vec<u8> {
    let byte = |sample: i16| {
        let (sign, size) = match sample >= 0 {
            true => (0x80, i32::from(sample)),
            false => (0, -i32::from(sample) - 1),
        };
        let size = size >> 4;
        // Below 16 there is no exponent; above, the highest bit is implicit.
        let code = match size {
            0..16 => size,
            _ => {
                let power = size.ilog2() - 3;
                ((power as i32) << 4) | ((size >> (power - 1)) & 15)
            }
        };
        (sign | code) as u8 ^ 0x55
    };
    samples(hz, 8000, 20).map(byte).collect()
}

/// Message 14. The payload is base64, and `serde_json` has escaped the name already.
pub(in crate::demo) fn audio_message(who: &str, tone: &Tone, n: u64, timestamp_ms: u64) -> String {
    format!(
        r#"{{"msg_type":14,"content":{{{who},"data":"{}","length":{},"timestamp":{timestamp_ms}}}}}"#,
        tone.packet(n),
        tone.bytes
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sine_equals_the_standard_librarys() {
        for n in 0..4000 {
            let turns = f64::from(n) / 1000.0;
            let expected = (turns * std::f64::consts::TAU).sin();
            assert!((sine(turns) - expected).abs() < 1e-8, "{turns}");
        }
    }

    #[test]
    fn packets_have_the_size_of_their_parameters() {
        for (params, bytes, packet_ms) in [
            (json!({}), 640, 20),
            (
                json!({"codec": 1, "sample_rate": 3, "channel": 2, "send_rate": 100}),
                19_200,
                100,
            ),
            (json!({"codec": 2, "sample_rate": 0}), 160, 20),
            (json!({"codec": 3}), 160, 20),
            (json!({"codec": 4, "sample_rate": 3}), 40, 20),
        ] {
            let tone = Tone::new(&params, 5);
            assert_eq!((tone.bytes, tone.packet_ms), (bytes, packet_ms), "{params}");
            let packet = STANDARD.decode(tone.packet(77)).expect("base64");
            assert_eq!(packet.len(), bytes, "{params}");
        }
    }

    #[test]
    fn alaw_is_decoded_to_the_original_samples() {
        let mut linear = Vec::new();
        crate::recorder::audio::wav::expand_alaw(&mut linear, &alaw(400));
        let found = linear
            .chunks_exact(2)
            .map(|b| i16::from_le_bytes([b[0], b[1]]));
        for (found, sent) in found.zip(samples(400, 8000, 20)) {
            let error = (i32::from(found) - i32::from(sent)).abs();
            assert!(
                error <= 8 + i32::from(sent).abs() / 32,
                "{found} for {sent}"
            );
        }
    }
}
