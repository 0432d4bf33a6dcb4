//! What a client sends at once, judged: the text of a query, or of a statement to be prepared.

use std::rc::Rc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{
    super::judge::Rules,
    judge::{self, Control, Effect, Judged, Unread, Write},
};

/// What the judge calls rows that come from the client, or from a file.
const COPY_IN: &str = "COPY FROM";
/// Bytes of a text that is remembered for a person to see.
const MAX_TEXT: usize = 16 * 1024;

/// Statements that a client sends at once.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// The beginning of it.
    pub(super) text: Bytes,
    /// SHA-256 of all of it, of what is no read.
    pub(super) sum: Bytes,
    /// Without its constants.
    pub(super) normalised: String,
    /// What in it is no read, if anything.
    pub(super) write: Option<Write>,
    /// What it does to transactions and names, in its order.
    pub(super) controls: Vec<Control>,
    /// It takes rows from the client.
    pub(super) copies_in: bool,
    /// How many statements it has.
    pub(super) statements: usize,
}

impl Unit {
    /// Judged by the rules of all policies in force; the strictest counts.
    pub(super) fn of(text: &Bytes, rules: &[Rules]) -> Rc<Self> {
        let mut strictest: Option<Self> = None;
        for rules in rules {
            let unit = Self::by_one(text, &rules.lists.postgres_functions);
            match strictest {
                Some(ref so_far) if so_far.write.is_some() => {}
                _ => strictest = Some(unit),
            }
        }
        Rc::new(strictest.unwrap_or_else(|| Self::by_one(text, &[])))
    }

    fn by_one(text: &Bytes, functions: &[String]) -> Self {
        match judge::judge(text, functions) {
            Ok(judged) => Self::judged(text, judged),
            Err(unread) => Self::unread(text, &unread),
        }
    }

    fn judged(text: &Bytes, judged: Judged) -> Self {
        let statements = judged.statements.len();
        let mut write: Option<Write> = None;
        let mut controls = Vec::new();
        let mut copies_in = false;
        for statement in judged.statements {
            let own = match (statement.effect, &statement.control) {
                (Effect::Writes(own), _) => Some(own),
                (Effect::Reads, Some(Control::Prepare { write, .. })) => write.clone(),
                (Effect::Reads, _) => None,
            };
            controls.extend(statement.control);
            copies_in |= own.as_ref().is_some_and(|own| own.command == COPY_IN);
            write = match (write, own) {
                (Some(first), Some(own)) => Some(together(first, own)),
                (first, own) => first.or(own),
            };
        }
        if let Some(write) = write.as_mut().filter(|_| statements > 1) {
            let warning = format!("{statements} statements in one string");
            write.warnings.push(warning);
        }
        Self {
            text: beginning(text),
            sum: write.as_ref().map_or_else(Bytes::new, |_| sum(&[text])),
            normalised: judged.normalised,
            write,
            controls,
            copies_in,
            statements,
        }
    }

    fn unread(text: &Bytes, unread: &Unread) -> Self {
        Self::unknown(text, &unread.to_string())
    }

    /// What nobody can tell anything about.
    pub(super) fn unknown(text: &Bytes, why: &str) -> Self {
        let write = Write {
            command: "?",
            kind: "may change anything: guard cannot read it".to_owned(),
            because: why.to_owned(),
            warnings: Vec::new(),
            objects: Vec::new(),
            is_definition: false,
        };
        Self {
            text: beginning(text),
            sum: sum(&[text]),
            normalised: String::new(),
            write: Some(write),
            controls: Vec::new(),
            copies_in: false,
            statements: 1,
        }
    }

    /// What is executed in one batch, as one.
    pub(super) fn all(units: &[Rc<Self>]) -> Rc<Self> {
        if let [one] = units {
            return Rc::clone(one);
        }
        let controls = units.iter().flat_map(|unit| unit.controls.iter().cloned());
        Rc::new(Self {
            text: Bytes::new(),
            sum: Bytes::new(),
            normalised: String::new(),
            write: None,
            controls: controls.collect(),
            copies_in: false,
            statements: units.iter().map(|unit| unit.statements).sum(),
        })
    }

    /// Whether all of its text is remembered.
    pub(super) fn is_whole(&self) -> bool {
        self.text.len() < MAX_TEXT
    }

    /// Whether all of it reads.
    pub(super) fn reads(&self) -> bool {
        self.write.is_none()
    }

    /// Whether it is nothing but the beginning of a transaction.
    pub(super) fn begins(&self) -> bool {
        self.statements == 1 && matches!(self.controls[..], [Control::Begin { .. }])
    }

    /// Whether a transaction ends in it and something follows.
    pub(super) fn ends_and_goes_on(&self) -> bool {
        let ends = |control: &Control| matches!(control, Control::End { chain } if *chain || self.statements > 1);
        self.controls.iter().any(ends)
    }

    /// With the types that its parameters are said to have.
    pub(super) fn typed(self: &Rc<Self>, types: &Bytes) -> Rc<Self> {
        if self.reads() || types[..] == [0, 0] {
            return Rc::clone(self);
        }
        let sum = sum(&[&self.sum, types]);
        Rc::new(Self {
            sum,
            ..(**self).clone()
        })
    }

    /// With what it executes of what was prepared.
    pub(super) fn with(&self, writes: &[Rc<Self>]) -> Self {
        let mut all = self.clone();
        let mut text = self.text.to_vec();
        for unit in writes {
            text.extend_from_slice(b" -- executes: ");
            text.extend_from_slice(&unit.text);
            all.normalised = format!("{}; {}", all.normalised, unit.normalised);
            all.write = match (all.write, unit.write.clone()) {
                (Some(first), Some(own)) => Some(together(first, own)),
                (first, own) => first.or(own),
            };
        }
        let sums: Vec<_> = writes.iter().map(|unit| &unit.sum).collect();
        let own = sum(&[&self.text]);
        all.sum = sum(&[&[&own, &self.sum][..], &sums].concat());
        all.text = text.into();
        all
    }

    /// Whether it does something with names, but to give its own one by SQL.
    pub(super) fn does_more_than_prepare(&self) -> bool {
        match self.controls[..] {
            [] => false,
            [Control::Prepare { .. }] => self.statements > 1,
            _ => true,
        }
    }

    /// Whether it gives a name to what does not only read.
    pub(super) fn prepares_a_write(&self) -> bool {
        let is_write = |control: &Control| matches!(control, Control::Prepare { write, .. } if write.is_some());
        self.controls.iter().any(is_write)
    }

    /// The names that it gives.
    pub(super) fn prepares(&self) -> impl Iterator<Item = &str> {
        self.controls.iter().filter_map(|control| match control {
            Control::Prepare { name, .. } => Some(name.as_str()),
            _ => None,
        })
    }
}

/// A part of a message keeps the whole of it: this is a copy.
fn beginning(text: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&text[..text.len().min(MAX_TEXT)])
}

fn sum(parts: &[&Bytes]) -> Bytes {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update(part.len().to_be_bytes());
        sum.update(part);
    }
    Bytes::copy_from_slice(&sum.finalize())
}

/// Two writes, as one.
fn together(first: Write, second: Write) -> Write {
    let mut warnings = first.warnings;
    warnings.extend(second.warnings);
    let mut objects = first.objects;
    objects.extend(second.objects);
    Write {
        kind: format!("{}, {}", first.kind, second.kind),
        is_definition: first.is_definition && second.is_definition,
        warnings,
        objects,
        ..first
    }
}
