//! What this machine can enforce, found out by doing it: each probe does the thing, and none goes by a version.
//!
//! A probe has three answers: yes, no, and that it could not tell. Doubt is no. Whatever a probe makes (a process, a
//! cgroup, a socket) is gone when it returns; nothing is pinned, and no packet leaves the machine.

pub mod attempts;
pub mod child;
pub mod daemon;
pub mod devices;
pub mod helpers;
pub mod kernel;
pub mod layers;
pub mod loopback;
pub mod scratch;
pub mod user;

use std::io;

use guard_proto::{Failure, Row};

pub use guard_sys::errno::errno;

/// Which ways round a row is about: the headings of docs/threat-model.md, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// `another call`
    Call,
    /// `another protocol`
    Protocol,
    /// `a socket from elsewhere`
    Elsewhere,
    /// `leaving the cgroup`
    Leaving,
    /// `a helper outside`
    Helper,
    /// `the guard itself`
    Guard,
    /// `time`
    Time,
}

impl Family {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Guard,
        Self::Call,
        Self::Protocol,
        Self::Elsewhere,
        Self::Leaving,
        Self::Helper,
        Self::Time,
    ];

    /// The word for JSON and headings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "another call",
            Self::Protocol => "another protocol",
            Self::Elsewhere => "a socket from elsewhere",
            Self::Leaving => "leaving the cgroup",
            Self::Helper => "a helper outside",
            Self::Guard => "the guard itself",
            Self::Time => "time",
        }
    }
}

/// What a row is, before anything was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// Its family.
    pub family: Family,
    /// Whether the guard's claim fails without it.
    pub required: bool,
    /// Whether it is a way round, which can be open, or something to work with, which can be missing.
    pub is_way: bool,
    /// What to do where it is not ok.
    pub fix: &'static str,
}

impl Check {
    /// A way round that has to be closed.
    #[must_use]
    pub const fn way(family: Family, name: &'static str, fix: &'static str) -> Self {
        Self {
            name,
            family,
            required: true,
            is_way: true,
            fix,
        }
    }

    /// Something that the guard works with.
    #[must_use]
    pub const fn part(family: Family, name: &'static str, fix: &'static str) -> Self {
        Self {
            name,
            family,
            required: true,
            is_way: false,
            fix,
        }
    }

    /// The same, where the claim holds without it.
    ///
    /// # Panics
    ///
    /// Where its name and its fix are too long for one line of `guard doctor`: in a constant, that does not compile.
    #[must_use]
    pub const fn optional(self) -> Self {
        assert!(
            self.name.len() + self.fix.len() <= ONE_LINE,
            "what is not required has its fix in one line"
        );
        Self {
            required: false,
            ..self
        }
    }

    /// The row where nobody could even try, and what would let somebody.
    #[must_use]
    pub fn unseen(&self, why: &str, fix: &str) -> Row {
        Row {
            fix: Some(fix.to_owned()),
            ..self.row(ProbeResult::unclear(why))
        }
    }

    /// The row of that answer.
    #[must_use]
    pub fn row(&self, answer: ProbeResult) -> Row {
        self.row_named(self.name, answer)
    }

    /// The same for one of several things that the check is about.
    #[must_use]
    pub fn row_named(&self, name: &str, answer: ProbeResult) -> Row {
        let (ok, detail) = match answer {
            ProbeResult::Yes(detail) => (true, detail),
            ProbeResult::No(detail) => (false, detail),
            ProbeResult::Unclear(why) => (false, format!("{UNCLEAR}{why}")),
        };
        let state = match (ok, self.is_way) {
            (true, _) => "ok",
            (false, true) => "open",
            (false, false) => "missing",
        };
        Row {
            check: name.to_owned(),
            ok,
            required: self.required,
            detail,
            fix: (!ok).then(|| self.fix.to_owned()),
            state: state.to_owned(),
            family: self.family.as_str().to_owned(),
        }
    }
}

/// What a probe found, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// It is as it should be.
    Yes(String),
    /// It is not.
    No(String),
    /// It could not be tried, and this is why.
    Unclear(String),
}

impl ProbeResult {
    /// Yes.
    #[must_use]
    pub fn yes(how: impl Into<String>) -> Self {
        Self::Yes(how.into())
    }

    /// No.
    #[must_use]
    pub fn no(how: impl Into<String>) -> Self {
        Self::No(how.into())
    }

    /// It could not be tried.
    #[must_use]
    pub fn unclear(why: impl ToString) -> Self {
        Self::Unclear(why.to_string())
    }

    /// Whether it is yes.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        matches!(self, Self::Yes(_))
    }
}

/// How long the name and the fix of an optional row may be together: `guard doctor` has both in one line of 80 columns, with two
/// blanks before the name, and a colon and a blank behind it.
pub const ONE_LINE: usize = 80 - 4;
/// How the detail of a row begins whose answer is unclear.
pub const UNCLEAR: &str = "could not tell: ";

