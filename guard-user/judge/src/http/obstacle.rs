//! What makes a request more than its method says.

use super::{
    body::Body,
    facts::Facts,
    headers, method,
    query::{folded, pairs},
};

/// Why a request is not what it seems to be.
pub(super) struct Obstacle {
    /// What it does, for a person.
    pub(super) kind: String,
    pub(super) because: String,
}

/// What stands in the way of letting a request through, whatever a profile says.
pub(super) fn find(facts: &Facts<'_>) -> Option<Obstacle> {
    overridden(facts)
        .or_else(|| rewritten(facts))
        .or_else(|| in_query(facts))
        .or_else(|| upgraded(facts))
        .or_else(|| broken(facts))
}

/// A body where the method gives it no meaning (RFC 9110 9.3.1): servers may act on it.
pub(super) fn body(facts: &Facts<'_>) -> Option<Obstacle> {
    (facts.is_safe() && facts.has_body).then(|| Obstacle {
        kind: format!("sends a body with {}", facts.method),
        because: format!(
            "a {} has no use for a body, and this one has one",
            facts.method
        ),
    })
}

/// What the body of a POST that a profile takes for a read says of the method.
pub(super) enum Form {
    /// Nothing.
    Plain,
    /// It has to be read first.
    Unread,
    /// Another one, or an unknown one.
    Names(Obstacle),
}

/// Frameworks take a POST's method from the form in its body (`_method=DELETE`), as from the query. What says no type is a form to some.
pub(super) fn form(facts: &Facts<'_>) -> Form {
    const KIND: &str = "may have another method, which its form says";
    let names = |because: &str| {
        Form::Names(Obstacle {
            kind: KIND.to_owned(),
            because: because.to_owned(),
        })
    };
    let types = headers::media_types(facts.headers);
    let is_unsaid = types.iter().all(String::is_empty);
    // To Rack whatever has parts is a form.
    let has_parts = types.iter().any(|one| one.starts_with("multipart/"));
    let is_form = is_unsaid || has_parts || types.iter().any(|one| one.contains("form"));
    if facts.method != "POST" || !is_form {
        return Form::Plain;
    }
    if has_parts {
        return names("a form of many parts may name another method, and servers take that");
    }
    let body = match facts.body {
        Body::Whole(body) => body,
        Body::Unread => return Form::Unread,
        Body::TooLong => return names("its form is too long to be judged"),
    };
    let is_method = |(name, _): &(String, String)| method::always(&folded(name));
    match headers::encoded(facts.headers) {
        Some(why) => names(why),
        None if pairs(body).iter().any(is_method) => {
            names("its form names a method, and servers take that for the request's")
        }
        None => Form::Plain,
    }
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
