//! What holds without any HTTP rule or profile.

use http::{Method, Uri};

use super::{
    super::{BODY_LIMIT, Judgement, RequestHead, judge, judge_too_long},
    Rules, Wire, asked, not_read, read, rules, said,
};

fn none() -> Rules {
    rules("")
}

#[test]
fn safe_methods_read() {
    read(
        &none(),
        &[
            "GET /",
            "HEAD /a/b?c=d",
            "OPTIONS /",
            "OPTIONS *",
            "GET /projects/group%2Fproject",
            "GET http://192.0.2.10/absolute?q",
            "GET /?q=100%",
            "GET /x\ncontent-length: 0",
            "GET /x\nUpgrade: h2c\nConnection: Upgrade",
        ],
    );
}

#[test]
fn other_methods_write() {
    asked(
        &none(),
        &[
            ("POST /", "creates or runs something (POST)"),
            ("PUT /x", "replaces or starts something (PUT)"),
            ("PATCH /x", "changes something (PATCH)"),
            ("DELETE /x", "deletes something (DELETE)"),
            ("TRACE /", "has the request sent back (TRACE)"),
            ("QUERY /", "reads something (QUERY)"),
            ("BREW /pot", "does nobody knows what (BREW)"),
            ("get /", "does nobody knows what (get)"),
        ],
    );
}

#[test]
fn a_tunnel_is_denied_even_where_all_is_allowed() {
    let open = rules("[[rule.http]]\naction = \"allow\"");
    for rules in [&none(), &open] {
        let uri: Uri = "192.0.2.10:443".parse().unwrap();
        let wire = Wire::of("GET /");
        let request = RequestHead {
            method: &Method::CONNECT,
            uri: &uri,
            ..wire.request()
        };
        assert!(matches!(
            judge(rules, &request, None),
            Judgement::Denied { .. }
        ));
        assert_eq!(
            said(rules, "GET /\nX-HTTP-Method-Override: connect"),
            "denied"
        );
    }
}

#[test]
fn headers_in_the_query_may_name_a_method() {
    let open = rules("[[rule.http]]\nmethod = [\"GET\"]\naction = \"allow\"");
    for wire in [
        "GET /?$httpHeaders=X-HTTP-Method-Override%3ADELETE%0D%0A",
        "GET /?%24HttpHeaders=a%3Ab",
        "GET /?a=b;$httpHeaders=a%3Ab",
    ] {
        not_read(&none(), &[wire]);
        not_read(&open, &[wire]);
    }
    read(&none(), &["GET /?headers=a", "GET /?http=headers"]);
}

#[test]
fn what_turns_a_method_into_another_counts() {
    for wire in [
        "GET /\nX-HTTP-Method-Override: DELETE",
        "GET /\nx-http-method: delete",
        "GET /\nX-Method-Override: DELETE",
        "GET /\nX-Method: GET, DELETE",
        "GET /\nX_HTTP_Method_Override: DELETE",
        "GET /\nX.HTTP.Method.Override: DELETE",
        "GET /\nXHTTPMethodOverride: DELETE",
        "GET /\nX-HTTP-Verb-Override: DELETE",
        "GET /\nX-HTTP-Verb: DELETE",
        "GET /\nX_REST_Method: DELETE",
        "GET /\nRequest-Method: DELETE",
        "GET /?_HttpMethod=DELETE",
        "GET /?http-method=DELETE",
        "GET /?X.HTTP-Method_Override=DELETE",
        "GET /\nX-HTTP-Method-Override: GET\nX-HTTP-Method-Override: DELETE",
        "GET /?_method=DELETE",
        "GET /?_METHOD=delete",
        "GET /?%5Fmethod=DELETE",
        "GET /?a=b&_method=DELETE",
        "GET /?a=b;_method=DELETE",
        "GET /?.method=DELETE",
        "GET /?%20_method=DELETE",
        "GET /?_method%00=DELETE",
        "GET /?method=delete",
        "HEAD /?_method=%44ELETE",
        "GET /?X-HTTP-Method-Override=DELETE",
    ] {
        let kind = said(&none(), wire);
        assert!(
            kind.starts_with("deletes something (DELETE), through "),
            "{wire}: {kind}"
        );
    }
    asked(
        &none(),
        &[
            (
                "POST /\nX-HTTP-Method-Override: GET",
                "creates or runs something (POST)",
            ),
            (
                "GET /?_method=frob",
                "does nobody knows what (FROB), through `_method` in the query",
            ),
        ],
    );
    read(
        &none(),
        &[
            "GET /?_method=get",
            "GET /?method=flickr.photos.search",
            "GET /\nX-HTTP-Method-Override: HEAD",
            "GET /\nX-HTTP-Method-Override: ",
        ],
    );
}

