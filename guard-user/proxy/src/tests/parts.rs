//! What the proxy reads beside HTTP/1: heads of HTTP/2, a server's first word, and what guardd and the proxy say.

use guard_rounds::rounds;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, uri::Scheme};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    super::{
        greeted::Greeted,
        headers,
        upstream::Version,
        wire::{ToDaemon, ToProxy},
    },
    *,
};

const URIS: &[&str] = &[
    "/x?y",
    "http://photos/x",
    "https://photos/x",
    "http://user@photos/x",
    "http://photos:80",
    "photos:80",
    "*",
    "ftp://photos/",
];

const NAMES: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "content_length",
    "transfer-encoding",
    "transfer_encoding",
    "te",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "authorization",
    "cookie",
    "x",
];

const VALUES: &[&str] = &[
    "photos",
    "staging",
    "",
    "close",
    "host, x, content-length, te, cookie",
    "X,,upgrade",
    "trailers",
    "gzip, Trailers",
    "h2c",
    "a@b",
    "5",
    "\u{e9}",
];

fn heads() -> impl Strategy<Value = Request<()>> {
    let field = (select(NAMES), select(VALUES));
    (select(URIS), vec(field, 0..8)).prop_map(|(uri, fields)| {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static(uri);
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request
                .headers_mut()
                .append(HeaderName::from_static(name), value);
        }
        request
    })
}

/// RFC 9110 7.6.1, RFC 9113 8.2.2.
const OF_ONE_CONNECTION: [&str; 5] = [
    "connection",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
    "proxy-connection",
];

/// What the destination judges by.
const KEPT: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::HOST,
];

fn of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h HeaderValue> {
    headers.get_all(name).iter().collect()
}

/// What a server says, in parts as they come.
fn heard(parts: &[Vec<u8>]) -> (Vec<u8>, bool, bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut server, client) = tokio::io::duplex(1 << 16);
        let (mut greeted, mut told) = Greeted::new(client);
        let mut got = Vec::new();
        let mut failed = false;
        for part in parts {
            server.write_all(part).await.unwrap();
            let mut buffer = [0; 64];
            match greeted.read(&mut buffer[..part.len().max(1)]).await {
                Ok(read) => got.extend_from_slice(&buffer[..read]),
                Err(_) => failed = true,
            }
            if failed {
                break;
            }
        }
        (got, told.try_recv().is_ok(), failed)
    })
}

/// Words of both, with pieces of JSON in between.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"say\"",
    "\"ask\"",
    "\"terms\"",
    "\"log\"",
    "\"answer\"",
    "\"yes\"",
    "\"no\"",
    "\"number\"",
    "\"target\"",
    "\"request\"",
    "\"rules\"",
    "\"session\"",
    "\"address\"",
    "\"192.0.2.1\"",
    "\"::\"",
    "\"port\"",
    "1",
    "-1",
    "65536",
    "1e999",
    "null",
    "\"\\ud800\"",
    "\"",
];

const SAID: &[&str] = &[
    r#"{"say":"terms","number":1,"target":{"session":1,"address":"192.0.2.1","port":80,"listener":0}}"#,
    r#"{"say":"gone","number":18446744073709551615}"#,
    r#"{"say":"sockets","network":0}"#,
    r#"{"say":"log","target":{"session":1,"address":"::1","port":80,"listener":7},"entry":{"outcome":"refused","method":"é\u0000","path":null,"host":null,"rule":null,"why":null,"status":400}}"#,
    r#"{"say":"answer","number":1,"verdict":{"answer":"no","request":null,"why":"","fix":""}}"#,
    r#"{"say":"terms","number":1,"terms":{"rules":[],"account":1}}"#,
    r#"{"say":"hello"}"#,
    r#"{"say":"listen","network":1,"cookie":1}"#,
];

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let words = vec(select(WORDS), 0..12).prop_map(|words| words.concat().into_bytes());
    let changed = (select(SAID), any::<usize>(), any::<u8>(), any::<bool>());
    let changed = changed.prop_map(|(said, at, byte, changes)| {
        let mut said = said.as_bytes().to_vec();
        let at = at % said.len();
        if changes {
            said[at] = byte;
        }
        said
    });
    prop_oneof![words, changed, vec(any::<u8>(), 0..40)]
}

proptest! {
    #![proptest_config(rounds(2_000))]

    #[test]
    fn a_head_of_http2_names_one_host_or_is_refused(head in heads()) {
        let (mut parts, ()) = head.into_parts();
        let hosts: Vec<_> = parts.headers.get_all(header::HOST).iter().cloned().collect();
        if headers::normalise(&mut parts, Version::Http2, &Scheme::HTTP).is_ok() {
            let authority = parts.uri.authority().unwrap().as_str().to_owned();
            prop_assert!(hosts.iter().all(|host| host.as_bytes() == authority.as_bytes()));
            prop_assert!(hosts.len() <= 1 && !authority.contains('@'));
            // Without one it is the target of a CONNECT, which has no path either.
            let scheme = parts.uri.path_and_query().map(|_| "http");
            prop_assert_eq!(parts.uri.scheme_str(), scheme);
            prop_assert!(!parts.headers.contains_key("content_length"));
            prop_assert!(!parts.headers.contains_key("transfer_encoding"));
        }
    }

    #[test]
    fn a_head_of_http1_names_a_path_alone(head in heads()) {
        let (mut parts, ()) = head.into_parts();
        headers::normalise(&mut parts, Version::Http1, &Scheme::HTTP).unwrap();
        prop_assert!(parts.uri.authority().is_none() && parts.uri.scheme().is_none());
        prop_assert!(parts.uri.path_and_query().is_some());
    }

    #[test]
    fn what_is_for_one_connection_never_goes_on_and_the_rest_is_not_lost(head in heads()) {
        let before = head.headers();
        let mut after = before.clone();
        headers::strip(&mut after);
        for name in OF_ONE_CONNECTION {
            prop_assert!(!after.contains_key(name));
        }
        for name in &KEPT {
            prop_assert_eq!(of(&after, name), of(before, name));
        }
        prop_assert!(after.get_all("te").iter().all(|te| te == "trailers"));
        let once = after.clone();
        headers::strip(&mut after);
        prop_assert_eq!(after, once);
    }

    #[test]
    fn a_server_has_greeted_once_its_first_frame_is_its_settings(
        parts in vec(vec(prop_oneof![Just(4), Just(0), any::<u8>()], 1..12), 0..4),
    ) {
        let all = parts.concat();
        let (got, told, failed) = heard(&parts);
        let kind = all.get(3).filter(|_| all.len() >= 9);
        prop_assert_eq!((told, failed), (kind == Some(&4), kind.is_some_and(|kind| *kind != 4)));
        prop_assert!(all.starts_with(&got));
        prop_assert!(failed || got == all);
    }

    #[test]
    fn what_is_said_is_understood_as_it_was_meant_or_not_at_all(bytes in messages()) {
        if let Ok(said) = serde_json::from_slice::<ToDaemon>(&bytes) {
            let text = serde_json::to_string(&said).unwrap();
            let again: ToDaemon = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(format!("{again:?}"), format!("{said:?}"));
        }
        if let Ok(said) = serde_json::from_slice::<ToProxy>(&bytes) {
            let text = serde_json::to_string(&said).unwrap();
            let again: ToProxy = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(format!("{again:?}"), format!("{said:?}"));
        }
    }
}
