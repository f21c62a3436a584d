//! Checks README and manual against the program: quoted log lines, commands, keys, metrics, links,
//! constants.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const README_LINES_MAX: usize = 200;
const CHAPTERS: [&str; 15] = [
    "operating",
    "containers",
    "fleet",
    "connecting",
    "media",
    "delivery",
    "pages",
    "recipes",
    "troubleshooting",
    "privacy",
    "embedding",
    "tuning",
    "upgrading",
    "security",
    "contributing",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README and every chapter, each with its path in the repository.
fn documents() -> Vec<(String, String)> {
    let chapters = CHAPTERS.map(|name| format!("src/manual/{name}.md"));
    let paths = std::iter::once("README.md".to_owned()).chain(chapters);
    paths.map(|path| (path.clone(), read(path))).collect()
}

/// A part of a Markdown text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// The lines between two fences, with the language after the first fence.
    Block(String, Vec<String>),
    /// A line outside.
    Prose(String),
}

fn parts(text: &str) -> Vec<Part> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            found.push(Part::Prose(line.to_owned()));
            continue;
        };
        let body = lines.by_ref().map(|line| line.trim_start().to_owned());
        let body = body.take_while(|line| line != "```").collect();
        found.push(Part::Block(language.to_owned(), body));
    }
    found
}

/// Lines of blocks in that language.
fn block_lines(text: &str, wanted: &str) -> Vec<String> {
    let blocks = parts(text).into_iter();
    let lines = blocks.filter_map(|part| match part {
        Part::Block(language, lines) if language == wanted => Some(lines),
        _ => None,
    });
    lines.flatten().collect()
}

/// Code within lines of prose.
fn spans(text: &str) -> Vec<String> {
    let prose = parts(text).into_iter().filter_map(|part| match part {
        Part::Prose(line) => Some(line),
        Part::Block(..) => None,
    });
    // A code span may continue on the next line.
    let prose = prose.collect::<Vec<_>>().join(" ");
    let pieces = prose.split('`').skip(1).step_by(2);
    pieces.map(str::to_owned).collect()
}

/// Words made of these characters.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
}

// Texts of the sources.

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the sources").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            // The demo's Zoom is not part of the server; its command is.
            let is_left_out = path.ends_with("src/demo") || name == "tests";
            if !is_left_out {
                found.extend(sources(&path));
            }
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]\nmod tests {").next();
            found.push((path, code.unwrap_or_default().to_owned()));
        }
    }
    found
}

/// The string literals of a source, escapes resolved.
fn literals(code: &str) -> Vec<String> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &code[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("'\"'") || rest.starts_with("b'\"'") {
            at += rest.find("\"'").unwrap_or(0) + 2;
        } else if let Some(hashes) = raw_hashes(rest) {
            let begin = hashes.len() + 2;
            let end = format!("\"{hashes}");
            let length = rest[begin..].find(&end).expect("a raw string ends");
            found.push(rest[begin..begin + length].to_owned());
            at += begin + length + end.len();
        } else if bytes[at] == b'"' {
            let (text, length) = literal(&rest[1..]);
            found.push(text);
            at += 1 + length;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    found
}

/// The `#` of `r#"`, if a raw string starts here.
fn raw_hashes(rest: &str) -> Option<&str> {
    let after = rest.strip_prefix('r')?;
    let count = after.bytes().take_while(|b| *b == b'#').count();
    after[count..].starts_with('"').then(|| &after[..count])
}

/// The text of a literal and its length including the closing quote.
fn literal(rest: &str) -> (String, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, at + 1),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => text.push('\n'),
                Some('\n') => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some(c) => text.push(c),
                None => break,
            },
            c => text.push(c),
        }
    }
    panic!("a literal without an end: {}", &rest[..rest.len().min(80)]);
}

