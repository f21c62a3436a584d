//! The borders between the folders of `src`, checked in the sources.
//!
//! [`BORDERS`] lists for each folder the other folders and crates that it may use. Items under
//! `#[cfg(test)]` and files of tests are not checked. The compiler checks a second border, see
//! `.ci/clippy.toml`: it resolves paths, so that an alias is found, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

mod public_face;
mod words;

/// A folder or file of `src`; the folders of ours that it may use; the external crates. `domain` is
/// open to all, and so are `std` and what [`IMPURE`] folders may always use.
const BORDERS: &[(&str, &[&str], &[&str])] = &[
    (
        "domain",
        &[],
        &["serde", "serde_json", "memchr", "httpdate", "hmac", "sha2"],
    ),
    (
        "protocol",
        &["domain"],
        &["serde", "serde_json", "base64", "hex", "memchr"],
    ),
    (
        "coordinator",
        &["domain", "protocol"],
        &["serde", "serde_json"],
    ),
    (
        "net",
        &["domain", "protocol"],
        &[
            "ureq",
            "openssl",
            "openssl_probe",
            "rustix",
            "tungstenite",
            "log",
            "httparse",
            "base64",
        ],
    ),
    (
        "zoom_api",
        &["domain", "net"],
        &[
            "hex",
            "ureq",
            "serde",
            "serde_json",
            "httpdate",
            "native_tls",
            "sha2",
            "base64",
            "log",
        ],
    ),
    (
        "gate",
        &["domain", "net"],
        &[
            "httpdate",
            "tiny_http",
            "httparse",
            "openssl",
            "rustix",
            "log",
        ],
    ),
    (
        "source",
        &["domain", "protocol", "gate", "net"],
        &[
            "serde",
            "serde_json",
            "hex",
            "log",
            "rustix",
            "tungstenite",
            "sha2",
            "base64",
        ],
    ),
    (
        "stream",
        &["domain", "protocol", "net"],
        &["hex", "memchr", "tungstenite", "rustix", "log"],
    ),
    (
        "feed",
        &["domain", "net"],
        &["memchr", "sha2", "serde_json"],
    ),
    (
        "recorder",
        &["domain", "protocol", "stream", "delivery", "net", "feed"],
        &[
            "memchr",
            "hex",
            "sha2",
            "rustix",
            "serde",
            "serde_json",
            "log",
        ],
    ),
    (
        "delivery",
        &[
            "domain", "protocol", "stream", "recorder", "net", "feed", "gate",
        ],
        &[
            "memchr",
            "rustix",
            "serde",
            "serde_json",
            "sha2",
            "hex",
            "base64",
            "ureq",
            "httpdate",
            "tungstenite",
            "log",
        ],
    ),
    (
        "keeping",
        &["domain", "recorder", "delivery", "feed"],
        &["rustix", "log"],
    ),
    (
        "merging",
        &["domain", "recorder", "feed"],
        &["rustix", "serde", "serde_json", "sha2"],
    ),
    (
        "daemon",
        &[
            "domain",
            "protocol",
            "coordinator",
            "source",
            "gate",
            "zoom_api",
            "net",
            "stream",
            "recorder",
            "delivery",
            "feed",
            "keeping",
            "forgetting",
        ],
        &[
            "libc",
            "log",
            "serde",
            "serde_json",
            // The store of the fleet.
            "hex",
            "openssl",
            "redis",
            "rustix",
            "sha2",
        ],
    ),
    (
        "forgetting",
        &["domain", "feed", "recorder", "delivery", "coordinator"],
        &["hex", "openssl", "serde", "serde_json", "sha2"],
    ),
    (
        "admin",
        &[
            "domain",
            "protocol",
            "daemon",
            "gate",
            "source",
            "recorder",
            "stream",
            "zoom_api",
            "net",
            "feed",
            "delivery",
            "keeping",
            "forgetting",
        ],
        &[
            "openssl",
            "sha2",
            "hex",
            "base64",
            "rustix",
            "serde",
            "serde_json",
            "log",
        ],
    ),
    ("systemd", &["daemon", "domain"], &["rustix", "log"]),
    (
        "state",
        &["domain"],
        &[
            "memchr",
            "sha2",
            "openssl",
            "base64",
            "rustix",
            "serde",
            "serde_json",
            "log",
        ],
    ),
    (
        "config",
        &[
            "domain",
            "protocol",
            "gate",
            "source",
            "zoom_api",
            "net",
            "coordinator",
            "recorder",
            "delivery",
            "daemon",
            "admin",
            "feed",
            "keeping",
        ],
        &["log"],
    ),
    ("log", &["domain"], &["log", "rustix", "serde_json"]),
    ("clock", &[], &[]),
    ("inbox", &[], &[]),
    ("manual", &[], &[]),
    (
        "cli",
        &[
            "domain",
            "protocol",
            "coordinator",
            "source",
            "gate",
            "zoom_api",
            "net",
            "stream",
            "recorder",
            "delivery",
            "feed",
            "forgetting",
            "merging",
            "daemon",
            "admin",
            "systemd",
            "config",
            "manual",
            "demo",
            "keeping",
        ],
        &[
            "httparse",
            "memchr",
            "log",
            "rustix",
            "serde",
            "serde_json",
            "signal_hook",
            "openssl",
            "tiny_http",
            "tungstenite",
            "ureq",
        ],
    ),
    // The bodies of the fuzz targets: the parsers of untrusted input.
    (
        "fuzz",
        &[
            "domain", "protocol", "gate", "source", "config", "delivery", "feed", "admin",
        ],
        &["serde_json", "ureq"],
    ),
    // The demo is a second implementation, so that one mistake cannot be on both sides.
    (
        "demo",
        &[],
        &[
            "log",
            "httpdate",
            "serde",
            "serde_json",
            "tungstenite",
            "native_tls",
            "openssl",
            "rustix",
            "hmac",
            "sha2",
            "hex",
            "base64",
            "httparse",
        ],
    ),
];

