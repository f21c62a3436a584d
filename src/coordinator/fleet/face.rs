//! The machine's inputs and outputs, apart from the calls to the store in [`super::call`].

use std::time::{Duration, Instant};

use super::call::{Boot, Call, Member, Tail};
use super::counts::Took;
use super::record::StreamPhase;
use crate::domain::severity::Severity;
use crate::domain::turn::Turn;
use crate::domain::zoom_event::{ZoomEvent, ZoomEventKind};

/// What this process is.
#[derive(Debug, Clone)]
pub struct Config {
    /// `RTMS_NODE`, and 64 random bits.
    pub me: Member,
    /// The boot whose state directory this process has, so that its lock proves it dead.
    pub previous: Option<Boot>,
    /// The data layout that this program writes.
    pub layout: u32,
    /// The program's version.
    pub version: String,
    /// Digest of the settings that all nodes must have alike.
    pub must: String,
    /// `RTMS_NODE_STREAMS`.
    pub capacity: u32,
    /// Where the admin listener is; empty without one.
    pub admin: String,
    /// When the process began, Unix milliseconds.
    pub since_ms: u64,
    /// The subscription of the event WebSocket, in few letters; `None` without one.
    pub events: Option<String>,
    /// Reads an event that lay in a queue; `None` if it cannot be read.
    pub read: fn(&[u8]) -> Option<About>,
}

/// What the machine must know of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The meeting, if the event names it.
    pub meeting: Option<String>,
    /// The stream, if the event names it.
    pub stream: Option<String>,
    /// What it says.
    pub kind: Kind,
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `meeting.started`.
    MeetingBegins,
    /// A participant joined. It matters to a meeting that waits for its host, and where the beginning was
    /// missed; there are many, so they are the first that are dropped.
    ParticipantJoins,
    /// `rtms_started`.
    StreamStarts,
    /// `rtms_interrupted`.
    StreamInterrupted,
    /// `meeting.ended`, `rtms_stopped`.
    Ends,
    /// `rtms_stopped` because consent was withdrawn: every node that has files deletes them.
    Withdrawn,
    /// `app_deauthorized`: for every node.
    Everyone,
    /// News about the account: counted where it arrives.
    Local,
}

/// An event from the own listener, the event WebSocket or the intent log.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Which intent it is.
    pub number: u64,
    /// What it says.
    pub about: About,
    /// The webhook's body.
    pub body: Vec<u8>,
}

/// What the coordinator has of a meeting. The machine is told after each [`Output::Deliver`],
/// [`Output::DeliverQueued`], [`Output::Adopt`] and [`Output::Resume`], and after each other change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeetingState {
    /// The meeting.
    pub meeting: String,
    /// Its streams that are not over.
    pub streams: Vec<StreamState>,
    /// Nothing runs, and nothing is planned: no stream, no call. An event for it is still sent here later.
    pub is_over: bool,
    /// What another node needs to go on with it, if that changed.
    pub entry: Option<Vec<u8>>,
}

/// A stream of a [`MeetingState`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// The stream.
    pub stream_id: String,
    /// What it does.
    pub phase: StreamPhase,
    /// Zoom's last answer was that another client has it: status 8, 15 or 16.
    pub is_refused: bool,
}

/// A live meeting of the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The meeting.
    pub meeting: String,
    /// The epoch under which it was held; 0 if it never was.
    pub epoch: u64,
    /// What another node needs to go on with it.
    pub entry: Vec<u8>,
    /// Its streams that were running.
    pub streams: Vec<String>,
}

/// Who had a meeting before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predecessor {
    /// The node.
    pub node: String,
    /// Its epoch.
    pub epoch: u64,
}

/// A meeting to go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The meeting.
    pub meeting: String,
    /// What the former owner left for others to go on with.
    pub entry: Vec<u8>,
    /// The last phrases of its streams.
    pub tails: Vec<(String, Tail)>,
    /// The epoch from now on.
    pub epoch: u64,
    /// How long Zoom may still let its streams be joined.
    pub window: Duration,
    /// How long no node may have received its streams, as far as known.
    pub silent_for: Duration,
    /// Who had it before; `None` if that is not known, or no node had.
    pub predecessor: Option<Predecessor>,
}

