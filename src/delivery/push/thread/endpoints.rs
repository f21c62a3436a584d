//! The endpoints of the configuration, and those that are known from before.

use std::sync::Arc;

use super::files::Files;
use super::{KNOWN_NAME, Thread};
use crate::clock::now_ms;
use crate::delivery::push::cursor_file::CursorFile;
use crate::delivery::push::cursors::Cursors;
use crate::delivery::push::known::{self, Known};
use crate::delivery::push::machine::{Mode, Settings};
use crate::delivery::push::settings::EndpointSettings;
use crate::delivery::push::shared::{Endpoint, State};
use crate::domain::time::Utc;
use crate::feed::board;
use crate::feed::cursor::Cursor;

impl Thread {
    pub(super) fn load_known(&mut self) {
        let read = self
            .state_dir
            .read(KNOWN_NAME)
            .map_err(|error| error.to_string());
        let parsed = read.map(|bytes| bytes.map(|bytes| known::parse(&bytes)));
        self.known = match parsed {
            Ok(None) => Vec::new(),
            Ok(Some(Some(known))) => known,
            Ok(Some(None)) => {
                log::warn!(
                    "push: {KNOWN_NAME} in the state directory cannot be read; it is written again"
                );
                Vec::new()
            }
            Err(error) => {
                log::warn!("push: {error}");
                Vec::new()
            }
        };
    }

    pub(super) fn save_known(&self) {
        let saved = match self.known.is_empty() {
            true => self.state_dir.remove(KNOWN_NAME),
            false => {
                let text = known::text(&self.known);
                self.state_dir.write_atomic(KNOWN_NAME, text.as_bytes())
            }
        };
        if let Err(error) = saved {
            self.complain(&error);
        }
    }

    /// Applies a configuration, whole.
    pub(super) fn configure(&mut self, wanted: Vec<EndpointSettings>, is_first: bool) {
        let before = self.known.clone();
        self.remove_unwanted(&wanted);
        let mut added = Vec::new();
        for settings in wanted {
            match self
                .endpoints
                .iter()
                .find(|files| files.name == settings.name)
            {
                Some(files) => self.change(files.number, settings),
                None => added.push(self.add_endpoint(settings)),
            }
        }
        let unix_ms = now_ms();
        let (over, kept) = std::mem::take(&mut self.known)
            .into_iter()
            .partition(|known: &Known| known.is_over(unix_ms));
        self.known = kept;
        for known in &over {
            if let Err(error) = CursorFile::remove(&self.state_dir, &known.name) {
                self.complain(&error);
            }
        }
        if self.known != before {
            self.save_known();
        }
        if is_first {
            self.find_unfinished();
        }
        self.rewrite_all();
    }

    fn remove_unwanted(&mut self, wanted: &[EndpointSettings]) {
        let is_wanted = |name: &str| wanted.iter().any(|settings| settings.name == name);
        let unwanted = self
            .endpoints
            .extract_if(.., |files| !is_wanted(&files.name));
        for mut files in unwanted.collect::<Vec<_>>() {
            let mut state = self.shared.lock();
            let cursors = state.machine.live_cursors(files.number);
            state.machine.remove_endpoint(files.number);
            let removed = state
                .endpoints
                .extract_if(.., |it| it.number == files.number);
            // Its workers find it gone.
            removed.for_each(|it| it.wake.notify_all());
            drop(state);
            if let Err(error) = files.cursors.rewrite(files.floor, &cursors) {
                self.complain(&error);
            }
        }
        let unix_ms = now_ms();
        for known in &mut self.known {
            if !is_wanted(&known.name) {
                known.removed_ms.get_or_insert(unix_ms);
            }
        }
    }

