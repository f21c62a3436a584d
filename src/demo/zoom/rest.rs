//! The demo's HTTP side: the token endpoint and the REST control of every product, on loopback.
//!
//! It checks each request strictly and gives scripted answers; `meeting` carries out `start` and
//! `stop`.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::http;
use super::http::HttpMessage;
use super::oauth::{consent_page, percent_decode};
use super::record::{Step, lock};
use super::shared::{Shared, hmac_hex};
use crate::demo::player::Meeting;
use crate::demo::player::script::{DemoProduct, End};

/// One HTTP request and its result.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it arrived.
    pub at: Instant,
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The `action` of REST control, or the `grant_type` of a token request; otherwise empty.
    pub action: String,
    /// The meeting number or other id in the path; empty for token requests.
    pub target: String,
    /// The status of the answer; 0 without one.
    pub status: u16,
}

/// A scripted answer instead of the regular one.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A status with a JSON body and further headers.
    Json(u16, Value, Vec<(String, String)>),
    /// A status with a proxy's HTML page.
    Html(u16),
    /// A status with a body that is shorter than its length.
    Truncated(u16),
    /// A TCP reset instead of an answer.
    Reset,
    /// No answer for this time, then the connection is closed.
    Hang(Duration),
    /// The regular answer, after this time.
    Late(Duration),
    /// The request is carried out, but the connection is reset instead of an answer.
    Lost,
}

impl Answer {
    /// Zoom's form of an error.
    pub fn error(status: u16, code: u32, message: &str) -> Answer {
        Answer::Json(
            status,
            json!({"code": code, "message": message}),
            Vec::new(),
        )
    }

    /// 429 with `Retry-After` in seconds.
    pub fn retry_after_seconds(seconds: u64) -> Answer {
        Answer::too_many(seconds.to_string())
    }

    /// 429 with `Retry-After` as a date.
    pub fn retry_after_date(at: SystemTime) -> Answer {
        Answer::too_many(httpdate::fmt_http_date(at))
    }

    fn too_many(retry_after: String) -> Answer {
        Answer::Json(
            429,
            json!({"code": 429, "message": "You have reached the maximum per-second rate limit"}),
            vec![("Retry-After".to_owned(), retry_after)],
        )
    }
}

/// Scripted answers that are still to be given, and the requests so far.
#[derive(Default)]
pub(in crate::demo) struct Rest {
    pub(in crate::demo) control_script: Vec<(Option<String>, Answer)>,
    pub(in crate::demo) token_script: Vec<Answer>,
    pub(in crate::demo) control_calls: Vec<Call>,
    pub(in crate::demo) token_calls: Vec<Call>,
}

/// Serves one TCP connection until it closes.
pub(in crate::demo) fn serve(shared: &Arc<Shared>, mut stream: TcpStream) {
    let idle = Duration::from_secs(60);
    let is_set = stream.set_nonblocking(false).is_ok()
        && stream.set_nodelay(true).is_ok()
        && stream.set_read_timeout(Some(idle)).is_ok()
        && stream
            .set_write_timeout(Some(Duration::from_secs(5)))
            .is_ok();
    let (Ok(copy), true) = (stream.try_clone(), is_set) else {
        return;
    };
    let id = shared.next_id();
    lock(&shared.http_streams).insert(id, copy);
    while let Ok(Some(request)) = http::read(&mut stream, Instant::now() + idle) {
        if shared.is_stopping() || !answer(shared, &mut stream, &request) {
            break;
        }
    }
    lock(&shared.http_streams).remove(&id);
}