/// No socket, clock, file, thread or output: everything is an argument.
const PURE: [&str; 3] = ["domain", "protocol", "coordinator"];

/// Pure files in impure folders. They may use only `domain`, `protocol`, `coordinator` where their folder may,
/// and each other.
const PURE_FILES: &[&str] = &[
    "source/webhook/signature.rs",
    "source/webhook/payload.rs",
    "source/webhook/respond.rs",
    "source/webhook/route.rs",
    "source/events/address.rs",
    "source/events/machine.rs",
    "source/events/wire.rs",
    "gate/chunked.rs",
    "gate/http_request.rs",
    "config/file_format.rs",
    "zoom_api/reply.rs",
    "keeping/plan/mod.rs",
    "keeping/rules.rs",
    "recorder/path.rs",
    "recorder/removal/place.rs",
    "recorder/removal/tombstone.rs",
    "recorder/transcript/cues.rs",
    "recorder/audio/wav.rs",
    "recorder/audio/ogg.rs",
    "recorder/audio/timeline.rs",
    "delivery/s3/sigv4.rs",
    "delivery/s3/object_names.rs",
    "delivery/s3/xml.rs",
    "feed/key.rs",
    "feed/epoch.rs",
    "feed/kind.rs",
    "feed/line.rs",
    "feed/cursor.rs",
    "forgetting/json.rs",
    "forgetting/person.rs",
    "forgetting/lines.rs",
    "forgetting/texts.rs",
    "merging/union.rs",
    "admin/host.rs",
    "admin/files/media_type.rs",
    "admin/files/range.rs",
    "admin/links/signed.rs",
    "admin/links/ticket.rs",
    "admin/links/token.rs",
    "daemon/fleet_store/backoff.rs",
    "daemon/fleet_store/command.rs",
    "daemon/fleet_store/decode.rs",
    "daemon/fleet_store/encode.rs",
    "daemon/fleet_store/advice.rs",
    "daemon/fleet_store/facts.rs",
    "daemon/fleet_store/grant.rs",
    "daemon/fleet_store/names.rs",
    "daemon/fleet_store/row.rs",
    "daemon/fleet_store/seal.rs",
    "daemon/fleet_store/value.rs",
    "demo/fleet_store/model.rs",
    "demo/fleet_store/resp.rs",
    "demo/fleet_store/scripts.rs",
    "delivery/clients/named.rs",
    "delivery/live/frame.rs",
    "delivery/live/interest.rs",
    "delivery/live/merge.rs",
    "delivery/live/query.rs",
    "delivery/live/ring.rs",
    "delivery/media/h264.rs",
    "delivery/media/head.rs",
    "delivery/media/place.rs",
    "delivery/media/query.rs",
    "delivery/media/ring.rs",
    "delivery/media/tap.rs",
    "delivery/media/text.rs",
    "delivery/media/wire.rs",
    "delivery/push/answer.rs",
    "delivery/push/batch.rs",
    "delivery/push/cursors.rs",
    "delivery/push/machine/backoff.rs",
    "delivery/push/machine/endpoint.rs",
    "delivery/push/machine/endpoint/answers.rs",
    "delivery/push/machine/endpoint/lag.rs",
    "delivery/push/machine/endpoint/rest.rs",
    "delivery/push/machine/mod.rs",
    "delivery/push/machine/slot.rs",
    "delivery/push/signature.rs",
    "delivery/push/url.rs",
    "delivery/s3/fault.rs",
];

