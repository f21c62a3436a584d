//! Several nodes with one grant, and a store between them whose time is the test's.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rtmsd::state::StateDir;
use rtmsd::zoom_api::{Class, Kind, SharedGrant, SharedState, SharedTokens, StoreDown};

use super::rotation::{Family, first, open_state, strict_zoom, user};
use super::tokens::ManualClock;
use super::*;

/// How long a lock holds.
const LOCK_S: u64 = 45;

/// The store.
pub(super) struct Store {
    pub(super) clock: ManualClock,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    grants: HashMap<String, (SharedState, Option<(u32, std::time::Instant)>)>,
    is_down: bool,
    /// Its lock stays until it ends by itself.
    dead: Option<u32>,
}

impl Store {
    pub(super) fn new() -> Arc<Store> {
        Arc::new(Store {
            clock: ManualClock::new(),
            inner: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.inner.lock().unwrap().is_down = is_down;
    }

    /// It restarts with nothing.
    pub(super) fn lose_all(&self) {
        self.inner.lock().unwrap().grants.clear();
    }
}

/// What one node sees of it.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) store: Arc<Store>,
    pub(super) node: u32,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {}", self.node)
    }
}

impl Seen {
    fn change<T>(
        &self,
        grant: &str,
        change: impl FnOnce(&mut SharedState, &mut Option<(u32, std::time::Instant)>) -> T,
    ) -> Result<T, StoreDown> {
        let now = self.store.clock.reading().instant();
        let mut inner = self.store.inner.lock().unwrap();
        if inner.is_down {
            return Err(StoreDown("it is off".to_owned()));
        }
        let (state, lock) = inner.grants.entry(grant.to_owned()).or_default();
        *lock = lock.filter(|(_, until)| now < *until);
        let result = change(state, lock);
        self.store.changed.notify_all();
        Ok(result)
    }
}

impl SharedGrant for Seen {
    fn read(&self, grant: &str) -> Result<SharedState, StoreDown> {
        self.change(grant, |state, _| state.clone())
    }

    fn lock(&self, grant: &str) -> Result<(bool, SharedState), StoreDown> {
        let until = self.store.clock.reading().instant() + Duration::from_secs(LOCK_S);
        self.change(grant, |state, lock| {
            let is_ours = lock.is_none_or(|(holder, _)| holder == self.node);
            if is_ours {
                *lock = Some((self.node, until));
            }
            (is_ours, state.clone())
        })
    }

    fn put(&self, grant: &str, generation: u64, tokens: &SharedTokens) -> Result<bool, StoreDown> {
        self.change(grant, |state, lock| {
            let is_holder = lock.is_some_and(|(holder, _)| holder == self.node);
            let may = is_holder && generation == state.generation + 1;
            if may {
                *lock = None;
                *state = written(generation, tokens);
            }
            may
        })
    }

    fn restore(
        &self,
        grant: &str,
        generation: u64,
        tokens: &SharedTokens,
    ) -> Result<bool, StoreDown> {
        self.change(grant, |state, lock| {
            let may = generation > state.generation && !state.is_forgotten;
            if may {
                *lock = None;
                *state = written(generation, tokens);
            }
            may
        })
    }

    fn forget(&self, grant: &str) -> Result<(), StoreDown> {
        self.change(grant, |state, lock| {
            *lock = None;
            state.tokens = None;
            state.is_forgotten = true;
        })
    }

    /// A node that lives is waited for, so that its real time is not the test's; else time goes on.
    fn pause(&self, time: Duration) {
        let mut inner = self.store.inner.lock().unwrap();
        let dead = inner.dead;
        let is_held = |inner: &mut Inner| {
            let mut locks = inner.grants.values().filter_map(|(_, lock)| *lock);
            locks.any(|(holder, _)| Some(holder) != dead && holder != self.node)
        };
        if is_held(&mut inner) {
            let waited = self
                .store
                .changed
                .wait_timeout_while(inner, PATIENCE, is_held);
            assert!(!waited.unwrap().1.timed_out(), "the lock is not given back");
            return;
        }
        drop(inner);
        self.store.clock.forward_by(time);
    }
}

fn written(generation: u64, tokens: &SharedTokens) -> SharedState {
    SharedState {
        generation,
        tokens: Some(tokens.clone()),
        is_forgotten: false,
    }
}

/// Nodes with one configured refresh token.
struct Nodes {
    store: Arc<Store>,
    zoom: Scripted,
    family: Arc<Mutex<Family>>,
    folders: Vec<TempDir>,
    apis: Vec<Api>,
}

impl Nodes {
    fn start(count: usize) -> Nodes {
        let (zoom, family) = strict_zoom();
        let store = Store::new();
        let mut nodes = Nodes {
            store,
            zoom,
            family,
            folders: (0..count).map(|_| TempDir::new()).collect(),
            apis: Vec::new(),
        };
        for at in 0..count {
            let api = nodes.api(at);
            nodes.apis.push(api);
        }
        nodes
    }

