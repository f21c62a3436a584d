//! Precedence of the sources of a key. Keys that need each other are in `completeness`, unusual
//! settings in `lint`.
//!
//! For one key: the environment, then the file; for a secret also `KEY_FILE` in either place, and a
//! file with that name in `$CREDENTIALS_DIRECTORY`. An empty value counts as not given. Two ways
//! that give the same secret are a fault, because it would not be clear which one is used; only the
//! environment may override. Before all of them comes the file of an app, if there are several apps; there
//! an empty value means that the app does not have the key.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::apps::{self, Apps, WAYS_TO_A_TOKEN, is_of_the_server};
use super::fault::{distance, shown};
use super::keys::{Draft, KEYS, Key};
use super::{Config, Fault, FileContent, Needs, Sources, Warning, file_format};
use crate::domain::secret::Secret;

/// The key with which there may be several apps.
const APPS: &str = "RTMS_APPS";

/// Maximum size of a secret's file, in bytes.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// A configuration with its sources.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The keys that were given, in the order of [`KEYS`].
    pub settings: Vec<Setting>,
    /// Warnings about unusual settings.
    pub warnings: Vec<Warning>,
    /// The file that was read.
    pub file: Option<String>,
    /// `RTMS_APPS`: the apps, if there may be several. Then the configuration itself is of no app: it has
    /// what they have in common.
    pub apps: Option<Apps>,
}

/// A key that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name: one of [`KEYS`], or that of a further endpoint.
    pub key: Cow<'static, str>,
    /// Its value; a secret is hidden.
    pub shown: String,
    /// Where it was given: `rtms.conf:12`, `environment`, `credentials`.
    pub place: String,
    /// Its raw value, for comparison only; must not be shown.
    value: Secret,
}

impl Loaded {
    /// The keys whose values differ, in the order of [`KEYS`], further endpoints behind them.
    pub fn changed_since(&self, earlier: &Loaded) -> Vec<String> {
        let value = |loaded: &Loaded, key: &str| {
            let mut settings = loaded.settings.iter();
            let found = settings.find(|setting| setting.key == key);
            found.map(|setting| setting.value.clone())
        };
        let both = self.settings.iter().chain(&earlier.settings);
        let known = |name: &str| KEYS.iter().any(|key| key.name == name);
        let named: BTreeSet<&str> = both
            .map(|setting| &*setting.key)
            .filter(|name| !known(name))
            .collect();
        let names = KEYS.iter().map(|key| key.name).chain(named);
        let differ = |name: &&str| value(self, name) != value(earlier, name);
        names.filter(differ).map(str::to_owned).collect()
    }
}

/// A value before it is parsed.
#[derive(Debug, Clone)]
struct Given {
    name: String,
    value: String,
    place: String,
    is_continued: bool,
}

/// Reads a configuration. The error has all its faults, in the order of the file. Faults in the files of
/// apps are with the apps.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, Vec<Fault>> {
    let mut reading = Loading::new(sources);
    let layers = Layers {
        app: None,
        file: reading.read_file(false),
        environment: reading.read_environment(),
    };
    if !layers.has_apps() {
        return reading.complete(&layers);
    }
    let common = Sources {
        needs: match sources.needs {
            Needs::Admin => Needs::Admin,
            _ => Needs::Common,
        },
        ..sources.clone()
    };
    let loading = Loading {
        sources: &common,
        ..reading
    };
    let mut loaded = loading.complete(&layers)?;
    if let Some(folder) = &loaded.config.apps {
        let apps = apps::load(folder, sources, &layers);
        loaded.apps = Some(apps.map_err(|text| {
            let place = loaded.settings.iter().find(|it| it.key == APPS);
            vec![Fault {
                place: place.map_or_else(String::new, |setting| setting.place.clone()),
                key: APPS.to_owned(),
                text,
            }]
        })?);
    }
    Ok(loaded)
}

/// Reads the configuration of an app from its file, which is that of the sources, above what all apps have
/// in common.
pub(super) fn load_app(
    sources: &Sources<'_>,
    common: &Layers,
    name: &str,
) -> Result<Loaded, Vec<Fault>> {
    let mut loading = Loading::new(sources);
    let given = loading.read_file(true);
    let name = name.to_owned();
    loading.complete(&Layers {
        app: Some(AppFile { name, given }),
        ..common.clone()
    })
}

/// What is read before keys are chosen: of two layers the first one counts.
#[derive(Clone)]
pub(super) struct Layers {
    app: Option<AppFile>,
    environment: GivenByName,
    file: GivenByName,
}

/// The file of an app.
#[derive(Clone)]
pub(super) struct AppFile {
    pub(super) name: String,
    /// Empty values are among them.
    given: GivenByName,
}

