//! Keys that the fleet's policies revoke, and machines that take answers by them all the same: they have not these policies yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use maud::{Markup, html};

use super::seen;
use crate::{central::mirror::MirroredMachine, files::Identity};

/// Machines that are named.
const MOST: usize = 50;

/// A revoked key that is still taken.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken<'s> {
    /// Whose it is there; none: no machine says so that knows who looks.
    whose: Option<&'s str>,
    /// Where.
    machines: Vec<&'s str>,
    /// On so many more, which do not know who looks.
    others: usize,
}

/// By the key's fingerprint. A machine says for its own group what is revoked there, and decides nothing for the others.
fn still_taken<'s>(
    all: &'s [Rc<MirroredMachine>],
    identity: &Identity,
) -> BTreeMap<&'s str, Taken<'s>> {
    let is_own = |seen: &MirroredMachine| seen.person(identity).is_some();
    let own = all.iter().filter(|seen| is_own(seen));
    let revoked = own.flat_map(|seen| {
        let keys = seen.told.revoked.iter();
        keys.map(|key| (seen.told.group.as_str(), key.as_str()))
    });
    let revoked: BTreeSet<_> = revoked.collect();
    let mut taken: BTreeMap<&str, Taken<'_>> = BTreeMap::new();
    for seen in all {
        let people = seen.approvers.iter();
        let keys = people.flat_map(|one| one.keys.iter().map(|key| (one.name.as_str(), key)));
        for (name, key) in keys {
            let fingerprint = key.fingerprint.as_str();
            if !revoked.contains(&(seen.told.group.as_str(), fingerprint)) {
                continue;
            }
            let one = taken.entry(fingerprint).or_default();
            if is_own(seen) {
                one.whose = one.whose.or(Some(name));
                one.machines.push(&seen.told.machine);
            } else {
                one.others += 1
            }
        }
    }
    taken
}

/// The keys that are revoked and still taken, each with the machines that take it.
pub(super) fn revoked(all: &[Rc<MirroredMachine>], identity: &Identity) -> Markup {
    html! {
        @for (key, taken) in still_taken(all, identity) {
            p.note {
                @match taken.whose { Some(name) => { (seen(name)) "'s key " }, None => "The key " }
                code { (key) } " is revoked by the fleet's policies, and still taken by " (by(&taken)) "."
            }
        }
    }
}

fn by(taken: &Taken<'_>) -> String {
    let named = taken.machines.iter().take(MOST);
    let mut all: Vec<_> = named.map(|machine| seen(machine)).collect();
    let more = taken.machines.len().saturating_sub(MOST);
    if more > 0 {
        all.push(format!("{more} more"));
    }
    if taken.others > 0 {
        all.push(format!("{} that do not list your key", taken.others));
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use guard_proto::central::HeardMachine;

    use super::*;
    use crate::central::mirror::tests::{approver, key};

    /// A machine of a group that lists these people's keys, and revokes these fingerprints.
    fn machine(
        group: &str,
        id: &str,
        people: &[(&str, u8)],
        revoked: &[&str],
    ) -> Rc<MirroredMachine> {
        let people = people.iter();
        Rc::new(MirroredMachine::of(HeardMachine {
            group: group.to_owned(),
            machine: id.to_owned(),
            approvers: people
                .map(|(name, number)| approver(name, key(*number, "")))
                .collect(),
            revoked: revoked.iter().map(|&one| one.to_owned()).collect(),
            ..HeardMachine::default()
        }))
    }

    #[test]
    fn a_revoked_key_is_named_with_the_machines_that_take_it() {
        let both = [("alice", 1), ("alice", 2)];
        let here = machine("ci", "m-1", &both, &[]);
        let [lost, left] = [0, 1].map(|at| here.approvers[at].keys[0].fingerprint.clone());
        let alice = Identity {
            name: "alice".to_owned(),
            keys: vec![left],
            by_key: false,
        };
        let now = machine("ci", "m-2", &[("alice", 2)], &[&lost]);
        let text = |all: &[Rc<MirroredMachine>]| revoked(all, &alice).into_string();
        assert_eq!(text(&[Rc::clone(&now)]), "", "nobody takes it");
        assert_eq!(text(&[Rc::clone(&here)]), "", "nobody revokes it");
        let said = format!(
            "alice's key <code>{lost}</code> is revoked by the fleet's policies, and still taken by m-1"
        );
        let two = text(&[Rc::clone(&here), Rc::clone(&now)]);
        assert!(two.contains(&(said.clone() + ".")), "{two}");
        // Of those that do not know her left key she hears how many they are.
        let other = machine("ci", "m-3", &[("bob", 1)], &[]);
        let three = text(&[here, Rc::clone(&now), Rc::clone(&other)]);
        assert!(
            three.contains(&(said + ", 1 that do not list your key.")),
            "{three}"
        );
        let without = text(&[now, other]);
        assert!(
            without.contains("The key ") && !without.contains("bob"),
            "{without}"
        );
    }

    #[test]
    fn a_machine_revokes_nothing_for_another_group_or_for_whom_it_does_not_know() {
        let here = machine("ci", "m-1", &[("alice", 1)], &[]);
        let lost = here.approvers[0].keys[0].fingerprint.clone();
        let alice = Identity {
            name: "alice".to_owned(),
            keys: vec![lost.clone()],
            by_key: false,
        };
        let elsewhere = machine("lab", "m-2", &[("alice", 1)], &[&lost]);
        let unknown = machine("ci", "m-3", &[("bob", 3)], &[&lost]);
        assert_eq!(still_taken(&[here, unknown], &alice), BTreeMap::new());
        let own = still_taken(std::slice::from_ref(&elsewhere), &alice);
        assert_eq!(own[&*lost].machines, ["m-2"], "it lists it still");
        let here = machine("ci", "m-1", &[("alice", 1)], &[]);
        let both = [here, elsewhere];
        assert_eq!(still_taken(&both, &alice)[&*lost].machines, ["m-2"]);
    }
}
