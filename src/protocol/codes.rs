//! Status codes, states and stop reasons: number, name, and how we react.

use std::fmt;

/// `status_code` of messages 2, 4, 22 and 29.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtmsStatus(pub i64);

/// How we react to a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalPolicy {
    /// The old connection still exists, or Zoom has a temporary fault: wait and retry.
    Retry,
    /// This type of media is not granted; the others can continue.
    NotGranted,
    /// Our request is wrong; repeating it changes nothing.
    Configuration,
    /// The stream is over or the credentials are wrong: give up.
    Fatal,
}

const STATUS_NAMES: [&str; 48] = [
    "OK",
    "INVALID_MESSAGE_TYPE",
    "INVALID_RTMS_STREAM_ID",
    "INVALID_SIGNATURE",
    "INVALID_PAYLOAD",
    "INVALID_EVENTS",
    "INVALID_EVENT_TYPE",
    "INVALID_MEDIA_TYPE",
    "DUPLICATE_SIGNAL_REQUEST",
    "MEDIA_TYPE_AUDIO_NOT_SUPPORT",
    "MEDIA_TYPE_VIDEO_NOT_SUPPORT",
    "MEDIA_TYPE_DESKSHARE_NOT_SUPPORT",
    "MEDIA_TYPE_TRANSCRIPT_NOT_SUPPORT",
    "MEDIA_TYPE_CHAT_NOT_SUPPORT",
    "MEDIA_TYPE_INVALID_VALUE",
    "MEDIA_DATA_ALL_CONNECTION_EXIST",
    "DUPLICATE_MEDIA_DATA_CONNECTION",
    "INVALID_MEDIA_PARAMS",
    "INVALID_MEDIA_AUDIO_PARAMS",
    "INVALID_MEDIA_AUDIO_CONTENT_TYPE",
    "INVALID_MEDIA_AUDIO_SAMPLE_RATE",
    "INVALID_MEDIA_AUDIO_CHANNEL",
    "INVALID_MEDIA_AUDIO_CODEC",
    "INVALID_MEDIA_AUDIO_DATA_OPT",
    "INVALID_MEDIA_AUDIO_SEND_RATE",
    "INVALID_MEDIA_VIDEO_PARAMS",
    "INVALID_MEDIA_VIDEO_CONTENT_TYPE",
    "INVALID_MEDIA_VIDEO_CODEC",
    "INVALID_MEDIA_VIDEO_RESOLUTION",
    "INVALID_MEDIA_VIDEO_DATA_OPT",
    "INVALID_MEDIA_VIDEO_FPS",
    "INVALID_MEDIA_SHARE_PARAMS",
    "INVALID_MEDIA_SHARE_CONTENT_TYPE",
    "INVALID_MEDIA_SHARE_CODEC",
    "INVALID_MEDIA_SHARE_RESOLUTION",
    "INVALID_MEDIA_SHARE_FPS",
    "INVALID_MEDIA_TRANSCRIPT_PARAMS",
    "INVALID_MEDIA_TRANSCRIPT_CONTENT_TYPE",
    "INVALID_MEDIA_CHAT_PARAMS",
    "INVALID_MEDIA_CHAT_CONTENT_TYPE",
    "INVALID_RTMS_SESSION_ID",
    "INVALID_CLIENT_READY_ACK",
    "INVALID_EVENT_SUBSCRIBE",
    "INVALID_MEDIA_TRANSCRIPT_SOURCE_LANGUAGE",
    "DUPLICATE_VIDEO_SUBSCRIPTION",
    "INTERNAL_EXCEPTION",
    "INVALID_MEDIA_TRANSCRIPT_TARGET_LANGUAGE",
    "CHAT_SESSION_KEY_NOT_AVAILABLE",
];

/// Whether the reason of a refusal is a second signaling connection, whatever its number.
pub(super) fn names_duplicate(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.contains("duplicate signal request")
}

impl RtmsStatus {
    /// Success.
    pub const OK: RtmsStatus = RtmsStatus(0);

