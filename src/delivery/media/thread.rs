//! The thread of live media: epoll(7) over all clients.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};

use super::client::{Client, Request};
use super::{IDLE, MEDIA_CLIENTS_MAX, Shared};
use crate::delivery::clients::socket::{Room, prepare};
use crate::net::waker::Wakeable;

/// The number of the waker, which is no client's.
const WAKER: u64 = u64::MAX;
/// At the end of the server, for what is under way.
const STOP: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Thread {
    shared: Arc<Shared>,
    wakeable: Wakeable,
    epoll: OwnedFd,
    clients: Vec<Option<Client>>,
    idle_since: Instant,
}

impl Thread {
    pub(super) fn new(shared: &Arc<Shared>, wakeable: Wakeable) -> io::Result<Thread> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &wakeable, EventData::new_u64(WAKER), EventFlags::IN)?;
        Ok(Thread {
            shared: Arc::clone(shared),
            wakeable,
            epoll,
            clients: Vec::new(),
            idle_since: Instant::now(),
        })
    }

    /// Serves clients until there have been none for a while, or the server ends.
    pub(super) fn run(mut self) {
        let mut stops_at = None;
        loop {
            self.wakeable.clear();
            let (arrivals, is_stopping) = self.shared.clients.arrivals(self.count());
            arrivals.into_iter().for_each(|request| self.add(request));
            let now = Instant::now();
            if is_stopping && stops_at.is_none() {
                stops_at = Some(now + STOP);
                self.clients.iter_mut().flatten().for_each(Client::stop);
            }
            let due = self.round(now);
            let is_empty = self.count() == 0;
            if !is_empty {
                self.idle_since = now;
            }
            let idle_at = self.idle_since + IDLE;
            let is_over = match stops_at {
                Some(at) => is_empty || now >= at,
                None => is_empty && now >= idle_at,
            };
            if is_over && self.shared.clients.may_end() {
                return;
            }
            let until = due
                .into_iter()
                .chain(stops_at)
                .chain(is_empty.then_some(idle_at));
            self.wait(until.min().unwrap_or(idle_at));
        }
    }

    fn count(&self) -> usize {
        self.clients.iter().flatten().count()
    }

    fn add(&mut self, request: Request) {
        let free = self.clients.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.clients.len());
        let watched = prepare(&request.socket).and_then(|()| {
            let data = EventData::new_u64(slot as u64);
            Ok(epoll::add(&self.epoll, &request.socket, data, Room::INPUT)?)
        });
        if let Err(error) = watched {
            log::debug!("media: a client is lost before its answer: {error}");
            return;
        }
        let client = Some(Client::new(request, &self.shared, Instant::now()));
        match self.clients.get_mut(slot) {
            Some(free) => *free = client,
            None => self.clients.push(client),
        }
    }

    /// Lets each client do what it can. Returns when one has to be looked at again.
    fn round(&mut self, now: Instant) -> Option<Instant> {
        let mut due: Option<Instant> = None;
        for (slot, place) in self.clients.iter_mut().enumerate() {
            let Some(client) = place else {
                continue;
            };
            if !client.step(now) || !client.watch(&self.epoll, slot) {
                *place = None;
                continue;
            }
            due = due.into_iter().chain([client.due()]).min();
        }
        due
    }

    /// Sleeps until there is something to send, a client can go on or says something, or until then.
    fn wait(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so that what is due is due.
        let limit = Timespec::try_from(left + Duration::from_micros(1)).ok();
        let nothing = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [nothing; MEDIA_CLIENTS_MAX + 1];
        // An interrupted wait looks around once more.
        let count = epoll::wait(&self.epoll, &mut events, limit.as_ref()).unwrap_or(0);
        for event in &events[..count] {
            let (data, flags) = (event.data.u64(), event.flags);
            let slot = usize::try_from(data).unwrap_or(usize::MAX);
            let Some(place) = self.clients.get_mut(slot).filter(|_| data != WAKER) else {
                continue;
            };
            let Some(client) = place else {
                continue;
            };
            if flags.contains(EventFlags::OUT) {
                client.room.is_wanted = false;
            }
            let is_input = flags
                .intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            if is_input && !client.listen() {
                *place = None;
            }
        }
    }
}
