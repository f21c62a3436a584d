//! The format of `rtms.conf`: lines of `KEY=VALUE`. The meaning of the keys is in `keys`.
//!
//! It accepts what systemd's `EnvironmentFile=` and the usual `.env` readers accept: comments with
//! `#` or `;`, single and double quotes (also over several lines), `export` before a key, CRLF, a
//! byte order mark. ` #` after an unquoted value starts a comment. Faults never contain values,
//! because a broken line may contain a secret.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

/// Largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Maximum broken lines that are reported; a file with more of them is not a configuration.
const FAULTS_MAX: usize = 20;

/// A line that names a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1; of a value over several lines, the first.
    pub line: usize,
    /// The name as written.
    pub key: String,
    /// The value without its quotes. Bytes that are not UTF-8 are U+FFFD in it.
    pub value: String,
    /// The value is unquoted and ends in a backslash, which systemd reads as a continued line and
    /// others do not.
    pub is_continued: bool,
}

/// A line that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1; 0 is the whole file.
    pub line: usize,
    /// What was found, what was expected.
    pub text: String,
}

/// Parses a whole file: returns every entry, and every broken line.
pub fn parse(bytes: &[u8]) -> (Vec<Entry>, Vec<BadLine>) {
    let mut parser = Parser::default();
    if bytes.len() > FILE_BYTES_MAX {
        let found = bytes.len();
        parser.fault(
            0,
            format!("found {found} bytes, expected at most {FILE_BYTES_MAX}"),
        );
        return (parser.entries, parser.faults);
    }
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let lines: Vec<&str> = text.split('\n').collect();
    let mut next = 0;
    while let Some(line) = lines.get(next) {
        if parser.faults.len() == FAULTS_MAX {
            let text = "found too many broken lines, expected lines of KEY=VALUE".to_owned();
            parser.faults.push(BadLine { line: 0, text });
            break;
        }
        let following = lines.get(next + 1..).unwrap_or_default();
        next += 1 + parser.line(next + 1, line, following);
    }
    (parser.entries, parser.faults)
}

#[derive(Default)]
struct Parser {
    entries: Vec<Entry>,
    faults: Vec<BadLine>,
    /// After a quote without an end, quotes are searched only within their lines, so that any file
    /// is read in one pass.
    has_open_quote: bool,
}

impl Parser {
    fn fault(&mut self, line: usize, text: impl Into<String>) {
        let text = text.into();
        self.faults.push(BadLine { line, text });
    }

    /// Parses one line, and returns how many of the following lines belong to its value.
    fn line(&mut self, number: usize, line: &str, following: &[&str]) -> usize {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return 0;
        }
        let Some((key, value)) = line.split_once('=') else {
            self.fault(number, "found a line without \"=\", expected KEY=VALUE");
            return 0;
        };
        let key = key.trim_end();
        let key = match key.strip_prefix("export") {
            Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
            _ => key,
        };
        if !is_name(key) {
            let text = "found a name with other characters than letters, digits, \"_\", \".\" \
                        and \"-\", expected KEY=VALUE";
            self.fault(number, text);
            return 0;
        }
        let value = value.trim_start();
        let (value, is_continued, more) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                match self.quoted(quote, value.get(1..).unwrap_or_default(), following) {
                    Ok((value, more)) => (value, false, more),
                    Err(text) => {
                        self.fault(number, format!("{key}: {text}"));
                        return 0;
                    }
                }
            }
            _ => {
                let value = without_comment(value);
                (value.to_owned(), value.ends_with('\\'), 0)
            }
        };
        self.entries.push(Entry {
            line: number,
            key: key.to_owned(),
            value,
            is_continued,
        });
        more
    }

    /// The value up to its closing quote, and how many of the following lines it spans.
    fn quoted(
        &mut self,
        quote: char,
        first: &str,
        following: &[&str],
    ) -> Result<(String, usize), &'static str> {
        let following = if self.has_open_quote { &[] } else { following };
        let mut value = String::new();
        for (more, line) in std::iter::once(&first).chain(following).enumerate() {
            if more > 0 {
                value.push('\n');
            }
            let mut chars = line.chars();
            while let Some(c) = chars.next() {
                if c == quote {
                    let rest = chars.as_str().trim();
                    if !rest.is_empty() && !rest.starts_with('#') {
                        return Err("found text after the closing quote, expected the line to end");
                    }
                    return Ok((value, more));
                }
                // As in a shell, a backslash in double quotes protects these four only.
                let protected = chars.clone().next().filter(|next| "\"\\`$".contains(*next));
                match protected {
                    Some(next) if c == '\\' && quote == '"' => {
                        value.push(next);
                        chars.next();
                    }
                    _ => value.push(c),
                }
            }
            // The carriage return of a CRLF within the quotes.
            if value.ends_with('\r') {
                value.pop();
            }
        }
        self.has_open_quote = true;
        Err("found an opening quote without its end, expected KEY=\"VALUE\"")
    }
}

