//! A unit: what a client sends at once, judged: the text of a query, or of a statement to be prepared.

use std::rc::Rc;

use bytes::Bytes;

use super::{
    super::judge::Rules,
    judge::{self, Control, Effect, Extra, JudgedQuery, Release, SqlWrite, Unread},
    meaning::Meaning,
    sum::sum,
};

/// The judge's name for rows from the client, or from a file.
const COPY_IN: &str = "COPY FROM";
/// Bytes of a text that are kept to be shown; below of one that is not shown.
const MAX_TEXT: usize = 16 * 1024;
const MAX_READ_TEXT: usize = 256;
/// The most uses of transactions and names in one text that are tracked.
const MAX_CONTROLS: usize = 256;
/// The most settings by which one name may be read.
const MAX_MEANT: usize = 16;
/// Between a text and what it executes by a name.
const EXECUTES: &str = " -- executes: ";

/// Statements that a client sends at once.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// The beginning of the text.
    pub(super) text: Bytes,
    /// The length of the whole text, in bytes.
    pub(super) bytes: usize,
    /// SHA-256 of the whole text, and of the types of its parameters; empty if it is never shown.
    pub(super) sum: Bytes,
    /// The settings by which constants became values, if it was prepared: [`Meaning::values`].
    pub(super) meant: Vec<Bytes>,
    /// The text without its constants.
    pub(super) normalised: String,
    /// The part that is no read, if any.
    pub(super) write: Option<SqlWrite>,
    /// Its uses of transactions and names, in order.
    pub(super) controls: Vec<Control>,
    /// Whether it may change settings, by which the server reads what comes after it.
    pub(super) sets: bool,
    /// Whether it may do so before it changes something.
    pub(super) sets_first: bool,
    /// Whether it resets to the start-up packet's settings.
    pub(super) resets: bool,
    /// Whether it takes rows from the client.
    pub(super) copies_in: bool,
    /// The number of statements.
    pub(super) statements: usize,
    /// Whether [`INSTEAD`] is sent in its place.
    pub(super) is_instead: bool,
    /// The types of its parameters, as they were sent; empty: not known.
    pub(super) types: Bytes,
}

/// Sent in the place of what would let a session write by itself: the server answers both with `SET`, and goes on as before.
pub(super) const INSTEAD: &str = "SET guard.holds = 'on'";

/// What the statements of a text do together.
#[derive(Default)]
struct UnitEffects {
    write: Option<SqlWrite>,
    controls: Vec<Control>,
    copies_in: bool,
    sets: bool,
    sets_first: bool,
    resets: bool,
    /// A change that sets something is reported by itself.
    reads_and_sets: bool,
}

impl UnitEffects {
    fn add(&mut self, statement: judge::Statement) {
        let own = match (statement.effect, &statement.control) {
            (Effect::Writes(own), _) => Some(own),
            (Effect::Reads, Some(Control::Prepare { write, .. })) => write.clone(),
            (Effect::Reads, _) => None,
        };
        self.controls.extend(statement.control);
        self.sets_first |= self.reads_and_sets && own.is_some();
        self.reads_and_sets |= statement.sets && own.is_none();
        self.sets |= statement.sets;
        self.resets |= statement.resets;
        self.copies_in |= own.as_ref().is_some_and(|own| own.command == COPY_IN);
        self.write = match (self.write.take(), own) {
            (Some(first), Some(own)) => Some(first.and(own)),
            (first, own) => first.or(own),
        };
    }
}

impl Unit {
    /// Judged by the rules of all policies in force, for a server of that release; the strictest counts.
    pub(super) fn of(text: &Bytes, rules: &[Rules], release: Release) -> Rc<Self> {
        let mut strictest: Option<Self> = None;
        for rules in rules {
            let unit = Self::by_one(text, Extra::of(&rules.lists, release));
            match strictest {
                Some(ref so_far) if so_far.write.is_some() => {}
                _ => strictest = Some(unit),
            }
        }
        Rc::new(strictest.unwrap_or_else(|| {
            let extra = Extra {
                release,
                ..Extra::default()
            };
            Self::by_one(text, extra)
        }))
    }

    fn by_one(text: &Bytes, extra: Extra<'_>) -> Self {
        match judge::judge(text, extra) {
            Ok(judged) => Self::judged(text, judged),
            Err(unread) => Self::unread(text, &unread),
        }
    }

