//! Exit codes, on which systemd and scripts depend.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::harness::{RTMSD, TempDir, run_to_end};

/// Runs the binary in that folder, without settings in the environment, and gives its exit code.
fn exit_code(folder: &Path, arguments: &[&str]) -> Option<i32> {
    let mut command = Command::new(RTMSD);
    run_to_end(command.args(arguments).current_dir(folder).env_clear()).code
}

/// A complete configuration with the server on that port.
fn configure(folder: &Path, port: u16) {
    let text = format!(
        "ZOOM_CLIENT_ID=id\nZOOM_CLIENT_SECRET=secret\nZOOM_SECRET_TOKEN=token\n\
         HOST=127.0.0.1\nPORT={port}\nRTMS_ADMIN=off\nRTMS_AUTO_START=off\n\
         RTMS_OUT={out}/out\nRTMS_STATE={out}/state\n",
        out = folder.display()
    );
    fs::write(folder.join("rtms.conf"), text).expect("a file");
}

#[test]
fn exit_codes() {
    let folder = TempDir::new();
    let code = |arguments: &[&str]| exit_code(folder.path(), arguments);
    for arguments in [&["--help"][..], &["--version"], &["print", "conf"]] {
        assert_eq!(code(arguments), Some(0), "{arguments:?}");
    }
    for arguments in [
        &["nonsense"][..],
        &["serve", "--nonsense"],
        &["serve", "extra"],
        &["--config"],
        &["start"],
        &["start", "not-a-number"],
        &["demo", "--meetings", "0"],
        &["print"],
        &["print", "nonsense"],
        &["print", "completions", "tcsh"],
        &["nonsense", "--help"],
    ] {
        assert_eq!(code(arguments), Some(64), "{arguments:?}");
    }

    // An empty file here, so that none in /etc is read.
    fs::write(folder.join("rtms.conf"), "").expect("a file");
    for arguments in [
        &["serve"][..],
        &["check"],
        &["start", "81234567890"],
        &["serve", "--config", "missing.conf"],
    ] {
        assert_eq!(code(arguments), Some(78), "{arguments:?}");
    }
    fs::write(folder.join("rtms.conf"), "PORT=x\n").expect("a file");
    assert_eq!(code(&["check"]), Some(78));

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    configure(folder.path(), port);
    assert_eq!(code(&["serve"]), Some(69));
    assert_eq!(code(&[]), Some(69), "without a command it is the server");
    drop(taken);
    configure(folder.path(), 0);
    assert_eq!(code(&["check"]), Some(0));

    // No server is at the port of the admin listener: ports below 1024 are not assigned by chance.
    let conf = "RTMS_ADMIN=127.0.0.1:1\n";
    fs::write(folder.join("rtms.conf"), conf).expect("a file");
    assert_eq!(code(&["status"]), Some(69));
}
