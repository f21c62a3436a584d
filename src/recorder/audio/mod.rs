//! Audio files: one track per speaker, or one for the mix of all.

pub mod format;
pub mod ogg;
pub mod timeline;
pub mod track;
pub mod wav;
