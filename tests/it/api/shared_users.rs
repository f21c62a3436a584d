//! Grants by `rtmsd authorize` on several nodes, with the store whose time is the test's.

use std::sync::Arc;

use rtmsd::state::StateDir;
use rtmsd::zoom_api::{Deauthorized, Kind};

use super::grants::{Grants, accounts, authorize, start_of, zoom_of_many};
use super::rotation::{open_state, user};
use super::shared::{Seen, Store};
use super::*;

/// Nodes of an app that users authorize.
struct Nodes {
    store: Arc<Store>,
    zoom: Scripted,
    grants: Grants,
    folders: Vec<TempDir>,
    apis: Vec<Api>,
}

impl Nodes {
    fn start(count: usize) -> Nodes {
        let (zoom, grants) = zoom_of_many();
        let mut nodes = Nodes {
            store: Store::new(),
            zoom,
            grants,
            folders: (0..count).map(|_| TempDir::new()).collect(),
            apis: Vec::new(),
        };
        for at in 0..count {
            let api = nodes.api(at, true);
            nodes.apis.push(api);
        }
        nodes
    }

    fn api(&self, at: usize, is_in_fleet: bool) -> Api {
        let state = open_state(self.folders[at].path(), |path| StateDir::open(path));
        let settings = Settings {
            state: Some(Arc::new(state)),
            clock: self.store.clock.reading(),
            ..settings(&self.zoom, user(""))
        };
        let mut app = settings.app();
        app.rest.redirect_url = Some("https://rtms.example.com/oauth".to_owned());
        let seen = Seen {
            store: Arc::clone(&self.store),
            node: at as u32,
        };
        let mut process = settings.process();
        if is_in_fleet {
            process.shared = Some(Arc::new(seen));
        }
        Api::new(app, process).unwrap()
    }

    fn call(&self, at: usize, account: &str) -> Result<(), Error> {
        self.apis[at].control(&start_of(account, "1"))
    }

    #[track_caller]
    fn expect_tokens(&self, account: &str, issued: u32) {
        let grants = self.grants.lock().unwrap();
        let grant = &grants[account];
        assert_eq!((grant.issued, grant.is_reused), (issued, false));
    }

    /// The grants that a node has on its disk.
    fn stored(&self, at: usize) -> usize {
        let files = std::fs::read_dir(self.folders[at].path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("grant-")).count()
    }

    fn outlive_a_token(&self) {
        self.store.clock.forward(3600);
    }
}

#[test]
fn what_one_node_was_given_serves_on_all_and_is_refreshed_once() {
    let nodes = Nodes::start(3);
    authorize(&nodes.apis[0], "a");
    authorize(&nodes.apis[1], "b");
    for hour in 1..=4 {
        for n in 0..3 {
            let at = (n + hour as usize) % 3;
            nodes.call(at, "a").unwrap();
            nodes.call(at, "b").unwrap();
        }
        // The tokens of the authorization are those of the first hour.
        nodes.expect_tokens("a", hour);
        nodes.expect_tokens("b", hour);
        nodes.outlive_a_token();
    }
    for at in 0..3 {
        assert_eq!(nodes.stored(at), 2, "each keeps what it uses");
        let users: Vec<String> = accounts(&nodes.apis[at])
            .into_iter()
            .map(|it| it.0)
            .collect();
        assert_eq!(users, ["user-a", "user-b"]);
    }
}

#[test]
fn the_newer_grant_of_a_user_ends_the_earlier_one_on_all_nodes() {
    let nodes = Nodes::start(3);
    authorize(&nodes.apis[0], "a");
    (0..3).for_each(|at| nodes.call(at, "a").unwrap());
    nodes.store.clock.forward(5);
    authorize(&nodes.apis[1], "a");
    for at in 0..3 {
        nodes.apis[at].share_grants();
        assert_eq!(nodes.stored(at), 1, "node {at}");
        nodes.call(at, "a").unwrap();
        assert_eq!(accounts(&nodes.apis[at]).len(), 1);
    }
    nodes.outlive_a_token();
    (0..3).for_each(|at| nodes.call(at, "a").unwrap());
    nodes.expect_tokens("a", 3);
}

#[test]
fn a_user_who_removes_the_app_is_forgotten_by_all_nodes() {
    let nodes = Nodes::start(3);
    for name in ["a", "b"] {
        authorize(&nodes.apis[0], name);
        (0..3).for_each(|at| nodes.call(at, name).unwrap());
    }
    let told = nodes.apis[2].deauthorized("user-a", "a").unwrap();
    assert_eq!(told, Deauthorized::Forgotten);
    for at in 0..3 {
        nodes.apis[at].share_grants();
        assert_eq!(nodes.stored(at), 1, "node {at}");
        let error = nodes.call(at, "a").unwrap_err();
        assert!(
            matches!(error.kind(), Kind::Deauthorized | Kind::NoGrant),
            "{error}"
        );
        nodes.call(at, "b").unwrap();
    }
    // Authorized again, it is another grant.
    authorize(&nodes.apis[1], "a");
    (0..3).for_each(|at| nodes.call(at, "a").unwrap());
}

#[test]
fn what_the_store_missed_or_lost_it_gets_later() {
    let nodes = Nodes::start(2);
    nodes.store.set_down(true);
    authorize(&nodes.apis[0], "a");
    nodes.call(0, "a").unwrap();
    let error = nodes.call(1, "a").unwrap_err();
    assert_eq!(error.kind(), Kind::NotAuthorized, "{error}");
    nodes.store.set_down(false);
    nodes.apis[0].publish_grants();
    nodes.call(1, "a").unwrap();
    nodes.expect_tokens("a", 1);

    // Each node alone can bring back what an empty store has lost.
    nodes.store.lose_all();
    nodes.apis[1].publish_grants();
    nodes.outlive_a_token();
    nodes.call(0, "a").unwrap();
    nodes.call(1, "a").unwrap();
    nodes.expect_tokens("a", 2);
}

#[test]
fn grants_of_a_server_that_becomes_a_node_are_shared() {
    let mut nodes = Nodes::start(2);
    nodes.apis.clear();
    let alone = nodes.api(0, false);
    authorize(&alone, "a");
    nodes.outlive_a_token();
    alone.control(&start_of("a", "1")).unwrap();
    drop(alone);
    nodes.apis = vec![nodes.api(0, true), nodes.api(1, true)];
    nodes.apis[0].publish_grants();
    nodes.call(1, "a").unwrap();
    nodes.call(0, "a").unwrap();
    // One refresh alone, and one for both.
    nodes.expect_tokens("a", 3);
    nodes.outlive_a_token();
    nodes.call(1, "a").unwrap();
    nodes.call(0, "a").unwrap();
    nodes.expect_tokens("a", 4);
}

#[test]
fn a_command_elsewhere_finds_the_grant_and_leaves_it_to_the_nodes() {
    let mut nodes = Nodes::start(2);
    authorize(&nodes.apis[0], "a");
    nodes.outlive_a_token();
    nodes.call(0, "a").unwrap();
    // A machine without a node: its state directory is empty.
    nodes.folders.push(TempDir::new());
    let command = nodes.api(2, true);
    command.control(&start_of("a", "1")).unwrap();
    nodes.outlive_a_token();
    command.control(&start_of("a", "1")).unwrap();
    drop(command);
    nodes.expect_tokens("a", 3);
    nodes.call(1, "a").unwrap();
    nodes.expect_tokens("a", 3);
}
