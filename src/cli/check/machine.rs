//! The checks of this machine in `rtmsd check`: directories, ports, limits, the certificate, the
//! clock. A port is bound for a moment to see whether it is free; nothing else is changed.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, geteuid, getrlimit};

use super::count;
use super::report::{CheckLevel, Finding};
use crate::admin::ListenAddress;
use crate::cli::exit;
use crate::cli::service_env;
use crate::clock::now_ms;
use crate::config::Loaded;
use crate::delivery::ends::store::deletions;
use crate::domain::causes::with_causes;
use crate::domain::time::Utc;
use crate::gate::{Tls, TlsFiles};
use crate::net::file_limit::streams_max;
use crate::state;
use crate::state::seal::StateKeys;

/// Below this many days a certificate is near its end.
const DAYS_MIN: i32 = 14;
/// A clock before the date of this program is wrong: 2026-01-01.
const CLOCK_MS_MIN: u64 = 1_767_225_600_000;
/// Enough for an hour of all media, a few times over.
const FREE_BYTES_MIN: u64 = 1 << 30;

const NOT_USABLE: CheckLevel = CheckLevel::Fault(exit::NO_PERMISSION);
const WRONG: CheckLevel = CheckLevel::Fault(exit::CONFIG);

/// All findings about this machine.
pub(crate) fn findings(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let settings = &config.daemon;
    let mut findings = Vec::new();
    findings.extend(settings.disk.as_ref().map(|disk| meetings(&disk.root)));
    findings.extend(settings.state.as_deref().map(state_directory));
    let keys = &settings.state_keys;
    let sealed = settings
        .state
        .as_deref()
        .map(|state| state_key(state, keys));
    findings.extend(sealed.flatten());
    let hook = settings.ends.hook.as_ref();
    findings.extend(hook.map(|settings| hook_program(&settings.program())));
    let state = settings.state.as_deref();
    let state = state.filter(|_| settings.ends.bucket.is_none());
    findings.extend(state.into_iter().flat_map(left_in_buckets));
    let public = config
        .port
        .map(|port| SocketAddr::from((config.host, port)));
    findings.extend(public.map(|address| port(address, "HOST and PORT")));
    for address in &config.admin.listen {
        findings.push(match address {
            ListenAddress::Tcp(address) => port(*address, "RTMS_ADMIN"),
            ListenAddress::Unix(path) => socket(path),
        });
    }
    if let Some(files) = &settings.webhooks.tls {
        findings.push(certificate(files));
        findings.extend(key_mode(&files.key));
    }
    findings.extend(settings.ca_file.as_deref().and_then(roots));
    // The server raises its limit to this by itself.
    findings.push(limits(getrlimit(Resource::Nofile).maximum, "here"));
    findings.extend(service_env::findings(
        loaded.file.as_deref().map(Path::new),
        loaded.config.daemon.on_exit,
    ));
    findings.push(clock(now_ms()));
    findings
}

fn meetings(path: &Path) -> Finding {
    const WHAT: &str = "meetings";
    let finding = directory(path, WHAT, "RTMS_OUT");
    if finding.level != CheckLevel::Fine {
        return finding;
    }
    let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode());
    let text = finding.text;
    match free(path) {
        _ if mode & 0o004 != 0 => {
            let text = format!("{text}; every user of this machine can read it: chmod o-rx");
            Finding::new(CheckLevel::Warn, WHAT, text)
        }
        Some(bytes) if bytes < FREE_BYTES_MIN => {
            let text = format!("{text}; only {} free: free some space", size(bytes));
            Finding::new(CheckLevel::Warn, WHAT, text)
        }
        Some(bytes) => Finding::new(
            CheckLevel::Fine,
            WHAT,
            format!("{text}; {} free", size(bytes)),
        ),
        None => Finding::new(CheckLevel::Fine, WHAT, text),
    }
}

