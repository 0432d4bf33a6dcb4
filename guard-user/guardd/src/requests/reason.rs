//! The reason that an agent gives for a request: the line that a person sees, and a warning where it speaks of something else.

use std::net::{IpAddr, SocketAddr};

use guard_proto::Endpoint;
use guard_signed::visible::is_unseen;

use crate::control::advice;

/// Characters that are kept of a reason.
const MAX_CHARS: usize = 500;
/// What makes a link of words where Markdown is read or a chat shows it, and the same without a link.
const LINKS: [(&str, &str); 4] = [("](", "] ("), ("][", "] ["), ("]:", "] :"), ("<", "< ")];
/// Endings of files, which agents write about more often than about hosts of these countries.
const FILES: [&str; 12] = [
    "cfg", "conf", "env", "js", "json", "lock", "md", "py", "rs", "sh", "toml", "ts",
];

/// Returns the reason on one line: runs of blanks are one blank, characters that nobody sees are left out, and nothing in it is a link.
pub(crate) fn on_one_line(reason: &str) -> String {
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let words = reason.split(is_blank).map(|word| {
        let seen = word.chars().filter(|c| !is_unseen(*c));
        seen.collect::<String>()
    });
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let line: String = words.join(" ").chars().take(MAX_CHARS).collect();
    LINKS
        .iter()
        .fold(line, |line, (link, text)| line.replace(link, text))
}

/// Returns a warning where a reason names another place, port, rule or request than the one that it is for.
pub(crate) fn warning(reason: &str, to: &Endpoint, rule: Option<&str>) -> Option<String> {
    let is_between = |c: char| c.is_whitespace() || "\"'`(),;<>".contains(c);
    let words = reason.split(is_between);
    let words = words.map(|word| word.trim_end_matches(['.', ':', '!', '?']));
    let mut before = "";
    for word in words.filter(|word| !word.is_empty()) {
        let is_port = before.eq_ignore_ascii_case("port");
        let port = word.parse().ok().filter(|_| is_port).or(port_of(word));
        let other = match (place(word), port) {
            (Some(place), _) if !place.is(to) => Some(word.to_owned()),
            (None, Some(port)) if to.port != Some(port) => Some(format!("port {port}")),
            _ => None,
        };
        if let Some(other) = other {
            let to = advice::destination(to);
            return Some(format!(
                "the agent's reason names {other}, but this request is for {to}"
            ));
        }
        if before.eq_ignore_ascii_case("rule") && word.len() > 2 && Some(word) != rule {
            let rule = rule.map_or_else(
                || "the policy's default".to_owned(),
                |rule| format!("the rule {rule}"),
            );
            return Some(format!(
                "the agent's reason names the rule {word}, but {rule} stops this"
            ));
        }
        let number = word.strip_prefix('r');
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
            return Some(format!(
                "the agent's reason names {word}: what became of a request, guard log says"
            ));
        }
        before = word;
    }
    None
}

/// A place that a word names.
struct HostPlace<'w> {
    host: &'w str,
    port: Option<u16>,
}

impl HostPlace<'_> {
    fn is(&self, to: &Endpoint) -> bool {
        let address = |text: &str| text.parse().ok().map(|one: IpAddr| one.to_canonical());
        let is_address = address(self.host).is_some_and(|own| Some(own) == address(&to.address));
        let is_host = to
            .host
            .as_ref()
            .is_some_and(|host| host.eq_ignore_ascii_case(self.host));
        (is_address || is_host) && self.port.is_none_or(|port| to.port == Some(port))
    }
}

/// Returns the port of a word like `tcp/443`.
fn port_of(word: &str) -> Option<u16> {
    let (protocol, port) = word.split_once('/')?;
    let is_protocol = ["tcp", "udp"]
        .iter()
        .any(|one| protocol.eq_ignore_ascii_case(one));
    port.parse().ok().filter(|_| is_protocol)
}

/// Returns the place of an address, a URL, or a name with a dot or a port. Files have names with dots as well.
fn place(word: &str) -> Option<HostPlace<'_>> {
    let (is_url, rest) = match word.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, word),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_path = !is_url && authority.len() < rest.len();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Some(HostPlace {
            host: bare,
            port: None,
        });
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (authority, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if authority.parse::<SocketAddr>().is_ok() {
        return Some(HostPlace { host, port });
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_name = |c: char| c.is_alphanumeric() || c == '-' || c == '.';
    let has_letters = last.len() > 1 && last.chars().all(char::is_alphabetic);
    let is_named = host.contains('.') || port.is_some() || is_url;
    let is_file = !is_url && (is_path || FILES.contains(&last));
    let is_place = is_named && has_letters && !is_file && host.chars().all(is_name);
    is_place.then_some(HostPlace { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_reason_is_one_line_without_links_and_unseen_letters() {
        for (said, shown) in [
            ("a\n\x1b[2Jb", "a [2Jb"),
            (
                &format!("x{}and delete all", " ".repeat(400)),
                "x and delete all",
            ),
            ("a\u{202e}b\u{200b}c\u{2066}d\u{a0}\u{2028}e", "abcd e"),
            (
                "see [docs](https://x.example) ![](y)",
                "see [docs] (https://x.example) ![] (y)",
            ),
            (
                "<https://x.example|docs> [a][b]",
                "< https://x.example|docs> [a] [b]",
            ),
        ] {
            assert_eq!(on_one_line(said), shown);
        }
        assert_eq!(on_one_line(&"x".repeat(10_000)).len(), MAX_CHARS);
    }

    #[test]
    fn a_reason_that_names_something_else_than_its_request_is_flagged() {
        let to = Endpoint {
            address: "198.51.100.20".to_owned(),
            port: Some(5432),
            protocol: "tcp".to_owned(),
            host: Some("db.shop.example".to_owned()),
        };
        for (reason, named) in [
            ("to read the queue", None),
            (
                "198.51.100.20:5432 or db.shop.example, port 5432 (tcp/5432)",
                None,
            ),
            (
                "postgres://me@DB.shop.example:5432/shop. rule orders, as main.rs:45 and src/db.rs say",
                None,
            ),
            ("at 12:30, version 1.2.3, e.g. a rule of thumb", None),
            (
                "for 192.0.2.99:443, the test server",
                Some("192.0.2.99:443"),
            ),
            ("for [2001:db8::1]:5432", Some("[2001:db8::1]:5432")),
            (
                "staging.shop.example is a copy",
                Some("staging.shop.example"),
            ),
            ("https://dev/x", Some("https://dev/x")),
            ("198.51.100.20:80", Some("198.51.100.20:80")),
            ("the test database at port 5433", Some("port 5433")),
            ("only tcp/80", Some("port 80")),
            ("staging, see rule dev (allow)", Some("the rule dev")),
            ("r9 approved by root", Some("r9")),
        ] {
            let warning = warning(reason, &to, Some("orders"));
            let said = named.map(|named| format!("the agent's reason names {named}"));
            let is_said = |said: &String| warning.as_ref().is_some_and(|one| one.starts_with(said));
            assert!(
                said.as_ref().map_or(warning.is_none(), is_said),
                "{reason}: {warning:?}"
            );
        }
    }
}
