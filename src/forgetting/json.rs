//! JSON as a tree that keeps the order of members and the form of numbers: what is not removed from a
//! line stays as it was.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What is nested deeper is none of ours, and is left out: to keep what was not looked at would keep
/// what is to be forgotten.
const DEPTH_MAX: usize = 32;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node<'a> {
    /// Members, in their order.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
    /// Elements.
    List(Vec<Node<'a>>),
    /// A text.
    Text(Cow<'a, str>),
    /// A number, `true`, `false` or `null`, as it is written.
    Other(Cow<'a, str>),
}

impl<'a> Node<'a> {
    /// Reads a value; `None` if it is no JSON.
    pub fn parse(text: &'a str) -> Option<Node<'a>> {
        Node::parse_at(text.trim(), 0)
    }

    fn parse_at(text: &'a str, depth: usize) -> Option<Node<'a>> {
        if depth > DEPTH_MAX {
            return Some(Node::Other("null".into()));
        }
        let inner = |raw: &'a RawValue| Node::parse_at(raw.get(), depth + 1);
        match text.as_bytes().first()? {
            b'{' => {
                let members: Members<'a> = serde_json::from_str(text).ok()?;
                let read = |(key, raw): (Cow<'a, str>, &'a RawValue)| Some((key, inner(raw)?));
                let members = members.0.into_iter().map(read);
                members.collect::<Option<_>>().map(Node::Object)
            }
            b'[' => {
                let elements: Vec<&'a RawValue> = serde_json::from_str(text).ok()?;
                let elements = elements.into_iter().map(inner);
                elements.collect::<Option<_>>().map(Node::List)
            }
            b'"' => {
                let text: Cowed<'a> = serde_json::from_str(text).ok()?;
                Some(Node::Text(text.0))
            }
            _ => {
                let raw: &'a RawValue = serde_json::from_str(text).ok()?;
                Some(Node::Other(raw.get().into()))
            }
        }
    }

    /// The text or the number; `None` for another value.
    pub fn scalar(&self) -> Option<&str> {
        match self {
            Node::Text(text) | Node::Other(text) => Some(text),
            Node::Object(_) | Node::List(_) => None,
        }
    }

    /// The member of that name.
    pub fn get(&self, key: &str) -> Option<&Node<'a>> {
        let Node::Object(members) = self else {
            return None;
        };
        members.iter().find(|(own, _)| own == key).map(|(_, it)| it)
    }

    /// Appends it, without a blank.
    pub fn write(&self, out: &mut String) {
        match self {
            Node::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    quote(out, key);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
            Node::List(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    element.write(out);
                }
                out.push(']');
            }
            Node::Text(text) => quote(out, text),
            Node::Other(text) => out.push_str(text),
        }
    }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

fn quote(out: &mut String, text: &str) {
    // A text can always be written as JSON.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}

/// A text that is borrowed where it has no escapes.
struct Cowed<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Cowed<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Cowed<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cowed<'de>, E> {
                Ok(Cowed(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Cowed<'de>, E> {
                Ok(Cowed(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// The members of an object, in their order. Of two with one name both are kept.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<Cowed<'de>, &'de RawValue>()? {
                    members.push((key.0, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_in_the_same_order_and_form() {
        for text in [
            r#"{"z":1,"a":[1.50,-0,1e400,18446744073709551616,true,null],"b":{},"c":[]}"#,
            r#"{"a":1,"a":"é\"\\\n"}"#,
            r#""x""#,
            "7",
        ] {
            let node = Node::parse(text).expect("JSON");
            assert_eq!(node.to_string(), text);
        }
        let spaced = Node::parse(" { \"a\" : [ 1 , \"\\u0041\" ] } ").expect("JSON");
        assert_eq!(spaced.to_string(), r#"{"a":[1,"A"]}"#);
        assert_eq!(spaced.get("a").and_then(Node::scalar), None);
        for text in ["", "{", "[1,]", "{\"a\"}", "nul", "{} {}"] {
            assert_eq!(Node::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_left_out() {
        let text = format!("{}\"Ada\"{}", "[".repeat(100), "]".repeat(100));
        let node = Node::parse(&text).expect("JSON");
        assert!(!node.to_string().contains("Ada"));
    }
}