/// How unix sockets outside can be judged here, from what the kernel lets us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixLayer {
    /// Programs at the kernel's security hooks judge them.
    Lsm,
    /// A program of the cgroup refuses all, and a supervisor connects what is allowed.
    Supervised,
    /// Not at all.
    None,
}

/// Whether there is such a layer.
pub const UNIX_LAYER: Check = Check::part(
    Family::Helper,
    "unix sockets can be judged",
    "boot Linux 6.7 or later with CONFIG_SECCOMP_FILTER=y, or a kernel with CONFIG_FUNCTION_TRACER=y and BTF; until then run \
     agents as a user of their own: sudo guard run --user agent -- CMD",
);

impl UnixLayer {
    /// The layer that the rows of these probes allow.
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        match Self::at_best(rows) {
            Self::Supervised if !is_ok(rows, user::NOTIFICATION) => Self::None,
            layer => layer,
        }
    }

    /// The same, for whoever does not see what takes a user's process.
    #[must_use]
    pub fn at_best(rows: &[Row]) -> Self {
        if is_ok(rows, kernel::SECURITY_HOOKS) {
            return Self::Lsm;
        }
        let mut refused = [kernel::CONNECT_UNIX, kernel::SENDMSG_UNIX].into_iter();
        if refused.all(|check| is_ok(rows, check)) {
            Self::Supervised
        } else {
            Self::None
        }
    }
}

/// What each row is that guardd answers with, or that is made here.
pub fn checks() -> impl Iterator<Item = Check> {
    let tried = kernel::CHECKS.into_iter().chain(attempts::CHECKS);
    let looked = user::CHECKS.into_iter().chain(devices::CHECKS);
    let others = loopback::CHECKS
        .into_iter()
        .chain([helpers::HELPER, UNIX_LAYER]);
    daemon::CHECKS
        .into_iter()
        .chain(tried)
        .chain(looked)
        .chain(others)
}

fn is_ok(rows: &[Row], check: Check) -> bool {
    rows.iter().any(|row| row.check == check.name && row.ok)
}

/// Why nothing runs where the settings are strict, and what to do about each way that is open; none where none is.
#[must_use]
pub fn refusal<'r>(open: impl IntoIterator<Item = &'r Row>) -> Option<Failure> {
    let (mut why, mut fix) = (Vec::new(), Vec::new());
    for row in open {
        why.push(format!("{}: {}", row.check, row.detail));
        fix.extend(
            row.fix
                .as_deref()
                .map(|fix| format!("{}: {fix}", row.check)),
        );
    }
    fix.push("guard doctor".to_owned());
    (!why.is_empty()).then(|| Failure {
        what: "nothing runs while a way round is open (strict = true)".to_owned(),
        why: why.join("; "),
        fix: fix.join("\n"),
    })
}

/// Whether an error says that somebody forbids it.
#[must_use]
pub fn is_forbidden(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::EACCES | libc::EROFS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAY: Check = Check::way(Family::Helper, "unix", "close it");

    #[test]
    fn doubt_is_no_and_says_why() {
        let row = WAY.row(ProbeResult::unclear("no guardd"));
        assert_eq!((row.ok, row.state.as_str()), (false, "open"));
        assert_eq!(row.detail, "could not tell: no guardd");
        assert_eq!(row.fix.as_deref(), Some("close it"));
        let row = WAY.row(ProbeResult::yes("EPERM"));
        assert_eq!((row.ok, row.fix), (true, None));
    }

    #[test]
    #[should_panic(expected = "in one line")]
    fn what_is_optional_has_a_short_fix() {
        let fix: &'static str = "a word ".repeat(20).leak();
        let _ = Check::way(Family::Helper, "unix", fix).optional();
    }

    #[test]
    fn unix_sockets_are_judged_by_what_works() {
        let row = |check: Check, ok| {
            check.row(if ok {
                ProbeResult::yes("")
            } else {
                ProbeResult::no("")
            })
        };
        let rows = |lsm, unix, notified| {
            [
                row(kernel::SECURITY_HOOKS, lsm),
                row(kernel::CONNECT_UNIX, unix),
                row(kernel::SENDMSG_UNIX, unix),
                row(user::NOTIFICATION, notified),
            ]
        };
        assert_eq!(UnixLayer::of(&rows(true, false, false)), UnixLayer::Lsm);
        let supervised = rows(false, true, true);
        assert_eq!(UnixLayer::of(&supervised), UnixLayer::Supervised);
        assert_eq!(UnixLayer::of(&rows(false, true, false)), UnixLayer::None);
        assert_eq!(UnixLayer::of(&supervised[..1]), UnixLayer::None);
    }
}
