//! Audio parameters, and the combinations that Zoom accepts.

use super::wire::{AudioCodec, AudioStreams, Channels, Content, SampleRate};
use super::{GrantReader, ParamFault, one_of};

/// The requested audio parameters. The default is Zoom's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioParams {
    /// Raw or RTP.
    pub content: Content,
    /// The codec.
    pub codec: AudioCodec,
    /// The sample rate.
    pub sample_rate: SampleRate,
    /// Mono or stereo.
    pub channels: Channels,
    /// Mixed, or a track per speaker.
    pub streams: AudioStreams,
    /// Milliseconds of audio per packet.
    pub send_rate_ms: u16,
}

/// Values allowed with a codec (RTMS media parameter reference, audio).
struct Allowed {
    rates: &'static [SampleRate],
    stereo: bool,
    rtp: bool,
    send_rate_ms_max: u16,
}

impl Default for AudioParams {
    fn default() -> Self {
        AudioParams::of(AudioCodec::L16)
    }
}

impl AudioParams {
    /// The simplest parameters for a codec.
    pub const fn of(codec: AudioCodec) -> AudioParams {
        AudioParams {
            content: Content::Raw,
            codec,
            sample_rate: match codec {
                AudioCodec::L16 | AudioCodec::G722 => SampleRate::Hz16000,
                AudioCodec::G711 => SampleRate::Hz8000,
                AudioCodec::Opus => SampleRate::Hz48000,
            },
            channels: Channels::Mono,
            streams: AudioStreams::Mixed,
            send_rate_ms: 20,
        }
    }

    const fn allowed(codec: AudioCodec) -> Allowed {
        match codec {
            AudioCodec::L16 => Allowed {
                rates: SampleRate::ALL,
                stereo: true,
                rtp: false,
                send_rate_ms_max: 1000,
            },
            AudioCodec::Opus => Allowed {
                rates: &[SampleRate::Hz48000],
                stereo: true,
                rtp: true,
                send_rate_ms_max: 20,
            },
            AudioCodec::G711 => Allowed {
                rates: &[SampleRate::Hz8000],
                stereo: false,
                rtp: true,
                send_rate_ms_max: 20,
            },
            AudioCodec::G722 => Allowed {
                rates: &[SampleRate::Hz16000],
                stereo: false,
                rtp: true,
                send_rate_ms_max: 20,
            },
        }
    }

    /// Everything in this combination that Zoom would refuse.
    pub fn faults(&self) -> Vec<ParamFault> {
        let codec = self.codec.name();
        let allowed = AudioParams::allowed(self.codec);
        let mut faults = Vec::new();
        let mut refuse = |field, found: String, expected: String| {
            faults.push(ParamFault {
                field,
                found,
                expected: format!("{expected} with codec {codec}"),
            });
        };
        if !allowed.rates.contains(&self.sample_rate) {
            let rates = one_of(allowed.rates.iter().map(|rate| rate.name()));
            refuse(
                "audio.sample_rate",
                self.sample_rate.name().to_owned(),
                rates,
            );
        }
        if self.channels == Channels::Stereo && !allowed.stereo {
            refuse("audio.channels", "stereo".to_owned(), "mono".to_owned());
        }
        if self.content == Content::Rtp && !allowed.rtp {
            refuse("audio.content", "rtp".to_owned(), "raw".to_owned());
        }
        let rate_ms = self.send_rate_ms;
        if rate_ms < 20 || rate_ms > allowed.send_rate_ms_max || !rate_ms.is_multiple_of(20) {
            let expected = match allowed.send_rate_ms_max {
                20 => "20".to_owned(),
                max => format!("20 to {max} ms, a multiple of 20,"),
            };
            refuse("audio.send_rate", rate_ms.to_string(), expected);
        }
        faults
    }

    pub(super) fn to_json(self) -> String {
        format!(
            "{{\"content_type\":{},\"sample_rate\":{},\"channel\":{},\"codec\":{},\"data_opt\":{},\"send_rate\":{}}}",
            self.content.number(),
            self.sample_rate.number(),
            self.channels.number(),
            self.codec.number(),
            self.streams.number(),
            self.send_rate_ms,
        )
    }

    pub(super) fn granted(&self, granted: &mut GrantReader<'_>) -> AudioParams {
        AudioParams {
            content: granted.value("audio.content_type", self.content, Content::from_number),
            codec: granted.value("audio.codec", self.codec, AudioCodec::from_number),
            sample_rate: granted.value(
                "audio.sample_rate",
                self.sample_rate,
                SampleRate::from_number,
            ),
            channels: granted.value("audio.channel", self.channels, Channels::from_number),
            streams: granted.value("audio.data_opt", self.streams, AudioStreams::from_number),
            send_rate_ms: granted.value("audio.send_rate", self.send_rate_ms, |n| {
                u16::try_from(n).ok().filter(|ms| *ms > 0)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(&mut AudioParams), codec: AudioCodec, expected: &[&str]) {
        let mut params = AudioParams::of(codec);
        change(&mut params);
        let found: Vec<String> = params.faults().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_matrix_of_codecs_and_parameters() {
        use AudioCodec::{G711, G722, L16, Opus};
        for codec in [L16, G711, G722, Opus] {
            check(|_| {}, codec, &[]);
            check(
                |params| params.streams = AudioStreams::PerSpeaker,
                codec,
                &[],
            );
        }
        for rate in SampleRate::ALL {
            check(|params| params.sample_rate = *rate, L16, &[]);
        }
        check(|params| params.channels = Channels::Stereo, L16, &[]);
        check(|params| params.channels = Channels::Stereo, Opus, &[]);
        check(|params| params.content = Content::Rtp, Opus, &[]);
        check(|params| params.send_rate_ms = 1000, L16, &[]);
        check(
            |params| params.sample_rate = SampleRate::Hz16000,
            Opus,
            &["audio.sample_rate: found 16000, expected 48000 with codec opus"],
        );
        check(
            |params| params.channels = Channels::Stereo,
            G711,
            &["audio.channels: found stereo, expected mono with codec g711"],
        );
        check(
            |params| params.content = Content::Rtp,
            L16,
            &["audio.content: found rtp, expected raw with codec l16"],
        );
        check(
            |params| params.send_rate_ms = 30,
            L16,
            &[
                "audio.send_rate: found 30, expected 20 to 1000 ms, a multiple of 20, with codec l16",
            ],
        );
        for ms in [0, 10, 1020, u16::MAX] {
            let params = AudioParams {
                send_rate_ms: ms,
                ..AudioParams::default()
            };
            assert_eq!(params.faults().len(), 1, "{ms}");
        }
        check(
            |params| {
                params.sample_rate = SampleRate::Hz48000;
                params.channels = Channels::Stereo;
                params.send_rate_ms = 40;
            },
            G722,
            &[
                "audio.sample_rate: found 48000, expected 16000 with codec g722",
                "audio.channels: found stereo, expected mono with codec g722",
                "audio.send_rate: found 40, expected 20 with codec g722",
            ],
        );
    }
}
