//! Tests of the whole room, by requests as they go over the wire.

mod aws;
mod defaults;
mod docker;
mod elasticsearch;
mod fuzz;
mod git;
mod graphql;
mod graphql_oracle;
mod http_rules;
mod kinds;
mod kubernetes;
mod models;
mod monitoring;
mod paths;
mod rpc;
mod said;
mod services;
mod several;
mod warnings;
mod webdav;

use guard_policy::{Profile, parse};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::{Judgement, RequestHead, Rules, judge};

/// A request as it goes over the wire: `POST /path`, headers, an empty line, the body.
struct Wire {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Wire {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        Self {
            method: method.parse().unwrap(),
            uri: target.parse().unwrap(),
            headers,
            body: body.as_bytes().to_vec(),
        }
    }

    fn request(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            uri: &self.uri,
            headers: &self.headers,
            has_body: !self.body.is_empty(),
            is_secure: true,
        }
    }

    /// As the proxy does: the body only where it is asked for.
    fn judge(&self, rules: &Rules) -> Judgement {
        match judge(rules, &self.request(), None) {
            Judgement::NeedsBody { .. } => judge(rules, &self.request(), Some(&self.body)),
            other => other,
        }
    }
}

/// What is judged, in a few words.
fn said(rules: &Rules, wire: &str) -> String {
    let judgement = Wire::of(wire).judge(rules);
    assert!(!judgement.because().is_empty());
    match judgement {
        Judgement::Read { .. } => "read".to_owned(),
        Judgement::Denied { .. } => "denied".to_owned(),
        Judgement::Write(write) => write.kind,
        Judgement::NeedsBody { .. } => panic!("the body was given: {wire}"),
    }
}

/// The rules of a policy's first rule; `keys` is what stands under it.
fn rules(keys: &str) -> Rules {
    let text = format!(
        "[[rule]]\nname = \"lab\"\nto = [\"192.0.2.10\"]\naction = \"read-only\"\n{keys}\n"
    );
    let policy = parse("test.toml", &text).unwrap().policy;
    let rules = Rules::of(&policy.rules[0]);
    let json = serde_json::to_string(&rules).unwrap();
    assert_eq!(serde_json::from_str::<Rules>(&json).unwrap(), rules);
    rules
}

fn profile(profile: Profile) -> Rules {
    Rules {
        name: Some("lab".to_owned()),
        profiles: vec![profile],
        ..Rules::default()
    }
}

fn read(rules: &Rules, wires: &[&str]) {
    for wire in wires {
        assert_eq!(said(rules, wire), "read", "{wire}");
    }
}

fn asked(rules: &Rules, wires: &[(&str, &str)]) {
    for (wire, kind) in wires {
        assert_eq!(said(rules, wire), *kind, "{wire}");
    }
}

/// Asked about, in whichever words.
fn not_read(rules: &Rules, wires: &[&str]) {
    for wire in wires {
        let said = said(rules, wire);
        assert!(said != "read" && said != "denied", "{wire}: {said}");
    }
}
