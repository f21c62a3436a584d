//! The part of `rtmsd check` that judges the systemd unit, if one is installed: what would keep the
//! server from starting, from coming back, or from what it needs.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::check_machine::{Finding, Grade, limits};
use crate::exit;

const WHAT: &str = "unit";

/// Where units are, the first found counts; drop-ins of all of them do.
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// `file` is the configuration that is being checked.
pub(super) fn findings(file: Option<&Path>) -> Vec<Finding> {
    let installed = FOLDERS.map(|folder| Path::new(folder).join("rtmsd.service"));
    let Some(unit) = installed.into_iter().find(|path| path.exists()) else {
        let has_systemd = Path::new("/run/systemd/system").is_dir();
        let text = "rtmsd.service is not installed; \"rtmsd print unit\" prints one";
        return Vec::from_iter(has_systemd.then(|| Finding::new(Grade::Fine, WHAT, text)));
    };
    let mut text = match fs::read_to_string(&unit) {
        Ok(text) => text,
        Err(error) => {
            let text = format!("{} cannot be read: {error}", unit.display());
            return vec![Finding::new(Grade::Warn, WHAT, text)];
        }
    };
    for path in drop_ins() {
        text.push('\n');
        text += &fs::read_to_string(path).unwrap_or_default();
    }
    // One that this user may not look for is not missing.
    let is_missing = |path: &Path| matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    let mut findings = judge(&text, file, &is_missing);
    if findings.iter().all(|finding| finding.grade == Grade::Fine) {
        let text = format!("{} is as it should be", unit.display());
        findings.insert(0, Finding::new(Grade::Fine, WHAT, text));
    }
    findings
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

fn judge(text: &str, file: Option<&Path>, is_missing: &dyn Fn(&Path) -> bool) -> Vec<Finding> {
    let service = service(text);
    let all = |key: &str| service.get(key).map(Vec::as_slice).unwrap_or_default();
    let last = |key: &str| all(key).last().copied();
    let mut findings = Vec::new();
    let mut tell = |grade, text: String| findings.push(Finding::new(grade, WHAT, text));
    let wrong = Grade::Fault(exit::CONFIG);

    let command = last("ExecStart").unwrap_or_default();
    let command = command.trim_start_matches(['-', '@', ':', '+', '!']);
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    if is_missing(Path::new(program)) {
        tell(
            wrong,
            format!("ExecStart={program:?}, which does not exist"),
        );
    }
    let config = words.skip_while(|word| *word != "--config").nth(1);
    let is_other = |config: &str| file.is_none_or(|file| file != Path::new(config));
    if let Some(config) = config.filter(|config| is_other(config)) {
        let text = format!("the service reads {config}, which is not what is checked here");
        tell(
            Grade::Warn,
            format!("{text}: rtmsd check --config {config}"),
        );
    }
    for credential in all("LoadCredential") {
        let path = credential.split_once(':').map(|(_, path)| Path::new(path));
        if path.is_some_and(|path| path.is_absolute() && is_missing(path)) {
            let text = format!(
                "LoadCredential={credential}: there is no such file, so the service does not start; \
                 make it (mode 0600), or take the line out"
            );
            tell(wrong, text);
        }
    }
    if last("Type").is_none_or(|kind| !kind.starts_with("notify")) {
        tell(
            Grade::Warn,
            "Type=notify is missing, so systemd takes it for ready too early".to_owned(),
        );
    }
    for (key, why) in [
        ("WatchdogSec", "a server that hangs is not restarted"),
        ("Restart", "a server that crashed is not started again"),
        ("ExecReload", "systemctl reload does nothing"),
    ] {
        if last(key).is_none() {
            tell(Grade::Warn, format!("{key}= is missing: {why}"));
        }
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
        None => tell(
            Grade::Warn,
            "LimitNOFILE= is missing: what systemd gives by itself may be too few".to_owned(),
        ),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd;

    fn check(text: &str, expected: &[&str]) {
        let is_missing = |path: &Path| path.ends_with("missing");
        let found = judge(text, Some(Path::new("/etc/rtms.conf")), &is_missing);
        let found: Vec<String> = found
            .iter()
            .filter(|finding| finding.grade != Grade::Fine)
            .map(|finding| finding.text.clone())
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found} is not {expected}");
        }
    }

    #[test]
    fn ours_is_right() {
        let unit = systemd::unit(Path::new("/usr/bin/rtmsd"));
        check(&unit, &[]);
        let findings = judge(&unit, Some(Path::new("/etc/rtms.conf")), &|_| false);
        assert_eq!(
            findings[0].text,
            "65536 open files for the service, enough for about 5411 streams"
        );
    }

    #[test]
    fn what_would_hurt_is_told() {
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
        let unit = systemd::unit(Path::new("/usr/bin/rtmsd"));
        let more = "[Service]\nLimitNOFILE=1024:800\nLoadCredential=A:/etc/missing\n#Type=simple\n\
                    ExecStart=\nExecStart=/usr/bin/rtmsd serve --config /srv/rtms.conf\n";
        check(
            &format!("{unit}\n{more}"),
            &[
                "reads /srv/rtms.conf",
                "LoadCredential=A:/etc/missing: there is no such file",
                "800 open files for the service, enough for about 16 streams; raise it",
            ],
        );
    }
}
