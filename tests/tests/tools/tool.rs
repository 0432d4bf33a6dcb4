//! A tool, what it is expected to do in a session, and whether it does.
//!
//! A new tool is a line of its family, and a script of the same name in `scripts`. Where it does something else in a session than
//! without the guard, the line says so with a sentence of a document; nothing else makes its test pass.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::tools::scene::{Done, Workshop};
use crate::tools::unit;

/// The environment variable that names a directory into which is written what came of each tool.
const SAID: &str = "GUARD_TOOLS";
/// The same of the packages in throw-away machines: where it is set, this is one.
const MACHINE: &str = "GUARD_PACKAGES";

/// Tools of one kind, in the order in which the page has them.
pub(crate) struct Family {
    pub(crate) title: &'static str,
    pub(crate) tools: &'static [Row],
}

/// A tool, and what its test is called.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) tool: Tool,
    /// What is run.
    pub(crate) script: &'static str,
}

/// How a command comes to run in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `guard run` by a user.
    User,
    /// `guard run --user NAME` by root.
    ForUser,
    /// `guard run --user root` by a user.
    AsRoot,
    /// A unit of systemd's.
    Unit,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::User, Self::ForUser, Self::AsRoot, Self::Unit];
    /// Those that need no systemd.
    pub(crate) const RUN: [Self; 3] = [Self::User, Self::ForUser, Self::AsRoot];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ForUser => "for-user",
            Self::AsRoot => "as-root",
            Self::Unit => "unit",
        }
    }
}

/// Why a tool is not tried in a throw-away machine that needs more time for it than a test has there.
pub(crate) const SLOW: &str = "not tried: an emulated machine takes minutes for it";

/// What is said of a tool.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    /// Its name, and what is done with it.
    pub(crate) what: &'static str,
    /// In the order of [`Way::ALL`].
    pub(crate) claims: [Claim; 4],
    /// Why it is not tried on a machine that anybody uses, if it is not.
    pub(crate) not_here: Option<&'static str>,
    /// Why it is not tried in a throw-away machine, if it is not.
    pub(crate) not_in_machines: Option<&'static str>,
}

