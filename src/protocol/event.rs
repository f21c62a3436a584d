//! What a stream reports to its user: events with data, notices, and the reason of its end.

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
    /// Data of one kind, or of all kinds.
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

/// The content of one message. Borrowed from the message, so copy what is to be kept.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// A phrase.
    Transcript(Phrase<'a>),
    /// Audio, video or share.
    Packet(PacketKind, Packet<'a>),
    /// A chat message.
    Chat(Chat<'a>),
    /// A meeting event.
    Event(MeetingEvent<'a>),
}

/// A change of the stream itself.
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
    /// A media link was accepted again: its data may repeat earlier data. Follows its `Accepted`.
    MediaResumed(MediaKind),
    /// A handshake was refused.
    Refused {
        /// The link.
        link: LinkId,
        /// Zoom's code; `None` if it sent none.
        status: Option<RtmsStatus>,
        /// Zoom's message.
        reason: String,
        /// The reaction to the code.
        policy: RefusalPolicy,
    },
    /// A kind of media was not connected within the window that Zoom gives. The others continue;
    /// this one is retried once a minute, and `Accepted` reports when it is connected.
    GivenUp {
        /// The kind of media.
        kind: MediaKind,
        /// Why it is not connected.
        loss: Loss,
    },
    /// Data arrived on a media link before message 4, and was treated as the answer. At most once
    /// per stream.
    DataBeforeAnswer(MediaKind),
    /// Zoom refused one socket per wanted kind on `all`: the kinds share one, and unwanted data is
    /// dropped.
    OneSocket,
    /// A message was above the size limit of its link, and was skipped.
    Oversize {
        /// The link.
        link: LinkId,
        /// Its size, as far as it was announced.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// A track per speaker was requested, but no audio packet has a speaker. At most once per
    /// stream.
    SpeakersUnknown,
    /// A kind of media is not granted; the others go on.
    NotGranted {
        /// Which kind.
        kind: MediaKind,
        /// The scope that the app lacks, where it is known.
        scope: Option<&'static str>,
    },
    /// A URL in a handshake answer was rejected.
    BadUrl {
        /// Of which kind of media.
        kind: MediaKind,
        /// Why it is not followed.
        error: UrlError,
    },
    /// The payload of a link is encrypted in addition to TLS; its data is dropped.
    Encrypted(MediaKind),
    /// Zoom sent the state of the stream.
    State {
        /// The new state.
        state: StreamState,
        /// Zoom's reason, if it sent one.
        reason: StopReason,
    },
    /// Zoom answered a video subscription.
    VideoSubscription {
        /// The participant.
        user_id: u64,
        /// The answer.
        status: RtmsStatus,
    },
    /// Zoom sent the state of a session within the stream.
    Session {
        /// The new state.
        state: SessionState,
        /// Zoom's reason, if it sent one.
        reason: StopReason,
    },
}

/// Why a link was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The connection could not be made; the error.
    Connect(String),
    /// The connection or the answer to the handshake took too long.
    TimedOut,
    /// Closed by Zoom, with this code if there was one.
    Closed(Option<u16>),
    /// Closed by Zoom before it answered the handshake.
    Unanswered(Option<u16>),
    /// The socket failed; the error.
    Broken(String),
    /// Neither a keep-alive nor data for too long.
    Silent,
    /// `rtms_interrupted`, event 7, or stream state 2: Zoom reports the loss.
    Reported,
    /// A newer `rtms_started` moved the stream to another server.
    FailedOver,
    /// The system was suspended; earlier connections are dead.
    SystemResumed,
    /// The signaling link was lost, and the media links with it.
    SignalingLost,
    /// Refused for now; to be retried.
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

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Zoom stopped it.
    Stopped(StopReason),
    /// A handshake was refused for good.
    Refused {
        /// The link.
        link: LinkId,
        /// Zoom's code; `None` if it sent none.
        status: Option<RtmsStatus>,
        /// Zoom's message.
        reason: String,
    },
    /// No wanted media was granted.
    NothingGranted,
    /// A link was lost and not connected again within the window that Zoom gives.
    Lost(LinkId, Loss),
    /// We asked Zoom to end it (message 21).
    ClosedByUs,
    /// We left; Zoom keeps the stream open for another process.
    Left,
    /// We left for good: another node of the fleet receives the stream, or is about to.
    HandedOver {
        /// That node, if known.
        heir: Option<String>,
    },
    /// The thread of the stream panicked.
    Panicked,
    /// The `rtms_started` webhook had no allowed server URL.
    BadUrl(UrlError),
    /// The system could not create the thread or the sockets.
    NoResources(String),
}

impl EndReason {
    /// The label in metrics and in `meta.json`.
    pub fn label(&self) -> &'static str {
        match self {
            EndReason::Stopped(_) => "stopped",
            EndReason::Refused { .. } => "refused",
            EndReason::NothingGranted => "nothing_granted",
            EndReason::Lost(..) => "lost",
            EndReason::ClosedByUs => "closed",
            EndReason::Left => "left",
            EndReason::HandedOver { .. } => "handed_over",
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
            EndReason::HandedOver { heir: Some(heir) } => write!(f, "handed over to node {heir}"),
            EndReason::HandedOver { heir: None } => f.write_str("another node receives it"),
            EndReason::BadUrl(error) => error.fmt(f),
            EndReason::NoResources(what) => {
                write!(f, "the system has no room for another stream: {what}")
            }
            EndReason::Panicked => {
                f.write_str("a bug ended it; please report the panic in the log")
            }
        }
    }
}
