//! The names by which a session knows one address: so many, and those before others of which its policies speak.

use std::{collections::BTreeMap, time::Duration};

use guard_common::BootTime;

use crate::times::after;

/// The resolver tells guardd of the same answer again after ten seconds: a program that asked in between has then connected.
const UNTOLD: Duration = Duration::from_secs(15);
/// Names that are known of one address of a session at most.
const MAX_NAMES: usize = 16;

/// What a session was told of a name and an address.
#[derive(Clone, Debug)]
pub(super) struct LearnedAddress {
    /// Until when it counts.
    pub(super) until: BootTime,
    /// When first, and when last.
    pub(super) since: BootTime,
    pub(super) at: BootTime,
    /// By which name it was led there, if it did not ask for this one.
    pub(super) by: Option<String>,
    pub(super) asker: NameAsker,
    /// The place in the session's chain, from 1 on, of the outermost policy that has a pattern for the name; 0: none has. What an agent
    /// asks for, and what its own policy speaks of, is worth less than what a person's policy does.
    pub(super) rank: usize,
}

/// The process that asked for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameAsker {
    /// Its id.
    pub(crate) pid: Option<u32>,
    /// Its executable's name.
    pub(crate) comm: Option<String>,
    /// What it called itself then: of a script, where its executable is an interpreter, the script's name.
    pub(crate) thread: Option<String>,
}

/// The names of an address.
#[derive(Debug, Default)]
pub(super) struct AddressNames {
    names: BTreeMap<String, LearnedAddress>,
    left_out: DroppedNames,
}

/// Of names that there was no room for: until when one of them counts, and the highest rank.
#[derive(Clone, Copy, Debug, Default)]
struct DroppedNames {
    until: BootTime,
    rank: usize,
}

impl NameAsker {
    /// That process, as far as it is known.
    #[must_use]
    pub(crate) fn of(pid: Option<u32>, comm: Option<&str>) -> Self {
        let comm = comm.map(str::to_owned);
        Self {
            pid,
            comm,
            thread: None,
        }
    }

    /// Whether a thread that calls itself so may be one of its: the kernel keeps 15 bytes of a name.
    pub(super) fn is(&self, program: &str) -> bool {
        const KEPT: usize = 15;
        let is_it = |name: &String| {
            !name.is_empty() && name.bytes().take(KEPT).eq(program.bytes().take(KEPT))
        };
        self.comm.iter().chain(&self.thread).any(is_it)
    }

    /// Whether it may be that process. Of one of which nothing is known it may.
    fn may_be(&self, other: &Self) -> bool {
        let is_same = self.pid.is_some() && self.pid == other.pid;
        is_same || self.is_called_as(other)
    }

    /// Whether both may be of one program: an executable is `python3.12` whose thread calls itself `python3`.
    fn is_called_as(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (&self.comm, &other.comm) else {
            return true;
        };
        self.is(two) || one.starts_with(two.as_str()) || two.starts_with(one.as_str())
    }
}

impl LearnedAddress {
    /// Whether that process is likely to have gone by this name: it asked for it, or another one of its program did just now, of
    /// whose answer the resolver does not tell again when this one asks. What an earlier one asked for says nothing of it.
    pub(super) fn is_likely_by(&self, who: &NameAsker, now: BootTime) -> bool {
        let is_it = self.asker.pid.is_some() && self.asker.pid == who.pid;
        let is_just_now = self.until > now && after(self.at, UNTOLD) > now;
        is_it || (self.asker.may_be(who) && (is_just_now || who.pid.is_none()))
    }
}

