//! `rtmsd --version`: what this binary was built from.

use std::fmt::Write;

/// The cargo features that change what the binary can do, in the order of `Cargo.toml`.
const FEATURES: [(&str, bool); 3] = [
    ("demo", cfg!(feature = "demo")),
    ("fleet", cfg!(feature = "fleet")),
    ("vendored", cfg!(feature = "vendored")),
];

/// The commit, if the build named it in `RTMSD_COMMIT`. A build from the crate has none.
const COMMIT: Option<&str> = option_env!("RTMSD_COMMIT");

/// Name, version, commit and features: `rtmsd 0.2.0 (commit 1a2b3c4d5e6f, features demo)`.
pub fn text() -> String {
    let present = FEATURES.iter().filter(|(_, is_on)| *is_on);
    let names: Vec<&str> = present.map(|(name, _)| *name).collect();
    let features = match names.is_empty() {
        true => "no features".to_owned(),
        false => format!("features {}", names.join(" ")),
    };
    let mut text = format!("rtmsd {} (", env!("CARGO_PKG_VERSION"));
    if let Some(commit) = COMMIT.filter(|commit| !commit.is_empty()) {
        let _ = write!(text, "commit {commit}, ");
    }
    text + &features + ")"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_the_manifest_is_named() {
        let manifest = include_str!("../../Cargo.toml");
        let section = manifest.split("[features]").nth(1).expect("features");
        let section = section.split("\n[").next().expect("a section");
        let lines = section.lines().filter(|line| !line.starts_with('#'));
        let names: Vec<&str> = lines
            .filter_map(|line| Some(line.split_once(" = ")?.0))
            .filter(|name| *name != "default")
            .collect();
        assert_eq!(names, FEATURES.map(|(name, _)| name));
    }

    #[test]
    fn the_version_comes_first() {
        let expected = format!("rtmsd {} (", env!("CARGO_PKG_VERSION"));
        assert!(text().starts_with(&expected), "{}", text());
    }
}