#[test]
fn headers_that_send_it_elsewhere_are_asked_about() {
    not_read(
        &none(),
        &[
            "GET /\nX-Original-URL: /admin/delete",
            "GET /\nX-Rewrite-Url: /admin/delete",
            "GET /\nX-Matched-Path: /admin/delete",
            "GET /\nX_Invoke_Path: /admin/delete",
            "GET /\nX-Middleware-Rewrite: /admin/delete",
            "GET /\nX_Original_URL: /admin",
            "GET /\nX.Original.URL: /admin",
            "GET /\nX-Forwarded-Uri: /x",
            "GET /\nX-Forwarded-Prefix: /x",
        ],
    );
}

#[test]
fn a_body_where_none_belongs_is_asked_about() {
    asked(&none(), &[("GET /\n\nx", "sends a body with GET")]);
    not_read(
        &none(),
        &[
            "GET /\ntransfer-encoding: chunked",
            "GET /\ncontent-length: 5",
            "GET /\ncontent-length: 0\ncontent-length: 5",
            "OPTIONS /\n\n{}",
        ],
    );
}

#[test]
fn upgrades_are_asked_about() {
    let websocket = "opens a WebSocket, through which anything can be sent";
    asked(
        &none(),
        &[
            (
                "GET /ws\nUpgrade: websocket\nConnection: Upgrade",
                websocket,
            ),
            ("GET /ws\nUpgrade: WebSocket", websocket),
            ("GET /ws\nUpgrade: h2c, websocket", websocket),
            ("GET /ws\nUpgrade: h2c\nUpgrade: websocket", websocket),
            (
                "GET /x\nUpgrade: SPDY/3.1",
                "turns the connection into spdy/3.1, through which anything can be sent",
            ),
        ],
    );
    let allowed = rules("[[rule.http]]\nmethod = [\"GET\"]\npath = \"/ws\"\naction = \"allow\"");
    read(&allowed, &["GET /ws\nUpgrade: websocket"]);
    not_read(&allowed, &["GET /other\nUpgrade: websocket"]);
}

#[test]
fn paths_that_are_none_are_asked_about() {
    not_read(
        &none(),
        &[
            "GET /%",
            "GET /%zz",
            "GET /a%00b",
            "GET /a%0d%0ab",
            "GET /%u002f",
            "GET /%2525252e",
        ],
    );
}

#[test]
fn what_is_too_long_is_never_asked_for_again() {
    let graphql = rules("profile = \"graphql\"");
    let wire = Wire::of("POST /graphql\ncontent-type: application/json\n\n{}");
    let first = judge(&graphql, &wire.request(), None);
    assert_eq!(first, Judgement::NeedsBody { limit: BODY_LIMIT });
    let all = [graphql.clone()];
    assert!(matches!(
        judge_too_long(&all, &wire.request()).judgement,
        Judgement::Write(_)
    ));
    let long = vec![b' '; BODY_LIMIT + 1];
    assert!(matches!(
        judge(&graphql, &wire.request(), Some(&long)),
        Judgement::Write(_)
    ));
}

#[test]
fn each_judgement_says_why() {
    let because = |rules: &Rules, wire| Wire::of(wire).judge(rules).because().to_owned();
    let http = rules(
        "[[rule.http]]\nmethod = [\"POST\"]\npath = \"/search\"\naction = \"allow\"\n[[rule.http]]\npath = \"/admin/*\"\naction = \"deny\"\n[[rule.http]]\npath = \"/slow\"\naction = \"confirm\"",
    );
    assert_eq!(because(&http, "GET /"), "GET only reads (RFC 9110 9.2.1)");
    assert_eq!(
        because(&http, "PUT /"),
        "PUT may change something, and no rule allows it"
    );
    assert_eq!(
        because(&http, "POST /search"),
        "HTTP rule 1 of `lab` allows it"
    );
    assert_eq!(
        because(&http, "GET /admin/x"),
        "HTTP rule 2 of `lab` denies it"
    );
    assert_eq!(
        because(&http, "GET /slow"),
        "HTTP rule 3 of `lab` wants it confirmed"
    );
    assert_eq!(
        because(&http, "GET /?_method=PUT"),
        "`_method` in the query says PUT, and the request line GET: the stricter counts"
    );
    let kubernetes = rules("profile = \"kubernetes\"");
    assert_eq!(
        because(&kubernetes, "GET /api/v1/namespaces/a/pods/b/exec"),
        "the profile `kubernetes` does not list this as a read"
    );
}

#[test]
fn terminals_are_not_told_what_to_do() {
    let judgement = Wire::of("GET /?_method=%1b[2J%e2%80%ae").judge(&none());
    let Judgement::Write(write) = judgement else {
        panic!("{judgement:?}");
    };
    let said = format!("{} {} {:?}", write.kind, write.because, write.warnings);
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
}
