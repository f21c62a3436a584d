//! The control socket: commands such as `rtmsd stop` have the running server make their REST calls.
//!
//! A refresh token belongs to one process, so with `ZOOM_REFRESH_TOKEN` a second process cannot
//! call Zoom while the server runs. The socket is in the state directory, which only the server's
//! user and root may enter (mode 0700), and has mode 0600 itself: who can connect could read the
//! tokens too. A browser cannot reach it. A request is one line of JSON, an answer is another, and
//! then the connection ends.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::daemon::Handle;
use crate::domain::product::Product;
use crate::domain::rest::{ControlRequest, RestAction};
use crate::log::app::inherit;
use crate::source::authorization::{Progress, RANDOM_BYTES};
use crate::zoom_api::{Error, GrantStatus, OnlineCheck, UserGrant};

/// Its name in the state directory.
pub const NAME: &str = "control.sock";

/// Time limit for a request, which is one short line written at once.
const REQUEST_MAX: Duration = Duration::from_secs(2);
/// Time limit for the daemon, which answers in milliseconds.
const DAEMON_MAX: Duration = Duration::from_secs(5);
/// Time limit for an answer: two token requests and two calls, each ten seconds at most, and those
/// of one client before us.
const ANSWER_MAX: Duration = Duration::from_secs(90);
/// A request holds three ids; an answer holds a message of Zoom's, which is cut before, or the scopes of
/// a token, or of all grants, of which there can be a thousand.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// The action of a question that is no REST call: what `rtmsd check --online` looks at.
const CHECK: &str = "check";
/// The action of the questions of `rtmsd authorize`.
const AUTHORIZE: &str = "authorize";
/// The action of a question that is no REST call: who has authorized the app.
const ACCOUNTS: &str = "accounts";
/// The thread may be in a call when the server ends; the end of the REST client aborts it.
const JOIN_MAX: Duration = Duration::from_secs(2);
/// For a REST call, as on the server's own REST threads.
const STACK_BYTES: usize = 512 << 10;

/// The request, in the words of the command line.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    action: String,
    #[serde(default)]
    product: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    participant_user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    /// For the action `authorize`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authorize: Option<AuthorizeQuestion>,
}

/// What `rtmsd authorize` asks the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorizeQuestion {
    /// Is anybody there?
    Hello,
    /// Begin one: where does the person have to go?
    Begin,
    /// Has someone come back?
    Poll {
        /// Which one.
        state: String,
    },
    /// This was pasted, or came to the command's loopback port.
    Paste {
        /// Which one.
        state: String,
        /// The text.
        text: String,
    },
}

/// The server's answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorizeAnswer {
    /// To `Hello`.
    Hello,
    /// The address of Zoom's page.
    Begun {
        /// The address.
        address: String,
        /// Which one it is.
        state: String,
    },
    /// No answer has come back.
    Waiting,
    /// Whether it belongs to that authorization.
    Pasted {
        /// Whether it does.
        is_ours: bool,
    },
    /// Authorized; the token is in use.
    Done(UserGrant),
    /// The person, or Zoom, refused.
    Refused {
        /// Why.
        why: String,
    },
    /// There is no such authorization, or it is used or old.
    Unknown,
    /// It failed.
    Failed {
        /// The command's exit code.
        exit_code: u8,
        /// One line for the user.
        text: String,
    },
}

impl Question {
    fn new(request: &ControlRequest) -> Question {
        Question {
            action: request.action.name().to_owned(),
            product: request.product.name().to_owned(),
            id: request.id.clone(),
            participant_user_id: request.participant_user_id.clone(),
            account_id: request.account_id.clone(),
            authorize: None,
        }
    }

    fn check() -> Question {
        Question::about(CHECK)
    }

    fn authorize(question: AuthorizeQuestion) -> Question {
        Question {
            authorize: Some(question),
            ..Question::about(AUTHORIZE)
        }
    }

    /// A question that is no REST call.
    fn about(action: &str) -> Question {
        Question {
            action: action.to_owned(),
            product: String::new(),
            id: String::new(),
            participant_user_id: None,
            account_id: None,
            authorize: None,
        }
    }

    fn request(self) -> Option<ControlRequest> {
        Some(ControlRequest {
            action: RestAction::from_name(&self.action)?,
            product: Product::from_name(&self.product)?,
            id: self.id,
            participant_user_id: self.participant_user_id,
            account_id: self.account_id,
            host_id: None,
        })
    }
}

