//! What a stream tells those who use it.

use std::fmt;

use super::codes::{RefusalPolicy, RtmsStatus, SessionState, StopReason, StreamState};
use super::message::{Chat, MeetingEvent, Packet, PacketKind};
use super::params::{Granted, MediaKind};
use super::server_url::UrlError;
use crate::domain::phrase::Phrase;

/// One of a stream's WebSockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LinkId {
    /// Handshake, events, state, and our requests.
    Signaling,
    /// Data of one kind, or of all.
    Media(MediaKind),
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkId::Signaling => f.write_str("signaling"),
            LinkId::Media(kind) => write!(f, "media:{}", kind.name()),
        }
    }
}

/// What one message carried. Borrowed from the message: what is to be kept must be copied.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// A phrase.
    Transcript(Phrase<'a>),
    /// Audio, video or share.
    Packet(PacketKind, Packet<'a>),
    /// A chat message.
    Chat(Chat<'a>),
    /// Something happened in the meeting.
    Event(MeetingEvent<'a>),
}

/// What changed about the stream itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A handshake was accepted.
    Accepted(LinkId),
    /// The parameters in force on a media link.
    Granted(Box<Granted>),
    /// CLIENT_READY_ACK was sent: data flows from here on.
    Ready,
    /// A link was lost and will be tried again.
    Lost(LinkId, Loss),
    /// A media link was accepted again: what comes on it may repeat what came before. Follows its
    /// `Accepted`.
    MediaResumed(MediaKind),
    /// A handshake was refused.
    Refused {
        /// Of which link.
        link: LinkId,
        /// Zoom's code; `None` where it sent none.
        status: Option<RtmsStatus>,
        /// Zoom's words.
        reason: String,
        /// What follows from the code.
        policy: RefusalPolicy,
    },
    /// A medium did not come up in the time that Zoom gives. The others go on; this one is tried once
    /// a minute, and `Accepted` says when it is back.
    GivenUp {
        /// Which medium.
        kind: MediaKind,
        /// Why its link is not there.
        loss: Loss,
    },
    /// Data came on a media link before message 4, and was taken for the answer. Once a stream.
    DataBeforeAnswer(MediaKind),
    /// `all` did not take a socket for each wanted kind: they share one, and what is not wanted is
    /// dropped.
    OneSocket,
    /// A message was larger than the limit of its link, and was skipped.
    Oversize {
        /// On which link.
        link: LinkId,
        /// Its size, as far as it was announced.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// One track a speaker was asked for, and no packet of audio names its speaker. Once a stream.
    SpeakersUnknown,
    /// A kind of media is not granted; the others go on.
    NotGranted {
        /// Which kind.
        kind: MediaKind,
        /// The scope that the app lacks, where it is known.
        scope: Option<&'static str>,
    },
    /// A URL in a handshake answer is not followed.
    BadUrl {
        /// Of which kind of media.
        kind: MediaKind,
        /// Why it is not followed.
        error: UrlError,
    },
    /// The payload of a link is encrypted beyond TLS; its bytes are not taken for media.
    Encrypted(MediaKind),
    /// Zoom told the state of the stream.
    State {
        /// The new state.
        state: StreamState,
        /// Why, where told.
        reason: StopReason,
    },
    /// Zoom answered a video subscription.
    VideoSubscription {
        /// The participant.
        user_id: u64,
        /// The answer.
        status: RtmsStatus,
    },
    /// Zoom told the state of a session within the stream.
    Session {
        /// The new state.
        state: SessionState,
        /// Why, where told.
        reason: StopReason,
    },
}

/// Why a link was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The connection could not be made: the words of the attempt.
    Connect(String),
    /// The connection or the answer to the handshake did not come in time.
    TimedOut,
    /// Closed by Zoom with this code, if any.
    Closed(Option<u16>),
    /// Closed by Zoom instead of an answer to the handshake.
    Unanswered(Option<u16>),
    /// Broken: the words of the socket.
    Broken(String),
    /// Neither a keep-alive nor data for too long.
    Silent,
    /// `rtms_interrupted`, event 7, or stream state 2: Zoom lost it.
    Reported,
    /// A newer `rtms_started` moved the stream to another server.
    FailedOver,
    /// The machine slept; what was connected before is gone.
    SystemResumed,
    /// The signaling link went, and media goes with it.
    SignalingLost,
    /// Refused, to be tried again.
    Refused,
}

impl Loss {
    /// Every [`Loss::label`].
    pub const LABELS: [&'static str; 11] = [
        "connect",
        "timeout",
        "closed",
        "unanswered",
        "broken",
        "silent",
        "reported",
        "failover",
        "slept",
        "signaling",
        "refused",
    ];

    /// The label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Loss::Connect(_) => "connect",
            Loss::TimedOut => "timeout",
            Loss::Closed(_) => "closed",
            Loss::Unanswered(_) => "unanswered",
            Loss::Broken(_) => "broken",
            Loss::Silent => "silent",
            Loss::Reported => "reported",
            Loss::FailedOver => "failover",
            Loss::SystemResumed => "slept",
            Loss::SignalingLost => "signaling",
            Loss::Refused => "refused",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Connect(why) => write!(f, "cannot connect: {why}"),
            Loss::TimedOut => f.write_str("no answer in time"),
            Loss::Closed(Some(code)) => write!(f, "closed by Zoom with code {code}"),
            Loss::Closed(None) => f.write_str("closed by Zoom without a code"),
            Loss::Unanswered(code) => {
                let code = code.map_or("without a code".to_owned(), |n| format!("with code {n}"));
                write!(
                    f,
                    "closed by Zoom {code} instead of an answer to the handshake; usually "
                )?;
                f.write_str("ZOOM_CLIENT_ID and ZOOM_CLIENT_SECRET are not the app's")
            }
            Loss::Broken(why) => write!(f, "connection broken: {why}"),
            Loss::Silent => f.write_str("no keep-alive and no data for too long"),
            Loss::Reported => f.write_str("Zoom reports the connection lost"),
            Loss::FailedOver => f.write_str("Zoom moved the stream to another server"),
            Loss::SystemResumed => f.write_str("system resumed from suspend"),
            Loss::SignalingLost => f.write_str("the signaling connection was lost"),
            Loss::Refused => f.write_str("refused for now"),
        }
    }
}

