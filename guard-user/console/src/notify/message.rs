//! What is sent: the number of a request, the machine, and a link.

use guard_proto::Request;
use serde::{Deserialize, Serialize};

use crate::{
    Settings,
    pages::{place, questions::link},
};

/// Requests that are named; the others are counted.
const NAMED: usize = 5;

/// A request, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestLine {
    /// What it is known by: one about many more destinations is another, as it is to guardd.
    pub(crate) key: String,
    /// `r1`
    pub(crate) id: String,
    /// The outermost session: one that starts others inside is notified of no more often for that.
    pub(crate) session: String,
    /// Whether a signed yes takes a code.
    pub(crate) has_code: bool,
    /// Protocol, address and port, where they are to be sent. A name would be the agent's words.
    pub(crate) to: Option<String>,
}

impl RequestLine {
    pub(crate) fn of(request: &Request, tells_address: bool) -> Self {
        let outermost = request.chain.first();
        let outermost = outermost.map_or(&request.session, |link| &link.session);
        let to = &request.destination;
        let to = format!("{} {}", to.protocol, place(&to.address, to.port));
        Self {
            key: format!("{}.{}", request.id, request.size()),
            id: request.id.clone(),
            session: outermost.clone(),
            has_code: request.code.is_some(),
            to: tells_address.then_some(to),
        }
    }

    fn told(&self) -> String {
        match &self.to {
            Some(to) => format!("{} ({to})", self.id),
            None => self.id.clone(),
        }
    }
}

/// A message, for any service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) title: String,
    pub(crate) text: String,
    /// The page of the request, or of all.
    pub(crate) link: String,
}

impl Message {
    /// About some requests, on the machine that questions call so.
    pub(crate) fn of(lines: &[RequestLine], settings: &Settings, machine: &str) -> Self {
        let name = rustix::system::uname();
        let name = name.nodename().to_string_lossy();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let host = if !name.is_empty() && name.chars().all(is_plain) {
            &*name
        } else {
            machine
        };
        let code = if lines.iter().any(|line| line.has_code) {
            ". A yes takes a code, which guard pending shows on the machine"
        } else {
            ""
        };
        let place = match lines {
            [only] => link(machine, &only.id),
            _ => "/".to_owned(),
        };
        Self {
            title: format!("guard on {host}"),
            text: format!("{}{code}", asked(lines)),
            link: format!("{}{place}", settings.origin),
        }
    }
}

fn asked(lines: &[RequestLine]) -> String {
    let named: Vec<_> = lines.iter().take(NAMED).map(RequestLine::told).collect();
    let more = lines.len().saturating_sub(NAMED);
    match (&named[..], more) {
        ([only], _) => format!("Request {only} asks for an answer"),
        ([first @ .., last], 0) => {
            format!("Requests {} and {last} ask for an answer", first.join(", "))
        }
        (named, more) => format!(
            "Requests {} and {more} more ask for an answer",
            named.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize, to: Option<&str>, has_code: bool) -> Vec<RequestLine> {
        let line = |number| RequestLine {
            key: format!("r{number}.0"),
            id: format!("r{number}"),
            session: "s1".to_owned(),
            has_code,
            to: to.map(str::to_owned),
        };
        (1..=count).map(line).collect()
    }

    fn told(lines: &[RequestLine]) -> Message {
        Message::of(lines, &Settings::default(), "m-1")
    }

    #[test]
    fn one_links_to_its_page_and_several_to_all() {
        let one = told(&lines(1, None, false));
        assert_eq!(one.text, "Request r1 asks for an answer");
        assert_eq!(one.link, "http://guard.localhost:4827/q/m-1/r1");
        assert!(one.title.starts_with("guard on "));
        let two = told(&lines(2, Some("tcp [2001:db8::1]:443"), false));
        assert_eq!(
            two.text,
            "Requests r1 (tcp [2001:db8::1]:443) and r2 (tcp [2001:db8::1]:443) ask for an answer"
        );
        assert_eq!(two.link, "http://guard.localhost:4827/");
        let many = told(&lines(30, None, true));
        assert_eq!(
            many.text,
            "Requests r1, r2, r3, r4, r5 and 25 more ask for an answer. A yes takes a code, which guard pending shows on the machine"
        );
    }
}
