//! A way round the guard, what came of it, and whether that is what the page says.
//!
//! A new way is a line of its family: a name, what is said of it, and a function that tries it twice. Whoever closes one that
//! was open turns `open(how, what to do)` into `closed(how, what the program sees, what closes it)`, and writes the page with
//! `cargo xtask docs --record`. Where it is closed on some kernels only, it names what those have: `by_layers`.
//!
//! The ways of a family are tried one after the other by one test, in the scene that they share: a guardd takes longer to start than a
//! way takes. What changes its scene, or is told by what another way may have left, is named behind `alone`, and has a test of its own.

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};
use guard_lab::Report;
use serde_json::json;

use crate::escapes::families;
use crate::escapes::layer::Layer;
use crate::together::said_by;

/// The environment variable that names a directory into which each way's outcome is written.
const SAID: &str = "GUARD_ESCAPES";
/// The same that names the one way that is tried, without the others of its family.
const ONE: &str = "GUARD_ESCAPES_WAY";

/// Ways of one kind, in the order in which the page has them.
pub(crate) struct Family {
    pub(crate) title: &'static str,
    /// Where its tests are.
    pub(crate) module: &'static str,
    pub(crate) ways: &'static [Row],
    /// Those that have a test of their own.
    pub(crate) alone: &'static [&'static str],
}

/// A way, what its test is called, and how it is tried.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    pub(crate) run: fn() -> Result<Tried>,
}

impl Family {
    /// Tries the way that has a test of its own.
    pub(crate) fn try_alone(&self, name: &str) {
        let is_there = self.ways.iter().any(|row| row.name == name);
        assert!(is_there, "{} has no way {name}", self.title);
        self.try_each(|row| row.name == name);
    }

    /// Tries the others, one after the other, and tells of all that end otherwise than is said of them.
    pub(crate) fn try_together(&self) {
        self.try_each(|row| !self.alone.contains(&row.name));
    }

    fn try_each(&self, is_meant: impl Fn(&Row) -> bool) {
        let one = one_way();
        let is_asked_for = |row: &&Row| one.as_deref().is_none_or(|one| one == row.name);
        let meant = self.ways.iter().filter(|row| is_meant(row));
        let (mut tried, mut failed) = (0, Vec::new());
        for row in meant.filter(is_asked_for) {
            tried += 1;
            // A way whose helper panics is no reason to leave out those behind it.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.try_one(row)));
            let outcome = outcome.unwrap_or_else(|panic| Err(anyhow!(said_by(&*panic))));
            match outcome {
                Ok(state) => println!("{}: {state}", row.name),
                Err(problem) => failed.push(format!("{}: {problem:#}", row.name)),
            }
        }
        let (count, failed) = (failed.len(), failed.join("\n"));
        assert!(count == 0, "{count} of {tried} ways failed:\n{failed}");
    }

    /// Tries one of its ways, and holds what came of it against what is said of it.
    fn try_one(&self, row: &Row) -> Result<&'static str> {
        let told = |error: anyhow::Error| error.context(row.way.how);
        let tried = (row.run)().map_err(told)?;
        let way = row.way.here().map_err(told)?;
        // The same kernels have both.
        let has_mounts = Layer::Scopes.is_there().map_err(told)?;
        let state = verdict(&way, &tried, has_mounts)?;
        write_down(self.title, row.name, &way, &tried, state);
        Ok(state)
    }
}

/// The one way that is asked for, which some family has.
fn one_way() -> Option<String> {
    let one = env::var(ONE).ok()?;
    let mut all = families().flat_map(|family| family.ways);
    assert!(
        all.any(|row| row.name == one),
        "{ONE}={one}: no way has that name"
    );
    Some(one)
}

