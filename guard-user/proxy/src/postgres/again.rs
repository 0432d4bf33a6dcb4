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
/// Allowed statements that are kept at once.
const MAX: usize = 1024;
/// Transactions that may write until the one with the allowed statement is among them: drivers begin some of their own before.
const BEGUN: u32 = 8;

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
    /// Transactions that may still begin by it.
    left: u32,
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
                left: BEGUN,
            });
        }
    }

    /// Whether a transaction that begins there must be able to write. Until the kept statement is used, each of the next few may be the
    /// one.
    pub(super) fn begins(&self, target: Target, login: &str) -> bool {
        let mut all = self.kept.borrow_mut();
        forget(&mut all);
        let is_for = |kept: &Kept| kept.target == target && kept.login == login;
        all.iter().any(is_for)
    }

    /// Counts a transaction that could write for that reason alone. What was kept longest is used up first.
    pub(super) fn begun(&self, target: Target, login: &str) {
        let mut all = self.kept.borrow_mut();
        let kept = all
            .iter_mut()
            .find(|kept| kept.target == target && kept.login == login);
        if let Some(kept) = kept {
            kept.left -= 1;
        }
        all.retain(|kept| kept.left > 0);
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
        found.map(|at| all.remove(at)).is_some()
    }
}

fn forget(all: &mut Vec<Kept>) {
    let now = Instant::now();
    all.retain(|kept| kept.until > now);
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const HERE: Target = Target {
        session: 1,
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        port: 5432,
    };

    #[test]
    fn a_yes_lets_a_few_transactions_write_and_not_all_for_a_minute() {
        let again = Again::default();
        again.keep(HERE, "app/shop".to_owned(), "one");
        for _ in 0..BEGUN {
            assert!(again.begins(HERE, "app/shop"));
            assert!(!again.begins(HERE, "app/other"));
            again.begun(HERE, "app/shop");
        }
        assert!(!again.begins(HERE, "app/shop"));
        assert!(!again.take(HERE, "one"), "it is asked about again");
        again.keep(HERE, "app/shop".to_owned(), "one");
        again.begun(HERE, "app/shop");
        assert!(again.take(HERE, "one"));
        assert!(!again.begins(HERE, "app/shop"));
    }
}
