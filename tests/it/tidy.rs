//! What the sources promise and no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            found.push((path, text));
        }
    }
    found
}

/// The pure parts stay pure: no socket, clock, file, thread or output.
#[test]
fn the_protocol_and_the_coordinator_do_nothing_but_think() {
    const FORBIDDEN: [&str; 9] = [
        "std::fs",
        "std::thread",
        "std::process",
        "TcpStream",
        "UnixStream",
        "SystemTime",
        "Instant::now",
        "println!",
        "log::warn!",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut read = 0;
    for part in ["protocol", "coordinator"] {
        for (path, text) in sources(&root.join(part)) {
            let is_test = path.components().any(|part| part.as_os_str() == "tests")
                || path.file_name().is_some_and(|name| name == "tests.rs");
            // Tests draw their first moment from the clock; what they test does not.
            let code = match is_test {
                true => continue,
                false => text.split("#[cfg(test)]").next().unwrap_or_default(),
            };
            read += 1;
            for word in FORBIDDEN {
                assert!(!code.contains(word), "{}: {word}", path.display());
            }
        }
    }
    assert!(read > 15, "only {read} files were found");
}
