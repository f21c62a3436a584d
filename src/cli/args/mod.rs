//! Parser of the command line. The texts are in `usage`.
//!
//! Only the arguments are read here, so help and version work with any configuration.

pub(crate) mod usage;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::cli::manpages::SHELLS;
use crate::cli::{list, mux, tail};
use crate::delivery::push::command::From;
use crate::delivery::push::settings::DEFAULT_NAME;
use crate::domain::product::Product;
use crate::domain::rest::RestAction;
use crate::manual;
use crate::protocol::MediaSelection;

pub use usage::{USAGE, commands, usage};

/// `rtmsd --version`.
pub const VERSION: &str = concat!("rtmsd ", env!("CARGO_PKG_VERSION"));

/// Maximum meetings of a demo.
pub const DEMO_MEETINGS_MAX: u32 = 1000;

/// A parsed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print this text to stdout.
    Help(&'static str),
    /// Print [`VERSION`] to stdout.
    Version,
    /// Run the server.
    Serve {
        /// `--config`.
        config: Option<PathBuf>,
    },
    /// Run the demo.
    Demo(Demo),
    /// Check the configuration.
    Check {
        /// `--config`.
        config: Option<PathBuf>,
        /// `--online`.
        online: bool,
    },
    /// One REST call.
    Control(Control),
    /// Ask the running server.
    Status {
        /// `--config`.
        config: Option<PathBuf>,
        /// `--json`.
        json: bool,
        /// `--watch`.
        watch: bool,
    },
    /// Print something about this binary.
    Print(Page),
    /// Make one file of a recording.
    Mux(mux::Options),
    /// Find recordings.
    List(list::Options),
    /// Show what the running server receives.
    Tail(tail::Options),
    /// Something about the endpoints of HTTP push.
    Push(Push),
}

/// `rtmsd push`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// What to do.
    pub action: PushAction,
    /// Which endpoint; `default` if none is named.
    pub name: String,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// See [`Push`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushAction {
    /// Send one event, from this process.
    Test,
    /// Print a new secret.
    Secret,
    /// Have the server send nothing.
    Pause,
    /// Have it go on.
    Resume,
    /// Have it send old events again.
    Replay {
        /// `--from`: a time or an id.
        from: String,
        /// `--stream`.
        stream: Option<String>,
    },
}

/// `rtmsd demo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demo {
    /// `--out`.
    pub out: Option<PathBuf>,
    /// `--meetings`, from 1 to [`DEMO_MEETINGS_MAX`]; `None` for the demo's own number.
    pub meetings: Option<u32>,
    /// What is played.
    pub kind: DemoKind,
    /// `--media`.
    pub media: MediaSelection,
    /// `--product`; not empty.
    pub products: Vec<Product>,
    /// `--events websocket`: events come by the WebSocket, and the server has no port.
    pub events_by_websocket: bool,
}

/// What `rtmsd demo` plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoKind {
    /// Meetings without faults.
    Meetings,
    /// `--chaos`: connections and the server are broken in every way.
    Chaos,
    /// `--odd`: undocumented behavior that was observed.
    Odd,
}

/// One REST call for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The action.
    pub action: RestAction,
    /// The meeting's number, or the id of a session, engagement or call. Not empty.
    pub meeting_id: String,
    /// `--product`.
    pub product: Product,
    /// `--participant`.
    pub participant: Option<String>,
    /// `--json`.
    pub json: bool,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// A page that `rtmsd print` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The annotated configuration.
    Conf,
    /// The systemd unit.
    Unit,
    /// The systemd socket.
    Socket,
    /// The manual page of the program.
    Man,
    /// The manual page of the configuration.
    ManConf,
    /// The JSON Schema of a line of the journal.
    Schema,
    /// Completions for a shell of [`SHELLS`].
    Completions(&'static str),
}

/// A command line that cannot be parsed: for stderr, with exit code 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see rtmsd --help", self.0)
    }
}

impl std::error::Error for UsageError {}

/// Parses the arguments, without the program's own name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let args: Vec<OsString> = args.into_iter().collect();
    // The command is the first word that is neither an option nor an option's value, so that
    // `rtmsd --config FILE check` is understood too.
    let mut given = Given::default();
    let mut words = args.into_iter();
    while let Some(arg) = words.next() {
        given.take(arg, &mut words)?;
    }
    given.command()
}

