//! What becomes of a newer text at each of the sessions that are to have it. They end when they like: one that does is no reason to leave
//! the next one as it was.

use guard_proto::{Applied, ErrorName, Failure, Session};

use crate::error::CliError;
use crate::render::Output;

use super::page;

/// The outcome of `guard policy apply`.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The sessions that are judged by it.
    applied: Vec<Applied>,
    /// Those that have ended before.
    ended: Vec<String>,
    /// Those that live and are judged as before, and why.
    left: Vec<(String, CliError)>,
}

impl Outcome {
    /// Gives each session the text. `lives` is asked afterwards, of one that guardd did not find.
    pub(super) fn of_each(
        sessions: &[&Session],
        mut give: impl FnMut(&Session) -> Result<Applied, CliError>,
        lives: impl Fn(&Session) -> bool,
    ) -> Self {
        let mut outcome = Self::default();
        let mut not_found = Vec::new();
        for session in sessions {
            match give(session) {
                Ok(applied) => outcome.applied.push(applied),
                Err(error) if is_not_found(&error) => not_found.push((*session, error)),
                Err(error) => outcome.left.push((session.id.clone(), error)),
            }
        }
        for (session, error) in not_found {
            if lives(session) {
                outcome.left.push((session.id.clone(), error))
            } else {
                outcome.ended.push(session.id.clone())
            }
        }
        outcome
    }

    /// Says who is judged by it, and fails for those that are not.
    pub(super) fn tell(self, called: &str, output: Output) -> Result<(), CliError> {
        let is_alone = self.applied.is_empty() && self.ended.is_empty();
        if !self.applied.is_empty() || self.left.is_empty() {
            output.print_things(&self.applied, page)?;
        }
        for id in &self.ended {
            output.note(&format!("{id} has ended meanwhile"));
        }
        left(self.left, called, is_alone).map_or(Ok(()), Err)
    }
}

pub(super) fn is_not_found(error: &CliError) -> bool {
    error.name() == Some(ErrorName::NotFound)
}

/// The error of the sessions that are judged as before; that of a session alone says all that there is to say.
fn left(mut left: Vec<(String, CliError)>, called: &str, is_alone: bool) -> Option<CliError> {
    if is_alone && left.len() == 1 {
        return left.pop().map(|(_, error)| error);
    }
    let failures = left.iter();
    let failures: Vec<_> = failures
        .filter_map(|(id, error)| Some((id.as_str(), error.failure()?)))
        .collect();
    let (_, first) = failures.first()?;
    let ids: Vec<_> = failures.iter().map(|(id, _)| *id).collect();
    let mut reasons: Vec<(Vec<&str>, String)> = Vec::new();
    for (id, failure) in &failures {
        let why = format!("{}: {}", failure.what, failure.why);
        match reasons.iter_mut().find(|(_, same)| *same == why) {
            Some((ids, _)) => ids.push(*id),
            None => reasons.push((vec![*id], why)),
        }
    }
    let reasons = reasons.iter();
    let reasons: Vec<_> = reasons
        .map(|(ids, why)| format!("{}: {why}", ids.join(", ")))
        .collect();
    let failure = Failure {
        what: format!(
            "{} {} judged as before, and not by {called} as it is now",
            ids.join(", "),
            if ids.len() == 1 { "is" } else { "are" }
        ),
        why: reasons.join("; "),
        fix: first.fix.clone(),
    };
    Some(CliError::Local(failure))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::render::examples;
    use super::*;

    fn session(id: &str) -> Session {
        Session {
            id: id.to_owned(),
            ..examples::session()
        }
    }

    fn failed(name: ErrorName, what: &str) -> CliError {
        let failure = Failure {
            what: what.to_owned(),
            why: "for a reason".to_owned(),
            fix: "guard policy apply shop".to_owned(),
        };
        CliError::Answer { name, failure }
    }

    /// Whom a text was given, where `s2` is not found and `s4` and `s5` fail.
    fn given(lives: bool) -> (Vec<String>, Outcome) {
        let sessions = ["s1", "s2", "s3", "s4", "s5", "s6"].map(session);
        let sessions: Vec<_> = sessions.iter().collect();
        let mut asked = Vec::new();
        let give = |session: &Session| {
            asked.push(session.id.clone());
            match session.id.as_str() {
                "s2" => Err(failed(ErrorName::NotFound, "there is no session s2")),
                "s4" | "s5" => Err(failed(ErrorName::Failed, "no other policy judges it")),
                _ => Ok(Applied {
                    session: session.clone(),
                    changed: true,
                    widens: None,
                    warnings: Vec::new(),
                }),
            }
        };
        let outcome = Outcome::of_each(&sessions, give, |_| lives);
        (asked, outcome)
    }

    #[test]
    fn each_session_is_given_it_whatever_became_of_others() {
        let (asked, outcome) = given(false);
        assert_eq!(asked, ["s1", "s2", "s3", "s4", "s5", "s6"]);
        let applied: Vec<_> = outcome.applied.iter().map(|one| &*one.session.id).collect();
        assert_eq!(applied, ["s1", "s3", "s6"]);
        assert_eq!(outcome.ended, ["s2"]);
        let error = left(outcome.left, "shop", false).unwrap();
        insta::assert_snapshot!(error.failure().unwrap().what, @"s4, s5 are judged as before, and not by shop as it is now");
        insta::assert_snapshot!(error.failure().unwrap().why, @"s4, s5: no other policy judges it: for a reason");
    }

    #[test]
    fn one_that_lives_and_was_not_found_is_left() {
        let (_, outcome) = given(true);
        assert!(outcome.ended.is_empty());
        let left: Vec<_> = outcome.left.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(left, ["s4", "s5", "s2"]);
    }

    #[test]
    fn nothing_is_wrong_where_all_have_ended() {
        let ended = session("s1");
        let give = |_: &Session| Err(failed(ErrorName::NotFound, "there is no session s1"));
        let outcome = Outcome::of_each(&[&ended], give, |_| false);
        assert_eq!(outcome.ended, ["s1"]);
        assert!(left(outcome.left, "shop", false).is_none());
    }

    #[test]
    fn one_session_alone_says_what_is_wrong() {
        let only = session("s1");
        let give = |_: &Session| Err(failed(ErrorName::Refused, "it may let more through"));
        let outcome = Outcome::of_each(&[&only], give, |_| true);
        let error = left(outcome.left, "shop", true).unwrap();
        assert_eq!(error.name(), Some(ErrorName::Refused));
    }
}