/// A literal without its placeholders.
fn chunks(literal: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut depth = 0;
    for c in literal.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                found.push(String::new());
            }
            c if depth == 0 => {
                let last = found.last_mut().expect("there is one");
                last.push(c);
            }
            _ => {}
        }
    }
    found
}

/// All texts that the sources can print.
struct Printed {
    /// Each literal as the texts between its placeholders.
    literals: Vec<Vec<String>>,
}

impl Printed {
    fn read() -> Printed {
        let sources = sources(&root().join("src"));
        let found = sources.iter().flat_map(|(_, code)| literals(code));
        Printed {
            literals: found.map(|literal| chunks(&literal)).collect(),
        }
    }

    fn has(&self, fragment: &str, is_beginning: bool) -> bool {
        let is_in = |chunk: &str| {
            chunk.match_indices(fragment).any(|(at, _)| {
                let is_border = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
                is_border(chunk[..at].chars().next_back())
                    && is_border(chunk[at + fragment.len()..].chars().next())
            })
        };
        self.literals.iter().any(|chunks| match is_beginning {
            true => chunks
                .iter()
                .find(|c| !c.is_empty())
                .is_some_and(|first| first.starts_with(fragment) && is_in(first)),
            false => chunks.iter().any(|chunk| is_in(chunk)),
        })
    }

    /// The part of a quoted text that no source contains, if there is one.
    fn missing(&self, quote: &str) -> Option<String> {
        let is_cut = quote.starts_with('…');
        let (keys, fragments) = fragments(quote);
        let key = keys.iter().find(|key| {
            let with = [format!("{key}="), format!("{key}=\\\"")];
            !with.iter().any(|text| self.has_text(text))
        });
        if let Some(key) = key {
            return Some(format!("{key}="));
        }
        let mut fragments = fragments.iter().enumerate();
        fragments
            .find(|(at, fragment)| !self.has(fragment, *at == 0 && !is_cut))
            .map(|(_, fragment)| fragment.clone())
    }

    fn has_text(&self, text: &str) -> bool {
        let mut all = self.literals.iter().flatten();
        all.any(|chunk| chunk.contains(text))
    }
}

/// The keys of a log line, and its fixed texts: everything between values, numbers, punctuation and
/// `…`.
fn fragments(quote: &str) -> (Vec<String>, Vec<String>) {
    let mut keys = Vec::new();
    let mut prose = String::new();
    let mut rest = quote;
    while let Some(at) = rest.find('=') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let begin = before.rfind(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        let begin = begin.map_or(0, |at| {
            at + before[at..].chars().next().map_or(1, char::len_utf8)
        });
        let key = &before[begin..];
        // A capital before the equals sign: a setting, and part of the text.
        if key.is_empty() {
            prose.push_str(&rest[..=at]);
            rest = after;
            continue;
        }
        prose.push_str(&before[..begin]);
        prose.push('…');
        keys.push(key.to_owned());
        // A quoted value is a text of its own; any other is one word.
        rest = match after.strip_prefix('"') {
            Some(text) => text,
            None => &after[after.find([' ', ';']).unwrap_or(after.len())..],
        };
    }
    prose.push_str(rest);
    let is_end = |c: char| c.is_ascii_digit() || "…\"();,:?".contains(c);
    let pieces = prose.split(is_end).map(str::trim);
    let pieces = pieces.filter(|piece| piece.chars().filter(|c| c.is_alphabetic()).count() > 1);
    (keys, pieces.map(str::to_owned).collect())
}