impl AddressNames {
    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &LearnedAddress)> + Clone {
        self.names.iter()
    }

    /// What the session was told of this one.
    pub(super) fn get(&self, name: &str) -> Option<&LearnedAddress> {
        self.names.get(name)
    }

    /// Whether one of them counts.
    pub(super) fn counts(&self, now: BootTime) -> bool {
        self.names.values().any(|told| told.until > now)
    }

    /// Whether there may be a name beside these that counts, and that policies speak of no less than of what has this rank.
    pub(super) fn may_miss(&self, rank: usize, now: BootTime) -> bool {
        self.left_out.until > now && self.left_out.rank >= rank
    }

    /// Drops what is over.
    pub(super) fn expire(&mut self, now: BootTime) {
        self.names.retain(|_, told| told.until > now);
    }

    /// Notes one, in the place of another that is worth less where there is no room: policies speak of it no more than of this one; then
    /// one of the same program, so that none drives out what others have asked for; then the oldest. Not of `beside`, which came with it.
    pub(super) fn note(&mut self, name: &str, told: LearnedAddress, beside: &str) {
        match self.names.get_mut(name) {
            Some(known) if told.by.is_some() && known.by.is_none() => {
                // It was asked for before: that this answer leads there as well says nothing of who asked.
                known.until = known.until.max(told.until);
                return;
            }
            Some(known) => {
                *known = LearnedAddress {
                    since: known.since,
                    ..told
                };
                return;
            }
            None => {}
        }
        if self.names.len() >= MAX_NAMES {
            let others = self.names.iter().filter(|(other, _)| *other != beside);
            let least = others.min_by_key(|(_, one)| {
                let is_others = !one.asker.may_be(&told.asker);
                (one.rank, is_others, one.at)
            });
            let least = least.filter(|(_, one)| one.rank <= told.rank);
            let least = least.map(|(other, _)| other.clone());
            let Some(gone) = least.and_then(|least| self.names.remove(&least)) else {
                self.left_out.add(&told, told.at);
                return;
            };
            self.left_out.add(&gone, told.at);
        }
        self.names.insert(name.to_owned(), told);
    }
}

impl DroppedNames {
    fn add(&mut self, one: &LearnedAddress, now: BootTime) {
        if self.until <= now {
            *self = Self::default();
        }
        self.until = self.until.max(one.until);
        self.rank = self.rank.max(one.rank);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(at: u64, comm: &str, rank: usize) -> LearnedAddress {
        LearnedAddress {
            until: BootTime(at + 100),
            since: BootTime(at),
            at: BootTime(at),
            by: None,
            asker: NameAsker::of(None, Some(comm)),
            rank,
        }
    }

    fn has(names: &AddressNames, name: &str) -> bool {
        names.get(name).is_some()
    }

    /// So many names that no policy speaks of.
    fn junk(names: &mut AddressNames, comm: &str, count: u64) {
        for number in 0..count {
            let name = format!("cdn{number}.evil.test");
            names.note(&name, told(number, comm, 0), &name);
        }
    }

    #[test]
    fn what_policies_speak_of_has_room_beside_whatever_else_is_asked_for() {
        let mut names = AddressNames::default();
        junk(&mut names, "python3", 16);
        assert!(!names.may_miss(0, BootTime(20)), "all are there");
        names.note("own.agent.test", told(20, "python3", 1), "own.agent.test");
        names.note(
            "prod.example.com",
            told(21, "python3", 2),
            "prod.example.com",
        );
        junk(&mut names, "python3", 40);
        assert!(has(&names, "prod.example.com") && has(&names, "own.agent.test"));
        assert_eq!(names.iter().count(), MAX_NAMES);
        // Of names that no policy speaks of some are missing, and of others none.
        assert!(names.may_miss(0, BootTime(22)) && !names.may_miss(1, BootTime(22)));
        // Those of an agent's own policy drive out none of a person's.
        for number in 0..40 {
            let name = format!("n{number}.agent.test");
            names.note(&name, told(30, "python3", 1), &name);
        }
        assert!(has(&names, "prod.example.com"));
        assert!(names.may_miss(1, BootTime(31)) && !names.may_miss(2, BootTime(31)));
        // Nothing is missing once all that was left out is over.
        assert!(!names.may_miss(0, BootTime(140)));
    }

    #[test]
    fn a_program_drives_out_what_it_asked_for_itself() {
        let mut names = AddressNames::default();
        names.note("db.example.com", told(1, "psql", 0), "db.example.com");
        junk(&mut names, "python3", 40);
        assert!(has(&names, "db.example.com") && has(&names, "cdn39.evil.test"));
        assert!(!has(&names, "cdn0.evil.test"));
    }

    #[test]
    fn where_a_name_leads_does_not_drive_it_out() {
        let mut names = AddressNames::default();
        for number in 0..16 {
            let name = format!("n{number}.example.com");
            names.note(&name, told(number, &number.to_string(), 0), &name);
        }
        names.note("a.example.com", told(0, "psql", 0), "a.example.com");
        let led = LearnedAddress {
            by: Some("a.example.com".to_owned()),
            ..told(0, "psql", 0)
        };
        names.note("b.example.net", led, "a.example.com");
        assert!(has(&names, "a.example.com") && has(&names, "b.example.net"));
    }
}
