//! The command queue of a stream's thread.
//!
//! A bounded channel would allocate all its places at once, and most streams never use two.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::Command;

/// Maximum commands that wait for a stream. One comes per webhook, so a stream with this many is
/// stuck.
const COMMANDS_MAX: usize = 16;

/// Creates a queue: the sending end and the thread's end.
pub(super) fn command_queue() -> (CommandSender, CommandReceiver) {
    let waiting = Arc::new(Mutex::new(Waiting::default()));
    let commands = CommandSender { waiting };
    (commands.clone(), CommandReceiver(commands))
}

/// The sending end.
#[derive(Debug, Clone)]
pub(super) struct CommandSender {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    commands: VecDeque<Command>,
    /// The stream is over: commands that still wait are not handled.
    is_over: bool,
}

/// The receiving end. Dropping it closes the queue.
#[derive(Debug)]
pub(super) struct CommandReceiver(CommandSender);

/// Why a command was rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CommandError {
    /// Too many commands wait.
    Full(Command),
    /// The stream is over.
    Over,
}

impl CommandSender {
    /// Appends a command.
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

    /// The commands that the stream had not handled when it ended.
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
    /// Removes the oldest command.
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
    fn commands_keep_their_order_and_limit_and_are_rejected_after_the_end() {
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
