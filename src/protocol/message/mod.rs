//! The wire: V1 JSON in, [`Message`] out; our requests out as V1 JSON.
//!
//! This folder is the only one that knows how a message is written: `decode` reads, `requests`
//! writes, and what is said stands here. A second wire format (V2's protobuf, once its schema is
//! published) would be a second reader that yields the same types.

use std::borrow::Cow;
use std::fmt;

use super::codes::{RtmsStatus, SessionState, StopReason, StreamState};
use crate::domain::id::Id;
use crate::domain::participant::Participant;
use crate::domain::phrase::Phrase;

pub(crate) mod decode;
pub(crate) mod requests;
pub(crate) mod surrogates;

pub use decode::{ECHO_BYTES_MAX, decode};
pub use requests::{
    PROTOCOL_VERSION, client_ready, event_subscription, keep_alive_answer, media_handshake,
    signaling_handshake, stream_close, video_subscription,
};
pub use surrogates::replace_lone_surrogates;

/// A message from Zoom.
#[derive(Debug)]
pub enum Message<'a> {
    /// 2: the answer to our signaling handshake.
    SignalingHandshake(SignalingHandshake),
    /// 4: the answer to our media handshake.
    MediaHandshake(MediaHandshake<'a>),
    /// 6: something happened in the meeting.
    Event(MeetingEvent<'a>),
    /// 8 and 20: the state of the stream.
    StreamState {
        /// The new state.
        state: StreamState,
        /// Why, where told.
        reason: StopReason,
        /// When, in Unix milliseconds, where told.
        timestamp_ms: Option<u64>,
    },
    /// 9 and 11: the state of a session within the stream.
    SessionState {
        /// The new state.
        state: SessionState,
        /// Why, where told.
        reason: StopReason,
    },
    /// 12: to be answered at once, on the same socket.
    KeepAlive(KeepAlive<'a>),
    /// 14, 15, 16: one packet of audio, video or share.
    Packet(PacketKind, Packet<'a>),
    /// 17: a phrase.
    Transcript(Phrase<'a>),
    /// 18: a chat message.
    Chat(Chat<'a>),
    /// 22: the answer to our close request.
    StreamClose(RtmsStatus),
    /// 29: the answer to our video subscription.
    VideoSubscription {
        /// Whose video.
        user_id: u64,
        /// Whether it was granted.
        status: RtmsStatus,
    },
    /// Reserved, undocumented or new: to be counted and skipped.
    Unknown(i64),
}

/// Which of the three packet streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketKind {
    /// 14.
    Audio,
    /// 15.
    Video,
    /// 16.
    Share,
}

/// Message 2.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SignalingHandshake {
    /// `None` when it is missing, which is a refusal.
    pub status: Option<RtmsStatus>,
    /// Zoom's words, bounded.
    pub reason: String,
    /// The media URLs by Zoom's key (`audio`, `deskshare`, `all`, …), not yet trusted.
    pub urls: Vec<(String, String)>,
}

/// Message 4.
#[derive(Debug)]
pub struct MediaHandshake<'a> {
    /// `None` when it is missing, which is a refusal.
    pub status: Option<RtmsStatus>,
    /// Zoom's words, bounded.
    pub reason: String,
    /// The parameters in force, as the JSON that came.
    pub media_params: Option<&'a str>,
    /// Whether the payload is encrypted beyond TLS, which we cannot read.
    pub is_encrypted: bool,
}

/// Message 12: what is to be echoed.
#[derive(Debug)]
pub struct KeepAlive<'a> {
    /// The stamp, as the JSON that came.
    pub timestamp: Option<&'a str>,
    /// The sequence, as the JSON that came.
    pub sequence: Option<&'a str>,
}

impl KeepAlive<'_> {
    /// The stamp in Unix milliseconds, which is Zoom's clock, if it can be true.
    pub fn timestamp_ms(&self, arrival_ms: u64) -> Option<u64> {
        decode::stamp(self.timestamp, arrival_ms)
    }
}

/// Messages 14, 15, 16.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub struct Packet<'a> {
    /// Whose; [`Id::NOBODY`] for the mix of all, and where only the channel says whose.
    pub user_id: Id<'a>,
    /// The name of that user; empty where Zoom does not say.
    pub user_name: Cow<'a, str>,
    /// The channel of a call (Phone, Contact Center).
    pub channel_id: Option<Id<'a>>,
    /// When, in Unix milliseconds; 0 for audio of which Zoom does not say.
    pub timestamp_ms: u64,
    /// The payload in base64.
    pub data: Cow<'a, str>,
}

/// Message 18. Its fields are young and vary, so it is kept whole, too.
#[derive(Debug)]
#[non_exhaustive]
pub struct Chat<'a> {
    /// When, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// `operation_type`, where told; see [`super::chat::operation_name`].
    pub operation: Option<i64>,
    /// The type of its `chat_session`, where told; see [`super::chat::session_name`].
    pub session: Option<i64>,
    /// Who wrote, where told.
    pub sender: Option<Participant>,
    /// What was written, where told: text, or a JSON document as text.
    pub text: Option<Cow<'a, str>>,
    /// `content` as it came: JSON.
    pub raw: &'a str,
}

/// Message 6.
#[derive(Debug)]
#[non_exhaustive]
pub struct MeetingEvent<'a> {
    /// `event_type`; `None` in a V2 message, whose `event_code` has another meaning.
    pub event_type: Option<i64>,
    /// When, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// Who, where told.
    pub user_id: Option<Id<'a>>,
    /// Who, in words, where told.
    pub user_name: Option<Cow<'a, str>>,
    /// Those whom the event is about: who joined or left, or who of a call did something.
    pub participants: Vec<Participant>,
    /// `event` as it came: JSON.
    pub raw: &'a str,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}