    /// Zoom's name, or `UNKNOWN`.
    pub fn name(self) -> &'static str {
        usize::try_from(self.0)
            .ok()
            .and_then(|n| STATUS_NAMES.get(n))
            .copied()
            .unwrap_or("UNKNOWN")
    }

    /// The reaction to a refusal with this code and `reason`.
    ///
    /// Older servers use other numbers, so a `reason` that names a duplicate counts more than the
    /// number (RTMS samples).
    pub fn refusal(self, reason: &str) -> RefusalPolicy {
        if names_duplicate(reason) {
            return RefusalPolicy::Retry;
        }
        match self.0 {
            2 | 3 => RefusalPolicy::Fatal,
            9..=13 => RefusalPolicy::NotGranted,
            4..=7 | 14 | 17..=44 | 46 | 47 => RefusalPolicy::Configuration,
            _ => RefusalPolicy::Retry,
        }
    }

    /// Whether another client may hold the stream.
    pub fn is_held_elsewhere(self) -> bool {
        matches!(self.0, 8 | 15 | 16)
    }

    /// What the operator can do about a refusal with this code.
    pub fn remedy(self) -> &'static str {
        match self.0 {
            2 => "the stream is over or belongs to another app; nothing to do unless this repeats",
            3 => {
                "check ZOOM_CLIENT_ID and ZOOM_CLIENT_SECRET: they must be the pair (development \
                 or production) of the app that was started"
            }
            4..=6 | 42 => "check RTMS_EVENTS",
            7 | 14 | 17 => "check RTMS_MEDIA",
            9 => "the app lacks the scope meeting:read:meeting_audio",
            10 => "the app lacks the scope meeting:read:meeting_video",
            11 => "the app lacks the scope meeting:read:meeting_screenshare",
            12 => "the app lacks the scope meeting:read:meeting_transcript",
            13 => "the app lacks the scope meeting:read:meeting_chat",
            _ if self.is_held_elsewhere() => {
                "another client may hold this stream: run one rtmsd for one app"
            }
            18..=24 => "check RTMS_AUDIO_*",
            25..=30 => "check RTMS_VIDEO_*",
            31..=35 => "check RTMS_SHARE_*",
            36 | 37 | 43 | 46 => "check RTMS_TRANSCRIPT_LANGUAGE",
            _ => "if this persists, ask Zoom with this code and the stream id",
        }
    }
}

impl fmt::Display for RtmsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.name())
    }
}

/// `state` of messages 8 and 20.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamState {
    /// 0.
    Inactive,
    /// 1.
    Active,
    /// 2: one of our connections was lost.
    Interrupted,
    /// 3: about to end.
    Terminating,
    /// 4: ended.
    Terminated,
    /// 5.
    Paused,
    /// 6.
    Resumed,
    /// A number unknown to this version.
    Unknown(i64),
}

impl StreamState {
    /// The state with that number.
    pub fn from_number(n: i64) -> StreamState {
        match n {
            0 => StreamState::Inactive,
            1 => StreamState::Active,
            2 => StreamState::Interrupted,
            3 => StreamState::Terminating,
            4 => StreamState::Terminated,
            5 => StreamState::Paused,
            6 => StreamState::Resumed,
            n => StreamState::Unknown(n),
        }
    }

    /// Zoom's name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            StreamState::Inactive => "inactive",
            StreamState::Active => "active",
            StreamState::Interrupted => "interrupted",
            StreamState::Terminating => "terminating",
            StreamState::Terminated => "terminated",
            StreamState::Paused => "paused",
            StreamState::Resumed => "resumed",
            StreamState::Unknown(_) => "unknown",
        }
    }
}

/// `state` of messages 9 and 11. The numbers differ from those of [`StreamState`]: session 2 is good
/// news, stream 2 is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// 0.
    Inactive,
    /// 1.
    Initialize,
    /// 2.
    Started,
    /// 3.
    Paused,
    /// 4.
    Resumed,
    /// 5.
    Stopped,
    /// A number unknown to this version.
    Unknown(i64),
}

impl SessionState {
    /// The state with that number.
    pub fn from_number(n: i64) -> SessionState {
        match n {
            0 => SessionState::Inactive,
            1 => SessionState::Initialize,
            2 => SessionState::Started,
            3 => SessionState::Paused,
            4 => SessionState::Resumed,
            5 => SessionState::Stopped,
            n => SessionState::Unknown(n),
        }
    }

    /// Zoom's name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            SessionState::Inactive => "inactive",
            SessionState::Initialize => "initialize",
            SessionState::Started => "started",
            SessionState::Paused => "paused",
            SessionState::Resumed => "resumed",
            SessionState::Stopped => "stopped",
            SessionState::Unknown(_) => "unknown",
        }
    }
}

/// Why a stream stopped: messages 8 and 9, webhook `*.rtms_stopped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StopReason(pub i64);

/// How we react to a stop reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopPolicy {
    /// The stream is over.
    Finish,
    /// Request a new stream while the meeting continues.
    Restart,
    /// As `Restart`, but only once and with an error in the log: the credentials may be wrong.
    RestartOnce,
    /// Consent was withdrawn: delete everything that was stored of the stream.
    Delete,
    /// The stream is over, and the operator should know.
    FinishAndAlert,
}

