//! What the machine asks the store, and what comes back.
//!
//! A call is idempotent: if its reply was lost it is made again with the same arguments. What passes
//! through here is authentic: the part that talks to the store adds a MAC to entries and messages, and drops
//! what has none.

use std::fmt;
use std::time::{Duration, Instant};

use super::record::{Record, StreamPhase};

/// 64 random bits of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Boot(pub u64);

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Boot {
    /// Reads sixteen hexadecimal digits.
    pub fn parse(text: &str) -> Option<Boot> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Boot))?
    }
}

/// One process of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    /// `RTMS_NODE`.
    pub node: String,
    /// Which of its processes.
    pub boot: Boot,
}

/// What a node says of itself with each beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which process.
    pub boot: Boot,
    /// Grows by one with each beat of the process.
    pub seq: u64,
    /// Data layout of the process.
    pub layout: u32,
    /// Version of the program.
    pub version: String,
    /// Digest of the settings that all nodes must have alike.
    pub must: String,
    /// Streams that it receives or joins.
    pub streams: u32,
    /// Streams beyond which it gets no new meetings.
    pub capacity: u32,
    /// It gives its meetings away and takes none.
    pub is_draining: bool,
    /// Where its admin listener is; empty without one.
    pub admin: String,
    /// When the process began, Unix milliseconds by its own clock.
    pub since_ms: u64,
    /// Its event WebSocket; `None` without one.
    pub events: Option<EventsRow>,
}

/// What a node says of its event WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsRow {
    /// Which subscription, in few letters.
    pub subscription: String,
    /// It has the connection.
    pub is_connected: bool,
    /// It could not connect lately, and leaves it to others.
    pub is_failing: bool,
}

/// A row, as the store sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRow {
    /// `RTMS_NODE`.
    pub node: String,
    /// What it said.
    pub row: Row,
    /// How long ago, by the store's clock.
    pub age: Duration,
}

/// What waits in a node's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A Zoom event, as its webhook's body.
    Event(Vec<u8>),
    /// The meeting's record is yours: read it and take the meeting.
    Take {
        /// The meeting.
        meeting: String,
    },
    /// These streams of a meeting of yours were received elsewhere: go on with them.
    Streams {
        /// The meeting.
        meeting: String,
        /// The node that has received them.
        from: String,
        /// What is needed to go on.
        entry: Vec<u8>,
        /// Their last phrases.
        tails: Vec<(String, Tail)>,
    },
    /// Consent was withdrawn: delete the files of this stream.
    Discard {
        /// The stream.
        stream_id: String,
        /// What the coordinator needs for it, as JSON.
        withdrawal: Vec<u8>,
    },
}

/// A message, and its id in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The store's id of the entry: `1526919030474-0`.
    pub id: String,
    /// The message; `None` if it is not authentic or cannot be read, and only to be removed.
    pub message: Option<Message>,
}

/// Keyed digests of the last phrases of a stream, packed: newest timestamp in ms (u64, big endian), then up to
/// 32 digests of eight bytes.
pub type Tail = Vec<u8>;

/// When a record of another owner may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimable {
    /// Its owner has been silent for this long, or is another process by now; also where there is no record,
    /// the record has ended, or it was placed or handed over three seconds ago and not taken.
    Dead(Duration),
    /// Only where there is no record, or it has ended.
    Free,
}