fn state_directory(path: &Path) -> Finding {
    const WHAT: &str = "state";
    let finding = directory(path, WHAT, "RTMS_STATE");
    if finding.level != CheckLevel::Fine || !path.exists() {
        return finding;
    }
    match state::inspect(path) {
        Ok(_) => finding,
        // Run by an administrator: the server may run as that user.
        Err(state::Error::NotOurs { owner, .. }) => {
            let text = format!(
                "{} belongs to the user with id {owner}, so the server must run as that user",
                path.display()
            );
            Finding::new(CheckLevel::Warn, WHAT, text)
        }
        Err(error) => Finding::new(NOT_USABLE, WHAT, error.to_string()),
    }
}

/// Whether the files in the state directory can be read with the configured key.
fn state_key(path: &Path, keys: &StateKeys) -> Option<Finding> {
    const WHAT: &str = "state key";
    let stale = match state::stale_files(path, keys) {
        Ok(stale) => stale.len(),
        Err(error @ state::Error::Sealed { .. }) => {
            return Some(Finding::new(WRONG, WHAT, error.to_string()));
        }
        // There is no directory yet, or this user may not enter it: that is another finding.
        Err(_) => 0,
    };
    let text = match stale {
        _ if keys.is_empty() => return None,
        0 => "tokens, keys and state in RTMS_STATE are encrypted".to_owned(),
        n => format!("tokens, keys and state in RTMS_STATE: the next start encrypts {n} files"),
    };
    Some(Finding::new(CheckLevel::Fine, WHAT, text))
}

/// Without a bucket, what is to go from a former one is not deleted.
fn left_in_buckets(state: &Path) -> Vec<Finding> {
    let left = deletions(state).into_iter();
    let finding = |(bucket, streams): (String, usize)| {
        let text = format!(
            "consent was withdrawn, but objects of {} are still in the bucket {bucket:?}: set \
             RTMS_S3_BUCKET again, and they are deleted",
            count(streams, "stream")
        );
        Finding::new(CheckLevel::Warn, "bucket", text)
    };
    left.map(finding).collect()
}

/// Whether the program of `RTMS_ON_STREAM_END` is there and can be run.
fn hook_program(path: &Path) -> Finding {
    const WHAT: &str = "hook";
    let name = path.display();
    let Ok(found) = fs::metadata(path) else {
        let text = format!(
            "{name} does not exist, or this user may not see it; set RTMS_ON_STREAM_END to another program"
        );
        return Finding::new(WRONG, WHAT, text);
    };
    let mode = found.permissions().mode();
    if !found.is_file() || mode & 0o111 == 0 || access(path, Access::EXEC_OK).is_err() {
        let text = format!("{name} cannot be executed by this user: chmod +x {name}");
        return Finding::new(NOT_USABLE, WHAT, text);
    }
    let is_hidden = ["/home", "/root", "/tmp", "/var/tmp"];
    let has_unit = Path::new("/run/systemd/system").is_dir();
    if has_unit && is_hidden.iter().any(|folder| path.starts_with(folder)) {
        let text = format!(
            "{name} is hidden from the service, which has no /home and its own /tmp; put it below /usr/local"
        );
        return Finding::new(CheckLevel::Warn, WHAT, text);
    }
    if geteuid().is_root() && mode & 0o001 == 0 {
        let text = format!(
            "{name} cannot be executed by every user, so perhaps not by the service: chmod o+rx {name}"
        );
        return Finding::new(CheckLevel::Warn, WHAT, text);
    }
    let text = match has_unit {
        true => format!(
            "{name}; under systemd it runs inside the unit's sandbox. What it needs beyond that goes \
             into a drop-in (systemctl edit rtmsd): MemoryDenyWriteExecute=no for programs that compile \
             while they run (node, Java), ReadWritePaths= for folders it writes to"
        ),
        false => name.to_string(),
    };
    Finding::new(CheckLevel::Fine, WHAT, text)
}

