//! What the audit log has of a request: no bodies, and no credentials.

use guard_judge::http as http_judge;
use guard_proto as proto;
use serde_json::{Map, Value};

/// A request as it was shown to the approver, for the audit log: without the body of an HTTP request, which may hold anything.
#[must_use]
pub(crate) fn as_shown(request: &proto::Request) -> Map<String, Value> {
    let shown = proto::Request {
        http: request.http.as_ref().map(for_log),
        // What differs may be of bodies.
        alike: request.alike.clone().map(|alike| proto::requests::Alike {
            differ: Vec::new(),
            ..alike
        }),
        ..request.clone()
    };
    match serde_json::to_value(shown) {
        Ok(Value::Object(shown)) => shown,
        _ => Map::new(),
    }
}

/// An HTTP request for the audit log: without its body, which may hold anything, headers that are not known to say what is
/// done, and values in warnings about it. Its path came without credentials. Warnings about a statement are guard's words and
/// the settings by which it is read.
pub(super) fn for_log(http: &proto::HttpRequest) -> proto::HttpRequest {
    let steers =
        |header: &&String| http_judge::steers(header.split(':').next().unwrap_or_default());
    let headers = http.headers.iter().filter(steers);
    proto::HttpRequest {
        body_preview: None,
        headers: headers
            .map(|one| http_judge::without_secrets(one))
            .collect(),
        warnings: if http.is_statement() {
            http.warnings.clone()
        } else {
            let warnings = http.warnings.iter();
            warnings
                .map(|one| http_judge::warning_without_values(one))
                .collect()
        },
        ..http.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_about_a_statement_is_kept_whole_and_a_value_of_a_body_is_not() {
        let kept = |scheme: &str, warning: &str| {
            let http = proto::HttpRequest {
                scheme: scheme.to_owned(),
                warnings: vec![warning.to_owned()],
                ..proto::HttpRequest::default()
            };
            for_log(&http).warnings
        };
        let setting = "its text is read by client_encoding = SQL_ASCII";
        assert_eq!(kept(proto::HttpRequest::POSTGRES, setting), [setting]);
        assert_eq!(
            kept("https", "reset=hunter2: what was there is lost"),
            ["reset=***: what was there is lost"]
        );
    }
}
