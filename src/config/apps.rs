//! `RTMS_APPS`: a folder of files `NAME.conf`, each of which is an app.
//!
//! A file has the keys in which its app differs; the others come from `rtms.conf` and the environment.
//! The result is a whole configuration for each app, with a folder of its own below `RTMS_OUT` and
//! `RTMS_STATE`. A faulty file disables its app alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keys::KEYS;
use super::precedence::{self, AppFile, Layers};
use super::{Config, Fault, Loaded, Sources};
use crate::domain::app::RestCredentials;

/// Maximum apps, so that the labels of metrics are bounded.
pub const APPS_MAX: usize = 64;
/// Maximum characters of an app's name.
pub const NAME_CHARS_MAX: usize = 32;
/// What the names of the files end with.
const FILE_END: &str = ".conf";

/// The keys that are not of one app.
const OF_THE_SERVER: [&str; 22] = [
    "HOST",
    "PORT",
    "WEBHOOK_PATH",
    "RTMS_TLS_CERT",
    "RTMS_TLS_KEY",
    "RTMS_VERIFY_WEBHOOKS",
    "RTMS_WEBHOOK_MAX_AGE",
    "RTMS_STATE",
    "RTMS_STATE_KEY_FILE",
    "RTMS_STDOUT",
    "RTMS_CA_FILE",
    "RTMS_APPS",
    "RTMS_ADMIN",
    "RTMS_ADMIN_TOKEN",
    "RTMS_ADMIN_URL",
    "RTMS_LOG",
    "RTMS_LOG_FORMAT",
    "RTMS_FLEET",
    "RTMS_FLEET_PASSWORD",
    "RTMS_FLEET_NAME",
    "RTMS_NODE",
    "RTMS_NODE_STREAMS",
];

/// Ways to an access token. A file that names one of them takes none from `rtms.conf`.
pub(super) const WAYS_TO_A_TOKEN: [&str; 4] = [
    "access_token",
    "ZOOM_ACCOUNT_ID",
    "ZOOM_REFRESH_TOKEN",
    "ZOOM_REDIRECT_URL",
];

/// The apps of a configuration.
#[derive(Debug, Clone)]
pub struct Apps {
    /// `RTMS_APPS`.
    pub folder: PathBuf,
    /// By name.
    pub apps: Vec<AppConf>,
}

/// One file of the folder.
#[derive(Debug, Clone)]
pub struct AppConf {
    /// The app's name; of a file whose name is none, the file's.
    pub name: Arc<str>,
    /// The file, for messages.
    pub file: String,
    /// Its configuration, or why it has none.
    pub loaded: Result<Box<Loaded>, Vec<Fault>>,
}

impl Apps {
    /// The configurations that can be used.
    pub fn usable(&self) -> impl Iterator<Item = (&AppConf, &Loaded)> {
        let apps = self.apps.iter();
        apps.filter_map(|app| Some((app, &**app.loaded.as_ref().ok()?)))
    }

    /// The faults of all files.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        let faults = self.apps.iter().map(|app| app.loaded.as_ref().err());
        faults.flatten().flatten()
    }

    /// The names of all apps.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.apps.iter().map(|app| &*app.name).collect();
        names.join(", ")
    }
}

/// Whether this key is for the server as a whole.
pub(super) fn is_of_the_server(name: &str) -> bool {
    let of_the_server = |key: &&super::keys::Key| OF_THE_SERVER.contains(&key.name);
    let mut keys = KEYS.iter().filter(of_the_server);
    keys.any(|key| key.names().any(|it| it == name))
}

/// Whether a text can be the name of an app.
pub fn is_name(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Reads the folder. The error is about the folder as a whole.
pub(super) fn load(folder: &Path, sources: &Sources<'_>, base: &Layers) -> Result<Apps, String> {
    let files = (sources.list)(folder).map_err(|error| {
        let folder = folder.display();
        format!("found {folder}, which cannot be read: {error}; expected a folder of NAME.conf")
    })?;
    let mut names: Vec<String> = files
        .iter()
        .filter_map(|file| file.strip_suffix(FILE_END))
        .filter(|name| !name.starts_with('.'))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    let mut apps = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        let path = folder.join(format!("{name}{FILE_END}"));
        let file = path.display().to_string();
        let loaded = match number < APPS_MAX {
            true => one(&name, &path, &file, sources, base),
            false => Err(vec![whole(
                &file,
                format!("found more than {APPS_MAX} files, expected {APPS_MAX} apps at most"),
            )]),
        };
        apps.push(AppConf {
            name: name.into(),
            file,
            loaded: loaded.map(Box::new),
        });
    }
    let mut apps = Apps {
        folder: folder.to_owned(),
        apps,
    };
    forbid_common(&mut apps);
    Ok(apps)
}

