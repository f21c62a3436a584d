//! Parser of the command line. The texts are in `usage`.
//!
//! Only the arguments are read here, so help and version work with any configuration.

mod command;
mod given;
pub(crate) mod usage;

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::admin::links::{LINK_FOR_S, LINK_FOR_S_MAX};
use crate::cli::check::probe::Probe;
use crate::cli::manpages::SHELLS;
use crate::cli::{forget, link, list, merge, mux, prune, setup, tail, tap};
use crate::config::apps::is_name;
use crate::delivery::media::head::Kind;
use crate::delivery::push::command::From;
use crate::delivery::push::settings::DEFAULT_NAME;
use crate::domain::product::Product;
use crate::domain::rest::RestAction;
use crate::forgetting::{Request, Target};
use crate::manual;
use crate::protocol::MediaSelection;

pub use command::{Command, Control, Demo, DemoKind, Page, Push, PushAction};
pub use given::UsageError;
pub use usage::{USAGE, commands, usage};

use given::{Given, Opt, error};

/// Maximum nodes of a demo.
pub const DEMO_NODES_MAX: u32 = 9;
/// Maximum meetings of a demo.
pub const DEMO_MEETINGS_MAX: u32 = 1000;

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
    let app = given.text(Opt::App)?;
    if let Some(name) = app.as_ref().filter(|name| !is_name(name)) {
        return error(format!(
            "--app: found {name:?}, expected 1 to 32 letters, digits, \"_\" and \"-\""
        ));
    }
    let command = given.command()?;
    Ok(match app {
        Some(app) => Command::InApp(app, Box::new(command)),
        None => command,
    })
}

