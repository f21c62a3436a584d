//! Carries a request out: for the server, and for the command where no server runs.
//!
//! What is about to be done is stored before it is done, and each step may be done twice.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::blank::Plan;
use super::bucket::{Objects, delete_sent, failed};
use super::folder::{Folder, count_files};
use super::person::{Person, name_key};
use super::receipt::{Counts, MENTIONS, Receipt, StreamReceipt};
use super::record::{Current, Record, Request, Target};
use super::search::{self, Fault, key_of, search};
use crate::clock::now_ms;
use crate::coordinator::forgetting::Subject;
use crate::delivery::ends::Ends;
use crate::delivery::s3::client::Client;
use crate::domain::stream_info::{StreamInfo, Withdrawal};
use crate::domain::time::Utc;
use crate::recorder::disk::Works;
use crate::recorder::meta::{FILE_NAME as META_NAME, MetaFile};
use crate::recorder::removal::{Part, Reason, State, StreamPlace, Tombstone, tombstones};
use crate::recorder::stream_files::discard_folder;

/// A stream that has ended is synced within seconds; until then its folder is in use.
const CLOSED_MAX: Duration = Duration::from_secs(15);
/// An upload under way that was cancelled has ended by then.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Objects of a stream are gone by then, if the bucket answers.
const DELETED_MAX: Duration = Duration::from_secs(60);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(50);

/// What is alive: the streams and the state.
pub trait Live {
    /// The streams that run.
    fn running(&self) -> Vec<StreamInfo>;

    /// Ends these streams at Zoom, and waits for it. Whether they have ended.
    fn end(&self, stream_ids: &[String]) -> bool;

    /// Takes it out of the state, on the disk as well.
    ///
    /// # Errors
    /// Why it is still there.
    fn forget(&self, subject: Subject) -> Result<(), String>;

    /// Whether the program is stopping.
    fn is_stopping(&self) -> bool;
}

/// Where everything is.
pub struct Place<'a> {
    /// The output folders, the current one and former ones.
    pub roots: Vec<PathBuf>,
    /// Who changes folders.
    pub works: Works,
    /// What is to be done with streams that have ended.
    pub ends: Ends,
    /// The bucket, if one is configured.
    pub client: Option<Arc<Client>>,
    /// The streams and the state.
    pub live: &'a dyn Live,
}

/// What would be done, without doing it.
///
/// # Errors
/// See [`Fault`].
pub fn plan(place: &Place<'_>, id: &str, request: &Request) -> Result<Receipt, Fault> {
    let mut receipt = Receipt::new(id, request, now_ms());
    receipt.dry_run = true;
    receipt.folders.clone_from(&place.roots);
    let client = place.client.as_deref();
    let found = search(&place.roots, &request.target, client, &|| {
        !place.live.is_stopping()
    })?;
    receipt.candidates = found.candidates;
    for folder in found.folders {
        let stream = match &request.target {
            Target::User { word, .. } => {
                let people = search::people(&folder, client)?;
                let mut person = people.find(word).unwrap_or_default();
                let local = Folder(folder.clone());
                let plan = super::blank::plan(&local, &mut person, request.with_mixed)?;
                let objects = uploaded(&folder)
                    .map_or(0, |_| (plan.blanked.len() + plan.deleted.len()) as u64);
                let mut stream = of_plan(&folder, &plan);
                stream.counts.objects_replaced = objects.min(plan.blanked.len() as u64);
                stream.counts.objects_deleted = objects - stream.counts.objects_replaced;
                stream
            }
            _ => StreamReceipt {
                key: key_of(&folder).to_string(),
                counts: Counts {
                    files_deleted: count_files(&folder),
                    objects_deleted: uploaded(&folder).map_or(0, |it| it.files),
                    ..Counts::default()
                },
                ..StreamReceipt::default()
            },
        };
        receipt.push(stream);
    }
    Ok(receipt)
}

/// Goes on with a request as far as possible now. `save` makes the record survive a crash. The receipt
/// says whether it is complete.
///
/// # Errors
/// The search failed, or the record cannot be stored.
pub fn run(
    place: &Place<'_>,
    record: &mut Record,
    save: &dyn Fn(&Record) -> Result<(), String>,
) -> Result<(), Fault> {
    let mut step = Step {
        place,
        save,
        waits: BTreeMap::new(),
    };
    step.run(record)?;
    record.receipt.waits = step.waits.into_values().collect();
    let is_done = record.receipt.waits.is_empty();
    if is_done {
        record.receipt.completed = true;
        record.receipt.finished = Some(Utc::from_unix_ms(now_ms()).to_string());
    }
    if matches!(record.request.target, Target::User { .. }) && !record.receipt.streams.is_empty() {
        record.receipt.note = Some(MENTIONS.to_owned());
    }
    Ok(())
}

