//! The files of a stream, whether in a folder or in a bucket: who is in them, and what becomes of each
//! when a person is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::json::Node;
use super::lines::{blank_line, blank_meta};
use super::person::{People, Person};
use super::texts::{self, Format, Words, blank_text};
use crate::domain::id::Id;
use crate::domain::phrase::Phrase;
use crate::feed::{FEED_NAME, Line};
use crate::recorder::media_files::stem;
use crate::recorder::meta::FILE_NAME as META_NAME;
use crate::recorder::path::safe_name;
use crate::recorder::seam::{phrase_of, phrase_of_journal};
use crate::recorder::transcript::JSONL_NAME;

/// A larger file of text is not read into memory.
pub const TEXT_BYTES_MAX: u64 = 512 << 20;

/// Files of one stream, by their names below its folder.
pub trait Files {
    /// The names.
    ///
    /// # Errors
    /// They cannot be listed.
    fn names(&self) -> io::Result<Vec<String>>;

    /// The content; `None` if there is no such file.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `meta.json`.
    Meta,
    /// `feed.jsonl`.
    Journal,
    /// Lines of JSON.
    Lines,
    /// A transcript with names only.
    Text(Format),
    /// Sound of one speaker, unless no row of `meta.json` says whose.
    Sound,
    /// A single picture.
    Picture,
    /// Sound or pictures of several people.
    Mixed,
    /// Hidden: what a crash left.
    Leftover,
    /// Not written by this program.
    Foreign,
}

/// What a file of that name is.
pub fn role(name: &str) -> Role {
    let is_picture = name.ends_with(".jpg") || name.ends_with(".png");
    let last = name.rsplit('/').next().unwrap_or(name);
    match name {
        _ if last.starts_with('.') => Role::Leftover,
        META_NAME => Role::Meta,
        FEED_NAME => Role::Journal,
        JSONL_NAME | "events.jsonl" | "chat.jsonl" => Role::Lines,
        "video/frames.jsonl" | "share/frames.jsonl" => Role::Lines,
        "transcript.vtt" => Role::Text(Format::Vtt),
        "transcript.srt" => Role::Text(Format::Srt),
        "transcript.txt" => Role::Text(Format::Txt),
        _ if name.starts_with("audio-mixed") => Role::Mixed,
        _ if name.starts_with("audio-") && !name.contains('/') => Role::Sound,
        _ if is_picture && (name.starts_with("video/") || name.starts_with("share/")) => {
            Role::Picture
        }
        _ if (name.starts_with("video.") || name.starts_with("share."))
            && name.ends_with(".h264") =>
        {
            Role::Mixed
        }
        _ => Role::Foreign,
    }
}

/// All who occur in the files.
///
/// # Errors
/// A file cannot be read.
pub fn people(files: &dyn Files) -> io::Result<People> {
    let names = files.names()?;
    let mut people = People::default();
    let has_records = names
        .iter()
        .any(|name| name == JSONL_NAME || name == FEED_NAME);
    for name in &names {
        let role = role(name);
        match role {
            Role::Meta | Role::Journal | Role::Lines => {}
            Role::Text(_) if !has_records => {}
            _ => continue,
        }
        let text = read_text(files, name)?;
        match role {
            Role::Meta => people.add(&Node::parse(&text).unwrap_or(Node::List(Vec::new()))),
            Role::Text(format) => texts::add_people(format, &text, &mut people),
            _ => {
                for line in text.lines() {
                    let data = data_of(role, line).unwrap_or(line);
                    if let Some(node) = Node::parse(data) {
                        people.add(&node);
                    }
                }
            }
        }
    }
    Ok(people)
}

/// What is to be done with the files of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Files that are written again, and how many records they lose.
    pub blanked: BTreeMap<String, u64>,
    /// Files that go.
    pub deleted: BTreeSet<String>,
    /// What a crash left: it goes, and does not count.
    #[serde(skip)]
    pub leftovers: BTreeSet<String>,
    /// Files that stay although the person may be in them, by reason.
    pub remains: BTreeMap<String, u64>,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.blanked.is_empty() && self.deleted.is_empty() && self.leftovers.is_empty()
    }
}

/// Why a file stays.
pub const MIXED: &str = "sound or pictures of several people in one file; --with-mixed deletes it";
/// Why a file stays.
pub const FOREIGN: &str = "not written by rtmsd";