#[test]
fn quoted_log_lines_are_in_the_sources() {
    let printed = Printed::read();
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, text) in documents() {
        for line in block_lines(&text, "log") {
            seen += 1;
            let mut words = line.splitn(3, ' ');
            let level = words.next().unwrap_or_default();
            let origin = words.next().unwrap_or_default();
            let message = words.next().unwrap_or_default();
            if !["ERROR", "WARN", "INFO", "DEBUG"].contains(&level) {
                faults.push(format!("{path}: no level: {line}"));
            }
            match origin.split_once('=') {
                Some(("stream", _)) => {}
                Some(("thread", name)) => {
                    let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
                    let is_name = |chunks: &Vec<String>| chunks[0] == name;
                    if name != "main" && !printed.literals.iter().any(is_name) {
                        faults.push(format!("{path}: no thread is called {name:?}: {line}"));
                    }
                }
                _ => faults.push(format!("{path}: neither thread= nor stream=: {line}")),
            }
            if let Some(fragment) = printed.missing(message) {
                faults.push(format!("{path}: nothing prints {fragment:?}: {line}"));
            }
        }
        for span in spans(&text) {
            let first = span.split(' ').next().unwrap_or_default();
            let is_command = [
                ".ci/run",
                ".ci/nightly",
                "dpkg",
                "apt-get",
                "cargo",
                "chown",
                "cp",
                "curl",
                "export",
                "journalctl",
                "podman",
                "rtmsd",
                "sudo",
                "systemctl",
                "systemd-analyze",
                "timedatectl",
                ".ci/prepare",
            ];
            if !span.contains(' ') || is_command.contains(&first) {
                continue;
            }
            seen += 1;
            if let Some(fragment) = printed.missing(&format!("…{span}")) {
                faults.push(format!("{path}: nothing prints {fragment:?}: `{span}`"));
            }
        }
    }
    assert!(seen > 15, "only {seen} quotes were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_outdated_quote_is_found() {
    let printed = Printed {
        literals: vec![
            chunks("stream started stream={} product={}{} id={}"),
            chunks("refused: {status}; check {key}, and reload"),
        ],
    };
    let right = "stream started stream=ab id=x== product=meeting";
    assert_eq!(printed.missing(right), None);
    assert_eq!(
        printed.missing("refused: 3 …; check ZOOM_X, and reload"),
        Some("check ZOOM_X".into())
    );
    let wrong = [
        ("stream begins stream=ab", "stream begins"),
        ("started stream=ab", "started"),
        ("stream started strom=ab", "strom="),
        ("refused: 3; check …, and reloaded", "and reloaded"),
    ];
    for (line, fragment) in wrong {
        assert_eq!(printed.missing(line).as_deref(), Some(fragment), "{line}");
    }
    assert_eq!(
        literals(
            r##"let a = "x \" {b}\n"; // "no"
            let c = r#"raw "x""#; let d = '"'; "one \
              two""##
        ),
        ["x \" {b}\n", "raw \"x\"", "one two"]
    );
}

/// The arguments of each `rtmsd` in a shell line.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    let mut found = Vec::new();
    for part in line.split(['|', ';']).flat_map(|part| part.split("&&")) {
        let part = part.split(['>', '<']).next().unwrap_or_default();
        let words: Vec<&str> = part.split_whitespace().collect();
        let is_lead = |word: &&&str| {
            let variable = word.split_once('=');
            **word == "sudo" || variable.is_some_and(|(name, _)| words_only(name))
        };
        let lead = words.iter().take_while(is_lead).count();
        let arguments = match &words[lead..] {
            [program, arguments @ ..] if *program == "rtmsd" => arguments,
            ["cargo", "run", rest @ ..] => match rest.iter().position(|word| *word == "--") {
                Some(at) => &rest[at + 1..],
                None => continue,
            },
            _ => continue,
        };
        found.push(arguments.iter().map(|word| (*word).to_owned()).collect());
    }
    found
}

