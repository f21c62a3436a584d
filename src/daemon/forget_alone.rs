//! Forgetting where no server runs: this process holds the locks meanwhile.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::snapshot::Snapshot;
use super::{Error, Settings};
use crate::clock::now_ms;
use crate::coordinator::forgetting::Subject;
use crate::coordinator::{self, Coordinator};
use crate::delivery::ends::Ends;
use crate::delivery::s3::client::Client;
use crate::domain::stream_info::StreamInfo;
use crate::forgetting::Receipt;
use crate::forgetting::record::{self, Record, Request};
use crate::forgetting::run::{self, Live, Place};
use crate::forgetting::search::Fault;
use crate::recorder::disk::StopTimes;
use crate::recorder::{Disk, OutLock};
use crate::state::StateDir;

/// The state and what was written are on the disk by then.
const WRITTEN_MAX: Duration = Duration::from_secs(30);

/// Why nothing was forgotten.
#[derive(Debug)]
pub(crate) enum AloneError {
    /// A lock is held, or a file cannot be used.
    Start(Error),
    /// The request means several people, or something could not be read.
    Run(Fault),
    /// Something else, in words.
    Text(String),
}

impl From<Error> for AloneError {
    fn from(error: Error) -> AloneError {
        AloneError::Start(error)
    }
}

/// The state of an earlier server.
struct State {
    inner: RefCell<(Snapshot, Coordinator)>,
}

impl Live for State {
    fn running(&self) -> Vec<StreamInfo> {
        Vec::new()
    }

    fn end(&self, _: &[String]) -> bool {
        true
    }

    fn forget(&self, subject: Subject) -> Result<(), String> {
        let mut inner = self.inner.borrow_mut();
        let (snapshot, coordinator) = &mut *inner;
        coordinator.forget(&subject, true);
        snapshot.demand();
        snapshot.save(coordinator);
        match snapshot
            .log()
            .wait_for_checkpoint(Instant::now() + WRITTEN_MAX)
        {
            true => Ok(()),
            false => Err("it cannot be written".to_owned()),
        }
    }

    fn is_stopping(&self) -> bool {
        false
    }
}

/// Forgets, or plans to, with the folders that these settings name.
pub(crate) fn forget_alone(
    settings: &Settings,
    request: &Request,
    dry_run: bool,
) -> Result<Receipt, AloneError> {
    request.check().map_err(AloneError::Text)?;
    let (Some(disk), Some(path)) = (&settings.disk, &settings.state) else {
        let text = "RTMS_OUT or RTMS_STATE is off, so there is nothing to forget";
        return Err(AloneError::Text(text.to_owned()));
    };
    let opened = StateDir::open_sealed(path, settings.state_keys.clone());
    let state = Arc::new(opened.map_err(Error::State)?);
    let _lock = OutLock::take(&disk.root).map_err(Error::Out)?;
    let (snapshot, coordinator, _) =
        Snapshot::open(&state, nothing(), || ()).map_err(Error::State)?;
    let (proxy, ca_file) = (&settings.proxy, settings.ca_file.as_deref());
    let ends = Ends::new(
        Some(Arc::clone(&state)),
        settings.proxy.clone(),
        settings.ca_file.clone(),
    );
    ends.delete_by_hand();
    let sent = Arc::clone(&ends.counters().upload_bytes);
    let client = settings.ends.bucket.clone();
    let client = client.map(|bucket| Client::new(bucket, proxy, ca_file, sent).map(Arc::new));
    let client = client.transpose().map_err(Error::Storage)?;
    let root = std::path::absolute(&disk.root).unwrap_or_else(|_| disk.root.clone());
    let mut roots: Vec<PathBuf> = coordinator.roots().iter().map(PathBuf::from).collect();
    roots.retain(|own| *own != root);
    roots.insert(0, root);
    let disk = Disk::start_watched(disk.clone(), Some(path.clone()), Some(ends.clone()), || ());
    let disk = disk.map_err(Error::Io)?;
    let live = State {
        inner: RefCell::new((snapshot, coordinator)),
    };
    let place = Place {
        roots,
        works: disk.works(),
        ends,
        client,
        live: &live,
    };
    let receipt = match dry_run {
        true => run::plan(&place, &record::new_id(now_ms()), request).map_err(AloneError::Run),
        false => all(&state, &place, request),
    };
    let now = Instant::now();
    let report = disk.stop(StopTimes {
        write_until: now + WRITTEN_MAX,
        sync_until: now + WRITTEN_MAX,
        sync_min: Duration::ZERO,
    });
    report.wait();
    let (snapshot, mut coordinator) = live.inner.into_inner();
    if !dry_run && !snapshot.stop(&mut coordinator, Instant::now() + WRITTEN_MAX) {
        let text = "the state cannot be written";
        return receipt.and(Err(AloneError::Text(text.to_owned())));
    }
    receipt
}

/// The state is read and written, and nothing is decided.
fn nothing() -> coordinator::Settings {
    coordinator::Settings {
        auto_start: false,
        can_call: false,
        stop_after: None,
        streams: coordinator::StreamChoice::All,
        app: None,
        node: None,
        participant_user_id: None,
    }
}

/// What an earlier run began as well. Returns the receipt of this request.
fn all(state: &Arc<StateDir>, place: &Place<'_>, request: &Request) -> Result<Receipt, AloneError> {
    let mut records = record::load(state).map_err(AloneError::Text)?;
    if !records.iter().any(|own| own.request == *request) {
        let now = now_ms();
        records.push(Record::new(&record::new_id(now), request.clone(), now));
    }
    let store = |records: &[Record]| {
        let stored = record::save(state, records);
        stored.map_err(|error| AloneError::Start(Error::State(error)))
    };
    store(&records)?;
    let mut wanted = None;
    for at in (0..records.len()).rev() {
        let others: Vec<Record> = records.clone();
        let save = |record: &Record| {
            let mut now = others.clone();
            now[at] = record.clone();
            record::save(state, &now).map_err(|error| error.to_string())
        };
        let mut record = records[at].clone();
        let done = run::run(place, &mut record, &save);
        let is_wanted = record.request == *request;
        if let Err(fault) = done {
            if matches!(fault, Fault::Ambiguous(_)) {
                records.remove(at);
                store(&records)?;
            }
            match is_wanted {
                true => return Err(AloneError::Run(fault)),
                false => continue,
            }
        }
        let stored = record.receipt.store(state.path());
        stored.map_err(|error| AloneError::Text(format!("the receipt: {error}")))?;
        if is_wanted {
            wanted = Some(record.receipt.clone());
        }
        match record.receipt.completed {
            true => drop(records.remove(at)),
            false => records[at] = record,
        }
        store(&records)?;
    }
    wanted.ok_or_else(|| AloneError::Text("the request is gone".to_owned()))
}