struct Step<'a, 'p> {
    place: &'a Place<'p>,
    save: &'a dyn Fn(&Record) -> Result<(), String>,
    /// What is still to be done, by what it is about.
    waits: BTreeMap<String, String>,
}

impl Step<'_, '_> {
    fn store(&self, record: &Record) -> Result<(), Fault> {
        (self.save)(record).map_err(Fault::Io)
    }

    fn run(&mut self, record: &mut Record) -> Result<(), Fault> {
        self.end_streams(record);
        if !record.is_searched {
            let (roots, target) = (&self.place.roots, &record.request.target);
            let client = self.place.client.as_deref();
            let goes_on = || !self.place.live.is_stopping();
            let found = search(roots, target, client, &goes_on)?;
            record.receipt.folders.clone_from(roots);
            record.folders = found.folders;
            record.meetings.extend(found.meetings);
            record.person = found.person;
            record.is_searched = true;
            self.store(record)?;
        }
        for folder in record.folders.clone() {
            if self.place.live.is_stopping() {
                self.waits
                    .insert(String::new(), "the program is stopping".to_owned());
                break;
            }
            let done = match record.request.target.clone() {
                Target::User { word, .. } => self.forget_person(record, &folder, &word),
                _ => self.forget_stream(record, &folder),
            };
            match done {
                Ok(stream) => {
                    record.receipt.push(stream);
                    record.folders.retain(|own| *own != folder);
                    record.begun.retain(|own| own.folder != folder);
                }
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    let text = "the stream is still received: done at its end";
                    self.waits
                        .insert(folder.display().to_string(), wait(&folder, text));
                }
                Err(error) => {
                    let text = wait(&folder, &error.to_string());
                    self.waits.insert(folder.display().to_string(), text);
                }
            }
            self.store(record)?;
        }
        self.await_objects(record);
        // The state is small, but all of it is written again.
        if record.folders.is_empty() {
            self.forget_state(record);
        }
        Ok(())
    }

    /// The wish of people outranks the recording: streams that run are ended first.
    fn end_streams(&mut self, record: &mut Record) {
        let is_of = |info: &StreamInfo| match &record.request.target {
            Target::Meeting(id) => info.id == *id,
            Target::Account(id) => info.account_id.as_ref() == Some(id),
            Target::User { .. } => false,
        };
        let running = self.place.live.running();
        let own: Vec<&StreamInfo> = running.iter().filter(|info| is_of(info)).collect();
        if own.is_empty() {
            return;
        }
        let ids: Vec<String> = own.iter().map(|info| info.stream_id.clone()).collect();
        let meetings: Vec<String> = own.iter().map(|info| info.id.clone()).collect();
        for id in meetings {
            if !record.meetings.contains(&id) {
                record.meetings.push(id);
            }
        }
        if !self.place.live.end(&ids) {
            let text = "a stream that is to be forgotten has not ended yet".to_owned();
            self.waits.insert("streams".to_owned(), text);
        }
        // Folders that are there only now are found as well.
        record.is_searched = false;
    }

    /// A stream goes as a whole.
    fn forget_stream(&self, record: &mut Record, folder: &Path) -> io::Result<StreamReceipt> {
        let key = key_of(folder);
        let now = Current {
            folder: folder.to_owned(),
            files: count_files(folder),
            objects: uploaded(folder).map_or(0, |it| it.files),
            ..Current::default()
        };
        let now = match record.begun(folder) {
            // It was begun before: what is gone already counts.
            Some(before) => Current {
                files: before.files.max(now.files),
                objects: before.objects.max(now.objects),
                ..now
            },
            None => now,
        };
        let may_be_there = now.objects > 0 || self.place.ends.hold(key).is_some();
        record.begin(now.clone());
        self.store(record).map_err(into_io)?;
        let tombstone = tombstone(folder, now.files);
        if let Some((root, tombstone)) = &tombstone {
            tombstones::append(root, &tombstone.in_state(State::Removing))?;
        }
        if let Some(info) = MetaFile::read(folder)?.and_then(|meta| meta.stream_info()) {
            let withdrawal = Withdrawal {
                id: Some(info.id),
                stream_id: info.stream_id,
                is_repeat: false,
            };
            let works = &self.place.works;
            works.forget_stream(withdrawal, self.place.roots.clone())?;
        }
        // Where `meta.json` is torn or gone, the folder is all that is known.
        let own = folder.to_owned();
        let works = &self.place.works;
        works.in_folder(folder, move || discard_folder(&own).map(drop))?;
        if let Some((root, tombstone)) = &tombstone {
            tombstones::append(root, &tombstone.in_state(State::Removed))?;
        }
        if may_be_there {
            record.objects.push((key.to_string(), now.objects));
        }
        Ok(StreamReceipt {
            key: key.to_string(),
            counts: Counts {
                files_deleted: now.files,
                ..Counts::default()
            },
            ..StreamReceipt::default()
        })
    }

    /// A person goes from a stream.
    fn forget_person(
        &self,
        record: &mut Record,
        folder: &Path,
        word: &str,
    ) -> io::Result<StreamReceipt> {
        self.await_closed(folder)?;
        let (key, with_mixed) = (key_of(folder), record.request.with_mixed);
        let client = self.place.client.as_deref();
        let mut now = record.begun(folder).cloned().unwrap_or_default();
        now.folder = folder.to_owned();
        let people = search::people(folder, client)?;
        let mut person = people.find(word).unwrap_or_default();
        person.merge(&now.person);
        let plan = super::blank::plan(&Folder(folder.to_owned()), &mut person, with_mixed)?;
        now.person.clone_from(&person);
        merge(&mut now.plan, &plan);
        let where_uploaded = uploaded(folder);
        record.begin(now.clone());
        self.store(record).map_err(into_io)?;
        let held = self.hold(folder)?;
        let done = self.change_folder(folder, person.clone(), with_mixed);
        let done = done.and_then(|()| {
            if let (Some(uploaded), Some(client)) = (&where_uploaded, client) {
                let mut person = person.clone();
                let opened = Objects::open(client, &uploaded.bucket, &uploaded.prefix);
                if let Some(mut objects) = opened.map_err(failed)? {
                    let done = objects.apply(&mut person, with_mixed)?;
                    now.objects_deleted = now.objects_deleted.max(done.deleted.len() as u64);
                    now.objects_replaced = now.objects_replaced.max(done.blanked.len() as u64);
                }
            } else if where_uploaded.is_some() {
                return Err(io::Error::other(
                    "its files are in a bucket, and RTMS_S3_BUCKET is not set: set it again",
                ));
            }
            // An upload that had not ended begins again; what it sent of the person goes.
            if let (Some(upload), Some(client)) = (&held, client) {
                let sent = upload.files.iter().filter(|file| file.sent.is_some());
                let own = sent.filter(|file| now.plan.deleted.contains(&file.local));
                let own = own.map(|file| format!("{}{}", upload.prefix, file.object));
                let own: Vec<String> = own.collect();
                delete_sent(client, &upload.bucket, &own).map_err(failed)?;
                now.objects_deleted = now.objects_deleted.max(own.len() as u64);
            }
            Ok(())
        });
        let goes_on = self.place.ends.go_on(key);
        record.begin(now.clone());
        done?;
        if held.is_some() && !goes_on {
            return Err(io::Error::other("ends.json cannot be written"));
        }
        let mut stream = of_plan(folder, &now.plan);
        stream.counts.objects_deleted = now.objects_deleted;
        stream.counts.objects_replaced = now.objects_replaced;
        Ok(stream)
    }

    fn change_folder(&self, folder: &Path, mut person: Person, with_mixed: bool) -> io::Result<()> {
        let (own, works) = (Folder(folder.to_owned()), self.place.works.clone());
        let (changed, told) = (folder.to_owned(), works.clone());
        works.in_folder(folder, move || {
            own.apply(&mut person, with_mixed)?;
            told.journal_is_replaced(&changed);
            Ok(())
        })
    }

    /// Waits a little for a stream that has just ended.
    fn await_closed(&self, folder: &Path) -> io::Result<()> {
        let until = Instant::now() + CLOSED_MAX;
        loop {
            let running = self.place.live.running();
            let meta = MetaFile::read(folder)?.and_then(|meta| meta.stream_info());
            let is_running = meta.is_some_and(|own| {
                running
                    .iter()
                    .any(|it| it.stream_id == own.stream_id && it.id == own.id)
            });
            if is_running {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            match self.place.works.in_folder(folder, || Ok(())) {
                Err(error)
                    if error.kind() == io::ErrorKind::ResourceBusy
                        && Instant::now() < until
                        && !self.place.live.is_stopping() =>
                {
                    thread::sleep(LOOK);
                }
                other => return other,
            }
        }
    }

    /// Nothing of the stream is uploaded from here on. What its upload has reached, if it had not ended.
    fn hold(&self, folder: &Path) -> io::Result<Option<crate::delivery::ends::entry::Upload>> {
        let until = Instant::now() + IDLE_MAX;
        loop {
            let Some(held) = self.place.ends.hold(key_of(folder)) else {
                return Ok(None);
            };
            if held.is_idle {
                return Ok(held.upload);
            }
            if Instant::now() >= until {
                self.place.ends.go_on(key_of(folder));
                return Err(io::Error::other("an upload of it does not end"));
            }
            thread::sleep(LOOK);
        }
    }

    /// Objects of whole streams are deleted by the thread for uploads.
    fn await_objects(&mut self, record: &mut Record) {
        let until = Instant::now() + DELETED_MAX;
        for (key, files) in std::mem::take(&mut record.objects) {
            let gone = loop {
                let Ok(parsed) = key.parse() else {
                    break Ok(true);
                };
                let gone = self
                    .place
                    .ends
                    .is_deleted(parsed, self.place.client.as_deref());
                let is_over = Instant::now() >= until || self.place.live.is_stopping();
                match gone {
                    Ok(false) if !is_over && self.place.client.is_some() => thread::sleep(LOOK),
                    other => break other,
                }
            };
            let text = match gone {
                Ok(true) => {
                    record.receipt.push(StreamReceipt {
                        key,
                        counts: Counts {
                            objects_deleted: files,
                            ..Counts::default()
                        },
                        ..StreamReceipt::default()
                    });
                    continue;
                }
                Ok(false) if self.place.client.is_none() => {
                    "its files are in a bucket, and RTMS_S3_BUCKET is not set: set it again"
                        .to_owned()
                }
                Ok(false) => "its files are still in the bucket, see the log".to_owned(),
                Err(fault) => format!("the bucket: {fault}"),
            };
            self.waits
                .insert(format!("objects {key}"), format!("stream {key}: {text}"));
            record.objects.push((key, files));
        }
    }

    fn forget_state(&mut self, record: &Record) {
        let subject = match &record.request.target {
            Target::Meeting(id) => {
                let mut meetings = record.meetings.clone();
                meetings.push(id.clone());
                Subject::Meetings(meetings)
            }
            Target::Account(_) => Subject::Meetings(record.meetings.clone()),
            Target::User { word, .. } => {
                let ids = record.person.ids.iter().map(ToString::to_string);
                let names = record.person.names.iter().map(|name| name_key(name));
                Subject::Person {
                    ids: ids.chain([word.clone()]).collect(),
                    names: names.chain([name_key(word)]).collect(),
                }
            }
        };
        if let Err(text) = self.place.live.forget(subject) {
            self.waits
                .insert("state".to_owned(), format!("the state: {text}"));
        }
        if !self.place.ends.rewrite() {
            let text = "ends.json cannot be written".to_owned();
            self.waits.insert("ends".to_owned(), text);
        }
    }
}

