//! What an operator wants to be kept.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt;
use std::time::Duration;

/// An amount of disk space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Hundredths of the file system, from 1 to 100.
    Percent(u8),
}

impl Amount {
    /// In bytes, on a file system of that size.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            Amount::Bytes(bytes) => bytes,
            Amount::Percent(share) => total / 100 * u64::from(share),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Bytes(bytes) => write!(f, "{}", Bytes(*bytes)),
            Amount::Percent(share) => write!(f, "{share}% of the file system"),
        }
    }
}

/// A number of bytes, for people: `12.4 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < units.len() {
            value /= 1024.0;
            unit += 1;
        }
        // Whole numbers, as they are configured, have no fraction.
        match value.fract() == 0.0 {
            true => write!(f, "{value:.0} {}", units[unit]),
            false => write!(f, "{value:.1} {}", units[unit]),
        }
    }
}

/// The rules. The default keeps everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// `RTMS_KEEP`: how long a stream is kept after its end.
    pub keep: Option<Duration>,
    /// `RTMS_KEEP_AUDIO`: the same for its sound.
    pub keep_audio: Option<Duration>,
    /// `RTMS_KEEP_VIDEO`: the same for its cameras and shared screens.
    pub keep_video: Option<Duration>,
    /// `RTMS_DISK_MAX`: what everything below `RTMS_OUT` may take.
    pub disk_max: Option<Amount>,
    /// `RTMS_DISK_FREE_MIN`: what must stay free on its file system.
    pub disk_free_min: Option<Amount>,
}

impl Rules {
    /// Whether anything is ever removed.
    pub fn is_some(&self) -> bool {
        *self != Rules::default()
    }

    /// Whether space matters.
    pub fn has_quota(&self) -> bool {
        self.disk_max.is_some() || self.disk_free_min.is_some()
    }

    /// The rules of age alone.
    pub fn without_quota(&self) -> Rules {
        Rules {
            disk_max: None,
            disk_free_min: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_for_people_and_in_bytes() {
        assert_eq!(Bytes(0).to_string(), "0 KiB");
        assert_eq!(Bytes(512).to_string(), "0.5 KiB");
        assert_eq!(Bytes(200 << 20).to_string(), "200 MiB");
        assert_eq!(Bytes((12 << 20) + (400 << 10)).to_string(), "12.4 MiB");
        assert_eq!(Bytes(50 << 30).to_string(), "50 GiB");
        assert_eq!(Bytes(5000 << 40).to_string(), "5000 TiB");
        assert_eq!(Amount::Percent(5).bytes(1000), 50);
        assert_eq!(Amount::Bytes(7).bytes(1000), 7);
        assert_eq!(Amount::Percent(5).to_string(), "5% of the file system");
    }

    #[test]
    fn nothing_is_removed_by_default() {
        assert!(!Rules::default().is_some());
        let share = Rules {
            disk_free_min: Some(Amount::Percent(5)),
            ..Rules::default()
        };
        assert!(share.is_some() && share.has_quota() && !share.without_quota().is_some());
    }
}
