//! Who is to be forgotten in one stream: ids and names.
//!
//! A participant's id belongs to one session, and may change when one joins again; names repeat and
//! change. So a person is looked for in each stream: those who have the id or the name that was
//! asked for, and then every name under which these ids are known there.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::json::Node;
use crate::domain::id::Id;
use crate::domain::text::one_line;

/// Members that have the id of a person: Zoom's, and ours.
pub const ID_KEYS: [&str; 5] = ["user_id", "userId", "email", "user_email", "phone_number"];
/// Members that have the name of a person.
pub const NAME_KEYS: [&str; 3] = ["user_name", "userName", "display_name"];
/// Members that have the id of a Zoom user: who brought the app in, and who hosts.
pub const OWNER_KEYS: [&str; 2] = ["operator_id", "host_id"];

/// A text that may be JSON in itself: the `data` of a chat message.
pub const NESTED_KEY: &str = "data";

/// The form in which names are compared: without controls, with single blanks, in lower case.
pub fn name_key(name: &str) -> String {
    one_line(name).trim().to_lowercase()
}

/// One who occurs in a stream, under one id and one name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// The id; `None` where there is none.
    pub id: Option<Id<'static>>,
    /// The channel of a call; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Id<'static>>,
    /// The name; empty where there is none.
    pub name: String,
}

/// All who occur in a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People(BTreeSet<Seen>);

impl People {
    /// Adds all who occur in a value.
    pub fn add(&mut self, node: &Node<'_>) {
        match node {
            Node::Object(members) => {
                let Who {
                    ids,
                    names,
                    channel,
                } = who(node);
                let ids: Vec<Option<Id<'static>>> = match ids.is_empty() {
                    true => vec![None],
                    false => ids.into_iter().map(Some).collect(),
                };
                let names = if names.is_empty() { vec![""] } else { names };
                for id in ids {
                    for name in &names {
                        self.note(id.clone(), channel.clone(), name);
                    }
                }
                for (key, value) in members {
                    match value {
                        Node::Text(text) if OWNER_KEYS.contains(&key.as_ref()) => {
                            self.note(Id::from_text(text.to_string()), None, "");
                        }
                        Node::Text(text) if key == NESTED_KEY && text.starts_with('{') => {
                            if let Some(nested) = Node::parse(text) {
                                self.add(&nested);
                            }
                        }
                        value => self.add(value),
                    }
                }
            }
            Node::List(elements) => elements.iter().for_each(|element| self.add(element)),
            Node::Text(_) | Node::Other(_) => {}
        }
    }

    /// Adds one. A channel alone is no person who can be asked for.
    pub fn note(&mut self, id: Option<Id<'static>>, channel: Option<Id<'static>>, name: &str) {
        let name = one_line(name).trim().to_owned();
        if id.is_some() || !name.is_empty() {
            self.0.insert(Seen { id, channel, name });
        }
    }

    /// Adds those of another place.
    pub fn extend(&mut self, others: People) {
        self.0.extend(others.0);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.0.iter()
    }

    /// The person that a word means: an id or a name. `None` if there is none in this stream.
    pub fn find(&self, word: &str) -> Option<Person> {
        let wanted = name_key(word);
        let own_id = Id::from_text(word.to_owned()).filter(|id| !id.is_unknown());
        let is_named = |seen: &&Seen| !wanted.is_empty() && name_key(&seen.name) == wanted;
        let is_id = |id: &Id<'static>| {
            own_id.as_ref() == Some(id) || matches!(id, Id::Text(text) if name_key(text) == wanted)
        };
        let is_wanted = |seen: &&Seen| is_named(seen) || seen.id.as_ref().is_some_and(&is_id);
        let mut person = Person::default();
        for seen in self.iter().filter(is_wanted) {
            person.ids.extend(seen.id.clone());
            person.channels.extend(seen.channel.clone());
            if is_named(&seen) {
                person.names.insert(seen.name.clone());
            }
        }
        let is_own = |seen: &&Seen| seen.id.as_ref().is_some_and(|id| person.ids.contains(id));
        let own: Vec<&Seen> = self.iter().filter(is_own).collect();
        for seen in own {
            person.channels.extend(seen.channel.clone());
            if !seen.name.is_empty() {
                person.names.insert(seen.name.clone());
            }
        }
        let others = self.iter().filter(|seen| {
            let id = seen.id.as_ref();
            id.is_some_and(|id| !person.ids.contains(id))
        });
        let shared = others.map(|seen| name_key(&seen.name));
        let own: BTreeSet<String> = person.names.iter().map(|name| name_key(name)).collect();
        person.shared = shared.filter(|name| own.contains(name)).collect();
        (!person.ids.is_empty() || !person.names.is_empty()).then_some(person)
    }
}

/// Of whom an object tells by its own members.
struct Who<'n> {
    /// None of them is the unknown one.
    ids: Vec<Id<'static>>,
    names: Vec<&'n str>,
    channel: Option<Id<'static>>,
}

fn who<'n>(node: &'n Node<'_>) -> Who<'n> {
    let members = |keys: &'static [&'static str]| {
        let found = keys.iter().filter_map(|key| node.get(key)?.scalar());
        found.filter(|text| !text.trim().is_empty() && *text != "null")
    };
    let ids = members(&ID_KEYS).filter_map(|text| Id::from_text(text.to_owned()));
    let channel = members(&["channel_id"]).next();
    Who {
        ids: ids.filter(|id| !id.is_unknown()).collect(),
        names: members(&NAME_KEYS).collect(),
        channel: channel.and_then(|text| Id::from_text(text.to_owned())),
    }
}