/// What is left of a stream that goes as a whole: ids and times, no content. `None` where `meta.json`
/// does not say whose folder it is. With it, the output folder.
fn tombstone(folder: &Path, files: u64) -> Option<(PathBuf, Tombstone)> {
    let info = MetaFile::read(folder).ok().flatten()?.stream_info()?;
    let names: Vec<&str> = folder
        .iter()
        .rev()
        .take(3)
        .filter_map(|it| it.to_str())
        .collect();
    let [stream, meeting, day] = names.as_slice() else {
        return None;
    };
    let (root, now) = (folder.ancestors().nth(3)?.to_owned(), now_ms());
    let meta = std::fs::read(folder.join(META_NAME)).unwrap_or_default();
    let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap_or_default();
    let tombstone = Tombstone {
        state: State::Removing,
        part: Part::All,
        reason: Reason::Forgotten,
        place: StreamPlace::new(day, meeting, stream)?,
        product: info.product,
        id: info.id,
        stream_id: info.stream_id,
        meeting_id: info.meeting_id,
        started_ms: info.started_ms,
        ended_ms: meta["ended_ms"].as_u64().unwrap_or(now),
        removed_ms: now,
        files,
        bytes: 0,
    };
    Some((root, tombstone))
}

fn uploaded(folder: &Path) -> Option<crate::delivery::ends::Uploaded> {
    MetaFile::read(folder).ok().flatten()?.uploaded()
}

fn of_plan(folder: &Path, plan: &Plan) -> StreamReceipt {
    StreamReceipt {
        key: key_of(folder).to_string(),
        counts: Counts {
            files_deleted: plan.deleted.len() as u64,
            files_blanked: plan.blanked.len() as u64,
            records_blanked: plan.blanked.values().sum(),
            ..Counts::default()
        },
        remains: plan.remains.clone(),
    }
}

/// What an earlier run has begun counts as well: it may be done already.
fn merge(earlier: &mut Plan, plan: &Plan) {
    for (name, count) in &plan.blanked {
        let known = earlier.blanked.entry(name.clone()).or_default();
        *known = (*known).max(*count);
    }
    earlier.deleted.extend(plan.deleted.iter().cloned());
    earlier.remains.clone_from(&plan.remains);
}

fn wait(folder: &Path, text: &str) -> String {
    format!("stream {}: {text}", key_of(folder))
}

fn into_io(fault: Fault) -> io::Error {
    match fault {
        Fault::Io(text) => io::Error::other(text),
        Fault::Ambiguous(_) => io::Error::other("it means several people"),
    }
}