/// The arguments by kind.
#[derive(Debug, Default)]
struct Given {
    words: Vec<String>,
    options: Vec<(Opt, Option<OsString>)>,
    is_only_words: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opt {
    Help,
    Version,
    Config,
    Out,
    Meetings,
    Chaos,
    Odd,
    Media,
    Online,
    Participant,
    Product,
    Json,
    Watch,
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
}

impl Opt {
    /// Name, and whether a value follows.
    const ALL: [(Opt, &'static str, bool); 26] = [
        (Opt::Help, "--help", false),
        (Opt::Version, "--version", false),
        (Opt::Config, "--config", true),
        (Opt::Out, "--out", true),
        (Opt::Meetings, "--meetings", true),
        (Opt::Chaos, "--chaos", false),
        (Opt::Odd, "--odd", false),
        (Opt::Media, "--media", true),
        (Opt::Online, "--online", false),
        (Opt::Participant, "--participant", true),
        (Opt::Product, "--product", true),
        (Opt::Json, "--json", false),
        (Opt::Watch, "--watch", false),
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
    ];

    fn name(self) -> &'static str {
        let found = Opt::ALL.into_iter().find(|(opt, ..)| *opt == self);
        found.map_or("", |(_, name, _)| name)
    }
}

fn error<T>(text: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError(text.into()))
}

