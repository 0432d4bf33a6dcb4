//! What sessions know by the patterns of one policy, by those of another one that is to judge them in its place.
//!
//! The kernel has patterns, and no names: of which name an address is, guardd may know or not. Where it does not, an address gets
//! every pattern that its name may have under the other policy. The strictest of them decides.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use guard_common::{BootTime, Learned, NameId, Named, NamedKey};
use guard_policy::{Compiled, DomainName, NamePattern, Policy};

use super::{InForce, known_names::crowded};

/// A pattern that no policy has: what is known by it is refused until its time is over.
pub(super) const UNKNOWN: NameId = NameId(u64::MAX);

/// From one policy to another one.
#[derive(Debug)]
pub(super) struct Carried {
    old: Side,
    new: Side,
    /// What was found out: many addresses have the same pattern and names.
    known: HashMap<NameId, HashMap<Vec<String>, BTreeSet<NameId>>>,
}

#[derive(Debug)]
struct Side {
    patterns: BTreeMap<NameId, NamePattern>,
    compiled: Arc<Compiled>,
}

impl Side {
    fn of(policy: &Policy, compiled: &Arc<Compiled>) -> Self {
        let targets = policy.rules.iter().flat_map(|rule| &rule.to);
        let patterns = targets.filter_map(NamePattern::of);
        let patterns = patterns.filter(|pattern| compiled.has_pattern(pattern));
        Self {
            patterns: patterns.map(|pattern| (pattern.id(), pattern)).collect(),
            compiled: Arc::clone(compiled),
        }
    }

    /// The narrowest of its patterns that covers all that a pattern does.
    fn around(&self, pattern: &NamePattern) -> Option<NameId> {
        let wider = std::iter::once(pattern.clone()).chain(pattern.around());
        let mut wider = wider.filter(|pattern| self.compiled.has_pattern(pattern));
        wider.next().map(|pattern| pattern.id())
    }

    fn pattern_of(&self, name: &DomainName) -> Option<NameId> {
        self.compiled.pattern_of(name).map(|pattern| pattern.id())
    }
}

impl Carried {
    pub(super) fn between(old: &InForce, new: &InForce) -> Self {
        Self {
            old: Side::of(&old.policy, &old.compiled),
            new: Side::of(&new.policy, &new.compiled),
            known: HashMap::new(),
        }
    }

    /// `there`, with what is known by the patterns of the old policy. `names`: all that the address is known by, or none.
    pub(super) fn add(
        &mut self,
        there: Named,
        key: &NamedKey,
        known: &Named,
        names: &[String],
        now: BootTime,
    ) -> Named {
        let mut all = there;
        for one in known.patterns.iter().filter(|one| one.pattern.0 != 0) {
            for pattern in self.patterns(one.pattern, names) {
                let carried = Learned { pattern, ..*one };
                match all.with(key, carried, now) {
                    Some(more) => all = more,
                    // Of what is over, connections that began before have as much as there is room for.
                    None if one.until <= now => {}
                    None => all = crowded(key, one.until),
                }
            }
        }
        all
    }

    /// By which patterns of the new policy something is known that the old one's has.
    fn patterns(&mut self, id: NameId, names: &[String]) -> BTreeSet<NameId> {
        let known = self.known.get(&id).and_then(|known| known.get(names));
        if let Some(known) = known {
            return known.clone();
        }
        let found = self.find(id, names);
        let known = self.known.entry(id).or_default();
        known.insert(names.to_vec(), found.clone());
        found
    }

    fn find(&self, id: NameId, names: &[String]) -> BTreeSet<NameId> {
        let Some(pattern) = self.old.patterns.get(&id) else {
            return BTreeSet::from([UNKNOWN]);
        };
        let around = self.new.around(pattern);
        // A name that the old policy has a narrower pattern for is not known by this one.
        let new = self.new.patterns.iter();
        let new = new.filter(|(id, _)| !self.old.patterns.contains_key(id));
        let inside = new.filter(|(_, one)| is_inside(pattern, one));
        let inside: Vec<_> = inside.map(|(id, _)| *id).collect();
        let names: Vec<DomainName> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let its = names
            .iter()
            .filter(|name| self.old.pattern_of(name) == Some(id));
        let mut its = its.peekable();
        match (around, its.peek()) {
            (_, Some(_)) => its.filter_map(|name| self.new.pattern_of(name)).collect(),
            (around, None) if inside.is_empty() => around.into_iter().collect(),
            (Some(around), None) => inside.into_iter().chain([around]).collect(),
            // What the policy says of the address alone may be the strictest.
            (None, None) => BTreeSet::from([UNKNOWN]),
        }
    }
}

/// Whether a pattern covers another one, and more.
fn is_inside(pattern: &NamePattern, other: &NamePattern) -> bool {
    let NamePattern::Below(wildcard) = pattern else {
        return false;
    };
    match other {
        NamePattern::Name(name) => wildcard.covers(name),
        NamePattern::Below(other) => wildcard.covers(other.below()),
    }
}

