//! The webhook payload: never panics, and every string that comes out is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtmsd::domain::zoom_event::Event;
use rtmsd::source::webhook::payload::{ACCOUNT_BYTES_MAX, EVENT_BYTES_MAX, Fault, ID_BYTES_MAX, TOPIC_BYTES_MAX, URL_BYTES_MAX, URLS_MAX, webhook};

fn urls_are_bounded(urls: &[String]) {
    assert!(urls.len() <= URLS_MAX);
    for url in urls {
        assert!((1..=URL_BYTES_MAX).contains(&url.len()) && url.trim() == url);
    }
}

fn id_is_bounded(id: &str) {
    assert!((1..=ID_BYTES_MAX).contains(&id.len()));
}

fuzz_target!(|body: &[u8]| {
    match webhook(body).map(|webhook| webhook.event) {
        Ok(Event::RtmsStarted(it)) => {
            id_is_bounded(&it.id);
            id_is_bounded(&it.stream_id);
            assert!(!it.server_urls.is_empty());
            urls_are_bounded(&it.server_urls);
        }
        Ok(Event::RtmsInterrupted(it)) => {
            id_is_bounded(&it.stream_id);
            urls_are_bounded(&it.server_urls);
        }
        Ok(Event::RtmsStopped(it)) => id_is_bounded(&it.stream_id),
        Ok(Event::MeetingStarted(it)) => {
            id_is_bounded(&it.meeting_id);
            id_is_bounded(&it.meeting_uuid);
            assert!(it.topic.is_none_or(|topic| topic.len() <= TOPIC_BYTES_MAX));
        }
        Ok(Event::MeetingEnded(it)) => id_is_bounded(&it.meeting_uuid),
        Ok(Event::UrlValidation { plain_token }) => id_is_bounded(&plain_token),
        Ok(Event::AppDeauthorized { user_id, .. }) => assert!(user_id.len() <= ID_BYTES_MAX),
        Ok(Event::Account { name, payload }) => {
            assert!(name.len() <= EVENT_BYTES_MAX && payload.len() <= ACCOUNT_BYTES_MAX);
        }
        Ok(Event::Other { name }) => assert!(name.len() <= EVENT_BYTES_MAX),
        Err(Fault::Missing { event, .. }) => assert!(event.len() <= EVENT_BYTES_MAX),
        Err(Fault::NotAWebhook) => {}
    }
});
