//! Parameters of video and share, and the combinations that Zoom accepts.

use super::wire::{Resolution, VideoCodec, VideoStreams};
use super::{GrantReader, ParamFault};

/// RAW_VIDEO, the `content_type` of pictures. Zoom's table has RTP for audio only.
const RAW_VIDEO: i64 = 3;
/// If granted all the same, this is logged.
const RTP: i64 = 1;

/// Maximum frames per second, of video and of share.
pub const FPS_MAX: u8 = 30;

/// Maximum frames per second as single pictures of cameras; more only with H.264.
const VIDEO_STILL_FPS_MAX: u8 = 5;

/// Maximum frames per second as single pictures of a shared screen; more only with H.264. Zoom's
/// enum text says 5, its table says 1; 1 is valid under both.
const SHARE_STILL_FPS_MAX: u8 = 1;

/// The requested video parameters. The default is Zoom's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoParams {
    /// The codec.
    pub codec: VideoCodec,
    /// The largest picture.
    pub resolution: Resolution,
    /// Frames per second.
    pub fps: u8,
    /// The active speaker's camera, or one participant's.
    pub streams: VideoStreams,
}

impl Default for VideoParams {
    fn default() -> Self {
        VideoParams {
            codec: VideoCodec::Jpg,
            resolution: Resolution::Hd,
            fps: VIDEO_STILL_FPS_MAX,
            streams: VideoStreams::Active,
        }
    }
}

impl VideoParams {
    /// Chooses what was not set: a codec for the frame rate, a frame rate for the codec.
    pub fn complete(codec: Option<VideoCodec>, fps: Option<u8>) -> VideoParams {
        let (codec, fps) = complete(codec, fps, VIDEO_STILL_FPS_MAX, 25);
        VideoParams {
            codec,
            fps,
            ..VideoParams::default()
        }
    }

    /// Everything in this combination that Zoom would refuse.
    pub fn faults(&self) -> Vec<ParamFault> {
        fps_fault("video.fps", self.codec, self.fps, VIDEO_STILL_FPS_MAX)
            .into_iter()
            .collect()
    }

    pub(super) fn to_json(self) -> String {
        format!(
            "{{\"content_type\":{},\"codec\":{},\"resolution\":{},\"data_opt\":{},\"fps\":{}}}",
            RAW_VIDEO,
            self.codec.number(),
            self.resolution.number(),
            self.streams.number(),
            self.fps,
        )
    }

    pub(super) fn granted(&self, granted: &mut GrantReader<'_>) -> VideoParams {
        granted.value("video.content_type", (), |number| {
            (number != RTP).then_some(())
        });
        VideoParams {
            codec: granted.value("video.codec", self.codec, VideoCodec::from_number),
            resolution: granted.value("video.resolution", self.resolution, Resolution::from_number),
            fps: granted.value("video.fps", self.fps, fps_from_number),
            streams: granted.value("video.data_opt", self.streams, VideoStreams::from_number),
        }
    }
}

/// The requested parameters of the shared screen. The default is Zoom's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareParams {
    /// The codec.
    pub codec: VideoCodec,
    /// The largest picture.
    pub resolution: Resolution,
    /// Frames per second.
    pub fps: u8,
}

impl Default for ShareParams {
    fn default() -> Self {
        ShareParams {
            codec: VideoCodec::Jpg,
            resolution: Resolution::Fhd,
            fps: SHARE_STILL_FPS_MAX,
        }
    }
}

impl ShareParams {
    /// Chooses what was not set: a codec for the frame rate, a frame rate for the codec.
    pub fn complete(codec: Option<VideoCodec>, fps: Option<u8>) -> ShareParams {
        // 10 means H.264 under every reading of Zoom's texts, and is enough for slides and
        // scrolling.
        let (codec, fps) = complete(codec, fps, SHARE_STILL_FPS_MAX, 10);
        ShareParams {
            codec,
            fps,
            ..ShareParams::default()
        }
    }

    /// Everything in this combination that Zoom would refuse.
    pub fn faults(&self) -> Vec<ParamFault> {
        fps_fault("share.fps", self.codec, self.fps, SHARE_STILL_FPS_MAX)
            .into_iter()
            .collect()
    }

