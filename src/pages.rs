//! Manual pages and shell completions, made from what the program itself says: the usage texts and
//! the table of keys. `rtmsd print man|man-conf|completions`.

use std::fmt::Write;

use crate::args::{COMMANDS, USAGE, usage};
use crate::config::keys::KEYS;

/// `rtmsd(8)`, for man(1).
pub fn man() -> String {
    let mut page = head(
        "RTMSD",
        "8",
        "rtmsd \\- receives Zoom Realtime Media Streams",
    );
    section(&mut page, "SYNOPSIS");
    verbatim(&mut page, "rtmsd [COMMAND] [OPTIONS]");
    section(&mut page, "DESCRIPTION");
    verbatim(&mut page, USAGE);
    for command in COMMANDS {
        let _ = writeln!(page, ".SS {}", escaped(command));
        verbatim(&mut page, usage(command).unwrap_or_default());
    }
    section(&mut page, "SIGNALS");
    verbatim(
        &mut page,
        "SIGTERM, SIGINT  end the server; a second one ends it at once\n\
         SIGHUP           reads the configuration again",
    );
    section(&mut page, "FILES");
    verbatim(
        &mut page,
        "./rtms.conf, /etc/rtms.conf  the configuration\n\
         RTMS_OUT                     meetings\n\
         RTMS_STATE                   what a restart needs",
    );
    section(&mut page, "SEE ALSO");
    page.push_str(".BR rtms.conf (5)\n");
    page
}

/// `rtms.conf(5)`.
pub fn man_conf() -> String {
    let mut page = head("RTMS.CONF", "5", "rtms.conf \\- configuration of rtmsd");
    section(&mut page, "DESCRIPTION");
    page.push_str(
        "Lines of KEY=VALUE; a line that begins with # is a comment, and a value may stand in \
         quotes. The environment overrides the file. A secret may instead come from a file: \
         KEY_FILE names it, or it is called KEY in $CREDENTIALS_DIRECTORY.\n",
    );
    let mut last = "";
    for key in KEYS {
        if key.section != last {
            section(&mut page, &key.section.to_uppercase());
            last = key.section;
        }
        let _ = writeln!(page, ".TP\n.B {}", escaped(key.name));
        let _ = writeln!(page, "{}", escaped(key.prose));
        if !key.aliases.is_empty() {
            let _ = writeln!(page, "Also {}.", escaped(&key.aliases.join(", ")));
        }
        if !key.default.is_empty() {
            let _ = writeln!(page, "Default: {}.", escaped(key.default));
        }
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

fn verbatim(page: &mut String, text: &str) {
    let _ = writeln!(page, ".nf\n{}\n.fi", escaped(text.trim_end()));
}

/// Text that troff prints as it is: no escapes, no requests, no hyphen for a minus.
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
    let commands = COMMANDS.join(" ");
    match shell {
        "bash" => Some(bash(&commands)),
        "zsh" => Some(format!(
            "#compdef rtmsd\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash(&commands)
        )),
        "fish" => Some(fish(&commands)),
        _ => None,
    }
}

/// The long options of a command, as its usage text lists them.
fn options(command: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let text = usage(command).unwrap_or_default();
    for word in text.split(|c: char| !(c.is_ascii_lowercase() || c == '-')) {
        if word.len() > 2 && word.starts_with("--") && !found.iter().any(|known| known == word) {
            found.push(word.to_owned());
        }
    }
    found.push("--help".to_owned());
    found
}

fn bash(commands: &str) -> String {
    let mut cases = String::new();
    for command in COMMANDS {
        let options = options(command).join(" ");
        let _ = writeln!(cases, "    {command}) words=\"{options}\" ;;");
    }
    format!(
        "_rtmsd() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} words\n  \
         case $prev in\n    --config|--out) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n  esac\n  \
         case ${{COMP_WORDS[1]}} in\n{cases}    *) words=\"{commands} --config --help --version\" ;;\n  \
         esac\n  [ \"$COMP_CWORD\" = 1 ] && words=\"{commands} --config --help --version\"\n  \
         COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}}\ncomplete -F _rtmsd rtmsd\n"
    )
}

fn fish(commands: &str) -> String {
    let mut text = format!(
        "complete -c rtmsd -f\ncomplete -c rtmsd -n __fish_use_subcommand -a \"{commands}\"\n\
         complete -c rtmsd -l config -r -F\n"
    );
    for command in COMMANDS {
        for option in options(command)
            .iter()
            .filter(|option| *option != "--config")
        {
            let option = option.trim_start_matches('-');
            let _ = writeln!(
                text,
                "complete -c rtmsd -n \"__fish_seen_subcommand_from {command}\" -l {option}"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_every_command_has_its_place() {
        let conf = man_conf();
        for key in KEYS {
            assert!(
                conf.contains(&format!("\n.B {}\n", key.name)),
                "{}",
                key.name
            );
        }
        let man = man();
        for command in COMMANDS {
            assert!(man.contains(&format!("\n.SS {command}\n")), "{command}");
            assert!(usage(command).is_some(), "{command}");
        }
        // A line that began with a dot by chance would be an order to troff.
        let orders = [".TH", ".SH", ".SS", ".TP", ".B", ".BR", ".nf", ".fi"];
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
            for word in ["check", "online", "status", "watch"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
        assert_eq!(completions("tcsh"), None);
    }
}
