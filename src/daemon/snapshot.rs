//! The state that a restart needs, on disk: a snapshot of the coordinator, and the intent log with
//! all later changes.
//!
//! A change is one line of the log, so its cost does not depend on the size of the state; it also
//! marks the Zoom events that caused it as done. The snapshot `registry.json` is written when the
//! log asks for it, when the process ends, and when consent was withdrawn, because the log still
//! has the ids that are to be forgotten. Version 0.1.0 wrote the snapshot at each change, and a
//! second, unsynced one beside it; both are read, and the newer one counts.

use std::sync::Arc;
use std::time::Instant;

use crate::coordinator;
use crate::coordinator::Coordinator;
use crate::domain::zoom_event::ZoomEvent;
use crate::source::webhook::payload;
use crate::state::intents::{EventId, IntentLog, Replay};
use crate::state::{Error, StateDir};

/// The snapshot's name in the state directory.
const NAME: &str = "registry.json";

/// The second snapshot of version 0.1.0.
const UNSYNCED_NAME: &str = "registry-unsynced.json";

/// A Zoom event that an earlier process answered 200 but did not act on.
pub(super) struct Unsettled {
    pub(super) id: EventId,
    pub(super) event: ZoomEvent,
    pub(super) body: Box<[u8]>,
}

/// Writes the snapshot and the log.
#[derive(Debug)]
pub(super) struct Snapshot {
    log: Arc<IntentLog>,
    /// Events that were handled since the last save.
    settled: Vec<EventId>,
    is_checkpoint_due: bool,
}

impl Snapshot {
    /// Reads the previous process's state, and the events that it did not handle. `ask` is called
    /// on another thread when [`Snapshot::demand`] and a save are needed.
    ///
    /// # Errors
    /// If the log cannot be opened.
    pub(super) fn open(
        state: &Arc<StateDir>,
        settings: coordinator::Settings,
        ask: impl Fn() + Send + 'static,
    ) -> Result<(Snapshot, Coordinator, Vec<Unsettled>), Error> {
        let mut coordinator = restore(state, settings);
        let (log, replay) = IntentLog::open(state, NAME, ask)?;
        let Replay {
            effects, events, ..
        } = replay;
        for changes in effects {
            if let Err(error) = coordinator.apply_changes(&changes) {
                log::error!("a change in the intent log cannot be read: {error}; ignoring it");
            }
        }
        let mut snapshot = Snapshot {
            log: Arc::new(log),
            settled: Vec::new(),
            is_checkpoint_due: false,
        };
        let mut unsettled = Vec::new();
        for (id, body) in events {
            match payload::webhook(&body) {
                Ok(event) => unsettled.push(Unsettled {
                    id,
                    event,
                    body: body.into(),
                }),
                Err(error) => {
                    log::error!("a webhook in the intent log cannot be read: {error}");
                    snapshot.settle(id);
                }
            }
        }
        Ok((snapshot, coordinator, unsettled))
    }

    /// The log that accepted events are written to.
    pub(super) fn log(&self) -> Arc<IntentLog> {
        Arc::clone(&self.log)
    }

    /// Marks an event as handled; its changes are part of the next save.
    pub(super) fn settle(&mut self, id: EventId) {
        self.settled.push(id);
    }

    /// Makes the next save a whole snapshot.
    pub(super) fn demand(&mut self) {
        self.is_checkpoint_due = true;
    }

    /// Writes what changed since the last save.
    pub(super) fn save(&mut self, coordinator: &mut Coordinator) {
        if std::mem::take(&mut self.is_checkpoint_due) {
            let json = coordinator.snapshot();
            self.log.checkpoint(&self.settled, json);
        } else {
            let changes = coordinator.take_changes();
            if changes.is_none() && self.settled.is_empty() {
                return;
            }
            let changes = changes.unwrap_or_default();
            self.log.effect(&self.settled, &changes);
        }
        self.settled.clear();
    }

    /// The number of the last save.
    #[cfg(feature = "fleet")]
    pub(super) fn mark(&self) -> u64 {
        self.log.mark()
    }

    /// Whether a restart of the process would know what was saved until that number.
    #[cfg(feature = "fleet")]
    pub(super) fn has_written(&self, mark: u64) -> bool {
        self.log.has_written(mark)
    }

    /// Whether the last write failed.
    pub(super) fn is_failing(&self) -> bool {
        self.log.is_failing()
    }

    /// Writes everything, and ends the thread; a disk that hangs is not waited for beyond
    /// `deadline`.
    pub(super) fn stop(mut self, coordinator: &mut Coordinator, deadline: Instant) -> bool {
        self.demand();
        self.save(coordinator);
        self.log.stop(deadline)
    }
}

