//! What a person reads of a statement that writes.

/// Bytes of what is said of several in a word, and the warnings of all of them.
const MAX_KIND: usize = 256;
const MAX_WARNINGS: usize = 32;

/// A statement that changes something, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlWrite {
    /// The command: `DELETE`, `CREATE TABLE`, `COPY FROM`, `function call`.
    pub command: &'static str,
    /// What it does, for a person: `deletes rows of public.users`.
    pub kind: String,
    /// Why it counts as a write, in one sentence.
    pub because: String,
    /// What about it looks like a change of many things or one that cannot be undone.
    pub warnings: Vec<String>,
    /// The tables and other objects that are named in it, as they are written there: at most 8.
    pub objects: Vec<String>,
    /// Whether it changes what the database is, rather than what is in it.
    pub is_definition: bool,
    /// Whether it changes the row at which a cursor is.
    pub is_by_cursor: bool,
    /// Whether its constants are values, and none of them code, a command or somebody's name: then others may stand in
    /// their place.
    pub has_values: bool,
}

impl SqlWrite {
    pub(super) fn new(command: &'static str, kind: impl Into<String>) -> Self {
        Self {
            command,
            kind: kind.into(),
            because: format!("{command} does not only read"),
            warnings: Vec::new(),
            objects: Vec::new(),
            is_definition: false,
            is_by_cursor: false,
            has_values: false,
        }
    }

    pub(super) fn because(self, because: impl Into<String>) -> Self {
        Self {
            because: because.into(),
            ..self
        }
    }

    pub(super) fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    pub(super) fn warn_if(self, is_so: bool, warning: &str) -> Self {
        if is_so { self.warn(warning) } else { self }
    }

    pub(super) fn on(self, objects: Vec<String>) -> Self {
        Self { objects, ..self }
    }

    pub(super) fn by_cursor(self, is_by_cursor: bool) -> Self {
        let told = "WHERE CURRENT OF: the row at which a cursor of the agent's is";
        Self {
            is_by_cursor,
            ..self.warn_if(is_by_cursor, told)
        }
    }

    pub(super) fn definition(self, is_definition: bool) -> Self {
        Self {
            is_definition,
            ..self
        }
    }

    /// Both, as one: the first one's command, and what is said of either.
    pub fn and(mut self, other: Self) -> Self {
        if self.kind.len() < MAX_KIND {
            self.kind.push_str(", ");
            self.kind.push_str(&other.kind);
        }
        for warning in other.warnings {
            if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        Self {
            is_definition: self.is_definition && other.is_definition,
            is_by_cursor: self.is_by_cursor || other.is_by_cursor,
            has_values: self.has_values && other.has_values,
            ..self
        }
    }
}