fn is_name(key: &str) -> bool {
    let mut chars = key.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn without_comment(value: &str) -> &str {
    // `KEY= # remark` has lost its space already, so a value that begins with `# ` is a remark.
    if value == "#" || value.starts_with("# ") {
        return "";
    }
    let comment = value
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| value.get(..*at).is_some_and(|v| v.ends_with([' ', '\t'])));
    value
        .get(..comment.unwrap_or(value.len()))
        .unwrap_or(value)
        .trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as `line KEY=value`, bad lines as `line: text`.
    fn check(input: impl AsRef<[u8]>, expected: &[&str]) {
        let (entries, faults) = parse(input.as_ref());
        let entries = entries
            .iter()
            .map(|entry| format!("{} {}={}", entry.line, entry.key, entry.value));
        let faults = faults
            .iter()
            .map(|bad| format!("{}: {}", bad.line, bad.text));
        let found: Vec<String> = entries.chain(faults).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_that_are_accepted() {
        check("", &[]);
        check("PORT=3000", &["1 PORT=3000"]);
        check(
            "\u{feff}PORT=3000\r\n\r\nHOST=::1\r\n",
            &["1 PORT=3000", "3 HOST=::1"],
        );
        check("# a remark\n  ; another\n\nA=1", &["4 A=1"]);
        check("export A=1\nexport\tB = 2 ", &["1 A=1", "2 B=2"]);
        check("exported=1", &["1 exported=1"]);
        check(
            "A=a b\t# remark\nB=a#b\nC=#c\nD= # none\nE=",
            &["1 A=a b", "2 B=a#b", "3 C=#c", "4 D=", "5 E="],
        );
        check("A=x==", &["1 A=x=="]);
        check("A='a \"b\" \\n # c' # d", &["1 A=a \"b\" \\n # c"]);
        check(r#"A="a \"b\" \\ \$x \n""#, &[r#"1 A=a "b" \ $x \n"#]);
        check("A=\"one\r\ntwo\"\nB=3", &["1 A=one\ntwo", "3 B=3"]);
        check("A=it's", &["1 A=it's"]);
    }

    #[test]
    fn lines_that_are_refused() {
        check(
            "hunter2",
            &["1: found a line without \"=\", expected KEY=VALUE"],
        );
        let name = "found a name with other characters than letters, digits, \"_\", \".\" and \
                    \"-\", expected KEY=VALUE";
        check(
            "=x\n1A=2\nA B=3\n\0=4\nÄ=1",
            &[
                &format!("1: {name}"),
                &format!("2: {name}"),
                &format!("3: {name}"),
                &format!("4: {name}"),
                &format!("5: {name}"),
            ],
        );
        check(
            "A=\"x\nB=2\nC='y\nD=4",
            &[
                "2 B=2",
                "4 D=4",
                "1: A: found an opening quote without its end, expected KEY=\"VALUE\"",
                "3: C: found an opening quote without its end, expected KEY=\"VALUE\"",
            ],
        );
        check(
            "A='x'y",
            &["1: A: found text after the closing quote, expected the line to end"],
        );
        check(
            b"# caf\xe9\nA=\xff\xfe\nB=2",
            &["2 A=\u{fffd}\u{fffd}", "3 B=2"],
        );
    }

    #[test]
    fn files_that_are_too_large() {
        let huge = vec![b'\n'; FILE_BYTES_MAX + 1];
        check(huge, &["0: found 262145 bytes, expected at most 262144"]);
        let (_, faults) = parse(&b"x\n".repeat(1000));
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        // Each quote of this file would search all of the rest.
        let quotes = "A='\n".repeat(FILE_BYTES_MAX / 4 - 1) + "'";
        parse(quotes.as_bytes());
        let escapes = "A=\"\\\"\n".repeat(FILE_BYTES_MAX / 6);
        parse(escapes.as_bytes());
    }

    #[test]
    fn a_backslash_at_the_end_is_noticed() {
        let (entries, _) = parse(b"A=x\\\nB='x\\'");
        let continued: Vec<bool> = entries.iter().map(|entry| entry.is_continued).collect();
        assert_eq!(continued, [true, false]);
    }
}
