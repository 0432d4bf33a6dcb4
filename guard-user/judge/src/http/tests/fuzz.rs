//! Whatever the bytes, a judgement. `from_bytes` takes any, so that a fuzzer can call it.

use std::sync::LazyLock;

use guard_policy::Profile;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;

use super::{
    super::{Judgement, RequestHead, judge, judge_all, judge_too_long, warnings},
    Rules, rules,
};

static ALL: LazyLock<Rules> = LazyLock::new(all);

/// Rules in which each part has something to do.
fn all() -> Rules {
    let of_http = Profile::ALL.iter().filter(|p| **p != Profile::Postgres);
    let names: Vec<_> = of_http.map(|p| format!("\"{p}\"")).collect();
    rules(&format!(
        "profile = [{}]\njsonrpc_methods = [\"a*\"]\ngrpc_methods = [\"*/Get*\"]\n\
         [[rule.http]]\npath = \"/admin/*\"\naction = \"deny\"\n\
         [[rule.http]]\nmethod = [\"PUT\"]\npath = \"/ok/*\"\nquery = \"x=*\"\ncontent_type = \"*/json\"\naction = \"allow\"",
        names.join(", ")
    ))
}

/// Method, target, headers and body, a NUL between; whatever is no request is left out.
fn from_bytes(rules: &[Rules], bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let method = Method::from_bytes(next()).unwrap_or(Method::POST);
    let uri = Uri::try_from(next()).unwrap_or_else(|_| Uri::from_static("/graphql"));
    let mut headers = HeaderMap::new();
    for line in next().split(|byte| *byte == b'\n') {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(halves.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(halves.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let body = next();
    let request = RequestHead {
        method: &method,
        uri: &uri,
        headers: &headers,
        has_body: !body.is_empty(),
        is_secure: true,
    };
    let without = judge_all(rules, &request, None).judgement;
    let with = judge_all(rules, &request, Some(body)).judgement;
    assert!(!matches!(with, Judgement::NeedsBody { .. }));
    assert!(!matches!(
        judge_too_long(rules, &request).judgement,
        Judgement::NeedsBody { .. }
    ));
    assert!(warnings(&request, body).len() <= 8);
    // What needed no body is the same with it.
    if matches!(without, Judgement::Read { .. } | Judgement::Denied { .. }) {
        assert_eq!(without, with);
    }
}

const PIECES: &[&str] = &[
    "GET",
    "POST",
    "DELETE",
    "\0",
    "\0",
    "\0",
    "/",
    "/graphql",
    "/api/v1/",
    "pods/",
    "a/",
    "exec",
    "?",
    "query=",
    "{a}",
    "mutation{b}",
    "_method=",
    "&",
    ";",
    "%2f",
    "%",
    "%00",
    "..",
    "\n",
    "content-type:",
    "application/json",
    "application/graphql",
    "application/x-www-form-urlencoded",
    "application/grpc",
    "content-encoding:gzip",
    "x-http-method-override:",
    "x-amz-target:S.List",
    "upgrade:websocket",
    "{",
    "}",
    "\"query\":",
    "\"",
    "[",
    "]",
    ",",
    "\"jsonrpc\":\"2.0\"",
    "\"method\":\"a\"",
    "Action=",
    "DescribeX",
    "\\",
    "git-upload-pack",
    "_search",
    "#",
    "\"\"\"",
    "\\u0000",
    "\u{feff}",
    "é",
];

fn soup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec());
    let piece = prop_oneof![8 => piece, 1 => prop::collection::vec(any::<u8>(), 0..4)];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(guard_rounds::rounds(2_000))]

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        from_bytes(std::slice::from_ref(&ALL), &bytes);
    }

    #[test]
    fn soup_is_judged(bytes in soup()) {
        from_bytes(&[ALL.clone(), Rules::default()], &bytes);
    }
}

/// The longest that the proxy gives is judged to its end: the runner ends a test that takes the square of its length.
#[test]
fn the_longest_requests_are_judged_as_others_are() {
    let path = format!("/{}", "..%2f;%5c//a".repeat(5_000));
    let target = format!("{path}?{}", "a%2525=b;".repeat(500));
    from_bytes(&[all()], format!("GET\0{target}\0\0").as_bytes());
    let body = format!("[{}1]", "{\"query\":\"{a}\"},".repeat(60_000));
    from_bytes(
        &[all()],
        format!("POST\0/graphql\0content-type:application/json\0{body}").as_bytes(),
    );
    let judged = judge(
        &all(),
        &RequestHead {
            method: &Method::GET,
            uri: &Uri::from_static("/admin/x"),
            headers: &HeaderMap::new(),
            has_body: false,
            is_secure: true,
        },
        None,
    );
    assert!(matches!(judged, Judgement::Denied { .. }));
}
