//! The connections of streams, and the rules that hold for each.

use super::super::super::super::*;
use super::super::zoom::DISPLACED_BY_FULL;
use super::{Answer, ConnId, Happens, WINDOW, World, ms, secs};

impl World {
    pub(super) fn try_stream(&mut self, name: &str, id: &str) {
        let now = self.now;
        let run = self.nodes[name].run;
        self.next_conn += 1;
        let conn = self.next_conn;
        let Some(process) = self.process(name) else {
            return;
        };
        let is_permitted = process.permit.is_some_and(|until| now < until);
        let Some((meeting, stream)) = process.stream_mut(id) else {
            return;
        };
        let meeting = meeting.clone();
        if stream.phase == StreamPhase::Receiving || stream.connecting.is_some() {
            return;
        }
        if now >= stream.until {
            let stamp = stream.stamp;
            let entry = process.meetings.get_mut(&meeting).expect("it was there");
            entry.end(id, stamp);
            self.note(|| format!("{name}: the window of {id} is over"));
            return self.state_changed(name, &meeting);
        }
        let is_once = stream.has_once;
        if now < stream.next_try && !is_once {
            return;
        }
        if !is_permitted && !is_once {
            stream.next_try = now + ms(50);
            return self.at(
                now + ms(50),
                name,
                run,
                Happens::Try {
                    stream: id.to_owned(),
                },
            );
        }
        stream.has_once = false;
        stream.connecting = Some(conn);
        if !is_permitted {
            self.tries_without_permit += 1;
            self.zoom.is_tried(id);
        }
        self.note(|| format!("{name} connects to {id}"));
        let delay = ms(3 + self.random.below(40));
        self.at(
            now + delay,
            name,
            run,
            Happens::Connects {
                stream: id.to_owned(),
                conn,
            },
        );
    }

    pub(super) fn connects(&mut self, name: &str, run: u64, stream: String, conn: ConnId) {
        // The process may be gone, or have given the stream up.
        let is_there = self
            .nodes
            .get(name)
            .is_some_and(|node| node.run == run && node.process.is_some());
        if !is_there {
            return;
        }
        let answer = self.zoom.connect(&stream, conn, name);
        self.note(|| format!("zoom answers {name} for {stream}: {answer:?}"));
        let (phase, is_refused) = match answer {
            Answer::Accepted(displaced) => {
                if let Some((conn, node)) = displaced {
                    let closed = Happens::Closed {
                        stream: stream.clone(),
                        conn,
                    };
                    self.after(ms(5), &node, closed);
                }
                let known = &self.zoom.streams[&stream];
                let more = self.store.queue_max.map_or(0, |_| DISPLACED_BY_FULL);
                assert!(
                    known.displaced <= known.displaced_max + more,
                    "{stream} is displaced again and again"
                );
                (Some(StreamPhase::Receiving), false)
            }
            Answer::Refused => (None, true),
            Answer::Unknown => (None, false),
        };
        let answer = Happens::Answer {
            stream,
            conn,
            answer: phase,
            is_refused,
        };
        self.at(self.now + ms(5), name, run, answer);
    }

    pub(super) fn answered(
        &mut self,
        name: &str,
        id: &str,
        conn: ConnId,
        answer: Option<StreamPhase>,
        is_refused: bool,
    ) {
        let (now, unix_ms) = (self.now, self.unix_ms());
        let Some(process) = self.process(name) else {
            return;
        };
        let found = process
            .stream_mut(id)
            .filter(|(_, stream)| stream.connecting == Some(conn));
        let Some((meeting, stream)) = found else {
            // It was given up meanwhile.
            if answer.is_some() {
                self.at(
                    now + ms(5),
                    "",
                    0,
                    Happens::Missed {
                        stream: id.to_owned(),
                        conn,
                    },
                );
            }
            return;
        };
        let meeting = meeting.clone();
        stream.connecting = None;
        match answer {
            Some(_) => {
                stream.conn = Some(conn);
                stream.phase = StreamPhase::Receiving;
                stream.is_refused = false;
                stream.accepted_ms = unix_ms;
                stream.accepted = Some(now);
                stream.has_once = false;
            }
            None if is_refused => {
                // Each refusal shows that the stream is alive.
                stream.until = stream.until.max(now + WINDOW);
                stream.is_refused = true;
                stream.next_try = now + secs(3);
            }
            None => {
                let stamp = stream.stamp;
                let entry = process.meetings.get_mut(&meeting).expect("it was there");
                entry.end(id, stamp);
            }
        }

        self.state_changed(name, &meeting);
    }

    pub(super) fn closed(&mut self, name: &str, id: &str, conn: ConnId) {
        let now = self.now;
        let is_over = self
            .zoom
            .streams
            .get(id)
            .is_none_or(|stream| stream.is_over);
        let Some(process) = self.process(name) else {
            return;
        };
        let found = process.stream_mut(id);
        let Some((meeting, _)) =
            found.filter(|(_, s)| s.conn == Some(conn) || s.connecting == Some(conn))
        else {
            return;
        };
        let meeting = meeting.clone();
        self.note(|| format!("{name}: the connection of {id} is closed"));
        let process = self.process(name).expect("it was there");
        let entry = process.meetings.get_mut(&meeting).expect("it was there");
        if is_over {
            let stamp = entry.streams[id].stamp;
            entry.end(id, stamp);
        } else if let Some(stream) = entry.streams.get_mut(id) {
            stream.lose(now);
        }
        self.state_changed(name, &meeting);
    }
}