/// A way round. Without the guard it works; that is tried, too.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// What is done, in a user's words.
    pub(crate) how: &'static str,
    /// What it does without the guard.
    pub(crate) without: &'static str,
    pub(crate) state: State,
    /// The kernels on which it is so.
    pub(crate) kernels: &'static str,
    /// What a kernel may lack, without which there is no such way.
    pub(crate) needs: Option<&'static str>,
    /// What closes it, each by itself, where kernels may lack that; where this one does, it works. None where all close it.
    pub(crate) layers: &'static [Layer],
}

#[derive(Clone, Copy)]
pub(crate) enum State {
    /// It fails with the guard: what the program sees has `seen` in it, and `by` is why.
    Closed {
        seen: &'static str,
        by: &'static str,
    },
    /// It works with the guard too; and what to do about that.
    Open { but: &'static str },
}

/// Every kernel that guard runs on.
const ALL: &str = "6.1 and later";

/// A way that is closed.
pub(crate) const fn closed(how: &'static str, seen: &'static str, by: &'static str) -> Way {
    Way {
        how,
        without: "arrives",
        state: State::Closed { seen, by },
        kernels: ALL,
        needs: None,
        layers: &[],
    }
}

/// A way that nothing closes yet.
pub(crate) const fn open(how: &'static str, but: &'static str) -> Way {
    Way {
        how,
        without: "arrives",
        state: State::Open { but },
        kernels: ALL,
        needs: None,
        layers: &[],
    }
}

impl Way {
    /// Only some kernels or machines have it.
    pub(crate) const fn where_there_is(self, what: &'static str) -> Self {
        Self {
            needs: Some(what),
            ..self
        }
    }

    /// What the program sees of what closes it.
    pub(crate) const fn seen(self, seen: &'static str) -> Self {
        let state = match self.state {
            State::Closed { by, .. } => State::Closed { seen, by },
            open @ State::Open { .. } => open,
        };
        Self { state, ..self }
    }

    /// Closed where this machine has one of these, and open elsewhere. The first is of the oldest kernels.
    pub(crate) const fn by_layers(self, layers: &'static [Layer]) -> Self {
        let kernels = match layers {
            [first, ..] => first.kernels(),
            [] => self.kernels,
        };
        Self {
            layers,
            kernels,
            ..self
        }
    }

    /// What it is on this machine.
    fn here(self) -> Result<Self> {
        let [first, ..] = self.layers else {
            return Ok(self);
        };
        for layer in self.layers {
            if layer.is_there()? {
                return Ok(self);
            }
        }
        let but = first.instead();
        Ok(Self {
            state: State::Open { but },
            ..self
        })
    }

    /// What it does without the guard, where that is no packet at production.
    pub(crate) const fn without(self, what: &'static str) -> Self {
        Self {
            without: what,
            ..self
        }
    }
}

/// What came of one try.
#[derive(Clone, Debug)]
pub(crate) enum Came {
    /// It did what it was for; with the evidence.
    Through(String),
    /// It did not; with what the program saw.
    Stopped(String),
    /// This kernel or machine has no such way; with its error.
    Missing(String),
}

impl Came {
    /// Of an attempt that went through or not, as the evidence says.
    pub(crate) fn of(report: &Report, evidence: Option<String>) -> Self {
        let errno = report.errno.as_deref().unwrap_or("no error");
        match evidence {
            Some(evidence) => Self::Through(evidence),
            None if ABSENT.contains(&errno) => {
                Self::Missing(format!("{errno} ({})", report.detail))
            }
            None => Self::Stopped(format!("{errno} ({})", report.detail)),
        }
    }

    /// Of a program that did not come through, and said so by the name of an error.
    pub(crate) fn not_through(said: String) -> Self {
        if ABSENT.contains(&&*said) {
            Self::Missing(said)
        } else {
            Self::Stopped(said)
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Through(text) | Self::Stopped(text) | Self::Missing(text) => text,
        }
    }
}

/// How a kernel says that it does not know something at all.
const ABSENT: [&str; 7] = [
    "EAFNOSUPPORT",
    "ENODEV",
    "ENOPROTOOPT",
    "ENOSYS",
    "EPFNOSUPPORT",
    "EPROTONOSUPPORT",
    "ESOCKTNOSUPPORT",
];

/// What came of it without the guard, and with it.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) without: Came,
    pub(crate) with: Came,
}