impl Layers {
    fn has_apps(&self) -> bool {
        [&self.environment, &self.file]
            .iter()
            .any(|layer| layer.contains_key(APPS))
    }
}

impl AppFile {
    /// Whether the file itself has this key.
    pub(super) fn gives(&self, key: &str) -> bool {
        let key = KEYS.iter().find(|it| it.name == key);
        key.is_some_and(|key| key.names().any(|name| self.given.contains_key(&name)))
    }
}

pub(crate) struct Loading<'a> {
    pub(super) sources: &'a Sources<'a>,
    pub(super) settings: Vec<Setting>,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
}

/// The values of one source, by the name as written.
type GivenByName = HashMap<String, Given>;

impl<'a> Loading<'a> {
    fn new(sources: &'a Sources<'a>) -> Loading<'a> {
        Loading {
            sources,
            settings: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Chooses and combines what was read.
    fn complete(mut self, layers: &Layers) -> Result<Loaded, Vec<Fault>> {
        let mut draft = Draft::default();
        let app = layers.app.iter().map(|app| &app.given);
        let sources: Vec<&GivenByName> = app.chain([&layers.file, &layers.environment]).collect();
        let named = endpoints(&sources);
        let usual = KEYS.iter().map(|key| (key, ""));
        let further = named.iter().flat_map(|endpoint| {
            let keys = KEYS.iter().filter(|key| key.is_of_an_endpoint());
            keys.map(move |key| (key, endpoint.as_str()))
        });
        for (key, endpoint) in usual.chain(further) {
            let faults = self.faults.len();
            match self.choose(key, endpoint, layers) {
                Some(given) => {
                    endpoint.clone_into(&mut draft.endpoint);
                    self.set(key, given, &mut draft);
                }
                // If the file of a secret cannot be read, that is the only fault: the key does not
                // count as missing.
                None if self.faults.len() > faults => self.settings.push(Setting {
                    key: key.name_for(endpoint).into(),
                    shown: String::new(),
                    place: String::new(),
                    value: Secret::new(""),
                }),
                None => {}
            }
        }
        let mut config = self.finish(draft);
        if let Some(app) = &layers.app {
            apps::adapt(&mut config, app);
        }
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        self.lint(&config);
        Ok(Loaded {
            config,
            settings: self.settings,
            warnings: self.warnings,
            file: self.sources.file.as_ref().map(|(name, _)| name.clone()),
            apps: None,
        })
    }
}

impl Loading<'_> {
    pub(crate) fn fault(&mut self, place: &str, key: &str, text: impl Into<String>) {
        self.faults.push(Fault {
            place: place.to_owned(),
            key: key.to_owned(),
            text: text.into(),
        });
    }

    pub(crate) fn warn(&mut self, key: &str, text: impl Into<String>) {
        let place = self.place(key);
        self.warnings.push(Warning {
            place,
            key: key.to_owned(),
            text: text.into(),
        });
    }

    /// Where a key was given, otherwise where it could be.
    pub(crate) fn place(&self, key: &str) -> String {
        let given = self.settings.iter().find(|setting| setting.key == key);
        match (given, &self.sources.file) {
            (Some(setting), _) => setting.place.clone(),
            (None, Some((name, _))) => name.clone(),
            (None, None) => "configuration".to_owned(),
        }
    }

    pub(crate) fn is_given(&self, key: &str) -> bool {
        self.settings.iter().any(|setting| setting.key == key)
    }

    /// Reads the file of the sources: `rtms.conf`, or that of an app.
    fn read_file(&mut self, is_of_an_app: bool) -> GivenByName {
        let mut found = GivenByName::new();
        let Some((file_name, content)) = &self.sources.file else {
            return found;
        };
        let (entries, bad_lines) = file_format::parse(&content.bytes);
        for bad in bad_lines {
            let place = match bad.line {
                0 => file_name.clone(),
                line => format!("{file_name}:{line}"),
            };
            self.fault(&place, "", bad.text);
        }
        for entry in entries {
            let place = format!("{file_name}:{}", entry.line);
            if find(&entry.key).is_none() {
                if is_ours(&entry.key) {
                    self.fault(&place, &clipped(&entry.key), unknown(&entry.key));
                }
                continue;
            }
            if is_of_an_app && is_of_the_server(&entry.key) {
                let text = "found in the file of an app, expected in rtms.conf: it is for the whole server";
                self.fault(&place, &entry.key, text);
                continue;
            }
            if let Some(first) = found.get(&entry.key) {
                let text = format!("found again, expected once; it stands in {}", first.place);
                self.fault(&place, &entry.key, text);
                continue;
            }
            let given = Given {
                name: entry.key.clone(),
                value: entry.value,
                place,
                is_continued: entry.is_continued,
            };
            found.insert(entry.key, given);
        }
        let has_secret = found.values().any(|given| {
            !given.value.is_empty()
                && find(&given.name).is_some_and(|(key, is_file)| key.is_secret && !is_file)
        });
        self.check_mode(file_name, content.mode, has_secret);
        found.retain(|_, given| is_of_an_app || !given.value.is_empty());
        found
    }

