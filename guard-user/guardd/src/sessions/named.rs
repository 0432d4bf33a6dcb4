//! Whose sessions know so many addresses by names that the kernel's map of them is nearly full.

use std::collections::BTreeMap;

use guard_common::{MAX_NAMED, MAX_TAUGHT, SessionId};
use guard_datapath::{Datapath, DatapathError};

use super::Sessions;
use crate::control::ids;

/// From so many on it is said.
const MANY: usize = MAX_TAUGHT / 8 * 7;

/// How many addresses are known in all, and the outermost session that knows most of it, with those inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NamedCount {
    all: usize,
    most: SessionId,
    of_it: usize,
}

impl Sessions {
    /// That not many more addresses can be looked up, and who has looked up most.
    pub(crate) fn named_warning(&self, kernel: &Datapath) -> Option<String> {
        match self.crowd(kernel) {
            Ok(crowd) => Some(self.little_room(crowd?)),
            Err(error) => Some(format!(
                "it is not known how many addresses sessions know by names: {error}"
            )),
        }
    }

    /// What to do where the kernel keeps no more of them.
    pub(crate) fn less_named(&self, kernel: &Datapath) -> String {
        let crowd = self.crowd(kernel).ok().flatten();
        let most = crowd.and_then(|crowd| self.still_called(crowd.most));
        most.map_or_else(
            || "end sessions that are not needed, and wait for a minute: guard sessions".to_owned(),
            |most| format!("{most} has looked up most: guard stop {most}"),
        )
    }

    /// As the kernel has them: guardd does not hear of all.
    fn crowd(&self, kernel: &Datapath) -> Result<Option<NamedCount>, DatapathError> {
        Ok(crowd(&kernel.named_counts()?, self))
    }

    fn little_room(&self, NamedCount { all, most, of_it }: NamedCount) -> String {
        let most = match self.still_called(most) {
            Some(most) => {
                format!(
                    "{most} has most, {of_it}; end it where it is not needed: guard stop {most}"
                )
            }
            None => format!(
                "{} has ended and had most, {of_it}; they go a minute after its end",
                ids::session(most)
            ),
        };
        format!(
            "sessions know {all} addresses by names, of {MAX_NAMED} that the kernel keeps: {most}"
        )
    }

    /// The session as people call it, where it has not ended.
    fn still_called(&self, id: SessionId) -> Option<String> {
        self.live(id).map(|_| ids::session(id))
    }
}

fn crowd(counts: &BTreeMap<SessionId, usize>, sessions: &Sessions) -> Option<NamedCount> {
    let mut together: BTreeMap<SessionId, usize> = BTreeMap::new();
    for (session, count) in counts {
        *together.entry(sessions.outermost_of(*session)).or_default() += count;
    }
    let (most, of_it) = together.into_iter().max_by_key(|(_, count)| *count)?;
    let all: usize = counts.values().sum();
    (all >= MANY).then_some(NamedCount { all, most, of_it })
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
        let most = NamedCount {
            all: MANY,
            most: SessionId(2),
            of_it: MANY / 2 + 1,
        };
        // What runs inside counts for the session around it.
        assert_eq!(said([MANY / 2 - 1, 1, MANY / 2]), Some(most));
    }

    #[test]
    fn what_to_do_is_said_of_a_session_that_lives_alone() {
        let sessions = none_but(&[(1, None)]);
        let crowd = |most| NamedCount {
            all: MANY,
            most: SessionId(most),
            of_it: 7,
        };
        let live = sessions.little_room(crowd(1));
        assert!(live.ends_with("s1 has most, 7; end it where it is not needed: guard stop s1"));
        let ended = sessions.little_room(crowd(2));
        assert!(ended.ends_with("s2 has ended and had most, 7; they go a minute after its end"));
    }
}
