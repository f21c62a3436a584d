//! RESP2, the server's half: bytes as the words of a command, and a reply as bytes.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::daemon::fleet_store::value::Value;

/// Longest word, in bytes, and most words of a command.
const WORD_MAX: usize = 4 << 20;
const WORDS_MAX: usize = 16 << 10;

/// The client does not speak RESP2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// The words of a command, and its length in bytes.
pub type Read = (Vec<Vec<u8>>, usize);

/// Reads one command from the beginning of what has arrived, and says how long it was; `None` if it is not
/// complete.
///
/// # Errors
/// It is no command.
pub fn read(bytes: &[u8]) -> Result<Option<Read>, Broken> {
    let mut rest = bytes;
    let Some(count) = header(b'*', WORDS_MAX, &mut rest)? else {
        return Ok(None);
    };
    let mut words = Vec::new();
    for _ in 0..count {
        let Some(length) = header(b'$', WORD_MAX, &mut rest)? else {
            return Ok(None);
        };
        let Some((word, after)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        let Some((end, after)) = after.split_at_checked(2) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(Broken);
        }
        words.push(word.to_vec());
        rest = after;
    }
    Ok(Some((words, bytes.len() - rest.len())))
}

fn header(kind: u8, max: usize, rest: &mut &[u8]) -> Result<Option<usize>, Broken> {
    // Twenty digits and what is around them.
    const LINE_MAX: usize = 24;
    let line = &rest[..rest.len().min(LINE_MAX)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return match line.len() == LINE_MAX || line.first().is_some_and(|first| *first != kind) {
            true => Err(Broken),
            false => Ok(None),
        };
    };
    let number = line[..end].strip_prefix(&[kind]);
    let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    *rest = &rest[end + 2..];
    number
        .filter(|number| *number <= max)
        .map(Some)
        .ok_or(Broken)
}

/// Appends a reply.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.extend(b"$-1\r\n"),
        Value::Int(n) => out.extend(format!(":{n}\r\n").into_bytes()),
        Value::Bytes(bytes) => {
            out.extend(format!("${}\r\n", bytes.len()).into_bytes());
            out.extend(bytes);
            out.extend(b"\r\n");
        }
        Value::Array(values) => {
            out.extend(format!("*{}\r\n", values.len()).into_bytes());
            values.iter().for_each(|value| write(value, out));
        }
        Value::Error(text) => {
            let text = text.replace(['\r', '\n'], " ");
            out.extend(format!("-{text}\r\n").into_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_when_they_are_complete() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n";
        let words = vec![b"SET".to_vec(), b"\r\n".to_vec(), Vec::new()];
        for end in 0..27 {
            assert_eq!(read(&bytes[..end]), Ok(None), "{end}");
        }
        assert_eq!(read(bytes), Ok(Some((words, 27))));
        assert_eq!(read(&bytes[27..]), Ok(Some((vec![b"PING".to_vec()], 14))));
        assert_eq!(read(b"*0\r\n"), Ok(Some((Vec::new(), 4))));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for bytes in [
            "GET / HTTP/1.1\r\n",
            "PING",
            "*-1\r\n",
            "*99999\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n$9999999\r\n",
            "*1\r\n$1\r\nabcd",
            "*1111111111111111111111111",
        ] {
            assert_eq!(read(bytes.as_bytes()), Err(Broken), "{bytes:?}");
        }
    }

    #[test]
    fn replies_are_written() {
        let value = Value::Array(vec![
            Value::Nil,
            Value::Int(-1),
            Value::text("a"),
            Value::Error("ERR two\r\nlines".to_owned()),
        ]);
        let mut bytes = Vec::new();
        write(&value, &mut bytes);
        assert_eq!(bytes, b"*4\r\n$-1\r\n:-1\r\n$1\r\na\r\n-ERR two  lines\r\n");
    }
}
