//! The annotated configuration: `rtms.conf.example` and `rtmsd print conf`.

use std::fmt::Write;

use super::keys::{KEYS, Key};

const HEAD: &str = "\
# Configuration of rtmsd: lines of KEY=VALUE. rtmsd reads the file that --config names; without
# --config it reads ./rtms.conf, and if that does not exist, /etc/rtms.conf. A variable of the
# environment overrides the line of the same name.
#
# Commented lines show the defaults. A value may be quoted. Text after \" #\" is a comment. An empty
# value means that the key is not set. A secret can be in a file of its own instead: add _FILE to
# its key and set it to the path, or put a file with the name of the key into the directory
# $CREDENTIALS_DIRECTORY (systemd: LoadCredential=). \"rtmsd check\" finds faults in this file.
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
        Some(example) => writeln!(text, "# Default: {}\n{name}={example}", key.default()),
        None => writeln!(text, "#{name}={}", key.default()),
    };
    text
}
