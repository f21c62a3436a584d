//! The interface of sinks, which receive a stream's data.

use crate::net::waker::Waker;
use crate::protocol::{EndReason, Notice, StreamEvent};

/// Receives a stream's data, on the stream's own thread.
///
/// A sink must not block: while it works, keep-alives wait. A sink with slow work passes it to a
/// thread of its own and reports [`Sink::is_backlogged`] while that thread has much to do.
pub trait Sink: Send {
    /// The stream starts. `waker` wakes its thread: to be called when a backlogged sink has caught
    /// up.
    fn on_start(&mut self, waker: Waker) {
        let _ = waker;
    }

    /// The data of one message; copy what is to be kept. Packets of audio, video and share are
    /// delivered up to 40 ms after they arrived, together with those that follow them.
    fn on_event(&mut self, event: &StreamEvent<'_>);

    /// News about the stream itself.
    fn on_notice(&mut self, notice: &Notice) {
        let _ = notice;
    }

    /// No more data for the moment: buffered data should be sent on.
    fn flush(&mut self) {}

    /// Whether the stream should pause reading for a moment.
    fn is_backlogged(&self) -> bool {
        false
    }

    /// The stream has ended; no call follows.
    fn on_end(&mut self, reason: &EndReason) {
        let _ = reason;
    }
}
