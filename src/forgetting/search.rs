//! Finds the streams that a request is about.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::blank::{self, Files};
use super::bucket::Objects;
use super::folder::Folder;
use super::json::Node;
use super::person::{People, Person, name_key};
use super::receipt::Candidate;
use super::record::Target;
use crate::delivery::s3::client::Client;
use crate::feed::FEED_NAME;
use crate::feed::folders::StreamFolders;
use crate::feed::key::JournalKey;
use crate::recorder::meta::MetaFile;
use crate::recorder::path::safe_name;
use crate::recorder::transcript::JSONL_NAME;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The folders of the streams.
    pub folders: Vec<PathBuf>,
    /// Their meetings.
    pub meetings: BTreeSet<String>,
    /// The person in all of these streams.
    pub person: Person,
    /// Who is meant in each stream.
    pub candidates: Vec<Candidate>,
}

/// Why a search has no result.
#[derive(Debug)]
pub enum Fault {
    /// An id that means different people in different meetings.
    Ambiguous(Vec<Candidate>),
    /// A folder or the bucket cannot be read.
    Io(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Io(error.to_string())
    }
}

/// Looks through all output folders, the newest day first. `goes_on` is asked at each stream.
///
/// # Errors
/// See [`Fault`].
pub fn search(
    roots: &[PathBuf],
    target: &Target,
    client: Option<&Client>,
    goes_on: &dyn Fn() -> bool,
) -> Result<Found, Fault> {
    let mut found = Found::default();
    let mut is_by_name = false;
    for root in roots {
        match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Fault::Io(format!("{}: {error}", root.display()))),
            Ok(_) => {}
        }
        for folder in StreamFolders::below(root) {
            if !goes_on() {
                return Err(Fault::Io("the program is stopping".to_owned()));
            }
            let (word, meeting) = match target {
                Target::Meeting(id) => {
                    if is_of_meeting(&folder, id) {
                        found.meetings.insert(id.clone());
                        found.folders.push(folder);
                    }
                    continue;
                }
                Target::Account(id) => {
                    let meta = Meta::read(&folder)?;
                    if meta.account.as_ref() == Some(id) {
                        found.meetings.extend(meta.meeting);
                        found.folders.push(folder);
                    }
                    continue;
                }
                Target::User { word, meeting } => (word, meeting),
            };
            if meeting
                .as_ref()
                .is_some_and(|id| !is_of_meeting(&folder, id))
            {
                continue;
            }
            let people = people(&folder, client)?;
            let Some(person) = people.find(word) else {
                continue;
            };
            is_by_name |= person.is_name(word) || meeting.is_some();
            let meta = Meta::read(&folder)?;
            found.candidates.push(Candidate {
                key: key_of(&folder).to_string(),
                meeting: meta.meeting.unwrap_or_default(),
                ids: person.ids.iter().map(ToString::to_string).collect(),
                names: person.names.iter().cloned().collect(),
            });
            found.person.merge(&person);
            found.folders.push(folder);
        }
    }
    // A participant's id counts within its session: the first one of most meetings has the same.
    let names: BTreeSet<BTreeSet<String>> = found.candidates.iter().map(names_of).collect();
    if !is_by_name
        && found.candidates.len() > 1
        && (names.len() > 1 || names.contains(&BTreeSet::new()))
    {
        return Err(Fault::Ambiguous(found.candidates));
    }
    Ok(found)
}

fn names_of(candidate: &Candidate) -> BTreeSet<String> {
    candidate.names.iter().map(|name| name_key(name)).collect()
}

/// The key of a stream's folder, in the current output folder or a former one.
pub fn key_of(folder: &Path) -> JournalKey {
    let parts: Vec<_> = folder.components().rev().take(3).collect();
    JournalKey::of_folder(&parts.into_iter().rev().collect::<PathBuf>())
}

/// By the name of the folder above, which follows from the id.
fn is_of_meeting(folder: &Path, id: &str) -> bool {
    let above = folder.parent().and_then(Path::file_name);
    above.is_some_and(|name| name == safe_name(id).as_str())
}

/// All who occur in a stream; where the files are in the bucket alone, they are read there.
///
/// # Errors
/// A file or an object cannot be read.
pub fn people(folder: &Path, client: Option<&Client>) -> io::Result<People> {
    let local = Folder(folder.to_owned());
    let mut people = blank::people(&local)?;
    let names = local.names()?;
    let has_text = names
        .iter()
        .any(|name| name == JSONL_NAME || name == FEED_NAME);
    let uploaded = MetaFile::read(folder)?.and_then(|meta| meta.uploaded());
    if let (false, Some(uploaded), Some(client)) = (has_text, uploaded, client) {
        let objects = Objects::open(client, &uploaded.bucket, &uploaded.prefix);
        if let Some(objects) = objects.map_err(super::bucket::failed)? {
            people.extend(blank::people(&objects)?);
        }
    }
    Ok(people)
}

/// What `meta.json` says, whether it is whole or not.
#[derive(Debug, Default)]
struct Meta {
    meeting: Option<String>,
    account: Option<String>,
}

impl Meta {
    fn read(folder: &Path) -> io::Result<Meta> {
        let bytes = Folder(folder.to_owned())
            .read("meta.json")?
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let node = Node::parse(&text).unwrap_or(Node::List(Vec::new()));
        let text = |key: &str| node.get(key).and_then(Node::scalar).map(str::to_owned);
        let ids = ["meeting_uuid", "session_id", "engagement_id", "call_id"];
        Ok(Meta {
            meeting: ids.into_iter().find_map(text),
            account: text("account_id"),
        })
    }
}