    fn api(&self, at: usize) -> Api {
        let state = open_state(self.folders[at].path(), |path| StateDir::open(path));
        let settings = Settings {
            state: Some(Arc::new(state)),
            clock: self.store.clock.reading(),
            ..settings(&self.zoom, user(&first()))
        };
        let shared = Seen {
            store: Arc::clone(&self.store),
            node: at as u32,
        };
        let process = Process {
            shared: Some(Arc::new(shared)),
            ..settings.process()
        };
        Api::new(settings.app(), process).unwrap()
    }

    fn call(&self, at: usize) -> Result<(), Error> {
        self.apis[at].control(&start("1"))
    }

    #[track_caller]
    fn expect_refreshes(&self, count: u64) {
        let family = self.family.lock().unwrap();
        assert_eq!((family.issued, family.is_dead), (count, false));
    }

    /// A token lives for an hour.
    fn outlive_a_token(&self) {
        self.store.clock.forward(3600);
    }

    fn set_down(&self, is_down: bool) {
        self.store.set_down(is_down);
    }
}

#[test]
fn one_node_refreshes_for_all_of_them() {
    let nodes = Nodes::start(3);
    for hour in 1..=4 {
        for n in 0..3 {
            nodes.call((n + hour as usize) % 3).unwrap();
        }
        nodes.expect_refreshes(hour);
        nodes.outlive_a_token();
    }
}

#[test]
fn nodes_that_ask_at_once_refresh_once() {
    let nodes = Nodes::start(4);
    for hour in 1..=5 {
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..4)
                .map(|at| {
                    scope.spawn({
                        let nodes = &nodes;
                        move || nodes.call(at)
                    })
                })
                .collect();
            for call in calls {
                call.join().unwrap().unwrap();
            }
        });
        nodes.expect_refreshes(hour);
        nodes.outlive_a_token();
    }
}

#[test]
fn a_token_that_zoom_refuses_is_replaced_by_one_node() {
    let nodes = Nodes::start(2);
    nodes.call(0).unwrap();
    nodes.call(1).unwrap();
    // Zoom ends the access token before its time.
    nodes.family.lock().unwrap().ended = 1;
    nodes.call(1).unwrap();
    nodes.expect_refreshes(2);
    nodes.call(0).unwrap();
    nodes.expect_refreshes(2);
}

#[test]
fn the_lock_of_a_node_that_died_ends_by_itself() {
    let mut nodes = Nodes::start(2);
    nodes.call(0).unwrap();
    nodes.outlive_a_token();
    let name = {
        let mut inner = nodes.store.inner.lock().unwrap();
        inner.dead = Some(9);
        let mut names = inner.grants.keys();
        names
            .find(|name| name.starts_with("user."))
            .unwrap()
            .clone()
    };
    let dead = Seen {
        store: Arc::clone(&nodes.store),
        node: 9,
    };
    assert!(dead.lock(&name).unwrap().0);
    // As long as a call may take, and no longer.
    let error = nodes.call(1).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(matches!(error.class(), Class::Retry { .. }));
    nodes.expect_refreshes(1);
    nodes.store.clock.forward(LOCK_S);
    nodes.call(1).unwrap();
    nodes.call(0).unwrap();
    nodes.expect_refreshes(2);
    // It has kept what it read: a restart without the store's content goes on with it.
    nodes.store.lose_all();
    nodes.apis.clear();
    nodes.outlive_a_token();
    nodes.apis.push(nodes.api(0));
    nodes.call(0).unwrap();
    nodes.expect_refreshes(3);
}

#[test]
fn without_the_store_the_last_to_put_refreshes_and_others_try_again() {
    let nodes = Nodes::start(2);
    nodes.call(0).unwrap();
    nodes.call(1).unwrap();
    nodes.set_down(true);
    // The token at hand is good.
    nodes.call(1).unwrap();
    nodes.outlive_a_token();
    let error = nodes.call(1).unwrap_err();
    assert_eq!(error.kind(), Kind::FleetStore);
    assert!(matches!(error.class(), Class::Retry { .. }));
    nodes.expect_refreshes(1);
    nodes.call(0).unwrap();
    nodes.expect_refreshes(2);
    // The store gets what it missed before anybody else refreshes.
    nodes.set_down(false);
    nodes.apis[0].publish_grants();
    nodes.call(1).unwrap();
    nodes.outlive_a_token();
    nodes.call(1).unwrap();
    nodes.call(0).unwrap();
    nodes.expect_refreshes(3);
}

#[test]
fn a_grant_that_is_over_is_over_on_all_nodes() {
    let nodes = Nodes::start(2);
    nodes.call(0).unwrap();
    nodes.apis[0].forget().unwrap();
    nodes.outlive_a_token();
    let error = nodes.call(1).unwrap_err();
    assert_eq!(error.kind(), Kind::Deauthorized);
    nodes.expect_refreshes(1);
}