/// The result of a call that the server made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The command's exit code: 0, or the exit code of the failure.
    pub exit_code: u8,
    /// The failure, if the call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Why a call failed, in the form of `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of the error.
    pub error: String,
    /// Whether a retry may help.
    pub class: String,
    /// The HTTP status.
    pub status: Option<u16>,
    /// Zoom's code.
    pub code: Option<i64>,
    /// One line for the user.
    pub message: String,
}

impl Answer {
    /// The answer for a call with this result.
    pub fn new(result: &Result<(), Error>) -> Answer {
        match result {
            Ok(()) => Answer {
                exit_code: 0,
                failure: None,
            },
            Err(error) => Answer {
                exit_code: error.exit_code(),
                failure: Some(Failure {
                    error: error.kind().name().to_owned(),
                    class: error.class().name().to_owned(),
                    status: error.status(),
                    code: error.code(),
                    message: error.to_string(),
                }),
            },
        }
    }

    /// The server cannot make the call at all.
    fn unavailable(message: &str) -> Answer {
        Answer::failed(69, "server_unavailable", "retry", message.to_owned())
    }

    /// This user may not enter the state directory.
    pub fn forbidden(request: &ControlRequest, state: &Path) -> Answer {
        let message = format!(
            "{} {} {}: the refresh token is in {}, which this user may not enter; run this command \
             as root (sudo) or as the user of the server",
            request.action.name(),
            request.product.name(),
            request.id,
            state.display()
        );
        Answer::failed(77, "state_forbidden", "give_up", message)
    }

    fn failed(exit_code: u8, error: &str, class: &str, message: String) -> Answer {
        Answer {
            exit_code,
            failure: Some(Failure {
                error: error.to_owned(),
                class: class.to_owned(),
                status: None,
                code: None,
                message,
            }),
        }
    }
}

/// The running socket. Dropping it deletes it and joins its thread.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    /// The thread's listener, to wake the thread.
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
}

impl ControlSocket {
    /// Serves requests in this state directory, which this process must have locked.
    ///
    /// # Errors
    /// If the path is too long for a socket (107 bytes), or a socket or thread cannot be created.
    pub fn start(state: &Path, daemon: Handle) -> io::Result<ControlSocket> {
        let path = state.join(NAME);
        // Left by an earlier process; we hold the lock on the directory, so that process has ended.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let accepting = listener.try_clone()?;
        let thread = Builder::new()
            .name("control".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(inherit(move || {
                while let Ok((stream, _)) = accepting.accept() {
                    // A command that was interrupted does not read its answer.
                    let _ = serve(&stream, &daemon);
                }
            }))?;
        Ok(ControlSocket {
            path,
            listener,
            thread: Some(thread),
        })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // Ends accept(2) in the thread.
        let _ = shutdown(&self.listener, Shutdown::Both);
        let Some(thread) = self.thread.take() else {
            return;
        };
        let deadline = Instant::now() + JOIN_MAX;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: &UnixStream, daemon: &Handle) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_MAX))?;
    stream.set_write_timeout(Some(REQUEST_MAX))?;
    const SILENT: &str = "the server is stopping or does not answer";
    let question: Question = serde_json::from_str(&read_line(stream)?)?;
    if question.action == CHECK {
        let line = match daemon.check_online(DAEMON_MAX) {
            Some(found) => serde_json::to_string(&found),
            None => serde_json::to_string(&Answer::unavailable(SILENT)),
        };
        return write_line(stream, &line?);
    }
    if question.action == ACCOUNTS {
        let line = match daemon.api(DAEMON_MAX) {
            Some(api) => {
                // Another node of the fleet may know of more.
                api.share_grants();
                serde_json::to_string(&api.grant_status())
            }
            None => serde_json::to_string(&Answer::unavailable(SILENT)),
        };
        return write_line(stream, &line?);
    }
    if let Some(question) = &question.authorize {
        let answer = answer_authorize(question, daemon);
        return write_line(stream, &serde_json::to_string(&answer)?);
    }
    let answer = match question.request() {
        None => Answer::unavailable("the server has another version; restart it"),
        Some(request) => match daemon.control(&request, DAEMON_MAX) {
            Some(result) => Answer::new(&result),
            None => Answer::unavailable(SILENT),
        },
    };
    write_line(stream, &serde_json::to_string(&answer)?)
}

