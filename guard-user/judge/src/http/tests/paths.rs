//! Readings of paths, against servers that read them.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{
    super::{Judgement, RequestHead, judge, path::Paths},
    Rules, Wire, rules,
};

/// Decodes each `%` once, as most servers do.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn merge_slashes(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("//") {
        text = text.replace("//", "/");
    }
    text
}

/// The steps of RFC 3986 5.2.4 as the RFC writes them down.
fn remove_dots(text: &str) -> String {
    let (mut input, mut output) = (text.to_owned(), String::new());
    while !input.is_empty() {
        if let Some(rest) = input.strip_prefix("/./") {
            input = format!("/{rest}");
        } else if input == "/." {
            input = "/".to_owned();
        } else if let Some(rest) = input.strip_prefix("/../") {
            input = format!("/{rest}");
            output.truncate(output.rfind('/').unwrap_or(0));
        } else if input == "/.." {
            input = "/".to_owned();
            output.truncate(output.rfind('/').unwrap_or(0));
        } else if input == "." || input == ".." {
            input.clear();
        } else {
            let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.push_str(&input[..end]);
            input = input[end..].to_owned();
        }
    }
    output
}

fn strip_parameters(text: &str) -> String {
    let segments = text.split('/').map(|s| s.split(';').next().unwrap_or(""));
    segments.collect::<Vec<_>>().join("/")
}

type Server = fn(&str) -> String;

/// What different servers take a path for.
const SERVERS: &[(&str, Server)] = &[
    ("as it is", str::to_owned),
    ("decoded", decode),
    ("nginx", |p| {
        merge_slashes(&remove_dots(&merge_slashes(&decode(p))))
    }),
    ("nginx, merge_slashes off", |p| remove_dots(&decode(p))),
    ("Tomcat", |p| {
        remove_dots(&merge_slashes(&decode(&strip_parameters(p))))
    }),
    ("IIS", |p| remove_dots(&decode(p).replace('\\', "/"))),
    ("Go", |p| remove_dots(&merge_slashes(&decode(p)))),
    ("dots before decoding", |p| decode(&remove_dots(p))),
    ("a proxy, then Tomcat", |p| {
        remove_dots(&merge_slashes(&decode(&strip_parameters(&decode(
            &remove_dots(p),
        )))))
    }),
    ("nginx, then IIS", |p| {
        remove_dots(&decode(&merge_slashes(&remove_dots(&decode(p)))).replace('\\', "/"))
    }),
    ("decoded twice", |p| remove_dots(&decode(&decode(p)))),
    ("old UTF-8", |p| {
        remove_dots(&merge_slashes(&decode(&shorten(p))))
    }),
    ("old UTF-8, behind nginx", |p| {
        remove_dots(&decode(&shorten(&remove_dots(p))))
    }),
    ("best fit", |p| {
        remove_dots(&best_fit(&decode(p)).replace('\\', "/"))
    }),
    ("best fit, then decoded again", |p| {
        remove_dots(&merge_slashes(&decode(&best_fit(&decode(p)))))
    }),
    ("dots, then best fit", |p| {
        merge_slashes(&best_fit(&decode(&remove_dots(p))))
    }),
];

fn shorten(text: &str) -> String {
    let text = text.replace("%c0%af", "/").replace("%e0%80%af", "/");
    text.replace("%c0%ae", ".").replace("%c1%a1", "a")
}

fn best_fit(text: &str) -> String {
    let text = text.replace(['\u{ff0f}', '\u{2215}', '\u{2044}'], "/");
    let text = text.replace(['\u{ff0e}', '\u{2024}'], ".");
    text.replace('\u{ff41}', "a").replace('\u{ff05}', "%")
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "/",
        "//",
        "/api/",
        "/admin/",
        "api",
        "admin",
        "x",
        "..",
        ".",
        "/../",
        "/./",
        "%2f",
        "%2F",
        "%2e",
        "%2e%2e",
        "%252e",
        "%252f",
        "\\",
        "%5c",
        ";",
        ";a=b",
        "..;",
        "%3b",
        "%61dmin",
        "%61pi",
        "a",
        "%20",
        "é",
        "%c0%af",
        "%c0%ae",
        "%e0%80%af",
        "%c1%a1dmin",
        "%ef%bc%8f",
        "%e2%88%95",
        "%ef%bd%81dmin",
        "%ef%bc%8e",
        "%e2%80%a4",
        "%ef%bc%852f",
        "%ef%bd%81",
    ])
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..9).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// A path with each of its characters spelt in one of the ways that some server reads.
fn spelt(path: &'static str) -> impl Strategy<Value = String> {
    let ways = prop::collection::vec(0..9_u8, path.len());
    ways.prop_map(|ways| {
        let each = path.chars().zip(ways);
        each.map(|(c, way)| one_way(c, way)).collect()
    })
}

