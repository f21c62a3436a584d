//! A queue whose place is taken before the work is sent.
//!
//! The webhook server must answer 200 before any work begins, and must not answer 200 when the
//! work has no place to go. So it reserves a place, answers, and sends; a full queue is known
//! while the answer can still be 503, which makes Zoom deliver again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Makes a queue of at most `limit` reserved or waiting items.
pub fn inbox<T>(limit: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    let taken = Arc::new(AtomicUsize::new(0));
    (
        Sender {
            sender,
            taken: Arc::clone(&taken),
            limit,
        },
        Receiver { receiver, taken },
    )
}

/// The sending side; clones share the limit.
#[derive(Debug)]
pub struct Sender<T> {
    sender: mpsc::Sender<T>,
    taken: Arc<AtomicUsize>,
    limit: usize,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender {
            sender: self.sender.clone(),
            taken: Arc::clone(&self.taken),
            limit: self.limit,
        }
    }
}

impl<T> Sender<T> {
    /// Takes a place, or `None` when the queue is full.
    pub fn reserve(&self) -> Option<Permit<'_, T>> {
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < self.limit).then_some(n + 1)
            })
            .ok()
            .map(|_| Permit { sender: self })
    }

    /// Sends past the limit. For the daemon's own threads, whose number is bounded already and
    /// whose word (a meeting ended, say) must not be lost.
    pub fn send_always(&self, item: T) {
        self.taken.fetch_add(1, Ordering::AcqRel);
        if self.sender.send(item).is_err() {
            self.taken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A place in the queue; dropping it unused gives the place back.
#[derive(Debug)]
pub struct Permit<'a, T> {
    sender: &'a Sender<T>,
}

impl<T> Permit<'_, T> {
    /// Fills the place. A receiver that is gone is a daemon that is stopping; the item is dropped.
    pub fn send(self, item: T) {
        // The place goes over to the item; given back here, it would be counted twice meanwhile.
        if self.sender.sender.send(item).is_ok() {
            std::mem::forget(self);
        }
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        self.sender.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct Receiver<T> {
    receiver: mpsc::Receiver<T>,
    taken: Arc<AtomicUsize>,
}

impl<T> Receiver<T> {
    /// The next item, or `None` when the time is over or every sender is gone.
    pub fn recv_timeout(&self, wait: Duration) -> Option<T> {
        let item = self.receiver.recv_timeout(wait).ok();
        if item.is_some() {
            self.taken.fetch_sub(1, Ordering::AcqRel);
        }
        item
    }

    /// How many places are taken, for the metrics.
    pub fn len(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Whether no place is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_held_from_reserve_to_receive() {
        let (tx, rx) = inbox(2);
        let first = tx.reserve().expect("the queue is empty");
        tx.reserve().expect("one place is left").send(1);
        assert!(tx.reserve().is_none());
        drop(first);
        tx.reserve().expect("the unused place came back").send(2);
        assert!(tx.reserve().is_none());
        assert_eq!(rx.recv_timeout(Duration::ZERO), Some(1));
        assert!(tx.reserve().is_some());
    }

    #[test]
    fn our_own_word_passes_a_full_queue() {
        let (tx, rx) = inbox(0);
        assert!(tx.reserve().is_none());
        tx.send_always("ended");
        assert_eq!(rx.recv_timeout(Duration::ZERO), Some("ended"));
        assert!(rx.is_empty());
    }
}
