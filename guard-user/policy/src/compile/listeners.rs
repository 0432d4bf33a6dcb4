//! What holds at another program's listener on the loopback: the stricter of what the policy says of the loopback address, and of this
//! machine (`@guarded-host`). What no rule for this machine names is asked about where the default would let it pass: it may be a tunnel.

use guard_common::{Address, Ticket, Verdict};

use super::{
    super::{
        group::Group,
        lookup::longest,
        model::{Policy, Rule},
        prefix::{LISTENERS, Prefix},
        target::Target,
    },
    answer::{AddressVerdictId, AddressVerdicts},
    entries::Ranking,
};

/// Adds what holds at listeners to what holds at all prefixes, sorted before and after.
pub(super) fn add(
    swept: &mut Vec<(Prefix, AddressVerdictId)>,
    policy: &Policy,
    ranking: &Ranking<'_>,
    answers: &mut AddressVerdicts<'_>,
) {
    let machine = of_machine(policy, ranking, answers);
    // Nobody has these addresses, whatever rules say of them.
    swept.retain(|(prefix, _)| !LISTENERS.contains(prefix));
    let mut listeners = Vec::new();
    for area in Group::LOOPBACK {
        let around = longest(swept, &area).map_or(AddressVerdicts::DEFAULT, |(_, id)| *id);
        let inside = swept.iter().filter(|(prefix, _)| area.contains(prefix));
        let inside = inside.copied().filter(|(prefix, _)| *prefix != area);
        for (prefix, answer) in std::iter::once((area, around)).chain(inside) {
            let at = listeners_at(&area, &prefix);
            listeners.push((at, answers.stricter_of(machine, answer, &prefix)));
        }
    }
    swept.extend(listeners);
    swept.sort_unstable_by_key(|(prefix, _)| *prefix);
}

/// What a policy says of this machine, by its own rules for that alone.
fn of_machine(
    policy: &Policy,
    ranking: &Ranking<'_>,
    answers: &mut AddressVerdicts<'_>,
) -> AddressVerdictId {
    let unnamed = match policy.default {
        Verdict::Allow if !policy.is_layer => Verdict::Confirm,
        default => default,
    };
    let base = answers.without_rules(unnamed);
    let names_it = |rule: &Rule| rule.to.contains(&Target::Group(Group::GuardedHost));
    let ranks = ranking.iter().filter(|(_, rule)| names_it(rule));
    let mut ranks: Vec<_> = ranks.map(|(rank, _)| rank).collect();
    ranks.sort_unstable();
    let rules = answers.set(&ranks);
    answers.layer(rules, base, &LISTENERS)
}

/// The listeners at the addresses of a prefix in one of the loopback's areas.
fn listeners_at(area: &Prefix, prefix: &Prefix) -> Prefix {
    let first: Address = prefix.address().of_listener(Ticket(0));
    let length = LISTENERS.length() + 1 + (prefix.length() - area.length());
    Prefix::new(first.to_u128(), length)
}
