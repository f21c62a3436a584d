//! What can go wrong with a call to object storage, what it means, and what to do about it.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::fmt;

use super::xml::ErrorBody;
use crate::domain::severity::Severity;
use crate::domain::text::{bounded, one_line};

/// Longest message of the other side in a log line.
const MESSAGE_BYTES_MAX: usize = 300;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// 403: key, secret, or what they allow.
    Denied,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region, or the signature names a wrong one.
    WrongRegion,
    /// Our clock is off: the signature is too old or of the future.
    Skewed,
    /// A multipart upload that is not known any more.
    NoUpload,
    /// The server knows no checksums, or not this one.
    Checksum,
    /// 404 of an object.
    NotFound,
    /// What is in the bucket is not what was sent.
    Differs,
    /// A redirect, which is not followed.
    Redirected,
    /// 429, 503 SlowDown.
    Throttled,
    /// Other 5xx, or an error behind a 200.
    Server,
    /// Another refusal.
    Refused,
    /// An answer that is not S3's.
    Malformed,
    /// No answer in time.
    Timeout,
    /// No connection, or a broken one.
    Unreachable,
    /// A certificate that does not convince.
    Certificate,
    /// Credentials that cannot be had.
    Credentials,
    /// A file of ours that cannot be read.
    Local,
    /// The server ends, or the work is not wanted any more.
    Stopping,
}

/// A call that failed, fit for a log: bounded, one line, without secrets, topics or names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// What was tried, as "put object".
    pub call: &'static str,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The code of the other side, as `AccessDenied`.
    pub code: String,
    /// Its message, or ours.
    pub message: String,
    /// Where the bucket is, where the answer says so.
    pub region: Option<String>,
}

impl Fault {
    /// A call without an answer.
    pub fn new(kind: FaultKind, call: &'static str, message: impl AsRef<str>) -> Fault {
        let message = bounded(message.as_ref(), MESSAGE_BYTES_MAX);
        Fault {
            kind,
            call,
            status: None,
            code: String::new(),
            message: one_line(message).into_owned(),
            region: None,
        }
    }

    /// An answer that is no success. `region` is the value of `x-amz-bucket-region`.
    pub fn of_answer(
        call: &'static str,
        status: u16,
        region: Option<&str>,
        error: Option<ErrorBody>,
    ) -> Fault {
        let has_error = error.is_some();
        let ErrorBody {
            code,
            message,
            region: told,
        } = error.unwrap_or_default();
        let kind = kind(status, &code, &message, has_error);
        let region = region.map(str::to_owned).or(told);
        Fault {
            status: Some(status),
            code: bounded(&code, 64).to_owned(),
            region: region.map(|region| bounded(&one_line(&region), 64).to_owned()),
            ..Fault::new(kind, call, message)
        }
    }

    /// Whether a person is needed, or it may pass.
    pub fn severity(&self) -> Severity {
        match self.kind {
            FaultKind::Stopping => Severity::Debug,
            FaultKind::Denied
            | FaultKind::NoBucket
            | FaultKind::WrongRegion
            | FaultKind::Checksum
            | FaultKind::Redirected
            | FaultKind::Certificate
            | FaultKind::Credentials
            | FaultKind::Local => Severity::Error,
            _ => Severity::Warn,
        }
    }

    /// Whether it is about one stream alone, so that others need not wait.
    pub fn is_of_one_stream(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Local | FaultKind::NoUpload | FaultKind::NotFound | FaultKind::Differs
        )
    }

    fn meaning(&self) -> &'static str {
        match self.kind {
            FaultKind::Denied => "the bucket refuses access",
            FaultKind::NoBucket => "there is no such bucket",
            FaultKind::WrongRegion => "the bucket is in another region",
            FaultKind::Skewed => "the clocks of this machine and of the bucket differ",
            FaultKind::NoUpload => "the multipart upload is not known any more",
            FaultKind::Checksum => "the bucket does not accept the checksum",
            FaultKind::NotFound => "the object is not there",
            FaultKind::Differs => "the object is not what was sent",
            FaultKind::Redirected => "the answer points elsewhere, and redirects are not followed",
            FaultKind::Throttled => "the bucket limits the rate of calls",
            FaultKind::Server => "the bucket has a fault of its own",
            FaultKind::Refused => "the bucket refuses the call",
            FaultKind::Malformed => "the answer is not S3's",
            FaultKind::Timeout => "no answer in time",
            FaultKind::Unreachable => "no connection, or it broke",
            FaultKind::Certificate => "the certificate of the other side cannot be verified",
            FaultKind::Credentials => "credentials cannot be obtained",
            FaultKind::Local => "a file cannot be read",
            FaultKind::Stopping => "the program is stopping",
        }
    }

    /// What to do, in words.
    pub fn remedy(&self) -> String {
        let text = match self.kind {
            FaultKind::Denied => {
                "check RTMS_S3_ACCESS_KEY_ID, RTMS_S3_SECRET_ACCESS_KEY and what the bucket's policy \
                 allows (s3:PutObject, s3:GetObject, s3:DeleteObject, s3:AbortMultipartUpload)"
            }
            FaultKind::NoBucket => "check RTMS_S3_BUCKET and RTMS_S3_ENDPOINT, or make the bucket",
            FaultKind::WrongRegion => match &self.region {
                Some(region) => return format!("set RTMS_S3_REGION={region}"),
                None => "check RTMS_S3_REGION",
            },
            FaultKind::Skewed => "set the clock (timedatectl set-ntp true)",
            FaultKind::Checksum => "set RTMS_S3_CHECKSUM=off",
            FaultKind::Redirected => "check RTMS_S3_ENDPOINT, RTMS_S3_REGION and RTMS_S3_STYLE",
            FaultKind::Malformed => "check RTMS_S3_ENDPOINT, and what stands between here and it",
            FaultKind::Refused => "see the bucket's message",
            FaultKind::Certificate => {
                "if the endpoint has a private certificate, put its root into RTMS_CA_FILE; else check \
                 the clock and the ca-certificates of this machine"
            }
            FaultKind::Credentials => "check RTMS_S3_CREDENTIALS",
            FaultKind::Local => "check the disk under RTMS_OUT",
            FaultKind::Timeout | FaultKind::Unreachable => {
                "this may pass; if it stays so, check RTMS_S3_ENDPOINT, firewall and HTTPS_PROXY"
            }
            _ => "this may pass",
        };
        text.to_owned()
    }
}

