//! Audio and video of the demo's meetings.

pub(crate) mod audio_source;
pub(crate) mod sent_log;
pub(crate) mod video_source;
