//! Names for the numbers in chat messages (message 18): operations, and the kinds of chat.
//!
//! The numbers are of July 2026 and published without upper-case names, unlike those of events.

/// The name of an `operation_type`; `None` for a number that is not published.
pub fn operation_name(number: i64) -> Option<&'static str> {
    Some(match number {
        1 => "new",
        2 => "delete",
        3 => "update",
        4 => "add_emoji",
        5 => "remove_emoji",
        _ => return None,
    })
}

/// The name of the type of a `chat_session`; `None` for a number that is not published.
pub fn session_name(number: i64) -> Option<&'static str> {
    Some(match number {
        1 => "everyone",
        2 => "individual",
        3 => "group",
        4 => "hosts_and_panelists",
        5 => "individual_cc",
        _ => return None,
    })
}
