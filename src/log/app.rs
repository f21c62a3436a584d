//! The app that a thread works for, where a process serves several: the thread's log lines name it.
//!
//! A thread works for the app of the thread that started it, see [`inherit`]. A thread that serves all
//! apps says for a while which one it works for, see [`enter`].

use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static APP: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// The app of this thread.
pub(crate) fn current() -> Option<Arc<str>> {
    // At the very end of a thread its values are gone.
    APP.try_with(|app| app.borrow().clone()).unwrap_or_default()
}

/// Until the value is dropped, this thread works for that app; `None` for no app.
pub(crate) fn enter(app: Option<&Arc<str>>) -> Entered {
    Entered(APP.replace(app.cloned()))
}

/// The same work, which a new thread does for the app of this one.
pub(crate) fn inherit<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let app = current();
    move || {
        APP.set(app);
        work()
    }
}

/// While it lives, its thread works for an app.
#[derive(Debug)]
pub(crate) struct Entered(Option<Arc<str>>);

impl Drop for Entered {
    fn drop(&mut self) {
        APP.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_works_for_the_app_of_the_one_that_started_it() {
        let (acme, beta) = (Arc::from("acme"), Arc::from("beta"));
        assert_eq!(current(), None);
        let outer = enter(Some(&acme));
        let started = std::thread::spawn(inherit(current));
        {
            let _inner = enter(Some(&beta));
            assert_eq!(current(), Some(beta.clone()));
        }
        assert_eq!(current(), Some(acme.clone()));
        drop(outer);
        assert_eq!(current(), None);
        assert_eq!(started.join().expect("it ends"), Some(acme));
        assert_eq!(std::thread::spawn(current).join().expect("it ends"), None);
    }
}
