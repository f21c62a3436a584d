//! The installed systemd unit: the environment that the service has and a command does not, and,
//! for `rtmsd check`, faults of the unit.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};

use super::check::machine::limits;
use super::check::report::{CheckLevel, Finding};
use crate::cli::exit;
use crate::config::Sources;
use crate::daemon::OnExit;
use crate::daemon::shutdown::stop_timeout;

const WHAT: &str = "unit";

/// The key of encrypted state, as the running service has it.
const RUNNING_KEY: &str = "/run/credentials/rtmsd.service/RTMS_STATE_KEY";

/// Folders of units: the first unit found is used, and the drop-ins of all folders.
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Gives a command that reads the service's configuration the folders that systemd gives the
/// service: of its secrets and its state. The folder of secrets is left out for a user who may not
/// enter it.
pub fn overlay_service_env(sources: &mut Sources<'_>) {
    let given = |name: &str| sources.environment.iter().any(|(key, _)| key == name);
    let Some((file, _)) = sources.file.as_ref() else {
        return;
    };
    if given("CREDENTIALS_DIRECTORY") || given("STATE_DIRECTORY") {
        return;
    }
    let text = installed().and_then(|unit| text(&unit).ok());
    let found = text.map_or_else(Vec::new, |text| beside(&text, Path::new(file)));
    let may_use = |folder: &Path| access(folder, Access::READ_OK | Access::EXEC_OK).is_ok();
    let has_key = given("RTMS_STATE_KEY_FILE");
    let may_read = |file: &Path| access(file, Access::READ_OK).is_ok();
    let found = found.into_iter().filter(|(name, path)| match *name {
        "CREDENTIALS_DIRECTORY" => may_use(path),
        "RTMS_STATE_KEY_FILE" => may_read(path) && !has_key,
        _ => true,
    });
    sources
        .environment
        .extend(found.map(|(name, folder)| (name.into(), folder.into())));
}

/// The variables that systemd would set, if the service reads this file.
fn beside(text: &str, file: &Path) -> Vec<(&'static str, PathBuf)> {
    let service = service(text);
    if config_of(&service) != Some(file) {
        return Vec::new();
    }
    let credentials = credentials(&service);
    let mut folders = credentials.iter().filter_map(|(name, path)| {
        let is_named = path.file_name().is_some_and(|file| file == *name);
        path.parent().filter(|_| is_named)
    });
    let credentials = folders.next().map(Path::to_owned);
    let state = last(&service, "StateDirectory").and_then(|names| names.split(' ').next());
    let state = state.map(|name| Path::new("/var/lib").join(name));
    // systemd alone can decrypt it, and hands it to the running service.
    let sealed = service.get("LoadCredentialEncrypted").into_iter().flatten();
    let mut sealed = sealed.filter(|line| line.starts_with("RTMS_STATE_KEY:"));
    let key = sealed.next().map(|_| PathBuf::from(RUNNING_KEY));
    let found = [
        ("CREDENTIALS_DIRECTORY", credentials),
        ("STATE_DIRECTORY", state),
        ("RTMS_STATE_KEY_FILE", key),
    ];
    found
        .into_iter()
        .filter_map(|(name, folder)| Some((name, folder?)))
        .collect()
}

/// `file` is the configuration that is being checked, in which the server ends like this.
pub(super) fn findings(file: Option<&Path>, on_exit: OnExit) -> Vec<Finding> {
    let Some(unit) = installed() else {
        let has_systemd = Path::new("/run/systemd/system").is_dir();
        let text = "rtmsd.service is not installed; \"rtmsd print unit\" prints one";
        return Vec::from_iter(has_systemd.then(|| Finding::new(CheckLevel::Fine, WHAT, text)));
    };
    let text = match text(&unit) {
        Ok(text) => text,
        Err(error) => {
            let text = format!("{} cannot be read: {error}", unit.display());
            return vec![Finding::new(CheckLevel::Warn, WHAT, text)];
        }
    };
    // A path that this user may not read does not count as missing.
    let is_missing = |path: &Path| matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    let mut findings = inspect(&text, file, on_exit, &is_missing);
    if findings.iter().all(|finding| finding.what != WHAT) {
        let text = format!("{} is as it should be", unit.display());
        findings.insert(0, Finding::new(CheckLevel::Fine, WHAT, text));
    }
    findings
}

fn installed() -> Option<PathBuf> {
    let paths = FOLDERS.map(|folder| Path::new(folder).join("rtmsd.service"));
    paths.into_iter().find(|path| path.exists())
}

/// The unit followed by its drop-ins.
fn text(unit: &Path) -> io::Result<String> {
    let mut text = fs::read_to_string(unit)?;
    for path in drop_ins() {
        text.push('\n');
        text += &fs::read_to_string(path).unwrap_or_default();
    }
    Ok(text)
}

fn drop_ins() -> Vec<PathBuf> {
    let folders = FOLDERS.map(|folder| Path::new(folder).join("rtmsd.service.d"));
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let mut paths: Vec<PathBuf> = entries.flatten().flatten().map(|e| e.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "conf"));
    paths.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    paths
}

