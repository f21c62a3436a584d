//! What a person can say to the push of a running server.

use std::fmt;

use crate::domain::time;
use crate::feed::key::JournalKey;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// To which endpoint.
    pub endpoint: String,
    /// Which.
    pub action: Action,
}

/// See [`Command`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// No more requests until it is resumed.
    Pause,
    /// Requests again, also to one that is gone.
    Resume,
    /// Events come again, in order, before newer ones.
    Replay {
        /// From which on.
        from: From,
        /// Of one stream alone: a key, a stream id, or the beginning of one.
        stream: Option<String>,
    },
}

/// Where a replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With the first event written at or after this `pos`.
    Pos(u64),
    /// With this event.
    Event {
        /// Of this journal.
        key: JournalKey,
        /// Its number.
        seq: u64,
    },
}

impl From {
    /// Reads an event's id, or a time as in `2026-11-24T14:13:10Z`; the error says what was expected.
    pub fn parse(text: &str) -> Result<From, String> {
        if let Some((key, seq)) = text.split_once('-')
            && let (Ok(key), Ok(seq)) = (key.parse(), seq.parse())
        {
            return Ok(From::Event { key, seq });
        }
        let ms = time::parse_unix_ms(text);
        ms.map(|ms| From::Pos(ms.saturating_mul(1000))).ok_or_else(|| {
            "the id of an event, as in bdd2d51ed67606f5-42, or a time, as in 2026-11-24T14:13:10Z"
                .to_owned()
        })
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// There is no such endpoint.
    NoEndpoint,
    /// There is no such stream or event.
    NotFound(String),
    /// The stream's name fits several.
    Ambiguous(String),
    /// Something cannot be read or written.
    Failed(String),
    /// The server is stopping, or does not answer.
    Stopping,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::NoEndpoint => f.write_str("there is no such endpoint"),
            CommandError::NotFound(what) => write!(f, "{what} was not found"),
            CommandError::Ambiguous(what) => write!(f, "{what} fits several streams"),
            CommandError::Failed(why) => f.write_str(why),
            CommandError::Stopping => f.write_str("the server is stopping or does not answer"),
        }
    }
}

impl std::error::Error for CommandError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_replay_begins() {
        let key = "bdd2d51ed67606f5".parse().expect("a key");
        assert_eq!(
            From::parse("bdd2d51ed67606f5-42"),
            Ok(From::Event { key, seq: 42 })
        );
        assert_eq!(
            From::parse("2026-11-24T14:13:10Z"),
            Ok(From::Pos(1_795_529_590_000_000))
        );
        for wrong in [
            "",
            "42",
            "bdd2d51ed67606f5",
            "bdd2d51ed67606f5-x",
            "yesterday",
        ] {
            assert!(From::parse(wrong).is_err(), "{wrong}");
        }
    }
}
