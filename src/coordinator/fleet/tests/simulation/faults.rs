//! Faults: they begin, they end, and what they take with them.

use super::world::ms;
use super::{Model, Play};

/// A fault that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Killed(String),
    Paused(String),
    Cut(String),
    StoreDown(Restart),
    Replies,
    Twin(String),
    Full,
    Queues(usize),
}

/// What the store has after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    All,
    Short,
    Empty,
}

impl Play {
    pub(super) fn lasts(&mut self, fault: Fault, most_ms: u64) {
        let until = self.world.now + ms(300 + self.below(most_ms));
        self.world.note(|| format!("-- {fault:?}"));
        self.world.zoom.count_again(self.world.now);
        self.faults.push((until, fault));
    }

    pub(super) fn has_fault_of(&self, name: &str) -> bool {
        self.faults.iter().any(|(_, fault)| match fault {
            Fault::Killed(node) | Fault::Paused(node) | Fault::Cut(node) | Fault::Twin(node) => {
                node == name
            }
            _ => false,
        })
    }

    pub(super) fn fault(&mut self) {
        let which = self.below(self.names.len() as u64) as usize;
        let name = self.names[which].clone();
        let is_free = self.world.is_up(&name) && !self.has_fault_of(&name);
        let is_store_up = !self.world.is_store_down;
        match self.below(15) {
            0 | 1 if is_free => {
                self.world.kill(&name);
                self.excuse();
                let most = if self.below(2) == 0 { 3000 } else { 20_000 };
                self.lasts(Fault::Killed(name), most);
            }
            2 if is_free && self.names.len() > 2 => {
                // Away for good.
                self.names.retain(|known| *known != name);
                if self.below(2) == 0 {
                    self.world.kill(&name);
                } else {
                    self.has_lost_machine = true;
                    self.world.lose_machine(&name);
                }
                self.forget(&name);
                self.lasts(Fault::Replies, 1);
            }
            3 | 4 if is_free => {
                self.world.pause(&name);
                self.lasts(Fault::Paused(name), 25_000);
            }
            5 | 6 if is_free => {
                let which = self.below(3);
                let node = self.world.nodes.get_mut(&name).expect("a node");
                node.is_cut_to = which != 1;
                node.is_cut_from = which != 0;
                self.lasts(Fault::Cut(name), 20_000);
            }
            7 | 8 if is_store_up => {
                let restart = match self.below(3) {
                    0 => Restart::All,
                    1 => Restart::Short,
                    _ => Restart::Empty,
                };
                self.world.is_store_down = true;
                let most = if self.below(2) == 0 { 1500 } else { 15_000 };
                self.lasts(Fault::StoreDown(restart), most);
            }
            9 => {
                let seconds = [1_i64, 3, 6, 20, 3600][self.below(5) as usize];
                let sign = if self.below(2) == 0 { 1 } else { -1 };
                self.world.store_ahead += sign * seconds * 1000;
                if sign < 0 {
                    self.set_back = Some(self.world.now);
                }
                self.lasts(Fault::Replies, 1);
            }
            10 => {
                self.world.lost_replies = 2 + self.below(10);
                self.world.slow_replies = 2 + self.below(10);
                self.lasts(Fault::Replies, 10_000);
            }
            11 if is_free && self.names.len() > 1 => {
                self.world.drain(&name);
                self.lasts(Fault::Killed(name), 20_000);
            }
            12 if is_free && !self.faults.iter().any(|(_, f)| matches!(f, Fault::Twin(_))) => {
                self.twins += 1;
                let key = format!("twin{}", self.twins);
                self.world.start_twin(&name, &key);
                self.lasts(Fault::Twin(key), 15_000);
            }
            13 => {
                self.world.store.is_full = true;
                self.lasts(Fault::Full, 8000);
            }
            14 => {
                let most = self.below(3) as usize;
                self.world.store.queue_max = Some(most);
                self.lasts(Fault::Queues(most), 8000);
            }
            _ => {}
        }
    }

    /// Something was lost: no node can be blamed for a stream of which nothing is left anywhere.
    pub(super) fn excuse(&mut self) {
        let live = self.world.zoom.live().map(|(id, _)| id);
        let gone = live.filter(|id| !self.world.is_known(id));
        let gone: Vec<String> = gone.cloned().collect();
        self.excused.extend(gone);
    }

    /// Its disk is gone, too.
    pub(super) fn forget(&mut self, name: &str) {
        let node = self.world.nodes.get_mut(name).expect("a node");
        node.is_lost = true;
        self.excuse();
    }

    pub(super) fn end_faults(&mut self, is_all: bool) {
        let now = self.world.now;
        let faults = std::mem::take(&mut self.faults);
        for (until, fault) in faults {
            if now < until && !is_all {
                self.faults.push((until, fault));
                continue;
            }
            self.world.note(|| format!("-- end of {fault:?}"));
            self.world.zoom.count_again(now);
            match fault {
                Fault::Killed(name) => {
                    // It was drained, and is not done.
                    self.world.kill(&name);
                    self.excuse();
                    self.world.start(&name);
                }
                Fault::Paused(name) => self.world.resume(&name),
                Fault::Cut(name) => {
                    let node = self.world.nodes.get_mut(&name).expect("a node");
                    (node.is_cut_to, node.is_cut_from) = (false, false);
                }
                Fault::StoreDown(restart) => {
                    self.world.is_store_down = false;
                    match restart {
                        Restart::All => {}
                        Restart::Short => {
                            if let Some(snapshot) = self.snapshots.first() {
                                let Model {
                                    is_full, queue_max, ..
                                } = self.world.store;
                                self.world.store = snapshot.clone();
                                self.world.store.is_full = is_full;
                                self.world.store.queue_max = queue_max;
                            }
                        }
                        Restart::Empty => self.world.store.clear(),
                    }
                    self.excuse();
                    self.world.reread();
                }
                Fault::Replies => {
                    self.world.lost_replies = 0;
                    self.world.slow_replies = 0;
                }
                Fault::Twin(key) => {
                    self.world.kill(&key);
                    self.forget(&key);
                }
                Fault::Full => self.world.store.is_full = false,
                Fault::Queues(_) => self.world.store.queue_max = None,
            }
        }
    }
}
