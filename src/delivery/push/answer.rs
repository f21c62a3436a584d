//! What an endpoint's answer means for the events of a request, and for the endpoint.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::time::Duration;

/// The longest rest that a `Retry-After` can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A shorter `Retry-After` counts as none: the back-off is longer.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A head arrived.
    Status {
        /// The HTTP status.
        status: u16,
        /// `Retry-After`, in either form.
        retry_after: Option<Duration>,
    },
    /// No head arrived.
    None(Fault),
}

/// Why no answer arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The name has no address.
    Name,
    /// No connection.
    Connect,
    /// The certificate was not accepted, or the TLS handshake failed.
    Tls,
    /// The proxy did not connect.
    Proxy,
    /// The connection ended before an answer.
    Reset,
    /// No answer in time.
    Timeout,
    /// What came was no HTTP.
    Malformed,
    /// A fault of this program.
    Internal,
}

impl Fault {
    /// The word for the log, `/streams` and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Name => "name",
            Fault::Connect => "connect",
            Fault::Tls => "tls",
            Fault::Proxy => "proxy",
            Fault::Reset => "reset",
            Fault::Timeout => "timeout",
            Fault::Malformed => "malformed",
            Fault::Internal => "internal",
        }
    }
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The events are the receiver's.
    Delivered,
    /// The endpoint wants no more requests, ever.
    Gone,
    /// The whole endpoint rests so long.
    Busy(Duration),
    /// The endpoint fails, as far as is known for this stream only.
    Failing,
    /// This request is refused; the stream waits at least so long.
    Refused(Option<Duration>),
}

impl Answer {
    /// The HTTP status, where there was one.
    pub fn status(self) -> Option<u16> {
        match self {
            Answer::Status { status, .. } => Some(status),
            Answer::None(_) => None,
        }
    }

    /// What follows. 410 outranks `Retry-After`; a refusal concerns one request, so its
    /// `Retry-After` delays one stream.
    pub fn verdict(self) -> Verdict {
        let Answer::Status {
            status,
            retry_after,
        } = self
        else {
            return Verdict::Failing;
        };
        let retry_after = retry_after.filter(|after| *after >= RETRY_AFTER_MIN);
        match status {
            200..=299 => Verdict::Delivered,
            410 => Verdict::Gone,
            400..=499 if !is_of_the_endpoint(status) => Verdict::Refused(retry_after),
            _ => retry_after.map_or(Verdict::Failing, Verdict::Busy),
        }
    }
}

/// Whether a 4xx says something of the endpoint (its login, its address, its load) and nothing of
/// the events.
fn is_of_the_endpoint(status: u16) -> bool {
    matches!(status, 401 | 403 | 404 | 405 | 407 | 408 | 425 | 429)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, after_s: Option<u64>) -> Verdict {
        let retry_after = after_s.map(Duration::from_secs);
        Answer::Status {
            status,
            retry_after,
        }
        .verdict()
    }

    /// The table of the answers, line by line.
    #[test]
    fn each_answer_is_taken_as_the_table_says() {
        let minute = Duration::from_secs(60);
        for status in [200, 201, 202, 204, 206, 299] {
            assert_eq!(verdict(status, None), Verdict::Delivered);
            assert_eq!(verdict(status, Some(60)), Verdict::Delivered);
        }
        assert_eq!(verdict(410, None), Verdict::Gone);
        assert_eq!(verdict(410, Some(60)), Verdict::Gone, "410 outranks");
        let failing = [
            100, 300, 301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 407, 408, 425, 429, 500,
            501, 502, 503, 504, 599, 600, 999,
        ];
        for status in failing {
            assert_eq!(verdict(status, None), Verdict::Failing, "{status}");
            assert_eq!(verdict(status, Some(60)), Verdict::Busy(minute), "{status}");
            assert_eq!(verdict(status, Some(0)), Verdict::Failing, "{status}");
        }
        for status in [400, 402, 406, 409, 411, 413, 414, 415, 418, 421, 422, 499] {
            assert_eq!(verdict(status, None), Verdict::Refused(None), "{status}");
            let refused = Verdict::Refused(Some(minute));
            assert_eq!(verdict(status, Some(60)), refused, "{status}");
        }
        for fault in [Fault::Name, Fault::Connect, Fault::Reset, Fault::Timeout] {
            assert_eq!(Answer::None(fault).verdict(), Verdict::Failing);
        }
    }
}
