//! The pages for people: status, live captions, meetings. HTML, CSS and JavaScript in the binary.
//!
//! A page holds no content, so it needs no credential: its scripts get what it shows from the other
//! paths of this listener, with the credential of the person who looks at it.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::line;
use crate::feed::JournalKey;
use crate::gate::Answer;

/// What a browser may do on a page: run our scripts, and ask this server. Scripts can make no markup of
/// text, so that a name or a topic stays text.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'";

const HEADERS: [(&str, &str); 6] = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    // Kept by the browser, and asked for again each time: a new server has new pages.
    ("Cache-Control", "no-cache"),
];

/// Digits of an `ETag`.
const TAG_BYTES: usize = 16;

/// One file.
#[derive(Debug)]
pub(super) struct Page {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal $media_type:ident)*) => {
        /// The files; those that are not HTML are at `/pages/NAME`.
        const FILES: &[Page] = &[$(Page {
            name: $name,
            media_type: $media_type,
            text: include_str!($name),
        }),*];
    };
}

const HTML: &str = "text/html; charset=utf-8";
const IMAGE: &str = "image/svg+xml";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

files! {
    "status.html" HTML
    "live.html" HTML
    "meetings.html" HTML
    "meeting.html" HTML
    "icon.svg" IMAGE
    "page.css" CSS
    "live.css" CSS
    "meeting.css" CSS
    "dom.js" SCRIPT
    "session.js" SCRIPT
    "words.js" SCRIPT
    "sse.js" SCRIPT
    "history.js" SCRIPT
    "phrases.js" SCRIPT
    "captions.js" SCRIPT
    "settings.js" SCRIPT
    "live.js" SCRIPT
    "status.js" SCRIPT
    "meetings.js" SCRIPT
    "meeting.js" SCRIPT
    "transcript.js" SCRIPT
    "player.js" SCRIPT
}

/// The `ETag` of each file, once one was asked for.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |page: &Page| {
        let digest = Sha256::digest(page.text.as_bytes());
        format!("\"{}\"", hex::encode(&digest[..TAG_BYTES / 2]))
    };
    FILES.iter().map(tag).collect()
});

/// Whether a path may be one of a page.
pub(super) fn is_path(path: &str) -> bool {
    let mut begins = ["/live/", "/meetings/", "/pages/"].into_iter();
    matches!(path, "/" | "/meetings") || begins.any(|begin| path.starts_with(begin))
}

/// The page or file at this path. With `format=` a program asks for what the page would show.
pub(super) fn find(path: &str, query: Option<&str>) -> Option<&'static Page> {
    let mut parts = query.unwrap_or_default().split('&');
    if parts.any(|part| part.split('=').next() == Some("format")) {
        return None;
    }
    let is_key = |text: &str| text.parse::<JournalKey>().is_ok();
    let name = match path.split_once('/')?.1.split_once('/') {
        None if path == "/" => "status.html",
        None if path == "/meetings" => "meetings.html",
        Some(("live", key)) if is_key(key) => "live.html",
        Some(("meetings", key)) if is_key(key) => "meeting.html",
        Some(("pages", name)) if !name.ends_with(".html") => name,
        _ => return None,
    };
    FILES.iter().find(|page| page.name == name)
}

impl Page {
    /// The answer to a request that was let in.
    pub(super) fn answer(&self, method: &str, if_none_match: Option<&str>) -> Answer {
        if !matches!(method, "GET" | "HEAD") {
            return line(405, "this method is not allowed here").with("Allow", "GET, HEAD");
        }
        let at = FILES.iter().position(|page| page.name == self.name);
        let tag = at.and_then(|at| TAGS.get(at)).cloned().unwrap_or_default();
        let (status, text) = match if_none_match.is_some_and(|text| is_listed(&tag, text)) {
            true => (304, ""),
            false => (200, self.text),
        };
        let answer = Answer::text(status, text).of_type(self.media_type);
        let headers = HEADERS.into_iter();
        let answer = headers.fold(answer, |answer, (name, value)| answer.with(name, value));
        answer.with("ETag", tag)
    }
}

