//! Commands on their way to a stream's thread.
//!
//! A channel would keep places for the most that may wait, of which most streams never use two.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::Command;

/// Commands that may wait for a stream. They come one a webhook; a stream that lets this many wait
/// is stuck.
const COMMANDS_MAX: usize = 16;

/// A queue for one stream: the end that is pushed to, and the end of the thread.
pub(super) fn command_queue() -> (CommandSender, CommandReceiver) {
    let waiting = Arc::new(Mutex::new(Waiting::default()));
    let commands = CommandSender { waiting };
    (commands.clone(), CommandReceiver(commands))
}

/// Where commands are given.
#[derive(Debug, Clone)]
pub(super) struct CommandSender {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    commands: VecDeque<Command>,
    /// The stream is over: what still waits is not handled any more.
    is_over: bool,
}

/// Where they are taken. Dropped, it ends the queue.
#[derive(Debug)]
pub(super) struct CommandReceiver(CommandSender);

/// Why a command was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CommandError {
    /// Too many wait.
    Full(Command),
    /// The stream is over.
    Over,
}

impl CommandSender {
    /// Adds one at the end.
    pub(super) fn push(&self, command: Command) -> Result<(), CommandError> {
        let mut waiting = self.lock();
        if waiting.is_over {
            return Err(CommandError::Over);
        }
        if waiting.commands.len() >= COMMANDS_MAX {
            return Err(CommandError::Full(command));
        }
        waiting.commands.push_back(command);
        Ok(())
    }

    /// What the stream had not handled when it ended.
    pub(super) fn take_unhandled(&self) -> VecDeque<Command> {
        let mut waiting = self.lock();
        match waiting.is_over {
            true => std::mem::take(&mut waiting.commands),
            false => VecDeque::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommandReceiver {
    /// The one that has waited longest.
    pub(super) fn pop(&self) -> Option<Command> {
        self.0.lock().commands.pop_front()
    }
}

impl Drop for CommandReceiver {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codes::StopReason;

    #[test]
    fn in_order_no_more_than_may_wait_and_none_after_the_end() {
        let (commands, obeyed) = command_queue();
        let command = |n: usize| Command::Stopped(StopReason(n as i64));
        for n in 0..COMMANDS_MAX {
            assert_eq!(commands.push(command(n)), Ok(()));
        }
        let more = commands.push(command(99));
        assert_eq!(more, Err(CommandError::Full(command(99))));
        for n in 0..COMMANDS_MAX {
            assert_eq!(obeyed.pop(), Some(command(n)));
        }
        assert_eq!(obeyed.pop(), None);
        assert_eq!(commands.push(command(1)), Ok(()), "there is room again");
        assert!(
            commands.take_unhandled().is_empty(),
            "it may still be handled"
        );
        drop(obeyed);
        assert_eq!(commands.push(command(2)), Err(CommandError::Over));
        assert_eq!(commands.take_unhandled(), [command(1)]);
    }
}
