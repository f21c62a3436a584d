//! The manual: one Markdown file a chapter, for `rtmsd help TOPIC`, rustdoc and the package.

/// A chapter: the topic of `rtmsd help`, and its text.
pub type Chapter = (&'static str, &'static str);

macro_rules! chapters {
    ($($topic:ident)*) => {
        /// The chapters, in the order in which they are listed.
        pub const CHAPTERS: &[Chapter] =
            &[$((stringify!($topic), include_str!(concat!(stringify!($topic), ".md"))),)*];

        // The links come first: of two definitions of one name, Markdown takes the first, so that
        // in rustdoc a chapter links to a page of rustdoc and elsewhere to a file.
        $(#[cfg(doc)]
        #[doc = "[operating]: super::operating\n[media]: super::media\n[delivery]: super::delivery"]
        #[doc = "[troubleshooting]: super::troubleshooting\n[privacy]: super::privacy"]
        #[doc = "[embedding]: super::embedding\n[tuning]: super::tuning\n\n"]
        #[doc = include_str!(concat!(stringify!($topic), ".md"))]
        pub mod $topic {})*
    };
}

chapters!(operating media delivery troubleshooting privacy embedding tuning);

/// The text of a chapter.
pub fn chapter(topic: &str) -> Option<&'static str> {
    let mut chapters = CHAPTERS.iter();
    chapters
        .find(|(name, _)| *name == topic)
        .map(|(_, text)| *text)
}

/// What a chapter is about, in one line: its first paragraph, up to the first full stop.
fn summary(text: &str) -> String {
    let paragraph = text.split("\n\n").nth(1).unwrap_or_default();
    let line = paragraph.replace('\n', " ");
    let end = line.find(". ").map_or(line.len(), |at| at + 1);
    line[..end].trim_end_matches('.').to_owned()
}

/// The list that `rtmsd help` prints.
pub fn topics() -> String {
    let mut list = String::from("topics of rtmsd help TOPIC:\n\n");
    for (topic, text) in CHAPTERS {
        list.push_str(&format!("  {topic:<16} {}\n", summary(text)));
    }
    list
}
