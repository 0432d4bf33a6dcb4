//! Requests of DAV clients.

use guard_policy::Profile;

use super::{not_read, profile, read, rules};

#[test]
fn safe_methods_of_webdav_read_with_the_profile() {
    let rules = profile(Profile::Webdav);
    let body = "Content-Type: application/xml\n\n<propfind xmlns=\"DAV:\"/>";
    for method in ["PROPFIND", "REPORT", "SEARCH"] {
        read(
            &rules,
            &[&format!("{method} /calendars/me\nDepth: 1\n{body}")],
        );
    }
    for method in [
        "PROPPATCH",
        "MKCOL",
        "MOVE",
        "COPY",
        "LOCK",
        "PUT",
        "DELETE",
        "ACL",
        "QUERY",
    ] {
        not_read(&rules, &[&format!("{method} /calendars/me\n{body}")]);
    }
    not_read(
        &rules,
        &[
            &format!("PROPFIND /x\nX-HTTP-Method-Override: DELETE\n{body}"),
            "GET /x\n\nbody",
        ],
    );
}

/// CometBFT, graph-gophers' handler and VictoriaMetrics look at no method: they do what the body says.
#[test]
fn a_body_that_is_no_xml_is_asked_about() {
    for rules in [&rules(""), &profile(Profile::Webdav)] {
        for method in ["PROPFIND", "REPORT", "SEARCH"] {
            read(
                rules,
                &[
                    &format!("{method} /dav/"),
                    &format!(
                        "{method} /dav/\nContent-Type: text/xml\n\n\u{feff}<?xml version=\"1.0\"?>\n<d:propfind xmlns:d=\"DAV:\"><d:prop/></d:propfind>\n"
                    ),
                ],
            );
            not_read(
                rules,
                &[
                    &format!("{method} /graphql\n\n{{\"query\":\"mutation{{deleteAll}}\"}}"),
                    &format!("{method} /write\nContent-Type: text/xml\n\ncpu value=1"),
                    &format!("{method} /x\n\n<a=1&action=deleteAll"),
                    &format!("{method} /x\n\n<methodCall><methodName>x</methodName></methodCall>"),
                    &format!("{method} /x\n\n<a xmlns=\"DAV:\"/>\ncpu v=1"),
                ],
            );
        }
    }
}
