//! Where the keys of the bucket come from, and when they are fetched again.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;

use super::CredentialSource;
use super::fault::{Fault, FaultKind};
use super::sigv4::Credentials;
use crate::clock::now_ms;
use crate::domain::secret::Secret;
use crate::domain::time::parse_unix_ms;
use crate::net::http_agent::AgentOptions;

/// Temporary keys are fetched again so long before they end.
const RENEW_BEFORE_MS: u64 = 300_000;
/// A file is read again after this time: others may have changed it.
const FILE_FOR_MS: u64 = 60_000;
/// For one question to a metadata service, which is on this machine.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
/// Most bytes of a file or an answer.
const BYTES_MAX: u64 = 64 << 10;

const IMDS: &str = "http://169.254.169.254";
const ECS: &str = "http://169.254.170.2";

const CALL: &str = "get credentials";

/// Keys, fetched when they are needed and kept until they end.
#[derive(Debug)]
pub struct Provider {
    source: CredentialSource,
    /// Where the metadata service is.
    metadata: &'static str,
    kept: Mutex<Option<Kept>>,
    agent: Mutex<Option<Agent>>,
    is_stopping: AtomicBool,
}

#[derive(Debug, Clone)]
struct Kept {
    credentials: Credentials,
    /// Unix milliseconds; `None` for ever.
    until_ms: Option<u64>,
}

/// Keys as both metadata services give them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Provider {
    /// Nothing is fetched yet.
    pub fn new(source: CredentialSource) -> Provider {
        let metadata = match source {
            CredentialSource::Ecs { .. } => ECS,
            _ => IMDS,
        };
        Provider {
            source,
            metadata,
            kept: Mutex::new(None),
            agent: Mutex::new(None),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Ends a question under way.
    pub fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agent.take() {
            agent.shutdown();
        }
    }

    /// Keys that are good now.
    ///
    /// # Errors
    /// Why there are none.
    pub fn get(&self) -> Result<Credentials, Fault> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now_ms();
        let is_good = |kept: &Kept| kept.until_ms.is_none_or(|until| now < until);
        if let Some(kept) = kept.as_ref().filter(|kept| is_good(kept)) {
            return Ok(kept.credentials.clone());
        }
        let fresh = self.fetch(now).map_err(|text| {
            let kind = match self.is_stopping.load(Relaxed) {
                true => FaultKind::Stopping,
                false => FaultKind::Credentials,
            };
            Fault::new(kind, CALL, text)
        })?;
        Ok(kept.insert(fresh).credentials.clone())
    }

    fn fetch(&self, now: u64) -> Result<Kept, String> {
        match &self.source {
            CredentialSource::Static {
                access_key_id,
                secret_access_key,
                session_token,
            } => Ok(Kept {
                credentials: Credentials {
                    access_key_id: access_key_id.expose().to_owned(),
                    secret_access_key: secret_access_key.clone(),
                    session_token: session_token.clone(),
                },
                until_ms: None,
            }),
            CredentialSource::File { path, profile } => Ok(Kept {
                credentials: of_file(&read(path)?, profile)?,
                until_ms: Some(now + FILE_FOR_MS),
            }),
            CredentialSource::Ecs { path } => {
                let text = self.ask("GET", path, None)?;
                of_answer(&text, now)
            }
            CredentialSource::Imds => self.fetch_imds(now),
        }
    }

    /// Version 2: a token first, then the name of the role, then its keys.
    fn fetch_imds(&self, now: u64) -> Result<Kept, String> {
        const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
        let ttl = ("X-aws-ec2-metadata-token-ttl-seconds", "21600");
        let token = self.ask("PUT", "/latest/api/token", Some(ttl))?;
        let token = Some(("X-aws-ec2-metadata-token", token.trim()));
        let roles = self.ask("GET", ROLES, token)?;
        let role = roles.lines().next().unwrap_or_default().trim();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
        if role.is_empty() || !role.chars().all(is_plain) {
            return Err("this machine has no role".to_owned());
        }
        let text = self.ask("GET", &format!("{ROLES}{role}"), token)?;
        of_answer(&text, now)
    }

    /// Never through a proxy.
    fn ask(
        &self,
        method: &str,
        path: &str,
        header: Option<(&str, &str)>,
    ) -> Result<String, String> {
        let agent = {
            let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_stopping.load(Relaxed) {
                return Err(String::new());
            }
            let options = AgentOptions {
                proxy: None,
                further_roots: None,
                timeout: Some(METADATA_TIMEOUT),
                connect_timeout: METADATA_TIMEOUT,
                idle_connections: 1,
                buffer_bytes: 4096,
            };
            agent.get_or_insert_with(|| options.build()).clone()
        };
        let url = format!("{}{path}", self.metadata);
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let failed = |what: String| format!("the metadata service {what}");
        let answer = match method {
            "PUT" => request.body(Vec::new()).map(|request| agent.run(request)),
            _ => request.body(()).map(|request| agent.run(request)),
        };
        let answer =
            answer.map_err(|_| failed("gave a token that fits into no request".to_owned()))?;
        let mut answer = answer.map_err(|error| failed(format!("gave no answer: {error}")))?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(failed(format!("answered with status {status}")));
        }
        let body = answer
            .body_mut()
            .with_config()
            .limit(BYTES_MAX)
            .read_to_string();
        body.map_err(|error| failed(format!("gave no answer: {error}")))
    }
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error| format!("{} cannot be read: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

/// The keys of a profile, in the form of `~/.aws/credentials`.
fn of_file(text: &str, profile: &str) -> Result<Credentials, String> {
    let (mut id, mut secret, mut token) = (None, None, None);
    let mut is_ours = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            // `~/.aws/config` writes "profile NAME".
            let name = name.trim();
            is_ours = name.strip_prefix("profile ").unwrap_or(name).trim() == profile;
        } else if let Some((key, value)) = line.split_once('=')
            && is_ours
            && !line.starts_with(['#', ';'])
        {
            let value = value.trim().to_owned();
            match key.trim() {
                "aws_access_key_id" => id = Some(value),
                "aws_secret_access_key" => secret = Some(value),
                "aws_session_token" => token = Some(value),
                _ => {}
            }
        }
    }
    match (id, secret) {
        (Some(access_key_id), Some(secret)) => Ok(Credentials {
            access_key_id,
            secret_access_key: Secret::new(secret),
            session_token: token.map(Secret::new),
        }),
        _ => Err(format!(
            "found no aws_access_key_id and aws_secret_access_key of the profile {profile:?}"
        )),
    }
}

