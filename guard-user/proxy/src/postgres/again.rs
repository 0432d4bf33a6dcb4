//! What is kept about databases across connections: above all what a person has allowed in a transaction that could only read,
//! since the next transaction may write then.

use std::{
    cell::RefCell,
    collections::HashSet,
    time::{Duration, Instant},
};

use super::super::wire::RedirectTarget;

/// How long a client may take to do its transaction again.
const TIME: Duration = Duration::from_secs(60);
/// Allowed statements that are kept at once.
const MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Statements that were allowed and not done yet.
    kept: RefCell<Vec<Kept>>,
    /// Databases that were checked for access to other servers.
    looked: RefCell<HashSet<(RedirectTarget, String)>>,
}

#[derive(Debug)]
struct Kept {
    target: RedirectTarget,
    /// The user and the database.
    login: String,
    digest: String,
    until: Instant,
}

impl Again {
    pub(super) fn keep(&self, target: RedirectTarget, login: String, digest: &str) {
        let mut all = self.kept.borrow_mut();
        expire(&mut all);
        if all.len() < MAX {
            let (digest, until) = (digest.to_owned(), Instant::now() + TIME);
            all.push(Kept {
                target,
                login,
                digest,
                until,
            });
        }
    }

    /// Whether a transaction that begins there must be able to write. Until the kept statement is used, any may be the one:
    /// drivers begin some of their own before.
    pub(super) fn begins(&self, target: RedirectTarget, login: &str) -> bool {
        let mut all = self.kept.borrow_mut();
        expire(&mut all);
        let is_for = |kept: &Kept| kept.target == target && kept.login == login;
        all.iter().any(is_for)
    }

    /// Whether that database was not checked before, as far as is kept.
    pub(super) fn is_first_look(&self, target: RedirectTarget, login: &str) -> bool {
        let mut looked = self.looked.borrow_mut();
        if looked.len() >= MAX {
            looked.clear();
        }
        looked.insert((target, login.to_owned()))
    }

    /// Uses up a kept statement, if it was kept.
    pub(super) fn take(&self, target: RedirectTarget, digest: &str) -> bool {
        let mut all = self.kept.borrow_mut();
        expire(&mut all);
        let found = all
            .iter()
            .position(|kept| kept.target == target && kept.digest == digest);
        found.map(|at| all.swap_remove(at)).is_some()
    }
}

fn expire(all: &mut Vec<Kept>) {
    let now = Instant::now();
    all.retain(|kept| kept.until > now);
}
