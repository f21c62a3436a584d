//! Golden files in `tests/data/golden`: outputs that users rely on, byte for byte.
//!
//! Parts that differ between runs or machines (the path of the binary, the version, timestamps,
//! ids) are replaced by placeholders before the comparison. For an intended change, write the files
//! again with `RTMSD_GOLDEN=write cargo test --test it golden`, and say in the commit what changed
//! for users.

mod exit;
mod pages;
mod restart;
mod stream;

use std::fs;
use std::path::{Path, PathBuf};

/// Lines shown before the first different line.
const LINES_BEFORE: usize = 3;

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/golden")
        .join(name)
}

/// Compares with the golden file of that name, or writes it on request.
fn assert_golden(name: &str, found: &str) {
    let path = golden_path(name);
    let expected = fs::read_to_string(&path);
    if expected.as_deref().is_ok_and(|expected| expected == found) {
        return;
    }
    if std::env::var_os("RTMSD_GOLDEN").is_some_and(|mode| mode == "write") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        return fs::write(&path, found).expect("the golden file can be written");
    }
    let what = match expected {
        Ok(expected) => difference(&expected, found),
        Err(error) => format!("cannot be read: {error}"),
    };
    panic!(
        "tests/data/golden/{name} {what}\n\
         If the change is meant, write the golden files again and look at the diff:\n  \
         RTMSD_GOLDEN=write cargo test --test it golden && git diff tests/data/golden\n"
    );
}

/// The first different line, with its number and the lines before it.
fn difference(expected: &str, found: &str) -> String {
    // Not `lines()`, which ignores whether the last line has a line break.
    let expected: Vec<&str> = expected.split('\n').collect();
    let found: Vec<&str> = found.split('\n').collect();
    let same = expected
        .iter()
        .zip(&found)
        .take_while(|(expected, found)| expected == found);
    let at = same.count();
    let line = |lines: &[&str]| match lines.get(at) {
        Some(line) => format!("{line:?}"),
        None => "the end of the text".to_owned(),
    };
    let before = at.saturating_sub(LINES_BEFORE)..at;
    let context: Vec<String> = before
        .map(|n| format!("  {:>5}   {}\n", n + 1, expected[n]))
        .collect();
    format!(
        "differs from line {} on ({} lines expected, {} found):\n{}  expected {}\n  found    {}\n",
        at + 1,
        expected.len(),
        found.len(),
        context.concat(),
        line(&expected),
        line(&found)
    )
}

/// Replaces the version of this crate where it stands as a whole word.
fn without_version(text: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    text.replace(&format!("rtmsd {version}"), "rtmsd VERSION")
        // Which features it was built with is not its text.
        .replace("(features demo fleet)", "(features demo)")
        .replace(&format!("\"{version}\""), "\"VERSION\"")
}

/// Replaces each number of thirteen digits, a Unix time in milliseconds, by the result of the
/// function.
fn map_stamps(text: &str, replace: impl Fn(u64) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(from) = rest.find(|c: char| c.is_ascii_digit()) {
        let length = rest[from..]
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len() - from);
        let (digits, after) = rest[from..].split_at(length);
        out.push_str(&rest[..from]);
        match digits.parse() {
            Ok(stamp) if length == 13 => out.push_str(&replace(stamp)),
            _ => out.push_str(digits),
        }
        rest = after;
    }
    out + rest
}

/// Splits one line of JSON into several, in its own order; only white space is changed.
fn indented(json: &str) -> String {
    let mut out = String::new();
    let (mut depth, mut is_text, mut is_escaped) = (0, false, false);
    let mut rest = json.trim().chars().peekable();
    let break_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(c) = rest.next() {
        if is_text {
            is_text = c != '"' || is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            out.push(c);
            continue;
        }
        match c {
            '{' | '[' if matches!(rest.peek(), Some('}' | ']')) => out.push(c),
            '{' | '[' => {
                depth += 1;
                out.push(c);
                break_line(&mut out, depth);
            }
            '}' | ']' => {
                if !out.ends_with(['{', '[']) {
                    depth -= 1;
                    break_line(&mut out, depth);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                is_text = c == '"';
                out.push(c);
            }
        }
    }
    out.push('\n');
    out
}

/// Replaces the values of these keys in JSON that has one key per line.
fn without_values(json: &str, keys: &[&str]) -> String {
    let mask = |line: &str| {
        let is_masked = |key: &&str| line.trim_start().starts_with(&format!("\"{key}\": "));
        match (keys.iter().any(is_masked), line.split_once(": ")) {
            (true, Some((key, value))) => {
                let end = if value.ends_with(',') { "," } else { "" };
                format!("{key}: _{end}")
            }
            _ => line.to_owned(),
        }
    };
    json.split('\n').map(mask).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_difference_names_the_line() {
    let text = difference("a\nb\nc\n", "a\nx\nc\n");
    assert!(text.starts_with("differs from line 2 on"), "{text}");
    assert!(text.contains("expected \"b\"\n  found    \"x\""), "{text}");
    let text = difference("a\n", "a");
    assert!(text.contains("found    the end of the text"), "{text}");
}

#[test]
fn masks_replace_only_the_intended_parts() {
    let text = map_stamps("1767000000000 17670000000001 x1767000000001,", |stamp| {
        format!("+{}", stamp - 1_767_000_000_000)
    });
    assert_eq!(text, "+0 17670000000001 x+1,");
    let json = indented(r#"{"a":1,"b":{"c":"{\"}","d":[]},"e":[2,3]}"#);
    assert_eq!(
        json,
        "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": \"{\\\"}\",\n    \"d\": []\n  },\n  \
         \"e\": [\n    2,\n    3\n  ]\n}\n"
    );
    let masked = without_values(&json, &["a", "d"]);
    assert!(
        masked.contains("\"a\": _,\n") && masked.contains("\"d\": _\n"),
        "{masked}"
    );
}