/// Words that a pure part must not contain, in addition to the compiler's check.
const IMPURE_WORDS: [&str; 12] = [
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "TcpStream",
    "UnixStream",
    "SystemTime::now",
    "Instant::now",
    "Mutex",
    "println!",
    "log::",
];

/// Open to every folder that is not pure.
const OPEN: [&str; 4] = ["log", "clock", "inbox", "state"];

/// Known violations: `(file, folder, crate or word)`. The list may only get shorter.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The dialer shares the limit for waits with the poller of a stream.
    ("net/dial.rs", "stream"),
    // These two also repair files in place.
    ("recorder/audio/ogg.rs", "std::fs"),
    ("recorder/audio/wav.rs", "std::fs"),
    ("recorder/audio/wav.rs", "std::os"),
];

/// The one pair of folders that use each other: the two writing threads share one rule.
const CYCLES: &[(&str, &str)] = &[("recorder", "delivery")];

/// The only files with unsafe code; they have the measured reasons.
const UNSAFE: [&str; 2] = ["daemon/heap_trim.rs", "net/tls_sessions.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source without tests: its path below `src`, and its code without comments, text literals
/// and test items.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let (root, mut paths) = (root(), Vec::new());
    walk(&root, &mut paths);
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).expect("below src");
        let name = name.to_string_lossy().into_owned();
        let is_test = name.ends_with("_tests.rs")
            || name == "testing.rs"
            || name
                .split('/')
                .any(|part| part == "tests" || part == "tests.rs");
        if !is_test {
            let text = fs::read_to_string(&path).expect("a source");
            found.push((name, without_tests(&code(&text))));
        }
    }
    assert!(found.len() > 150, "only {} files were found", found.len());
    found
}

/// The text with comments and the contents of literals blanked, so that only code is left.
fn code(text: &str) -> String {
    let (bytes, mut out) = (text.as_bytes(), String::with_capacity(text.len()));
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let blank = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(end) = raw_text(rest) {
            end
        } else if rest.starts_with('"') {
            quoted(rest)
        } else if rest.starts_with('\'') {
            character(rest)
        } else {
            0
        };
        if blank == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            at += next;
        } else {
            out.extend(rest[..blank].chars().filter(|c| *c == '\n'));
            out.push(' ');
            at += blank;
        }
    }
    out
}

/// The length of the raw string that starts here.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let begun = rest.len() - after.len() + hashes + 1;
    Some(begun + rest[begun..].find(&end)? + end.len())
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character literal; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[2..].find('\'').map_or(0, |end| {
            // '\'' contains a quote.
            if rest[2..].starts_with('\'') {
                4
            } else {
                end + 3
            }
        }),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// The code without the items under `#[cfg(test)]`, and without the faults that are there for
/// clippy to find.
fn without_tests(code: &str) -> String {
    without_items(&without_items(code, "#[cfg(test)]"), "#[cfg(border_case)]")
}

/// The code without the items that follow this attribute.
fn without_items(code: &str, attribute: &str) -> String {
    let (mut out, mut rest) = (String::new(), code);
    while let Some(at) = rest.find(attribute) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (mut depth, mut end) = (0_usize, rest.len());
        for (at, byte) in rest.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        end = at + 1;
                        break;
                    }
                }
                b';' if depth == 0 => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The names that follow `prefix` in the code, also in a group: `use crate::{a, b::C}`.
