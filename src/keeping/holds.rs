//! What keeps a stream that has ended from being removed: events that an endpoint of HTTP push has not
//! had, an upload or a program that waits.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::plan::{Hold, Stream};
use crate::delivery::ends::{self, Ends};
use crate::delivery::push::awaited::Awaited;
use crate::feed::{Board, FEED_NAME, JournalKey, reader};

/// Who knows what waits for streams.
pub trait Holds: Send {
    /// A round begins: what may be known for a while is found out.
    fn begin(&mut self);

    /// Why the stream must stay, if so.
    fn hold(&mut self, root: &Path, stream: &Stream) -> Option<Hold>;
}

/// In the server: the board knows what push needs, and the thread `ends` what it waits for.
#[derive(Debug)]
pub struct Live {
    board: Option<Arc<Board>>,
    ends: Ends,
    waiting: Option<BTreeSet<JournalKey>>,
}

impl Live {
    /// Asks these.
    pub fn new(board: Option<Arc<Board>>, ends: Ends) -> Live {
        Live {
            board,
            ends,
            waiting: None,
        }
    }
}

impl Holds for Live {
    fn begin(&mut self) {
        self.waiting = self.ends.waiting();
    }

    fn hold(&mut self, _: &Path, stream: &Stream) -> Option<Hold> {
        let key = stream.place.key();
        // Without an answer everything stays.
        if (self.waiting.as_ref()).is_none_or(|waiting| waiting.contains(&key)) {
            return Some(Hold::Ends);
        }
        let is_held = |board: &Arc<Board>| board.is_held(key);
        (self.board.as_ref().is_some_and(is_held)).then_some(Hold::Push)
    }
}

/// By the files of the state directory, for a process that is not the server. What they say may be a
/// moment old, and then more is held than needs to be.
#[derive(Debug)]
pub struct Files {
    state: Option<PathBuf>,
    endpoints: Vec<String>,
    awaited: io::Result<Awaited>,
    waiting: io::Result<BTreeSet<JournalKey>>,
}

impl Files {
    /// The endpoints are those that are configured.
    pub fn new(state: Option<&Path>, endpoints: Vec<String>) -> Files {
        let mut files = Files {
            state: state.map(Path::to_owned),
            endpoints,
            awaited: Ok(Awaited::default()),
            waiting: Ok(BTreeSet::new()),
        };
        files.begin();
        files
    }

    /// What cannot be read, so that everything is held.
    pub fn fault(&self) -> Option<&io::Error> {
        let awaited = self.awaited.as_ref().err();
        awaited.or_else(|| self.waiting.as_ref().err())
    }
}

impl Holds for Files {
    fn begin(&mut self) {
        if let Some(state) = &self.state {
            self.awaited = Awaited::read(state, &self.endpoints);
            self.waiting = ends::waiting_in(state);
        }
    }

    fn hold(&mut self, root: &Path, stream: &Stream) -> Option<Hold> {
        let key = stream.place.key();
        match &self.waiting {
            Ok(waiting) if !waiting.contains(&key) => {}
            _ => return Some(Hold::Ends),
        }
        match &self.awaited {
            Ok(awaited) if awaited.is_empty() => None,
            Ok(awaited) => {
                let journal = root.join(stream.place.path()).join(FEED_NAME);
                let is_awaited =
                    reader::end_of(&journal).map_or(true, |end| awaited.has(key, end.seq, end.pos));
                is_awaited.then_some(Hold::Push)
            }
            Err(_) => Some(Hold::Push),
        }
    }
}