/// Why a stream is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Zoom ended it.
    Stopped(StopReason),
    /// A handshake was refused for good.
    Refused {
        /// Of which link.
        link: LinkId,
        /// Zoom's code; `None` where it sent none.
        status: Option<RtmsStatus>,
        /// Zoom's words.
        reason: String,
    },
    /// Nothing that we want is granted.
    NothingGranted,
    /// A link was lost and did not come back in the time that Zoom gives.
    Lost(LinkId, Loss),
    /// We asked Zoom to end it (message 21).
    ClosedByUs,
    /// We left; Zoom keeps it open for a successor.
    Left,
    /// The thread of the stream panicked.
    Panicked,
    /// The started webhook named no server that may be connected to.
    BadUrl(UrlError),
    /// The system refused a thread or a socket to begin with.
    NoResources(String),
}

impl EndReason {
    /// The label in metrics and the word in `meta.json`.
    pub fn label(&self) -> &'static str {
        match self {
            EndReason::Stopped(_) => "stopped",
            EndReason::Refused { .. } => "refused",
            EndReason::NothingGranted => "nothing_granted",
            EndReason::Lost(..) => "lost",
            EndReason::ClosedByUs => "closed",
            EndReason::Left => "left",
            EndReason::Panicked => "panicked",
            EndReason::BadUrl(_) => "bad_url",
            EndReason::NoResources(_) => "no_resources",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndReason::Stopped(reason) => write!(f, "stopped by Zoom: {reason}"),
            EndReason::Refused {
                link,
                status: Some(status),
                reason,
            } => {
                write!(f, "{link} refused: {status}")?;
                if !reason.is_empty() {
                    write!(f, " ({reason:?})")?;
                }
                write!(f, "; {}", status.remedy())
            }
            EndReason::Refused {
                link,
                status: None,
                reason,
            } => {
                write!(f, "{link} refused without a status code ({reason:?})")
            }
            EndReason::NothingGranted => {
                f.write_str("no wanted media is granted; check RTMS_MEDIA and the app's scopes")
            }
            EndReason::Lost(link, loss) => write!(f, "{link} lost for good: {loss}"),
            EndReason::ClosedByUs => f.write_str("closed at our request"),
            EndReason::Left => f.write_str("left; another process may take it over"),
            EndReason::BadUrl(error) => error.fmt(f),
            EndReason::NoResources(what) => write!(f, "the system gives no more threads: {what}"),
            EndReason::Panicked => {
                f.write_str("a bug ended it; please report the panic in the log")
            }
        }
    }
}
