//! What is kept about databases across connections: above all what a person has allowed in a transaction that could only read,
//! since the next transaction may write then.

use std::{
    cell::RefCell,
    collections::HashSet,
    time::{Duration, Instant},
};

use super::super::wire::Target;

/// How long a client may take to do its transaction again.
const TIME: Duration = Duration::from_secs(60);
/// How many transactions may write for one of them. Drivers begin some of their own before, and retry what another has kept from
/// being committed.
const OPENS: u32 = 8;
/// Allowed statements that are kept at once.
const MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Statements that were allowed and not done yet.
    kept: RefCell<Vec<Kept>>,
    /// Databases that were checked for access to other servers.
    looked: RefCell<HashSet<(Target, String)>>,
}

#[derive(Debug)]
struct Kept {
    target: Target,
    /// The user and the database.
    login: String,
    digest: String,
    until: Instant,
    /// How many transactions may still write for it.
    opens: u32,
}

impl Again {
    pub(super) fn keep(&self, target: Target, login: String, digest: &str) {
        let mut all = self.kept.borrow_mut();
        forget(&mut all);
        if all.len() < MAX {
            let (digest, until) = (digest.to_owned(), Instant::now() + TIME);
            all.push(Kept {
                target,
                login,
                digest,
                until,
                opens: OPENS,
            });
        }
    }

    /// Whether a transaction that begins there must be able to write. Until the kept statement is used, each of a few may be the one.
    pub(super) fn begins(&self, target: Target, login: &str) -> bool {
        let mut all = self.kept.borrow_mut();
        forget(&mut all);
        let is_for = |kept: &&mut Kept| kept.target == target && kept.login == login;
        let mut open = all.iter_mut().filter(is_for).filter(|kept| kept.opens > 0);
        open.next().map(|kept| kept.opens -= 1).is_some()
    }

    /// Whether that database was not checked before, as far as is kept.
    pub(super) fn is_first_look(&self, target: Target, login: &str) -> bool {
        let mut looked = self.looked.borrow_mut();
        if looked.len() >= MAX {
            looked.clear();
        }
        looked.insert((target, login.to_owned()))
    }

    /// Uses up a kept statement, if it was kept.
    pub(super) fn take(&self, target: Target, digest: &str) -> bool {
        let mut all = self.kept.borrow_mut();
        forget(&mut all);
        let found = all
            .iter()
            .position(|kept| kept.target == target && kept.digest == digest);
        found.map(|at| all.swap_remove(at)).is_some()
    }
}

fn forget(all: &mut Vec<Kept>) {
    let now = Instant::now();
    all.retain(|kept| kept.until > now);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_yes_has_a_few_transactions_write() {
        let target = Target {
            session: 1,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 5432,
        };
        let again = Again::default();
        again.keep(target, "alice@shop".to_owned(), "sum");
        let begun = (0..100).filter(|_| again.begins(target, "alice@shop"));
        assert_eq!(begun.count(), 8);
        // In one of them it is still done, once.
        assert!(again.take(target, "sum"));
        assert!(!again.take(target, "sum"));
    }
}