fn words_only(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

#[test]
fn quoted_commands_are_valid() {
    let mut seen = 0;
    for (path, text) in documents() {
        let lines = block_lines(&text, "sh").into_iter().chain(spans(&text));
        for arguments in lines.flat_map(|line| commands(&line)) {
            seen += 1;
            let number = |word: &String| match word.as_str() {
                "NUMBER" => "82598260073".into(),
                word => word.into(),
            };
            let given = arguments.iter().map(number);
            let parsed = rtmsd::cli::args::parse(given);
            assert!(
                parsed.is_ok(),
                "{path}: rtmsd {}: {parsed:?}",
                arguments.join(" ")
            );
        }
    }
    assert!(seen > 10, "only {seen} commands were found");
    assert!(rtmsd::cli::args::parse(["chekc".into()]).is_err());
    let line = "sudo X=1 rtmsd check --online && rtmsd | rtmsd print conf > x # rtmsd y";
    assert_eq!(
        commands(line),
        [vec!["check", "--online"], vec![], vec!["print", "conf"]]
    );
}

fn output(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtmsd"));
    let output = command.args(arguments).output().expect("the binary runs");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code(), stdout)
}

#[test]
fn help_prints_the_chapters() {
    let (code, list) = output(&["help"]);
    assert_eq!(code, Some(0));
    for topic in CHAPTERS {
        assert!(list.contains(&format!("\n  {topic} ")), "{list}");
        let text = read(format!("src/manual/{topic}.md"));
        assert_eq!(output(&["help", topic]), (Some(0), text), "{topic}");
    }
    let files = fs::read_dir(root().join("src/manual"))
        .expect("the manual")
        .flatten();
    let is_chapter = |name: &std::ffi::OsString| Path::new(name).extension() == Some("md".as_ref());
    let files = files.map(|entry| entry.file_name()).filter(is_chapter);
    assert_eq!(files.count(), CHAPTERS.len());
    assert_eq!(output(&["help", "medai"]), (Some(64), String::new()));
}

#[test]
fn settings_are_keys() {
    let (_, conf) = output(&["print", "conf"]);
    let is_setting = |word: &&str| word.starts_with("RTMS_") || word.starts_with("ZOOM_");
    let keys: BTreeSet<&str> = words(&conf).filter(is_setting).collect();
    assert!(keys.len() > 40, "{keys:?}");
    for (path, text) in documents() {
        for word in words(&text).filter(is_setting) {
            let name = word.strip_suffix("_FILE").unwrap_or(word);
            // RTMS_AUDIO_* stands for all keys with that prefix.
            let begins = |key: &&&str| word.ends_with('_') && key.starts_with(word);
            let is_key =
                keys.contains(name) || keys.contains(word) || keys.iter().any(|k| begins(&k));
            assert!(is_key, "{path}: no key is called {word}");
        }
    }
}

/// Whether `/metrics` has this name, without `rtmsd_` in front.
fn is_served(name: &str) -> bool {
    let histogram = ["_bucket", "_sum", "_count"];
    rtmsd::admin::metrics::all().any(|metric| {
        let end = name.strip_prefix(metric.name);
        end.is_some_and(|end| end.is_empty() || histogram.contains(&end))
    })
}

/// Its queries are checked by promtool (`.ci/dashboard`), which does not know what rtmsd serves.
#[test]
fn metrics_of_the_dashboard_exist() {
    let text = read("src/manual/dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<&str> = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .collect();
    assert!(queries.len() > 20, "{queries:?}");
    for query in queries {
        let names = words(query).filter_map(|word| word.strip_prefix("rtmsd_"));
        let names: Vec<&str> = names.collect();
        let all_exist = names.iter().all(|name| is_served(name));
        assert!(all_exist && !names.is_empty(), "no such metric: {query}");
    }
}

#[test]
fn quoted_metrics_exist() {
    let admin = sources(&root().join("src/admin"));
    let labels: BTreeSet<String> = admin.iter().flat_map(|(_, code)| literals(code)).collect();
    let mut seen = 0;
    for (path, text) in documents() {
        for word in words(&text).filter_map(|word| word.strip_prefix("rtmsd_")) {
            // rtmsd_0 is the name of a package.
            if word.is_empty() || word == "NEW" || word.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            seen += 1;
            assert!(is_served(word), "{path}: no metric is called rtmsd_{word}");
        }
        for span in spans(&text) {
            let Some((_, label)) = span.split_once('{').filter(|_| span.starts_with("rtmsd_"))
            else {
                continue;
            };
            for part in label.split('"').skip(1).step_by(2) {
                assert!(
                    labels.contains(part),
                    "{path}: no label has the value {part}: {span}"
                );
            }
        }
    }
    assert!(seen > 10, "only {seen} metrics were found");
}

/// The targets of `[text](target)` and `[name]: target`.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in parts(text) {
        let Part::Prose(line) = part else { continue };
        for piece in line.split("](").skip(1) {
            found.extend(piece.split(')').next().map(str::to_owned));
        }
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
        {
            found.push(target.to_owned());
        }
    }
    found
}