    pub(super) fn check_mode(&mut self, name: &str, mode: Option<u32>, has_secret: bool) {
        let mode = mode.unwrap_or(0);
        let (what, remedy) = if mode & 0o002 != 0 {
            ("everyone on this machine may change it", "chmod o-w")
        } else if mode & 0o004 != 0 && has_secret {
            (
                "everyone on this machine may read the secrets in it",
                "chmod o-r",
            )
        } else {
            return;
        };
        self.warnings.push(Warning {
            place: name.to_owned(),
            key: String::new(),
            text: format!("{what}; {remedy} {name}"),
        });
    }

    fn read_environment(&mut self) -> GivenByName {
        let mut found = GivenByName::new();
        for (name, value) in &self.sources.environment {
            let Some(name) = name.to_str() else { continue };
            if find(name).is_none() {
                if is_ours(name) {
                    self.warnings.push(Warning {
                        place: "environment".to_owned(),
                        key: clipped(name),
                        text: unknown(name),
                    });
                }
                continue;
            }
            let value = value.to_string_lossy().trim().to_owned();
            if !value.is_empty() {
                let given = Given {
                    name: name.to_owned(),
                    value,
                    place: "environment".to_owned(),
                    is_continued: false,
                };
                found.insert(name.to_owned(), given);
            }
        }
        // The environment has no order, but messages should.
        self.warnings
            .sort_by(|a, b| (&a.place, &a.key).cmp(&(&b.place, &b.key)));
        found
    }

    /// The one source that gives a key; a secret is read from its file.
    fn choose(&mut self, key: &'static Key, endpoint: &str, layers: &Layers) -> Option<Given> {
        if let Some(app) = &layers.app {
            if let Some(given) = self.one_of_names(key, endpoint, &app.given) {
                return (!given.value.is_empty()).then(|| self.fetched(key, given))?;
            }
            let is_replaced = || WAYS_TO_A_TOKEN.iter().any(|way| app.gives(way));
            if WAYS_TO_A_TOKEN.contains(&key.name) && is_replaced() {
                return None;
            }
        }
        let here = self.one_of_names(key, endpoint, &layers.environment);
        let there = self.one_of_names(key, endpoint, &layers.file);
        if here.is_some() || !key.is_secret {
            return here.or(there).and_then(|given| self.fetched(key, given));
        }
        let credential = self.credential(key, endpoint);
        if let (Some(there), Some(_)) = (&there, &credential) {
            let text = "found here and in $CREDENTIALS_DIRECTORY, expected one of the two";
            self.fault(&there.place, &there.name, text);
            return None;
        }
        credential.or_else(|| there.and_then(|given| self.fetched(key, given)))
    }

    /// The value of a key in one source, under any of its names; two of them are a fault.
    fn one_of_names(
        &mut self,
        key: &'static Key,
        endpoint: &str,
        source: &GivenByName,
    ) -> Option<Given> {
        let names = key.names_for(endpoint);
        let given: Vec<&Given> = names.filter_map(|name| source.get(&name)).collect();
        if let [first, second, ..] = given.as_slice() {
            let text = format!("found beside {}, expected one of the two", first.name);
            let (place, name) = (second.place.clone(), second.name.clone());
            self.fault(&place, &name, text);
        }
        given.first().map(|given| (*given).clone())
    }

    /// The value itself, if the name says that it is in a file.
    fn fetched(&mut self, key: &'static Key, given: Given) -> Option<Given> {
        let is_file = find(&given.name).is_some_and(|(_, is_file)| is_file);
        if !key.is_secret || !is_file {
            return Some(given);
        }
        let path = PathBuf::from(&given.value);
        match (self.sources.read)(&path) {
            Ok(content) => self.secret_in(given, &path, &content),
            Err(error) => {
                let text = format!(
                    "found {}, which cannot be read: {error}",
                    shown(&given.value)
                );
                self.fault(&given.place, &given.name, text);
                None
            }
        }
    }

