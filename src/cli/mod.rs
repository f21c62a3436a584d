//! The command line: arguments, configuration, log, and then one of the commands.
//!
//! Each command writes its answer to a writer and returns an exit code.
#![expect(
    clippy::print_stderr,
    reason = "a command writes to its user's terminal"
)]

mod accounts;
mod admin_client;
mod admin_http;
pub mod args;
pub(crate) mod authorize;
pub mod check;
pub mod control;
#[cfg(feature = "demo")]
pub(crate) mod demo;
pub mod exit;
pub(crate) mod fleet;
pub mod forget;
pub(crate) mod lines;
pub mod link;
pub mod list;
pub mod manpages;
pub mod merge;
pub mod mux;
pub mod prune;
pub mod push;
pub(crate) mod reload;
pub mod serve;
pub mod service_env;
pub(crate) mod session;
pub(crate) mod setup;
pub mod signals;
pub mod status;
pub mod tail;
pub mod tap;
pub(crate) mod unit_file;
mod version;
mod which_app;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use self::args::{Command, Page, PushAction};
use self::check::bucket;
use self::check::online::{self, TokenUser};
use self::check::probe;
use self::lines::Lines;
use self::which_app::Which;
use crate::clock::now_ms;
use crate::config::{Fault, Loaded, Needs, Sources, conf, load};
use crate::daemon;
use crate::domain::app::{App, RestCredentials};
use crate::domain::product::Product;
use crate::net::tls_client::TlsClient;
use crate::protocol::MediaKind;
use crate::state::StateDir;
use crate::zoom_api::Process;
use crate::{log, zoom_api};

/// Parses the arguments of this process, runs the command, and returns its exit code.
pub fn run() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|first| first == mux::BECOME_FFMPEG).is_some() {
        let Err(error) = mux::become_ffmpeg(args);
        eprintln!("rtmsd: {error}");
        return ExitCode::from(exit::UNAVAILABLE);
    }
    let code = match args::parse(args) {
        Ok(Command::InApp(app, command)) => dispatch(*command, Some(&app)),
        Ok(command) => dispatch(command, None),
        Err(error) => {
            eprintln!("rtmsd: {error}");
            exit::USAGE
        }
    };
    ExitCode::from(code)
}