#[test]
fn links_have_existing_targets() {
    for (path, text) in documents() {
        let folder = root().join(&path);
        let folder = folder.parent().expect("a folder");
        for link in links(&text) {
            assert!(
                !link.contains("://"),
                "{path}: {link} leaves the repository"
            );
            assert!(folder.join(&link).is_file(), "{path}: {link} is no file");
        }
        // Shorthand links are defined at the end of the file.
        for part in parts(&text) {
            let Part::Prose(line) = part else { continue };
            let names = line
                .split('[')
                .skip(1)
                .filter_map(|piece| piece.split_once(']'));
            for (name, after) in names.filter(|(name, _)| CHAPTERS.contains(name)) {
                let definition = format!("\n[{name}]: {name}.md\n");
                let is_inline = after.starts_with('(');
                assert!(
                    is_inline || text.contains(&definition),
                    "{path}: [{name}] leads nowhere"
                );
            }
        }
    }
    let from_readme = links(&read("README.md"));
    for chapter in CHAPTERS {
        let path = format!("src/manual/{chapter}.md");
        assert!(
            from_readme.contains(&path),
            "README does not link to {path}"
        );
    }
    let map = "src/lib.rs".to_owned();
    assert!(
        from_readme.contains(&map),
        "README does not link to the map"
    );
}

/// The listener has no TLS: the manual says what a proxy in front of it must do. `live::partners` runs both.
#[test]
fn s5_the_proxies_of_the_manual_do_not_buffer_and_hide_what_is_for_operators() {
    let text = read("src/manual/delivery.md");
    let block = |begin: &str| {
        let mut blocks = text.split("```");
        let found = blocks.find(|block| block.trim_start_matches("text\n").starts_with(begin));
        found
            .unwrap_or_else(|| panic!("no block {begin}"))
            .to_owned()
    };
    for (begin, needed) in [
        (
            "# nginx",
            &[
                "proxy_http_version 1.1;",
                "proxy_buffering off;",
                "proxy_set_header Host $host;",
                "proxy_set_header Upgrade $http_upgrade;",
                "proxy_set_header Connection $http_connection;",
                "location = /rtms/metrics { return 404; }",
                "location = /rtms/streams { return 404; }",
                "http2",
            ][..],
        ),
        (
            "# Caddyfile",
            &[
                "flush_interval -1",
                "@own path /metrics /streams",
                "respond @own 404",
            ],
        ),
    ] {
        let block = block(begin);
        for words in needed {
            assert!(block.contains(words), "{begin}: {words}");
        }
    }
    assert!(text.contains("The listener has no TLS."));
}

