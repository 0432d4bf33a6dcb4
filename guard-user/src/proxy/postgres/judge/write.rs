//! What a person is told of a statement that writes.

/// A statement that changes something, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Write {
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
}

impl Write {
    pub(super) fn new(command: &'static str, kind: impl Into<String>) -> Self {
        Self {
            command,
            kind: kind.into(),
            because: format!("{command} does not only read"),
            warnings: Vec::new(),
            objects: Vec::new(),
            is_definition: false,
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

    pub(super) fn definition(self, is_definition: bool) -> Self {
        Self {
            is_definition,
            ..self
        }
    }
}
