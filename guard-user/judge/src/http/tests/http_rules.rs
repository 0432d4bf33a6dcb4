//! `[[rule.http]]`.

use super::{asked, not_read, read, rules, said};

#[test]
fn the_first_that_matches_decides() {
    let rules = rules(
        r#"
[[rule.http]]
path = "/api/jobs/status"
action = "allow"
[[rule.http]]
path = "/api/jobs/*"
action = "deny"
[[rule.http]]
path = "/api/*"
action = "allow"
"#,
    );
    read(
        &rules,
        &["POST /api/jobs/status", "POST /api/x", "DELETE /api/x/y"],
    );
    for wire in ["POST /api/jobs/run", "GET /api/jobs/run"] {
        assert_eq!(said(&rules, wire), "denied");
    }
    not_read(&rules, &["POST /other"]);
}

#[test]
fn more_methods_than_are_looked_at_hide_none() {
    let rules = rules("[[rule.http]]\nmethod = [\"DELETE\"]\naction = \"deny\"\n");
    let decoys = "POST /x\nX-HTTP-Method-Override: A,B,C,D,E,F,G,H,I,DELETE";
    assert_eq!(said(&rules, decoys), "denied");
    let connect = "POST /x\nX-HTTP-Method-Override: A,B,C,D,E,F,G,H,I,CONNECT";
    assert_eq!(said(&rules, connect), "denied");
}

#[test]
fn every_condition_must_hold() {
    let rules = rules(
        r#"
[[rule.http]]
method = ["POST", "PUT"]
path = "/search"
query = "dry=*"
content_type = "application/json"
action = "allow"
"#,
    );
    read(
        &rules,
        &["POST /search?dry=1\ncontent-type: Application/JSON; charset=utf-8\n\n{}"],
    );
    not_read(
        &rules,
        &[
            "PATCH /search?dry=1\ncontent-type: application/json",
            "POST /searches?dry=1\ncontent-type: application/json",
            "POST /search?wet=1\ncontent-type: application/json",
            "POST /search?dry=1\ncontent-type: text/plain",
            "POST /search?dry=1",
            "POST /search?dry=1\ncontent-type: application/json\ncontent-type: text/plain",
            "POST /search?dry=1\ncontent-type: application/json, text/plain",
            "POST /search?%64ry=1\ncontent-type: application/json",
            "POST /search?dry=1;x=%\ncontent-type: application/json",
            "POST /search?dry=1\ncontent-type: application/json\nX-HTTP-Method-Override: DELETE",
            "POST /search?dry=1&_method=delete\ncontent-type: application/json",
        ],
    );
}

#[test]
fn what_is_ambiguous_is_not_allowed_by_a_path() {
    let allows = rules("[[rule.http]]\npath = \"/api/*\"\naction = \"allow\"");
    read(
        &allows,
        &[
            "POST /api/x",
            "POST /api/x%20y",
            "POST /api/%C3%A9",
            "POST /api/%e6%97%a5",
            "POST /api/x;v=1",
        ],
    );
    not_read(
        &allows,
        &[
            "POST /api/../admin",
            "POST /api/./x",
            "POST /api/%2e%2e/admin",
            "POST /api/..%2fadmin",
            "POST /api/..;/admin",
            "POST /api/..;x=y/admin",
            "POST /api/x%2fy",
            "POST /api/x%252fy",
            "POST /api/..\\admin",
            "POST /api/%5cx",
            "POST /api/x%3fy",
            "POST /api/%ff",
            "POST /api/%ef%bc%8fx",
            "POST /api/%ef%bd%81dmin",
            "POST /api/%e2%88%95x",
            "POST /api%c0%afx",
            "POST //api/x",
            "POST /%61pi/x",
            "POST /api;x/y",
            "POST /api/x\nX-Original-URL: /admin",
            "POST /api/x%00",
        ],
    );
    let everything = rules("[[rule.http]]\nmethod = [\"POST\"]\naction = \"allow\"");
    read(&everything, &["POST /a%2fb", "POST /a/../b"]);
    not_read(&everything, &["POST /a%zz", "POST /a\nX-Rewrite-URL: /b"]);
}

#[test]
fn what_stops_holds_for_every_reading() {
    let stops = rules(
        "[[rule.http]]\npath = \"/admin/*\"\naction = \"deny\"\n[[rule.http]]\nquery = \"*secret=*\"\naction = \"deny\"",
    );
    for wire in [
        "GET /admin/x",
        "GET //admin//x",
        "GET /Admin/x",
        "GET /%61dmin/x",
        "GET /%2561dmin/x",
        "GET /a/../admin/x",
        "GET /a/%2e%2e/admin/x",
        "GET /a/..%2fadmin%2fx",
        "GET /a/..;/admin/x",
        "GET /admin;v=1/x",
        "GET /.\\admin\\x",
        "GET /%5cadmin/x",
        "GET /admin%2f..%2fadmin/x",
        "GET /admin%ef%bc%8fx",
        "GET /admin%e2%88%95x",
        "GET /admin%c0%afx",
        "GET /admin%c0%2fx",
        "GET /admin%25c0%25afx",
        "GET /x/%c0%ae%c0%ae/admin/x",
        "GET /%ef%bd%81dmin/x",
        "GET /adm%c4%b1n/x",
        "GET /admin%u002fx",
        "GET /admin%u2215x",
        "GET /public\nX-Original-URL: /admin/x?y",
        "GET /public\nX-Rewrite-URL: http://a/admin/x",
        "GET /x?secret=1",
        "GET /x?a=b&%73ecret=1",
        "GET /x?SECRET=1",
        "GET /x?%2573ecret=1",
    ] {
        assert_eq!(said(&stops, wire), "denied", "{wire}");
    }
    read(
        &stops,
        &[
            "GET /administration",
            "GET /x/admin/y",
            "GET /x?secretary=1",
        ],
    );
    let exact = rules("[[rule.http]]\npath = \"/admin\"\naction = \"deny\"");
    assert_eq!(said(&exact, "GET /admin/"), "denied");
}

#[test]
fn methods_that_stop_count_in_any_reading() {
    let stops = rules("[[rule.http]]\nmethod = [\"DELETE\"]\naction = \"deny\"");
    for wire in [
        "DELETE /x",
        "POST /x\nX-HTTP-Method-Override: DELETE",
        "GET /x?_method=delete",
        "delete /x",
    ] {
        assert_eq!(said(&stops, wire), "denied", "{wire}");
    }
}

#[test]
fn a_confirmed_read_says_what_it_is() {
    let rules = rules("[[rule.http]]\npath = \"/export\"\naction = \"confirm\"");
    asked(
        &rules,
        &[
            ("GET /export", "reads something (GET)"),
            (
                "GET /export\nUpgrade: websocket",
                "opens a WebSocket, through which anything can be sent",
            ),
        ],
    );
}

/// Laravel takes it from JSON as from a form.
#[test]
fn json_that_names_a_method_is_not_allowed_by_another() {
    let open = rules("[[rule.http]]\nmethod = [\"POST\"]\naction = \"allow\"");
    let json = |body: &str| format!("POST /x\nContent-Type: application/vnd.api+json\n\n{body}");
    read(&open, &[&json("{\"a\":\"\\u0041\"}"), &json("[]")]);
    for body in [
        "{\"_method\":\"DELETE\"}",
        "{\"a\":1,\"_METHOD\":\"DELETE\"}",
        "{\"\\u005fmethod\":\"DELETE\"}",
    ] {
        let plain = format!("POST /x\nContent-Type: text/plain; x=/json\n\n{body}");
        not_read(&open, &[&json(body), &plain]);
    }
}