fn one_way(c: char, way: u8) -> String {
    let code = u32::from(c);
    // U+FF01 to U+FF5E are the printable characters of ASCII, full width.
    let wide = char::from_u32(0xfee0 + code).unwrap();
    let encode = |text: &str| -> String { text.bytes().map(|b| format!("%{b:02x}")).collect() };
    match way {
        0 => encode(&c.to_string()),
        1 => encode(&encode(&c.to_string())),
        2 => format!("%{:02x}%{:02x}", 0xc0 | code >> 6, 0x80 | code & 0x3f),
        3 => format!("%e0%{:02X}%{:02X}", 0x80 | code >> 6, 0x80 | code & 0x3f),
        4 => encode(&wide.to_string()),
        _ => c.to_string(),
    }
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    rules(
        r#"
[[rule.http]]
path = "/admin/*"
action = "deny"
[[rule.http]]
path = "/api/*"
action = "allow"
"#,
    )
});

proptest! {
    #![proptest_config(guard_rounds::rounds(2_000))]

    #[test]
    fn no_server_is_let_reach_what_is_stopped(path in path()) {
        let Ok(uri) = path.parse::<http::Uri>() else { return Ok(()) };
        let wire = Wire::of("POST /");
        let request = RequestHead { uri: &uri, ..wire.request() };
        let judgement = judge(&RULES, &request, None);
        for (server, read) in SERVERS {
            let read = read(uri.path());
            if read.starts_with("/admin/") {
                prop_assert!(matches!(judgement, Judgement::Denied { .. }), "{} {}", server, path);
            }
            if !read.starts_with("/api/") {
                prop_assert!(!matches!(judgement, Judgement::Read { .. }), "{} {}", server, path);
            }
        }
    }

    #[test]
    fn no_spelling_of_what_is_stopped_passes(path in spelt("/admin/x")) {
        for method in ["GET", "POST"] {
            prop_assert_eq!(super::said(&RULES, &format!("{method} /{path}")), "denied", "{}", path);
        }
    }

    #[test]
    fn no_spelling_of_a_way_in_reads(path in spelt("/api/v1/nodes/n/proxy")) {
        static CLUSTER: LazyLock<Rules> = LazyLock::new(|| rules("profile = \"kubernetes\""));
        super::not_read(&CLUSTER, &[&format!("GET /{path}")]);
    }

    #[test]
    fn plain_paths_have_one_reading(path in "(/[a-zA-Z0-9_~-]{1,5}){1,5}") {
        let paths = Paths::of(&path, &[]);
        prop_assert_eq!(paths.readings().collect::<Vec<_>>(), vec![path.as_str()]);
        prop_assert_eq!(paths.ambiguous().or(paths.broken()), None);
    }

    #[test]
    fn any_text_has_readings(path in any::<String>(), other in any::<String>()) {
        let paths = Paths::of(&path, &[other]);
        prop_assert!(paths.readings().any(|reading| reading == path));
        prop_assert!(paths.readings().count() < 1_000 || paths.has_more());
    }
}

#[test]
fn too_many_readings_stop() {
    let path = format!("/{}x", "a/../;b/%2e/".repeat(1_000));
    let stops = rules("[[rule.http]]\npath = \"/admin/*\"\naction = \"deny\"");
    let plain = rules("");
    assert_eq!(super::said(&stops, &format!("GET {path}")), "denied");
    assert_eq!(
        super::said(&plain, &format!("GET {path}")),
        "reads something (GET), on an unreadable path"
    );
    let long = format!("/{}", "a/".repeat(10_000));
    super::read(&stops, &[&format!("GET {long}")]);
}