fn named_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (at, _) in code.match_indices(prefix) {
        if code[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                found.insert(&rest[..end]);
            }
            Some(group) => {
                let mut depth = 0_usize;
                let mut is_start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => is_start = true,
                        c if c.is_whitespace() => {}
                        _ if is_start && depth == 0 => {
                            let rest = &group[at..];
                            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                            found.insert(&rest[..end]);
                            is_start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found.remove("");
    found
}

/// The part of `src` that a file belongs to: its folder, or its own name.
fn part(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The folders of ours and the crates that a piece of code uses.
fn uses<'a>(code: &'a str, crates: &[String]) -> (BTreeSet<&'a str>, BTreeSet<String>) {
    let ours = named_after(code, "crate::");
    let mut others = BTreeSet::new();
    for name in crates {
        let path = format!("{name}::");
        let is_used = code.match_indices(&path).any(|(at, _)| {
            let before = code[..at].trim_end_matches(' ');
            // A module of ours may have the same name: `crate::log::`, `super::log::`.
            !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                || before.ends_with("use")
                || before.ends_with(" in")
                || before.ends_with("return")
        });
        if is_used {
            others.insert(name.clone());
        }
    }
    (ours, others)
}

/// Whether everything that the code names of a folder stands in pure files of that folder.
fn is_of_pure_files(code: &str, folder: &str) -> bool {
    let prefix = format!("crate::{folder}::");
    code.match_indices(&prefix).all(|(at, _)| {
        let path = code[at + "crate::".len()..].replace("::", "/");
        let mut stems = PURE_FILES
            .iter()
            .filter_map(|file| file.strip_suffix(".rs"));
        stems.any(|stem| {
            let rest = path.strip_prefix(stem);
            rest.is_some_and(|rest| rest.starts_with('/'))
        })
    })
}

/// Pure files in impure folders. They may use only `domain`, `protocol` and each other.
fn crates() -> Vec<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let manifest = manifest.expect("the manifest");
    let mut found = Vec::new();
    let mut is_dependency = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_dependency = line == "[dependencies]";
        } else if is_dependency && let Some((name, _)) = line.split_once(" = ") {
            found.push(name.replace('-', "_"));
        }
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

/// The violations of one file against its row.
fn faults(file: &str, code: &str, crates: &[String]) -> Vec<String> {
    let part = part(file);
    let Some((_, ours, others)) = BORDERS.iter().find(|row| row.0 == part) else {
        return vec![format!("{file}: no row in BORDERS for {part}")];
    };
    let is_pure_file = PURE_FILES.contains(&file);
    let is_pure = PURE.contains(&part) || is_pure_file;
    let mut found = Vec::new();
    let (used, used_crates) = uses(code, crates);
    let is_part = |name: &str| BORDERS.iter().any(|row| row.0 == name);
    for name in used {
        let is_allowed = name == part
            || !is_part(name)
            || match is_pure_file {
                true => {
                    let is_pure = PURE.contains(&name) && (name != "coordinator" || ours.contains(&name));
                    is_pure || is_of_pure_files(code, name)
                }
                false => ours.contains(&name) || name == "domain" && part != "demo",
            }
            || !is_pure && part != "demo" && OPEN.contains(&name)
            // The words in which the demo's store is asked; what they do is written twice.
            || file.starts_with("demo/fleet_store/") && is_of_pure_files(code, name);
        if !is_allowed && !EXCEPTIONS.contains(&(file, name)) {
            found.push(format!("{file}: uses crate::{name}"));
        }
    }
    for name in used_crates {
        let is_demo_net = part == "demo" && name == "net";
        let is_known = EXCEPTIONS.contains(&(file, name.as_str()));
        if !others.contains(&name.as_str()) && !is_demo_net && !is_known {
            found.push(format!("{file}: uses the crate {name}"));
        }
    }
    if is_pure {
        for word in IMPURE_WORDS {
            let name = word.trim_end_matches(':');
            if code.contains(word) && !EXCEPTIONS.contains(&(file, name)) {
                found.push(format!("{file}: {word} in a pure part"));
            }
        }
    }
    found
}

#[test]
fn each_folder_uses_what_its_row_allows() {
    let crates = crates();
    let mut found = Vec::new();
    for (file, code) in sources() {
        if file == "lib.rs" || file == "main.rs" {
            continue;
        }
        found.extend(faults(&file, &code, &crates));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn exceptions_and_rows_are_needed() {
    let sources = sources();
    for (file, folder) in EXCEPTIONS {
        let path = format!("{folder}::");
        let is_needed = sources
            .iter()
            .any(|(name, code)| name == file && code.contains(&path));
        assert!(
            is_needed,
            "the exception ({file}, {folder}) is not needed any more"
        );
    }
    for (part_name, ..) in BORDERS {
        let is_there = sources.iter().any(|(name, _)| part(name) == *part_name);
        assert!(
            is_there,
            "BORDERS has a row for {part_name}, which does not exist"
        );
    }
    for file in PURE_FILES {
        assert!(
            sources.iter().any(|(name, _)| name == file),
            "{file} does not exist"
        );
    }
}

#[test]
fn folders_form_no_cycle() {
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let sources = sources();
    for (file, code) in &sources {
        let from = part(file);
        for to in named_after(code, "crate::") {
            let is_part = BORDERS.iter().any(|row| row.0 == to);
            let is_known =
                EXCEPTIONS.contains(&(file.as_str(), to)) || CYCLES.contains(&(from, to));
            if is_part && from != to && from != "lib" && from != "main" && !is_known {
                arrows.entry(from).or_default().insert(to);
            }
        }
    }
    // Parts that nothing uses are removed until nothing, or a cycle, is left.
    let mut left: BTreeSet<&str> = arrows.keys().copied().collect();
    loop {
        let is_used = |name: &str| left.iter().any(|from| arrows[from].contains(name));
        let Some(free) = left.iter().copied().find(|name| !is_used(name)) else {
            break;
        };
        left.remove(free);
    }
    assert!(
        left.is_empty(),
        "these folders use each other in a circle: {left:?}"
    );
}

/// What a test writes beside the sources must not become a part of the repository.
#[test]
fn nothing_else_is_at_the_top() {
    const TOP: [&str; 15] = [
        ".ci",
        ".git",
        ".gitignore",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "benches",
        "examples",
        "fuzz",
        "rtms.conf.example",
        "src",
        "target",
        "tests",
    ];
    let top = fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("the top");
    let names = top
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let others: Vec<String> = names.filter(|name| !TOP.contains(&name.as_str())).collect();
    assert_eq!(others, Vec::<String>::new());
}

#[test]
fn unsafe_code_is_in_two_files() {
    for (file, code) in sources() {
        let is_unsafe =
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        assert!(
            !is_unsafe || UNSAFE.contains(&file.as_str()),
            "{file}: unsafe code"
        );
    }
}

#[test]
fn the_guard_finds_violations() {
    let crates = crates();
    let check = |file: &str, text: &str| faults(file, &without_tests(&code(text)), &crates);
    // After a test module, where an earlier guard stopped reading.
    let after_tests = "#[cfg(test)]\nmod tests;\nfn f() { let _ = std::fs::read(\"x\"); }";
    assert_eq!(
        check("coordinator/mod.rs", after_tests),
        ["coordinator/mod.rs: std::fs in a pure part"]
    );
    let inside = "#[cfg(test)]\nmod tests { fn f() { std::fs::read(\"}\"); } }\nfn g() {}";
    assert_eq!(check("protocol/mod.rs", inside), [""; 0]);
    let behind = "#[cfg(test)]\nmod tests { const C: char = '}'; }\nuse crate::{domain::Secret, daemon::Handle};";
    assert_eq!(
        check("protocol/mod.rs", behind),
        ["protocol/mod.rs: uses crate::daemon"]
    );
    assert_eq!(
        check(
            "gate/mod.rs",
            "use crate::recorder::Disk;\nuse ureq::Agent;"
        ),
        [
            "gate/mod.rs: uses crate::recorder",
            "gate/mod.rs: uses the crate ureq"
        ]
    );
    // In a comment or a text it is not a use.
    let said = "//! See crate::recorder.\nconst S: &str = \"crate::recorder\";\nconst R: &str = r#\"ureq::get\"#;";
    assert_eq!(check("gate/mod.rs", said), [""; 0]);
    assert_eq!(
        check("protocol/stream/mod.rs", "fn f() { log::info!(\"x\"); }"),
        [
            "protocol/stream/mod.rs: uses the crate log",
            "protocol/stream/mod.rs: log:: in a pure part"
        ]
    );
    assert_eq!(
        check("zoom_api/reply.rs", "use crate::state::StateDir;").len(),
        1
    );
    // A pure file may use another one, and nothing else of its folder.
    let uses = |path: &str| {
        check(
            "delivery/push/batch.rs",
            &format!("use crate::feed::{path};"),
        )
    };
    assert_eq!(uses("cursor::Cursor"), [""; 0]);
    assert_eq!(
        uses("reader::Reader"),
        ["delivery/push/batch.rs: uses crate::feed"]
    );
    assert_eq!(uses("Board").len(), 1);
    assert_eq!(check("attic/mod.rs", "").len(), 1);
}