/// What comes of a tool in a session.
#[derive(Clone, Copy)]
pub(crate) enum Claim {
    /// The same as without.
    Same,
    /// Something else, in which is `seen`, and a document says why.
    Told {
        seen: &'static str,
        file: &'static str,
        says: &'static str,
    },
    /// It refuses to run as root, with `seen`, also where nothing guards it.
    NotAsRoot { seen: &'static str },
    /// It does not work for root of a user namespace, with `seen`, also where nothing guards it.
    NotInNamespace { seen: &'static str },
}

/// A tool that does the same everywhere.
pub(crate) const fn tool(what: &'static str) -> Tool {
    Tool {
        what,
        claims: [Claim::Same; 4],
        not_here: None,
        not_in_machines: None,
    }
}

/// What [`Claim::Told`] has.
pub(crate) const fn told(seen: &'static str, file: &'static str, says: &'static str) -> Claim {
    Claim::Told { seen, file, says }
}

impl Tool {
    /// In each way something else comes of it.
    pub(crate) const fn always(self, claim: Claim) -> Self {
        Self {
            claims: [claim; 4],
            ..self
        }
    }

    /// In one way something else comes of it.
    pub(crate) const fn but(self, way: Way, claim: Claim) -> Self {
        let mut claims = self.claims;
        claims[way as usize] = claim;
        Self { claims, ..self }
    }

    /// It wants what only a throw-away machine has.
    pub(crate) const fn not_here(self, why: &'static str) -> Self {
        Self {
            not_here: Some(why),
            ..self
        }
    }

    /// Throw-away machines do not have it, or take too long for it.
    pub(crate) const fn not_in_machines(self, why: &'static str) -> Self {
        Self {
            not_in_machines: Some(why),
            ..self
        }
    }

    pub(crate) const fn claim(&self, way: Way) -> Claim {
        self.claims[way as usize]
    }

    fn is_left_out(&self) -> bool {
        let why = match env::var_os(MACHINE) {
            Some(_) => self.not_in_machines,
            None => self.not_here,
        };
        why.is_some()
    }
}

impl Family {
    fn row(&self, name: &str) -> &Row {
        self.tools.iter().find(|row| row.name == name).unwrap()
    }

    /// Runs one of its tools in each way that needs no systemd, and holds what came of it against what is said of it.
    pub(crate) fn try_it(&self, name: &str) {
        let row = self.row(name);
        if !row.tool.is_left_out() {
            row.try_it()
                .unwrap_or_else(|error| panic!("{}: {error:#}", row.tool.what));
        }
    }

    /// The same in a unit.
    pub(crate) fn try_unit(&self, name: &str) {
        let row = self.row(name);
        if !row.tool.is_left_out() {
            row.try_unit()
                .unwrap_or_else(|error| panic!("{}: {error:#}", row.tool.what));
        }
    }
}

impl Row {
    fn try_it(&self) -> Result<()> {
        let scene = Workshop::new(self.script)?;
        let without = scene.without()?;
        without.worked()?;
        let as_root = match self.tool.claim(Way::AsRoot) {
            Claim::NotAsRoot { .. } => Some(scene.without_by_root()?),
            Claim::NotInNamespace { .. } => Some(scene.without_in_namespace()?),
            Claim::Same | Claim::Told { .. } => None,
        };
        let mut wrong = Vec::new();
        for way in Way::RUN {
            let with = scene.within(way)?;
            let judged = self.judge(way, &without, as_root.as_ref(), &with);
            self.write_down(way, judged.is_ok(), &with)?;
            wrong.extend(
                judged
                    .err()
                    .map(|error| format!("{}: {error:#}", way.name())),
            );
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    fn try_unit(&self) -> Result<()> {
        let scene = Workshop::outside_of_sessions(self.script)?;
        let without = unit::run(&scene, false)?;
        without.worked()?;
        let with = unit::run(&scene, true)?;
        self.judge(Way::Unit, &without, None, &with)
    }

    /// Whether what came of it with the guard is what is said of it.
    fn judge(&self, way: Way, without: &Done, as_root: Option<&Done>, with: &Done) -> Result<()> {
        let is_same = (with.code, &with.said) == (without.code, &without.said);
        match self.tool.claim(way) {
            Claim::Same if is_same => Ok(()),
            Claim::Same => bail!("it differs. Without the guard: {without}\nwith it: {with}"),
            _ if is_same => bail!("it is said to differ, and is the same: {with}"),
            Claim::Told { seen, .. } => with.has(seen),
            Claim::NotAsRoot { seen } | Claim::NotInNamespace { seen } => {
                let root = as_root.context("it was not run by root")?;
                root.has(seen).context("without the guard")?;
                with.has(seen)
            }
        }
    }

    /// Leaves what came of each tool where the environment says.
    fn write_down(&self, way: Way, is_so: bool, with: &Done) -> Result<()> {
        let Some(dir) = env::var_os(SAID) else {
            return Ok(());
        };
        let came = match (is_so, self.tool.claim(way)) {
            (false, _) => format!("DIFFERS: {}", with.last_words()),
            (true, claim) => crate::tools::page::cell(claim),
        };
        let place = crate::tools::page::place(self.name);
        let came = json!({"tool": self.tool.what, "way": way.name(), "came": came});
        let file = Path::new(&dir).join(format!("{place}-{}.json", way as usize));
        Ok(fs::write(file, came.to_string())?)
    }
}

/// Names tools, and makes tests of each: of the ways that need no systemd one, and of a unit one. An attribute such as
/// `#[ignore]` is the first one's.
macro_rules! tools {
    ($title:literal; $($(#[$attribute:meta])* $name:ident: $tool:expr;)+) => {
        pub(crate) const FAMILY: $crate::tools::tool::Family = $crate::tools::tool::Family {
            title: $title,
            tools: &[$($crate::tools::tool::Row {
                name: stringify!($name),
                tool: $tool,
                script: include_str!(concat!("scripts/", stringify!($name), ".sh")),
            }),+],
        };
        mod tried {
            $(
                #[test]
                $(#[$attribute])*
                fn $name() {
                    super::FAMILY.try_it(stringify!($name));
                }
            )+
        }
        mod units {
            $(
                #[test]
                #[ignore = "it needs a machine with systemd: `cargo xtask vm` has some to throw away"]
                fn $name() {
                    super::FAMILY.try_unit(stringify!($name));
                }
            )+
        }
    };
}
pub(crate) use tools;
