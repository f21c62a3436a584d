//! Links to one stream, for people who have no token: what `rtmsd link` prints.
//!
//! | file | what |
//! | --- | --- |
//! | `signed` | pure: bytes and a MAC as text |
//! | `token` | pure: the text of a link's credential, signed and read |
//! | `ticket` | pure: the same for one file, for players and downloads |
//! | `key` | the key that signs: its file, and replacing it, which ends every link |
//! | `request` | `POST /links`, and which stream it names |
//!
//! A link is not stored: who has the key can tell that it was made here, what it is for, and until when.

pub mod key;
pub(super) mod request;
pub mod signed;
pub mod ticket;
pub mod token;

/// How long a link is good, unless `for_s` says otherwise, seconds.
pub const LINK_FOR_S: u64 = 2 * 3600;
/// The longest, seconds.
pub const LINK_FOR_S_MAX: u64 = 7 * 24 * 3600;