/// Whether a client has what this tag names, by its `If-None-Match`.
fn is_listed(tag: &str, if_none_match: &str) -> bool {
    let mut tags = if_none_match.split(',').map(str::trim);
    // The comparison is the weak one (RFC 9110, 13.1.2): a proxy that compresses makes tags weak.
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all pages together.
    const PAGES_BYTES_MAX: usize = 64 << 10;

    #[test]
    fn the_pages_are_small() {
        let bytes: usize = FILES.iter().map(|page| page.text.len()).sum();
        assert!(bytes <= PAGES_BYTES_MAX, "{bytes}");
    }

    #[test]
    fn paths_lead_to_pages() {
        let name = |path: &str| {
            let (path, query) = path
                .split_once('?')
                .map_or((path, None), |(a, b)| (a, Some(b)));
            find(path, query).map(|page| page.name)
        };
        assert_eq!(name("/"), Some("status.html"));
        assert_eq!(name("/?x=1"), Some("status.html"));
        assert_eq!(name("/live/bdd2d51ed67606f5"), Some("live.html"));
        assert_eq!(name("/meetings"), Some("meetings.html"));
        assert_eq!(name("/meetings?q=a"), Some("meetings.html"));
        assert_eq!(name("/meetings/bdd2d51ed67606f5"), Some("meeting.html"));
        assert_eq!(name("/pages/live.js"), Some("live.js"));
        for path in [
            "",
            "//",
            "/live",
            "/live/",
            "/live/bdd2d5",
            "/live/bdd2d51ed67606f5.vtt",
            "/live/bdd2d51ed67606f5/",
            "/meetings/",
            "/meetings?format=json",
            "/meetings?q=a&format=",
            "/meetings/bdd2d51ed67606f5?format=json",
            "/meetings/bdd2d5",
            "/pages",
            "/pages/",
            "/pages/mod.rs",
            "/pages/live.html",
            "/pages/../live.js",
            "/pages//live.js",
        ] {
            assert_eq!(name(path), None, "{path}");
        }
    }

    #[test]
    fn g1_a_page_loads_nothing_from_elsewhere_and_makes_no_markup() {
        for page in FILES {
            let (name, text) = (page.name, page.text);
            // The namespace of SVG is a name; the policy lets data: in for the icon.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for foreign in [
                "//cdn", "http:", "https:", "src=\"/", "href=\"/", "@import", "url(",
            ] {
                assert!(!text.contains(foreign), "{name}: {foreign}");
            }
            for markup in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "setHTML",
                "eval(",
                "new Function",
                "createContextualFragment",
                "document.cookie",
                "localStorage.setItem(\"token",
                " style=\"",
                " onclick=\"",
                "javascript:",
            ] {
                assert!(!text.contains(markup), "{name}: {markup}");
            }
            if page.media_type == HTML {
                assert!(text.contains("<noscript>"), "{name}");
                assert!(text.contains("<html lang=\"en\""), "{name}");
                assert!(!text.contains("<script>"), "{name}: the policy forbids it");
            }
        }
    }

    #[test]
    fn each_file_that_a_page_names_is_there() {
        for page in FILES {
            for part in page.text.split('"') {
                let name = part.trim_start_matches("../").trim_start_matches("./");
                let name = name.strip_prefix("pages/").unwrap_or(name);
                let is_file = ["css", "js"].iter().any(|end| {
                    let name = name.strip_suffix(end).and_then(|it| it.strip_suffix('.'));
                    name.is_some_and(|it| it.bytes().all(|b| b.is_ascii_lowercase()))
                });
                if is_file {
                    let is_there = FILES.iter().any(|file| file.name == name);
                    assert!(is_there, "{}: {part}", page.name);
                }
            }
        }
    }

    #[test]
    fn g4_the_headers_are_on_each_answer() {
        for page in FILES {
            for if_none_match in [None, Some("*")] {
                let answer = page.answer("GET", if_none_match);
                for (name, value) in HEADERS {
                    let is_there = answer.headers.contains(&(name, value.to_owned()));
                    assert!(is_there, "{}: {name}", page.name);
                }
            }
        }
    }

    #[test]
    fn a_file_that_a_client_has_is_not_sent_again() {
        let page = find("/", None).expect("a page");
        let answer = page.answer("GET", None);
        let tag = answer.headers.iter().find(|(name, _)| *name == "ETag");
        let tag = tag.expect("a tag").1.as_str();
        assert!(tag.starts_with('"') && tag.len() == TAG_BYTES + 2, "{tag}");
        let status = |text: &str| page.answer("GET", Some(text)).status;
        assert_eq!(status(tag), 304);
        assert_eq!(status(&format!("\"x\", W/{tag}")), 304);
        assert_eq!(status("\"x\""), 200);
        assert_eq!(status(tag.trim_matches('"')), 200);
        assert!(page.answer("GET", Some(tag)).body.is_empty());
        assert_eq!(page.answer("POST", None).status, 405);
    }
}
