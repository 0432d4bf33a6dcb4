//! Whose sessions couriers have to do with: those of users for whom somebody is enrolled, but never root's.

use guard_signed::approvers::SigningApprover as Person;
use guard_sys::accounts::UserAccount;

use super::SignedAnswers;
use crate::{control::auth::Approver, machine::Machine, requests::Requests};

/// What it takes to say which requests a courier may see.
#[derive(Debug)]
pub(crate) struct CourierScope<'s> {
    /// Those who are enrolled.
    pub(crate) signed_answers: &'s SignedAnswers,
    /// The names of users.
    pub(crate) machine: &'s mut Machine,
    /// The requests that are pending.
    pub(crate) requests: &'s Requests,
}

impl CourierScope<'_> {
    /// The owners of requests that a courier may see; `by`: for that approver alone.
    #[must_use]
    pub(crate) fn owners(&mut self, by: Option<&str>) -> Vec<u32> {
        let requests = self.requests;
        let owners = requests.pending().iter().map(|one| one.owner);
        owners.filter(|owner| self.has(*owner, by)).collect()
    }

    /// Whether somebody is enrolled who answers for that user: of others, and of root, a courier sees nothing. `by` is whom alone
    /// to look at.
    fn has(&mut self, owner: u32, by: Option<&str>) -> bool {
        if owner == 0 {
            return false;
        }
        let name = self.machine.user(owner);
        let mut people = self.signed_answers.people(by);
        people.any(|one| one.answers_for.contains(&name))
    }
}

impl SignedAnswers {
    /// Those who are enrolled, or the one of that name alone.
    fn people<'a>(&'a self, by: Option<&'a str>) -> impl Iterator<Item = &'a Person> {
        let people = self.people.known().all.iter();
        people.filter(move |one| by.is_none_or(|name| one.name == name))
    }

    /// The users for whom somebody is enrolled, without root: its right would be one to all.
    #[must_use]
    pub(crate) fn courier_owners(&self) -> Vec<u32> {
        self.owners_of(None)
    }

    fn owners_of(&self, by: Option<&str>) -> Vec<u32> {
        let people = self.people(by);
        let names = people.flat_map(|one| &one.answers_for);
        let uids = names.filter_map(|name| UserAccount::uid_of(name).ok().flatten());
        let mut uids: Vec<_> = uids.filter(|uid| *uid != 0).collect();
        uids.sort_unstable();
        uids.dedup();
        uids
    }

    /// The same, as those who may see what is theirs.
    #[must_use]
    pub(crate) fn courier_approvers(&self) -> Vec<Approver> {
        self.courier_approvers_by(None)
    }

    /// The same of whom that approver answers for; none: all.
    #[must_use]
    pub(crate) fn courier_approvers_by(&self, by: Option<&str>) -> Vec<Approver> {
        let owners = self.owners_of(by).into_iter();
        owners.map(Approver::on_behalf_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::IpAddr, path::Path};

    use guard_common::{BootTime, Protocol, SessionId};
    use guard_signed::approvers::ApproverList;

    use super::*;
    use crate::{
        config::Config,
        machine::machine,
        quota::Account,
        record::shelf::Shelf,
        requests::{RequestKey, tests::shown},
        signed_answers::{AnswerFiles, people::People},
    };

    /// Each is enrolled for users of these names.
    fn enrolled(dir: &Path, all: &[(&str, &[String])]) -> SignedAnswers {
        let people = all.iter().map(|(name, users)| Person {
            name: (*name).to_owned(),
            answers_for: users.to_vec(),
            policies: vec!["*".to_owned()],
            max_for: None,
            keys: Vec::new(),
        });
        let all = ApproverList {
            all: people.collect(),
        };
        let mut people = People::read(dir.join("approvers.toml"));
        people.replace(all).unwrap();
        let files = AnswerFiles {
            questions: Shelf::nowhere(),
            used: Shelf::nowhere(),
            boot: Shelf::nowhere(),
        };
        SignedAnswers::new(people, &files, &Config::default())
    }

    #[tokio::test]
    async fn a_courier_sees_the_requests_of_those_for_whom_somebody_answers_and_none_of_roots() {
        let dir = tempfile::tempdir().unwrap();
        let mut machine = machine(Path::new("/nonexistent"));
        let [root, first, second] = [0, 1000, 2000].map(|uid| machine.user(uid));
        let (of_alice, of_bob) = ([root, first], [second]);
        let signed_answers = enrolled(
            dir.path(),
            &[("alice", &of_alice[..]), ("bob", &of_bob[..])],
        );
        let mut requests = Requests::without_files(10);
        for (id, uid) in [(1, 0), (2, 1000), (3, 2000), (4, 3000)] {
            let to = IpAddr::from([192, 0, 2, 1]).into();
            let key = RequestKey::new(SessionId(id), to, Protocol::TCP, 443);
            let share = SessionId(id);
            let owner = Account::inside(uid, share);
            let Ok(_) = requests.note(key, owner, BootTime(1), || Ok::<_, Infallible>(shown(id)));
        }
        let mut scope = CourierScope {
            signed_answers: &signed_answers,
            machine: &mut machine,
            requests: &requests,
        };
        assert_eq!(scope.owners(None), [1000, 2000]);
        assert_eq!(scope.owners(Some("alice")), [1000]);
        assert_eq!(scope.owners(Some("bob")), [2000]);
        assert!(scope.owners(Some("carol")).is_empty());
    }
}