    fn add_endpoint(&mut self, settings: EndpointSettings) -> u32 {
        let number = self.next_number;
        self.next_number += 1;
        let cursors = CursorFile::new(&self.state_dir, &settings.name);
        let loaded = cursors.load().unwrap_or_else(|error| {
            log::warn!("push: {error}");
            None
        });
        // Every line that is written from now on has a higher position.
        let now_pos = self.pos.max(now_ms() * 1000 - 1);
        let is_named = |known: &Known| known.name == settings.name;
        let (at, loaded) = match self.known.iter().position(is_named) {
            Some(at) => (at, Some(loaded)),
            None => {
                let since = loaded.as_ref().map_or(now_pos, |cursors| cursors.floor);
                let new = Known::new(&settings.name, &settings.url, since);
                self.known.push(new);
                (self.known.len() - 1, loaded.map(Some))
            }
        };
        let known = &mut self.known[at];
        known.configure(&settings.url);
        let loaded = match loaded {
            Some(Some(cursors)) if !cursors.is_damaged => cursors,
            // A new endpoint.
            None => Cursors {
                floor: now_pos,
                ..Cursors::default()
            },
            Some(damaged) => {
                let floor = known.since;
                log::warn!(
                    "push: the file of cursors cannot be read endpoint={}; events written after {} \
                     are sent again",
                    settings.name,
                    Utc::from_unix_ms(floor / 1000)
                );
                Cursors {
                    floor,
                    ..damaged.unwrap_or_default()
                }
            }
        };
        let mode = known.mode();
        log::info!(
            "push endpoint={} host={} events={} batch={} mode={}",
            settings.name,
            settings.url.origin(),
            if settings.events == Default::default() {
                "all"
            } else {
                "some"
            },
            settings.batch,
            known.mode
        );
        let files = Files {
            number,
            name: settings.name.clone(),
            cursors,
            loaded: loaded.places,
            loaded_pos: 0,
            is_stale: false,
            floor: loaded.floor,
        };
        let now = self.shared.now();
        let journals = self.shared.board.snapshot().journals;
        let places: Vec<Cursor> = (journals.iter())
            .filter(|journal| journal.state != board::State::Revoked)
            .map(|journal| self.cursor(&files, journal))
            .collect();
        self.endpoints.push(files);
        let mut state = self.shared.lock();
        let endpoint = Endpoint::new(number, Arc::new(settings));
        let rules = machine_settings(&endpoint.settings, 0);
        state.machine.add_endpoint(number, rules, mode, now);
        state.endpoints.push(endpoint);
        for place in places {
            state.machine.begin(number, &place, now);
        }
        number
    }

    fn change(&self, number: u32, settings: EndpointSettings) {
        let mut state = self.shared.lock();
        let State {
            machine, endpoints, ..
        } = &mut *state;
        let Some(endpoint) = endpoints.iter_mut().find(|it| it.number == number) else {
            return;
        };
        if *endpoint.settings == settings {
            return;
        }
        let mut filters = endpoint.filters.iter();
        let filter = match filters.position(|filter| **filter == settings.events) {
            Some(filter) => filter,
            None => {
                let mut places = 0..endpoint.filters.len();
                let unused = places.find(|at| !machine.is_filter_used(number, *at as u8));
                // More than 255 that are all in use are not possible to reach by hand.
                let at = unused.unwrap_or(endpoint.filters.len().min(255));
                endpoint
                    .filters
                    .resize(endpoint.filters.len().max(at + 1), Arc::default());
                endpoint.filters[at] = Arc::new(settings.events.clone());
                at
            }
        };
        let is_moved = endpoint.settings.url != settings.url;
        machine.change(number, machine_settings(&settings, filter as u8));
        let now = self.shared.now();
        if is_moved && machine.mode(number) == Some(Mode::Gone) {
            machine.set_mode(number, Mode::Running, now);
        }
        endpoint.settings = Arc::new(settings);
    }

    /// Keeps what each endpoint is doing for the next process.
    pub(super) fn note_modes(&mut self) {
        let mut is_news = false;
        {
            let state = self.shared.lock();
            for files in &self.endpoints {
                let known = self.known.iter_mut().find(|known| known.name == files.name);
                if let (Some(known), Some(mode)) = (known, state.machine.mode(files.number)) {
                    is_news |= known.set_mode(mode);
                }
            }
        }
        if is_news {
            self.save_known();
        }
    }
}

fn machine_settings(settings: &EndpointSettings, filter: u8) -> Settings {
    Settings {
        batch: settings.batch,
        linger_ms: settings.linger.as_millis() as u64,
        connections: settings.connections,
        give_up_s: settings.give_up.map_or(0, |time| time.as_secs() as u32),
        filter,
    }
}
