//! What a file of a recording is, by the end of its name.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

/// The content type.
pub(in crate::admin) fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "jsonl" => "application/x-ndjson",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "vtt" => "text/vtt; charset=utf-8",
        "srt" => "application/x-subrip",
        "wav" => "audio/wav",
        "ogg" | "opus" => "audio/ogg",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

/// Whether a browser plays it.
pub(in crate::admin) fn is_sound(name: &str) -> bool {
    media_type(name).starts_with("audio/")
}
