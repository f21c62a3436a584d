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

    /// An error. That of a command in a script is shown as the command's own: Redis before 7.0 puts it behind one
    /// about the script, later ones add the script's name and line.
    pub fn error(text: &str) -> Value {
        let of_command = match text.starts_with("ERR Error running script") {
            true => text.split_once(": -").map(|(_, error)| error),
            false => text.split_once(" script: ").map(|(error, _)| error),
        };
        Value::Error(of_command.unwrap_or(text).to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_script_is_that_of_its_command() {
        let before =
            "ERR Error running script (call to f_cc44): @user_script:25: @user_script: 25: ";
        for (text, expected) in [
            (
                format!("{before}-OOM command not allowed when used memory > 'maxmemory'."),
                "OOM command not allowed when used memory > 'maxmemory'.",
            ),
            (
                format!("{before}-READONLY You can't write against a read only replica."),
                "READONLY You can't write against a read only replica.",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 5611b6, on @user_script:15."
                    .to_owned(),
                "OOM command not allowed when used memory > 'maxmemory'.",
            ),
            (
                "READONLY You can't write: -1".to_owned(),
                "READONLY You can't write: -1",
            ),
            (
                "ERR Error running script (call to f_cc44): attempt to index nil".to_owned(),
                "ERR Error running script (call to f_cc44): attempt to index nil",
            ),
        ] {
            assert_eq!(Value::error(&text), Value::Error(expected.to_owned()));
        }
    }
}
