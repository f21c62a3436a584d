//! `rtmsd check`: explains a configuration and checks this machine for it, or lists every fault.
//! Nothing is changed or connected; checks over the network are in `--online`.
//!
//! Exit codes: 0 no fault, with or without warnings; 77 a directory or file that this user may not
//! use; 78 a wrong configuration, certificate or unit.

pub mod bucket;
pub(crate) mod events;
mod keeping;
pub(crate) mod machine;
mod meaning;
pub mod online;
pub mod probe;
pub(crate) mod report;

use std::io::{self, Write};

use crate::cli::exit;
use crate::config::{AppConf, Apps, Loaded, Sources, load};
use report::{CheckLevel, Report};

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// The exit code of `rtmsd check`.
    pub exit_code: u8,
    /// Whether the configuration itself is without fault, so that `--online` can continue.
    pub is_loaded: bool,
    /// The apps without fault, by name; `None` is the only app of a configuration without RTMS_APPS.
    pub apps: Vec<Option<String>>,
}

/// Checks, and writes the report: about that app alone, or about all.
pub fn check(
    sources: &Sources<'_>,
    app: Option<&str>,
    out: &mut impl Write,
) -> io::Result<CheckReport> {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(faults) => {
            for fault in &faults {
                writeln!(out, "{fault}")?;
            }
            writeln!(out, "\n{}", count(faults.len(), "fault"))?;
            return Ok(CheckReport {
                exit_code: exit::CONFIG,
                is_loaded: false,
                apps: Vec::new(),
            });
        }
    };
    match &loaded.apps {
        Some(apps) => check_apps(&loaded, apps, app, out),
        None if app.is_some() => {
            writeln!(out, "found --app, expected RTMS_APPS in the configuration")?;
            Ok(CheckReport {
                exit_code: exit::USAGE,
                is_loaded: false,
                apps: Vec::new(),
            })
        }
        None => Ok(CheckReport {
            exit_code: check_one(&loaded, out)?,
            is_loaded: true,
            apps: vec![None],
        }),
    }
}

/// Each app, after what they have in common.
fn check_apps(
    loaded: &Loaded,
    apps: &Apps,
    only: Option<&str>,
    out: &mut impl Write,
) -> io::Result<CheckReport> {
    settings(loaded, out)?;
    for warning in &loaded.warnings {
        writeln!(out, "warn  {warning}")?;
    }
    let (mut exit_code, mut fine) = (exit::OK, Vec::new());
    let is_wanted = |app: &&AppConf| only.is_none_or(|name| name == &*app.name);
    let wanted: Vec<&AppConf> = apps.apps.iter().filter(is_wanted).collect();
    let names = apps.names();
    match (only, wanted.is_empty()) {
        (Some(name), true) => {
            exit_code = exit::USAGE;
            writeln!(out, "\n--app: found {name:?}, expected one of {names}")?;
        }
        (None, true) => {
            let folder = apps.folder.display();
            writeln!(
                out,
                "\nwarn  RTMS_APPS: {folder} has no NAME.conf, so there is no app"
            )?;
        }
        _ => {}
    }
    for app in wanted {
        writeln!(out, "\n== app {}", app.name)?;
        match &app.loaded {
            Ok(loaded) => {
                exit_code = exit_code.max(check_one(loaded, out)?);
                fine.push(Some(app.name.to_string()));
            }
            Err(faults) => {
                exit_code = exit_code.max(exit::CONFIG);
                for fault in faults {
                    writeln!(out, "{fault}")?;
                }
                writeln!(
                    out,
                    "\n{}; this app is disabled",
                    count(faults.len(), "fault")
                )?;
            }
        }
    }
    Ok(CheckReport {
        exit_code,
        is_loaded: !fine.is_empty(),
        apps: fine,
    })
}

/// One whole configuration. Returns the exit code.
fn check_one(loaded: &Loaded, out: &mut impl Write) -> io::Result<u8> {
    settings(loaded, out)?;
    writeln!(out, "\nwhat it means")?;
    for (topic, text) in meaning::of(&loaded.config) {
        writeln!(out, "  {topic:<12}{text}")?;
    }
    let uid = rustix::process::geteuid().as_raw();
    writeln!(out, "\non this machine, for the user with id {uid}")?;
    let mut report = Report::new(out);
    for warning in &loaded.warnings {
        report.write(CheckLevel::Warn, &warning.to_string());
    }
    let findings = meaning::stopping(&loaded.config).into_iter();
    let findings = findings.chain(machine::findings(loaded));
    for finding in findings.chain(keeping::findings(&loaded.config.daemon)) {
        report.add(&finding);
    }
    let (faults, warnings) = report.counts();
    let faults = match faults {
        0 => "no faults".to_owned(),
        n => count(n, "fault"),
    };
    match warnings {
        0 => report.line(&format!("\n{faults}")),
        n => report.line(&format!("\n{faults}, {}", count(n, "warning"))),
    }
    Ok(report.end())
}