const STOP_REASON_NAMES: [&str; 27] = [
    "UNDEFINED",
    "HOST_TRIGGERED",
    "USER_TRIGGERED",
    "USER_LEFT",
    "USER_EJECTED",
    "HOST_DISABLED_APP",
    "MEETING_ENDED",
    "STREAM_CANCELED",
    "STREAM_REVOKED",
    "ALL_APPS_DISABLED",
    "INTERNAL_EXCEPTION",
    "CONNECTION_TIMEOUT",
    "INSTANCE_CONNECTION_INTERRUPTED",
    "SIGNAL_CONNECTION_INTERRUPTED",
    "DATA_CONNECTION_INTERRUPTED",
    "SIGNAL_CONNECTION_CLOSED_ABNORMALLY",
    "DATA_CONNECTION_CLOSED_ABNORMALLY",
    "EXIT_SIGNAL",
    "AUTHENTICATION_FAILURE",
    "AWAIT_RECONNECTION_TIMEOUT",
    "RECEIVER_REQUEST_CLOSE",
    "CUSTOMER_DISCONNECTED",
    "AGENT_DISCONNECTED",
    "ADMIN_DISABLED_APP",
    "KEEP_ALIVE_TIMEOUT",
    "MANUAL_API_TRIGGERED",
    "STREAMING_NOT_SUPPORTED",
];

impl StopReason {
    /// 0, also for a missing reason.
    pub const UNDEFINED: StopReason = StopReason(0);
    /// 6.
    pub const MEETING_ENDED: StopReason = StopReason(6);
    /// 8: consent withdrawn.
    pub const STREAM_REVOKED: StopReason = StopReason(8);
    /// 14: with stream state 2 it means that only the media connection is lost.
    pub const DATA_CONNECTION_INTERRUPTED: StopReason = StopReason(14);

    /// Zoom's name, or `UNKNOWN`.
    pub fn name(self) -> &'static str {
        let n = usize::try_from(self.0).ok();
        n.and_then(|n| STOP_REASON_NAMES.get(n))
            .copied()
            .unwrap_or("UNKNOWN")
    }

    /// How we react (RTMS event reference; an unknown reason is an end).
    pub fn policy(self) -> StopPolicy {
        match self.0 {
            8 => StopPolicy::Delete,
            10..=17 | 19 | 24 => StopPolicy::Restart,
            18 => StopPolicy::RestartOnce,
            23 => StopPolicy::FinishAndAlert,
            _ => StopPolicy::Finish,
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_numbers() {
        for (n, name) in [
            (0, "OK"),
            (3, "INVALID_SIGNATURE"),
            (8, "DUPLICATE_SIGNAL_REQUEST"),
            (17, "INVALID_MEDIA_PARAMS"),
            (31, "INVALID_MEDIA_SHARE_PARAMS"),
            (36, "INVALID_MEDIA_TRANSCRIPT_PARAMS"),
            (40, "INVALID_RTMS_SESSION_ID"),
            (45, "INTERNAL_EXCEPTION"),
            (47, "CHAT_SESSION_KEY_NOT_AVAILABLE"),
            (48, "UNKNOWN"),
            (-1, "UNKNOWN"),
        ] {
            assert_eq!(RtmsStatus(n).name(), name, "status {n}");
        }
        for (n, name) in [
            (6, "MEETING_ENDED"),
            (8, "STREAM_REVOKED"),
            (18, "AUTHENTICATION_FAILURE"),
            (26, "STREAMING_NOT_SUPPORTED"),
            (27, "UNKNOWN"),
        ] {
            assert_eq!(StopReason(n).name(), name, "reason {n}");
        }
    }

    #[test]
    fn a_duplicate_with_any_number_is_retried() {
        assert_eq!(
            RtmsStatus(17).refusal("Duplicate signal request"),
            RefusalPolicy::Retry
        );
        assert_eq!(RtmsStatus(17).refusal(""), RefusalPolicy::Configuration);
        assert_eq!(
            RtmsStatus(3).refusal("invalid signature"),
            RefusalPolicy::Fatal
        );
        assert_eq!(RtmsStatus(12).refusal(""), RefusalPolicy::NotGranted);
        assert_eq!(RtmsStatus(99).refusal(""), RefusalPolicy::Retry);
    }

    #[test]
    fn stop_reasons_have_the_documented_reactions() {
        use StopPolicy::*;
        let policies = [
            (0, Finish),
            (6, Finish),
            (7, Finish),
            (8, Delete),
            (9, Finish),
            (10, Restart),
            (17, Restart),
            (18, RestartOnce),
            (19, Restart),
            (20, Finish),
            (23, FinishAndAlert),
            (24, Restart),
            (25, Finish),
            (99, Finish),
        ];
        for (n, policy) in policies {
            assert_eq!(StopReason(n).policy(), policy, "reason {n}");
        }
    }
}
