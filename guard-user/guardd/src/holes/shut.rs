//! Holes through which nothing passes any more: what denies all of it came after the yes.

use guard_policy::{self as policy, Opening, PortSpec, Prefix};
use guard_proto as proto;

use crate::{control::ids, state::State};

impl State {
    /// Says of each hole what denies all of it now, if anything does.
    pub(crate) fn say_what_shuts<'h>(&self, holes: impl Iterator<Item = &'h mut proto::Hole>) {
        for hole in holes {
            hole.shut_by = self.shut_by(hole);
        }
    }

    fn shut_by(&self, hole: &proto::Hole) -> Option<String> {
        let session = ids::parse_session(&hole.session).ok()?;
        let session = self.sessions.live(session)?;
        let prefixes = if hole.addresses.is_empty() {
            prefix(&hole.destination).map(|prefix| vec![prefix])
        } else {
            hole.addresses.iter().map(|one| prefix(one)).collect()
        };
        let prefixes = prefixes?;
        // Questions have none.
        let ports = hole.ports.iter().map(|spec| spec.parse());
        let ports: Vec<PortSpec> = ports.collect::<Result<_, _>>().ok()?;
        let subject = session.subject();
        session.chain.iter().find_map(|slot| {
            let in_force = self.policies.get(*slot)?;
            let of = |prefix: &Prefix| {
                let known = (prefix.is_host() && !ports.is_empty()).then(|| {
                    self.policies
                        .over_known(subject, *slot, prefix, None, &ports)
                });
                known
                    .flatten()
                    .unwrap_or_else(|| in_force.over(prefix, &ports))
            };
            let covered = prefixes.iter().map(of).reduce(policy::Coverage::and)?;
            let Opening::Denied { rule } = covered.opening() else {
                return None;
            };
            let rule = rule.map(|rule| rule.name.as_str());
            let by = rule.map_or_else(|| "the default".to_owned(), |rule| format!("rule {rule}"));
            Some(format!("{by} of {}", in_force.policy.name))
        })
    }
}

fn prefix(text: &str) -> Option<Prefix> {
    match text.parse().ok()? {
        policy::Target::Prefix(prefix) => Some(prefix),
        _ => None,
    }
}