#[cfg(test)]
mod tests {
    use guard_common::{Address, MAX_PATTERNS, PolicyId, SessionId};
    use guard_policy::Environment;

    use super::{
        super::{compile, library::PolicyText, parse},
        *,
    };

    fn side(rules: &[(&str, &str)]) -> Side {
        let rules = rules
            .iter()
            .map(|(to, action)| format!("[[rule]]\nto = [\"{to}\"]\naction = \"{action}\"\n"));
        let text = format!(
            "version = 1\ndefault = \"allow\"\n{}",
            rules.collect::<String>()
        );
        let source = PolicyText::brought(None, text);
        let read = parse(&source).unwrap();
        let now = Environment {
            judges_names: true,
            ..Environment::default()
        };
        let prepared = compile(source, read, &now).unwrap();
        Side::of(&prepared.policy, &Arc::new(prepared.compiled))
    }

    fn carried(old: &[(&str, &str)], new: &[(&str, &str)]) -> Carried {
        Carried {
            old: side(old),
            new: side(new),
            known: HashMap::new(),
        }
    }

    fn patterns(carried: &Carried, of: &str, names: &[&str]) -> Vec<NameId> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let found = carried.find(NameId::of(of), &names);
        found.into_iter().collect()
    }

    fn ids<const N: usize>(patterns: [&str; N]) -> Vec<NameId> {
        let ids: BTreeSet<_> = patterns.map(NameId::of).into();
        ids.into_iter().collect()
    }

    const OLD: [(&str, &str); 2] = [("*.example.com", "confirm"), ("db.example.com", "deny")];

    #[test]
    fn what_both_have_stays() {
        let same = carried(&OLD, &[OLD[0], OLD[1], ("192.0.2.7", "deny")]);
        for pattern in ["*.example.com", "db.example.com"] {
            assert_eq!(patterns(&same, pattern, &[]), ids([pattern]));
        }
        // What the kernel has of an earlier version of the old one.
        assert_eq!(patterns(&same, "*.example.net", &[]), [UNKNOWN]);
    }

    #[test]
    fn what_goes_is_known_by_what_is_around_it_or_by_nothing() {
        let wider = carried(&OLD, &[("*.com", "confirm")]);
        for pattern in ["*.example.com", "db.example.com"] {
            assert_eq!(patterns(&wider, pattern, &[]), ids(["*.com"]));
        }
        let gone = carried(&OLD, &[OLD[0]]);
        assert_eq!(
            patterns(&gone, "db.example.com", &[]),
            ids(["*.example.com"])
        );
        assert_eq!(patterns(&carried(&OLD, &[]), "*.example.com", &[]), []);
    }

    #[test]
    fn where_the_name_is_not_known_all_that_it_may_have_counts() {
        let more = [("pay.example.com", "deny"), ("*.a.example.com", "allow")];
        let narrower = carried(&OLD, &[OLD[0], OLD[1], more[0], more[1]]);
        let all = ids(["*.example.com", "pay.example.com", "*.a.example.com"]);
        assert_eq!(patterns(&narrower, "*.example.com", &[]), all);
        // Another pattern's name says nothing of this one's.
        assert_eq!(
            patterns(&narrower, "*.example.com", &["db.example.com"]),
            all
        );
        for (name, pattern) in [
            ("pay.example.com", "pay.example.com"),
            ("x.a.example.com", "*.a.example.com"),
            ("other.example.com", "*.example.com"),
        ] {
            let known = patterns(&narrower, "*.example.com", &[name]);
            assert_eq!(known, ids([pattern]), "{name}");
        }
        let only = carried(&OLD, &more);
        assert_eq!(patterns(&only, "*.example.com", &[]), [UNKNOWN]);
        assert_eq!(patterns(&only, "*.example.com", &["other.example.com"]), []);
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let names: Vec<_> = (0..=MAX_PATTERNS)
            .map(|n| format!("n{n}.example.com"))
            .collect();
        let rules: Vec<_> = names.iter().map(|name| (name.as_str(), "deny")).collect();
        let mut many = carried(&OLD[..1], &[&OLD[..1], &rules].concat());
        let key = NamedKey::new(SessionId(1), PolicyId(2), Address::default());
        let learned = Learned {
            pattern: NameId::of("*.example.com"),
            until: BootTime(9),
        };
        let known = Named::default().with(&key, learned, BootTime(0)).unwrap();
        let added = many.add(Named::default(), &key, &known, &[], BootTime(1));
        assert!(added.patterns.iter().any(|one| one.pattern == UNKNOWN));
        let mut few = carried(&OLD, &OLD);
        for _ in 0..2 {
            let added = few.add(Named::default(), &key, &known, &[], BootTime(1));
            assert_eq!(added, known);
        }
    }
}