/// One who is to be forgotten in a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    /// Ids in this stream.
    pub ids: BTreeSet<Id<'static>>,
    /// Channels of a call that were theirs: sound and words may have nothing else.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub channels: BTreeSet<Id<'static>>,
    /// Names in this stream, as they are written.
    pub names: BTreeSet<String>,
    /// Those of the names, in the form of [`name_key`], that others have as well.
    pub shared: BTreeSet<String>,
    /// Files that go, relative to the stream's folder.
    pub files: BTreeSet<String>,
}

impl Person {
    /// Whether an object is about them: by its ids if it has any, else by its names,
    /// else by the channel.
    pub fn is_in(&self, node: &Node<'_>) -> bool {
        let Who {
            ids,
            names,
            channel,
        } = who(node);
        match (ids.is_empty(), names.is_empty()) {
            (false, _) => ids.iter().any(|id| self.ids.contains(id)),
            (true, false) => names.iter().any(|name| self.is_name(name)),
            (true, true) => channel.is_some_and(|channel| self.channels.contains(&channel)),
        }
    }

    /// Whether it is a name of theirs, which others may have as well.
    pub fn is_name(&self, name: &str) -> bool {
        let name = name_key(name);
        !name.is_empty() && self.names.iter().any(|own| name_key(own) == name)
    }

    /// Whether a text that stands alone tells of them: a name that is theirs alone, an id, or a file.
    pub fn is_told_by(&self, text: &str) -> bool {
        let is_id = Id::from_text(text.to_owned()).is_some_and(|id| self.ids.contains(&id));
        let is_own = self.is_name(text) && !self.shared.contains(&name_key(text));
        is_id || is_own || self.files.contains(text)
    }

    /// Whether a text, such as a topic, has one of their names in it, as whole words.
    pub fn is_named_in(&self, text: &str) -> bool {
        let text = name_key(text);
        self.names.iter().any(|name| {
            let name = name_key(name);
            let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
            let mut hits = text.match_indices(&name);
            !name.is_empty()
                && hits.any(|(at, _)| {
                    is_end(text[..at].chars().next_back())
                        && is_end(text[at + name.len()..].chars().next())
                })
        })
    }

    /// Adds what an earlier run has found: what is blanked already does not say it any more.
    pub fn merge(&mut self, earlier: &Person) {
        self.ids.extend(earlier.ids.iter().cloned());
        self.channels.extend(earlier.channels.iter().cloned());
        self.names.extend(earlier.names.iter().cloned());
        self.shared.extend(earlier.shared.iter().cloned());
        self.files.extend(earlier.files.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(lines: &[&str]) -> People {
        let mut people = People::default();
        for line in lines {
            people.add(&Node::parse(line).expect("JSON"));
        }
        people
    }

    #[test]
    fn a_name_means_all_ids_that_have_it_and_an_id_all_its_names() {
        let people = people(&[
            r#"{"user_id":1,"user_name":"Ada","text":"Bo"}"#,
            r#"{"event":{"participants":[{"user_id":1,"user_name":"Ada (phone)"},{"user_id":2,"user_name":" ADA "}]}}"#,
            r#"{"user_id":"3","user_name":"Bo"}"#,
            r#"{"content":{"data":"{\"sender\":{\"userId\":4,\"userName\":\"Cy\"}}"}}"#,
            r#"{"operator_id":"usr1","user_id":0,"user_name":""}"#,
        ]);
        let ids =
            |person: &Person| -> Vec<String> { person.ids.iter().map(Id::to_string).collect() };
        let ada = people.find("ada").expect("known");
        assert_eq!(ids(&ada), ["1", "2"]);
        assert_eq!(
            ada.names.iter().collect::<Vec<_>>(),
            ["ADA", "Ada", "Ada (phone)"]
        );
        assert!(ada.shared.is_empty());
        let one = people.find("1").expect("known");
        assert_eq!(ids(&one), ["1"]);
        assert_eq!(one.shared.iter().collect::<Vec<_>>(), ["ada"]);
        assert!(one.is_name("ada") && !one.is_told_by("Ada") && one.is_told_by("Ada (phone)"));
        assert_eq!(
            people.find("Cy").map(|it| ids(&it)),
            Some(vec!["4".to_owned()])
        );
        assert_eq!(
            people.find("usr1").map(|it| ids(&it)),
            Some(vec!["usr1".to_owned()])
        );
        for unknown in ["", " ", "0", "5", "A", "text"] {
            assert_eq!(people.find(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn an_id_decides_before_a_name() {
        let one = people(&[
            r#"{"user_id":1,"user_name":"Ada"}"#,
            r#"{"user_id":2,"user_name":"Ada"}"#,
        ]);
        let one = one.find("1").expect("known");
        let is_in = |text: &str| one.is_in(&Node::parse(text).expect("JSON"));
        assert!(is_in(r#"{"user_id":"1","user_name":"Other"}"#));
        assert!(!is_in(r#"{"user_id":2,"user_name":"Ada"}"#));
        assert!(is_in(r#"{"user_id":0,"user_name":"Ada"}"#));
        assert!(!is_in(r#"{"text":"Ada"}"#));
    }

    #[test]
    fn a_topic_tells_of_a_person_by_whole_words() {
        let person = Person {
            names: ["Ada Lovelace".to_owned(), "Al".to_owned()].into(),
            ..Person::default()
        };
        for (topic, expected) in [
            ("ada lovelace's Zoom Meeting", true),
            ("Talk with Al", true),
            ("Alphabet", false),
            ("Weekly", false),
            ("", false),
        ] {
            assert_eq!(person.is_named_in(topic), expected, "{topic}");
        }
    }
}
