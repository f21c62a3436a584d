//! The Zoom products that stream, and what differs between them on the wire.

/// A Zoom product. It decides the name of the id in messages and the meaning of event numbers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// Zoom Meetings.
    Meeting,
    /// Zoom Webinars: as meetings, with a webinar's ids.
    Webinar,
    /// A Video SDK session.
    Session,
    /// A Contact Center voice engagement.
    ContactCenter,
    /// A Zoom Phone call.
    Phone,
}

impl Product {
    /// All of them.
    pub const ALL: [Product; 5] = [
        Product::Meeting,
        Product::Webinar,
        Product::Session,
        Product::ContactCenter,
        Product::Phone,
    ];

    /// The word for logs, files and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Product::Meeting => "meeting",
            Product::Webinar => "webinar",
            Product::Session => "session",
            Product::ContactCenter => "contact_center",
            Product::Phone => "phone",
        }
    }

    /// The product of that word.
    pub fn from_name(name: &str) -> Option<Product> {
        Product::ALL
            .into_iter()
            .find(|product| product.name() == name)
    }

    /// The key that carries the id in messages 1 and 3 (RTMS event reference).
    pub const fn id_key(self) -> &'static str {
        match self {
            Product::Meeting | Product::Webinar => "meeting_uuid",
            Product::Session => "session_id",
            Product::ContactCenter => "engagement_id",
            Product::Phone => "call_id",
        }
    }
}
