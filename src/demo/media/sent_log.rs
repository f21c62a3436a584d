//! The log of everything sent except phrases, for the comparison with files.

/// One item that the kernel has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// An audio packet.
    Audio {
        /// The series: a speaker's index, or 0 for the mix.
        series: usize,
        /// Unix milliseconds.
        stamp_ms: u64,
    },
    /// A frame of a camera.
    Video(Frame),
    /// A frame of the shared screen.
    Share(Frame),
    /// A chat message, by its index.
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
    /// The sender.
    pub user_id: u64,
    /// Its index in the clip.
    pub picture: usize,
}