    pub(super) fn to_json(self) -> String {
        format!(
            "{{\"content_type\":{},\"codec\":{},\"resolution\":{},\"fps\":{}}}",
            RAW_VIDEO,
            self.codec.number(),
            self.resolution.number(),
            self.fps,
        )
    }

    pub(super) fn granted(&self, granted: &mut GrantReader<'_>) -> ShareParams {
        granted.value("share.content_type", (), |number| {
            (number != RTP).then_some(())
        });
        ShareParams {
            codec: granted.value("share.codec", self.codec, VideoCodec::from_number),
            resolution: granted.value("share.resolution", self.resolution, Resolution::from_number),
            fps: granted.value("share.fps", self.fps, fps_from_number),
        }
    }
}

fn fps_from_number(number: i64) -> Option<u8> {
    u8::try_from(number).ok().filter(|fps| *fps > 0)
}

fn complete(
    codec: Option<VideoCodec>,
    fps: Option<u8>,
    still_fps_max: u8,
    h264_fps: u8,
) -> (VideoCodec, u8) {
    match (codec, fps) {
        (Some(codec), Some(fps)) => (codec, fps),
        (Some(VideoCodec::H264), None) => (VideoCodec::H264, h264_fps),
        (Some(codec), None) => (codec, still_fps_max),
        (None, Some(fps)) if fps > still_fps_max => (VideoCodec::H264, fps),
        (None, fps) => (VideoCodec::Jpg, fps.unwrap_or(still_fps_max)),
    }
}

fn fps_fault(
    field: &'static str,
    codec: VideoCodec,
    fps: u8,
    still_fps_max: u8,
) -> Option<ParamFault> {
    let (from, to) = match codec {
        VideoCodec::Jpg | VideoCodec::Png => (1, still_fps_max),
        VideoCodec::H264 => (still_fps_max + 1, FPS_MAX),
    };
    if (from..=to).contains(&fps) {
        return None;
    }
    let range = if from == to {
        from.to_string()
    } else {
        format!("{from} to {to}")
    };
    Some(ParamFault {
        field,
        found: fps.to_string(),
        expected: format!("{range} with codec {}", codec.name()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_parameters_are_chosen_to_fit_the_set_ones() {
        use VideoCodec::{H264, Jpg, Png};
        for (codec, fps, video, share) in [
            (None, None, (Jpg, 5), (Jpg, 1)),
            (None, Some(1), (Jpg, 1), (Jpg, 1)),
            (None, Some(5), (Jpg, 5), (H264, 5)),
            (None, Some(30), (H264, 30), (H264, 30)),
            (Some(Png), None, (Png, 5), (Png, 1)),
            (Some(H264), None, (H264, 25), (H264, 10)),
        ] {
            let found = VideoParams::complete(codec, fps);
            assert_eq!((found.codec, found.fps), video);
            assert!(found.faults().is_empty());
            let found = ShareParams::complete(codec, fps);
            assert_eq!((found.codec, found.fps), share);
            assert!(found.faults().is_empty());
        }
    }

    #[test]
    fn the_matrix_of_codecs_and_frame_rates() {
        use VideoCodec::{H264, Jpg, Png};
        let check = |codec, fps, video: Option<&str>, share: Option<&str>| {
            let found = VideoParams::complete(Some(codec), Some(fps)).faults();
            assert_eq!(found.first().map(ToString::to_string).as_deref(), video);
            let found = ShareParams::complete(Some(codec), Some(fps)).faults();
            assert_eq!(found.first().map(ToString::to_string).as_deref(), share);
        };
        check(Jpg, 1, None, None);
        check(
            Png,
            5,
            None,
            Some("share.fps: found 5, expected 1 with codec png"),
        );
        check(
            Jpg,
            6,
            Some("video.fps: found 6, expected 1 to 5 with codec jpg"),
            Some("share.fps: found 6, expected 1 with codec jpg"),
        );
        check(
            H264,
            5,
            Some("video.fps: found 5, expected 6 to 30 with codec h264"),
            None,
        );
        check(
            H264,
            31,
            Some("video.fps: found 31, expected 6 to 30 with codec h264"),
            Some("share.fps: found 31, expected 2 to 30 with codec h264"),
        );
    }
}