/// Answers one request; `false` ends the connection.
fn answer(shared: &Arc<Shared>, stream: &mut TcpStream, request: &HttpMessage) -> bool {
    let [method, path, _] = &request.line;
    if path.starts_with("/oauth/authorize") || path.starts_with("/oauth/consent") {
        // A page is read to the end of its connection.
        let _ = answer_consent(shared, stream, path);
        return false;
    }
    let is_token = path.starts_with("/oauth/token");
    let mut call = Call {
        at: Instant::now(),
        method: method.clone(),
        path: path.clone(),
        action: String::new(),
        target: String::new(),
        status: 0,
    };
    let control = if is_token {
        let form = String::from_utf8_lossy(&request.body).into_owned();
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').chain(form.split('&'));
        call.action = pairs
            .into_iter()
            .find_map(|pair| pair.strip_prefix("grant_type="))
            .unwrap_or_default()
            .to_owned();
        None
    } else {
        let control = Control::parse(path);
        call.target = control.as_ref().map_or(String::new(), |c| c.id.clone());
        call.action = serde_json::from_slice::<Value>(&request.body)
            .ok()
            .and_then(|body| body["action"].as_str().map(str::to_owned))
            .unwrap_or_default();
        control
    };
    let scripted = {
        let mut rest = lock(&shared.rest);
        if is_token {
            (!rest.token_script.is_empty()).then(|| rest.token_script.remove(0))
        } else {
            let place = rest
                .control_script
                .iter()
                .position(|(target, _)| target.as_ref().is_none_or(|t| *t == call.target));
            place.map(|place| rest.control_script.remove(place).1)
        }
    };
    let record = |mut call: Call, status: u16| {
        call.status = status;
        let mut rest = lock(&shared.rest);
        if is_token {
            rest.token_calls.push(call);
        } else {
            rest.control_calls.push(call);
        }
    };
    let mut then: Option<Callback> = None;
    let mut is_lost = false;
    let (status, body, headers) = match scripted {
        Some(Answer::Json(status, body, headers)) => (status, Some(body.to_string()), headers),
        Some(Answer::Html(status)) => {
            record(call, status);
            let page =
                "<html><head><title>Proxy</title></head><body><h1>Bad gateway</h1></body></html>";
            return write_answer(stream, status, "text/html", Some(page), &[], false).is_ok();
        }
        Some(Answer::Truncated(status)) => {
            record(call, status);
            let _ = write_answer(
                stream,
                status,
                "application/json",
                Some(r#"{"code":30"#),
                &[],
                true,
            );
            return false;
        }
        Some(Answer::Reset) => {
            record(call, 0);
            let _ = rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO));
            return false;
        }
        Some(Answer::Hang(length)) => {
            record(call, 0);
            // The read ends early when the client or the demo closes.
            let _ = stream.set_read_timeout(Some(length.max(Duration::from_millis(1))));
            let _ = std::io::Read::read(stream, &mut [0]);
            return false;
        }
        late => {
            is_lost = late == Some(Answer::Lost);
            if let Some(Answer::Late(length)) = late {
                std::thread::sleep(length);
            }
            let (status, body, what) = if is_token {
                let basic = request.header("authorization").unwrap_or_default();
                let (status, body) = lock(&shared.oauth).answer(
                    basic,
                    path.split_once('?').map_or("", |(_, query)| query),
                    &request.body,
                );
                (status, Some(body), None)
            } else {
                control_answer(shared, request, control)
            };
            then = what;
            (status, body.map(|body| body.to_string()), Vec::new())
        }
    };
    record(call, status);
    let is_written = if is_lost {
        let _ = rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO));
        false
    } else {
        let content_type = "application/json;charset=UTF-8";
        write_answer(
            stream,
            status,
            content_type,
            body.as_deref(),
            &headers,
            false,
        )
        .is_ok()
    };
    if let Some(then) = then {
        then(shared);
    }
    is_written
}

/// The consent page, and what its links lead to.
fn answer_consent(shared: &Shared, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if let Some(fault) = lock(&shared.oauth).consent_fault(query) {
        shared.violation(format!("authorization page: {fault}"));
        let page = format!("<!doctype html><p>Invalid request: {fault}</p>");
        return write_answer(stream, 400, "text/html", Some(&page), &[], false);
    }
    if path == "/oauth/authorize" {
        let page = consent_page(query);
        return write_answer(stream, 200, "text/html", Some(&page), &[], false);
    }
    let allows = query.ends_with("&answer=allow");
    let own = &shared.options.account_id;
    let location = lock(&shared.oauth).consent(own, query, allows);
    let location = location.unwrap_or_default();
    let headers = [("Location".to_owned(), location)];
    write_answer(stream, 302, "text/plain", Some(""), &headers, false)
}

