//! What happens to the nodes and their store.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{EXIT_MAX, Node, Stage, Store};
use crate::demo::zoom::record::{Step, left};

/// Longer than a node is silent before others take what it has.
const STOPPED: Duration = Duration::from_secs(8);
/// Longer than a node may go on without the store before it is unsure.
const STORE_AWAY: Duration = Duration::from_secs(7);

impl Stage {
    /// A node ends in order; its meetings go on at the others.
    pub(super) fn one_leaves(&mut self) -> io::Result<()> {
        let (at, moved) = self.fullest()?;
        let before = self.before();
        let name = self.nodes[at].name.clone();
        self.say(&format!("node {name} leaves (SIGTERM)"));
        self.signal(at, Signal::TERM);
        self.recover(&before, &moved, "a node left")?;
        let server = self.nodes[at].server.take();
        let status = server.and_then(|mut server| server.wait(EXIT_MAX));
        self.balancer.set(at, None);
        if status.and_then(|status| status.code()) != Some(0) {
            let fault =
                format!("node {name}: found {status:?} after SIGTERM, expected exit status 0");
            self.faults.push(fault);
        }
        Ok(())
    }

    /// One of each, one after the other.
    pub(super) fn chaos(&mut self) -> io::Result<()> {
        let rounds: [fn(&mut Stage) -> io::Result<()>; 5] = [
            Stage::one_is_killed,
            Stage::the_store_is_lost,
            Stage::one_restarts,
            Stage::one_leaves_and_returns,
            Stage::one_is_stopped,
        ];
        for round in rounds {
            if self.faults.is_empty() {
                round(self)?;
            }
        }
        Ok(())
    }

    fn kill(&mut self, at: usize, moved: &[usize]) {
        if let Some(mut server) = self.nodes[at].server.take() {
            server.kill();
        }
        for n in moved {
            self.meetings[*n].crashes += 1;
        }
    }

    fn one_is_killed(&mut self) -> io::Result<()> {
        let (at, moved) = self.fullest()?;
        let before = self.before();
        let name = self.nodes[at].name.clone();
        self.say(&format!("node {name} is killed (SIGKILL)"));
        self.kill(at, &moved);
        self.recover(&before, &moved, "its node was killed")?;
        self.say(&format!("node {name} comes back"));
        self.start(at)
    }

    fn one_restarts(&mut self) -> io::Result<()> {
        let (at, moved) = self.fullest()?;
        let before = self.before();
        let name = self.nodes[at].name.clone();
        self.say(&format!("node {name} is killed and started again at once"));
        self.kill(at, &moved);
        self.start(at)?;
        self.recover(&before, &moved, "its node was killed and started again")
    }

    fn one_leaves_and_returns(&mut self) -> io::Result<()> {
        self.one_leaves()?;
        let is_gone = |node: &Node| node.server.is_none();
        if let Some(at) = self.nodes.iter().position(is_gone) {
            self.say(&format!("node {} comes back", self.nodes[at].name));
            self.start(at)?;
        }
        Ok(())
    }

    fn one_is_stopped(&mut self) -> io::Result<()> {
        let (at, moved) = self.fullest()?;
        let before = self.before();
        let name = self.nodes[at].name.clone();
        let seconds = STOPPED.as_secs();
        self.say(&format!(
            "node {name} stands still for {seconds} s (SIGSTOP, SIGCONT)"
        ));
        let known = self.zoom.violations();
        self.signal(at, Signal::STOP);
        for n in &moved {
            self.meetings[*n].crashes += 1;
        }
        let begun = Instant::now();
        let recovered = self.recover(&before, &moved, "its node stands still");
        std::thread::park_timeout(left(begun + STOPPED));
        self.signal(at, Signal::CONT);
        recovered?;
        self.say(&format!("node {name} goes on"));
        let before = self.before();
        self.recover(&before, &[], "the node that stood still goes on")?;
        let found = self.zoom.violations().into_iter();
        self.excused.extend(found.filter(|it| !known.contains(it)));
        Ok(())
    }

    pub(super) fn signal(&mut self, at: usize, signal: Signal) {
        if let Some(server) = &mut self.nodes[at].server {
            server.signal(signal);
        }
    }

    /// Running streams run on, and new ones are received where Zoom announces them.
    fn the_store_is_lost(&mut self) -> io::Result<()> {
        if self.store.is_none() {
            self.say("the given store is left alone");
            return Ok(());
        }
        let before = self.before();
        let seconds = STORE_AWAY.as_secs();
        self.say(&format!(
            "the store says nothing for {seconds} s, and comes back empty"
        ));
        self.with_store(|store| store.stall(true));
        std::thread::park_timeout(STORE_AWAY);
        let running = before.counts.len();
        self.begin(2, "begin meanwhile")?;
        self.with_store(Store::clear);
        self.with_store(|store| store.stall(false));
        self.recover(&before, &[], "the store was lost")?;
        for (meeting, (ready, _)) in self.meetings[..running].iter().zip(&before.counts) {
            let found = meeting.handle.count(Step::Ready);
            if found != *ready {
                let fault = format!("{}: lost its connection with the store", meeting.topic());
                self.faults.push(fault);
            }
        }
        Ok(())
    }
}