/// Which call a reply belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What the machine wants done.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// Ask the store. Each call is answered once, by [`super::Machine::handle_reply`].
    Call(CallId, Call),
    /// Give this intent's event to the coordinator. The intent stays until [`Output::Settle`].
    Deliver {
        /// The intent.
        number: u64,
    },
    /// Give this event of a queue to the coordinator, then say [`super::Machine::handle_saved`] when a restart
    /// would know of it.
    DeliverQueued {
        /// What to say then.
        ticket: u64,
        /// The webhook's body.
        body: Vec<u8>,
    },
    /// Drop this intent after the next save: the store or the coordinator has it.
    Settle {
        /// The intent.
        number: u64,
    },
    /// Go on with a meeting of another node. Streams that run here already are left as they are.
    Adopt(Box<Adoption>),
    /// Go on with this meeting of the state directory, or with one that was released and that no node gets.
    Resume {
        /// The meeting.
        meeting: String,
    },
    /// End these streams as handed over, running or not: no REST call, no file touched. Without any left the
    /// coordinator forgets the meeting.
    GiveUp {
        /// The meeting.
        meeting: String,
        /// Its streams that others have.
        streams: Vec<String>,
        /// The whole meeting is another's.
        is_all: bool,
        /// Who has them, if that is known.
        heir: Option<String>,
    },
    /// Close the meeting's sockets so that Zoom keeps its streams open, then say
    /// [`super::Machine::handle_released`].
    Release {
        /// The meeting.
        meeting: String,
        /// Who gets it.
        heir: String,
    },
    /// Signaling connections may be opened until then.
    Permit {
        /// Until when, on the clock of [`super::Reply::Beat`]'s `sent`.
        until: Instant,
    },
    /// This stream may be connected once without a permit: until it is let in, or there is a permit again.
    Once {
        /// The stream.
        stream_id: String,
    },
    /// Delete the files of this stream, then say [`super::Machine::handle_saved`].
    Discard {
        /// What to say then.
        ticket: u64,
        /// The stream.
        stream_id: String,
        /// What the coordinator needs for it, as JSON.
        withdrawal: Vec<u8>,
    },
    /// The store has lost what was written to it: what this process put there beside its meetings is to be put
    /// there again.
    RolledBack,
    /// Whose turn it is to have the event WebSocket: when that changes, and now and then while another node has it.
    Events {
        /// Whose.
        turn: Turn,
        /// Another node has the connection now.
        replaces: bool,
        /// How long ago another node had it last, if one is known to have had it.
        elsewhere: Option<Duration>,
    },
    /// This took so long: for metrics.
    Took(Took, Duration),
    /// Log a line.
    Log(Severity, String),
    /// End the process.
    Exit(Exit, String),
    /// After [`super::Machine::drain`]: nothing of ours is left, and our row is gone.
    Drained,
}

/// Why the process must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Another process has this name: 69.
    NameTaken,
    /// The fleet writes a data layout that this program cannot read: 78.
    Layout,
}

/// What this node is in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// The store has not answered yet.
    Joining,
    /// Our last good beat began less than four seconds ago.
    Sure,
    /// The store has not answered for longer: the store-down rule holds.
    Unsure,
    /// It gives its meetings away.
    Draining,
    /// Another process took this name while this one was silent.
    Doubled,
    /// It has left.
    Gone,
}

impl NodeState {
    /// The word in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            NodeState::Joining => "joining",
            NodeState::Sure => "sure",
            NodeState::Unsure => "unsure",
            NodeState::Draining => "draining",
            NodeState::Doubled => "doubled",
            NodeState::Gone => "gone",
        }
    }
}

impl About {
    /// Reads what the machine must know from a parsed event. An empty id counts as none.
    pub fn of(event: &ZoomEvent) -> About {
        let (meeting, stream, kind) = match &event.event {
            ZoomEventKind::MeetingStarted(info) => {
                (Some(&info.meeting_uuid), None, Kind::MeetingBegins)
            }
            ZoomEventKind::MeetingEnded(info) => (Some(&info.meeting_uuid), None, Kind::Ends),
            ZoomEventKind::ParticipantJoined(joined) => {
                let uuid = &joined.meeting.meeting_uuid;
                (Some(uuid), None, Kind::ParticipantJoins)
            }
            ZoomEventKind::StreamStarted(started) => (
                Some(&started.id),
                Some(&started.stream_id),
                Kind::StreamStarts,
            ),
            ZoomEventKind::StreamInterrupted(event) => (
                event.id.as_ref(),
                Some(&event.stream_id),
                Kind::StreamInterrupted,
            ),
            ZoomEventKind::StreamStopped(event) => {
                let kind = match event.stop_reason {
                    Some(8) => Kind::Withdrawn,
                    _ => Kind::Ends,
                };
                (event.id.as_ref(), Some(&event.stream_id), kind)
            }
            ZoomEventKind::AppDeauthorized { .. } => (None, None, Kind::Everyone),
            ZoomEventKind::UrlValidation { .. }
            | ZoomEventKind::Account { .. }
            | ZoomEventKind::Other { .. } => (None, None, Kind::Local),
        };
        let named = |id: Option<&String>| id.filter(|id| !id.is_empty()).cloned();
        About {
            meeting: named(meeting),
            stream: named(stream),
            kind,
        }
    }
}