/// The content of the newer snapshot that can be read.
fn restore(state: &StateDir, settings: coordinator::Settings) -> Coordinator {
    let read = |name: &str| {
        let read = state.read(name).map_err(|error| error.to_string());
        let parsed = read.and_then(|json| {
            json.map(|json| {
                Coordinator::from_json(settings.clone(), &json)
                    .map_err(|error| format!("{name}: {error}"))
            })
            .transpose()
        });
        parsed.unwrap_or_else(|error| {
            log::error!(
                "the state directory has a file that cannot be read: {error}; ignoring it; \
                 newer streams of the previous process may not be rejoined"
            );
            None
        })
    };
    let synced = read(NAME);
    let synced_version = synced.as_ref().map(Coordinator::version);
    match read(UNSYNCED_NAME) {
        Some(unsynced) if synced_version.is_none_or(|known| known < unsynced.version()) => {
            let moved = state
                .write_atomic(NAME, &unsynced.to_json())
                .and_then(|()| state.remove(UNSYNCED_NAME));
            if let Err(error) = moved {
                log::error!("{error}");
            }
            unsynced
        }
        unsynced => {
            if unsynced.is_some()
                && let Err(error) = state.remove(UNSYNCED_NAME)
            {
                log::error!("{error}");
            }
            synced.unwrap_or_else(|| Coordinator::new(settings))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::Now;
    use crate::state::intents::NotKept;
    use std::time::Duration;

    /// A registry.json that version 0.1.0 wrote.
    const OF_0_1_0: &str = r#"{"meetings":{"a/B+c==":{"product":"meeting","meeting_id":"81234567890","topic":"Weekly","started_ms":1767000000000,"start":"Done","stop_attempts":0,"restarts":0,"touched_ms":1767000000000}},"streams":{"s1":{"started":{"product":"meeting","id":"a/B+c==","stream_id":"s1","server_urls":["wss://sig.zoom.us"],"meeting_id":"81234567890"},"first_ms":1767000000001,"newest_ms":1767000000001,"panics":0,"is_restarted":false,"is_revoked":false}},"version":7}"#;

    fn settings() -> coordinator::Settings {
        coordinator::Settings {
            auto_start: false,
            can_call: false,
            stop_after: None,
            streams: coordinator::StreamChoice::All,
            participant_user_id: None,
            app: None,
            node: None,
        }
    }

    fn open(path: &std::path::Path) -> (Snapshot, Coordinator, Vec<Unsettled>) {
        let state = Arc::new(StateDir::open(path).expect("a state directory"));
        Snapshot::open(&state, settings(), || ()).expect("a log")
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn streams(coordinator: &Coordinator) -> Vec<String> {
        let mut streams: Vec<String> = coordinator.active().map(|info| info.stream_id).collect();
        streams.sort();
        streams
    }

    #[test]
    fn the_state_of_0_1_0_is_read_and_the_newer_file_counts() {
        let newer = OF_0_1_0.replace("\"s1\"", "\"s2\"").replace(":7}", ":8}");
        for (synced, unsynced, expected) in [
            (Some(OF_0_1_0), None, "s1"),
            (Some(OF_0_1_0), Some(newer.as_str()), "s2"),
            (Some(newer.as_str()), Some(OF_0_1_0), "s2"),
            (None, Some(OF_0_1_0), "s1"),
            (Some("{\"torn"), Some(OF_0_1_0), "s1"),
            (Some(OF_0_1_0), Some("{\"torn"), "s1"),
        ] {
            let path = crate::testing::scratch("snapshot");
            drop(StateDir::open(&path).expect("a state directory"));
            for (name, text) in [(NAME, synced), (UNSYNCED_NAME, unsynced)] {
                if let Some(text) = text {
                    std::fs::write(path.join(name), text).expect("written");
                }
            }
            let (snapshot, mut coordinator, _) = open(&path);
            assert_eq!(streams(&coordinator), [expected], "{synced:?} {unsynced:?}");
            assert!(snapshot.stop(&mut coordinator, soon()));
            // Afterwards there is one snapshot, which 0.1.0 could read.
            let (_, again, _) = open(&path);
            assert_eq!(streams(&again), [expected]);
            if unsynced != Some("{\"torn") {
                assert!(!path.join(UNSYNCED_NAME).exists());
            }
        }
    }

    #[test]
    fn an_event_is_replayed_until_its_changes_are_saved() {
        let path = crate::testing::scratch("snapshot");
        let body = |n: u64| {
            format!(
                r#"{{"event":"meeting.rtms_started","event_ts":{},"payload":{{"meeting_uuid":"m","rtms_stream_id":"s{n}","server_urls":"wss://sig.zoom.us"}}}}"#,
                1_767_000_000_000 + n
            )
        };
        let keep = |snapshot: &Snapshot, n| -> Result<EventId, NotKept> {
            let id = snapshot.log().append(body(n).as_bytes())?;
            snapshot.log().wait(id, soon()).map(|()| id)
        };
        let now = || Now {
            instant: Instant::now(),
            unix_ms: 1_767_000_000_100,
        };
        let event = |n| payload::webhook(body(n).as_bytes()).expect("an event");

        // One event is handled and saved, one is handled before the process ends without a save,
        // one is not handled.
        let (mut snapshot, mut coordinator, unsettled) = open(&path);
        assert!(unsettled.is_empty());
        let first = keep(&snapshot, 1).expect("kept");
        coordinator.handle_zoom_event(now(), event(1));
        snapshot.settle(first);
        snapshot.save(&mut coordinator);
        let second = keep(&snapshot, 2).expect("kept");
        coordinator.handle_zoom_event(now(), event(2));
        snapshot.settle(second);
        keep(&snapshot, 3).expect("kept");
        assert!(snapshot.log.stop(soon()));
        assert!(!path.join(NAME).exists(), "the log is enough");
        drop((snapshot, coordinator));

        let (mut snapshot, mut coordinator, unsettled) = open(&path);
        assert_eq!(streams(&coordinator), ["s1"]);
        let events: Vec<&ZoomEvent> = unsettled.iter().map(|found| &found.event).collect();
        assert_eq!(events, [&event(2), &event(3)]);
        for found in unsettled {
            coordinator.handle_zoom_event(now(), found.event);
            snapshot.settle(found.id);
        }
        assert!(snapshot.stop(&mut coordinator, soon()));
        assert_eq!(std::fs::read(path.join("intents.log")).expect("a log"), b"");
        let (_, coordinator, unsettled) = open(&path);
        assert!(unsettled.is_empty());
        assert_eq!(streams(&coordinator), ["s1", "s2", "s3"]);
    }
}