impl Tried {
    /// This machine has no such way.
    pub(crate) fn missing(why: String) -> Self {
        Self {
            without: Came::Missing(why.clone()),
            with: Came::Missing(why),
        }
    }
}

/// What unshare(1) says in a session on kernels before 6.12, where a Landlock domain allows no mounts: a way that begins with
/// one does not come to anything else.
const NO_MOUNTS: &str = "cannot change root filesystem propagation";

fn verdict(way: &Way, tried: &Tried, has_mounts: bool) -> Result<&'static str> {
    let how = way.how;
    Ok(match (&tried.without, &tried.with, way.state) {
        (Came::Missing(why), Came::Through(with), _) => {
            bail!("{how}: not here ({why}), and yet it works with the guard: {with}")
        }
        (Came::Missing(why), _, _) => {
            let may_lack = way.needs.is_some();
            ensure!(may_lack, "{how}: this kernel has no such way: {why}");
            "not here"
        }
        (Came::Stopped(why), ..) => {
            let without = way.without;
            bail!("{how}: without the guard it {without}, and here it does not: {why}")
        }
        (_, Came::Through(evidence), State::Closed { .. }) => {
            bail!("{how}: it works with the guard: {evidence}")
        }
        (_, Came::Stopped(why), _) if why.contains(NO_MOUNTS) && !has_mounts => "closed",
        (_, with, State::Closed { seen, .. }) => {
            let is_seen = with.text().contains(seen);
            ensure!(is_seen, "{how}: not {seen:?} but {with:?}");
            "closed"
        }
        (_, with, State::Open { .. }) => {
            let is_open = matches!(with, Came::Through(_));
            ensure!(
                is_open,
                "{how}: it is said to be open here, and it is not: {with:?}"
            );
            "open"
        }
    })
}

/// Leaves what came of each way where the environment says.
fn write_down(family: &str, name: &str, way: &Way, tried: &Tried, state: &str) {
    let Some(dir) = env::var_os(SAID) else { return };
    let came = json!({
        "family": family,
        "way": way.how,
        "state": state,
        "without": tried.without.text(),
        "with": tried.with.text(),
        "by": way.by(),
        "kernels": way.kernels,
    });
    let file = Path::new(&dir).join(format!(
        "{}-{name}.json",
        crate::escapes::page::place(family, name)
    ));
    fs::write(file, came.to_string()).unwrap();
}

impl Way {
    /// What closes it, or what to do as long as nothing does.
    pub(crate) fn by(&self) -> &'static str {
        match self.state {
            State::Closed { by, .. } => by,
            State::Open { but } => but,
        }
    }
}

/// Names ways, and makes tests of them: one of each behind `alone`, and one of all others.
macro_rules! family {
    (@test $name:ident $does:expr) => {
        #[test]
        fn $name() {
            $does;
        }
    };
    ($title:literal; alone: $($alone:ident),*; $($name:ident: $way:expr => $run:expr;)+) => {
        pub(crate) const FAMILY: $crate::escapes::way::Family = $crate::escapes::way::Family {
            title: $title,
            module: module_path!(),
            ways: &[$($crate::escapes::way::Row { name: stringify!($name), way: $way, run: $run }),+],
            alone: &[$(stringify!($alone)),*],
        };
        mod tried {
            $crate::escapes::way::family! { @test together super::FAMILY.try_together() }
            $(
                $crate::escapes::way::family! { @test $alone super::FAMILY.try_alone(stringify!($alone)) }
            )*
        }
    };
    ($title:literal; $($name:ident: $way:expr => $run:expr;)+) => {
        $crate::escapes::way::family! { $title; alone: ; $($name: $way => $run;)+ }
    };
}
pub(crate) use family;
