//! RTMS as a pure state machine: no socket, no clock, no file, no thread.
//!
//! ```text
//!              Connect ──▶ opened ──▶ msg 1 ──▶ msg 2 ──▶ msg 5          signaling
//!                                                │
//!                                                ▼ media URLs
//!              Connect ──▶ opened ──▶ msg 3 ──▶ msg 4                    each media link
//!                                                │ all of them
//!                                                ▼
//!                                        msg 7 on signaling ──▶ data (14–18) on media
//! ```
//!
//! | what happens | what follows |
//! | --- | --- |
//! | a newer `rtms_started` | both kinds of link are closed, signaling at the new URL, at once |
//! | signaling lost | signaling again; media is still read, and connected again after it |
//! | media lost | that link alone again, then msg 7 |
//! | stopped, or stream state 4 | what is left is read for a moment, then the end |
//!
//! The first loss of a link opens a window of the length that Zoom keeps the stream open for it.
//! Nothing extends it; an accepted handshake closes it. See [`reconnect`] for the tries within it.
//!
//! The drain rule: after each `handle_*` of a [`Stream`], call [`Stream::poll_output`] until it
//! returns [`Output::Wait`] or [`Output::End`].
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

#[doc(hidden)]
pub mod camera;
#[doc(hidden)]
pub mod chat;
#[doc(hidden)]
pub mod codes;
#[doc(hidden)]
pub mod dedup;
pub(crate) mod event;
#[doc(hidden)]
pub mod events;
pub(crate) mod language;
pub(crate) mod link;
#[doc(hidden)]
pub mod message;
pub mod names;
pub mod params;
#[doc(hidden)]
pub mod payload;
#[doc(hidden)]
pub mod reconnect;
pub(crate) mod scalar;
#[doc(hidden)]
pub mod server_url;
pub(crate) mod signature;
pub mod stamp;
pub(crate) mod stream;
#[doc(hidden)]
pub mod tail;

pub use crate::domain::participant::Participant;
pub use crate::domain::phrase::{Change, LanguageId, Phrase};
pub use crate::domain::product::Product;
pub use codes::{RtmsStatus, SessionState, StopReason, StreamState};
pub use event::{EndReason, LinkId, Loss, Notice, StreamEvent};
pub use events::{EventGroup, EventSelection};
pub use language::Language;
pub use message::{Chat, MeetingEvent, Packet, PacketKind};
pub use params::{Granted, MediaKind, MediaParams, MediaSelection};
pub use server_url::{AllowedHosts, ServerUrl, UrlError};
pub use signature::handshake_signature;
pub use stream::{Command, Output, Stream, StreamConfig};

#[doc(hidden)]
pub use link::{CONNECT_MAX, HANDSHAKE_MAX, SILENCE_MAX};
#[doc(hidden)]
pub use stream::{
    CLOSE_ANSWER_MAX, Counters, DRAIN_MAX, DRAIN_QUIET, MEDIA_WINDOW, SIGNALING_WINDOW,
};

#[cfg(test)]
pub(crate) mod tests;
