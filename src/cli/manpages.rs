//! Manual pages and shell completions, made from the usage texts and the table of keys. `rtmsd
//! print man|man-conf|completions`.

use std::fmt::Write;

use crate::cli::args::{USAGE, commands, usage};
use crate::config::keys::KEYS;

/// `rtmsd(8)`, for man(1).
pub fn man() -> String {
    let mut page = head(
        "RTMSD",
        "8",
        "rtmsd \\- receives Zoom Realtime Media Streams",
    );
    // The first paragraph is the line above, the last the exit codes.
    let mut paragraphs: Vec<&str> = USAGE.trim_end().split("\n\n").skip(1).collect();
    let exit_codes = paragraphs.pop().unwrap_or_default();
    section(&mut page, "SYNOPSIS");
    formatted(&mut page, &paragraphs[..1]);
    section(&mut page, "DESCRIPTION");
    formatted(&mut page, &[DESCRIPTION]);
    formatted(&mut page, &paragraphs[1..]);
    section(&mut page, "COMMANDS");
    for (commands, text) in usages() {
        let _ = writeln!(page, ".SS {}", escaped(&commands.join(", ")));
        formatted(&mut page, &text.split("\n\n").collect::<Vec<_>>());
    }
    section(&mut page, "EXIT STATUS");
    let codes = exit_codes.replace('\n', " ");
    let codes = codes.trim_start_matches("exit codes: ").split(", ");
    for (code, meaning) in codes.filter_map(|code| code.split_once(' ')) {
        entry(&mut page, code, meaning);
    }
    section(&mut page, "SIGNALS");
    formatted(&mut page, &[SIGNALS]);
    section(&mut page, "FILES");
    formatted(&mut page, &[FILES]);
    section(&mut page, "SEE ALSO");
    page.push_str(".BR rtms.conf (5),\n.BR systemctl (1),\n.BR journalctl (1)\n");
    page
}

const DESCRIPTION: &str = "\
When a meeting starts, Zoom sends a webhook. rtmsd starts the stream by REST, opens the connections,
and writes what it receives to files: transcripts, audio, video, screen share and chat. After a
restart or a crash it joins its streams again. \"rtmsd help\" lists the chapters of the manual.";

const SIGNALS: &str = "  \
  SIGTERM, SIGINT  end the server; a second one ends it at once
  SIGHUP           reads the configuration again; one with faults changes nothing";

const FILES: &str = "  \
  ./rtms.conf, /etc/rtms.conf  the configuration; the first one that exists
  /etc/rtmsd/KEY               a secret of mode 0600, named like its key; the systemd unit passes
                               it to the server
  /var/lib/rtmsd               under systemd: what a restart needs, and the files of meetings in
                               meetings; RTMS_STATE and RTMS_OUT name other directories
  /usr/share/doc/rtmsd         the manual, if the package is installed";

/// `rtms.conf(5)`.
pub fn man_conf() -> String {
    let mut page = head("RTMS.CONF", "5", "rtms.conf \\- configuration of rtmsd");
    section(&mut page, "DESCRIPTION");
    formatted(
        &mut page,
        &[
            "Lines of KEY=VALUE. A line that begins with # is a comment, and so is text after \" #\". \
             A value may be quoted. An empty value means that the key is not set. A variable of \
             the environment overrides the line of the same name.",
            "A secret can be in a file of its own instead: KEY_FILE names the file, or the file \
             has the name of the key in the directory $CREDENTIALS_DIRECTORY. The systemd unit \
             passes the files of /etc/rtmsd in this way.",
            "\"rtmsd check\" explains the settings and lists every fault. \"rtmsd print conf\" \
             prints a file to start with.",
        ],
    );
    let mut last = "";
    for key in KEYS {
        if key.section != last {
            let (title, more) = key.section.split_once(": ").unwrap_or((key.section, ""));
            section(&mut page, &title.to_uppercase());
            if let Some(first) = more.get(..1) {
                let _ = writeln!(page, "{}{}.", first.to_uppercase(), escaped(&more[1..]));
            }
            last = key.section;
        }
        let mut text = key.prose.to_owned();
        if key.is_secret {
            text += "\nA secret.";
        }
        if !key.aliases.is_empty() {
            text += &format!("\nAlso understood as {}.", key.aliases.join(", "));
        }
        let default = key.default();
        if !default.is_empty() {
            text += &format!("\nDefault: {default}.");
        }
        entry(&mut page, key.name, &text);
    }
    section(&mut page, "SEE ALSO");
    page.push_str(".BR rtmsd (8)\n");
    page
}

