//! Several apps in one process: a daemon for each, behind one webhook listener.
//!
//! One thread owns the daemons: it starts each, and joins it when its loop has ended. An app that cannot
//! start, or whose file is faulty, is disabled alone. An app that is taken out of the configuration ends
//! with its last stream.

mod handle;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub use handle::{AppsHandle, Daemons};

use super::start::Given;
use super::{Daemon, Ending, Error, Event, Handle, Settings};
use crate::delivery::stdout::Stdout;
use crate::domain::causes::with_causes;
use crate::gate::Gate;
use crate::log::app::{enter, inherit};
use crate::net::tls_client::TlsClient;
use crate::source::ingress::Door;
use crate::state::StateDir;

/// A daemon applies settings within milliseconds.
const RELOAD_MAX: Duration = Duration::from_secs(5);
/// For lines of standard output, at the end.
const STDOUT_MAX: Duration = Duration::from_millis(500);

/// An app as it is configured.
#[derive(Debug, Clone)]
pub struct WantedApp {
    /// Its name.
    pub name: Arc<str>,
    /// Its settings; `None` if it is disabled, because its file is faulty.
    pub settings: Option<Settings>,
}

/// What is done with the handle of each app that starts, before its webhooks are answered. The result is
/// dropped when the app has ended.
pub type OnStart = dyn Fn(&Arc<str>, &Handle, &Settings) -> Box<dyn Send>;

/// Several apps that are about to run.
pub struct Apps {
    handle: AppsHandle,
    messages: Receiver<Message>,
    door: Arc<Door<Event>>,
    tls: TlsClient,
    stdout: Option<Arc<Stdout>>,
    /// Locates the system's root certificates while webhooks are answered already.
    roots: JoinHandle<()>,
    on_start: Box<OnStart>,
    running: Vec<RunningApp>,
    is_stopping: bool,
    ending: Ending,
    /// `RTMS_STATE`, where the folders of the apps are; held for its lock.
    _state: Option<StateDir>,
}

struct RunningApp {
    name: Arc<str>,
    handle: Handle,
    thread: JoinHandle<Ending>,
    _part: Box<dyn Send>,
}

enum Message {
    /// The loop of that app has ended.
    Ended(Arc<str>),
    /// Other settings for the listener, and for the apps.
    Reload(Box<Settings>, Vec<WantedApp>, SyncSender<()>),
    Stop,
}

impl fmt::Debug for Apps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.running.iter().map(|app| &app.name);
        f.debug_list().entries(names).finish()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message")
    }
}

impl Apps {
    /// Starts the apps, and then answers webhooks. `common` are the settings of what is not of one app: the
    /// listener, standard output, root certificates, the state directory.
    ///
    /// # Errors
    /// As [`Daemon::start`], as far as it is not about one app.
    pub fn start(
        listeners: Vec<TcpListener>,
        common: &Settings,
        apps: Vec<WantedApp>,
        on_start: Box<OnStart>,
    ) -> Result<Apps, Error> {
        let tls = TlsClient::new(common.ca_file.as_deref()).map_err(Error::CaFile)?;
        let open = |path| StateDir::open_sealed(path, common.state_keys.clone());
        let state = common.state.as_ref().map(open).transpose();
        let state = state.map_err(Error::State)?;
        let stdout = common.stdout.map(|_| Stdout::start()).transpose()?;
        let roots = tls.prepare()?;
        let (sender, messages) = channel();
        let mut started = Apps {
            handle: AppsHandle::new(sender),
            messages,
            door: Arc::default(),
            tls,
            stdout: stdout.map(Arc::new),
            roots,
            on_start,
            running: Vec::new(),
            is_stopping: false,
            ending: Ending::Stopped,
            _state: state,
        };
        started.use_apps(apps);
        let opened = started.door.open(listeners, &common.webhooks);
        if let Err(error) = opened {
            started.handle.stop();
            started.run();
            return Err(Error::Ingress(error));
        }
        Ok(started)
    }

    /// A handle for other threads.
    pub fn handle(&self) -> AppsHandle {
        self.handle.clone()
    }