    fn judged(text: &Bytes, judged: JudgedQuery) -> Self {
        let statements = judged.statements.len();
        let mut effects = UnitEffects::default();
        for statement in judged.statements {
            effects.add(statement);
        }
        let UnitEffects {
            mut write,
            controls,
            ..
        } = effects;
        if controls.len() > MAX_CONTROLS {
            return Self::unknown(
                text,
                "it does more to transactions and names than is followed",
            );
        }
        if let Some(write) = write.as_mut().filter(|_| statements > 1) {
            let warning = format!("{statements} statements in one string");
            write.warnings.insert(0, warning);
        }
        let is_instead = statements == 1 && controls[..] == [Control::Unlock];
        if is_instead {
            return Self {
                statements,
                sets: false,
                write: None,
                is_instead,
                ..Self::unknown(text, "")
            };
        }
        // A text that executes a write by its name is shown with it.
        let is_shown = write.is_some() || !controls.is_empty();
        let most = if is_shown { MAX_TEXT } else { MAX_READ_TEXT };
        let mut normalised = judged.normalised;
        normalised.truncate(normalised.floor_char_boundary(most));
        Self {
            text: beginning(text, most),
            bytes: text.len(),
            sum: if is_shown { sum([text]) } else { Bytes::new() },
            meant: Vec::new(),
            normalised,
            write,
            controls,
            sets: effects.sets,
            sets_first: effects.sets_first,
            resets: effects.resets,
            copies_in: effects.copies_in,
            statements,
            is_instead,
            types: Bytes::new(),
        }
    }

    fn unread(text: &Bytes, unread: &Unread) -> Self {
        Self::unknown(text, &unread.to_string())
    }

    /// A unit of which nothing is known.
    pub(super) fn unknown(text: &Bytes, why: &str) -> Self {
        let write = SqlWrite::new("?", "may change anything: guard cannot read it").because(why);
        Self {
            text: beginning(text, MAX_TEXT),
            bytes: text.len(),
            sum: sum([text]),
            meant: Vec::new(),
            normalised: String::new(),
            write: Some(write),
            controls: Vec::new(),
            sets: true,
            sets_first: false,
            resets: false,
            copies_in: false,
            statements: 1,
            is_instead: false,
            types: Bytes::new(),
        }
    }

    /// The statements executed in one batch, as one.
    pub(super) fn all(units: &[Rc<Self>]) -> Rc<Self> {
        if let [one] = units {
            return Rc::clone(one);
        }
        let controls = units.iter().flat_map(|unit| unit.controls.iter().cloned());
        Rc::new(Self {
            text: Bytes::new(),
            bytes: 0,
            sum: Bytes::new(),
            meant: Vec::new(),
            normalised: String::new(),
            write: None,
            controls: controls.collect(),
            sets: true,
            sets_first: false,
            resets: false,
            copies_in: false,
            statements: units.iter().map(|unit| unit.statements).sum(),
            is_instead: false,
            types: Bytes::new(),
        })
    }

    /// Whether the whole text is kept.
    pub(super) fn is_whole(&self) -> bool {
        self.text.len() == self.bytes
    }

    /// Bytes that are kept of it.
    pub(super) fn kept(&self) -> usize {
        self.text.len() + self.normalised.len() + self.controls.len() * size_of::<Control>()
    }

    /// Whether all of it reads.
    pub(super) fn reads(&self) -> bool {
        self.write.is_none()
    }

    /// Whether it does not affect later statements either.
    pub(super) fn only_reads(&self) -> bool {
        self.reads() && self.controls.is_empty() && !self.sets
    }

    /// Whether it only begins or ends transactions, and gives or releases names.
    pub(super) fn only_controls(&self) -> bool {
        let executes =
            |control: &Control| matches!(control, Control::Execute { .. } | Control::Fetch { .. });
        self.reads()
            && self.controls.len() == self.statements
            && !self.controls.iter().any(executes)
    }

    /// Whether it only begins a transaction.
    pub(super) fn begins(&self) -> bool {
        self.statements == 1 && matches!(self.controls[..], [Control::Begin { .. }])
    }

    /// Whether a transaction ends in it and something follows.
    pub(super) fn ends_and_goes_on(&self) -> bool {
        let ends = |control: &Control| matches!(control, Control::End { chain } if *chain || self.statements > 1);
        self.controls.iter().any(ends)
    }

