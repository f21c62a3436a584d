//! `--app NAME`: the configuration of one of several apps, for a command beside the server.

use super::exit;
use crate::config::{Apps, Loaded};

/// Which app a command is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// It needs one: the one with that name, or the only one.
    One(Option<&'a str>),
    /// The one with that name, or all.
    Any(Option<&'a str>),
}

/// The exit code, and lines of what is wrong.
type Wrong = (u8, Vec<String>);

impl Which<'_> {
    /// The configuration that is meant.
    ///
    /// # Errors
    /// There is no such app, its file is faulty, or one of several must be named.
    pub(super) fn choose(self, loaded: Loaded) -> Result<Loaded, Wrong> {
        let (Which::One(name) | Which::Any(name)) = self;
        let usage = |text: String| (exit::USAGE, vec![format!("rtmsd: {text}")]);
        match (&loaded.apps, name) {
            (None, None) => Ok(loaded),
            (None, Some(name)) => Err(usage(format!(
                "--app {name}: found a configuration without RTMS_APPS, which has one app without a name"
            ))),
            (Some(apps), Some(name)) => named(apps, name).unwrap_or_else(|| {
                let names = apps.names();
                Err(usage(format!(
                    "--app: found {name:?}, expected one of {names}"
                )))
            }),
            (Some(apps), None) => match (self, apps.apps.as_slice()) {
                (Which::Any(_), _) => Ok(loaded),
                (Which::One(_), [only]) => {
                    named(apps, &only.name).unwrap_or_else(|| Err(usage(String::new())))
                }
                (Which::One(_), _) => {
                    let names = apps.names();
                    let text = format!("found several apps, expected --app with one of {names}");
                    Err(usage(text))
                }
            },
        }
    }
}

fn named(apps: &Apps, name: &str) -> Option<Result<Loaded, Wrong>> {
    let app = apps.apps.iter().find(|app| &*app.name == name)?;
    Some(match &app.loaded {
        Ok(loaded) => Ok((**loaded).clone()),
        Err(faults) => {
            let faults = faults.iter().map(ToString::to_string).collect();
            Err((exit::CONFIG, faults))
        }
    })
}