/// Finds the person's own files, which goes into `person`, and what is to be done with each file.
///
/// # Errors
/// A file cannot be read.
pub fn plan(files: &dyn Files, person: &mut Person, with_mixed: bool) -> io::Result<Plan> {
    let names = files.names()?;
    find_files(files, &names, person)?;
    let words = words(files, &names, person)?;
    let mut plan = Plan::default();
    for name in names {
        let stays =
            |plan: &mut Plan, why: &str| *plan.remains.entry(why.to_owned()).or_default() += 1;
        match role(&name) {
            _ if person.files.contains(&name) => drop(plan.deleted.insert(name)),
            Role::Leftover => drop(plan.leftovers.insert(name)),
            Role::Mixed if with_mixed => drop(plan.deleted.insert(name)),
            Role::Mixed => stays(&mut plan, MIXED),
            Role::Foreign => stays(&mut plan, FOREIGN),
            Role::Sound | Role::Picture => {}
            _ => {
                if let Some(bytes) = files.read(&name)?
                    && let Some((_, count)) = blank(&name, &bytes, person, &words)
                {
                    plan.blanked.insert(name, count);
                }
            }
        }
    }
    // Places in pictures that go as well mean nothing.
    for kind in ["video", "share"] {
        let is_own =
            |name: &String| name.starts_with(&format!("{kind}.")) && name.ends_with(".h264");
        let index = format!("{kind}/frames.jsonl");
        if plan.deleted.iter().any(is_own) && plan.blanked.remove(&index).is_some() {
            plan.deleted.insert(index);
        }
    }
    Ok(plan)
}

/// The files in the order in which they are blanked: those that only have names while the records
/// still say whose words they are, and `meta.json` last, which says that there is something to do.
pub fn order(name: &str) -> u8 {
    match role(name) {
        Role::Text(_) => 0,
        Role::Journal => 2,
        Role::Meta => 3,
        _ => 1,
    }
}

/// A file without the person, and how many of its records they were in; `None` if in none.
pub fn blank(name: &str, bytes: &[u8], person: &Person, words: &Words) -> Option<(Vec<u8>, u64)> {
    let role = role(name);
    if let Role::Text(format) = role {
        let text = String::from_utf8_lossy(bytes);
        let (text, count) = blank_text(format, &text, words)?;
        return Some((text.into_bytes(), count));
    }
    if role == Role::Meta {
        let text = blank_meta(std::str::from_utf8(bytes).ok()?, person)?;
        return Some((text.into_bytes(), 1));
    }
    let (mut out, mut count) = (Vec::with_capacity(bytes.len()), 0);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        match std::str::from_utf8(line)
            .ok()
            .and_then(|line| blank_record(role, line, person))
        {
            Some(line) => {
                count += 1;
                out.extend_from_slice(line.as_bytes());
            }
            None => out.extend_from_slice(line),
        }
    }
    (count > 0).then_some((out, count))
}

fn blank_record(role: Role, line: &str, person: &Person) -> Option<String> {
    let content = line.trim_end_matches('\n');
    let data = data_of(role, content).unwrap_or(content);
    let blanked = blank_line(data, person)?;
    let at = data.as_ptr() as usize - line.as_ptr() as usize;
    Some(format!(
        "{}{blanked}{}",
        &line[..at],
        &line[at + data.len()..]
    ))
}

/// The data of a line of a journal.
fn data_of(role: Role, line: &str) -> Option<&str> {
    if role != Role::Journal {
        return None;
    }
    let data = Line::parse(line.as_bytes())?.data();
    std::str::from_utf8(data)
        .ok()
        .filter(|data| !data.is_empty())
}

/// What is known of the words under the person's names.
///
/// # Errors
/// A file cannot be read.
pub fn words(files: &dyn Files, names: &[String], person: &Person) -> io::Result<Words> {
    let mut words = Words::of(person);
    if person.shared.is_empty() {
        return Ok(words);
    }
    type Parse = fn(&str) -> Option<Phrase<'_>>;
    let sources: [(&str, Parse); 2] = [(JSONL_NAME, phrase_of), (FEED_NAME, phrase_of_journal)];
    for (name, parse) in sources {
        if names.iter().any(|own| own == name) {
            let text = read_text(files, name)?;
            text.lines()
                .filter_map(parse)
                .for_each(|phrase| words.note(person, &phrase));
        }
    }
    Ok(words)
}

fn find_files(files: &dyn Files, names: &[String], person: &mut Person) -> io::Result<()> {
    let meta = read_text(files, META_NAME)?;
    let meta = Node::parse(&meta);
    let rows = match meta.as_ref().and_then(|meta| meta.get("audio")) {
        Some(Node::List(rows)) => rows.as_slice(),
        _ => &[],
    };
    let own = rows.iter().filter(|row| person.is_in(row));
    let own = own.filter_map(|row| row.get("file")?.scalar());
    let mut found: Vec<String> = own.map(str::to_owned).collect();
    for name in names {
        let is_own = match role(name) {
            // One that `meta.json` does not list.
            Role::Sound => {
                let is_listed = rows.iter().any(|row| {
                    let file = row.get("file").and_then(Node::scalar);
                    file == Some(name.as_str())
                });
                !is_listed && stems(person).any(|stem| is_of_stem(name, &stem))
            }
            Role::Picture => person.ids.iter().any(|id| is_picture_of(name, id)),
            _ => false,
        };
        if is_own {
            found.push(name.clone());
        }
    }
    // What `meta.json` lists may be gone, or never have been ours.
    found.retain(|name| role(name) == Role::Sound || role(name) == Role::Picture);
    person.files.extend(found);
    Ok(())
}

