use super::*;
use crate::testing::scratch;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

pub(super) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn written_files_are_private_and_read_back() {
    let scratch = scratch("write");
    let state = StateDir::open(scratch.0.join("deep/state")).unwrap();
    assert_eq!(state.read("token").unwrap(), None);
    state.write_atomic("token", b"one").unwrap();
    state.write_atomic("token", b"two").unwrap();
    assert_eq!(state.read("token").unwrap().unwrap(), b"two");
    assert_eq!(mode(state.path()), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(state.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600);
        names.push(entry.file_name());
    }
    names.sort();
    assert_eq!(names, ["lock", "token"], "no temporary file is left");
    state.remove("token").unwrap();
    state.remove("token").unwrap();
    assert_eq!(state.read("token").unwrap(), None);
}

#[test]
fn a_second_process_gets_the_pid_of_the_first() {
    let scratch = scratch("lock");
    let first = StateDir::open(&scratch.0).unwrap();
    let error = StateDir::open(&scratch.0).unwrap_err();
    let text = error.to_string();
    let found = format!(
        "state directory {}: in use by another process (pid {}), expected no other process",
        scratch.0.display(),
        std::process::id()
    );
    assert!(
        text.starts_with(&found) && text.contains("RTMS_STATE"),
        "{text}"
    );
    drop(first);
    StateDir::open(&scratch.0).unwrap();
}

#[test]
fn a_readable_directory_is_made_private_only_if_it_is_plainly_ours() {
    let scratch = scratch("mode");
    let open_with = |mode: u32, file: Option<&str>| {
        let _ = fs::remove_dir_all(&scratch.0);
        fs::create_dir(&scratch.0).unwrap();
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(mode)).unwrap();
        if let Some(file) = file {
            fs::write(scratch.0.join(file), "").unwrap();
        }
        StateDir::open(&scratch.0).map(|state| crate::state::tests::mode(state.path()))
    };
    assert_eq!(open_with(0o755, None), Ok(0o700));
    assert_eq!(open_with(0o750, Some(LOCK_NAME)), Ok(0o700));
    let refused = open_with(0o755, Some("letter.txt")).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("found mode 0755, expected 0700")
    );
    assert!(matches!(
        open_with(0o1777, None),
        Err(Error::NotPrivate { mode: 0o1777, .. })
    ));
    fs::remove_dir_all(&scratch.0).unwrap();
    fs::write(&scratch.0, "").unwrap();
    let error = StateDir::open(&scratch.0).unwrap_err();
    fs::remove_file(&scratch.0).unwrap();
    assert!(error.to_string().contains(scratch.0.to_str().unwrap()));
}

#[test]
fn names_cannot_leave_the_directory() {
    let scratch = scratch("names");
    let state = StateDir::open(&scratch.0).unwrap();
    for name in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        ".hidden",
        "lock",
        "a\0b",
        &"n".repeat(201),
    ] {
        assert_eq!(state.write_atomic(name, b""), Err(Error::Name), "{name:?}");
        assert_eq!(state.read(name), Err(Error::Name), "{name:?}");
        assert_eq!(state.remove(name), Err(Error::Name), "{name:?}");
    }
    state.write_atomic(&"n".repeat(200), b"").unwrap();
}

#[test]
fn a_crash_leaves_the_old_file_or_the_new_one() {
    for step in Step::ALL {
        for moment in [Moment::Before(step), Moment::After(step)] {
            let scratch = scratch("crash");
            StateDir::open(&scratch.0)
                .unwrap()
                .write_atomic("file", b"old")
                .unwrap();
            let state = StateDir::open_observed(&scratch.0, move |now| {
                if now == moment {
                    // Unwinds without the panic hook, so that no further step of the write runs.
                    resume_unwind(Box::new("crash"));
                }
            })
            .unwrap();
            catch_unwind(AssertUnwindSafe(|| state.write_atomic("file", b"new"))).unwrap_err();
            drop(state);
            let state = StateDir::open(&scratch.0).unwrap();
            let is_new = matches!(
                moment,
                Moment::After(Step::Rename)
                    | Moment::Before(Step::SyncDirectory)
                    | Moment::After(Step::SyncDirectory)
            );
            let expected: &[u8] = if is_new { b"new" } else { b"old" };
            assert_eq!(state.read("file").unwrap().unwrap(), expected, "{moment:?}");
            let left: Vec<_> = fs::read_dir(&scratch.0)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .filter(|name| name.to_string_lossy().starts_with(TEMP_PREFIX))
                .collect();
            assert!(left.is_empty(), "{moment:?} left {left:?}");
        }
    }
}

