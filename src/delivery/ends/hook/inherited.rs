//! File descriptors that a program we start would inherit, and a command without them.
//!
//! Everything that we open is closed in a program that we start. What is left is what was open when
//! rtmsd itself was started: with socket activation the webhook listener, which systemd passes without
//! close-on-exec. A hook that leaves something running would keep that port busy. Safe Rust can neither
//! close a descriptor given as a number nor change its flags, so a shell does it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use rustix::fs::OFlags;

/// The shell closes descriptors of one digit only: `10>&-` is a word and a redirection of stdout to dash.
const NUMBERS: std::ops::RangeInclusive<u32> = 3..=9;
const SHELL: &str = "/bin/sh";

/// Found once: we open nothing that stays open in other programs.
static INHERITED: LazyLock<Vec<u32>> = LazyLock::new(|| {
    NUMBERS
        .filter(|number| {
            let path = format!("/proc/self/fdinfo/{number}");
            fs::read_to_string(path).is_ok_and(|info| !is_closed_on_exec(&info))
        })
        .collect()
});

/// A command that runs this program, with arguments, without what it would inherit.
pub(super) fn command(program: &Path, arguments: &[String]) -> Command {
    let mut command = match script(&INHERITED) {
        Some(script) => {
            let mut shell = Command::new(SHELL);
            shell.arg("-c").arg(script).arg(program);
            shell
        }
        None => Command::new(program),
    };
    command.args(arguments);
    command
}

/// Becomes the program `$0` with these descriptors closed.
fn script(numbers: &[u32]) -> Option<String> {
    let closed = numbers.iter().map(|number| format!("{number}<&- "));
    (!numbers.is_empty()).then(|| format!("exec {}\"$0\" \"$@\"", closed.collect::<String>()))
}

/// `flags:` of proc_pid_fdinfo(5) is octal.
fn is_closed_on_exec(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    // Without an answer there is nothing to close.
    flags.is_none_or(|flags| flags & OFlags::CLOEXEC.bits() != 0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_program_starts_as_it_is_or_by_a_shell_that_closes() {
        assert_eq!(script(&[]), None);
        let script = script(&[3, 5]).expect("a script");
        assert_eq!(script, "exec 3<&- 5<&- \"$0\" \"$@\"");
        let said = Command::new(SHELL)
            .args(["-c", &script, "/bin/echo", "a  b", "$(id)"])
            .output();
        assert_eq!(said.expect("it runs").stdout, b"a  b $(id)\n");
    }

    #[test]
    fn what_we_open_ourselves_is_not_inherited() {
        let file = fs::File::open("/dev/null").expect("the device exists");
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
        assert!(is_closed_on_exec(&info.expect("Linux")));
        assert!(!is_closed_on_exec("pos:\t0\nflags:\t02\nmnt_id:\t9\n"));
        assert!(is_closed_on_exec("pos:\t0\n"));
    }
}