fn write_answer(
    stream: &mut TcpStream,
    status: u16,
    content_type: &str,
    body: Option<&str>,
    headers: &[(String, String)],
    is_truncated: bool,
) -> std::io::Result<()> {
    let mut text = format!(
        "HTTP/1.1 {status} {}\r\nDate: {}\r\nx-zm-trackingid: demo\r\n",
        match status {
            200 => "OK",
            204 => "No Content",
            302 => "Found",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            429 => "Too Many Requests",
            _ => "Status",
        },
        httpdate::fmt_http_date(SystemTime::now())
    );
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        let length = body.len() + if is_truncated { 100 } else { 0 };
        text.push_str(&format!(
            "Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    } else {
        text.push_str("\r\n");
    }
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// The parts of a path of REST control.
struct Control {
    product: DemoProduct,
    id: String,
}

impl Control {
    fn parse(path: &str) -> Option<Control> {
        let path = path.split('?').next()?.strip_prefix("/v2/")?;
        let path = path.strip_suffix("/rtms_app/status")?;
        let (product, id) = if let Some(id) = path.strip_prefix("live_meetings/") {
            (DemoProduct::Meeting, id.to_owned())
        } else if let Some(id) = path.strip_prefix("videosdk/sessions/") {
            // An id with a slash is encoded twice, any other once or not at all.
            let once = percent_decode(id, false);
            let is_twice = once.to_ascii_uppercase().contains("%2F");
            let id = match is_twice {
                true => percent_decode(&once, false),
                false if once.contains('/') => return None,
                false => once,
            };
            (DemoProduct::Session, id)
        } else if let Some(id) = path.strip_prefix("contact_center/") {
            (DemoProduct::ContactCenter, percent_decode(id, false))
        } else {
            let id = path.strip_prefix("phone/calls/")?;
            (DemoProduct::Phone, percent_decode(id, false))
        };
        Some(Control { product, id })
    }
}

type Callback = Box<dyn FnOnce(&Arc<Shared>)>;
type Judged = (u16, Option<Value>, Option<Callback>);

fn error(status: u16, code: u32, message: &str) -> Judged {
    (
        status,
        Some(json!({"code": code, "message": message})),
        None,
    )
}

/// The regular answer to a request of REST control, and what happens once it is sent.
fn control_answer(shared: &Arc<Shared>, request: &HttpMessage, control: Option<Control>) -> Judged {
    let [method, path, _] = &request.line;
    if method == "GET" && path == "/v2/users/me" {
        return who_answer(shared, request);
    }
    let Some(control) = control else {
        shared.violation(format!("REST: no such path: {method} {path}"));
        return error(404, 2300, "This API endpoint is not recognized.");
    };
    let expected = match control.product {
        DemoProduct::ContactCenter => "PUT",
        _ => "PATCH",
    };
    if method != expected {
        shared.violation(format!(
            "REST {path}: found method {method}, expected {expected}"
        ));
        return error(405, 405, "Method not supported.");
    }
    let token = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let Some(token) = token else {
        shared.violation(format!("REST {path}: no bearer token"));
        return error(401, 124, "Invalid access token.");
    };
    let is_jwt = control.product == DemoProduct::Session && is_jwt_valid(shared, token);
    if !is_jwt && !lock(&shared.oauth).is_valid(token) {
        return error(401, 124, "Invalid access token.");
    }
    let is_json = request
        .header("content-type")
        .is_some_and(|value| value.starts_with("application/json"));
    if !is_json {
        shared.violation(format!(
            "REST {path}: found content type {:?}, expected application/json",
            request.header("content-type")
        ));
    }
    let body = serde_json::from_slice::<Value>(&request.body).unwrap_or(Value::Null);
    if let Some(fault) = body_fault(shared, &control, &body) {
        shared.violation(format!("REST {path}: {fault}"));
        return error(400, 300, "Request Body should be a valid JSON object.");
    }
    let meeting = {
        let meetings = lock(&shared.meetings);
        match control.product {
            DemoProduct::Meeting => control
                .id
                .parse()
                .ok()
                .and_then(|number: u64| meetings.by_number.get(&number).cloned()),
            _ => meetings.by_id.get(&control.id).cloned(),
        }
    };
    match meeting {
        Some(meeting) if meeting.is_live() => {
            let of_meeting = shared.account_of(&meeting.script);
            let of_token = lock(&shared.oauth).account_of(token);
            if let Some(of_token) = of_token.filter(|account| account != of_meeting) {
                shared.violation(format!(
                    "REST {path}: found a token of account {of_token}, expected one of {of_meeting}"
                ));
                return error(404, 3001, "Meeting does not exist.");
            }
            act(shared, meeting, body["action"].as_str().unwrap_or_default())
        }
        _ => error(404, 3001, "Meeting does not exist."),
    }
}

/// The owner of a token: `check --online` asks for it to test the token.
fn who_answer(shared: &Shared, request: &HttpMessage) -> Judged {
    let token = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    match token {
        Some(token) if lock(&shared.oauth).is_valid(token) => {
            (200, Some(lock(&shared.oauth).me(token)), None)
        }
        _ => error(401, 124, "Invalid access token."),
    }
}

fn act(shared: &Arc<Shared>, meeting: Arc<Meeting>, action: &str) -> Judged {
    let then: Callback = match action {
        "start" if !meeting.is_host_there() => {
            return error(400, 2308, "User is not allowed to do this in this meeting.");
        }
        "start" => {
            meeting.step(Step::StartCalled);
            if !meeting.reserve_stream() {
                shared.violation(format!(
                    "REST start for {}, which has a stream already",
                    meeting.script.id
                ));
                return (204, None, None);
            }
            Box::new(move |shared| {
                let delay = meeting.script.start_delay;
                if delay.is_zero() {
                    meeting.open_stream(shared);
                } else {
                    let again = Arc::clone(shared);
                    shared
                        .clock
                        .after(delay, move || meeting.open_stream(&again));
                }
            })
        }
        "stop" => {
            meeting.step(Step::StopCalled);
            Box::new(move |shared| meeting.end(shared, End::stopped(2)))
        }
        "pause" => Box::new(move |_| meeting.tell_state(5)),
        "resume" => Box::new(move |_| meeting.tell_state(6)),
        _ => return error(400, 300, "Invalid action."),
    };
    (204, None, Some(then))
}

fn body_fault(shared: &Shared, control: &Control, body: &Value) -> Option<String> {
    let Some(object) = body.as_object() else {
        return Some("the body is not a JSON object".to_owned());
    };
    for key in object.keys() {
        if key != "action" && key != "settings" {
            return Some(format!("unknown key {key:?} in the body"));
        }
    }
    match body["action"].as_str() {
        Some("start" | "stop" | "pause" | "resume") => {}
        _ => return Some(format!("found action {}", body["action"])),
    }
    let Some(settings) = body.get("settings") else {
        return (control.product != DemoProduct::Phone).then(|| "settings are missing".to_owned());
    };
    let expected = match control.product {
        DemoProduct::Session => [&shared.options.sdk_key, &shared.options.client_id],
        _ => [&shared.options.client_id, &shared.options.client_id],
    };
    match settings["client_id"].as_str() {
        Some(found) if expected.iter().any(|id| *id == found) => {}
        _ => return Some("settings.client_id is not that of the app".to_owned()),
    }
    settings
        .as_object()?
        .keys()
        .find(|key| *key != "client_id" && *key != "participant_user_id")
        .map(|key| format!("unknown key {key:?} in settings"))
}

/// Whether this is a JSON Web Token (HS256) of the Video SDK app that is valid now.
fn is_jwt_valid(shared: &Shared, token: &str) -> bool {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE;
    let Some((signed, signature)) = token.rsplit_once('.') else {
        return false;
    };
    let part = |n: usize| -> Option<HashMap<String, Value>> {
        serde_json::from_slice(&BASE.decode(signed.split('.').nth(n)?).ok()?).ok()
    };
    let (Some(header), Some(claims)) = (part(0), part(1)) else {
        return false;
    };
    let expected =
        hex::decode(hmac_hex(&shared.options.sdk_secret, signed.as_bytes())).unwrap_or_default();
    let now = super::record::unix_ms() / 1000;
    header.get("alg") == Some(&json!("HS256"))
        && claims
            .get("exp")
            .and_then(Value::as_u64)
            .is_some_and(|until| until > now)
        && BASE.encode(expected) == signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_all_products() {
        let id = |path: &str| Control::parse(path).map(|c| (c.product, c.id));
        assert_eq!(
            id("/v2/live_meetings/81234567890/rtms_app/status"),
            Some((DemoProduct::Meeting, "81234567890".to_owned()))
        );
        assert_eq!(
            id("/v2/videosdk/sessions/a%252Fb%253D%253D/rtms_app/status"),
            Some((DemoProduct::Session, "a/b==".to_owned()))
        );
        assert_eq!(
            id("/v2/phone/calls/c%2B1/rtms_app/status"),
            Some((DemoProduct::Phone, "c+1".to_owned()))
        );
        assert_eq!(id("/v2/videosdk/sessions/a%2Fb/rtms_app/status"), None);
        assert_eq!(id("/v2/meetings/1/rtms/start"), None);
    }
}
