//! Requests, and how far they are: `forgetting.json` in the state directory.
//!
//! It tells who is to be forgotten, in plain words: that is needed to find them. A request leaves it
//! once everything is done; then only the receipt is left.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::blank::Plan;
use super::person::Person;
use super::receipt::Receipt;
use crate::domain::time::Utc;
use crate::state::{Error, StateDir};

/// Its name in the state directory.
pub const NAME: &str = "forgetting.json";

/// Requests that may wait.
pub const RECORDS_MAX: usize = 1000;

/// Longest id or name that is asked for.
pub const ASKED_BYTES_MAX: usize = 512;

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A meeting, by its UUID; a session, an engagement or a call by its id.
    Meeting(String),
    /// All streams of an account.
    Account(String),
    /// A person, in all streams or in those of one meeting.
    User {
        /// An id or a name.
        word: String,
        /// The meeting's UUID.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        meeting: Option<String>,
    },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What is to be forgotten.
    pub target: Target,
    /// Files with sound or pictures of several people go as well.
    #[serde(default)]
    pub with_mixed: bool,
}

impl Request {
    /// What is wrong with it.
    ///
    /// # Errors
    /// A text for the person who asks.
    pub fn check(&self) -> Result<(), String> {
        let (word, meeting) = match &self.target {
            Target::Meeting(id) | Target::Account(id) => (id, None),
            Target::User { word, meeting } => (word, meeting.as_ref()),
        };
        let words = [Some(word), meeting].into_iter().flatten();
        match words.into_iter().find(|word| {
            word.trim().is_empty() || word.len() > ASKED_BYTES_MAX || word.contains('\0')
        }) {
            Some(word) => Err(format!(
                "found {} bytes, expected an id or a name of 1 to {ASKED_BYTES_MAX} bytes",
                word.len()
            )),
            None => Ok(()),
        }
    }
}

/// What is about to be done in one folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Current {
    /// The stream's folder.
    pub folder: PathBuf,
    /// Who it is there: once their lines are blanked, the folder does not say it any more.
    pub person: Person,
    /// What is done with the files.
    pub plan: Plan,
    /// Files of a stream that goes as a whole.
    pub files: u64,
    /// Its files in the bucket.
    pub objects: u64,
    /// Objects of the person that were deleted, and those that were replaced.
    pub objects_deleted: u64,
    /// See `objects_deleted`.
    pub objects_replaced: u64,
}

/// A request and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What was asked for.
    pub request: Request,
    /// What was done so far.
    pub receipt: Receipt,
    /// The folders are found.
    #[serde(default)]
    pub is_searched: bool,
    /// Folders that are still to be done.
    #[serde(default)]
    pub folders: Vec<PathBuf>,
    /// Folders in which something was begun and not everything is done.
    #[serde(default)]
    pub begun: Vec<Current>,
    /// Streams whose objects are being deleted: key and number of files.
    #[serde(default)]
    pub objects: Vec<(String, u64)>,
    /// Meetings that the state still knows.
    #[serde(default)]
    pub meetings: Vec<String>,
    /// Ids and names of the person in all streams, for the state.
    #[serde(default)]
    pub person: Person,
}

impl Record {
    /// A new one.
    pub fn new(id: &str, request: Request, now_ms: u64) -> Record {
        let receipt = Receipt::new(id, &request, now_ms);
        Record {
            request,
            receipt,
            is_searched: false,
            folders: Vec::new(),
            begun: Vec::new(),
            objects: Vec::new(),
            meetings: Vec::new(),
            person: Person::default(),
        }
    }
}

impl Record {
    /// What was begun in a folder.
    pub fn begun(&self, folder: &Path) -> Option<&Current> {
        self.begun.iter().find(|own| own.folder == folder)
    }

    /// Notes what is begun in a folder.
    pub fn begin(&mut self, current: Current) {
        self.begun.retain(|own| own.folder != current.folder);
        self.begun.push(current);
    }
}

/// An id for a receipt: the time, and random digits.
pub fn new_id(now_ms: u64) -> String {
    let mut random = [0; 4];
    // Without random numbers the time alone is as good as unique.
    let _ = openssl::rand::rand_bytes(&mut random);
    let time = Utc::from_unix_ms(now_ms).to_string();
    let digits: String = time.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{digits}-{}", hex::encode(random))
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    v: u32,
    records: Vec<Record>,
}

/// The requests that are not done.
///
/// # Errors
/// The file cannot be read, or not understood: to go on without it would forget a wish.
pub fn load(state: &StateDir) -> Result<Vec<Record>, String> {
    let bytes = state.read(NAME).map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else {
        return Ok(Vec::new());
    };
    let file: File = serde_json::from_slice(&bytes)
        .map_err(|error| format!("{NAME} in RTMS_STATE cannot be understood: {error}"))?;
    Ok(file.records)
}

/// Stores them; without any, the file goes.
///
/// # Errors
/// What is stored is as before.
pub fn save(state: &StateDir, records: &[Record]) -> Result<(), Error> {
    if records.is_empty() {
        return state.remove(NAME);
    }
    let file = File {
        v: 1,
        records: records.to_vec(),
    };
    // Texts and numbers can always be written as JSON.
    state.write_atomic(NAME, &serde_json::to_vec(&file).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn requests_are_there_for_the_next_process_and_go_when_done() {
        let folder = scratch("forgetting-record");
        let state = StateDir::open(folder.join("state")).expect("a directory");
        assert_eq!(load(&state), Ok(Vec::new()));
        let request = |json: &str| serde_json::from_str::<Request>(json).expect("a request");
        let request = request(r#"{"target":{"user":{"word":"Ada"}}}"#);
        let mut record = Record::new(&new_id(5), request, 5);
        record.begin(Current {
            folder: "/out/d/m/s".into(),
            ..Current::default()
        });
        save(&state, std::slice::from_ref(&record)).expect("stored");
        assert_eq!(load(&state), Ok(vec![record]));
        save(&state, &[]).expect("removed");
        assert!(!folder.join("state").join(NAME).exists());
        state.write_atomic(NAME, b"{").expect("written");
        assert!(load(&state).is_err());
    }

    #[test]
    fn what_is_asked_for_has_a_length() {
        let check = |word: &str| {
            let target = Target::Meeting(word.to_owned());
            Request {
                target,
                with_mixed: false,
            }
            .check()
        };
        assert!(check("a/B+c==").is_ok());
        for word in ["", " ", "a\0", &"x".repeat(513)] {
            assert!(check(word).is_err(), "{word:?}");
        }
    }
}
