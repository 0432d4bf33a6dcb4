//! `sudo guard …`: as root, and for somebody else. What is a person's own is not root's then.

use std::env;
use std::ffi::OsString;

use guard_sys::user_namespace;
use rustix::process::geteuid;

use super::misplaced::again;

/// Whether this is the machine's root, not a user namespace's.
pub(crate) fn is_root() -> bool {
    geteuid().is_root() && user_namespace::root_is().is_none()
}

/// Who called sudo, where this is root by it.
pub(crate) fn caller() -> Option<u32> {
    let named = env::var("SUDO_UID").ok();
    named.filter(|_| is_root()).and_then(|uid| of_person(&uid))
}

/// The uid of a variable of sudo's; none of root's.
fn of_person(uid: &str) -> Option<u32> {
    uid.parse().ok().filter(|uid| *uid != 0)
}

/// What root is to type where something belongs to the user who starts the agent.
pub(crate) fn as_that_person() -> String {
    let typed: Vec<_> = env::args_os().collect();
    same_as_person(caller().is_some(), &typed)
}

fn same_as_person(is_known: bool, typed: &[OsString]) -> String {
    if is_known {
        format!("as yourself, without sudo:\n{}", again("", typed))
    } else {
        format!("as that user:\n{}", again("sudo -u USER ", typed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_is_called_by_a_person() {
        for (uid, person) in [("1000", Some(1000)), ("0", None), ("me", None), ("", None)] {
            assert_eq!(of_person(uid), person, "{uid}");
        }
    }

    #[test]
    fn what_is_a_persons_is_typed_by_that_person() {
        let typed = ["guard", "discover", "--write", "shop"].map(OsString::from);
        assert_eq!(
            same_as_person(true, &typed),
            "as yourself, without sudo:\nguard discover --write shop"
        );
        let other = same_as_person(false, &typed);
        assert!(
            other.starts_with("as that user:\nsudo -u USER guard "),
            "{other}"
        );
        assert!(other.ends_with("discover --write shop"), "{other}");
    }
}