    /// Addresses at which webhooks are received.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.door.addresses()
    }

    /// The HTTP front, to which the owner may add further listeners.
    pub fn gate(&self) -> Option<Gate> {
        self.door.gate()
    }

    /// Runs until it is stopped, and then completes files and state of all apps.
    pub fn run(mut self) -> Ending {
        while !(self.is_stopping && self.running.is_empty()) {
            match self.messages.recv() {
                Ok(Message::Ended(name)) => self.ended(&name),
                Ok(Message::Reload(common, apps, done)) => {
                    if let Err(error) = self.door.reload(&common.webhooks) {
                        log::error!("reload: {}", with_causes(&error));
                    }
                    self.use_apps(apps);
                    let _ = done.send(());
                }
                // There is a sender in the handle.
                Ok(Message::Stop) | Err(_) => self.stop_all(),
            }
        }
        self.door.close();
        if let Some(stdout) = self.stdout.take().and_then(Arc::into_inner) {
            stdout.stop(Instant::now() + STDOUT_MAX);
        }
        if self.roots.join().is_err() {
            log::error!("the thread that reads the roots panicked");
        }
        self.ending
    }

    fn stop_all(&mut self) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        for app in &self.running {
            app.handle.stop();
        }
        // Waits up to a second for requests that have begun; meanwhile the streams end.
        self.door.close();
    }

    /// Starts, reloads and removes apps, so that these run.
    fn use_apps(&mut self, wanted: Vec<WantedApp>) {
        if self.is_stopping {
            return;
        }
        let is_wanted = |name: &Arc<str>| {
            let mut enabled = wanted.iter().filter(|app| app.settings.is_some());
            enabled.any(|app| app.name == *name)
        };
        for app in self.running.iter().filter(|app| !is_wanted(&app.name)) {
            app.handle.leave();
        }
        let disabled = wanted.iter().filter(|app| app.settings.is_none());
        let mut disabled: Vec<Arc<str>> = disabled.map(|app| Arc::clone(&app.name)).collect();
        for app in wanted {
            let Some(settings) = app.settings else {
                continue;
            };
            let _app = enter(Some(&app.name));
            if self.reload(&app.name, &settings) {
                continue;
            }
            if let Err(error) = self.start_app(&app.name, settings) {
                log::error!("the app is disabled: {}", with_causes(&error));
                disabled.push(app.name);
            }
        }
        for name in &disabled {
            let _app = enter(Some(name));
            log::error!("the app is disabled until its configuration is corrected and reloaded");
        }
        self.handle.set_disabled(disabled);
    }

    /// Gives a running app other settings. `false` if it does not run.
    fn reload(&mut self, name: &Arc<str>, settings: &Settings) -> bool {
        let Some(app) = self.running.iter().find(|app| app.name == *name) else {
            return false;
        };
        match app.handle.reload(settings.clone(), RELOAD_MAX) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                log::error!("reload: {}", with_causes(&error));
                log::error!("reload of the app failed, configuration unchanged");
            }
            // It was removed before, and has just ended.
            None if app.thread.is_finished() => {
                self.ended(name);
                return false;
            }
            None => log::error!("reload of the app failed: its daemon does not answer"),
        }
        true
    }

    fn start_app(&mut self, name: &Arc<str>, settings: Settings) -> Result<(), Error> {
        let given = Given {
            app: Some(Arc::clone(name)),
            door: Arc::clone(&self.door),
            listeners: None,
            tls: self.tls.clone(),
            stdout: self.stdout.clone(),
        };
        let daemon = Daemon::start_in(given, settings.clone(), None)?;
        let handle = daemon.handle();
        let part = (self.on_start)(name, &handle, &settings);
        let ended = OnEnd(self.handle.clone(), Arc::clone(name));
        let thread = Builder::new()
            .name(format!("app {name}"))
            .spawn(inherit(move || {
                let _ended = ended;
                daemon.run()
            }))?;
        self.handle.add(name, &handle);
        self.running.push(RunningApp {
            name: Arc::clone(name),
            handle,
            thread,
            _part: part,
        });
        log::info!("app started");
        Ok(())
    }

    /// Joins an app whose loop has ended, if it has.
    fn ended(&mut self, name: &Arc<str>) {
        let is_it = |app: &RunningApp| app.name == *name && app.thread.is_finished();
        let Some(at) = self.running.iter().position(|app| app.name == *name) else {
            return;
        };
        // Its last step is to report the end.
        let until = Instant::now() + RELOAD_MAX;
        while !is_it(&self.running[at]) && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let app = self.running.swap_remove(at);
        self.handle.remove(name);
        let _app = enter(Some(name));
        match app.thread.join() {
            Ok(Ending::Stopped | Ending::Left) => log::info!("app ended"),
            Ok(ending) => {
                self.ending = ending;
                self.stop_all();
            }
            Err(_) => {
                log::error!("a bug ended the daemon of this app; the server ends");
                self.ending = Ending::Panicked;
                self.stop_all();
            }
        }
    }
}

/// Reports the end of a thread, however it ends.
struct OnEnd(AppsHandle, Arc<str>);

impl Drop for OnEnd {
    fn drop(&mut self) {
        self.0.send(Message::Ended(Arc::clone(&self.1)));
    }
}
