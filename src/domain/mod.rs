//! Plain data types that all parts share: no socket, clock, file or thread.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

pub mod app;
pub mod causes;
pub mod count;
pub mod decimal;
pub mod fleet;
pub mod histogram;
pub mod hmac_sha256;
pub mod id;
pub mod participant;
pub mod phrase;
pub mod product;
pub mod rest;
pub mod retry_after;
pub mod secret;
pub mod severity;
pub(crate) mod split_mix;
pub mod stream_info;
pub mod text;
pub mod time;
pub mod turn;
pub mod waits;
pub mod zoom_event;

/// Only compiled to test the border: clippy must report each line.
#[cfg(border_case)]
mod border_case {
    use crate::clock::now_ms as alias;

    pub(crate) fn impure() -> u64 {
        let _ = std::sync::Mutex::new(std::time::Instant::now());
        log::info!("a pure part logs");
        alias()
    }
}
