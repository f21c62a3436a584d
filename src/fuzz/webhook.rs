//! Fuzz target for the webhook payload: no panic, and every returned string is bounded.

use crate::domain::zoom_event::ZoomEventKind;
use crate::source::webhook::payload::{
    ACCOUNT_BYTES_MAX, EVENT_BYTES_MAX, Fault, ID_BYTES_MAX, TOPIC_BYTES_MAX, URL_BYTES_MAX,
    URLS_MAX, webhook,
};

fn urls_are_bounded(urls: &[String]) {
    assert!(urls.len() <= URLS_MAX);
    for url in urls {
        assert!((1..=URL_BYTES_MAX).contains(&url.len()) && url.trim() == url);
    }
}

fn id_is_bounded(id: &str) {
    assert!((1..=ID_BYTES_MAX).contains(&id.len()));
}

/// Panics if one of these does not hold.
pub fn run(bytes: &[u8]) {
    match webhook(bytes).map(|webhook| webhook.event) {
        Ok(ZoomEventKind::StreamStarted(it)) => {
            id_is_bounded(&it.id);
            id_is_bounded(&it.stream_id);
            assert!(!it.server_urls.is_empty());
            urls_are_bounded(&it.server_urls);
        }
        Ok(ZoomEventKind::StreamInterrupted(it)) => {
            id_is_bounded(&it.stream_id);
            urls_are_bounded(&it.server_urls);
        }
        Ok(ZoomEventKind::StreamStopped(it)) => id_is_bounded(&it.stream_id),
        Ok(ZoomEventKind::MeetingStarted(it)) => {
            id_is_bounded(&it.meeting_id);
            id_is_bounded(&it.meeting_uuid);
            assert!(it.topic.is_none_or(|topic| topic.len() <= TOPIC_BYTES_MAX));
        }
        Ok(ZoomEventKind::ParticipantJoined(it)) => {
            id_is_bounded(&it.meeting.meeting_uuid);
            it.participant_ids.iter().for_each(|id| id_is_bounded(id));
        }
        Ok(ZoomEventKind::MeetingEnded(it)) => id_is_bounded(&it.meeting_uuid),
        Ok(ZoomEventKind::UrlValidation { plain_token }) => id_is_bounded(&plain_token),
        Ok(ZoomEventKind::AppDeauthorized { user_id, .. }) => {
            assert!(user_id.len() <= ID_BYTES_MAX)
        }
        Ok(ZoomEventKind::Account { name, payload }) => {
            assert!(name.len() <= EVENT_BYTES_MAX && payload.len() <= ACCOUNT_BYTES_MAX);
        }
        Ok(ZoomEventKind::Other { name }) => assert!(name.len() <= EVENT_BYTES_MAX),
        Err(Fault::Missing { event, .. }) => assert!(event.len() <= EVENT_BYTES_MAX),
        Err(Fault::NotAWebhook) => {}
    }
}