/// Whether this user may write there. A directory is created when it is first needed, so before
/// that the nearest existing one above it counts.
fn directory(path: &Path, what: &'static str, key: &str) -> Finding {
    let name = path.display();
    let may_write = |path: &Path| access(path, Access::WRITE_OK | Access::EXEC_OK);
    if path.exists() {
        if !path.is_dir() {
            let text = format!("{name} is not a directory; set {key} to another path");
            return Finding::new(WRONG, what, text);
        }
        return match may_write(path) {
            Ok(()) => Finding::new(CheckLevel::Fine, what, name.to_string()),
            Err(error) => {
                let text = format!(
                    "{name} cannot be written by this user ({error}); change its owner, or {key}"
                );
                Finding::new(NOT_USABLE, what, text)
            }
        };
    }
    match existing(path).map(may_write) {
        Some(Ok(())) => Finding::new(CheckLevel::Fine, what, format!("{name}, will be created")),
        _ => {
            let text = format!(
                "{name} does not exist and this user cannot create it; create it, or change {key}"
            );
            Finding::new(NOT_USABLE, what, text)
        }
    }
}

/// The path itself, or the nearest one above it that exists.
fn existing(path: &Path) -> Option<&Path> {
    let all = path
        .ancestors()
        .map(|above| match above.as_os_str().is_empty() {
            true => Path::new("."),
            false => above,
        });
    all.into_iter().find(|above| above.exists())
}

fn free(path: &Path) -> Option<u64> {
    let found = statvfs(existing(path)?).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn size(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        gib => format!("{gib} GiB"),
    }
}

/// The folder of a Unix socket, where the server makes its file.
fn socket(path: &Path) -> Finding {
    const WHAT: &str = "admin socket";
    let folder = path.parent().unwrap_or(Path::new("/"));
    let is_socket =
        |path: &Path| fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if UnixStream::connect(path).is_ok() {
        let text = format!("{} is in use: correct if the server runs", path.display());
        Finding::new(CheckLevel::Warn, WHAT, text)
    } else if fs::symlink_metadata(path).is_ok() && !is_socket(path) {
        let text = format!("{} is no socket; change RTMS_ADMIN", path.display());
        Finding::new(WRONG, WHAT, text)
    } else if !folder.is_dir() {
        let text = format!(
            "there is no folder {}; under systemd RuntimeDirectory= makes /run/rtmsd",
            folder.display()
        );
        Finding::new(CheckLevel::Warn, WHAT, text)
    } else {
        Finding::new(
            CheckLevel::Fine,
            WHAT,
            format!("{} is free", path.display()),
        )
    }
}

fn port(address: SocketAddr, keys: &str) -> Finding {
    const WHAT: &str = "port";
    let Err(error) = TcpListener::bind(address) else {
        return Finding::new(CheckLevel::Fine, WHAT, format!("{address} is free"));
    };
    match error.kind() {
        ErrorKind::AddrInUse => {
            let text = format!(
                "{address} is in use: correct if the running server uses it (rtmsd status), else change {keys}"
            );
            Finding::new(CheckLevel::Warn, WHAT, text)
        }
        ErrorKind::PermissionDenied => {
            let text = format!(
                "{address} is not allowed for this user; use a port from 1024 on, or \"rtmsd print \
                 socket\""
            );
            Finding::new(CheckLevel::Warn, WHAT, text)
        }
        _ => {
            let text = format!("{address} cannot be used ({error}); change {keys}");
            Finding::new(WRONG, WHAT, text)
        }
    }
}

fn certificate(files: &TlsFiles) -> Finding {
    let (level, text) = match Tls::load(files).map(|tls| tls.days_left()) {
        Ok(days) if days < 0 => (
            WRONG,
            "has expired, so Zoom does not deliver webhooks; renew it, then reload (SIGHUP)"
                .to_owned(),
        ),
        Ok(days) if days < DAYS_MIN => (
            CheckLevel::Warn,
            format!("expires in {days} days; renew it, then reload (SIGHUP)"),
        ),
        Ok(days) => (
            CheckLevel::Fine,
            format!("valid for {days} days; after a renewal, reload (SIGHUP)"),
        ),
        Err(error) => (WRONG, with_causes(&error)),
    };
    Finding::new(level, "certificate", text)
}

fn key_mode(key: &Path) -> Option<Finding> {
    let mode = fs::metadata(key).ok()?.permissions().mode();
    (mode & 0o006 != 0).then(|| {
        let name = key.display();
        let text = format!("every user of this machine can read {name}: chmod o-rw {name}");
        Finding::new(CheckLevel::Warn, "certificate", text)
    })
}

