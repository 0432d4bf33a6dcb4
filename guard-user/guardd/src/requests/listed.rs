//! The pending requests as people are shown them, with how often each was tried by now.

use std::collections::{BTreeSet, HashMap};

use guard_common::{Address, Protocol, SessionId};
use guard_datapath::Datapath;
use guard_proto::{self as proto, RequestsReply};
use guard_sys::clock::Clocks;

use super::{Pending, Requests};
use crate::{
    control::{auth::Approver, failure::CallError},
    policies::Policies,
    sessions::Sessions,
};

impl Requests {
    /// The requests of those users whom the caller `may` know of, with what `who` is offered, and without codes.
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
        may: impl Fn(u32) -> bool,
    ) -> Result<RequestsReply, CallError> {
        let pending = self.pending().iter();
        let mine: Vec<_> = pending.filter(|one| may(one.owner)).collect();
        let counts = counts(kernel, &mine)?;
        Ok(self.listed_with(&counts, &mine, sessions, policies, who))
    }

    /// The same of these, where the kernel's counts are known.
    fn listed_with(
        &self,
        counts: &HashMap<Tried, u64>,
        mine: &[&Pending],
        sessions: &Sessions,
        policies: &Policies,
        who: Approver,
    ) -> RequestsReply {
        let clocks = Clocks::read();
        let requests = mine.iter().map(|asked| {
            let key = &asked.key;
            // The kernel half counts connections only.
            let tried = if key.is_connection() {
                counted(counts, asked).saturating_sub(self.given().tried_before(key))
            } else {
                asked.tried
            };
            proto::Request {
                count: tried.max(1),
                last_at: clocks.calendar(asked.last),
                offers: self.offers_to(sessions, policies, who, asked),
                ..asked.shown.clone()
            }
        });
        let mut requests: Vec<_> = requests.collect();
        // What a client waits for stands first, the one first that gives up first.
        requests.sort_by_key(|one| (!one.held, one.waits_until.filter(|_| one.held)));
        RequestsReply {
            requests,
            carried: false,
        }
    }
}

/// How often each request's destination was refused.
fn counts(datapath: &Datapath, asked: &[&Pending]) -> Result<HashMap<Tried, u64>, CallError> {
    let sessions: BTreeSet<_> = asked.iter().map(|one| one.key.session).collect();
    let mut counts = HashMap::new();
    for session in sessions {
        for (key, tried) in datapath.attempts(session)? {
            *counts.entry(key.there()).or_default() += tried.count;
        }
    }
    Ok(counts)
}

/// The key of the kernel half's counts, without the verdict.
type Tried = (SessionId, Address, Protocol, u16);

/// How often all that a request is about was refused.
fn counted(counts: &HashMap<Tried, u64>, asked: &Pending) -> u64 {
    let key = &asked.key;
    let of = |to: Address| (key.session, to, key.protocol, key.port);
    let count = |to: Address| counts.get(&of(to)).copied().unwrap_or(0);
    match &asked.burst {
        Some(burst) => burst.addresses().map(count).sum(),
        None => count(key.destination),
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::IpAddr};

    use guard_common::BootTime;

    use super::*;
    use crate::{
        policies::of_texts,
        quota::Account,
        requests::{RequestKey, tests::shown},
        sessions::none_but,
    };

    #[test]
    fn a_request_is_listed_with_the_kernels_count_and_at_least_once() -> Result<(), Infallible> {
        let policies = of_texts(&["version = 1\ndefault = \"confirm\"\n".to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let mut requests = Requests::without_files(10);
        // At two hosts, so that none is a part of another.
        for (id, last) in [(1, 1), (2, 200)] {
            let to = IpAddr::from([192, 0, 2, last]).into();
            let key = RequestKey::new(SessionId(1), to, Protocol::TCP, 443);
            let owner = Account::inside(1000, SessionId(1));
            let ask = || Ok::<_, Infallible>(shown(id));
            requests.note(key, owner, BootTime(1), ask)?;
        }
        let to = IpAddr::from([192, 0, 2, 1]).into();
        requests.show_held_until("r2", Some(jiff::Timestamp::UNIX_EPOCH));
        let counts = HashMap::from([((SessionId(1), to, Protocol::TCP, 443), 7)]);
        let mine: Vec<_> = requests.pending().iter().collect();
        let who = Approver::on_behalf_of(1000);
        let listed = requests.listed_with(&counts, &mine, &sessions, &policies, who);
        let listed = listed
            .requests
            .iter()
            .map(|one| (one.id.as_str(), one.count));
        assert_eq!(listed.collect::<Vec<_>>(), [("r2", 1), ("r1", 7)]);
        Ok(())
    }
}
