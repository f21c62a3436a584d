//! `Range` and `If-Range`. Never panics; a part lies within its file.

use crate::admin::files::range::Selection;

/// Panics where the above does not hold. Lines: the file's length, `Range`, `If-Range`.
pub fn run(bytes: &[u8]) {
    const ETAG: &str = "\"1-64-0\"";
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let length = lines
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0);
    let (range, if_range) = (lines.next(), lines.next());
    let selection = Selection::new(range, if_range, length, ETAG);
    let (first, end) = selection.place(length);
    assert!(first <= end && end <= length);
    if selection != Selection::Whole {
        let range = range.expect("a range");
        assert!(if_range.is_none_or(|tag| tag == ETAG), "{range}");
        assert!(!range.contains(',') && range.contains('-'), "{range}");
    }
    if let Selection::Part { first, last } = selection {
        assert!(first <= last && last < length, "{range:?}");
    }
}
