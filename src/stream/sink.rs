//! Where a stream's data goes.

use crate::net::waker::Waker;
use crate::protocol::{EndReason, Notice, StreamEvent};

/// Takes what a stream receives, on the stream's own thread.
///
/// A sink must not block: while it works, keep-alives wait. One that has slow work to do hands it
/// to a thread of its own and says [`Sink::is_backlogged`] while that thread has much to do.
pub trait Sink: Send {
    /// The stream begins. `waker` wakes its thread: to be called when a sink that was behind has
    /// caught up.
    fn on_start(&mut self, waker: Waker) {
        let _ = waker;
    }

    /// One message's data; copy what is to be kept. Packets of audio, video and share come up to
    /// 40 ms after they arrived, together with those that follow them.
    fn on_event(&mut self, event: &StreamEvent<'_>);

    /// Something about the stream itself.
    fn on_notice(&mut self, notice: &Notice) {
        let _ = notice;
    }

    /// Nothing more is there for the moment: what was gathered should go on its way.
    fn flush(&mut self) {}

    /// Whether the stream should wait a little before it reads more.
    fn is_backlogged(&self) -> bool {
        false
    }

    /// The stream is over; nothing follows.
    fn on_end(&mut self, reason: &EndReason) {
        let _ = reason;
    }
}