    /// With its own text, for a reading one: one judgement is used for texts that differ in numbers.
    pub(super) fn saying(self: &Rc<Self>, text: &Bytes) -> Rc<Self> {
        let own = &text[..text.len().min(MAX_READ_TEXT)];
        if !self.sum.is_empty() || self.text[..] == *own {
            return Rc::clone(self);
        }
        Rc::new(Self {
            text: beginning(text, MAX_READ_TEXT),
            bytes: text.len(),
            ..(**self).clone()
        })
    }

    /// With the types of its parameters.
    pub(super) fn typed(self: &Rc<Self>, types: &Bytes) -> Rc<Self> {
        if self.sum.is_empty() || types[..] == [0, 0] {
            return Rc::clone(self);
        }
        let sum = sum([&self.sum, types]);
        let is_short = types.len() <= MAX_READ_TEXT;
        Rc::new(Self {
            sum,
            types: if is_short {
                Bytes::copy_from_slice(types)
            } else {
                Bytes::new()
            },
            ..(**self).clone()
        })
    }

    /// As prepared while the server had these settings.
    pub(super) fn prepared_by(self: &Rc<Self>, meaning: &Meaning) -> Rc<Self> {
        Rc::new(Self {
            meant: vec![meaning.values()],
            ..(**self).clone()
        })
    }

    /// Whether it is the same change, prepared by the same settings.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.sum == other.sum && self.meant == other.meant
    }

    /// Notes that it may be read by these settings, too.
    pub(super) fn read_by(self: &mut Rc<Self>, meaning: &Meaning) {
        let values = meaning.values();
        if self.reads() || self.meant.contains(&values) {
            return;
        }
        let unit = Rc::make_mut(self);
        if unit.meant.len() < MAX_MEANT {
            unit.meant.push(values);
        } else {
            // Unknown from now on.
            unit.meant = vec![Bytes::new()];
        }
    }

    /// Its meaning under the server's current settings: unknown if others were in force when its constants became values.
    pub(super) fn meaning(&self, now: Meaning) -> Meaning {
        let is_same = |then: &Bytes| !then.is_empty() && *then == now.values();
        if self.meant.iter().all(is_same) {
            now
        } else {
            Meaning::default()
        }
    }

    /// Whether a cursor says what it changes, which no text shows.
    pub(super) fn is_by_cursor(&self) -> bool {
        self.write.as_ref().is_some_and(|write| write.is_by_cursor)
    }

    /// Whether it only sets something of the transaction, or of the session.
    pub(super) fn only_sets(&self) -> bool {
        let mut words = self.text.split(u8::is_ascii_whitespace);
        let first = words.find(|word| !word.is_empty()).unwrap_or_default();
        self.statements == 1 && self.reads() && first.eq_ignore_ascii_case(b"set")
    }

    /// How often it uses a name.
    pub(super) fn calls(&self) -> usize {
        let is_call =
            |one: &&Control| matches!(one, Control::Execute { .. } | Control::Fetch { .. });
        self.controls.iter().filter(is_call).count()
    }

    /// With the prepared statements that it executes.
    pub(super) fn with(&self, writes: &[Rc<Self>]) -> Self {
        let mut all = self.clone();
        let mut text = self.text.to_vec();
        for unit in writes {
            all.bytes += EXECUTES.len() + unit.bytes;
            all.meant.extend_from_slice(&unit.meant);
            all.normalised = format!("{}; {}", all.normalised, unit.normalised);
            if text.len() < MAX_TEXT {
                text.extend_from_slice(EXECUTES.as_bytes());
                text.extend_from_slice(&unit.text);
            }
            all.write = match (all.write, unit.write.clone()) {
                (Some(first), Some(own)) => Some(first.and(own)),
                (first, own) => first.or(own),
            };
        }
        let sums: Vec<_> = writes.iter().map(|unit| &unit.sum).collect();
        all.sum = sum([&[&self.sum][..], &sums].concat());
        all.text = text.into();
        all
    }

    /// Whether it uses names, other than to give one in SQL.
    pub(super) fn does_more_than_prepare(&self) -> bool {
        match self.controls[..] {
            [] => false,
            [Control::Prepare { .. }] => self.statements > 1,
            _ => true,
        }
    }

    /// Whether it gives a name to a statement that does more than read.
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

/// A copy of the beginning: a slice keeps the whole buffer.
fn beginning(text: &Bytes, most: usize) -> Bytes {
    Bytes::copy_from_slice(&text[..text.len().min(most)])
}
