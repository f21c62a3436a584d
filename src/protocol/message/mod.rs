//! Zoom's messages: V1 JSON is decoded to [`Message`], and our requests are encoded as V1 JSON.
//!
//! Only this folder knows the wire format: `decode` parses, `requests` writes, and this file has
//! the types. A second wire format (V2's protobuf, once its schema is published) would be a second
//! decoder that returns the same types.

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
    /// 6: a meeting event.
    Event(MeetingEvent<'a>),
    /// 8 and 20: the state of the stream.
    StreamState {
        /// The new state.
        state: StreamState,
        /// Why, if Zoom sent a reason.
        reason: StopReason,
        /// When, Unix milliseconds, if Zoom sent it.
        timestamp_ms: Option<u64>,
    },
    /// 9 and 11: the state of a session within the stream.
    SessionState {
        /// The new state.
        state: SessionState,
        /// Why, if Zoom sent a reason.
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
        /// The participant.
        user_id: u64,
        /// Whether it was granted.
        status: RtmsStatus,
    },
    /// Reserved, undocumented or new: counted and ignored.
    Unknown(i64),
}

/// The three kinds of packets.
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
    /// `None` if it is missing, which counts as a refusal.
    pub status: Option<RtmsStatus>,
    /// Zoom's message, bounded.
    pub reason: String,
    /// The media URLs by Zoom's key (`audio`, `deskshare`, `all`, …), not yet checked.
    pub urls: Vec<(String, String)>,
}

/// Message 4.
#[derive(Debug)]
pub struct MediaHandshake<'a> {
    /// `None` if it is missing, which counts as a refusal.
    pub status: Option<RtmsStatus>,
    /// Zoom's message, bounded.
    pub reason: String,
    /// The parameters in force, as Zoom's JSON.
    pub media_params: Option<&'a str>,
    /// Whether the payload is encrypted in addition to TLS, so that we cannot read it.
    pub is_encrypted: bool,
}

/// Message 12: the values to echo.
#[derive(Debug)]
pub struct KeepAlive<'a> {
    /// The timestamp, as Zoom's JSON.
    pub timestamp: Option<&'a str>,
    /// The sequence, as Zoom's JSON.
    pub sequence: Option<&'a str>,
}

impl KeepAlive<'_> {
    /// The timestamp in Unix milliseconds, which is Zoom's clock, if it is plausible.
    pub fn timestamp_ms(&self, arrival_ms: u64) -> Option<u64> {
        decode::stamp(self.timestamp, arrival_ms)
    }
}

/// Messages 14, 15, 16.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub struct Packet<'a> {
    /// The sender; [`Id::UNKNOWN`] for the mix of all speakers, and where only the channel
    /// identifies the sender.
    pub user_id: Id<'a>,
    /// The name of that user; empty if Zoom sent none.
    pub user_name: Cow<'a, str>,
    /// The channel of a call (Phone, Contact Center).
    pub channel_id: Option<Id<'a>>,
    /// Timestamp, Unix milliseconds; 0 for audio without one.
    pub timestamp_ms: u64,
    /// The payload in base64.
    pub data: Cow<'a, str>,
}

/// Message 18. Its fields are new and vary, so the whole JSON is kept too.
#[derive(Debug)]
#[non_exhaustive]
pub struct Chat<'a> {
    /// Timestamp, Unix milliseconds.
    pub timestamp_ms: u64,
    /// `operation_type`, if Zoom sent one; see [`super::chat::operation_name`].
    pub operation: Option<i64>,
    /// The type of its `chat_session`, if Zoom sent one; see [`super::chat::session_name`].
    pub session: Option<i64>,
    /// The sender, if known.
    pub sender: Option<Participant>,
    /// The text, if known: plain text, or a JSON document as text.
    pub text: Option<Cow<'a, str>>,
    /// Zoom's JSON under `content`.
    pub raw: &'a str,
}

/// Message 6.
#[derive(Debug)]
#[non_exhaustive]
pub struct MeetingEvent<'a> {
    /// `event_type`; `None` in a V2 message, whose `event_code` has another meaning.
    pub event_type: Option<i64>,
    /// Timestamp, Unix milliseconds.
    pub timestamp_ms: u64,
    /// The participant's user id, if Zoom sent one.
    pub user_id: Option<Id<'a>>,
    /// The participant's name, if Zoom sent one.
    pub user_name: Option<Cow<'a, str>>,
    /// The participants named in the event: who joined or left, or which party of a call did
    /// something.
    pub participants: Vec<Participant>,
    /// Zoom's JSON under `event`.
    pub raw: &'a str,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}
