//! Whose sessions know so many addresses by names that the kernel's map of them is nearly full.

use std::collections::HashMap;

use guard_common::{MAX_NAMED, MAX_TAUGHT, SessionId};

use super::Sessions;
use crate::{control::ids, state::State};

/// From so many on it is said.
const MANY: usize = MAX_TAUGHT / 8 * 7;

/// What is known in all, and the outermost session that knows most of it, with those inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crowd {
    all: usize,
    most: SessionId,
    of_it: usize,
}

impl State {
    /// That not many more addresses can be looked up, and who has looked up most.
    pub(crate) fn named_warning(&self) -> Option<String> {
        let Crowd { all, most, of_it } = self.crowd()?;
        Some(format!(
            "sessions know {all} addresses by names, of {MAX_NAMED} that the kernel keeps: {0} has most, {of_it}; end it where it is not \
             needed: guard stop {0}",
            ids::session(most)
        ))
    }

    /// What to do where the kernel keeps no more of them.
    pub(crate) fn less_named(&self) -> String {
        let most = self.crowd().map(|crowd| {
            format!(
                "{0} has looked up most: guard stop {0}",
                ids::session(crowd.most)
            )
        });
        most.unwrap_or_else(|| "end sessions that are not needed: guard stop".to_owned())
    }

    fn crowd(&self) -> Option<Crowd> {
        crowd(&self.policies.known_names().counts(), &self.sessions)
    }
}

fn crowd(counts: &HashMap<SessionId, usize>, sessions: &Sessions) -> Option<Crowd> {
    let mut together: HashMap<SessionId, usize> = HashMap::new();
    for (session, count) in counts {
        *together.entry(sessions.outermost_of(*session)).or_default() += count;
    }
    let (most, of_it) = together.into_iter().max_by_key(|(_, count)| *count)?;
    let all: usize = counts.values().sum();
    (all >= MANY).then_some(Crowd { all, most, of_it })
}

#[cfg(test)]
mod tests {
    use super::{super::none_but, *};

    #[test]
    fn whoever_knows_most_is_named_when_there_is_little_room() {
        let sessions = none_but(&[(1, None), (2, None), (3, Some(2))]);
        let said = |counts: [usize; 3]| {
            let counts = (1..).map(SessionId).zip(counts).collect();
            crowd(&counts, &sessions)
        };
        assert_eq!(said([0; 3]), None);
        assert_eq!(said([MANY - 3, 1, 1]), None);
        let most = Crowd {
            all: MANY,
            most: SessionId(2),
            of_it: MANY / 2 + 1,
        };
        // What runs inside counts for the session around it.
        assert_eq!(said([MANY / 2 - 1, 1, MANY / 2]), Some(most));
    }
}
