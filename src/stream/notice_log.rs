//! Log lines for the notices of one stream.

use std::time::Instant;

use crate::log::warn_limiter::WarnLimiter;
use crate::protocol::Notice;
use crate::protocol::codes::{RefusalPolicy, StreamState};

/// Maximum distinct warnings remembered per stream: a few for each link.
const WARNINGS_MAX: usize = 8;

/// Logs what a stream reports. The logger adds the stream's id.
#[derive(Debug, Default)]
pub(super) struct NoticeLog {
    /// Limits repeated warnings with the same text to one per minute.
    warnings: Vec<(String, WarnLimiter)>,
}

impl NoticeLog {
    fn warn(&mut self, text: String, now: Instant) {
        let mut known = self.warnings.iter();
        let at = known.position(|(warning, _)| *warning == text);
        let at = at.unwrap_or_else(|| {
            if self.warnings.len() >= WARNINGS_MAX {
                self.warnings.remove(0);
            }
            self.warnings.push((text, WarnLimiter::default()));
            self.warnings.len() - 1
        });
        let (text, limiter) = &self.warnings[at];
        if let Some(more) = limiter.allow(now) {
            log::warn!("{text}{more}");
        }
    }

    pub(super) fn log(&mut self, notice: &Notice, now: Instant) {
        match notice {
            Notice::Accepted(link) => log::debug!("handshake accepted link={link}"),
            Notice::Granted(granted) => {
                let media = granted.kind.name();
                log::debug!("granted media={media} params={}", granted.json);
                for field in &granted.unknown {
                    log::warn!("unknown media parameter granted: {field}; using the requested one");
                }
            }
            Notice::Ready => log::info!("receiving"),
            Notice::Lost(link, loss) => {
                self.warn(format!("lost link={link} cause=\"{loss}\""), now);
            }
            Notice::MediaResumed(kind) => log::debug!("media resumed media={}", kind.name()),
            Notice::GivenUp { kind, loss } => log::warn!(
                "media given up media={} cause=\"{loss}\"; other media continue; retrying this one once \
             a minute",
                kind.name()
            ),
            Notice::DataBeforeAnswer(kind) => log::warn!(
                "data before message 4 media={}; treating it as the answer to the handshake",
                kind.name()
            ),
            Notice::OneSocket => log::warn!(
                "one media socket for all kinds: Zoom refuses one for each; dropping unwanted media"
            ),
            // The driver logs the first one.
            Notice::Oversize { .. } => {}
            Notice::SpeakersUnknown => log::warn!(
                "audio packets have no speaker, although RTMS_AUDIO_STREAMS requests a track per speaker: \
             the audio is one mixed track; transcripts name speakers (RTMS_MEDIA=audio,transcript), \
             and so do the active speaker events in events.jsonl"
            ),
            Notice::Refused {
                link,
                status,
                reason,
                policy,
            } => {
                let status =
                    status.map_or("no status code".to_owned(), |status| status.to_string());
                let next = match policy {
                    RefusalPolicy::Retry => "; will be tried again",
                    _ => "",
                };
                let text =
                    format!("refused link={link} status=\"{status}\" reason={reason:?}{next}");
                self.warn(text, now);
            }
            Notice::NotGranted {
                kind,
                scope: Some(scope),
            } => {
                log::warn!(
                    "not granted media={}; the app needs the scope {scope}",
                    kind.name()
                );
            }
            Notice::NotGranted { kind, scope: None } => {
                log::warn!("not granted media={}", kind.name())
            }
            Notice::BadUrl { kind, error } => log::warn!("media={} {error}", kind.name()),
            Notice::Encrypted(kind) => log::error!(
                "payload is encrypted media={}; its data is dropped; have payload encryption \
             switched off for the app",
                kind.name()
            ),
            Notice::State { state, reason } => match state {
                StreamState::Unknown(n) => log::debug!("stream state={n} reason=\"{reason}\""),
                state => log::debug!("stream state={} reason=\"{reason}\"", state.name()),
            },
            Notice::VideoSubscription { status, .. } => {
                log::debug!("video subscription status={status}")
            }
            Notice::Session { state, reason } => {
                log::debug!("session state={} reason=\"{reason}\"", state.name());
            }
        }
    }
}
