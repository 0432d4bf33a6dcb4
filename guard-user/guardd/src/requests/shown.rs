//! What the audit log has of a request: no bodies, and no credentials.

use guard_judge::http as http_judge;
use guard_proto as proto;
use serde_json::{Map, Value};

/// A request as it was shown to the approver, for the audit log: without the body of an HTTP request, which may hold anything.
#[must_use]
pub fn as_shown(request: &proto::Request) -> Map<String, Value> {
    let shown = proto::Request {
        http: request.http.as_ref().map(for_log),
        ..request.clone()
    };
    match serde_json::to_value(shown) {
        Ok(Value::Object(shown)) => shown,
        _ => Map::new(),
    }
}

/// An HTTP request for the audit log: without its body, which may hold anything, headers that are not known to say what is
/// done, and values in its query that may be credentials.
pub(super) fn for_log(http: &proto::HttpRequest) -> proto::HttpRequest {
    let steers =
        |header: &&String| http_judge::steers(header.split(':').next().unwrap_or_default());
    let headers = http.headers.iter().filter(steers);
    let warnings = http.warnings.iter();
    proto::HttpRequest {
        path: path_for_log(http),
        body_preview: None,
        headers: headers
            .map(|one| http_judge::without_secrets(one))
            .collect(),
        warnings: warnings
            .map(|one| http_judge::warning_without_values(one))
            .collect(),
        ..http.clone()
    }
}

/// Its path and query as the audit log may have them. A statement has no query: its `?` is an operator.
#[must_use]
pub fn path_for_log(http: &proto::HttpRequest) -> String {
    match http.is_statement() {
        true => http.path.clone(),
        false => http_judge::without_secrets(&http.path),
    }
}