impl Given {
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
                    () if self.has(Opt::Setup) => DemoKind::Setup,
                    () if self.has(Opt::Serve) => DemoKind::Serve,
                    () if self.has(Opt::Nodes) && self.has(Opt::Chaos) => DemoKind::FleetChaos,
                    () if self.has(Opt::Nodes) => DemoKind::Fleet,
                    () if self.has(Opt::Chaos) => DemoKind::Chaos,
                    () => DemoKind::Meetings,
                };
                let (name, options): (_, &[Opt]) = match kind {
                    DemoKind::Odd => ("demo --odd", &[Opt::Out, Opt::Odd]),
                    DemoKind::Setup => ("demo --setup", &[Opt::Setup]),
                    DemoKind::Serve => (
                        "demo --serve",
                        &[Opt::Out, Opt::Meetings, Opt::Media, Opt::Serve],
                    ),
                    DemoKind::Chaos => ("demo --chaos", &[Opt::Out, Opt::Meetings, Opt::Chaos]),
                    DemoKind::Fleet | DemoKind::FleetChaos => (
                        "demo --nodes",
                        &[Opt::Out, Opt::Meetings, Opt::Nodes, Opt::Store, Opt::Chaos],
                    ),
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
                    meetings: self.number_of(Opt::Meetings, 1..=DEMO_MEETINGS_MAX)?,
                    kind,
                    media: self.media()?,
                    products: self.products()?,
                    events_by_websocket: self
                        .one_of(Opt::Events, &[(false, "webhooks"), (true, "websocket")])?
                        .unwrap_or(false),
                    nodes: self.number_of(Opt::Nodes, 2..=DEMO_NODES_MAX)?,
                    store: self.text(Opt::Store)?,
                }))
            }
            Some("check") => {
                for (option, name, probe) in [
                    (Opt::Live, "check --live", Probe::Live),
                    (Opt::Ready, "check --ready", Probe::Ready),
                ] {
                    if self.has(option) {
                        self.only(name, &[Opt::Config, option], 1)?;
                        return Ok(Command::Probe { config, probe });
                    }
                }
                self.only("check", &[Opt::Config, Opt::Online, Opt::App], 1)?;
                let online = self.has(Opt::Online);
                Ok(Command::Check { config, online })
            }
            Some("setup") => self.setup(config),
            Some("authorize") => {
                self.only("authorize", &[Opt::Config, Opt::App], 1)?;
                Ok(Command::Authorize { config })
            }
            Some("accounts") => {
                self.only("accounts", &[Opt::Config, Opt::Json, Opt::App], 1)?;
                let json = self.has(Opt::Json);
                Ok(Command::Accounts { config, json })
            }
            Some("status") => {
                let options = [Opt::Config, Opt::Json, Opt::Watch, Opt::App, Opt::Fleet];
                self.only("status", &options, 1)?;
                Ok(Command::Status {
                    config,
                    fleet: self.has(Opt::Fleet),
                    json: self.has(Opt::Json),
                    watch: self.has(Opt::Watch),
                })
            }
            Some("merge") => self.merge(),
            Some("mux") => self.mux(),
            Some("list") => self.list(),
            Some("prune") => self.prune(),
            Some("forget") => self.forget(),
            Some("tail") => self.tail(),
            Some("link") => self.link(),
            Some("tap") => self.tap(),
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

    fn number_of(&self, opt: Opt, range: RangeInclusive<u32>) -> Result<Option<u32>, UsageError> {
        let Some(text) = self.text(opt)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => error(format!(
                "{}: found {text:?}, expected a number from {} to {}",
                opt.name(),
                range.start(),
                range.end()
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

    fn setup(&self, config: Option<PathBuf>) -> Result<Command, UsageError> {
        let options = [Opt::Config, Opt::Events, Opt::Rest, Opt::Set];
        self.only("setup", &options, 1)?;
        let mut values = Vec::new();
        for text in self.all(Opt::Set) {
            let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                // It may have a secret in it.
                return error("--set: found no \"=\", expected KEY=VALUE or KEY_FILE=/path");
            };
            values.push((key.to_owned(), value.to_owned()));
        }
        let words =
            |all: &[&'static str]| all.iter().map(|word| (*word, *word)).collect::<Vec<_>>();
        Ok(Command::Setup(setup::Answers {
            config,
            events: self.one_of(Opt::Events, &words(&["websocket", "webhooks"]))?,
            rest: self.one_of(Opt::Rest, &words(&["user", "s2s", "none"]))?,
            values,
        }))
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

    fn merge(&self) -> Result<Command, UsageError> {
        self.only("merge", &[Opt::Out, Opt::Json], usize::MAX)?;
        let folders = self.words[1..].iter().map(PathBuf::from);
        let folders: Vec<PathBuf> = folders.collect();
        if folders.iter().any(|folder| folder.as_os_str().is_empty()) || folders.is_empty() {
            return error("merge: found nothing, expected the folders of a stream");
        }
        let Some(out) = self.path(Opt::Out) else {
            return error("merge: found no --out, expected the name of the new folder");
        };
        Ok(Command::Merge(merge::Options {
            folders,
            out,
            json: self.has(Opt::Json),
        }))
    }

    fn list(&self) -> Result<Command, UsageError> {
        let options = [
            Opt::Config,
            Opt::Since,
            Opt::Speaker,
            Opt::Count,
            Opt::Json,
            Opt::App,
        ];
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

    fn prune(&self) -> Result<Command, UsageError> {
        let options = [Opt::Config, Opt::DryRun, Opt::Now, Opt::Json, Opt::App];
        self.only("prune", &options, 1)?;
        if self.has(Opt::DryRun) == self.has(Opt::Now) {
            return error("prune: expected either --dry-run, to see what would go, or --now");
        }
        Ok(Command::Prune(prune::Options {
            is_now: self.has(Opt::Now),
            json: self.has(Opt::Json),
            config: self.path(Opt::Config),
        }))
    }

    fn forget(&self) -> Result<Command, UsageError> {
        let options = [
            Opt::Config,
            Opt::Json,
            Opt::DryRun,
            Opt::Meeting,
            Opt::Account,
            Opt::User,
            Opt::WithMixed,
            Opt::App,
        ];
        self.only("forget", &options, 1)?;
        let (meeting, account) = (self.text(Opt::Meeting)?, self.text(Opt::Account)?);
        let target = match (meeting, account, self.text(Opt::User)?) {
            (meeting, None, Some(word)) => Target::User { word, meeting },
            (Some(meeting), None, None) => Target::Meeting(meeting),
            (None, Some(account), None) => Target::Account(account),
            _ => {
                return error(
                    "forget: expected one of --meeting UUID, --account ID, and --user NAME|ID, which \
                     --meeting may limit",
                );
            }
        };
        let request = Request {
            target,
            with_mixed: self.has(Opt::WithMixed),
        };
        let is_user = matches!(request.target, Target::User { .. });
        if request.with_mixed && !is_user {
            return error("--with-mixed: expected --user, without it everything goes anyway");
        }
        if let Err(text) = request.check() {
            return error(format!("forget: {text}"));
        }
        Ok(Command::Forget(forget::Options {
            request,
            dry_run: self.has(Opt::DryRun),
            json: self.has(Opt::Json),
            config: self.path(Opt::Config),
        }))
    }

    fn tail(&self) -> Result<Command, UsageError> {
        let options = [Opt::Config, Opt::Json, Opt::Follow, Opt::Count, Opt::App];
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

    fn link(&self) -> Result<Command, UsageError> {
        let options = [Opt::Config, Opt::For, Opt::Files, Opt::RevokeAll, Opt::App];
        self.only("link", &options, 2)?;
        let for_s = match self.text(Opt::For)? {
            None => LINK_FOR_S,
            Some(text) => match list::seconds(&text) {
                Some(seconds) if (1..=LINK_FOR_S_MAX).contains(&seconds) => seconds,
                _ => {
                    return error(format!(
                        "--for: found {text:?}, expected a span of time up to 7d, as in 90m, 2h or 7d"
                    ));
                }
            },
        };
        let name = self.words.get(1).map(|name| name.trim());
        let is_more_given = name.is_some() || self.has(Opt::For) || self.has(Opt::Files);
        match (name, self.has(Opt::RevokeAll)) {
            (_, true) if is_more_given => {
                return error("link --revoke-all: expected nothing else, it ends all links");
            }
            (None | Some(""), false) => {
                return error("link: found nothing, expected a stream or a meeting");
            }
            _ => {}
        }
        Ok(Command::Link(link::Options {
            name: name.map(str::to_owned),
            for_s,
            files: self.has(Opt::Files),
            config: self.path(Opt::Config),
        }))
    }

    fn tap(&self) -> Result<Command, UsageError> {
        let options = [Opt::Config, Opt::Speaker, Opt::Format, Opt::App];
        self.only("tap", &options, 3)?;
        let stream = self.words.get(1).map_or("", |name| name.trim());
        if stream.is_empty() {
            return error("tap: found nothing, expected a stream");
        }
        let word = self.words.get(2).map_or("", String::as_str);
        let Some(kind) = Kind::from_name(word) else {
            return error(format!(
                "tap: found {word:?}, expected audio, video or share"
            ));
        };
        let form = self.one_of(Opt::Format, &tap::sound::Form::ALL)?;
        let is_sound = kind == Kind::Audio;
        if let Some(opt) = [Opt::Speaker, Opt::Format]
            .into_iter()
            .find(|it| self.has(*it))
            && !is_sound
        {
            return error(format!("tap: {} is for audio", opt.name()));
        }
        Ok(Command::Tap(tap::Options {
            stream: stream.to_owned(),
            kind,
            speaker: self.text(Opt::Speaker)?.map(|name| name.trim().to_owned()),
            form,
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
                let options = [Opt::Config, Opt::From, Opt::Stream, Opt::App];
                self.only("push replay", &options, 3)?;
                if name.is_none() {
                    return error("push replay: found nothing, expected the name of an endpoint");
                }
            }
            _ => self.only("push", &[Opt::Config, Opt::App], 3)?,
        }
        Ok(Command::Push(Push {
            action,
            name: name.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
            config: self.path(Opt::Config),
        }))
    }

    fn control(self, action: RestAction) -> Result<Command, UsageError> {
        let name = action.name();
        let options = [
            Opt::Config,
            Opt::Account,
            Opt::Participant,
            Opt::Product,
            Opt::Json,
            Opt::App,
        ];
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
            account: self.text(Opt::Account)?.filter(|id| !id.is_empty()),
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
    const EXPECTED: &str =
        "expected conf, unit, socket, man, man-conf, schema, metrics or completions";
    match what {
        Some("conf") => Ok(Page::Conf),
        Some("unit") => Ok(Page::Unit),
        Some("socket") => Ok(Page::Socket),
        Some("man") => Ok(Page::Man),
        Some("man-conf") => Ok(Page::ManConf),
        Some("schema") => Ok(Page::Schema),
        Some("metrics") => Ok(Page::Metrics),
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
