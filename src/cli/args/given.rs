//! The arguments by kind: words, and options with their values.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// The arguments by kind.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) words: Vec<String>,
    options: Vec<(Opt, Option<OsString>)>,
    is_only_words: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opt {
    Help,
    Version,
    Config,
    Out,
    Meetings,
    Chaos,
    Odd,
    Nodes,
    Store,
    Media,
    Online,
    Live,
    Ready,
    Participant,
    Account,
    Product,
    Json,
    Watch,
    Fleet,
    Format,
    Picture,
    Copy,
    Force,
    DryRun,
    Feed,
    Since,
    Speaker,
    Count,
    From,
    Stream,
    Follow,
    Events,
    Rest,
    Set,
    Setup,
    For,
    Files,
    RevokeAll,
    Serve,
    Now,
    App,
    Meeting,
    User,
    WithMixed,
}

impl Opt {
    /// Name, and whether a value follows.
    const ALL: [(Opt, &'static str, bool); 44] = [
        (Opt::Help, "--help", false),
        (Opt::Version, "--version", false),
        (Opt::Config, "--config", true),
        (Opt::Out, "--out", true),
        (Opt::Meetings, "--meetings", true),
        (Opt::Chaos, "--chaos", false),
        (Opt::Odd, "--odd", false),
        (Opt::Nodes, "--nodes", true),
        (Opt::Store, "--store", true),
        (Opt::Media, "--media", true),
        (Opt::Online, "--online", false),
        (Opt::Live, "--live", false),
        (Opt::Ready, "--ready", false),
        (Opt::Participant, "--participant", true),
        (Opt::Account, "--account", true),
        (Opt::Product, "--product", true),
        (Opt::Json, "--json", false),
        (Opt::Watch, "--watch", false),
        (Opt::Fleet, "--fleet", false),
        (Opt::Format, "--format", true),
        (Opt::Picture, "--picture", true),
        (Opt::Copy, "--copy", false),
        (Opt::Force, "--force", false),
        (Opt::DryRun, "--dry-run", false),
        (Opt::Feed, "--feed", false),
        (Opt::Since, "--since", true),
        (Opt::Speaker, "--speaker", true),
        (Opt::Count, "-n", true),
        (Opt::From, "--from", true),
        (Opt::Stream, "--stream", true),
        (Opt::Follow, "--follow", false),
        (Opt::Events, "--events", true),
        (Opt::Rest, "--rest", true),
        (Opt::Set, "--set", true),
        (Opt::Setup, "--setup", false),
        (Opt::For, "--for", true),
        (Opt::Files, "--files", false),
        (Opt::RevokeAll, "--revoke-all", false),
        (Opt::Serve, "--serve", false),
        (Opt::Now, "--now", false),
        (Opt::App, "--app", true),
        (Opt::Meeting, "--meeting", true),
        (Opt::User, "--user", true),
        (Opt::WithMixed, "--with-mixed", false),
    ];

    pub(super) fn name(self) -> &'static str {
        let found = Opt::ALL.into_iter().find(|(opt, ..)| *opt == self);
        found.map_or("", |(_, name, _)| name)
    }
}

/// A command line that cannot be parsed: for stderr, with exit code 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(pub(super) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see rtmsd --help", self.0)
    }
}

impl std::error::Error for UsageError {}

pub(super) fn error<T>(text: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError(text.into()))
}

impl Given {
    pub(super) fn take(
        &mut self,
        arg: OsString,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), UsageError> {
        let Some(text) = arg.to_str() else {
            return error(format!("found {arg:?}, expected text in UTF-8"));
        };
        if self.is_only_words || !text.starts_with('-') || text == "-" {
            self.words.push(text.to_owned());
            return Ok(());
        }
        if text == "--" {
            self.is_only_words = true;
            return Ok(());
        }
        let (name, joined) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        let name = match name {
            "-h" => "--help",
            "-V" => "--version",
            "--print" => "--dry-run",
            "-f" => "--follow",
            name => name,
        };
        let Some((opt, name, has_value)) = Opt::ALL.into_iter().find(|known| known.1 == name)
        else {
            return error(format!("unknown option {name:?}"));
        };
        let is_given = self.options.iter().any(|(given, _)| *given == opt);
        if is_given && has_value && opt != Opt::Set {
            return error(format!("{name}: found twice, expected once"));
        }
        let value =
            match (has_value, joined) {
                (true, Some(value)) => Some(value),
                (true, None) => Some(rest.next().ok_or_else(|| {
                    UsageError(format!("{name}: found nothing, expected a value"))
                })?),
                (false, None) => None,
                (false, Some(_)) => return error(format!("{name}: found a value, expected none")),
            };
        if value.as_ref().is_some_and(|value| value.is_empty()) {
            return error(format!("{name}: found an empty value"));
        }
        self.options.push((opt, value));
        Ok(())
    }

    /// The values of an option that may be given several times.
    pub(super) fn all(&self, opt: Opt) -> impl Iterator<Item = &str> {
        let given = self.options.iter().filter(move |(given, _)| *given == opt);
        given.filter_map(|(_, value)| value.as_ref()?.to_str())
    }

    pub(super) fn has(&self, opt: Opt) -> bool {
        self.options.iter().any(|(given, _)| *given == opt)
    }

    pub(super) fn path(&self, opt: Opt) -> Option<PathBuf> {
        let (_, value) = self.options.iter().find(|(given, _)| *given == opt)?;
        value.clone().map(PathBuf::from)
    }

    pub(super) fn text(&self, opt: Opt) -> Result<Option<String>, UsageError> {
        match self
            .path(opt)
            .map(|path| path.into_os_string().into_string())
        {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(raw)) => error(format!(
                "{}: found {raw:?}, expected text in UTF-8",
                opt.name()
            )),
        }
    }

    /// Refuses options that a command does not have, and too many words.
    pub(super) fn only(
        &self,
        command: &str,
        options: &[Opt],
        words_max: usize,
    ) -> Result<(), UsageError> {
        if let Some((opt, _)) = self.options.iter().find(|(opt, _)| !options.contains(opt)) {
            return error(format!("rtmsd {command} has no option {}", opt.name()));
        }
        match self.words.get(words_max) {
            Some(word) => error(format!("unexpected argument {word:?}")),
            None => Ok(()),
        }
    }

    /// The value of an option's word in a table.
    pub(super) fn one_of<T: Copy>(
        &self,
        opt: Opt,
        table: &[(T, &str)],
    ) -> Result<Option<T>, UsageError> {
        let Some(text) = self.text(opt)? else {
            return Ok(None);
        };
        match table.iter().find(|(_, word)| *word == text) {
            Some((value, _)) => Ok(Some(*value)),
            None => {
                let words: Vec<&str> = table.iter().map(|(_, word)| *word).collect();
                let words = words.join(", ");
                let words = match words.rsplit_once(", ") {
                    Some((first, last)) => format!("{first} or {last}"),
                    None => words,
                };
                error(format!("{}: found {text:?}, expected {words}", opt.name()))
            }
        }
    }
}
