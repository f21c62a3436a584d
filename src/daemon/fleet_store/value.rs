//! A reply of the store.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

/// What RESP2 can say. Pure code needs no crate for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// A number.
    Int(i64),
    /// A string; a status line, too.
    Bytes(Vec<u8>),
    /// Several.
    Array(Vec<Value>),
    /// An error, such as `OOM command not allowed …`.
    Error(String),
}

impl Value {
    /// A string.
    pub fn text(text: impl Into<Vec<u8>>) -> Value {
        Value::Bytes(text.into())
    }

    /// The bytes of a string.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A string of UTF-8.
    pub fn str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A number.
    pub fn int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The parts of an array.
    pub fn array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The words of a flat array of pairs, such as HGETALL's.
    pub fn pairs(&self) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
        let words = self.array()?;
        let pairs = words.chunks_exact(2);
        Some(pairs.filter_map(|pair| Some((pair[0].bytes()?, pair[1].bytes()?))))
    }
}
