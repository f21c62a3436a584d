//! What the demo's meetings show and play.

pub(crate) mod audio_source;
pub(crate) mod sent_log;
pub(crate) mod video_source;
