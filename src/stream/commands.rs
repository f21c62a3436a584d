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
    let waiting = Arc::new(Mutex::new(Some(VecDeque::new())));
    let commands = CommandSender { waiting };
    (commands.clone(), CommandReceiver(commands))
}

/// Where commands are given.
#[derive(Debug, Clone)]
pub(super) struct CommandSender {
    /// `None` once nobody takes any more.
    waiting: Arc<Mutex<Option<VecDeque<Command>>>>,
}

/// Where they are taken. Whoever drops it takes no more.
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
        match &mut *self.lock() {
            None => Err(CommandError::Over),
            Some(waiting) if waiting.len() >= COMMANDS_MAX => Err(CommandError::Full(command)),
            Some(waiting) => {
                waiting.push_back(command);
                Ok(())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Command>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommandReceiver {
    /// The one that has waited longest.
    pub(super) fn pop(&self) -> Option<Command> {
        self.0.lock().as_mut()?.pop_front()
    }
}

impl Drop for CommandReceiver {
    fn drop(&mut self) {
        *self.0.lock() = None;
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
        drop(obeyed);
        assert_eq!(commands.push(command(2)), Err(CommandError::Over));
    }
}
