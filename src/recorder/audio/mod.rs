//! Audio files: one track a speaker, or one for all.

pub mod format;
pub mod ogg;
pub mod timeline;
pub mod track;
pub mod wav;
