//! Names of users, looked up once.

use std::collections::HashMap;

use guard_sys::accounts::Account;

/// The names that were looked up.
#[derive(Debug, Default)]
pub struct Users {
    names: HashMap<u32, String>,
}

impl Users {
    /// The user's name, or the uid where there is none.
    pub fn name(&mut self, uid: u32) -> String {
        let look_up = || match Account::by_uid(uid) {
            Ok(Some(account)) => account.name,
            Ok(None) | Err(_) => uid.to_string(),
        };
        self.names.entry(uid).or_insert_with(look_up).clone()
    }
}
