//! The Zoom products that stream, and all names that differ between them, in one table.

/// A Zoom product. It determines the name of the id in messages and the meaning of event numbers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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

/// The words of one product.
struct Words {
    name: &'static str,
    unit: &'static str,
    id_key: &'static str,
    event_prefix: &'static str,
    rest_method: &'static str,
    rest_path: &'static str,
}

impl Product {
    /// All products.
    pub const ALL: [Product; 5] = [
        Product::Meeting,
        Product::Webinar,
        Product::Session,
        Product::ContactCenter,
        Product::Phone,
    ];

    const fn words(self) -> &'static Words {
        match self {
            Product::Meeting => &Words {
                name: "meeting",
                unit: "meeting",
                id_key: "meeting_uuid",
                event_prefix: "",
                rest_method: "PATCH",
                rest_path: "/v2/live_meetings/{id}/rtms_app/status",
            },
            Product::Webinar => &Words {
                name: "webinar",
                unit: "webinar",
                id_key: "meeting_uuid",
                event_prefix: "",
                rest_method: "PATCH",
                rest_path: "/v2/live_meetings/{id}/rtms_app/status",
            },
            Product::Session => &Words {
                name: "session",
                unit: "session",
                id_key: "session_id",
                event_prefix: "",
                rest_method: "PATCH",
                rest_path: "/v2/videosdk/sessions/{id}/rtms_app/status",
            },
            Product::ContactCenter => &Words {
                name: "contact_center",
                unit: "engagement",
                id_key: "engagement_id",
                event_prefix: "voice_",
                rest_method: "PUT",
                rest_path: "/v2/contact_center/{id}/rtms_app/status",
            },
            Product::Phone => &Words {
                name: "phone",
                unit: "call",
                id_key: "call_id",
                event_prefix: "call_",
                rest_method: "PATCH",
                rest_path: "/v2/phone/calls/{id}/rtms_app/status",
            },
        }
    }

    /// The name in logs, files, metrics and JSON. It is also the first word of its webhooks' names.
    pub const fn name(self) -> &'static str {
        self.words().name
    }

    /// The product of that [`name`](Product::name).
    pub fn from_name(name: &str) -> Option<Product> {
        let mut all = Product::ALL.into_iter();
        all.find(|product| product.name() == name)
    }

    /// What an id of this product identifies: a meeting, webinar, session, engagement or call. The
    /// word on the command line (`--product`) and in sentences.
    pub const fn unit(self) -> &'static str {
        self.words().unit
    }

    /// The product of that [`unit`](Product::unit).
    pub fn from_unit(unit: &str) -> Option<Product> {
        let mut all = Product::ALL.into_iter();
        all.find(|product| product.unit() == unit)
    }

    /// The key of the id in messages 1 and 3 (RTMS event reference).
    pub const fn id_key(self) -> &'static str {
        self.words().id_key
    }

    /// A prefix that may precede `rtms_started` in the names of its webhooks: `voice_` for Contact
    /// Center, `call_` for Phone; empty for the others.
    pub const fn event_prefix(self) -> &'static str {
        self.words().event_prefix
    }

    /// The method of the REST call that controls a stream.
    pub const fn rest_method(self) -> &'static str {
        self.words().rest_method
    }

    /// The path of that call, with `{id}` where the encoded id belongs.
    pub const fn rest_path(self) -> &'static str {
        self.words().rest_path
    }

    /// Whether REST needs a number and not the id in webhooks and messages.
    pub const fn has_number(self) -> bool {
        matches!(self, Product::Meeting | Product::Webinar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_names_one_product() {
        for product in Product::ALL {
            assert_eq!(Product::from_name(product.name()), Some(product));
            assert_eq!(Product::from_unit(product.unit()), Some(product));
            assert_eq!(product.rest_path().matches("{id}").count(), 1);
            let json = serde_json::to_string(&product).expect("JSON");
            assert_eq!(json, format!("\"{}\"", product.name()), "in registry.json");
        }
        assert_eq!(Product::from_name("engagement"), None);
        assert_eq!(Product::from_unit("contact_center"), None);
    }
}
