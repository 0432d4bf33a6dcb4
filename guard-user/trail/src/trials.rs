//! Sessions that `guard doctor` looks with: everything is refused in them on purpose, and nothing of it is news.

use std::collections::HashSet;

use guard_proto::{LogRecord, record::Record};

/// The ids of those that have begun so far.
#[derive(Debug, Default)]
pub struct Trials {
    ids: HashSet<String>,
}

impl Trials {
    /// Whether a record is of one of them. It is to be asked of each record, in their order: an id may be another session's later.
    pub fn has(&mut self, record: &LogRecord) -> bool {
        let Some(id) = &record.session else {
            return false;
        };
        if let Record::SessionStart(one) = record.record() {
            if one.trial.is(&true) {
                self.ids.insert(id.clone())
            } else {
                self.ids.remove(id)
            };
        }
        self.is_one(id)
    }

    /// Whether the session with that id is one of them.
    #[must_use]
    pub fn is_one(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_trials_until_another_session_has_it() -> Result<(), serde_json::Error> {
        let all = serde_json::json!([
            {"kind": "session-start", "session": "s1", "trial": true},
            {"kind": "denied", "session": "s1"},
            {"kind": "denied", "session": "s2"},
            {"kind": "daemon-start", "session": null},
            {"kind": "session-end", "session": "s1"},
            {"kind": "session-start", "session": "s1"},
            {"kind": "denied", "session": "s1"},
        ]);
        let mut trials = Trials::default();
        let mut seen = Vec::new();
        for one in all.as_array().into_iter().flatten() {
            let mut one = one.clone();
            one["at"] = "2026-11-20T12:00:00Z".into();
            seen.push(trials.has(&serde_json::from_value(one)?));
        }
        assert_eq!(seen, [true, true, false, false, true, false, false]);
        Ok(())
    }
}
