//! Outputs about the binary itself: configuration, units, manual pages, completions, help.

use super::{assert_golden, without_version};
use crate::harness::{RTMSD, run};

/// The output of a command on stdout; it must succeed and write nothing to stderr.
fn printed(arguments: &[&str]) -> String {
    let ran = run(arguments, &[]);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    assert_eq!(ran.stderr, "", "{arguments:?}");
    let real = std::fs::canonicalize(RTMSD).expect("the binary");
    let stdout = ran.stdout.replace(&real.display().to_string(), "/PROGRAM");
    without_version(&stdout.replace(RTMSD, "/PROGRAM"))
}

#[test]
fn outputs_of_print() {
    for (file, arguments) in [
        ("print/conf", &["conf"][..]),
        ("print/unit", &["unit"]),
        ("print/socket", &["socket"]),
        ("print/man", &["man"]),
        ("print/man-conf", &["man-conf"]),
        ("print/metrics", &["metrics"]),
        ("print/completions.bash", &["completions", "bash"]),
        ("print/completions.zsh", &["completions", "zsh"]),
        ("print/completions.fish", &["completions", "fish"]),
    ] {
        let arguments = [&["print"], arguments].concat();
        assert_golden(file, &printed(&arguments));
    }
}

/// The commands listed by the help, so that a new one is included.
#[test]
fn help_of_each_command() {
    let usage = printed(&["--help"]);
    let listed = usage.lines().filter_map(|line| {
        let word = line.strip_prefix("  ")?.split(' ').next()?;
        word.starts_with(|c: char| c.is_ascii_lowercase())
            .then_some(word)
    });
    let commands: Vec<&str> = listed.collect();
    assert!(commands.len() >= 9, "{commands:?}");
    let mut text = format!("$ rtmsd --version\n{}", printed(&["--version"]));
    text += &format!("\n$ rtmsd --help\n{usage}");
    for command in commands {
        let help = printed(&[command, "--help"]);
        text += &format!("\n$ rtmsd {command} --help\n{help}");
    }
    assert_golden("help.txt", &text);
}
