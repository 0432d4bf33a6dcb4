//! A way round the guard, what came of it, and whether that is what the page says.
//!
//! A new way is a line of its family: a name, what is said of it, and a function that tries it twice. Whoever closes one that
//! was open turns `open(how, what to do)` into `closed(how, what the program sees, what closes it)`, and writes the page with
//! `cargo xtask escapes --write`. Where it is closed on some kernels only, it names what those have: `by_layers`.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::Result;
use guard_lab::Report;
use serde_json::json;

use crate::escapes::layer::Layer;

/// The environment variable that names a directory into which each way's outcome is written.
const SAID: &str = "GUARD_ESCAPES";

/// Ways of one kind, in the order in which the page has them.
pub(crate) struct Family {
    pub(crate) title: &'static str,
    /// Where its tests are.
    pub(crate) module: &'static str,
    pub(crate) ways: &'static [Row],
}

/// A way, what its test is called, and how it is tried.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    pub(crate) run: fn() -> Result<Tried>,
}

impl Family {
    /// Tries one of its ways, and holds what came of it against what is said of it.
    pub(crate) fn try_it(&self, name: &str) {
        let row = self.ways.iter().find(|row| row.name == name).unwrap();
        let told = |error: anyhow::Error| -> ! { panic!("{}: {error:#}", row.way.how) };
        let tried = (row.run)().unwrap_or_else(|error| told(error));
        let way = row.way.here().unwrap_or_else(|error| told(error));
        // The same kernels have both.
        let has_mounts = Layer::Scopes.is_there();
        let has_mounts = has_mounts.unwrap_or_else(|error| told(error));
        let state = verdict(&way, &tried, has_mounts);
        write_down(self.title, name, &way, &tried, state);
    }
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
        match ABSENT.contains(&&*said) {
            true => Self::Missing(said),
            false => Self::Stopped(said),
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

fn verdict(way: &Way, tried: &Tried, has_mounts: bool) -> &'static str {
    match (&tried.without, &tried.with, way.state) {
        (Came::Missing(why), Came::Through(with), _) => {
            panic!(
                "{}: not here ({why}), and yet it works with the guard: {with}",
                way.how
            )
        }
        (Came::Missing(why), _, _) => {
            assert!(
                way.needs.is_some(),
                "{}: this kernel has no such way: {why}",
                way.how
            );
            "not here"
        }
        (Came::Stopped(why), ..) => {
            panic!(
                "{}: without the guard it {}, and here it does not: {why}",
                way.how, way.without
            )
        }
        (_, Came::Through(evidence), State::Closed { .. }) => {
            panic!("{}: it works with the guard: {evidence}", way.how)
        }
        (_, Came::Stopped(why), _) if why.contains(NO_MOUNTS) && !has_mounts => "closed",
        (_, with, State::Closed { seen, .. }) => {
            assert!(
                with.text().contains(seen),
                "{}: not {seen:?} but {with:?}",
                way.how
            );
            "closed"
        }
        (_, with, State::Open { .. }) => {
            let is_open = matches!(with, Came::Through(_));
            assert!(
                is_open,
                "{}: it is said to be open here, and it is not: {with:?}",
                way.how
            );
            "open"
        }
    }
}

/// For `cargo xtask escapes`, which prints what came of each on this machine.
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

/// Names ways, and makes a test of each.
macro_rules! family {
    ($title:literal; $($name:ident: $way:expr => $run:expr;)+) => {
        pub(crate) const FAMILY: $crate::escapes::way::Family = $crate::escapes::way::Family {
            title: $title,
            module: module_path!(),
            ways: &[$($crate::escapes::way::Row { name: stringify!($name), way: $way, run: $run }),+],
        };
        mod tried {
            $(
                #[test]
                fn $name() {
                    super::FAMILY.try_it(stringify!($name));
                }
            )+
        }
    };
}
pub(crate) use family;
