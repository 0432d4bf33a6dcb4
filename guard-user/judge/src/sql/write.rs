//! What a person reads of a statement that writes.

/// Length limit of a kind in bytes, and of the names in one part of it.
const MAX_KIND: usize = 1000;
const MAX_NAMES: usize = 600;
/// Limit of the warnings of several statements.
const MAX_WARNINGS: usize = 32;

/// A statement that changes something, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlWrite {
    /// The command: `DELETE`, `CREATE TABLE`, `COPY FROM`, `function call`. Of several the worst.
    pub command: &'static str,
    /// What it does, the worst first.
    deeds: Vec<Deed>,
    /// Why it counts as a write, in one sentence.
    pub because: String,
    /// What about it looks like a change of many things or one that cannot be undone.
    pub warnings: Vec<String>,
    /// The tables and other objects that are named in it, as they are written there: at most 8.
    pub objects: Vec<String>,
    /// Whether it is one of the statements that a migration has many of: a definition, or its lock.
    pub is_definition: bool,
    /// Whether it changes the row at which a cursor is.
    pub is_by_cursor: bool,
    /// Whether its constants are values, and none of them code, a command or somebody's name: then others may stand in
    /// their place.
    pub has_values: bool,
    /// The table that it creates if there is none of the name: its schema, if that is named, and its name.
    pub unless_there: Option<(Option<String>, String)>,
}

/// What statements do that a person is shown as one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Deed {
    command: &'static str,
    does: Does,
    /// How many statements do it, or how many objects are dropped.
    count: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Does {
    /// In words.
    Words(String),
    /// Drops objects of this type.
    Drops(&'static str, Vec<String>),
}

impl Deed {
    /// Returns how much harm a command may do: 0 is the worst.
    fn rank(command: &str) -> u8 {
        match command {
            "TRUNCATE" => 0,
            command if command.starts_with("DROP") => 0,
            "DELETE" | "MERGE" | "UPDATE" => 2,
            "COPY FROM" | "INSERT" => 4,
            command if crate::is_ordinary(command) => 3,
            _ => 1,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        match (&self.does, &other.does) {
            (Does::Words(one), Does::Words(other)) => one == other,
            (Does::Drops(one, _), Does::Drops(other, _)) => one == other,
            _ => false,
        }
    }

    fn words(&self) -> String {
        match &self.does {
            Does::Words(does) if self.count > 1 => format!("{does} ({})", self.count),
            Does::Words(does) => does.clone(),
            Does::Drops(what, names) => {
                let what = if self.count == 1 {
                    (*what).to_owned()
                } else {
                    plural(what)
                };
                let mut words = format!("drops {} {what}", self.count);
                let mut shown = 0;
                for name in names {
                    if words.len() > MAX_NAMES {
                        break;
                    }
                    words.push_str(if shown == 0 { ": " } else { ", " });
                    words.push_str(name);
                    shown += 1;
                }
                match self.count - shown {
                    0 => {}
                    _ if shown == 0 => {}
                    left => words.push_str(&format!(" and {left} more")),
                }
                words
            }
        }
    }
}

fn plural(what: &str) -> String {
    match (what.strip_suffix('y'), what.ends_with('x')) {
        (Some(start), _) => format!("{start}ies"),
        (None, true) => format!("{what}es"),
        (None, false) => format!("{what}s"),
    }
}

impl SqlWrite {
    /// Returns a statement of that command, which does what is said.
    pub fn new(command: &'static str, does: impl Into<String>) -> Self {
        Self::of(command, Does::Words(does.into()), 1)
    }

    /// Returns a `DROP` of objects of one type.
    pub(super) fn drops(
        command: &'static str,
        what: &'static str,
        names: Vec<String>,
        count: usize,
    ) -> Self {
        Self::of(command, Does::Drops(what, names), count)
    }

    fn of(command: &'static str, does: Does, count: usize) -> Self {
        Self {
            command,
            deeds: vec![Deed {
                command,
                does,
                count,
            }],
            because: format!("{command} does not only read"),
            warnings: Vec::new(),
            objects: Vec::new(),
            is_definition: false,
            is_by_cursor: false,
            has_values: false,
            unless_there: None,
        }
    }

    /// Returns what it does, for a person: `drops 1 table: orders; adds rows to hits (80)`.
    pub fn kind(&self) -> String {
        let mut kind = String::new();
        for (at, deed) in self.deeds.iter().enumerate() {
            let words = deed.words();
            if at > 0 && kind.len() + words.len() > MAX_KIND {
                kind.push_str(&format!("; and {} more", self.deeds.len() - at));
                break;
            }
            kind.push_str(if at == 0 { "" } else { "; " });
            kind.push_str(&words);
        }
        kind
    }

    /// Returns it as one that does something else.
    #[must_use]
    pub fn doing(self, does: impl Into<String>) -> Self {
        Self {
            deeds: Self::new(self.command, does).deeds,
            ..self
        }
    }

    /// Returns it with that reason to count as a write.
    #[must_use]
    pub fn because(self, because: impl Into<String>) -> Self {
        Self {
            because: because.into(),
            ..self
        }
    }

    /// Returns it with one more warning.
    #[must_use]
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
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

    /// Returns both as one: the command of the worse, and what is said of either, the worse first and alike ones counted.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let is_worse = Deed::rank(other.command) < Deed::rank(self.command);
        let (mut worse, lesser) = if is_worse {
            (other, self)
        } else {
            (self, other)
        };
        for deed in lesser.deeds {
            worse.add(deed);
        }
        for warning in lesser.warnings {
            if worse.warnings.len() < MAX_WARNINGS && !worse.warnings.contains(&warning) {
                worse.warnings.push(warning);
            }
        }
        Self {
            is_definition: worse.is_definition && lesser.is_definition,
            is_by_cursor: worse.is_by_cursor || lesser.is_by_cursor,
            has_values: worse.has_values && lesser.has_values,
            unless_there: None,
            ..worse
        }
    }

    fn add(&mut self, deed: Deed) {
        if let Some(known) = self.deeds.iter_mut().find(|known| known.is_like(&deed)) {
            known.count += deed.count;
            if let (Does::Drops(_, names), Does::Drops(_, more)) = (&mut known.does, deed.does) {
                names.extend(more);
            }
            return;
        }
        let rank = Deed::rank(deed.command);
        let at = self
            .deeds
            .iter()
            .position(|one| Deed::rank(one.command) > rank);
        self.deeds.insert(at.unwrap_or(self.deeds.len()), deed);
    }
}