impl Given {
    fn take(
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
        if self.options.iter().any(|(given, _)| *given == opt) && has_value {
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

    fn has(&self, opt: Opt) -> bool {
        self.options.iter().any(|(given, _)| *given == opt)
    }

    fn path(&self, opt: Opt) -> Option<PathBuf> {
        let (_, value) = self.options.iter().find(|(given, _)| *given == opt)?;
        value.clone().map(PathBuf::from)
    }

    fn text(&self, opt: Opt) -> Result<Option<String>, UsageError> {
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
    fn only(&self, command: &str, options: &[Opt], words_max: usize) -> Result<(), UsageError> {
        if let Some((opt, _)) = self.options.iter().find(|(opt, _)| !options.contains(opt)) {
            return error(format!("rtmsd {command} has no option {}", opt.name()));
        }
        match self.words.get(words_max) {
            Some(word) => error(format!("unexpected argument {word:?}")),
            None => Ok(()),
        }
    }

    fn command(self) -> Result<Command, UsageError> {
        let word = self.words.first().map(String::as_str);
        if self.has(Opt::Help) {
            return usage_of(word);
        }
        if self.has(Opt::Version) {
            return Ok(Command::Version);
        }
        let config = self.path(Opt::Config);
        match word {
            None | Some("serve") => {
                self.only("serve", &[Opt::Config], 1)?;
                Ok(Command::Serve { config })
            }
            Some("demo") => {
                let kind = match () {
                    () if self.has(Opt::Odd) => DemoKind::Odd,
                    () if self.has(Opt::Chaos) => DemoKind::Chaos,
                    () => DemoKind::Meetings,
                };
                let (name, options): (_, &[Opt]) = match kind {
                    DemoKind::Odd => ("demo --odd", &[Opt::Out, Opt::Odd]),
                    DemoKind::Chaos => ("demo --chaos", &[Opt::Out, Opt::Meetings, Opt::Chaos]),
                    DemoKind::Meetings => (
                        "demo",
                        &[
                            Opt::Out,
                            Opt::Meetings,
                            Opt::Media,
                            Opt::Product,
                            Opt::Events,
                        ],
                    ),
                };
                self.only(name, options, 1)?;
                Ok(Command::Demo(Demo {
                    out: self.path(Opt::Out),
                    meetings: self.meetings()?,
                    kind,
                    media: self.media()?,
                    products: self.products()?,
                    events_by_websocket: self
                        .one_of(Opt::Events, &[(false, "webhooks"), (true, "websocket")])?
                        .unwrap_or(false),
                }))
            }
            Some("check") => {
                self.only("check", &[Opt::Config, Opt::Online], 1)?;
                let online = self.has(Opt::Online);
                Ok(Command::Check { config, online })
            }
            Some("status") => {
                self.only("status", &[Opt::Config, Opt::Json, Opt::Watch], 1)?;
                Ok(Command::Status {
                    config,
                    json: self.has(Opt::Json),
                    watch: self.has(Opt::Watch),
                })
            }
            Some("mux") => self.mux(),
            Some("list") => self.list(),
            Some("tail") => self.tail(),
            Some("push") => self.push(),
            Some("print") => {
                let what = self.words.get(1).map(String::as_str);
                let words_max = if what == Some("completions") { 3 } else { 2 };
                self.only("print", &[], words_max)?;
                page(what, self.words.get(2).map(String::as_str)).map(Command::Print)
            }
            Some("help") => {
                self.only("help", &[], 2)?;
                help(self.words.get(1).map(String::as_str))
            }
            Some(word) => match RestAction::from_name(word) {
                Some(action) => self.control(action),
                None => error(format!("unknown command {word:?}")),
            },
        }
    }

    fn meetings(&self) -> Result<Option<u32>, UsageError> {
        let Some(text) = self.text(Opt::Meetings)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(meetings) if (1..=DEMO_MEETINGS_MAX).contains(&meetings) => Ok(Some(meetings)),
            _ => error(format!(
                "--meetings: found {text:?}, expected a number from 1 to {DEMO_MEETINGS_MAX}"
            )),
        }
    }

    fn media(&self) -> Result<MediaSelection, UsageError> {
        match self.text(Opt::Media)? {
            None => Ok(MediaSelection::default()),
            Some(text) => MediaSelection::from_text(&text).map_err(|expected| {
                UsageError(format!("--media: found {text:?}, expected {expected}"))
            }),
        }
    }

    /// The products of `demo`.
    fn products(&self) -> Result<Vec<Product>, UsageError> {
        match self.text(Opt::Product)?.as_deref() {
            Some("all") => Ok(Product::ALL.to_vec()),
            word => match product(word) {
                Some(product) => Ok(vec![product]),
                None => error(format!(
                    "--product: found {:?}, expected {PRODUCTS}, or all",
                    word.unwrap_or_default()
                )),
            },
        }
    }

    fn mux(&self) -> Result<Command, UsageError> {
        const OPTIONS: [Opt; 7] = [
            Opt::Out,
            Opt::Format,
            Opt::Picture,
            Opt::Copy,
            Opt::Force,
            Opt::DryRun,
            Opt::Feed,
        ];
        self.only("mux", &OPTIONS, 2)?;
        let Some(folder) = self.words.get(1).filter(|folder| !folder.is_empty()) else {
            return error("mux: found nothing, expected the folder of a stream");
        };
        let format = self.one_of(Opt::Format, &mux::Format::ALL)?;
        let picture = self.one_of(Opt::Picture, &mux::Picture::ALL)?;
        Ok(Command::Mux(mux::Options {
            folder: PathBuf::from(folder),
            out: self.path(Opt::Out),
            format,
            picture,
            copy: self.has(Opt::Copy),
            force: self.has(Opt::Force),
            dry_run: self.has(Opt::DryRun),
            feed: self.has(Opt::Feed),
        }))
    }

    fn list(&self) -> Result<Command, UsageError> {
        let options = [Opt::Config, Opt::Since, Opt::Speaker, Opt::Count, Opt::Json];
        self.only("list", &options, 2)?;
        let since_s = match self.text(Opt::Since)? {
            None => None,
            Some(text) => match list::seconds(&text) {
                Some(seconds) => Some(seconds),
                None => {
                    return error(format!(
                        "--since: found {text:?}, expected a span of time as in 90m, 12h, 7d or 2w"
                    ));
                }
            },
        };
        let count = match self.text(Opt::Count)? {
            None => list::COUNT_DEFAULT,
            Some(text) => match text.parse() {
                Ok(count) if count > 0 => count,
                _ => return error(format!("-n: found {text:?}, expected a number from 1 on")),
            },
        };
        Ok(Command::List(list::Options {
            text: self.words.get(1).cloned().unwrap_or_default(),
            since_s,
            speaker: self.text(Opt::Speaker)?.unwrap_or_default(),
            count,
            json: self.has(Opt::Json),
            config: self.path(Opt::Config),
        }))
    }

    fn tail(&self) -> Result<Command, UsageError> {
        let options = [Opt::Config, Opt::Json, Opt::Follow, Opt::Count];
        self.only("tail", &options, 2)?;
        let count = match self.text(Opt::Count)?.as_deref() {
            None => Some(tail::COUNT_DEFAULT),
            Some("all") => None,
            Some(text) => match text.parse() {
                Ok(count) => Some(count),
                Err(_) => return error(format!("-n: found {text:?}, expected a number or all")),
            },
        };
        let name = self.words.get(1).map(|name| name.trim());
        if name == Some("") {
            return error("tail: found an empty name, expected a stream or a meeting");
        }
        Ok(Command::Tail(tail::Options {
            name: name.map(str::to_owned),
            json: self.has(Opt::Json),
            follow: self.has(Opt::Follow),
            count,
            config: self.path(Opt::Config),
        }))
    }

    fn push(&self) -> Result<Command, UsageError> {
        let verb = self.words.get(1).map(String::as_str);
        let name = self.words.get(2).map(|name| name.to_ascii_lowercase());
        let action = match verb {
            Some("test") => PushAction::Test,
            Some("secret") => PushAction::Secret,
            Some("pause") => PushAction::Pause,
            Some("resume") => PushAction::Resume,
            Some("replay") => {
                let Some(from) = self.text(Opt::From)? else {
                    return error(
                        "push replay: found no --from, expected a time or the id of an event",
                    );
                };
                From::parse(&from).map_err(|expected| {
                    UsageError(format!("--from: found {from:?}, expected {expected}"))
                })?;
                PushAction::Replay {
                    from,
                    stream: self.text(Opt::Stream)?,
                }
            }
            _ => {
                return error(format!(
                    "push: found {:?}, expected test, secret, pause, resume or replay",
                    verb.unwrap_or_default()
                ));
            }
        };
        match action {
            PushAction::Secret => self.only("push secret", &[], 2)?,
            PushAction::Replay { .. } => {
                let options = [Opt::Config, Opt::From, Opt::Stream];
                self.only("push replay", &options, 3)?;
                if name.is_none() {
                    return error("push replay: found nothing, expected the name of an endpoint");
                }
            }
            _ => self.only("push", &[Opt::Config], 3)?,
        }
        Ok(Command::Push(Push {
            action,
            name: name.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
            config: self.path(Opt::Config),
        }))
    }

    /// The value of an option's word in a table.
    fn one_of<T: Copy>(&self, opt: Opt, table: &[(T, &str)]) -> Result<Option<T>, UsageError> {
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

    fn control(self, action: RestAction) -> Result<Command, UsageError> {
        let name = action.name();
        let options = [Opt::Config, Opt::Participant, Opt::Product, Opt::Json];
        self.only(name, &options, 2)?;
        let word = self.text(Opt::Product)?;
        let Some(product) = product(word.as_deref()) else {
            return error(format!(
                "--product: found {:?}, expected {PRODUCTS}",
                word.unwrap_or_default()
            ));
        };
        let Some(meeting_id) = self.words.get(1).filter(|id| !id.is_empty()) else {
            return error(format!("{name}: found nothing, expected a meeting id"));
        };
        let meeting_id = match product.has_number() {
            true => meeting_number(name, meeting_id)?,
            false => meeting_id.clone(),
        };
        Ok(Command::Control(Control {
            action,
            meeting_id,
            product,
            participant: self.text(Opt::Participant)?,
            json: self.has(Opt::Json),
            config: self.path(Opt::Config),
        }))
    }
}

/// The words of `--product`.
const PRODUCTS: &str = "meeting, webinar, session, engagement or call";

/// The product with that word; meetings without one.
fn product(word: Option<&str>) -> Option<Product> {
    word.map_or(Some(Product::Meeting), Product::from_unit)
}

/// A meeting's number, as people copy it: `812 3456 7890`, `812-3456-7890`.
fn meeting_number(command: &str, text: &str) -> Result<String, UsageError> {
    let number = text.replace([' ', '-'], "");
    if (1..=20).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()) {
        Ok(number)
    } else {
        error(format!(
            "{command}: found {text:?}, expected the meeting's number (REST does not take its UUID)"
        ))
    }
}

fn page(what: Option<&str>, shell: Option<&str>) -> Result<Page, UsageError> {
    const EXPECTED: &str = "expected conf, unit, socket, man, man-conf, schema or completions";
    match what {
        Some("conf") => Ok(Page::Conf),
        Some("unit") => Ok(Page::Unit),
        Some("socket") => Ok(Page::Socket),
        Some("man") => Ok(Page::Man),
        Some("man-conf") => Ok(Page::ManConf),
        Some("schema") => Ok(Page::Schema),
        Some("completions") => {
            let known = SHELLS.into_iter().find(|known| Some(*known) == shell);
            known.map(Page::Completions).ok_or_else(|| {
                let found = shell.map_or("nothing".to_owned(), |shell| format!("{shell:?}"));
                UsageError(format!(
                    "print completions: found {found}, expected bash, zsh or fish"
                ))
            })
        }
        Some(word) => error(format!("print: found {word:?}, {EXPECTED}")),
        None => error(format!("print: found nothing, {EXPECTED}")),
    }
}

/// The usage of the command before `--help`.
fn usage_of(command: Option<&str>) -> Result<Command, UsageError> {
    match command {
        None => Ok(Command::Help(USAGE)),
        Some(word) => usage(word)
            .map(Command::Help)
            .ok_or_else(|| UsageError(format!("unknown command {word:?}"))),
    }
}

/// `rtmsd help TOPIC`, with a chapter of the manual or a command as topic.
fn help(topic: Option<&str>) -> Result<Command, UsageError> {
    let text = match topic {
        None => usage("help"),
        Some(topic) => manual::chapter(topic).or_else(|| usage(topic)),
    };
    text.map(Command::Help).ok_or_else(|| {
        UsageError(format!(
            "help: found {:?}, expected a command or a topic: {}",
            topic.unwrap_or_default(),
            manual::topics().join(", ")
        ))
    })
}

#[cfg(test)]
mod tests;