fn answer_authorize(question: &AuthorizeQuestion, daemon: &Handle) -> AuthorizeAnswer {
    let failed = |exit_code: u8, text: &str| AuthorizeAnswer::Failed {
        exit_code,
        text: text.to_owned(),
    };
    let (open, now) = (daemon.authorizations(), Instant::now());
    match question {
        AuthorizeQuestion::Hello => AuthorizeAnswer::Hello,
        AuthorizeQuestion::Begin => {
            let Some(api) = daemon.api(DAEMON_MAX) else {
                return failed(69, "the server is stopping or does not answer");
            };
            let mut random = [0; RANDOM_BYTES];
            if let Err(error) = openssl::rand::rand_bytes(&mut random) {
                return failed(70, &error.to_string());
            }
            let begun = open.begin(now, &random);
            match api.authorization_address(&begun.state, &begun.challenge) {
                Some(address) => AuthorizeAnswer::Begun {
                    address,
                    state: begun.state,
                },
                None => failed(
                    78,
                    "the running server was not given ZOOM_REDIRECT_URL; reload it first (SIGHUP)",
                ),
            }
        }
        AuthorizeQuestion::Paste { state, text } => AuthorizeAnswer::Pasted {
            is_ours: open.paste(now, state, text),
        },
        AuthorizeQuestion::Poll { state } => match open.take(now, state) {
            Progress::Waiting => AuthorizeAnswer::Waiting,
            Progress::Refused(why) => AuthorizeAnswer::Refused { why },
            Progress::Unknown => AuthorizeAnswer::Unknown,
            Progress::Code(code) => match daemon.authorize(&code, DAEMON_MAX) {
                Some(Ok(grant)) => AuthorizeAnswer::Done(grant),
                Some(Err(error)) => failed(error.exit_code(), &error.to_string()),
                None => failed(69, "the server is stopping or does not answer"),
            },
        },
    }
}

/// Asks the running server about an authorization; `None` if none serves this state directory.
///
/// # Errors
/// As those of [`ask`], and a server of an earlier version.
pub fn authorize(state: &Path, question: AuthorizeQuestion) -> io::Result<Option<AuthorizeAnswer>> {
    answer(state, &Question::authorize(question))
}

/// Whether a server of this version answers in this state directory.
///
/// # Errors
/// As those of [`authorize`].
pub fn is_served(state: &Path) -> io::Result<bool> {
    Ok(authorize(state, AuthorizeQuestion::Hello)?.is_some())
}

/// Asks the running server to make a call; `None` if none serves this state directory.
///
/// # Errors
/// If this user may not enter the directory, or the server ends or hangs meanwhile.
pub fn ask(state: &Path, request: &ControlRequest) -> io::Result<Option<Answer>> {
    answer(state, &Question::new(request))
}

/// Has the running server look at Zoom; `None` if none serves this state directory.
///
/// # Errors
/// As those of [`ask`], and a server of an earlier version.
pub fn check_online(state: &Path) -> io::Result<Option<OnlineCheck>> {
    answer(state, &Question::check())
}

/// Who has authorized the app, as the running server knows it; `None` if none serves this state directory.
///
/// # Errors
/// As those of [`ask`], and a server of an earlier version.
pub fn accounts(state: &Path) -> io::Result<Option<Vec<GrantStatus>>> {
    answer(state, &Question::about(ACCOUNTS))
}

fn answer<A: DeserializeOwned>(state: &Path, question: &Question) -> io::Result<Option<A>> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let stream = match UnixStream::connect(state.join(NAME)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(REQUEST_MAX))?;
    write_line(&stream, &serde_json::to_string(question)?)?;
    Ok(Some(serde_json::from_str(&read_line(&stream)?)?))
}

fn read_line(stream: &UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line)?;
    Ok(line)
}

fn write_line(mut stream: &UnixStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_unchanged_by_the_socket() {
        for product in Product::ALL {
            for action in RestAction::ALL {
                let mut request = ControlRequest::new(action, product, "a/b=\n");
                request.participant_user_id = Some("p".to_owned());
                request.account_id = Some("acc1".to_owned());
                let line = serde_json::to_string(&Question::new(&request)).expect("JSON");
                assert!(!line.contains('\n'), "{line}");
                let read: Question = serde_json::from_str(&line).expect("a question");
                assert_eq!(read.request(), Some(request));
            }
        }
        let unknown = r#"{"action":"rewind","product":"meeting","id":"1"}"#;
        let read: Question = serde_json::from_str(unknown).expect("a question");
        assert_eq!(read.request(), None);
        // What a server of an earlier version says to it.
        assert_eq!(Question::check().request(), None);
    }

    #[test]
    fn without_a_server_there_is_no_answer() {
        let folder = crate::testing::scratch("ask");
        let request = ControlRequest::new(RestAction::Stop, Product::Meeting, "1");
        assert_eq!(ask(&folder, &request).expect("no fault"), None);
        assert_eq!(check_online(&folder).expect("no fault"), None);
        // A server that crashed leaves its socket.
        drop(UnixListener::bind(folder.join(NAME)).expect("a socket"));
        assert_eq!(ask(&folder, &request).expect("no fault"), None);
    }
}