fn head(name: &str, number: &str, line: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {name} {number} \"\" \"rtmsd {version}\"\n.SH NAME\n{line}\n")
}

fn section(page: &mut String, name: &str) {
    let _ = writeln!(page, ".SH \"{}\"", escaped(name).replace('"', "'"));
}

/// A term and its explanation.
fn entry(page: &mut String, term: &str, text: &str) {
    let _ = writeln!(page, ".TP\n.B {}\n{}", escaped(term), escaped(text));
}

/// Formats the paragraphs of a usage text: the usage, a list whose lines start with two blanks, or
/// prose.
fn formatted(page: &mut String, paragraphs: &[&str]) {
    for (n, paragraph) in paragraphs.iter().enumerate() {
        let paragraph = paragraph.trim_end();
        if n > 0 && !paragraph.starts_with("  ") {
            page.push_str(".PP\n");
        }
        if let Some(usage) = paragraph.strip_prefix("usage: ") {
            let _ = writeln!(page, ".B {}", escaped(usage));
        } else if paragraph.starts_with("  ") {
            for (term, text) in list(paragraph) {
                entry(page, term, &text);
            }
        } else {
            let _ = writeln!(page, "{}", escaped(paragraph));
        }
    }
}

/// The lines of a list: a term, two blanks or more, a text that may continue on further lines.
fn list(paragraph: &str) -> Vec<(&str, String)> {
    let mut entries: Vec<(&str, String)> = Vec::new();
    for line in paragraph.lines() {
        let indent = line.len() - line.trim_start().len();
        match (line.trim_start().split_once("  "), entries.last_mut()) {
            (Some((term, text)), _) => entries.push((term, text.trim_start().to_owned())),
            (None, Some((_, text))) if indent > 2 => {
                text.push('\n');
                text.push_str(line.trim_start());
            }
            (None, _) => entries.push((line.trim(), String::new())),
        }
    }
    entries
}

/// The usage texts in order, each with its commands.
fn usages() -> Vec<(Vec<&'static str>, &'static str)> {
    let mut found: Vec<(Vec<&str>, &str)> = Vec::new();
    for command in commands() {
        let text = usage(command).unwrap_or_default();
        match found.last_mut() {
            Some((commands, last)) if *last == text => commands.push(command),
            _ => found.push((vec![command], text)),
        }
    }
    found
}

/// Text that troff prints unchanged: no escapes, no requests, no hyphen for a minus.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text
        .lines()
        .map(|line| match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}"),
            false => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// The shells that completions are made for.
pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Completions for a shell of [`SHELLS`].
pub fn completions(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(zsh()),
        "fish" => Some(fish()),
        _ => None,
    }
}

/// Options whose value is a file or a directory.
const WITH_PATH: [&str; 2] = ["--config", "--out"];

/// The commands whose words are folders.
const WITH_FOLDERS: [&str; 2] = ["merge", "mux"];

/// The words that may follow a command, from its usage text: the long options, and the words of a
/// list.
fn words(command: &str) -> Vec<&'static str> {
    let text = usage(command).unwrap_or_default();
    let mut found: Vec<&str> = Vec::new();
    for word in text.split(|c: char| !(c.is_ascii_lowercase() || c == '-')) {
        if word.len() > 2 && word.starts_with("--") && !found.contains(&word) {
            found.push(word);
        }
    }
    found.push("--help");
    let lists = text.split("\n\n").filter(|part| part.starts_with("  "));
    let terms = lists.flat_map(list).map(|(term, _)| term);
    found.extend(terms.filter(|term| !term.starts_with('-')));
    found
}