#[test]
fn the_readme_is_short_and_has_its_two_commands() {
    let text = read("README.md");
    let lines = text.lines().count();
    assert!(
        lines <= README_LINES_MAX,
        "{lines} lines, expected {README_LINES_MAX} at most"
    );
    for command in [
        ".ci/prepare && cargo run --release -- demo",
        ".ci/prepare && RUST_TEST_THREADS=4 cargo test --features fleet",
    ] {
        assert_eq!(
            text.lines().filter(|line| *line == command).count(),
            1,
            "{command}"
        );
    }
    // The example ends recordings after ten seconds; users who copy it must know that.
    let step = text
        .split("cp rtms.conf.example")
        .nth(1)
        .expect("the step that copies it");
    let step = step.split("\n7. ").next().unwrap_or_default();
    assert!(step.contains("RTMS_STOP_AFTER"), "{step}");
    for line in block_lines(&text, "json") {
        let parsed: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(parsed["v"], 1);
    }
}

// Tuning constants.

/// A number with its unit.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Ms(u64),
    Number(u64),
}

/// The value of `5 * 60`, `32 << 10`, `Duration::from_millis(40)`.
fn value_of_code(code: &str) -> Option<Value> {
    let code = code.trim();
    let duration = |name: &str| code.strip_prefix(name)?.strip_suffix(')');
    if let Some(inner) = duration("Duration::from_secs(") {
        return Some(Value::Ms(number(inner)? * 1000));
    }
    if let Some(inner) = duration("Duration::from_millis(") {
        return Some(Value::Ms(number(inner)?));
    }
    number(code).map(Value::Number)
}

fn number(code: &str) -> Option<u64> {
    if let Some((left, right)) = code.split_once("<<") {
        return Some(number(left)? << number(right)?);
    }
    let factors = code
        .split('*')
        .map(|factor| factor.trim().replace('_', "").parse::<u64>());
    factors.map(Result::ok).product()
}

/// The value of `40 ms`, `4 KiB`, `8,192`.
fn value_of_text(text: &str) -> Option<Value> {
    let (amount, unit) = text.split_once(' ').unwrap_or((text, ""));
    let amount: u64 = amount.replace(',', "").parse().ok()?;
    Some(match unit {
        "" => Value::Number(amount),
        "KiB" => Value::Number(amount << 10),
        "MiB" => Value::Number(amount << 20),
        "ms" => Value::Ms(amount),
        "s" => Value::Ms(amount * 1000),
        "min" => Value::Ms(amount * 60_000),
        "h" => Value::Ms(amount * 3_600_000),
        _ => return None,
    })
}

/// The value in the code of a constant or field of that name.
fn assigned<'a>(code: &'a str, name: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for line in code.lines().map(str::trim) {
        let constant = line.split_once(" = ").and_then(|(head, value)| {
            let head = head.split_once("const ")?.1;
            (head.split(':').next() == Some(name)).then(|| value.trim_end_matches(';'))
        });
        let field = line
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(": "));
        found.extend(constant.or(field.map(|value| value.trim_end_matches(','))));
    }
    found
}

#[test]
fn tuning_constants_have_the_values_of_the_sources() {
    let mut seen = 0;
    let mut faults = Vec::new();
    for line in read("src/manual/tuning.md").lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, file, name, value, ..] = cells[..] else {
            continue;
        };
        let (Some(file), Some(name)) = (code_in(file), code_in(name)) else {
            continue;
        };
        seen += 1;
        let path = root().join("src").join(file);
        let Ok(code) = fs::read_to_string(&path) else {
            faults.push(format!("src/{file} is no file: {line}"));
            continue;
        };
        let values: Vec<_> = assigned(&code, name)
            .into_iter()
            .map(value_of_code)
            .collect();
        let expected = value_of_text(value);
        if expected.is_none() || !values.contains(&expected) {
            faults.push(format!(
                "{file} {name}: found {values:?}, the manual says {value}"
            ));
        }
    }
    assert!(seen > 40, "only {seen} constants were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(
        value_of_code("Duration::from_secs(24 * 3600)"),
        value_of_text("24 h")
    );
    assert_eq!(value_of_code("256 << 10"), value_of_text("256 KiB"));
    assert_ne!(value_of_code("1_024"), value_of_text("1,025"));
}

fn code_in(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}
