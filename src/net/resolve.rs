//! Name look-ups on threads of their own, so that a hung name server blocks no stream.
//!
//! The system's resolver blocks and has no deadline. Streams that ask for the same name at the same
//! time share one look-up, and there are at most eight of these threads. A thread ends when nothing
//! waits; at the end of the process a hung thread is left to the kernel, because nothing can
//! interrupt it.

use std::collections::VecDeque;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::log::app::inherit;
use crate::net::waker::Waker;

/// Maximum concurrent look-ups.
const THREADS_MAX: usize = 8;
/// Maximum names that wait for one of them; each stream waits for one at a time.
const QUEUE_MAX: usize = 8192;
const STACK_BYTES: usize = 256 << 10;

type Found = Result<Vec<IpAddr>, String>;
type LookUp = dyn Fn(&str) -> Found + Send + Sync;

/// Resolves names on its own threads; clones share them.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    look_up: Box<LookUp>,
}

#[derive(Default)]
struct Queue {
    /// Names that wait for a thread, and names being resolved, with the requests that wait for
    /// each.
    waiting: VecDeque<(String, Vec<Waiter>)>,
    running: Vec<(String, Vec<Waiter>)>,
    threads: usize,
}

struct Waiter {
    answer: Sender<Found>,
    waker: Waker,
}

/// A pending look-up.
#[derive(Debug)]
pub struct Pending {
    answer: Receiver<Found>,
}

impl Pending {
    /// The addresses, once they are known. Never blocks.
    pub fn poll(&self) -> Option<Found> {
        match self.answer.try_recv() {
            Ok(found) => Some(found),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("name look-up failed".to_owned())),
        }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Default for Resolver {
    /// The system's resolver.
    fn default() -> Self {
        Resolver::new(Box::new(|host| {
            let found = (host, 0).to_socket_addrs().map_err(|e| e.to_string())?;
            Ok(found.map(|address| address.ip()).collect())
        }))
    }
}

impl Resolver {
    /// A resolver with another look-up function, for tests and embedders.
    pub fn new(look_up: Box<LookUp>) -> Resolver {
        Resolver {
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                look_up,
            }),
        }
    }

    /// Starts to resolve `host`; `waker` is woken when the answer is there.
    pub fn resolve(&self, host: &str, waker: Waker) -> Pending {
        let (sender, answer) = channel();
        let pending = Pending { answer };
        if let Ok(address) = host.parse::<IpAddr>() {
            let _ = sender.send(Ok(vec![address]));
            return pending;
        }
        let waiter = Waiter {
            answer: sender,
            waker,
        };
        let mut queue = self.shared.lock();
        let Queue {
            waiting,
            running,
            threads,
        } = &mut *queue;
        let same = waiting
            .iter_mut()
            .chain(running)
            .find(|(name, _)| name == host);
        if let Some((_, waiters)) = same {
            waiters.push(waiter);
            return pending;
        }
        if waiting.len() >= QUEUE_MAX {
            let _ = waiter
                .answer
                .send(Err("too many name look-ups wait".to_owned()));
            return pending;
        }
        waiting.push_back((host.to_owned(), vec![waiter]));
        if *threads < THREADS_MAX {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new()
                .name("resolve".to_owned())
                .stack_size(STACK_BYTES);
            match thread.spawn(inherit(move || shared.work())) {
                Ok(_) => *threads += 1,
                // A running thread will resolve it later. Without any thread the request must fail
                // now.
                Err(_) if *threads > 0 => {}
                Err(error) => {
                    for (_, waiters) in waiting.drain(..) {
                        settle(
                            waiters,
                            &Err(format!("no thread for name look-ups: {error}")),
                        );
                    }
                }
            }
        }
        pending
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent between any two statements that could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let host = {
                let mut queue = self.lock();
                let Some((host, waiters)) = queue.waiting.pop_front() else {
                    queue.threads -= 1;
                    return;
                };
                queue.running.push((host.clone(), waiters));
                host
            };
            let found = (self.look_up)(&host);
            let mut queue = self.lock();
            if let Some(at) = queue.running.iter().position(|(name, _)| *name == host) {
                settle(queue.running.swap_remove(at).1, &found);
            }
        }
    }
}

fn settle(waiters: Vec<Waiter>, found: &Found) {
    for waiter in waiters {
        // The receiver may have given up in the meantime.
        let _ = waiter.answer.send(found.clone());
        waiter.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::waker::waker;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn streams_share_a_look_up_and_a_hung_one_blocks_no_other() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (release, hold) = channel::<()>();
        let hold = Mutex::new(hold);
        let count = Arc::clone(&asked);
        let resolver = Resolver::new(Box::new(move |host| {
            count.fetch_add(1, Ordering::SeqCst);
            if host == "hung.test" {
                let _ = hold
                    .lock()
                    .map(|hold| hold.recv_timeout(Duration::from_secs(20)));
            }
            Ok(vec![IpAddr::from([192, 0, 2, 1])])
        }));
        let (waker, _wakeable) = waker().expect("a file");
        let hung: Vec<Pending> = (0..50)
            .map(|_| resolver.resolve("hung.test", waker.clone()))
            .collect();
        let other = resolver.resolve("other.test", waker.clone());
        let found = other
            .answer
            .recv_timeout(Duration::from_secs(10))
            .expect("in time");
        assert_eq!(found, Ok(vec![IpAddr::from([192, 0, 2, 1])]));
        assert!(hung.iter().all(|pending| pending.poll().is_none()));
        release.send(()).expect("the look-up waits");
        for pending in hung {
            assert!(
                pending
                    .answer
                    .recv_timeout(Duration::from_secs(10))
                    .expect("in time")
                    .is_ok()
            );
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn an_address_needs_no_look_up() {
        let resolver = Resolver::new(Box::new(|_| Err("unexpected look-up".to_owned())));
        let (waker, _wakeable) = waker().expect("a file");
        let pending = resolver.resolve("::1", waker);
        assert_eq!(
            pending.poll(),
            Some(Ok(vec!["::1".parse().expect("an address")]))
        );
    }
}