fn kind(status: u16, code: &str, message: &str, has_error: bool) -> FaultKind {
    match code {
        "RequestTimeTooSkewed" => return FaultKind::Skewed,
        "NoSuchBucket" => return FaultKind::NoBucket,
        "NoSuchUpload" => return FaultKind::NoUpload,
        "NoSuchKey" => return FaultKind::NotFound,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => return FaultKind::WrongRegion,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody" => {
            return FaultKind::Differs;
        }
        "SlowDown" | "TooManyRequests" | "RequestLimitExceeded" => return FaultKind::Throttled,
        "InternalError" | "ServiceUnavailable" | "RequestTimeout" => return FaultKind::Server,
        _ => {}
    }
    let names_checksum = || {
        let text = format!("{code} {message}").to_ascii_lowercase();
        text.contains("checksum")
    };
    match status {
        400 | 501 if names_checksum() => FaultKind::Checksum,
        200..=299 if has_error => FaultKind::Server,
        200..=299 => FaultKind::Malformed,
        301 | 307 | 308 if has_error || code.is_empty() => FaultKind::Redirected,
        300..=399 => FaultKind::Redirected,
        401 | 403 => FaultKind::Denied,
        404 if has_error || code.is_empty() => FaultKind::NotFound,
        408 => FaultKind::Server,
        429 => FaultKind::Throttled,
        500..=599 => FaultKind::Server,
        _ => FaultKind::Refused,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.meaning())?;
        let mut facts = Vec::new();
        if let Some(status) = self.status {
            facts.push(format!("status {status}"));
        }
        if !self.code.is_empty() {
            facts.push(self.code.clone());
        }
        if let Some(region) = &self.region {
            facts.push(format!("region {region}"));
        }
        if !self.message.is_empty() {
            facts.push(format!("\"{}\"", self.message.replace('"', "'")));
        }
        if !facts.is_empty() {
            write!(f, " ({})", facts.join(", "))?;
        }
        write!(f, "; {}", self.remedy())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, region: Option<&str>, code: &str, message: &str) -> Fault {
        let error = ErrorBody {
            code: code.to_owned(),
            message: message.to_owned(),
            region: None,
        };
        let error = (!code.is_empty()).then_some(error);
        Fault::of_answer("put object", status, region, error)
    }

    #[test]
    fn every_answer_has_its_kind() {
        use FaultKind as K;
        for (status, code, message, kind, severity) in [
            (403, "AccessDenied", "", K::Denied, Severity::Error),
            (403, "SignatureDoesNotMatch", "", K::Denied, Severity::Error),
            (403, "RequestTimeTooSkewed", "", K::Skewed, Severity::Warn),
            (404, "NoSuchBucket", "", K::NoBucket, Severity::Error),
            (404, "NoSuchUpload", "", K::NoUpload, Severity::Warn),
            (404, "", "", K::NotFound, Severity::Warn),
            (
                301,
                "PermanentRedirect",
                "",
                K::WrongRegion,
                Severity::Error,
            ),
            (
                400,
                "AuthorizationHeaderMalformed",
                "",
                K::WrongRegion,
                Severity::Error,
            ),
            (307, "", "", K::Redirected, Severity::Error),
            (
                400,
                "InvalidRequest",
                "x-amz-checksum-sha256 is not known",
                K::Checksum,
                Severity::Error,
            ),
            (
                501,
                "NotImplemented",
                "Checksum is not implemented",
                K::Checksum,
                Severity::Error,
            ),
            (400, "BadDigest", "", K::Differs, Severity::Warn),
            (400, "EntityTooLarge", "", K::Refused, Severity::Warn),
            (503, "SlowDown", "", K::Throttled, Severity::Warn),
            (500, "InternalError", "", K::Server, Severity::Warn),
            (502, "", "", K::Server, Severity::Warn),
            (200, "InternalError", "", K::Server, Severity::Warn),
            (200, "Odd", "", K::Server, Severity::Warn),
            (200, "", "", K::Malformed, Severity::Warn),
        ] {
            let fault = fault(status, None, code, message);
            assert_eq!((fault.kind, fault.severity()), (kind, severity), "{fault}");
        }
    }

    #[test]
    fn a_fault_says_what_to_do() {
        let region = fault(
            301,
            Some("eu-west-1"),
            "PermanentRedirect",
            "Use another \"endpoint\".\n",
        );
        assert_eq!(
            region.to_string(),
            "put object: the bucket is in another region (status 301, PermanentRedirect, region \
             eu-west-1, \"Use another 'endpoint'.\"); set RTMS_S3_REGION=eu-west-1"
        );
        let checksum = fault(501, None, "NotImplemented", "x-amz-checksum-sha256");
        assert!(checksum.to_string().ends_with("set RTMS_S3_CHECKSUM=off"));
    }
}