fn one(
    name: &str,
    path: &Path,
    file: &str,
    sources: &Sources<'_>,
    base: &Layers,
) -> Result<Loaded, Vec<Fault>> {
    if !is_name(name) {
        let text = format!(
            "found the name {name:?}, expected 1 to {NAME_CHARS_MAX} letters, digits, \"_\" and \"-\" \
             before {FILE_END}"
        );
        return Err(vec![whole(file, text)]);
    }
    let content = (sources.read)(path)
        .map_err(|error| vec![whole(file, format!("cannot be read: {error}"))])?;
    let sources = Sources {
        file: Some((file.to_owned(), content)),
        ..sources.clone()
    };
    precedence::load_app(&sources, base, name)
}

/// A fault of a file as a whole.
fn whole(file: &str, text: String) -> Fault {
    Fault {
        place: file.to_owned(),
        key: String::new(),
        text,
    }
}

/// Makes an app of a whole configuration: it gets folders of its own.
pub(super) fn adapt(config: &mut Config, app: &AppFile) {
    let daemon = &mut config.daemon;
    daemon.apps[0].name = app.name.clone();
    // The listener's, which is the server's.
    daemon.webhooks.tls = None;
    if let Some(state) = &mut daemon.state {
        *state = state.join("apps").join(&app.name);
    }
    if let Some(disk) = daemon.disk.as_mut().filter(|_| !app.gives("RTMS_OUT")) {
        disk.root = disk.root.join(&app.name);
    }
}

/// What no two apps may have in common: then it is not known which of them is meant, or each would harm
/// the other.
fn forbid_common(apps: &mut Apps) {
    let mut faults: Vec<(usize, Fault)> = Vec::new();
    for (number, app) in apps.apps.iter().enumerate() {
        let Ok(loaded) = &app.loaded else { continue };
        for (other_number, other) in apps.apps.iter().enumerate() {
            let Ok(other_loaded) = &other.loaded else {
                continue;
            };
            if number == other_number {
                continue;
            }
            let common = common(&loaded.config, &other_loaded.config);
            faults.extend(common.into_iter().map(|(key, what)| {
                let found = loaded.settings.iter().find(|setting| setting.key == key);
                let fault = Fault {
                    place: found.map_or(app.file.clone(), |setting| setting.place.clone()),
                    key: key.to_owned(),
                    text: format!("found {what} of app {}, expected another one", other.name),
                };
                (number, fault)
            }));
        }
    }
    for (number, fault) in faults {
        let loaded = &mut apps.apps[number].loaded;
        match loaded {
            Ok(_) => *loaded = Err(vec![fault]),
            Err(faults) => faults.push(fault),
        }
    }
}

/// The keys that differ in no two apps, and what they have in common.
fn common(a: &Config, b: &Config) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let tokens = &b.app().secret_tokens;
    if a.app()
        .secret_tokens
        .iter()
        .any(|token| tokens.contains(token))
    {
        found.push(("ZOOM_SECRET_TOKEN", "a secret token that is also that"));
    }
    let events = |config: &Config| {
        config
            .daemon
            .zoom_events
            .as_ref()
            .map(|it| it.url.as_str().to_owned())
    };
    if events(a).is_some() && events(a) == events(b) {
        found.push(("ZOOM_EVENTS_URL", "an address that is also that"));
    }
    // The store's keys have the client id in their names: two daemons would be one node.
    if a.daemon.fleet.is_some() && a.app().credentials.id == b.app().credentials.id {
        found.push((
            "ZOOM_CLIENT_ID",
            "with RTMS_FLEET, a client id that is also that",
        ));
    }
    if refresh_token(a).is_some() && refresh_token(a) == refresh_token(b) {
        found.push(("ZOOM_REFRESH_TOKEN", "a refresh token that is also that"));
    }
    let out = |config: &Config| config.daemon.disk.as_ref().map(|disk| absolute(&disk.root));
    if let (Some(a), Some(b)) = (out(a), out(b))
        && (a.starts_with(&b) || b.starts_with(&a))
    {
        found.push(("RTMS_OUT", "a folder that is also that, or lies in it,"));
    }
    found
}

fn refresh_token(config: &Config) -> Option<&str> {
    match &config.app().rest.credentials {
        RestCredentials::UserRefresh { refresh_token, .. } if !refresh_token.is_empty() => {
            Some(refresh_token.expose())
        }
        _ => None,
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
