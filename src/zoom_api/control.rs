//! Starts, stops, pauses and resumes a stream: one REST call, for every product.

use serde::Serialize;

use super::errors::{Error, Kind};
use super::http_call::{HttpCall, Server};
use super::oauth::cache::TokenCache;
use super::oauth::grants::facts::{GrantState, unix_ms};
use super::oauth::request::AccessToken;
use super::{Api, Tokens, jwt};
use crate::domain::product::Product;
use crate::domain::rest::{ControlRequest, RestAction};
use crate::domain::secret::Secret;
use crate::domain::text::percent_encoded as encode;
use crate::net::address::Address;

/// The call's name in errors and logs.
fn call_name(request: &ControlRequest) -> String {
    let id = super::reply::clean(&request.id, &[]);
    format!("{} {} {id}", request.action.name(), request.product.unit())
}

fn path(request: &ControlRequest) -> String {
    let mut id = encode(&request.id);
    // Zoom decodes such an id twice (Video SDK API reference).
    if request.product == Product::Session && request.id.contains('/') {
        id = encode(&id);
    }
    request.product.rest_path().replace("{id}", &id)
}

#[derive(Serialize)]
struct Body<'a> {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<BodySettings<'a>>,
}

#[derive(Serialize)]
struct BodySettings<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant_user_id: Option<&'a str>,
}

impl Api {
    /// Makes the call; any 2xx is success and means only that Zoom accepted it. A start has
    /// succeeded when its webhook arrives.
    ///
    /// Blocks until the answer or the deadline. A token that Zoom refuses is replaced and the call
    /// repeated once; for other retries see `StartRetry` of the coordinator. The error is counted,
    /// not logged.
    pub fn control(&self, control: &ControlRequest) -> Result<(), Error> {
        let name = call_name(control);
        let done = match control.id_fault() {
            Some(fault) => Err(Error::new(Kind::Configuration, &name, fault)),
            None if control.product == Product::Session => self.control_session(control, &name),
            None => self.control_with_token(control, &name),
        };
        match &done {
            Ok(()) => self.counters.call_done(),
            // A failure before the call was made is counted with the tokens.
            Err(error) if error.call == name => self.counters.call_failed(error),
            Err(_) => {}
        }
        done
    }

    fn control_with_token(&self, control: &ControlRequest, name: &str) -> Result<(), Error> {
        let grants = match &self.tokens {
            Tokens::Own(tokens) => return self.control_with(tokens, control, name),
            Tokens::OfUsers(grants) => grants,
        };
        let (account, host) = (control.account_id.as_deref(), control.host_id.as_deref());
        let found = grants.for_call(account, host);
        let mut found = found
            .inspect_err(|error| self.counters.token_failed(error))?
            .into_iter();
        let mut next = found.next();
        let mut last = None;
        while let Some(grant) = next {
            next = found.next();
            let had_owner = grant.facts().has_owner();
            let token = grant.tokens().token();
            let facts = grant.facts();
            if !had_owner && facts.has_owner() {
                // The token said whose it is.
                grants.settle(&grant, |_| ());
            }
            let is_other =
                |account: &str| !facts.account_id.is_empty() && facts.account_id != account;
            if !had_owner && account.is_some_and(is_other) && grants.all().len() > 1 {
                last.get_or_insert_with(|| grants.none_for(account.unwrap_or_default()));
                continue;
            }
            let result = token.and_then(|_| self.control_with(grant.tokens(), control, name));
            let failed = result.as_ref().err().map(Error::kind);
            if failed.is_none_or(|kind| GrantState::of(kind).is_some()) {
                grant.used(unix_ms(self.process.clock.date()), failed);
            }
            match result {
                // Another grant may work.
                Err(error) if ends_grant(error.kind()) => {
                    let account = Some(facts.account_id).filter(|id| !id.is_empty());
                    let error = Error { account, ..error };
                    if next.is_some() {
                        log::info!("{error}; another grant is used");
                    }
                    last = Some(error);
                }
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| Error::new(Kind::NotAuthorized, name, "")))
    }

    fn control_with(
        &self,
        tokens: &TokenCache,
        control: &ControlRequest,
        name: &str,
    ) -> Result<(), Error> {
        let token = tokens.token()?;
        let refused = match self.attempt(control, name, &token.bearer(), token.api.as_ref()) {
            Err(error) if error.kind == Kind::TokenRefused => error,
            other => return other,
        };
        if tokens.is_static() {
            return Err(as_kind(Kind::StaticTokenRefused, refused));
        }
        self.counters.call_failed(&refused);
        log::info!("{refused}");
        let fresh: AccessToken = tokens.replace(&token)?;
        match self.attempt(control, name, &fresh.bearer(), fresh.api.as_ref()) {
            Err(error) if error.kind == Kind::TokenRefused => {
                // On a slow disk or machine, a short-lived token may expire before the call.
                let kind = match fresh.is_good(self.process.clock.instant()) {
                    true => Kind::FreshTokenRefused,
                    false => Kind::TokenExpired,
                };
                Err(as_kind(kind, error))
            }
            other => other,
        }
    }