fn dispatch(command: Command, app: Option<&str>) -> u8 {
    let (one, any) = (Which::One(app), Which::Any(app));
    match command {
        Command::InApp(app, command) => dispatch(*command, Some(&app)),
        Command::Help(text) => print(text),
        Command::Version => print(&format!("{}\n", version::text())),
        Command::Print(Page::Conf) => print(&conf()),
        Command::Serve { config } => {
            let path = config.as_deref();
            let sources = Sources::from_process(path, Needs::Serve);
            with_sources(sources, any, |loaded| serve::run(loaded, path))
        }
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo::run(options),
        #[cfg(not(feature = "demo"))]
        Command::Demo(_) => {
            eprintln!("rtmsd: this binary was built without the demo (the cargo feature `demo`)");
            exit::USAGE
        }
        Command::Check { config, online } => check(config.as_deref(), app, online),
        Command::Probe { config, probe } => {
            with_config(config.as_deref(), any, Needs::Admin, |loaded| {
                probe::run(&loaded.config.admin, probe, &mut io::stdout())
            })
        }
        Command::Control(control) => {
            let options = control::Options {
                action: control.action,
                id: control.meeting_id,
                participant_user_id: control.participant,
                account_id: control.account,
                product: control.product,
                json: control.json,
            };
            with_config(control.config.as_deref(), one, Needs::Rest, |loaded| {
                let client = || {
                    let mut app = loaded.config.app().clone();
                    if options.product == Product::Session {
                        // Its token is signed here, so nothing else is needed.
                        app.rest.credentials = RestCredentials::None;
                    }
                    let process = process(&loaded.config.daemon);
                    let state = state_for_rest(&app, &loaded.config.daemon)?;
                    Ok((app, Process { state, ..process }))
                };
                // A token for a session is signed here, whether a server runs or not.
                let credentials = &loaded.config.app().rest.credentials;
                let is_shared = matches!(credentials, RestCredentials::UserRefresh { .. })
                    && options.product != Product::Session;
                let state = loaded.config.daemon.state.as_deref();
                control::run(
                    &options,
                    state.filter(|_| is_shared),
                    client,
                    &mut io::stdout(),
                )
            })
        }
        Command::Setup(answers) => setup::run(
            &answers,
            |path| check(Some(path), None, true),
            &mut io::stdout(),
        ),
        Command::Authorize { config } => {
            with_config(config.as_deref(), one, Needs::Authorize, |loaded| {
                let media = media_words(&loaded.config.daemon);
                authorize::run(
                    &loaded.config,
                    &media,
                    &mut Lines::default(),
                    &mut io::stdout(),
                )
            })
        }
        Command::Accounts { config, json } => {
            with_config(config.as_deref(), one, Needs::Authorize, |loaded| {
                let media = media_words(&loaded.config.daemon);
                accounts::run(&loaded.config, &media, json, &mut io::stdout())
            })
        }
        Command::Status {
            config,
            json,
            watch,
            fleet: true,
        } => with_config(config.as_deref(), one, Needs::Admin, |loaded| {
            fleet::run(&loaded.config, json, watch, &mut io::stdout())
        }),
        Command::Status {
            config,
            json,
            watch,
            fleet: false,
        } => with_config(config.as_deref(), any, Needs::Admin, |loaded| {
            status::run(&loaded.config, json, watch, &mut io::stdout())
        }),
        Command::List(options) => {
            with_config(options.config.as_deref(), one, Needs::Admin, |loaded| {
                let Some(disk) = &loaded.config.daemon.disk else {
                    ::log::error!(
                        "RTMS_OUT is off, so nothing was recorded; name the folder to look in"
                    );
                    return exit::CONFIG;
                };
                let columns = status::terminal().columns;
                list::run(
                    &options,
                    &disk.root,
                    now_ms(),
                    columns,
                    &mut io::stdout().lock(),
                )
            })
        }
        Command::Prune(options) => {
            with_config(options.config.as_deref(), one, Needs::Admin, |loaded| {
                prune::run(&options, &loaded.config, &mut io::stdout())
            })
        }
        Command::Forget(options) => {
            with_config(options.config.as_deref(), one, Needs::Admin, |loaded| {
                forget::run(
                    &options,
                    &loaded.config,
                    &mut io::stdout(),
                    &mut io::stderr(),
                )
            })
        }
        Command::Tail(options) => {
            with_config(options.config.as_deref(), any, Needs::Admin, |loaded| {
                tail::run(&options, &loaded.config)
            })
        }
        Command::Link(options) => {
            with_config(options.config.as_deref(), any, Needs::Admin, |loaded| {
                link::run(
                    &options,
                    &loaded.config,
                    &mut io::stdout(),
                    &mut io::stderr(),
                )
            })
        }
        Command::Tap(options) => {
            with_config(options.config.as_deref(), any, Needs::Admin, |loaded| {
                tap::run(&options, &loaded.config)
            })
        }
        Command::Merge(options) => merge::run(&options, &mut io::stdout()),
        Command::Mux(options) => mux::run(&options, &mut io::stdout()),
        Command::Push(command) if command.action == PushAction::Secret => {
            push::secret(&mut io::stdout())
        }
        Command::Push(command) => {
            // The endpoint of a test is read here, all others are the server's.
            let which = match command.action {
                PushAction::Test => one,
                _ => any,
            };
            with_config(command.config.as_deref(), which, Needs::Admin, |loaded| {
                push::run(&command, &loaded.config, &mut io::stdout())
            })
        }
        Command::Print(Page::Unit) => {
            let program = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/rtmsd".into());
            print(&unit_file::unit(&program))
        }
        Command::Print(Page::Man) => print(&manpages::man()),
        Command::Print(Page::ManConf) => print(&manpages::man_conf()),
        Command::Print(Page::Schema) => print(crate::feed::SCHEMA),
        Command::Print(Page::Metrics) => print(&crate::admin::metrics::table()),
        Command::Print(Page::Completions(shell)) => {
            print(&manpages::completions(shell).unwrap_or_default())
        }
        Command::Print(Page::Socket) => print(unit_file::socket_unit()),
    }
}

/// For a command next to the server: with the configuration that the installed service would read.
fn with_config(
    path: Option<&Path>,
    which: Which<'_>,
    needs: Needs,
    next: impl FnOnce(&Loaded) -> u8,
) -> u8 {
    let sources = Sources::from_process(path, needs).map(|mut sources| {
        service_env::overlay_service_env(&mut sources);
        sources
    });
    with_sources(sources, which, next)
}