fn of_answer(text: &str, now: u64) -> Result<Kept, String> {
    let answer: Answer =
        serde_json::from_str(text).map_err(|_| "the metadata service gave no keys".to_owned())?;
    let end_ms = answer.expiration.as_deref().and_then(parse_unix_ms);
    // Without a readable end they are asked for again soon.
    let until_ms = end_ms.map_or(now + FILE_FOR_MS, |end| end.saturating_sub(RENEW_BEFORE_MS));
    Ok(Kept {
        credentials: Credentials {
            access_key_id: answer.access_key_id,
            secret_access_key: Secret::new(answer.secret_access_key),
            session_token: answer.token.map(Secret::new),
        },
        until_ms: Some(until_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    fn keys(credentials: &Credentials) -> (&str, &str, Option<&str>) {
        (
            &credentials.access_key_id,
            credentials.secret_access_key.expose(),
            credentials.session_token.as_ref().map(Secret::expose),
        )
    }

    #[test]
    fn a_file_of_profiles() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=B=\n\n[profile zoom]\n\
                    # aws_access_key_id = X\naws_access_key_id=C\naws_secret_access_key = D\n\
                    aws_session_token = E\nregion = x\n[half]\naws_access_key_id=F\n";
        let found = of_file(text, "default").expect("keys");
        assert_eq!(keys(&found), ("A", "B=", None));
        let found = of_file(text, "zoom").expect("keys");
        assert_eq!(keys(&found), ("C", "D", Some("E")));
        for profile in ["half", "other", ""] {
            assert!(of_file(text, profile).is_err(), "{profile}");
        }
    }

    /// Answers the paths of both metadata services, and takes down what was asked.
    fn metadata() -> (&'static str, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let thread = thread::spawn(move || {
            let mut asked = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                let (mut head, mut line) = (String::new(), String::new());
                while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                    head += &std::mem::take(&mut line);
                }
                let request = head.lines().next().unwrap_or_default().to_owned();
                let has = |text: &str| head.to_ascii_lowercase().contains(text);
                let keys = r#"{"AccessKeyId":"A","SecretAccessKey":"B","Token":"C","Expiration":"2100-01-01T00:00:00Z"}"#;
                let (status, body) = match request.split(' ').nth(1).unwrap_or_default() {
                    "/latest/api/token" if has("token-ttl-seconds: 21600") => (200, "the-token"),
                    "/ecs" => (200, keys),
                    _ if !has("x-aws-ec2-metadata-token: the-token") => (401, ""),
                    "/latest/meta-data/iam/security-credentials/" => (200, "my-role"),
                    "/latest/meta-data/iam/security-credentials/my-role" => (200, keys),
                    _ => (404, ""),
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes());
                asked.push(request.clone());
                if request.contains("my-role") || request.contains("ecs") {
                    return asked;
                }
            }
            asked
        });
        (format!("http://{address}").leak(), thread)
    }

    #[test]
    fn u8_imds_is_asked_in_its_second_version_and_keys_are_kept() {
        let (metadata, thread) = metadata();
        let provider = Provider {
            metadata,
            ..Provider::new(CredentialSource::Imds)
        };
        let found = provider.get().expect("keys");
        assert_eq!(keys(&found), ("A", "B", Some("C")));
        let asked = thread.join().expect("the service");
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert!(asked[0].starts_with("PUT /latest/api/token "));
        // The service is gone; the keys are good until 2100.
        assert!(provider.get().is_ok());
    }

    #[test]
    fn u8_a_container_is_asked_at_its_path() {
        let (metadata, thread) = metadata();
        let source = CredentialSource::Ecs {
            path: "/ecs".to_owned(),
        };
        let provider = Provider {
            metadata,
            ..Provider::new(source)
        };
        assert_eq!(keys(&provider.get().expect("keys")), ("A", "B", Some("C")));
        assert_eq!(thread.join().expect("the service").len(), 1);
    }

    #[test]
    fn keys_are_renewed_five_minutes_before_they_end() {
        let answer =
            r#"{"AccessKeyId":"A","SecretAccessKey":"B","Expiration":"2026-11-24T14:13:10Z"}"#;
        let kept = of_answer(answer, 7).expect("keys");
        assert_eq!(kept.until_ms, Some(1_795_529_590_000 - 300_000));
        assert!(of_answer("{}", 7).is_err() && of_answer("<html>", 7).is_err());
        let odd = answer.replace("2026-11-24T14:13:10Z", "soon");
        assert_eq!(of_answer(&odd, 7).expect("keys").until_ms, Some(60_007));
    }
}
