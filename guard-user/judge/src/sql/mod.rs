//! The judge of read-only PostgreSQL: what the statements of a query string do. Pure, without I/O.
//!
//! Doubt makes a write: whatever the parser does not know, whatever part of a statement is not known to be harmless,
//! and whatever function is not on the list. The server's own parser reads the text (libpg_query), and the tree is
//! walked without regard to what a statement may hold where, so that no part of it is forgotten.
//!
//! This is one of two locks. The other is the server's `default_transaction_read_only`, which has to be given in the
//! start-up packet: `RESET ALL` and `DISCARD ALL` go back to what was given there, and pass here. It stops what this
//! judge cannot see: what the functions behind views, casts and operators do.

use std::fmt::{self, Display};

use guard_policy::ProfileLists;

mod allowed;
mod changes;
mod commands;
mod dotted;
mod doubt;
mod drops;
mod forms;
mod functions;
mod known;
mod normalise;
mod objects;
mod options;
mod read;
mod settings;
mod shape;
mod startup;
mod statement;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;
mod utility;
mod variable;
mod write;

pub use settings::MEANING;
pub use shape::shape;
pub use startup::startup;
pub use write::SqlWrite;

/// In bytes: a longer text is not parsed, and an approver is asked about it.
pub const LIMIT: usize = 64 * 1024;
/// So much stack is enough where [`judge`] is called, in bytes; the proxy's one thread is its first, which has twice that.
/// It is twice what a build without optimisations takes, and eight times what others take. The parser takes what there is,
/// but no more than 2 MiB and never all of it; a tree of more than 100 levels is not handed over.
#[cfg(test)]
const STACK: usize = 4 * 1024 * 1024;

/// What a query string does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedQuery {
    /// Its statements, in order. None where there are only blanks and comments.
    pub statements: Vec<Statement>,
    /// The text without comments, constants as `$n`: nothing secret is left in it. At most 2 KiB. Empty where all of it
    /// reads and means nothing for what comes after it: nobody sees that.
    pub normalised: String,
}

/// What one statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Whether it reads.
    pub effect: Effect,
    /// What it means for the statements after it.
    pub control: Option<Control>,
    /// Whether it may change settings, by which those after it are read.
    pub sets: bool,
    /// Whether it goes back to what the start-up packet has set (`RESET ALL`, `DISCARD ALL`).
    pub resets: bool,
}

/// Whether a statement reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    Reads,
    /// It changes something, or may.
    Writes(SqlWrite),
}

/// What a statement means for those after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// It begins a transaction.
    Begin {
        /// Whether that one is to write: then it counts as a write as well.
        read_write: bool,
    },
    /// It lets later transactions of the session write unless they say otherwise, and does nothing else. It counts as a write
    /// as well.
    Unlock,
    /// It ends the transaction, well or not.
    End {
        /// Whether the next begins at once, and may write if this one may (`AND CHAIN`).
        chain: bool,
    },
    /// It gives a statement a name. Nothing happens yet.
    Prepare {
        /// The name.
        name: String,
        /// What executing it does, unless it only reads.
        write: Option<SqlWrite>,
    },
    /// It executes the statement of that name, whatever that does. If its parameters do something themselves, it counts
    /// as a write as well.
    Execute {
        /// The name.
        name: String,
    },
    /// It reads from a portal, or moves in it: one that SQL has declared, or the protocol bound.
    Fetch {
        /// The portal's name.
        name: String,
    },
    /// It forgets names.
    Deallocate {
        /// Which; all of them if `None`.
        name: Option<String>,
    },
}

/// Why a text was not judged: a person must be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is longer than [`LIMIT`].
    #[error("it is longer than {} KiB", LIMIT / 1024)]
    TooLong,
    /// It is not in UTF-8.
    #[error("it is not in UTF-8")]
    NotText,
    /// The parser does not take it. The text is the parser's word, which names at most one token of the query.
    #[error("PostgreSQL's parser does not read it: {0}")]
    Unparsed(String),
    /// It is nested deeper than anybody reads.
    #[error("it is nested too deeply")]
    TooDeep,
}

/// A major release of PostgreSQL; 0 where a server does not say its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(u32);

impl Release {
    /// The one that a server's `server_version` begins with: `15.4 (Debian 15.4-1)`, `18beta1`.
    pub fn of(version: &str) -> Self {
        let end = version.find(|c: char| !c.is_ascii_digit());
        let major = version[..end.unwrap_or(version.len())].parse();
        Self(major.unwrap_or_default())
    }
}

impl Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What passes beyond what every server knows to read, by its release and by a rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra<'r> {
    /// The server's release.
    pub release: Release,
    /// Functions: `name` or `schema.name` as they are written in queries, where a `*` at the end stands for any end, or
    /// `@extension` for those of one.
    pub functions: &'r [String],
    /// Settings, with a `*` as there.
    pub settings: &'r [String],
}

impl<'r> Extra<'r> {
    /// The functions and settings that a rule lists, for a server of that release.
    pub fn of(lists: &'r ProfileLists, release: Release) -> Self {
        Self {
            release,
            functions: &lists.postgres_functions,
            settings: &lists.postgres_settings,
        }
    }

    /// Whether all that the rule of others lets pass passes.
    pub fn covers(self, others: Self) -> bool {
        let function = |entry: &String| functions::lets_through(entry, self.functions);
        let setting = |entry: &String| settings::lets_through(entry, self.settings);
        others.functions.iter().all(function) && others.settings.iter().all(setting)
    }
}

/// Judges a query string.
///
/// # Errors
///
/// What cannot be read counts as a write.
pub fn judge(text: &[u8], extra: Extra<'_>) -> Result<JudgedQuery, Unread> {
    let text = read::text(text)?;
    let statements: Vec<_> = if known::reads(text) {
        vec![Statement::reads()]
    } else {
        let parsed = read::parse(text)?;
        let judged = parsed.iter().map(|node| statement::judge(node, extra));
        judged.collect()
    };
    let is_told = statements.iter().any(|one| *one != Statement::reads());
    Ok(JudgedQuery {
        normalised: if is_told {
            normalise::normalise(text)?
        } else {
            String::new()
        },
        statements,
    })
}

impl Statement {
    const fn reads() -> Self {
        Self {
            effect: Effect::Reads,
            control: None,
            sets: false,
            resets: false,
        }
    }

    /// A read, unless there is something that it writes.
    fn of(write: Option<SqlWrite>) -> Self {
        Self {
            effect: write.map_or(Effect::Reads, Effect::Writes),
            control: None,
            sets: false,
            resets: false,
        }
    }

    fn with(self, control: Control) -> Self {
        Self {
            control: Some(control),
            ..self
        }
    }

    fn sets(self, sets: bool) -> Self {
        Self { sets, ..self }
    }

    fn resets(self) -> Self {
        Self {
            resets: true,
            ..self
        }
    }

    fn into_write(self) -> Option<SqlWrite> {
        match self.effect {
            Effect::Reads => None,
            Effect::Writes(write) => Some(write),
        }
    }
}

impl From<SqlWrite> for Statement {
    fn from(write: SqlWrite) -> Self {
        Self::of(Some(write))
    }
}