fn first_words() -> String {
    format!(
        "{} --config --help --version",
        commands().collect::<Vec<_>>().join(" ")
    )
}

fn bash() -> String {
    let first = first_words();
    let mut cases = String::new();
    for command in commands() {
        let _ = writeln!(
            cases,
            "    {command}) words=\"{}\" ;;",
            words(command).join(" ")
        );
    }
    let with_path = WITH_PATH.join("|");
    format!(
        "_rtmsd() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} words\n  \
         case $prev in\n    {with_path})\n      compopt -o filenames\n      \
         mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n      return ;;\n  esac\n  \
         case ${{COMP_WORDS[1]}} in\n{cases}    *) words=\"{first}\" ;;\n  esac\n  \
         [ \"$COMP_CWORD\" = 1 ] && words=\"{first}\"\n  \
         mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}}\ncomplete -o default -F _rtmsd rtmsd\n"
    )
}

fn zsh() -> String {
    let first = first_words();
    let mut cases = String::new();
    for command in commands() {
        let files = if WITH_FOLDERS.contains(&command) {
            " _files;"
        } else {
            ""
        };
        let _ = writeln!(
            cases,
            "  {command}){files} compadd -- {} ;;",
            words(command).join(" ")
        );
    }
    let with_path = WITH_PATH.join("|");
    format!(
        "#compdef rtmsd\ncase ${{words[CURRENT-1]}} in\n  {with_path}) _files; return ;;\nesac\n\
         if (( CURRENT == 2 )); then\n  compadd -- {first}\n  return\nfi\n\
         case ${{words[2]}} in\n{cases}  *) compadd -- {first} ;;\nesac\n"
    )
}

fn fish() -> String {
    let mut text = format!(
        "complete -c rtmsd -f\ncomplete -c rtmsd -n __fish_use_subcommand -a \"{}\"\n\
         complete -c rtmsd -l help\ncomplete -c rtmsd -n __fish_use_subcommand -l version\n",
        commands().collect::<Vec<_>>().join(" ")
    );
    for option in WITH_PATH {
        let _ = writeln!(text, "complete -c rtmsd -l {} -r -F", &option[2..]);
    }
    let _ = writeln!(
        text,
        "complete -c rtmsd -n \"__fish_seen_subcommand_from {}\" -F",
        WITH_FOLDERS.join(" ")
    );
    for command in commands() {
        for word in words(command) {
            if word == "--help" || WITH_PATH.contains(&word) {
                continue;
            }
            let what = match word.strip_prefix("--") {
                Some(option) => format!("-l {option}"),
                None => format!("-a {word}"),
            };
            let _ = writeln!(
                text,
                "complete -c rtmsd -n \"__fish_seen_subcommand_from {command}\" {what}"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_every_command_is_listed() {
        let conf = man_conf();
        for key in KEYS {
            assert!(
                conf.contains(&format!("\n.B {}\n", key.name)),
                "{}",
                key.name
            );
        }
        let man = man();
        for command in commands() {
            let mut titles = man.lines().filter_map(|line| line.strip_prefix(".SS "));
            let is_named = |title: &str| title.split(", ").any(|name| name == command);
            assert!(titles.any(is_named), "{command}");
            assert!(usage(command).is_some(), "{command}");
        }
        // A line that starts with a dot by chance would be a request of troff.
        let orders = [".TH", ".SH", ".SS", ".TP", ".B", ".BR", ".PP"];
        for line in man
            .lines()
            .chain(conf.lines())
            .filter(|l| l.starts_with('.'))
        {
            let order = line.split(' ').next().unwrap_or_default();
            assert!(orders.contains(&order), "{line}");
        }
    }

    #[test]
    fn completions_know_the_options() {
        for shell in SHELLS {
            let text = completions(shell).expect("it is known");
            for word in ["check", "online", "status", "watch", "man-conf"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
        assert_eq!(completions("tcsh"), None);
    }
}
