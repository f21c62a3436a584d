//! A queue in which a place is reserved before an item is sent.
//!
//! The webhook handler must answer 200 before any work starts, and must not answer 200 if there is
//! no place for the work. So it reserves a place, answers, and sends; if the queue is full it can
//! still answer 503, which makes Zoom send the webhook again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Creates a queue of at most `limit` reserved or waiting items.
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
    /// Reserves a place; `None` if the queue is full.
    pub fn reserve(&self) -> Option<Permit<'_, T>> {
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < self.limit).then_some(n + 1)
            })
            .ok()
            .map(|_| Permit { sender: self })
    }

    /// Sends regardless of the limit. For the daemon's own threads, whose number is limited and
    /// whose events (such as the end of a stream) must not be lost.
    pub fn send_always(&self, item: T) {
        self.taken.fetch_add(1, Ordering::AcqRel);
        if self.sender.send(item).is_err() {
            self.taken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A place in the queue; dropping it unused releases the place.
#[derive(Debug)]
pub struct Permit<'a, T> {
    sender: &'a Sender<T>,
}

impl<T> Permit<'_, T> {
    /// Sends an item in this place. If the receiver is gone the daemon is stopping; the item is
    /// dropped.
    pub fn send(self, item: T) {
        // The item takes the place over; releasing it here would count it twice.
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
    /// The next item; `None` if the time is over or every sender is gone.
    pub fn recv_timeout(&self, wait: Duration) -> Option<T> {
        let item = self.receiver.recv_timeout(wait).ok();
        if item.is_some() {
            self.taken.fetch_sub(1, Ordering::AcqRel);
        }
        item
    }

    /// The number of places in use, for the metrics.
    pub fn len(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Whether no place is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_from_reserve_to_receive() {
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
    fn own_events_are_sent_to_a_full_queue() {
        let (tx, rx) = inbox(0);
        assert!(tx.reserve().is_none());
        tx.send_always("ended");
        assert_eq!(rx.recv_timeout(Duration::ZERO), Some("ended"));
        assert!(rx.is_empty());
    }
}