/// A question to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Renews the own row and reads all others.
    Beat {
        /// The own row.
        row: Row,
        /// A boot of the same name that is proved dead by the state directory.
        previous: Option<Boot>,
    },
    /// The meeting of a stream.
    Find {
        /// The stream.
        stream_id: String,
    },
    /// The record of a meeting.
    Read {
        /// The meeting.
        meeting: String,
    },
    /// Puts a message into the queue of the meeting's owner.
    Route {
        /// The meeting.
        meeting: String,
        /// Who owns it, as far as known. Wrong or `None`: the reply says who.
        expected: Option<String>,
        /// The owner counts as dead after this silence.
        dead_after: Duration,
        /// The message.
        message: Message,
    },
    /// Puts a message into a node's queue, whatever it owns.
    Send {
        /// The node.
        node: String,
        /// The message.
        message: Message,
    },
    /// Makes the meeting `to`'s.
    Claim {
        /// The meeting.
        meeting: String,
        /// Who owns it, as far as known. Wrong: the reply says who.
        expected: Option<String>,
        /// The new owner: this process, or one that lives.
        to: Member,
        /// On which condition.
        when: Claimable,
        /// For another node's queue, after the word to take it; empty for this process.
        messages: Vec<Message>,
    },
    /// Says what this process has, and takes what is free.
    Publish {
        /// The meeting.
        meeting: String,
        /// The epoch under which it is held; 0 if it was never recorded.
        epoch: u64,
        /// The own boot before this one, whose records are ours.
        previous: Option<Boot>,
        /// Each stream that is not over.
        streams: Vec<(String, StreamPhase)>,
        /// The meeting is over.
        is_over: bool,
        /// What another node needs to go on, if it changed since the last publish.
        entry: Option<Vec<u8>>,
    },
    /// Gives the meeting to another node.
    Hand {
        /// The meeting.
        meeting: String,
        /// The epoch under which it is held.
        epoch: u64,
        /// Who gets it.
        heir: Member,
        /// What it needs.
        entry: Vec<u8>,
        /// Its streams' last phrases.
        tails: Vec<(String, Tail)>,
    },
    /// The meetings that a node owns, by the store.
    Owned {
        /// The node.
        node: String,
    },
    /// What waits in the queue of a node that is dead. It stays there.
    ReadQueue {
        /// The node.
        node: String,
    },
    /// Removes entries of a queue that were taken in and saved.
    Remove {
        /// The node whose queue it is.
        node: String,
        /// The entries.
        ids: Vec<String>,
    },
    /// Removes the row of a node that has left, or is dead and has nothing.
    RemoveRow {
        /// The node.
        node: String,
        /// Only if it is still this process.
        boot: Boot,
    },
}

/// A store's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Call::Beat`].
    Beat {
        /// When the question was about to be sent.
        sent: Instant,
        /// The store's time, Unix milliseconds.
        store_ms: u64,
        /// Made with the first key of an empty store.
        era: u64,
        /// The own row as it stood before.
        before: Option<Row>,
        /// All rows, the own one too.
        rows: Vec<SeenRow>,
    },
    /// To [`Call::Beat`]: another process of this name lives.
    Taken {
        /// Its row.
        other: SeenRow,
    },
    /// To [`Call::Find`].
    Found {
        /// The meeting, if the store knows the stream.
        meeting: Option<String>,
    },
    /// To [`Call::Read`].
    Read {
        /// The record; `None` if there is none.
        record: Option<Record>,
    },
    /// To [`Call::Route`].
    Routed(Routed),
    /// To [`Call::Send`]: whether it fitted in.
    Sent {
        /// The queue had room.
        has_room: bool,
    },
    /// To [`Call::Claim`].
    Claimed {
        /// The epoch from now on.
        epoch: u64,
        /// The record as it was before.
        before: Option<Record>,
        /// The last phrases of its streams.
        tails: Vec<(String, Tail)>,
        /// How long ago its owner's last beat was.
        silent_for: Option<Duration>,
    },
    /// To [`Call::Claim`]: a node has it.
    Held(Record),
    /// To [`Call::Claim`] and [`Call::Hand`]: the new owner's queue has no room, or it has no row: no node reads it.
    QueueFull,
    /// To [`Call::Publish`] and [`Call::Hand`].
    Ok {
        /// The epoch from now on.
        epoch: u64,
    },
    /// To [`Call::Publish`]: done, and the record listed streams that this publish does not. Who took the record
    /// by that is told so until it publishes with its new epoch.
    Overwritten {
        /// The epoch from now on.
        epoch: u64,
        /// The record as it was before.
        before: Record,
    },
    /// To [`Call::Publish`] without an entry: done, and the record has none.
    Bare {
        /// The epoch from now on.
        epoch: u64,
    },
    /// To [`Call::Publish`] and [`Call::Hand`]: the record is another's.
    Newer(Record),
    /// To [`Call::Owned`].
    Meetings(Vec<String>),
    /// To [`Call::ReadQueue`].
    Queue(Vec<Queued>),
    /// To [`Call::Remove`] and [`Call::RemoveRow`].
    Done,
    /// No answer that can be used: it is not known whether the store has done it.
    Failed,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// It is in the owner's queue.
    Queued,
    /// The owner is this process.
    Mine,
    /// There is no record, or it has ended and its owner is gone.
    None,
    /// Another node owns it.
    Moved {
        /// That node.
        owner: String,
    },
    /// Its owner is dead.
    Dead,
    /// The owner's queue is full.
    Full,
}
