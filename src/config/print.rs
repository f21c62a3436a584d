//! The annotated configuration: `rtms.conf.example` and `rtmsd print conf`.

use std::fmt::Write;

use super::keys::{KEYS, Key};

const HEAD: &str = "\
# Configuration of rtmsd: lines of KEY=VALUE, read from the file that --config names, else from
# ./rtms.conf, else from /etc/rtms.conf. The environment overrides this file.
#
# Commented lines show the defaults. A value may stand in quotes; what follows \" #\" is a remark; an
# empty value counts as not given. A secret may stand in a file of its own instead: write its key
# with _FILE at the end and the path as value, or put a file of the key's name into
# $CREDENTIALS_DIRECTORY (systemd: LoadCredential=). \"rtmsd check\" says what is wrong.
";

/// The text of `rtms.conf.example`.
pub fn conf() -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            let _ = write!(text, "\n\n## {section}\n");
        }
        let _ = write!(text, "\n{}", entry(key));
    }
    text
}

fn entry(key: &Key) -> String {
    let mut text = String::new();
    for line in key.prose.lines() {
        let _ = writeln!(text, "# {line}");
    }
    let name = key.name;
    for alias in key.aliases {
        let _ = writeln!(text, "# Also understood as {alias}.");
    }
    let _ = match key.example {
        Some(example) => writeln!(text, "# Default: {}\n{name}={example}", key.default),
        None => writeln!(text, "#{name}={}", key.default),
    };
    text
}