#[test]
fn concurrent_writes_of_one_file_do_not_mix() {
    let scratch = scratch("race");
    let state = StateDir::open(&scratch.0).unwrap();
    std::thread::scope(|scope| {
        for letter in [b'a', b'b', b'c'] {
            let state = &state;
            scope.spawn(move || {
                for _ in 0..20 {
                    state.write_atomic("file", &[letter; 1000]).unwrap();
                }
            });
        }
    });
    let bytes = state.read("file").unwrap().unwrap();
    assert_eq!(bytes.len(), 1000);
    assert!(bytes.iter().all(|b| *b == bytes[0]));
}

fn keys(seeds: &[u8]) -> StateKeys {
    let secrets = seeds.iter().map(|seed| vec![*seed; 32]);
    StateKeys::new(secrets.collect()).expect("keys")
}

#[test]
fn with_a_key_files_with_secrets_are_encrypted_and_others_are_not() {
    let scratch = scratch("sealed");
    let plain = StateDir::open(&scratch.0).unwrap();
    plain
        .write_atomic("refresh_token.json", b"a secret")
        .unwrap();
    plain.write_atomic("feed-pos", b"17").unwrap();
    drop(plain);
    let raw = |name: &str| fs::read(scratch.0.join(name)).unwrap();
    // The next start with a key encrypts what is there.
    let state = StateDir::open_sealed(&scratch.0, keys(&[1])).unwrap();
    assert!(raw("refresh_token.json").starts_with(b"rtmsd sealed 1\n"));
    assert_eq!(raw("feed-pos"), b"17");
    assert_eq!(
        state.read("refresh_token.json").unwrap().unwrap(),
        b"a secret"
    );
    state.write_atomic("grant-1.json", b"another").unwrap();
    assert_eq!(state.read("grant-1.json").unwrap().unwrap(), b"another");
    drop(state);
    let before = (raw("refresh_token.json"), raw("grant-1.json"));
    for other in [StateKeys::default(), keys(&[2])] {
        let error = StateDir::open_sealed(&scratch.0, other).unwrap_err();
        assert!(matches!(error, Error::Sealed { .. }), "{error}");
        assert!(error.to_string().contains("RTMS_STATE_KEY_FILE"), "{error}");
    }
    assert_eq!((raw("refresh_token.json"), raw("grant-1.json")), before);
    // Another key in front of it: everything is written again with that one.
    drop(StateDir::open_sealed(&scratch.0, keys(&[2, 1])).unwrap());
    let state = StateDir::open_sealed(&scratch.0, keys(&[2])).unwrap();
    assert_eq!(state.read("grant-1.json").unwrap().unwrap(), b"another");
    drop(state);
    // A file that was changed stops only its reader.
    let mut damaged = raw("grant-1.json");
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(scratch.0.join("grant-1.json"), &damaged).unwrap();
    let state = StateDir::open_sealed(&scratch.0, keys(&[2])).unwrap();
    assert!(matches!(
        state.read("grant-1.json"),
        Err(Error::Sealed { .. })
    ));
    assert_eq!(
        state.read("refresh_token.json").unwrap().unwrap(),
        b"a secret"
    );
    assert_eq!(raw("grant-1.json"), damaged);
}

#[test]
fn with_a_key_the_log_of_webhooks_says_nothing_about_meetings() {
    let scratch = scratch("sealed-log");
    let open = |keys: StateKeys| {
        let state = StateDir::open_sealed(&scratch.0, keys)?;
        intents::IntentLog::open(&Arc::new(state), "registry.json", || ())
    };
    let soon = || std::time::Instant::now() + crate::testing::PATIENCE;
    let body = br#"{"topic":"Weekly"}"#;
    let raw = || fs::read(scratch.0.join("intents.log")).unwrap();
    let is_plain = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains("Weekly");
    let (log, _) = open(StateKeys::default()).unwrap();
    let id = log.append(body).unwrap();
    log.wait(id, soon()).unwrap();
    assert!(log.stop(soon()));
    drop(log);
    assert!(is_plain(raw()));
    // With a key the plain line is read, and the next checkpoint replaces it.
    let (log, replay) = open(keys(&[1])).unwrap();
    assert_eq!(replay.events.len(), 1);
    log.checkpoint(&[], b"snapshot".to_vec());
    let id = log.append(body).unwrap();
    log.wait(id, soon()).unwrap();
    log.effect(&[], br#"{"changed":"Weekly"}"#);
    assert!(log.stop(soon()));
    drop(log);
    assert!(!is_plain(raw()));
    assert!(open(StateKeys::default()).is_err() && open(keys(&[2])).is_err());
    let (log, replay) = open(keys(&[1])).unwrap();
    let bodies: Vec<&[u8]> = replay.events.iter().map(|(_, body)| &body[..]).collect();
    assert_eq!(bodies, [&body[..], &body[..]]);
    assert_eq!(replay.effects, [br#"{"changed":"Weekly"}"#.to_vec()]);
    assert!(log.stop(soon()));
}