/// The settings of `[Service]`, each with its values in their order; an empty one clears those
/// before it.
fn service(text: &str) -> HashMap<&str, Vec<&str>> {
    let mut found: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut is_service = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_service = line == "[Service]";
        } else if let Some((key, value)) = line.split_once('=')
            && is_service
            && !line.starts_with(['#', ';'])
        {
            let values = found.entry(key.trim()).or_default();
            match value.trim() {
                "" => values.clear(),
                value => values.push(value),
            }
        }
    }
    found
}

fn last<'a>(service: &HashMap<&str, Vec<&'a str>>, key: &str) -> Option<&'a str> {
    service.get(key)?.last().copied()
}

/// The words of the started command.
fn command<'a>(service: &HashMap<&str, Vec<&'a str>>) -> impl Iterator<Item = &'a str> {
    let line = last(service, "ExecStart").unwrap_or_default();
    let line = line.trim_start_matches(['-', '@', ':', '+', '!']);
    line.split_whitespace()
}

/// The configuration that the service reads.
fn config_of<'a>(service: &HashMap<&str, Vec<&'a str>>) -> Option<&'a Path> {
    let mut words = command(service).skip_while(|word| *word != "--config");
    words.nth(1).map(Path::new)
}

/// Names and files of its secrets.
fn credentials<'a>(service: &HashMap<&str, Vec<&'a str>>) -> Vec<(&'a str, &'a Path)> {
    let lines = service.get("LoadCredential").into_iter().flatten();
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let pairs = pairs.map(|(name, path)| (name, Path::new(path)));
    pairs.filter(|(_, path)| path.is_absolute()).collect()
}

fn inspect(
    text: &str,
    file: Option<&Path>,
    on_exit: OnExit,
    is_missing: &dyn Fn(&Path) -> bool,
) -> Vec<Finding> {
    let service = service(text);
    let last = |key: &str| last(&service, key);
    let mut findings = Vec::new();
    let mut add = |level, text: String| findings.push(Finding::new(level, WHAT, text));
    let wrong = CheckLevel::Fault(exit::CONFIG);

    // The unit belongs to another configuration.
    if let Some(config) = config_of(&service).filter(|config| file != Some(config)) {
        let text = format!(
            "rtmsd.service is not judged: it reads {0}, so rtmsd check --config {0} does that",
            config.display()
        );
        add(CheckLevel::Fine, text);
        return findings;
    }
    let program = command(&service).next().unwrap_or_default();
    if is_missing(Path::new(program)) {
        add(
            wrong,
            format!("ExecStart={program:?}, which does not exist"),
        );
    }
    for (name, path) in credentials(&service) {
        if is_missing(path) {
            let text = format!(
                "LoadCredential={name}:{}: there is no such file, so the service does not start; \
                 make it (mode 0600), or take the line out",
                path.display()
            );
            add(wrong, text);
        }
    }
    if last("Type").is_none_or(|kind| !kind.starts_with("notify")) {
        add(
            CheckLevel::Warn,
            "Type=notify is missing, so systemd considers it ready too early".to_owned(),
        );
    }
    for (key, why) in [
        ("WatchdogSec", "a server that hangs is not restarted"),
        ("Restart", "a server that crashed is not started again"),
        ("ExecReload", "systemctl reload does nothing"),
    ] {
        if last(key).is_none() {
            add(CheckLevel::Warn, format!("{key}= is missing: {why}"));
        }
    }
    // Without the setting, systemd's default is longer.
    let needed = stop_timeout(on_exit);
    if let Some(text) = last("TimeoutStopSec").or_else(|| last("TimeoutSec"))
        && time_span(text).is_some_and(|found| found < needed)
    {
        let why = match on_exit {
            OnExit::HandOver => {
                "the server may be killed before it has handed over its streams, which then have a gap"
            }
            OnExit::Leave | OnExit::Stop => {
                "if the disk refuses at the end, data that was received is lost earlier than it needs to be"
            }
        };
        let text = format!(
            "TimeoutStopSec={text} is shorter than {} s: {why}",
            needed.as_secs()
        );
        add(CheckLevel::Warn, text);
    }
    match last("LimitNOFILE").map(|limit| limit.rsplit(':').next().unwrap_or(limit)) {
        Some("infinity") => findings.push(limits(None, "for the service")),
        Some(limit) => {
            findings.extend(
                limit
                    .parse()
                    .ok()
                    .map(|max| limits(Some(max), "for the service")),
            );
        }
        None => add(
            CheckLevel::Warn,
            "LimitNOFILE= is missing: systemd's default may be too low".to_owned(),
        ),
    }
    findings
}

