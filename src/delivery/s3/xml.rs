//! A minimal reader of S3's XML: the texts of elements by their names.
//!
//! An answer has at most [`XML_BYTES_MAX`] bytes, comes from the server, and may be anything.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::domain::text::{bounded, one_line};

/// Maximum bytes read of an answer; errors are below 1 KiB.
pub const XML_BYTES_MAX: usize = 64 << 10;

/// Maximum bytes of a text read from an answer.
const TEXT_BYTES_MAX: usize = 1024;

/// `<Error>`: the error in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// `Code`, as `NoSuchBucket`; empty if there is none.
    pub code: String,
    /// `Message`, on one line.
    pub message: String,
    /// `Region` of a bucket in another region.
    pub region: Option<String>,
}

/// The error in an answer; `None` if it is none. White space may stand in front: S3 sends some while a
/// completion takes its time, behind a status of 200.
pub fn error(body: &[u8]) -> Option<ErrorBody> {
    let text = text_of(body);
    let error = element(&text, "Error")?;
    let of = |name: &str| element(error, name).map(clean);
    Some(ErrorBody {
        code: of("Code").unwrap_or_default(),
        message: of("Message").unwrap_or_default(),
        region: of("Region"),
    })
}

/// The text of the first element of that name.
pub fn value(body: &[u8], name: &str) -> Option<String> {
    element(&text_of(body), name).map(clean)
}

fn text_of(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(XML_BYTES_MAX)]).into_owned()
}

/// The text between `<name …>` and the next `</name>`.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let at = rest.find('<')?;
        rest = &rest[at + 1..];
        let Some(after) = rest.strip_prefix(name) else {
            continue;
        };
        // A longer name has the same start.
        if !after.starts_with(|c: char| c == '>' || c.is_ascii_whitespace()) {
            continue;
        }
        let inside = &after[after.find('>')? + 1..];
        return Some(&inside[..inside.find(&format!("</{name}>"))?]);
    }
}

fn clean(text: &str) -> String {
    let text = bounded(text, TEXT_BYTES_MAX);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').map_or(1, |end| end + 1);
        plain.push(match &rest[1..end] {
            "amp;" => '&',
            "lt;" => '<',
            "gt;" => '>',
            "quot;" => '"',
            "apos;" => '\'',
            number => {
                let decimal = number.strip_prefix('#').map(|n| n.trim_end_matches(';'));
                let code = decimal.and_then(|n| match n.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok(),
                    None => n.parse().ok(),
                });
                match code.and_then(char::from_u32) {
                    Some(c) => c,
                    None => {
                        plain.push_str(&rest[..end]);
                        rest = &rest[end..];
                        continue;
                    }
                }
            }
        });
        rest = &rest[end..];
    }
    plain.push_str(rest);
    one_line(&plain).into_owned()
}

/// A text with the escapes of an element.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_after_white_space() {
        let body = b"  \r\n\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InternalError</Code>\
            <Message>We encountered an &quot;internal&quot; error.\nTry &amp; again&#33;</Message>\
            <Resource>/a</Resource><Region>eu-west-1</Region></Error>";
        let expected = ErrorBody {
            code: "InternalError".to_owned(),
            message: "We encountered an \"internal\" error. Try & again!".to_owned(),
            region: Some("eu-west-1".to_owned()),
        };
        assert_eq!(error(body), Some(expected));
        let fine =
            b"<CompleteMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <ETag>&quot;abc-2&quot;</ETag></CompleteMultipartUploadResult>";
        assert_eq!(error(fine), None);
        assert_eq!(value(fine, "ETag").as_deref(), Some("\"abc-2\""));
        assert_eq!(value(fine, "UploadId"), None);
    }

    #[test]
    fn other_content_is_no_error_and_does_not_panic() {
        for body in [
            "",
            "<",
            "<Error",
            "<Error>",
            "<ErrorX></ErrorX>",
            "</Error>",
            "<Error <Code>",
            "&;",
            "<html>502</html>",
        ] {
            assert_eq!(error(body.as_bytes()), None, "{body}");
        }
        assert_eq!(error(b"<Error></Error>"), Some(ErrorBody::default()));
        let odd = b"<Error><Code>&#xD800;&nope;&</Code><Message>\x1b[31m\xff</Message></Error>";
        let odd = error(odd).expect("an error");
        assert_eq!(odd.code, "&#xD800;&nope;&");
        assert_eq!(odd.message, "[31m\u{fffd}");
        let long = format!("<Error><Code>{}</Code></Error>", "é".repeat(5000));
        assert!(error(long.as_bytes()).is_some_and(|e| e.code.len() <= TEXT_BYTES_MAX));
    }

    #[test]
    fn escaped_texts_are_read_back() {
        let text = "\"a<b>&c\"";
        let body = format!("<ETag>{}</ETag>", escaped(text));
        assert_eq!(value(body.as_bytes(), "ETag").as_deref(), Some(text));
    }
}
