//! Answers of object storage: never panics, and what comes out is bounded and fit for a log.

use crate::delivery::s3::fault::Fault;
use crate::delivery::s3::xml;

/// Panics where the above does not hold.
pub fn run(bytes: &[u8]) {
    let error = xml::error(bytes);
    for status in [200, 301, 400, 403, 404, 501, 503] {
        let fault = Fault::of_answer("put object", status, None, error.clone());
        let text = fault.to_string();
        assert!(
            text.len() < 2048 && !text.chars().any(char::is_control),
            "{text:?}"
        );
    }
    for name in ["UploadId", "ETag"] {
        assert!(xml::value(bytes, name).is_none_or(|text| text.len() <= 1024));
    }
}