/// Parses a time span of systemd.time(7): `20`, `20s`, `1min 30s`. `None` if it is not one.
fn time_span(text: &str) -> Option<Duration> {
    if text == "infinity" {
        return Some(Duration::MAX);
    }
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (number, after) = rest.split_at(digits.unwrap_or(rest.len()));
        let letters = after.trim_start();
        let end = letters.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, after) = letters.split_at(end.unwrap_or(letters.len()));
        let unit = match unit {
            "us" | "usec" => Duration::from_micros(1),
            "ms" | "msec" => Duration::from_millis(1),
            "" | "s" | "sec" | "second" | "seconds" => Duration::from_secs(1),
            "m" | "min" | "minute" | "minutes" => Duration::from_secs(60),
            "h" | "hr" | "hour" | "hours" => Duration::from_secs(3600),
            _ => return None,
        };
        let count = number.parse().ok()?;
        total = total.checked_add(unit.checked_mul(count)?)?;
        rest = after.trim_start();
    }
    // Zero means no timeout.
    Some(total).map(|total| {
        if total.is_zero() {
            Duration::MAX
        } else {
            total
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::unit_file;

    #[test]
    fn times_are_read_as_systemd_reads_them() {
        for (text, expected) in [
            ("20", Some(Duration::from_secs(20))),
            ("20s", Some(Duration::from_secs(20))),
            ("1min 30s", Some(Duration::from_secs(90))),
            ("2h5ms", Some(Duration::from_millis(7_200_005))),
            ("infinity", Some(Duration::MAX)),
            ("0", Some(Duration::MAX)),
            ("soon", None),
            ("5 fortnights", None),
        ] {
            assert_eq!(time_span(text), expected, "{text}");
        }
    }

    fn check(text: &str, expected: &[&str]) {
        check_with(OnExit::Leave, text, expected);
    }

    fn check_with(on_exit: OnExit, text: &str, expected: &[&str]) {
        let is_missing = |path: &Path| path.ends_with("missing");
        let found = inspect(
            text,
            Some(Path::new("/etc/rtms.conf")),
            on_exit,
            &is_missing,
        );
        let found: Vec<String> = found
            .iter()
            .filter(|finding| finding.level != CheckLevel::Fine)
            .map(|finding| finding.text.clone())
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found} is not {expected}");
        }
    }

    #[test]
    fn our_unit_has_no_findings() {
        let unit = unit_file::unit(Path::new("/usr/bin/rtmsd"));
        check(&unit, &[]);
        check_with(OnExit::HandOver, &unit, &[]);
        let file = Some(Path::new("/etc/rtms.conf"));
        let findings = inspect(&unit, file, OnExit::Leave, &|_| false);
        assert_eq!(
            findings[0].text,
            "65536 open files for the service, enough for about 4329 streams"
        );
    }

    #[test]
    fn faults_of_a_unit_are_reported() {
        check(
            "[Service]\nExecStart=/opt/missing\n[Install]\nType=notify\n",
            &[
                "ExecStart=\"/opt/missing\", which does not exist",
                "Type=notify is missing",
                "WatchdogSec= is missing",
                "Restart= is missing",
                "ExecReload= is missing",
                "LimitNOFILE= is missing",
            ],
        );
        let unit = unit_file::unit(Path::new("/usr/bin/rtmsd"));
        let more = "[Service]\nLimitNOFILE=1024:800\nTimeoutStopSec=10s\nLoadCredential=A:/etc/missing\n#Type=simple\n\
                    ExecStart=\nExecStart=/usr/bin/rtmsd serve --config /etc/rtms.conf\n";
        check(
            &format!("{unit}\n{more}"),
            &[
                "LoadCredential=A:/etc/missing: there is no such file",
                "TimeoutStopSec=10s is shorter than 20 s",
                "800 open files for the service, enough for about 40 streams; raise it",
            ],
        );
    }

    #[test]
    fn a_hand_over_needs_more_time_than_the_unit_of_an_earlier_version_gives() {
        let unit = unit_file::unit(Path::new("/usr/bin/rtmsd"));
        let unit = format!("{unit}\n[Service]\nTimeoutStopSec=20s\n");
        check(&unit, &[]);
        let text = "TimeoutStopSec=20s is shorter than 45 s: the server may be killed before it has handed";
        check_with(OnExit::HandOver, &unit, &[text]);
    }

    #[test]
    fn the_unit_of_another_configuration_is_not_checked() {
        let unit = unit_file::unit(Path::new("/usr/bin/rtmsd"));
        let file = Some(Path::new("rtms.conf"));
        let findings = inspect(&unit, file, OnExit::Leave, &|_| true);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].level, CheckLevel::Fine);
        assert!(
            findings[0]
                .text
                .contains("rtmsd check --config /etc/rtms.conf")
        );
    }

    #[test]
    fn a_command_gets_the_folders_of_the_service() {
        let unit = unit_file::unit(Path::new("/usr/bin/rtmsd"));
        assert_eq!(
            beside(&unit, Path::new("/etc/rtms.conf")),
            [
                ("CREDENTIALS_DIRECTORY", PathBuf::from("/etc/rtmsd")),
                ("STATE_DIRECTORY", PathBuf::from("/var/lib/rtmsd")),
            ]
        );
        assert_eq!(beside(&unit, Path::new("rtms.conf")), []);
        let sealed = unit.replace("#LoadCredentialEncrypted", "LoadCredentialEncrypted");
        let found = beside(&sealed, Path::new("/etc/rtms.conf"));
        let key = ("RTMS_STATE_KEY_FILE", PathBuf::from(RUNNING_KEY));
        assert_eq!(found.last(), Some(&key));
    }
}
