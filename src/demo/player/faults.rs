//! Faults of a live stream, on demand.

use super::*;

impl Meeting {
    /// Causes a fault. `false` if there is nothing that it could happen to.
    pub(in crate::demo) fn fault(self: &Arc<Self>, shared: &Arc<Shared>, fault: Fault) -> bool {
        let mut state = self.lock();
        if let Fault::Refuse(socket, refusal, times) = &fault {
            let more = std::iter::repeat_n((*socket, refusal.clone()), *times);
            state.refusals.extend(more);
            return true;
        }
        let Some(stream) = state.stream.as_mut().filter(|s| s.ended.is_none()) else {
            return false;
        };
        let id = stream.id.clone();
        match fault {
            Fault::Cut(socket, cut) => stream.each(socket, |line| {
                line.is_cut = true;
                line.mailbox.post(Command::Cut(cut));
            }),
            Fault::Stall(socket, length) => stream.each(socket, |line| {
                line.is_stalled = true;
                line.mailbox.post(Command::Stall(length));
            }),
            Fault::Frames(socket, frames) => stream.each(socket, |line| {
                for frame in frames.clone() {
                    line.mailbox.post(Command::Frame(frame));
                }
            }),
            Fault::SlowWrite(socket, frame, pause) => stream.each(socket, |line| {
                line.mailbox.post(Command::SlowWrite(frame.clone(), pause));
            }),
            Fault::TellInterrupted => {
                stream.tell(json!({"msg_type": 6,
                    "event": {"event_type": 7, "timestamp": unix_ms()}}));
                stream.signaling.is_some()
            }
            Fault::TellMediaLost => {
                stream
                    .tell(json!({"msg_type": 8, "state": 2, "reason": 14, "timestamp": unix_ms()}));
                stream.signaling.is_some()
            }
            Fault::InterruptedWebhook => {
                drop(state);
                self.post_interrupted(shared, &id);
                true
            }
            Fault::FailOver { cut } => {
                stream.generation += 1;
                stream.event_ts = unix_ms().max(stream.event_ts + 1);
                let (event_ts, generation) = (stream.event_ts, stream.generation);
                stream.losses += 1;
                if cut {
                    for socket in [Socket::Signaling, Socket::Media] {
                        stream.each(socket, |line| {
                            line.is_cut = true;
                            line.mailbox.post(Command::Cut(Cut::Reset));
                        });
                    }
                }
                drop(state);
                self.post_started(shared, &id, event_ts, generation);
                true
            }
            Fault::Refuse(..) => true,
        }
    }
}
