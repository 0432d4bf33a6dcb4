//! Obstacles: parts of a request by which a server may do more than the method says.

use super::{body::Body, facts::Facts, headers, method};

/// Why a request is not what it seems to be.
pub(super) struct Obstacle {
    /// What it does, for a person.
    pub(super) kind: String,
    pub(super) because: String,
}

/// What stands in the way of letting a request through, whatever a profile says.
pub(super) fn find(facts: &Facts<'_>) -> Option<Obstacle> {
    overridden(facts)
        .or_else(|| elsewhere(facts))
        .or_else(|| upgraded(facts))
}

/// Returns what in a request may have the server do something else, or elsewhere, than its method and path say. Whatever lets a
/// request through asks this: the default, an HTTP rule, and a hole. The methods are [`Facts::methods`]' business.
pub(super) fn elsewhere(facts: &Facts<'_>) -> Option<Obstacle> {
    rewritten(facts)
        .or_else(|| in_query(facts))
        .or_else(|| broken(facts))
}

/// Returns why a form in the body may name a method that is not known.
pub(super) fn unknown_form(because: &str) -> Obstacle {
    Obstacle {
        kind: "may have another method, which its form says".to_owned(),
        because: because.to_owned(),
    }
}

/// Judgement of a body where the method only reads.
pub(super) enum ReadsBody {
    /// Nothing.
    Plain,
    /// It has to be read first.
    Unread,
    /// Servers may act on it.
    Stops(Obstacle),
}

/// Judges a body where the method gives it no meaning (RFC 9110 9.3.1), and where WebDAV's methods say in XML what is asked for: a
/// server that does not look at the method acts on whatever else is in it.
pub(super) fn body(facts: &Facts<'_>) -> ReadsBody {
    if !facts.is_safe() || !facts.has_body {
        return ReadsBody::Plain;
    }
    let method = facts.method;
    let because = match facts.body {
        _ if !method::has_use_for_body(method) => {
            format!("a {method} has no use for a body, and this one has one")
        }
        Body::Whole(body) if body.is_empty() || is_of_dav(body) => return ReadsBody::Plain,
        Body::Unread => return ReadsBody::Unread,
        Body::Whole(_) => format!("the body of a {method} is XML of WebDAV, and this one is not"),
        Body::TooLong => format!("the body of this {method} is too long to be judged"),
    };
    ReadsBody::Stops(Obstacle {
        kind: format!("sends a body with {method}"),
        because,
    })
}

/// Returns true for XML whose first element has a name of WebDAV (RFC 4918), or of what is made of it: `CalDAV` (RFC 4791), `CardDAV`
/// (RFC 6352), Subversion, ownCloud.
fn is_of_dav(body: &[u8]) -> bool {
    const NAMESPACES: [&str; 5] = [
        "DAV:",
        "urn:ietf:params:xml:ns:caldav",
        "urn:ietf:params:xml:ns:carddav",
        "svn:",
        "http://owncloud.org/ns",
    ];
    let Ok(text) = std::str::from_utf8(body) else {
        return false;
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    let root = match text.strip_prefix("<?xml") {
        Some(rest) => rest
            .split_once("?>")
            .map_or("", |(_, rest)| rest.trim_start()),
        None => text,
    };
    let Some((tag, rest)) = root.strip_prefix('<').and_then(|root| root.split_once('>')) else {
        return false;
    };
    let name = tag
        .split([' ', '\t', '\r', '\n', '/'])
        .next()
        .unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || ":-_.".contains(c);
    let prefix = name.split_once(':').map_or("", |(prefix, _)| prefix);
    let attribute = match prefix {
        "" => "xmlns=".to_owned(),
        prefix => format!("xmlns:{prefix}="),
    };
    let is_of = |namespace: &&str| {
        ['"', '\'']
            .iter()
            .any(|quote| tag.contains(&format!("{attribute}{quote}{namespace}{quote}")))
    };
    let is_whole = if tag.ends_with('/') {
        rest.is_empty()
    } else {
        rest.ends_with(&format!("</{name}>"))
    };
    !name.is_empty() && name.chars().all(is_name) && NAMESPACES.iter().any(is_of) && is_whole
}

fn in_query(facts: &Facts<'_>) -> Option<Obstacle> {
    let name = headers::shown(headers::in_query(&facts.query)?);
    Some(Obstacle {
        kind: format!("may have another method, through `{name}` in the query"),
        because: format!("servers may take headers from `{name}` in the query"),
    })
}

fn overridden(facts: &Facts<'_>) -> Option<Obstacle> {
    let other = facts.methods.get(1)?;
    let strictest = facts.strictest_method()?;
    if method::is_safe(&strictest.name) {
        return None;
    }
    let by = other.by.as_deref().unwrap_or("the request");
    let (sent, name) = (facts.method, headers::shown(&other.name));
    Some(Obstacle {
        kind: match &strictest.by {
            Some(by) => format!("{}, through {by}", method::kind(&strictest.name)),
            None => method::kind(&strictest.name),
        },
        because: format!("{by} says {name}, and the request line {sent}: the stricter counts"),
    })
}

fn rewritten(facts: &Facts<'_>) -> Option<Obstacle> {
    let name = headers::rewriting(facts.headers)?;
    Some(Obstacle {
        kind: format!("may go to another path, through the header `{name}`"),
        because: format!("servers may take the path from the header `{name}`"),
    })
}

fn upgraded(facts: &Facts<'_>) -> Option<Obstacle> {
    let protocol = headers::upgrade(facts.headers)?;
    let kind = match protocol.as_str() {
        "websocket" => "opens a WebSocket, through which anything can be sent".to_owned(),
        other => format!(
            "turns the connection into {}, through which anything can be sent",
            headers::shown(other)
        ),
    };
    let because = "nothing can be judged after the connection is upgraded".to_owned();
    Some(Obstacle { kind, because })
}

fn broken(facts: &Facts<'_>) -> Option<Obstacle> {
    facts.paths.broken().map(|why| Obstacle {
        kind: format!("{}, on an unreadable path", method::kind(facts.method)),
        because: format!("{why}, and servers differ about what that means"),
    })
}
