//! The values of media parameters: each has a readable word, and a number on the wire.
//!
//! The numbers are those of Zoom's RTMS media parameter reference.

/// An enum whose variants have a number on the wire and a word in the configuration.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])* $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $number:literal, $word:literal $(, $alias:literal)*; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name { $( $(#[$variant_meta])* $variant, )+ }

        impl $name {
            /// All values.
            pub const ALL: &'static [$name] = &[ $( $name::$variant, )+ ];

            /// The number on the wire.
            pub const fn number(self) -> i64 {
                match self { $( $name::$variant => $number, )+ }
            }

            /// The word in the configuration.
            pub const fn name(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }

            /// The value with a number on the wire.
            pub fn from_number(number: i64) -> Option<$name> {
                match number { $( $number => Some($name::$variant), )+ _ => None }
            }

            /// The value of a word, whatever its case.
            ///
            /// # Errors
            /// Another word; the error says what was expected.
            pub fn from_text(text: &str) -> Result<$name, String> {
                match text.to_ascii_lowercase().as_str() {
                    $( $word $(| $alias)* => Ok($name::$variant), )+
                    _ => Err($name::expected()),
                }
            }

            /// The accepted words, for an error: `l16, g711 or opus`.
            pub fn expected() -> String {
                super::one_of($name::ALL.iter().map(|value| value.name()))
            }
        }
    };
}

wire_enum! {
    /// Audio codecs.
    AudioCodec {
        /// Linear PCM, 16 bits, little-endian.
        L16 = 1, "l16", "pcm", "s16le";
        /// G.711 A-law.
        G711 = 2, "g711", "alaw";
        /// G.722.
        G722 = 3, "g722";
        /// Opus.
        Opus = 4, "opus";
    }
}

wire_enum! {
    /// Samples per second.
    SampleRate {
        /// 8 kHz.
        Hz8000 = 0, "8000", "8k";
        /// 16 kHz.
        Hz16000 = 1, "16000", "16k";
        /// 32 kHz.
        Hz32000 = 2, "32000", "32k";
        /// 48 kHz.
        Hz48000 = 3, "48000", "48k";
    }
}

impl SampleRate {
    /// Samples per second.
    pub const fn hz(self) -> u32 {
        match self {
            SampleRate::Hz8000 => 8_000,
            SampleRate::Hz16000 => 16_000,
            SampleRate::Hz32000 => 32_000,
            SampleRate::Hz48000 => 48_000,
        }
    }
}

wire_enum! {
    /// Number of audio channels.
    Channels {
        /// One.
        Mono = 1, "mono", "1";
        /// Two.
        Stereo = 2, "stereo", "2";
    }
}

impl Channels {
    /// One or two.
    pub const fn count(self) -> u16 {
        match self {
            Channels::Mono => 1,
            Channels::Stereo => 2,
        }
    }
}

wire_enum! {
    /// Whose audio a packet contains (`data_opt`).
    AudioStreams {
        /// All speakers mixed; `user_id` is 0.
        Mixed = 1, "mixed";
        /// One speaker's.
        PerSpeaker = 2, "per-speaker", "speakers", "multi";
    }
}

wire_enum! {
    /// Picture codecs, for cameras and the shared screen.
    VideoCodec {
        /// Single pictures, JPEG.
        Jpg = 5, "jpg", "jpeg";
        /// Single pictures, PNG.
        Png = 6, "png";
        /// H.264.
        H264 = 7, "h264", "h.264", "avc";
    }
}

wire_enum! {
    /// The largest picture.
    Resolution {
        /// 854×480 or 640×360.
        Sd = 1, "sd", "480p", "360p";
        /// 1280×720.
        Hd = 2, "hd", "720p";
        /// 1920×1080.
        Fhd = 3, "fhd", "1080p";
        /// 2560×1440.
        Qhd = 4, "qhd", "1440p";
    }
}

wire_enum! {
    /// Whose camera is sent (`data_opt`).
    VideoStreams {
        /// The active speaker's.
        Active = 3, "active";
        /// One participant's, to be subscribed to with message 28.
        Individual = 4, "individual";
    }
}

/// How audio is packed (`content_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Content {
    /// The bytes of the codec.
    Raw,
    /// RTP packets.
    Rtp,
}

impl Content {
    /// TEXT, for transcript and chat.
    pub const TEXT: i64 = 5;

    /// The number on the wire.
    pub const fn number(self) -> i64 {
        match self {
            Content::Rtp => 1,
            Content::Raw => 2,
        }
    }

    /// The value with a number on the wire.
    pub fn from_number(number: i64) -> Option<Content> {
        match number {
            1 => Some(Content::Rtp),
            2 => Some(Content::Raw),
            _ => None,
        }
    }

    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Content::Raw => "raw",
            Content::Rtp => "rtp",
        }
    }

    /// The value of a word.
    ///
    /// # Errors
    /// Another word; the error says what was expected.
    pub fn from_text(text: &str) -> Result<Content, String> {
        match text.to_ascii_lowercase().as_str() {
            "raw" => Ok(Content::Raw),
            "rtp" => Ok(Content::Rtp),
            _ => Err("raw or rtp".to_owned()),
        }
    }
}
