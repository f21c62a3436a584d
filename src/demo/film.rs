//! What the demo's cameras and shared screens show: a test pattern of two seconds as H.264, again
//! and again, or one picture as JPEG or PNG.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::content::id_value;
use super::script::MeetingScript;

const CLIP: &[u8] = include_bytes!("clips/clip.h264");
const CAMERA: &[u8] = include_bytes!("clips/camera.jpg");
const SCREEN: &[u8] = include_bytes!("clips/share.png");

/// Every access unit of the clip begins with a delimiter.
const DELIMITER: &[u8] = &[0, 0, 0, 1, 9];

/// Frames are this far apart.
const FRAME: Duration = Duration::from_millis(100);

/// Frames after which another one is in the picture.
const TURN_FRAMES: u64 = 20;

/// One series of pictures on a media socket.
pub(super) struct Film {
    msg_type: u32,
    frames: Vec<String>,
    begun: Instant,
    base_ms: u64,
    next: u64,
}

impl Film {
    /// `name` is `video` or `deskshare`; `params` are those that hold for it.
    pub(super) fn new(name: &str, params: &Value, begun: Instant, base_ms: u64) -> Film {
        let frames = match params["codec"].as_i64() {
            Some(7) => units(CLIP)
                .iter()
                .map(|unit| STANDARD.encode(unit))
                .collect(),
            Some(6) => vec![STANDARD.encode(SCREEN)],
            _ => vec![STANDARD.encode(CAMERA)],
        };
        Film {
            msg_type: if name == "video" { 15 } else { 16 },
            frames,
            begun,
            base_ms,
            next: (begun.elapsed().as_nanos() / FRAME.as_nanos()) as u64,
        }
    }

    /// When the next frame is due.
    pub(super) fn due(&self) -> Instant {
        self.begun + FRAME.saturating_mul(u32::try_from(self.next).unwrap_or(u32::MAX))
    }

    /// The next frame, if it is due.
    pub(super) fn frame(&mut self, script: &MeetingScript, now: Instant) -> Option<Value> {
        if self.due() > now {
            return None;
        }
        let n = self.next;
        self.next += 1;
        let speakers = script.speakers.len().max(1) as u64;
        let speaker = script.speakers.get((n / TURN_FRAMES % speakers) as usize)?;
        let data = &self.frames[n as usize % self.frames.len()];
        Some(json!({"msg_type": self.msg_type, "content": {
            "user_id": id_value(script.ids, speaker.user_id),
            "user_name": speaker.user_name,
            "data": data,
            "length": data.len() / 4 * 3,
            "timestamp": self.base_ms + n * FRAME.as_millis() as u64,
        }}))
    }
}

fn units(clip: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = clip
        .windows(DELIMITER.len())
        .enumerate()
        .filter(|(_, window)| *window == DELIMITER)
        .map(|(at, _)| at)
        .collect();
    let ends = starts.iter().skip(1).copied().chain([clip.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(from, to)| &clip[*from..to])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clip_is_two_seconds_of_ten_frames() {
        let units = units(CLIP);
        assert_eq!(units.len(), 20);
        assert_eq!(units.concat(), CLIP);
    }
}
