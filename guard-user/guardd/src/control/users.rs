//! Names of users, looked up once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use guard_sys::accounts::UserAccount;

/// How long a user without a name has none: the account database may be away, and approvers are known by names.
const NAMELESS: Duration = Duration::from_secs(10);

/// The names that were looked up.
#[derive(Debug, Default)]
pub(crate) struct Users {
    names: HashMap<u32, String>,
    nameless: HashMap<u32, Instant>,
}

impl Users {
    /// The user's name, or the uid where there is none.
    pub(crate) fn name(&mut self, uid: u32) -> String {
        if let Some(name) = self.names.get(&uid) {
            return name.clone();
        }
        self.nameless.retain(|_, since| since.elapsed() < NAMELESS);
        if !self.nameless.contains_key(&uid) {
            if let Ok(Some(account)) = UserAccount::by_uid(uid) {
                return self.names.entry(uid).or_insert(account.name).clone();
            }
            self.nameless.insert(uid, Instant::now());
        }
        uid.to_string()
    }
}
