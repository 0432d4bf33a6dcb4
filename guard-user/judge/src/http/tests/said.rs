//! What a person is shown of headers, and what a pattern may be for.

use http::{HeaderMap, HeaderValue};

use super::Wire;
use crate::http::{ShownHeaders, is_of_a_client, is_plain, said, steers};

fn of(wire: &str) -> ShownHeaders {
    said(&Wire::of(wire).request(), None)
}

fn plain(wire: &str) -> bool {
    let wire = Wire::of(wire);
    is_plain(
        &wire.request(),
        Some(&wire.body),
        &said(&wire.request(), None),
    )
}

#[test]
fn what_names_another_thing_is_shown_and_no_pattern_is_for_it() {
    for (header, shown) in [
        ("Destination: /dav/other.txt", "destination: /dav/other.txt"),
        ("Overwrite: F", "overwrite: F"),
        ("Depth: infinity", "depth: infinity"),
        ("If: (<urn:uuid:1>)", "if: (<urn:uuid:1>)"),
        ("Lock-Token: <urn:uuid:1>", "lock-token: <urn:uuid:1>"),
        ("SOAPAction: \"urn:Drop\"", "soapaction: \"urn:Drop\""),
        ("X-Cascade: true", "x-cascade: true"),
        ("X_Cascade: true", "x_cascade: true"),
        ("X-Amz-Copy-Source: /b/k", "x-amz-copy-source: /b/k"),
        ("X-Amz-Acl: public-read", "x-amz-acl: public-read"),
        ("X-Amz-Target: Db_1.Drop", "x-amz-target: Db_1.Drop"),
        ("X-Ms-Copy-Source: /c/b", "x-ms-copy-source: /c/b"),
        ("X-Copy-From: /c/o", "x-copy-from: /c/o"),
        ("Content-Range: bytes 0-1/2", "content-range: bytes 0-1/2"),
    ] {
        let wire = format!("COPY /x\nAccept: */*\n{header}");
        assert_eq!(of(&wire).headers, [shown]);
        assert!(!plain(&wire), "{header}");
    }
    assert!(plain("COPY /x\nAccept: */*"));
    assert!(steers("X-Amz-Acl") && !steers("x-amz-date") && !steers("x-tenant"));
}

#[test]
fn what_nobody_knows_is_shown_behind_it() {
    let wire = "PUT /x\nX-Tenant: shop\nIf-Match: \"1\"\nDepth: 0\nX-Forwarded-For: 192.0.2.1";
    let shown = [
        "depth: 0",
        "if-match: \"1\"",
        "x-forwarded-for: 192.0.2.1",
        "x-tenant: shop",
    ];
    assert_eq!(of(wire).headers, shown);
    assert!(plain("PUT /x\nX-Tenant: shop\nIf-Match: \"1\""));
}

#[test]
fn what_a_client_says_each_time_is_shown_behind_it_and_binds_no_pattern() {
    for (header, shown) in [
        ("Content-Type: text/plain", "content-type: text/plain"),
        ("Content-Encoding: gzip", "content-encoding: gzip"),
        ("X-Ms-Version: 2026-01-01", "x-ms-version: 2026-01-01"),
    ] {
        let wire = format!("PUT /x\n{header}\nX-Tenant: shop");
        assert_eq!(of(&wire).headers, ["x-tenant: shop", shown]);
        assert!(plain(&wire), "{header}");
        let name = shown.split(':').next().unwrap();
        assert!(is_of_a_client(name) && !steers(name), "{header}");
    }
    let upgrade = "PUT /x\nUpgrade: websocket";
    assert_eq!(of(upgrade).headers, ["upgrade: websocket"]);
    assert!(!plain(upgrade));
}

#[test]
fn credentials_that_are_signed_for_each_try_have_one_mark() {
    let of = |scheme: &str, signature: &str| {
        of(&format!(
            "PUT /x\nAuthorization: {scheme} Credential=AKIA/20261120/eu/s3/aws4_request, Signature={signature}"
        ))
    };
    let shown = of("AWS4-HMAC-SHA256", "a");
    assert!(shown.headers[0].starts_with("authorization: (left out, as "));
    assert_eq!(of("AWS4-HMAC-SHA256", "b"), shown);
    assert_ne!(of("Bearer", "a"), of("Bearer", "b"));
}

#[test]
fn what_says_nothing_of_it_and_credentials_are_left_out() {
    for header in [
        "User-Agent: curl",
        "Accept: a/b",
        "Accept-Encoding: gzip",
        "Origin: http://photos",
        "Referer: http://photos/",
        "Upgrade: h2c",
        "X-Amz-Date: 20261120T000000Z",
        "X-Amz-Content-Sha256: ab",
        "Sec-Fetch-Mode: cors",
        "traceparent: 00-1-2-00",
        "Idempotency-Key: 1",
    ] {
        let wire = format!("PUT /x\n{header}");
        assert_eq!(of(&wire), ShownHeaders::default(), "{header}");
        assert!(plain(&wire));
    }
    for name in [
        "authorization",
        "cookie",
        "proxy-authorization",
        "sec-websocket-protocol",
        "x-amz-security-token",
        "x-api-key",
        "x-vault-token",
        "private-token",
        "x-auth",
        "cf-access-client-secret",
        "jenkins-crumb",
        "dd-api-key",
        "x-amz-server-side-encryption-customer-key",
        "x_csrf_token",
    ] {
        let wire = format!("PUT /x\n{name}: secret");
        let shown = of(&wire).headers;
        assert!(
            shown[0].starts_with(&format!("{name}: (left out, as ")),
            "{shown:?}"
        );
        assert_eq!(of(&wire).headers, shown);
        assert_ne!(of(&format!("PUT /x\n{name}: other")).headers, shown);
        assert!(plain(&wire), "{name}");
    }
}

#[test]
fn what_is_not_all_shown_is_no_patterns() {
    let long = format!("PUT /x\nX-Tenant: {}", "a".repeat(2000));
    let many: String = (0..20).map(|n| format!("\nX-N{n}: 1")).collect();
    let much: String = (0..9)
        .map(|n| format!("\nX-N{n}: {}", "a".repeat(900)))
        .collect();
    for wire in [long, format!("PUT /x{many}"), format!("PUT /x{much}")] {
        let said = of(&wire);
        assert!(said.is_cut && !plain(&wire), "{said:?}");
        assert!(said.headers.iter().map(String::len).sum::<usize>() < 6000);
        assert!(said.headers.len() <= 16);
    }
    // Two values that are no text look the same.
    let mut other = Wire::of("PUT /x");
    let bytes = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    other.headers.insert("x-tenant", bytes);
    let shown = said(&other.request(), None);
    assert_eq!(shown.headers, ["x-tenant: caf\u{fffd}"]);
    assert!(!is_plain(&other.request(), Some(&[]), &shown));
    let steering = format!("PUT /x{many}\nDestination: /other");
    assert_eq!(of(&steering).headers[0], "destination: /other");
}

#[test]
fn trailers_are_shown_like_headers() {
    let wire = Wire::of("PUT /x");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-tenant", "shop".parse().unwrap());
    let said = said(&wire.request(), Some(&trailers));
    assert_eq!(said.headers, ["x-tenant: shop"]);
}
