//! What happens outside of the nodes: Zoom's meetings and webhooks, the network, the balancer.

use super::super::super::super::*;
use super::super::process::Told;
use super::{Answer, ConnId, Event, Happens, WINDOW, World, ms};

impl World {
    pub(crate) fn webhook(&mut self, node: &str, told: Told) {
        self.after(ms(1), node, Happens::Webhook(told, 0));
    }

    pub(crate) fn withdraw(&mut self, node: &str, stream: &str) {
        let now = self.now;
        if let Some(process) = self.process(node) {
            process.machine.withdraw(now, stream, b"{}".to_vec());
        }
        self.drain_outputs(node);
    }

    /// The network closes a connection.
    pub(crate) fn drop_connection(&mut self, stream: &str) {
        let conn = self.zoom.streams.get(stream).and_then(|s| s.conn.clone());
        if let Some((conn, node)) = conn {
            let stream = stream.to_owned();
            self.missed(&stream, conn);
            self.after(ms(5), &node, Happens::Closed { stream, conn });
        }
    }

    /// A process that is not of this fleet displaces the connection.
    pub(crate) fn displace(&mut self, stream: &str) {
        self.next_conn += 1;
        if let Answer::Accepted(Some((conn, node))) =
            self.zoom.connect(stream, self.next_conn, "stranger")
        {
            let stream = stream.to_owned();
            self.after(ms(5), &node, Happens::Closed { stream, conn });
        }
    }

    /// A stream starts. The webhook goes to some node, or to this one.
    pub(crate) fn begin(&mut self, meeting: &str, stream: &str, node: Option<&str>) {
        let (now, stamp) = (self.now, self.unix_ms());
        self.zoom.begin(now, meeting, stream, stamp);
        self.at(
            now + WINDOW,
            "",
            0,
            Happens::WindowEnds {
                stream: stream.to_owned(),
            },
        );
        self.tell(Kind::StreamStarts, meeting, stream, node);
    }

    /// The stream moves to another server: the connection is closed, a newer start follows.
    pub(crate) fn move_stream(&mut self, stream: &str) {
        let (now, stamp) = (self.now, self.unix_ms());
        let Some(known) = self.zoom.streams.get_mut(stream).filter(|s| !s.is_over) else {
            return;
        };
        known.stamp = stamp;
        let meeting = known.meeting.clone();
        if let Some((conn, node)) = known.conn.take() {
            known.free_since = now;
            let closed = Happens::Closed {
                stream: stream.to_owned(),
                conn,
            };
            self.after(ms(10), &node, closed);
        }
        self.at(
            now + WINDOW,
            "",
            0,
            Happens::WindowEnds {
                stream: stream.to_owned(),
            },
        );
        self.tell(Kind::StreamStarts, &meeting, stream, None);
    }

    /// The newest start of a stream comes again.
    pub(crate) fn repeat_start(&mut self, stream: &str, node: &str) {
        let known = &self.zoom.streams[stream];
        let told = Told {
            kind: Kind::StreamStarts,
            meeting: known.meeting.clone(),
            stream: stream.to_owned(),
            stamp: known.stamp,
            is_named: true,
        };
        self.after(ms(5), node, Happens::Webhook(told, 0));
    }

    pub(crate) fn tell(&mut self, kind: Kind, meeting: &str, stream: &str, node: Option<&str>) {
        let told = Told {
            kind,
            meeting: meeting.to_owned(),
            stream: stream.to_owned(),
            stamp: self.unix_ms(),
            is_named: !matches!(kind, Kind::Ends | Kind::StreamInterrupted)
                || stream.is_empty()
                || self.random.below(2) == 0,
        };
        match node {
            Some(node) => self.after(ms(5), node, Happens::Webhook(told, 0)),
            None => self.at(self.now + ms(5), "", 0, Happens::Tell(told, 0)),
        }
    }

    /// The meeting ends: streams stop, and webhooks say so.
    pub(crate) fn end(&mut self, meeting: &str) {
        let streams: Vec<String> = (self.zoom.live())
            .filter(|(_, stream)| stream.meeting == meeting)
            .map(|(id, _)| id.clone())
            .collect();
        for stream in streams {
            if let Some((conn, node)) = self.zoom.end(&stream) {
                let closed = Happens::Closed {
                    stream: stream.clone(),
                    conn,
                };
                self.after(ms(300), &node, closed);
            }
            self.tell(Kind::Ends, meeting, &stream, None);
        }
        self.tell(Kind::Ends, meeting, "", None);
    }

    /// Who receives a stream, by Zoom.
    pub(crate) fn receiver(&self, stream: &str) -> Option<&str> {
        let (_, node) = self.zoom.streams.get(stream)?.conn.as_ref()?;
        Some(node)
    }

    pub(super) fn missed(&mut self, stream: &str, conn: ConnId) {
        if !self.zoom.lost(self.now, stream, conn) {
            return;
        }
        self.note(|| format!("zoom misses the connection of {stream}"));
        let id = stream.to_owned();
        self.at(
            self.now + WINDOW,
            "",
            0,
            Happens::WindowEnds { stream: id.clone() },
        );
        if self.interruptions && self.random.below(4) > 0 {
            let meeting = self.zoom.streams[stream].meeting.clone();
            let told = Told {
                kind: Kind::StreamInterrupted,
                meeting,
                stream: id,
                stamp: self.unix_ms(),
                is_named: self.random.below(2) == 0,
            };
            let delay = match self.random.below(3) {
                0 => ms(self.random.below(20_000)),
                _ => ms(self.random.below(300)),
            };
            self.at(self.now + delay, "", 0, Happens::Tell(told, 0));
        }
    }

    pub(super) fn balance(&mut self, told: Told, tries: u32) {
        if tries >= 4 {
            return self.note(|| format!("no node takes {told:?}"));
        }
        let names: Vec<String> = (self.nodes.iter())
            .filter(|(_, node)| !node.is_lost && node.process.is_some())
            .filter(|(_, node)| !node.process.as_ref().is_some_and(|p| p.is_draining))
            .map(|(name, _)| name.clone())
            .collect();
        if names.is_empty() {
            return self.at(self.now + ms(500), "", 0, Happens::Tell(told, tries + 1));
        }
        let name = &names[self.random.below(names.len() as u64) as usize];
        self.after(ms(2), name, Happens::Webhook(told, tries));
    }

    /// Fsynced and answered 200.
    pub(super) fn accept(&mut self, name: &str, told: Told) {
        let now = self.now;
        self.note(|| format!("{name} accepts {told:?}"));
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Some(process) = &mut node.process else {
            return;
        };
        node.disk.next_intent += 1;
        let number = node.disk.next_intent;
        let body = told.body();
        node.disk.intents.insert(number, body.clone());
        let about = told.about();
        process.machine.handle_event(
            now,
            Incoming {
                number,
                about,
                body,
            },
        );
        if told.kind == Kind::StreamStarts {
            self.accepted.entry(told.stream).or_insert(now);
        }
        self.drain_outputs(name);
    }

    pub(super) fn is_for_no_node(&mut self, event: Event) {
        if let Happens::Webhook(told, tries) = event.what {
            self.at(self.now + ms(250), "", 0, Happens::Tell(told, tries + 1));
        }
    }
}