fn roots(file: &Path) -> Option<Finding> {
    let error = access(file, Access::READ_OK).err()?;
    let text = format!("RTMS_CA_FILE {} cannot be read: {error}", file.display());
    Some(Finding::new(NOT_USABLE, "roots", text))
}

/// `place` says whose limit it is.
pub(crate) fn limits(files_max: Option<u64>, place: &str) -> Finding {
    const WHAT: &str = "limits";
    let Some(files_max) = files_max else {
        return Finding::new(
            CheckLevel::Fine,
            WHAT,
            format!("unlimited open files {place}"),
        );
    };
    let streams = streams_max(files_max);
    let text = format!("{files_max} open files {place}, enough for about {streams} streams");
    match streams {
        0..50 => {
            let text = format!("{text}; raise it (LimitNOFILE=65536, ulimit -n)");
            Finding::new(CheckLevel::Warn, WHAT, text)
        }
        _ => Finding::new(CheckLevel::Fine, WHAT, text),
    }
}

fn clock(now_ms: u64) -> Finding {
    let now = Utc::from_unix_ms(now_ms);
    if now_ms < CLOCK_MS_MIN {
        let text = format!(
            "{now} is wrong; signatures and certificates need the right time (timedatectl set-ntp true)"
        );
        return Finding::new(WRONG, "clock", text);
    }
    let text = format!("{now}; --online compares it with Zoom's");
    Finding::new(CheckLevel::Fine, "clock", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_about_the_machine() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address");
        assert_eq!(port(address, "PORT").level, CheckLevel::Warn);
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        assert_eq!(port(free, "PORT").text, "127.0.0.1:0 is free");
        // An address that no machine has, because it is for documentation (RFC 5737).
        let foreign = SocketAddr::from(([192, 0, 2, 1], 3000));
        assert_eq!(port(foreign, "HOST and PORT").level, WRONG);
        for (files, level, expected) in [
            (None, CheckLevel::Fine, "unlimited open files here"),
            (
                Some(65_536),
                CheckLevel::Fine,
                "65536 open files here, enough for about 4329 streams",
            ),
            (
                Some(1024),
                CheckLevel::Fine,
                "1024 open files here, enough for about 51 streams",
            ),
            (
                Some(512),
                CheckLevel::Warn,
                "512 open files here, enough for about 25 streams; raise it (LimitNOFILE=65536, ulimit -n)",
            ),
        ] {
            assert_eq!(
                limits(files, "here"),
                Finding::new(level, "limits", expected)
            );
        }
        assert_eq!(clock(0).level, WRONG);
        assert_eq!(clock(CLOCK_MS_MIN).level, CheckLevel::Fine);
        let nothing = TlsFiles {
            cert: "/nowhere/cert".into(),
            key: "/nowhere/key".into(),
        };
        assert_eq!(certificate(&nothing).level, WRONG);
    }

    #[test]
    fn findings_about_directories() {
        let folder = crate::testing::scratch("check");
        let inner = folder.join("state");
        fs::create_dir_all(&inner).expect("a folder");
        let with_mode = |mode| {
            fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).expect("ours");
            (state_directory(&inner).level, meetings(&inner).level)
        };
        fs::write(inner.join("a"), "").expect("a file");
        assert_eq!(with_mode(0o700).0, CheckLevel::Fine);
        assert_eq!(with_mode(0o755), (NOT_USABLE, CheckLevel::Warn));
        let missing = inner.join("b/c");
        assert!(meetings(&missing).text.contains(", will be created"));
        assert_eq!(meetings(&inner.join("a")).level, WRONG);
        let hook = |mode| {
            fs::set_permissions(inner.join("a"), fs::Permissions::from_mode(mode)).expect("ours");
            hook_program(&inner.join("a")).level
        };
        assert_eq!(hook(0o644), NOT_USABLE);
        assert!(!matches!(hook(0o755), CheckLevel::Fault(_)));
        assert_eq!(hook_program(&inner.join("b")).level, WRONG);
        assert_eq!(hook_program(&inner).level, NOT_USABLE);
        let key = inner.join("a");
        for (mode, is_told) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("ours");
            assert_eq!(key_mode(&key).is_some(), is_told, "{mode:o}");
        }
    }
}