    pub(super) fn has_static_token(&self) -> bool {
        match &self.tokens {
            Tokens::Own(tokens) => tokens.is_static(),
            Tokens::OfUsers(_) => false,
        }
    }

    fn control_session(&self, control: &ControlRequest, name: &str) -> Result<(), Error> {
        let Some(sdk) = &self.app.video_sdk else {
            return Err(Error::new(
                Kind::Configuration,
                name,
                "found no ZOOM_VIDEO_SDK_KEY and ZOOM_VIDEO_SDK_SECRET, expected both for Video SDK sessions",
            ));
        };
        let token = jwt::sign(sdk, self.process.clock.date());
        let bearer = Secret::new(format!("Bearer {}", token.expose()));
        match self.attempt(control, name, &bearer, None) {
            Err(error) if error.kind == Kind::TokenRefused => Err(as_kind(Kind::KeyRefused, error)),
            other => other,
        }
    }

    fn attempt(
        &self,
        control: &ControlRequest,
        name: &str,
        bearer: &Secret,
        base: Option<&Address>,
    ) -> Result<(), Error> {
        let participant = control.participant_user_id.as_deref().or(self
            .app
            .rest
            .participant_user_id
            .as_deref());
        let call = HttpCall {
            server: Server::Api,
            base,
            method: control.product.rest_method(),
            path: &path(control),
            authorization: Some(bearer),
            body: Some(("application/json", self.body(control, participant))),
        };
        let reply = self
            .http
            .call(call, self.process.clock.date())
            .map_err(|e| e.error(name))?;
        if reply.is_success() {
            return Ok(());
        }
        let secrets = [
            bearer.expose(),
            bearer.expose().trim_start_matches("Bearer "),
        ];
        let mut error = reply.error(Server::Api, name, &secrets);
        // Zoom's REST servers may not know the meeting yet, or the named participant has not joined
        // yet.
        error.early = control.action == RestAction::Start
            && match error.kind {
                Kind::MeetingUnknown => true,
                Kind::NotPermitted => participant.is_some(),
                _ => false,
            };
        Err(error)
    }

    fn body(&self, control: &ControlRequest, participant: Option<&str>) -> Vec<u8> {
        let client_id = &self.app.credentials_for(control.product).id;
        let body = Body {
            action: control.action.name(),
            // The only known client of the phone endpoint sends the action alone.
            settings: (control.product != Product::Phone).then_some(BodySettings {
                client_id,
                participant_user_id: participant,
            }),
        };
        serde_json::to_vec(&body).expect("strings always become JSON")
    }
}

/// Whether a grant that fails so is of no use.
fn ends_grant(kind: Kind) -> bool {
    kind == Kind::Deauthorized || GrantState::of(kind).is_some()
}

/// The same error with another kind.
fn as_kind(kind: Kind, error: Error) -> Error {
    Error { kind, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_product_has_its_endpoint() {
        for (product, id, method, path) in [
            (
                Product::Meeting,
                "81234567890",
                "PATCH",
                "/v2/live_meetings/81234567890/rtms_app/status",
            ),
            (
                Product::Webinar,
                "81234567890",
                "PATCH",
                "/v2/live_meetings/81234567890/rtms_app/status",
            ),
            (
                Product::Session,
                "a+b==",
                "PATCH",
                "/v2/videosdk/sessions/a%2Bb%3D%3D/rtms_app/status",
            ),
            (
                Product::Session,
                "/a=",
                "PATCH",
                "/v2/videosdk/sessions/%252Fa%253D/rtms_app/status",
            ),
            (
                Product::ContactCenter,
                "e-1",
                "PUT",
                "/v2/contact_center/e-1/rtms_app/status",
            ),
            (
                Product::Phone,
                "c/1",
                "PATCH",
                "/v2/phone/calls/c%2F1/rtms_app/status",
            ),
        ] {
            let control = ControlRequest::new(RestAction::Start, product, id);
            assert_eq!(control.id_fault(), None);
            assert_eq!(product.rest_method(), method);
            assert_eq!(super::path(&control), path);
        }
    }
}
