//! How much of what there is a list has: root's has all of it, anybody else's what is their own.

use rustix::process::geteuid;

use super::page::Page;

/// See above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListScope {
    /// All there is.
    All,
    /// What is the caller's own. So many are other users'.
    Own(usize),
}

impl ListScope {
    /// What this user sees. `others` says how many there are of other users, where nothing is the caller's.
    pub(crate) fn here(others: impl FnOnce() -> usize) -> Self {
        if geteuid().is_root() {
            Self::All
        } else {
            Self::Own(others())
        }
    }

    /// "No requests wait.", or "No requests of yours wait."
    pub(crate) fn none(self, things: &str, rest: &str) -> Page {
        let of = match self {
            Self::All => "",
            Self::Own(_) => " of yours",
        };
        Page::of(format_args!("No {things}{of} {rest}"))
    }

    /// Where other users have some, who is shown those.
    pub(crate) fn others(self, page: &mut Page, verb: &str) {
        if let Self::Own(others @ 1..) = self {
            page.line(format_args!(
                "Other users have {others}; root is shown all:"
            ))
            .commands(format_args!("sudo guard {verb}"));
        }
    }
}
