//! The open holes as people see them, with what denies all of one that was opened before: nothing passes through that any more.

use guard_datapath::{Datapath, LiveHole};
use guard_policy::{self as policy, Opening, PortSpec, Prefix};
use guard_proto as proto;

use super::known::Holes;
use crate::{
    control::{auth::Approver, failure::CallError, ids},
    policies::Policies,
    sessions::Sessions,
};

impl Holes {
    /// The open holes of the sessions that an approver answers for.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn listed_to(
        &self,
        kernel: &Datapath,
        sessions: &Sessions,
        policies: &Policies,
        who: Approver,
    ) -> Result<proto::HolesReply, CallError> {
        let open = open_holes(kernel, sessions, who)?;
        Ok(self.listed_with(&open, sessions, policies, who))
    }

    /// The same, where those of the kernel are known.
    fn listed_with(
        &self,
        open: &[LiveHole],
        sessions: &Sessions,
        policies: &Policies,
        who: Approver,
    ) -> proto::HolesReply {
        let mut listed = self.shown(open);
        listed.extend(self.shown_to(who));
        for hole in listed.values_mut() {
            hole.shut_by = shut_by(sessions, policies, hole);
        }
        proto::HolesReply {
            holes: listed.into_values().collect(),
            warnings: Vec::new(),
        }
    }
}

/// The open holes of the sessions that the caller answers for, as the kernel has them.
///
/// # Errors
///
/// The kernel's.
pub(super) fn open_holes(
    kernel: &Datapath,
    sessions: &Sessions,
    who: Approver,
) -> Result<Vec<LiveHole>, CallError> {
    let owner = |hole: &LiveHole| {
        let session = sessions.get(hole.session);
        session.map_or(0, |session| session.about.uid)
    };
    let mut holes = kernel.holes()?;
    holes.retain(|hole| who.answers_for(owner(hole)));
    holes.sort_by_key(|hole| hole.entry.id);
    Ok(holes)
}

/// What denies all of a hole now, if anything does.
fn shut_by(sessions: &Sessions, policies: &Policies, hole: &proto::Hole) -> Option<String> {
    let session = ids::parse_session(&hole.session).ok()?;
    let session = sessions.live(session)?;
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
        let in_force = policies.get(*slot)?;
        let of = |prefix: &Prefix| {
            let known = (prefix.is_host() && !ports.is_empty())
                .then(|| policies.over_known(subject, *slot, prefix, None, &ports));
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

fn prefix(text: &str) -> Option<Prefix> {
    match text.parse().ok()? {
        policy::Target::Prefix(prefix) => Some(prefix),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use guard_common::{HoleEntry, HoleId, Protocol, SessionId};

    use super::*;
    use crate::{policies::of_texts, sessions::none_but};

    const TEXT: &str = "version = 1\ndefault = \"confirm\"\n\
        [[rule]]\nname = \"shut\"\nto = [\"192.0.2.2\"]\naction = \"deny\"\n";

    fn open(id: u32, session: u32, to: &str) -> Result<LiveHole, Box<dyn Error>> {
        let prefix: Prefix = to.parse()?;
        Ok(LiveHole {
            session: SessionId(session),
            entry: HoleEntry {
                prefix: prefix.address(),
                prefix_len: prefix.length(),
                mask: prefix.mask(),
                id: HoleId(id),
                low: 443,
                high: 443,
                protocol: Protocol::TCP,
                ..HoleEntry::default()
            },
            connections_left: None,
            bytes_left: None,
        })
    }

    #[test]
    fn a_hole_is_shut_by_what_denies_all_of_it_now() -> Result<(), Box<dyn Error>> {
        let policies = of_texts(&[TEXT.to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let holes = Holes::nowhere();
        let root = Approver::on_behalf_of(0);
        for (session, to, is_shut) in [
            (1, "192.0.2.1", false),
            (1, "192.0.2.2", true),
            // A part of it is not denied.
            (1, "192.0.2.0/24", false),
            // It has ended.
            (9, "192.0.2.2", false),
        ] {
            let open = [open(7, session, to)?];
            let listed = holes.listed_with(&open, &sessions, &policies, root).holes;
            let [hole] = &listed[..] else {
                return Err(format!("{to}: {listed:?}").into());
            };
            assert_eq!(hole.id, "h7");
            let is_by_rule = |by: &String| by.starts_with("rule shut of ");
            assert_eq!(
                hole.shut_by.as_ref().is_some_and(is_by_rule),
                is_shut,
                "{to}"
            );
            assert_eq!(hole.shut_by.is_some(), is_shut, "{to}: {:?}", hole.shut_by);
        }
        Ok(())
    }
}