    fn credential(&mut self, key: &'static Key, endpoint: &str) -> Option<Given> {
        let directory = self.variable("CREDENTIALS_DIRECTORY")?;
        let aliases = key.aliases.iter().map(|name| (*name).to_owned());
        for name in std::iter::once(key.name_for(endpoint)).chain(aliases) {
            let path = Path::new(&directory).join(&name);
            let given = Given {
                name: name.clone(),
                value: String::new(),
                place: "credentials".to_owned(),
                is_continued: false,
            };
            match (self.sources.read)(&path) {
                // The unit's empty fallback for a missing secret.
                Ok(FileContent { bytes, .. }) if bytes.trim_ascii().is_empty() => {}
                // systemd keeps the directory closed to other users, so the file's mode does not matter.
                Ok(FileContent { bytes, .. }) => {
                    return self.secret_in(given, &path, &FileContent { bytes, mode: None });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.fault("credentials", &name, format!("cannot be read: {error}"));
                }
            }
        }
        None
    }

    fn secret_in(&mut self, given: Given, path: &Path, content: &FileContent) -> Option<Given> {
        if content.bytes.len() > SECRET_BYTES_MAX {
            let text = format!(
                "found a file of more than {SECRET_BYTES_MAX} bytes, expected the secret alone"
            );
            self.fault(&given.place, &given.name, text);
            return None;
        }
        let value = String::from_utf8_lossy(&content.bytes).trim().to_owned();
        if value.is_empty() {
            self.fault(
                &given.place,
                &given.name,
                "found an empty file, expected the secret",
            );
            return None;
        }
        self.check_mode(&path.display().to_string(), content.mode, true);
        Some(Given { value, ..given })
    }

    fn set(&mut self, key: &'static Key, given: Given, draft: &mut Draft) {
        let found = if key.is_secret {
            format!("{} characters, not shown", given.value.chars().count())
        } else {
            shown(&given.value)
        };
        let expected = if given.is_continued {
            Err("a value on one line; put it in single quotes if it ends in a backslash".to_owned())
        } else if given
            .value
            .contains(|c: char| c.is_control() || c == '\u{fffd}')
        {
            Err("text in UTF-8 without control characters".to_owned())
        } else {
            (key.set)(draft, &given.value)
        };
        if let Err(expected) = expected {
            self.fault(
                &given.place,
                &given.name,
                format!("found {found}, expected {expected}"),
            );
        }
        self.settings.push(Setting {
            key: key.name_for(&draft.endpoint).into(),
            shown: if key.is_secret {
                "(secret)".to_owned()
            } else {
                given.value.clone()
            },
            place: given.place,
            value: Secret::new(given.value),
        });
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let (_, value) = self
            .sources
            .environment
            .iter()
            .find(|(key, _)| key == name)?;
        value
            .to_str()
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }
}

/// The names of further endpoints, as they are in their keys, in the order of the alphabet.
fn endpoints(sources: &[&GivenByName]) -> BTreeSet<String> {
    let names = sources.iter().flat_map(|source| source.keys());
    let bare = names.map(|name| name.strip_suffix("_FILE").unwrap_or(name));
    let found = bare.filter_map(|name| KEYS.iter().find_map(|key| key.endpoint_in(name)));
    found.map(str::to_owned).collect()
}

/// The key with a name, and whether the name says that its value is in a file.
fn find(name: &str) -> Option<(&'static Key, bool)> {
    let is_it = |key: &&Key, name: &str| key.is_named(name) || key.endpoint_in(name).is_some();
    let named = |name: &str| KEYS.iter().find(|key| is_it(key, name));
    if let Some(key) = named(name) {
        return Some((key, false));
    }
    let key = named(name.strip_suffix("_FILE")?)?;
    key.is_secret.then_some((key, true))
}

fn is_ours(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    upper.starts_with("RTMS_") || upper.starts_with("ZOOM_")
}

/// The name of an unknown key, of bounded length.
fn clipped(name: &str) -> String {
    name.chars().take(64).collect()
}

fn unknown(name: &str) -> String {
    let text = "found an unknown key, expected one of those in \"rtmsd print conf\"";
    let upper = clipped(&name.to_ascii_uppercase());
    let names = KEYS.iter().flat_map(Key::names);
    let close = names
        .map(|known| (distance(&upper, &known.to_ascii_uppercase()), known))
        .min()
        .filter(|(edits, _)| edits * 5 <= upper.len());
    match close {
        Some((_, known)) => format!("{text}; did you mean {known}?"),
        None => text.to_owned(),
    }
}

/// For [`KEYS`]: parses a list of secrets.
pub(super) fn secrets(text: &str) -> Result<Vec<Secret>, String> {
    let words: Vec<&str> = crate::protocol::params::each_word(text).collect();
    if words
        .iter()
        .any(|word| word.is_empty() || word.contains(' '))
    {
        return Err("one token, or several with commas between them".to_owned());
    }
    Ok(words.into_iter().map(Secret::new).collect())
}
