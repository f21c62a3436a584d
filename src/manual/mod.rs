//! The manual: one Markdown file for each chapter, for `rtmsd help TOPIC`, rustdoc and the package.

macro_rules! chapters {
    ($($topic:ident)*) => {
        /// Topic and text of each chapter, in the order of the list of topics.
        const CHAPTERS: &[(&str, &str)] =
            &[$((stringify!($topic), include_str!(concat!(stringify!($topic), ".md"))),)*];

        // If a link is defined twice, Markdown uses the first definition: in rustdoc these, which
        // lead to rustdoc pages, and elsewhere those of the chapter, which lead to files.
        $(#[cfg(doc)]
        #[doc = "[operating]: crate::manual::operating"]
        #[doc = "[containers]: crate::manual::containers"]
        #[doc = "[fleet]: crate::manual::fleet"]
        #[doc = "[connecting]: crate::manual::connecting"]
        #[doc = "[media]: crate::manual::media"]
        #[doc = "[delivery]: crate::manual::delivery"]
        #[doc = "[troubleshooting]: crate::manual::troubleshooting"]
        #[doc = "[privacy]: crate::manual::privacy"]
        #[doc = "[embedding]: crate::manual::embedding"]
        #[doc = "[pages]: crate::manual::pages"]
        #[doc = "[recipes]: crate::manual::recipes"]
        #[doc = "[tuning]: crate::manual::tuning"]
        #[doc = "[upgrading]: crate::manual::upgrading"]
        #[doc = "[security]: crate::manual::security"]
        #[doc = "[contributing]: crate::manual::contributing"]
        #[doc = ""]
        #[doc = include_str!(concat!(stringify!($topic), ".md"))]
        pub mod $topic {})*
    };
}

chapters!(
    operating containers fleet connecting media delivery pages recipes troubleshooting privacy
    embedding tuning upgrading security contributing
);

/// The topics, in the order of their list.
pub(crate) fn topics() -> Vec<&'static str> {
    CHAPTERS.iter().map(|(topic, _)| *topic).collect()
}

/// The text of a chapter.
pub(crate) fn chapter(topic: &str) -> Option<&'static str> {
    let found = CHAPTERS.iter().find(|(name, _)| *name == topic);
    found.map(|(_, text)| *text)
}
