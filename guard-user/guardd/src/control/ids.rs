//! Ids as people type them: `s1`, `r1`, `h1`.

use guard_common::{HoleId, SessionId};

use crate::control::failure::CallError;

/// Formats a session's id.
#[must_use]
pub(crate) fn session(id: SessionId) -> String {
    format!("s{}", id.0)
}

/// Formats a hole's id.
#[must_use]
pub(crate) fn hole(id: HoleId) -> String {
    format!("h{}", id.0)
}

/// Parses a session's id.
///
/// # Errors
///
/// `NotFound`: a text that is no id names no session.
pub(crate) fn parse_session(text: &str) -> Result<SessionId, CallError> {
    let id = number(text, 's').map(SessionId);
    id.ok_or_else(|| no_session(text))
}

/// Parses a hole's id.
///
/// # Errors
///
/// `NotFound`: a text that is no id names no hole.
pub(crate) fn parse_hole(text: &str) -> Result<HoleId, CallError> {
    let id = number(text, 'h').map(HoleId);
    id.ok_or_else(|| no_hole(text))
}

fn number(text: &str, letter: char) -> Option<u32> {
    let digits = text.strip_prefix(letter)?;
    let is_plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    is_plain.then(|| digits.parse().ok().filter(|id| *id != 0))?
}

/// What has an id like that, where it is no session.
#[must_use]
pub(crate) fn other_kind(text: &str) -> Option<&'static str> {
    let kinds = [('r', "request"), ('h', "hole")];
    let mut like = kinds
        .into_iter()
        .filter(|(letter, _)| number(text, *letter).is_some());
    like.next().map(|(_, kind)| kind)
}

/// The error if there is no such session, or it is another user's.
#[must_use]
pub(crate) fn no_session(text: &str) -> CallError {
    let why = match other_kind(text) {
        Some(kind) => {
            format!("that is the id of a {kind}, and no live session of yours has it for a name")
        }
        None => "no live session of yours has that id or name".to_owned(),
    };
    CallError::not_found(format!("there is no session {text}"), why, "guard sessions")
}

/// The error if there is no such request, or it is another user's.
#[must_use]
pub(crate) fn no_request(text: &str) -> CallError {
    let why = match number(text, 'r') {
        Some(_) => {
            "no request of yours that waits has that id; it may have been answered, or have gone with its session"
        }
        // Nobody is to believe that this was: `guard deny 10.0.0.0/8` denies nothing.
        None => "no request of yours that waits has that id",
    };
    CallError::not_found(format!("there is no request {text}"), why, "guard pending")
}

/// The error if there is no such hole, or it is another user's.
#[must_use]
pub(crate) fn no_hole(text: &str) -> CallError {
    CallError::not_found(
        format!("there is no hole {text}"),
        "no open hole of yours has that id; it may have ended",
        "guard holes",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_out_is_an_id() {
        assert_eq!(parse_session("s12").unwrap(), SessionId(12));
        assert_eq!(session(SessionId(12)), "s12");
        for text in ["", "s", "12", "h1", "s0", "s+1", "s-1", "s4294967296", "S1"] {
            assert!(parse_session(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_an_id_of_another_kind_is_said() {
        for (text, kind) in [("r1", Some("request")), ("h12", Some("hole"))] {
            assert_eq!(other_kind(text), kind);
            let why = no_session(text).failure.why;
            assert!(why.contains(kind.unwrap()), "{why}");
        }
        for text in ["s1", "r", "r0", "claude", "h1x"] {
            assert_eq!(other_kind(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_id_was_never_answered() {
        for (text, may_be) in [("r12", true), ("10.0.0.0/8", false), ("r", false)] {
            let why = no_request(text).failure.why;
            assert_eq!(why.contains("may have been answered"), may_be, "{text}");
        }
    }
}