/// Reads the configuration, starts the log, and runs the command.
fn with_sources(
    sources: Result<Sources<'_>, Fault>,
    which: Which<'_>,
    next: impl FnOnce(&Loaded) -> u8,
) -> u8 {
    let faults = match sources {
        Ok(sources) => match load(&sources) {
            Ok(loaded) => {
                log::start(loaded.config.log);
                let loaded = match which.choose(loaded) {
                    Ok(loaded) => loaded,
                    Err((code, lines)) => {
                        for line in lines {
                            eprintln!("{line}");
                        }
                        return code;
                    }
                };
                for warning in &loaded.warnings {
                    ::log::warn!("{warning}");
                }
                return next(&loaded);
            }
            Err(faults) => faults,
        },
        Err(fault) => vec![fault],
    };
    for fault in faults {
        eprintln!("{fault}");
    }
    exit::CONFIG
}

fn check(path: Option<&Path>, app: Option<&str>, online: bool) -> u8 {
    let sources = match Sources::from_process(path, Needs::Serve) {
        Ok(mut sources) => {
            service_env::overlay_service_env(&mut sources);
            sources
        }
        Err(fault) => {
            eprintln!("{fault}");
            return exit::CONFIG;
        }
    };
    let report = match check::check(&sources, app, &mut io::stdout()) {
        Ok(report) => report,
        // A closed stdout is no error.
        Err(_) => return exit::OK,
    };
    if !report.is_loaded || !online {
        return report.exit_code;
    }
    let online = report
        .apps
        .iter()
        .map(|app| check_online(path, app.as_deref()));
    report.exit_code.max(online.max().unwrap_or(exit::OK))
}

fn check_online(path: Option<&Path>, app: Option<&str>) -> u8 {
    with_config(path, Which::One(app), Needs::Serve, |loaded| {
        let of = app.map_or_else(String::new, |app| format!(", app {app}"));
        let (app, settings) = (loaded.config.app(), &loaded.config.daemon);
        let media = media_words(settings);
        print(&format!("\nat zoom{of}\n"));
        let user = TokenUser::find(app, settings.state.as_deref(), &settings.state_keys);
        let zoom = online::run(app, process(settings), user, &media, &mut io::stdout());
        print("\nevents\n");
        let ours = Process {
            allowed_hosts: settings.allowed_hosts.clone(),
            ..process(settings)
        };
        let zoom = zoom.max(check::events::run(&loaded.config, ours, &mut io::stdout()));
        #[cfg(feature = "fleet")]
        let zoom = match &settings.fleet {
            Some(fleet) => {
                print("\nat the store of the fleet\n");
                let code = fleet::check::run(&loaded.config, fleet, &mut io::stdout());
                zoom.max(code)
            }
            None => zoom,
        };
        let Some(bucket) = &settings.ends.bucket else {
            return zoom;
        };
        print("\nat the bucket\n");
        let (proxy, ca_file) = (&settings.proxy, settings.ca_file.as_deref());
        zoom.max(bucket::run(bucket, proxy, ca_file, &mut io::stdout()))
    })
}

/// The words of `RTMS_MEDIA`.
fn media_words(settings: &daemon::Settings) -> Vec<&'static str> {
    let kinds = settings.media.kinds();
    kinds.iter().copied().map(MediaKind::name).collect()
}

/// The process part of a REST client, without the state directory.
fn process(settings: &daemon::Settings) -> Process {
    Process {
        ca_file: settings.ca_file.clone(),
        proxy: settings.proxy.clone(),
        shared: shared_grants(settings),
        ..Process::default()
    }
}

/// The grants that the nodes of the fleet share; `None` without one.
pub(crate) fn shared_grants(settings: &daemon::Settings) -> Option<Arc<dyn zoom_api::SharedGrant>> {
    // What fails here, the client of the same settings names.
    let tls = TlsClient::new(settings.ca_file.as_deref()).ok()?;
    daemon::shared_grants(settings, &tls).ok().flatten()
}

/// The state directory, locked for this process, if the command's credentials need it: refresh
/// tokens rotate, and the next one is stored there.
fn state_for_rest(
    app: &App,
    settings: &daemon::Settings,
) -> Result<Option<Arc<StateDir>>, zoom_api::Error> {
    match (&app.rest.credentials, &settings.state) {
        (RestCredentials::UserRefresh { .. }, Some(path)) => {
            StateDir::open_sealed(path, settings.state_keys.clone())
                .map(|state| Some(Arc::new(state)))
                .map_err(|error| zoom_api::Error::of_state(&error))
        }
        _ => Ok(None),
    }
}

/// Prints a text; a closed stdout is no error.
fn print(text: &str) -> u8 {
    let _ = io::stdout().write_all(text.as_bytes());
    exit::OK
}
