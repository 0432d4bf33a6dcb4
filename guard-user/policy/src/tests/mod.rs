//! Tests of the whole room. What concerns one file only is tested there.

mod diff;
mod documents;
mod errors;
mod hostile;
mod names;
mod oracle;
mod random;
mod worked;

use super::{
    diagnostic::render,
    model::{Environment, Policy},
    parse::parse,
};

/// A policy that must be right.
fn policy(text: &str) -> Policy {
    match parse("test.toml", text) {
        Ok(parsed) => parsed.policy,
        Err(found) => panic!("{}", render(&found, text, false)),
    }
}

/// What is said about a policy that must be wrong.
fn complaint(text: &str) -> String {
    let found = parse("test.toml", text).expect_err("it is wrong");
    render(&found, text, false)
}

/// The environment of the tests: names below `example`, resolvers, and this machine.
fn environment() -> Environment {
    let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Environment {
        names: [
            ("a.example".to_owned(), ips(&["192.0.2.5", "2001:db8::5"])),
            ("b.example".to_owned(), ips(&["192.0.2.5", "192.0.2.6"])),
        ]
        .into(),
        dns: ips(&["192.0.2.53", "2001:db8::53"]),
        host: ips(&["10.0.0.1", "192.0.2.1"]),
        on_link: [
            "11.16.0.0/12",
            "192.0.0.0/23",
            "192.0.2.0/25",
            "198.18.0.0/24",
            "64:ff9b:1::/64",
            "2001:db8::/48",
            "2001:db8::/64",
        ]
        .map(|network| network.parse().unwrap())
        .into(),
        ..Environment::default()
    }
}
