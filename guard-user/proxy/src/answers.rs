//! The proxy's own answers to a client: a problem document (RFC 9457), for an agent to read. If a profile names the
//! destination's API, the document has that API's error fields too: kubectl shows any other error as `unknown`, and the AWS CLI
//! shows nothing.

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::{body, body::Body, judge::Rules};
use guard_policy::Profile;

/// Why a request does not get the destination's answer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Problem {
    /// What kind of problem it is: a URN, since there is no page to open.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// The status of this answer.
    pub status: u16,
    /// Why, in this case.
    pub detail: String,
    /// The rule that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// That rule's reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request that waits for a person, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What to do next.
    pub fix: String,
    /// The profile whose error fields are added, if any.
    #[serde(skip)]
    pub words: Option<Profile>,
}

/// The rule that stops a request, as its client is told of it.
#[derive(Clone, Debug, Default)]
pub(super) struct StoppingRule {
    pub(super) name: Option<String>,
    reason: Option<String>,
    /// The profile whose error fields the client understands.
    words: Option<Profile>,
}

impl StoppingRule {
    /// The one that decided, of all that have judged: these know, too, what the client speaks.
    #[must_use]
    pub(super) fn of(by: Option<&Rules>, all: &[Rules]) -> Self {
        Self {
            name: by.and_then(|rules| rules.name.clone()),
            reason: by.and_then(|rules| rules.reason.clone()),
            words: by.and_then(words).or_else(|| all.iter().find_map(words)),
        }
    }

    /// The first of the destination's rules, where none has judged.
    #[must_use]
    pub(super) fn first(all: &[Rules]) -> Self {
        Self::of(all.first(), all)
    }
}

impl Problem {
    /// The guard stops the request.
    #[must_use]
    pub(super) fn stopped(detail: String, fix: String) -> Self {
        Self {
            kind: "urn:guard:stopped",
            title: "stopped by guard",
            status: StatusCode::FORBIDDEN.as_u16(),
            detail,
            rule: None,
            reason: None,
            request: None,
            fix,
            words: None,
        }
    }

    /// With the rule that stops the request.
    #[must_use]
    pub(super) fn under(self, rule: StoppingRule) -> Self {
        Self {
            rule: rule.name,
            reason: rule.reason,
            words: rule.words,
            ..self
        }
    }

    /// The request cannot be parsed, or is ambiguous.
    #[must_use]
    pub(super) fn unreadable(status: StatusCode, detail: String) -> Self {
        Self {
            kind: "urn:guard:unreadable",
            title: "not understood by guard",
            status: status.as_u16(),
            fix: "send it so that it can be read in one way only: the same name in URL and Host, one length, one path".to_owned(),
            ..Self::stopped(detail, String::new())
        }
    }

    /// The destination does not answer.
    #[must_use]
    pub(super) fn unanswered(detail: String) -> Self {
        Self {
            kind: "urn:guard:unanswered",
            title: "no answer from the destination",
            status: StatusCode::BAD_GATEWAY.as_u16(),
            fix: "see whether the destination is up".to_owned(),
            ..Self::stopped(detail, String::new())
        }
    }

    /// No room for what must be read before it may pass.
    #[must_use]
    pub(super) fn crowded() -> Self {
        let detail = "too many bodies are being read at once before they may pass".to_owned();
        Self {
            kind: "urn:guard:crowded",
            title: "guard has no room for it",
            status: StatusCode::SERVICE_UNAVAILABLE.as_u16(),
            fix: "send fewer requests with bodies at once, and this one again later".to_owned(),
            ..Self::stopped(detail, String::new())
        }
    }

    /// The destination has not shown that it is the right one.
    #[must_use]
    pub(super) fn untrusted(detail: String) -> Self {
        Self {
            fix: "nothing was sent; tell the person, and do not look for a way around it"
                .to_owned(),
            ..Self::unanswered(detail)
        }
    }

    /// The destination asks for a client certificate.
    #[must_use]
    pub(super) fn unarmed(detail: String) -> Self {
        Self {
            fix: "tell the person, and do not look for a way around it".to_owned(),
            ..Self::unanswered(detail)
        }
    }

    /// The document, with a line end for terminals.
    fn text(&self) -> String {
        // Strings and numbers always have a JSON form.
        let text = match self.words {
            Some(profile) => serde_json::to_string_pretty(&self.in_words_of(profile)),
            None => serde_json::to_string_pretty(self),
        };
        text.unwrap_or_default() + "\n"
    }

    /// The document with the error fields of Kubernetes (`meta/v1`, `Status`), in which `status` and `reason` mean other
    /// things; or with those of AWS's JSON protocols.
    fn in_words_of(&self, profile: Profile) -> Value {
        let mut all = serde_json::to_value(self).unwrap_or_default();
        let under = match (&self.rule, &self.reason) {
            (Some(rule), Some(reason)) => format!(" (rule {rule}: {reason})"),
            (Some(rule), None) => format!(" (rule {rule})"),
            _ => String::new(),
        };
        let message = format!("{}{under}: {}; {}", self.title, self.detail, self.fix);
        all["message"] = json!(message);
        if profile == Profile::Aws {
            all["__type"] = json!("StoppedByGuard");
            return all;
        }
        let reason = match self.status {
            403 => "Forbidden",
            503 => "ServiceUnavailable",
            _ => "",
        };
        for (name, value) in [
            ("kind", json!("Status")),
            ("apiVersion", json!("v1")),
            ("metadata", json!({})),
            ("status", json!("Failure")),
            ("reason", json!(reason)),
            ("code", json!(self.status)),
        ] {
            all[name] = value;
        }
        all
    }

    const fn media_type(&self) -> &'static str {
        match self.words {
            Some(_) => "application/json",
            None => "application/problem+json",
        }
    }

    /// As an HTTP response.
    #[must_use]
    pub(super) fn answer(&self) -> Response<Body> {
        let mut response = Response::new(body::full(self.text()));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::FORBIDDEN);
        let headers = response.headers_mut();
        let media_type = HeaderValue::from_static(self.media_type());
        headers.insert(header::CONTENT_TYPE, media_type);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// As the bytes of an HTTP/1.1 answer after which the connection is closed.
    #[must_use]
    pub(super) fn as_http1(&self) -> Vec<u8> {
        let text = self.text();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let answer = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{text}",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            self.media_type(),
            text.len()
        );
        answer.into_bytes()
    }
}

/// The profile whose error fields answers have under a rule.
fn words(rules: &Rules) -> Option<Profile> {
    let known = [Profile::Kubernetes, Profile::Aws];
    known.into_iter().find(|one| rules.profiles.contains(one))
}