fn settings(loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
    match &loaded.file {
        Some(file) => writeln!(out, "configuration from {file} and the environment")?,
        None => writeln!(out, "configuration from the environment, without a file")?,
    }
    let settings = loaded.settings.iter();
    let keys = settings
        .clone()
        .map(|setting| setting.key.len())
        .max()
        .unwrap_or(0);
    // A long value may move its place to the right, but not those of the other lines.
    let values = settings
        .map(|setting| setting.shown.chars().count().min(40))
        .max()
        .unwrap_or(0);
    for setting in &loaded.settings {
        let (key, shown, place) = (&setting.key, &setting.shown, &setting.place);
        writeln!(out, "  {key:<keys$}  {shown:<values$}  {place}")?;
    }
    Ok(())
}

fn count(n: usize, thing: &str) -> String {
    match n {
        1 => format!("1 {thing}"),
        n => format!("{n} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{FileContent, Needs};

    fn run(file: &str) -> (CheckReport, String) {
        let none = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
        let content = FileContent {
            bytes: file.as_bytes().to_vec(),
            mode: None,
        };
        let sources = Sources {
            needs: Needs::Serve,
            file: Some(("rtms.conf".to_owned(), content)),
            environment: Vec::new(),
            host_name: "vm1".to_owned(),
            read: &none,
            list: &|_| Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let mut out = Vec::new();
        let report = check(&sources, None, &mut out).expect("a vector takes all");
        (report, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn faults_end_it() {
        let (report, text) =
            run("PORT=x\nZOOM_CLIENT_ID=a\nZOOM_CLIENT_SECRET=b\nZOOM_SECRET_TOKEN=c");
        assert_eq!((report.exit_code, report.is_loaded), (78, false));
        let expected = "rtms.conf:1: PORT: found \"x\", expected a port from 0 to 65535 (0: any free one), or off\n\n1 fault\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_valid_configuration_is_explained() {
        let (report, text) = run(
            "ZOOM_CLIENT_ID=abc\nZOOM_CLIENT_SECRET=hunter2\nZOOM_SECRET_TOKEN=hunter3\n\
             ZOOM_ACCOUNT_ID=acc\nRTMS_MEDIA=transcript,audio\nRTMS_TRANSCRIPT_LANGUAGE=german\n\
             RTMS_OUT=/nowhere-at-all/x\nRTMS_STATE=/dev/null\nRTMS_STOP_AFTER=10\n\
             RTMS_VIDEO_FPS=30\nRTMS_LOG=debug\n",
        );
        assert_eq!((report.exit_code, report.is_loaded), (78, true));
        assert!(!text.contains("hunter"), "{text}");
        for line in [
            "configuration from rtms.conf and the environment",
            "  ZOOM_CLIENT_SECRET        (secret)           rtms.conf:2",
            "  webhooks    http on 0.0.0.0 port 3000, POST /webhook; Zoom calls https only, so a \
             proxy in front is required; signatures verified with 1 secret token, up to 300 s old",
            "  starting    each meeting's stream is started by REST; one started here is stopped \
             after 10 s, by RTMS_STOP_AFTER",
            "  tokens      server-to-server, account acc, app abc, https://zoom.us/oauth/token",
            "  scopes      the app needs meeting:read:meeting_audio, \
             meeting:read:meeting_transcript",
            "  audio       l16 at 16000 Hz, mono, 20 ms in a packet, all speakers mixed",
            "  transcript  German for 30 s, then detected by Zoom",
            "  state       /dev/null",
            "  log         debug on stderr",
            "fault state: /dev/null is not a directory; set RTMS_STATE to another path",
            "warn  rtms.conf:10: RTMS_VIDEO_FPS: not used, as RTMS_MEDIA does not name video",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line}\n--\n{text}"
            );
        }
    }
}