/// What the names of the person's files of sound may begin with.
fn stems(person: &Person) -> impl Iterator<Item = String> {
    let names = person.names.iter().map(String::as_str).chain([""]);
    let channels = person.channels.iter().map(Some).chain([None]);
    let ids = person.ids.iter().chain([&Id::UNKNOWN]);
    let all = ids.flat_map(move |id| {
        let names = names.clone();
        channels
            .clone()
            .flat_map(move |channel| names.clone().map(move |name| stem(id, channel, name)))
    });
    all.filter(|stem| stem != "audio-mixed")
}

fn is_of_stem(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem)
        .is_some_and(|rest| rest.starts_with('.'))
}

fn is_picture_of(name: &str, id: &Id<'_>) -> bool {
    let user = match id {
        Id::Number(n) => n.to_string(),
        Id::Text(text) => safe_name(text),
    };
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    stem.strip_suffix(&user)
        .is_some_and(|rest| rest.ends_with('-'))
}

fn read_text(files: &dyn Files, name: &str) -> io::Result<String> {
    let bytes = files.read(name)?.unwrap_or_default();
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_its_role() {
        for (name, expected) in [
            ("meta.json", Role::Meta),
            ("feed.jsonl", Role::Journal),
            ("chat.jsonl", Role::Lines),
            ("share/frames.jsonl", Role::Lines),
            ("transcript.srt", Role::Text(Format::Srt)),
            ("audio-mixed.wav", Role::Mixed),
            ("audio-mixed.2.wav", Role::Mixed),
            ("audio-7-Ada.wav", Role::Sound),
            ("video/00000000-5-7.jpg", Role::Picture),
            ("video.h264", Role::Mixed),
            ("share.2.h264", Role::Mixed),
            (".meta.json.new", Role::Leftover),
            ("video/.unfinished", Role::Leftover),
            ("meeting.mp4", Role::Foreign),
            ("notes/x.jpg", Role::Foreign),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
    }

    #[test]
    fn files_are_found_by_the_whole_id() {
        let person = Person {
            ids: [Id::Number(7)].into(),
            names: ["Ada L".to_owned()].into(),
            ..Person::default()
        };
        let is_sound = |name: &str| stems(&person).any(|stem| is_of_stem(name, &stem));
        assert!(is_sound("audio-7.wav") && is_sound("audio-7-Ada_L.2.wav"));
        assert!(!is_sound("audio-7-2-Cy.wav") && !is_sound("audio-77.wav"));
        assert!(!is_sound("audio-mixed.wav") && !is_sound("audio-7-Ada_Lovelace.wav"));
        assert!(is_picture_of(
            "video/00000012-1767000001000-7.jpg",
            &Id::Number(7)
        ));
        assert!(!is_picture_of(
            "video/00000012-1767000001007-17.jpg",
            &Id::Number(7)
        ));
    }

    #[test]
    fn a_journal_keeps_its_length_and_its_envelopes() {
        let data = r#"{"v":1,"type":"transcript","user_id":7,"user_name":"Ada","start_ms":1,"language":"en","text":"hi there"}"#;
        let head = r#"{"pos":"1795529590941007","seq":42,"id":"bdd2d51ed67606f5-42","type":"transcript.phrase","timestamp":"x","data":"#;
        let other = "{\"pos\":\"1795529590941008\",\"seq\":43,\"id\":\"bdd2d51ed67606f5-43\",\"type\":\"feed.gap\",\"data\":{}}\n";
        let bytes = format!("{head}{data}}}\n{other}");
        let person = Person {
            ids: [Id::Number(7)].into(),
            ..Person::default()
        };
        let words = Words::of(&person);
        let (after, count) = blank(FEED_NAME, bytes.as_bytes(), &person, &words).expect("in it");
        assert_eq!((after.len(), count), (bytes.len(), 1));
        let after = String::from_utf8(after).expect("UTF-8");
        assert!(after.starts_with(head) && after.ends_with(other), "{after}");
        let line = Line::parse(after.lines().next().expect("one").as_bytes()).expect("a line");
        let found: serde_json::Value = serde_json::from_slice(line.data()).expect("JSON");
        assert_eq!(
            (&found["text"], &found["forgotten"]),
            (&"".into(), &true.into())
        );
    }
}
