//! The commands of the binary, as values.

use crate::cli::check::probe::Probe;
use std::path::PathBuf;

use crate::cli::{forget, link, list, merge, mux, prune, setup, tail, tap};
use crate::domain::product::Product;
use crate::domain::rest::RestAction;
use crate::protocol::MediaSelection;

/// A parsed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print this text to stdout.
    Help(&'static str),
    /// Print version, commit and features to stdout.
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
    /// Ask the running server whether it is alive or ready.
    Probe {
        /// `--config`.
        config: Option<PathBuf>,
        /// `--live` or `--ready`.
        probe: Probe,
    },
    /// A guided first run.
    Setup(setup::Answers),
    /// Let a user authorize the app.
    Authorize {
        /// `--config`.
        config: Option<PathBuf>,
    },
    /// List who has authorized the app.
    Accounts {
        /// `--config`.
        config: Option<PathBuf>,
        /// `--json`.
        json: bool,
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
        /// `--fleet`.
        fleet: bool,
    },
    /// Print something about this binary.
    Print(Page),
    /// Make one file of a recording.
    Mux(mux::Options),
    /// Make one folder of the epochs of a stream.
    Merge(merge::Options),
    /// Find recordings.
    List(list::Options),
    /// Remove recordings by the rules.
    Prune(prune::Options),
    /// Forget a meeting, an account or a person.
    Forget(forget::Options),
    /// Show what the running server receives.
    Tail(tail::Options),
    /// Make a link to a stream.
    Link(link::Options),
    /// Write the sound or the pictures of a running stream to stdout.
    Tap(tap::Options),
    /// Something about the endpoints of HTTP push.
    Push(Push),
    /// `--app`: the command, about one of several apps.
    InApp(String, Box<Command>),
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
    /// `--meetings`, from 1 to [`DEMO_MEETINGS_MAX`](super::DEMO_MEETINGS_MAX); `None` for
    /// the demo's own number.
    pub meetings: Option<u32>,
    /// What is played.
    pub kind: DemoKind,
    /// `--media`.
    pub media: MediaSelection,
    /// `--product`; not empty.
    pub products: Vec<Product>,
    /// `--events websocket`: events come by the WebSocket, and the server has no port.
    pub events_by_websocket: bool,
    /// `--nodes`, from 2 to [`DEMO_NODES_MAX`](super::DEMO_NODES_MAX).
    pub nodes: Option<u32>,
    /// `--store`: the address of a store; without it the demo's own.
    pub store: Option<String>,
}

/// What `rtmsd demo` plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoKind {
    /// Meetings without faults.
    Meetings,
    /// `--chaos`: connections and the server are broken in every way.
    Chaos,
    /// `--nodes`: several servers, one of which leaves.
    Fleet,
    /// `--nodes` and `--chaos`: nodes and the store are broken in every way.
    FleetChaos,
    /// `--odd`: undocumented behavior that was observed.
    Odd,
    /// `--serve`: meetings that go on, to look at in a browser.
    Serve,
    /// `--setup`: the guided first run, with this Zoom.
    Setup,
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
    /// `--account`.
    pub account: Option<String>,
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
    /// The metrics, as a Markdown table.
    Metrics,
    /// Completions for a shell of [`SHELLS`](crate::cli::manpages::SHELLS).
    Completions(&'static str),
}
