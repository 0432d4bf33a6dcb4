//! Headers that name another host than the request does. Servers behind a proxy take it from there, for links and for tenants.

use http::header;

use super::{RequestHead, headers};

/// `Forwarded` is RFC 7239.
pub(super) const NAMES: &[&str] = &[
    "forwarded",
    "x-forwarded-host",
    "x-host",
    "x-http-host-override",
    "x-original-host",
];

/// The headers that name another host, with their values.
pub(super) fn others<'h>(request: &RequestHead<'h>) -> impl Iterator<Item = (&'h str, &'h [u8])> {
    let asked = asked(request).map(str::to_ascii_lowercase);
    headers::matching(request.headers, NAMES)
        .filter(move |(name, value)| is_other(name, value, asked.as_deref()))
}

/// Whether one of these headers, as a person is shown them, names another host than that.
pub(super) fn are_for_another(said: &[String], host: &str) -> bool {
    let asked = without_port(host).to_ascii_lowercase();
    let mut said = said.iter().filter_map(|one| one.split_once(": "));
    said.any(|(name, value)| {
        headers::is_one_of(name, NAMES) && is_other(name, value.as_bytes(), Some(&asked))
    })
}

/// Whether a header of one of these names says another host than the one that was asked for, which is in lower case.
fn is_other(name: &str, value: &[u8], asked: Option<&str>) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let other = |host: &str| asked != Some(without_port(host));
    if headers::is_one_of(name, &["forwarded"]) {
        forwarded(&text).any(other)
    } else {
        text.split(',').map(str::trim).any(other)
    }
}

/// The host that a request is for.
pub(super) fn asked<'h>(request: &RequestHead<'h>) -> Option<&'h str> {
    let named = request.headers.get(header::HOST);
    let named = named.and_then(|host| host.to_str().ok());
    named.map(without_port).or_else(|| request.uri.host())
}

/// The hosts in `for=192.0.2.43;host=example.com`.
fn forwarded(text: &str) -> impl Iterator<Item = &str> {
    let pairs = text
        .split([',', ';'])
        .filter_map(|pair| pair.split_once('='));
    let hosts = pairs.filter(|(name, _)| name.trim() == "host");
    hosts.map(|(_, host)| host.trim().trim_matches('"'))
}

fn without_port(host: &str) -> &str {
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match host.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => host,
    }
}
