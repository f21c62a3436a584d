//! What was sent beside phrases, as far as a comparison with files needs it.

/// One thing that is with the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// A packet of sound.
    Audio {
        /// Which series: a speaker's place, or 0 for the mix.
        series: usize,
        /// Unix milliseconds.
        stamp_ms: u64,
    },
    /// A frame of a camera.
    Video(Frame),
    /// A frame of the shared screen.
    Share(Frame),
    /// A chat message, by its place.
    Chat(u64),
    /// An event.
    Event {
        /// `event_type`.
        number: u64,
        /// Unix milliseconds.
        stamp_ms: u64,
    },
}

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Unix milliseconds.
    pub stamp_ms: u64,
    /// Whose.
    pub user_id: u64,
    /// Its place in the clip.
    pub picture: usize,
}
