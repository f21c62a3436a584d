//! Checks of the public interface: its names, its errors, and what may grow.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{code, root, sources};

/// The names that `lib.rs` and `protocol` re-export for everyone: `module::Name`, sorted.
fn public_names() -> Vec<String> {
    let mut names = Vec::new();
    for (file, module) in [("lib.rs", ""), ("protocol/mod.rs", "protocol::")] {
        let text = fs::read_to_string(root().join(file)).expect("a source");
        let (mut inner, mut is_hidden) = ("", false);
        let code = code(&text);
        let mut rest = code.as_str();
        // Statement by statement: a `pub use`, or the start or end of a module with a body.
        while let Some(at) = rest.find([';', '{', '}']) {
            let (statement, after) = rest.split_at(at);
            let end = &after[..1];
            let statement = statement.trim();
            is_hidden |= statement.contains("#[doc(hidden)]") || statement.contains("#[cfg(");
            if let Some((_, path)) = statement.split_once("pub use ") {
                let (path, group, used) = match end {
                    "{" => {
                        let close = after.find('}').expect("a group ends");
                        (path, &after[1..close], close + 1)
                    }
                    _ => path
                        .rsplit_once("::")
                        .map_or(("", path, 0), |(p, n)| (p, n, 0)),
                };
                assert!(!path.is_empty());
                if !is_hidden {
                    for name in group
                        .split(',')
                        .map(str::trim)
                        .filter(|name| !name.is_empty())
                    {
                        let name = name.rsplit(" as ").next().unwrap_or(name);
                        names.push(format!("{module}{inner}{name}"));
                    }
                }
                rest = &after[used.max(1)..];
                rest = rest.strip_prefix(';').unwrap_or(rest);
                is_hidden = false;
                continue;
            }
            if end == "{" && statement.ends_with("mod webhook") {
                inner = "webhook::";
            } else if end == "}" {
                inner = "";
            }
            if end == ";" {
                is_hidden = false;
            }
            rest = &after[1..];
        }
    }
    names.sort();
    names
}

/// The public interface is the list in this file, so that every change is intended.
#[test]
fn the_public_names_are_those_of_the_list() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/public_names.txt");
    let found = public_names();
    assert!(found.len() > 60, "{found:?}");
    if std::env::var_os("RTMSD_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, found.join("\n") + "\n").expect("the list");
    }
    let expected = fs::read_to_string(&path).expect("the list");
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(
        found, expected,
        "is it meant? RTMSD_GOLDEN=write cargo test tidy::"
    );
}

/// The last words of the public names.
fn public_words() -> BTreeSet<String> {
    let last = |name: String| name.rsplit("::").next().unwrap_or_default().to_owned();
    public_names().into_iter().map(last).collect()
}

/// The files of [`sources`] with their comments, the demo and the command line left out.
fn library() -> Vec<(String, String)> {
    let names = sources().into_iter().map(|(name, _)| name);
    let names = names.filter(|name| !name.starts_with("demo/") && !name.starts_with("cli/"));
    let read = |name: String| {
        let text = fs::read_to_string(root().join(&name)).expect("a source");
        (name, text)
    };
    names.map(read).collect()
}

/// The doc comment and attributes above a line.
fn above<'a>(lines: &[&'a str], at: usize) -> Vec<&'a str> {
    let is_above = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("#[")
    };
    let lines = lines[..at].iter().rev();
    lines.take_while(is_above).copied().collect()
}

/// Clippy's lint of the same name does not look into hidden modules, from which most public types
/// are re-exported.
#[test]
fn each_fallible_public_function_says_when_it_fails() {
    let (words, mut checked) = (public_words(), 0);
    for (file, text) in library() {
        let lines: Vec<&str> = text.lines().collect();
        let mut owner = "";
        for (at, line) in lines.iter().enumerate() {
            if let Some(rest) = line.strip_prefix("impl") {
                let rest = match rest.strip_prefix('<') {
                    Some(generic) => generic.split_once("> ").map_or("", |(_, rest)| rest),
                    None => rest.trim_start(),
                };
                let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(0);
                owner = if rest.contains(" for ") {
                    ""
                } else {
                    &rest[..end]
                };
            } else if *line == "}" {
                owner = "";
            }
            let Some((indent, rest)) = line.split_once("pub fn ") else {
                continue;
            };
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            let is_public = match indent.len() {
                0 => words.contains(name),
                _ => words.contains(owner),
            };
            let signature = lines[at..].join(" ");
            let signature = signature.split(" {").next().unwrap_or_default();
            let returned = signature
                .rsplit_once("-> ")
                .map_or("", |(_, returned)| returned);
            if is_public && returned.contains("Result<") {
                checked += 1;
                let docs = above(&lines, at);
                let has_errors = docs.iter().any(|line| line.contains("# Errors"));
                assert!(has_errors, "{file}: {owner}::{name} has no `# Errors`");
            }
        }
    }
    assert!(checked > 15, "only {checked} functions were found");
}

/// Enums that we alone extend, so that a new variant is a change of the major version.
const CLOSED: [&str; 4] = ["OnExit", "OnRevoked", "StdoutFormat", "WebhookAnswer"];

#[test]
fn enums_that_zoom_may_extend_can_grow() {
    let (words, mut checked) = (public_words(), 0);
    for (file, text) in library() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let name = line.strip_prefix("pub enum ").unwrap_or_default();
            let name = name.split([' ', '<']).next().unwrap_or_default();
            if words.contains(name) && !CLOSED.contains(&name) {
                checked += 1;
                let can_grow = above(&lines, at).contains(&"#[non_exhaustive]");
                assert!(can_grow, "{file}: {name} is not `#[non_exhaustive]`");
            }
        }
    }
    assert!(checked > 15, "only {checked} enums were found");
}

/// `impl Error for X {}` is for an `X` that holds no other error.
#[test]
fn an_error_that_holds_another_has_a_source() {
    let mut checked = 0;
    for (file, text) in sources() {
        for line in text.lines() {
            let Some((_, rest)) = line.split_once("Error for ") else {
                continue;
            };
            let Some(name) = rest.strip_suffix(" {}") else {
                continue;
            };
            checked += 1;
            let starts = ["pub enum ", "pub struct ", "struct ", "enum "];
            let start = starts
                .iter()
                .find_map(|start| text.find(&format!("{start}{name}")));
            let definition = &text[start.unwrap_or_else(|| panic!("{file}: where is {name}?"))..];
            let first = definition.lines().next().unwrap_or_default();
            let definition = match first.ends_with(';') {
                true => first,
                false => definition.split("\n}").next().unwrap_or_default(),
            };
            for held in ["Error)", "Error,", "Error>", "ErrorStack", "dyn Error"] {
                assert!(!definition.contains(held), "{file}: {name} hides its cause");
            }
        }
    }
    assert!(checked > 5, "only {checked} errors were found");
}
