//! Video of the demo's cameras and shared screens: a test pattern of two seconds as H.264,
//! repeated, or one picture as JPEG or PNG.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::sent_log::{Frame, Sent};
use crate::demo::player::content::id_value;
use crate::demo::player::script::MeetingScript;

const CLIP: &[u8] = include_bytes!("clips/clip.h264");
const CAMERA: &[u8] = include_bytes!("clips/camera.jpg");
const SCREEN: &[u8] = include_bytes!("clips/share.png");

/// Every access unit of the clip starts with a delimiter.
const DELIMITER: &[u8] = &[0, 0, 0, 1, 9];

/// Interval of the clip's frames. Single pictures are sent at the requested rate.
const FRAME: Duration = Duration::from_millis(100);

/// Number of frames after which another participant is shown.
const TURN_FRAMES: u64 = 20;

/// One series of pictures on a media socket.
pub(in crate::demo) struct Film {
    msg_type: u32,
    frames: Vec<String>,
    step: Duration,
    begun: Instant,
    base_ms: u64,
    next: u64,
}

impl Film {
    /// `name` is `video` or `deskshare`; `params` are its granted parameters.
    pub(in crate::demo) fn new(name: &str, params: &Value, begun: Instant, base_ms: u64) -> Film {
        let frames = pictures(params["codec"].as_u64());
        let step = match params["codec"].as_u64() {
            Some(7) => FRAME,
            _ => Duration::from_secs(1) / params["fps"].as_u64().unwrap_or(1).clamp(1, 10) as u32,
        };
        Film {
            msg_type: if name == "video" { 15 } else { 16 },
            frames: frames.iter().map(|bytes| STANDARD.encode(bytes)).collect(),
            step,
            begun,
            base_ms,
            next: (begun.elapsed().as_nanos() / step.as_nanos()) as u64,
        }
    }

    /// When the next frame is due.
    pub(in crate::demo) fn due(&self) -> Instant {
        self.begun
            + self
                .step
                .saturating_mul(u32::try_from(self.next).unwrap_or(u32::MAX))
    }

    /// The next frame, if it is due, and its entry for the log.
    pub(in crate::demo) fn frame(
        &mut self,
        script: &MeetingScript,
        now: Instant,
    ) -> Option<(Value, Sent)> {
        if self.due() > now {
            return None;
        }
        let n = self.next;
        self.next += 1;
        let speakers = script.speakers.len().max(1) as u64;
        let speaker = script.speakers.get((n / TURN_FRAMES % speakers) as usize)?;
        let frame = Frame {
            stamp_ms: self.base_ms + n * self.step.as_millis() as u64,
            user_id: speaker.user_id,
            picture: n as usize % self.frames.len(),
        };
        let data = &self.frames[frame.picture];
        let message = json!({"msg_type": self.msg_type, "content": {
            "user_id": id_value(script.ids, speaker.user_id),
            "user_name": speaker.user_name,
            "data": data,
            "length": data.len() / 4 * 3,
            "timestamp": frame.stamp_ms,
        }});
        let sent = match self.msg_type {
            15 => Sent::Video(frame),
            _ => Sent::Share(frame),
        };
        Some((message, sent))
    }
}

/// The pictures in a codec, by Zoom's number.
pub(in crate::demo) fn pictures(codec: Option<u64>) -> Vec<&'static [u8]> {
    match codec {
        Some(7) => units(CLIP),
        Some(6) => vec![SCREEN],
        _ => vec![CAMERA],
    }
}

fn units(clip: &'static [u8]) -> Vec<&'static [u8]> {
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
