//! The meanings of a client's names: prepared statements and bound portals, by the protocol or by SQL.

use std::{collections::HashMap, io, rc::Rc};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    client::PostgresClient,
    judge::Control,
    ledger::{Bound, Parameters},
    lock::Lock,
    meaning::Meaning,
    parts::is_plain,
    unit::Unit,
};

impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// The meaning of a prepared statement's name; of several the strictest.
    pub(super) fn prepared(&self, name: &Bytes) -> Rc<Unit> {
        self.prepared_among(&self.statements, name)
    }

    /// The same, with the names given in the batch.
    pub(super) fn prepared_among(
        &self,
        own: &HashMap<Bytes, Option<Rc<Unit>>>,
        name: &Bytes,
    ) -> Rc<Unit> {
        match own.get(name) {
            Some(Some(unit)) => Rc::clone(unit),
            Some(None) => unknown(name),
            None => strictest(&self.shared.ledger.borrow().statements(name), name),
        }
    }

    /// The same for a portal's name.
    pub(super) fn bound(&self, name: &Bytes) -> Bound {
        self.bound_among(&self.portals, name)
    }

    /// The same, with the names given in the batch.
    pub(super) fn bound_among(&self, own: &HashMap<Bytes, Option<Bound>>, name: &Bytes) -> Bound {
        let known = match own.get(name) {
            Some(bound) => bound.clone(),
            None => {
                let all = self.shared.ledger.borrow().portals(name);
                let write = all.iter().find(|bound| !bound.unit.reads());
                write.or(all.first()).cloned()
            }
        };
        known.unwrap_or_else(|| Bound {
            unit: unknown(name),
            parameters: Parameters::default(),
            values: Bytes::new(),
            bind: Bytes::new(),
        })
    }

    /// All meanings of a statement's name, in this batch and before.
    pub(super) fn statements_called(&self, name: &str) -> Vec<Rc<Unit>> {
        let name = Bytes::copy_from_slice(name.as_bytes());
        let mut all = self.shared.ledger.borrow().statements(&name);
        all.extend(self.statements.get(&name).cloned().flatten());
        all
    }

    /// The same for a portal's name.
    pub(super) fn portals_called(&self, name: &str) -> Vec<Rc<Unit>> {
        let name = Bytes::copy_from_slice(name.as_bytes());
        let mut all = self.shared.ledger.borrow().portals(&name);
        all.extend(self.portals.get(&name).cloned().flatten());
        all.into_iter().map(|bound| bound.unit).collect()
    }

    /// Waits until the names that a unit executes have one meaning.
    pub(super) async fn settle_names(&mut self, unit: &Unit) -> io::Result<()> {
        match unit.calls() {
            0 => Ok(()),
            _ => self.idle().await,
        }
    }

    /// The part of a unit that a person has to be asked about: itself, and what it executes that was prepared or bound before.
    pub(super) fn needs(&self, unit: &Rc<Unit>) -> Option<Rc<Unit>> {
        let mut writes = self.executed(unit);
        if unit.ends_and_goes_on() && (self.lock == Lock::Off || self.may_write()) {
            let why = "ends a transaction that may write, and begins another in the same breath";
            writes.push(Rc::new(Unit::unknown(&unit.text, why)));
        }
        match writes[..] {
            [] if unit.reads() => None,
            [] => Some(Rc::clone(unit)),
            _ => Some(Rc::new(unit.with(&writes))),
        }
    }

    /// The executed statements that do more than read.
    fn executed(&self, unit: &Unit) -> Vec<Rc<Unit>> {
        let mut own = Vec::new();
        let mut writes = Vec::new();
        for control in &unit.controls {
            let (name, units) = match control {
                Control::Prepare { name, .. } => {
                    own.push(name);
                    continue;
                }
                Control::Deallocate { name } => {
                    own.retain(|known| name.as_ref().is_some_and(|name| name != *known));
                    continue;
                }
                Control::Execute { name } => (name, self.statements_called(name)),
                Control::Fetch { name } => (name, self.portals_called(name)),
                Control::Begin { .. } | Control::End { .. } | Control::Unlock => continue,
            };
            // A statement that uses names itself is not followed further. SQL cursors were judged when they were declared.
            let is_known = matches!(control, Control::Fetch { .. }) || own.contains(&name);
            let is_odd = units.iter().any(|unit| unit.does_more_than_prepare());
            if !is_plain(name.as_bytes()) || is_odd || (units.is_empty() && !is_known) {
                writes.push(unknown(&Bytes::copy_from_slice(name.as_bytes())));
            }
            for unit in units.into_iter().filter(|unit| !unit.reads()) {
                if !writes.iter().any(|known| Rc::ptr_eq(known, &unit)) {
                    writes.push(unit);
                }
            }
        }
        writes
    }

    /// Whether a unit may set something by a name: reading statements are not shown with it.
    pub(super) fn sets_by_a_name(&self, unit: &Unit) -> bool {
        let mut own = Vec::new();
        unit.controls.iter().any(|control| match control {
            Control::Prepare { name, .. } => {
                own.push(name);
                false
            }
            Control::Deallocate { .. } => {
                own.clear();
                false
            }
            Control::Execute { name } if own.contains(&name) => false,
            Control::Execute { name } => {
                let units = self.statements_called(name);
                units.is_empty() || units.iter().any(|unit| unit.sets)
            }
            Control::Fetch { .. } => true,
            Control::Begin { .. } | Control::End { .. } | Control::Unlock => false,
        })
    }

    /// Notes that what is executed by a name may be planned again under these settings: a server does so when its plan is no
    /// longer valid.
    pub(super) fn note_reading(&mut self, unit: &Unit, meaning: &Meaning) {
        for control in &unit.controls {
            if let Control::Execute { name } = control {
                self.note_read(&Bytes::copy_from_slice(name.as_bytes()), meaning);
            }
        }
    }

    /// The same for one statement.
    pub(super) fn note_read(&mut self, name: &Bytes, meaning: &Meaning) {
        if let Some(Some(unit)) = self.statements.get_mut(name) {
            unit.read_by(meaning);
        }
        self.shared.ledger.borrow_mut().note_read(name, meaning);
    }

    /// Whether a unit resets to the start-up packet's settings, itself or by a name.
    pub(super) fn lifts(&self, unit: &Unit) -> bool {
        let by_name = |control: &Control| match control {
            Control::Execute { name } => {
                let units = self.statements_called(name);
                units.iter().any(|unit| unit.resets)
            }
            _ => false,
        };
        unit.resets || unit.controls.iter().any(by_name)
    }

    /// Notes what is sent on.
    pub(super) fn note(&mut self, unit: &Rc<Unit>) {
        self.is_fresh = unit.begins() || (self.is_fresh && unit.only_sets());
        for name in unit.prepares() {
            let name = Bytes::copy_from_slice(name.as_bytes());
            let mut ledger = self.shared.ledger.borrow_mut();
            ledger.prepared_by_sql(name, Rc::clone(unit));
        }
        for control in &unit.controls {
            if let Control::Deallocate { name } = control {
                self.shared.ledger.borrow_mut().forget(name.as_deref());
            }
        }
    }
}

pub(super) fn unknown(name: &Bytes) -> Rc<Unit> {
    let why = "it was prepared before, and guard does not know as what";
    Rc::new(Unit::unknown(name, why))
}

/// The one that does more than read; else one that affects later statements; else the first. With several that do more than
/// read, it is unknown which would be done.
pub(super) fn strictest(units: &[Rc<Unit>], name: &Bytes) -> Rc<Unit> {
    let mut writes = units.iter().filter(|unit| !unit.reads());
    let write = writes.next();
    let is_one = writes.all(|other| write.is_some_and(|write| write.sum == other.sum));
    let matters = |unit: &&Rc<Unit>| unit.sets || !unit.controls.is_empty();
    let read = units.iter().find(matters).or(units.first());
    let first = write.or(read).filter(|_| is_one);
    first.map_or_else(|| unknown(name), Rc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_may_stand_for_several_writes_stands_for_none_that_is_known() {
        let unit = |text: &'static str| {
            Unit::of(
                &Bytes::from_static(text.as_bytes()),
                &[],
                super::super::judge::Release::default(),
            )
        };
        let (read, update) = (unit("select 1"), unit("update t set a = 1"));
        let strictest = |units: &[Rc<Unit>]| strictest(units, &"w".into()).text.clone();
        assert_eq!(strictest(std::slice::from_ref(&read)), "select 1");
        assert_eq!(
            strictest(&[read.clone(), update.clone(), update.clone()]),
            "update t set a = 1"
        );
        assert_eq!(
            strictest(&[read.clone(), update, unit("delete from t")]),
            "w"
        );
        let sets = unit("select set_config('search_path', 'a', false)");
        assert_eq!(strictest(&[read, sets.clone()]), sets.text);
        assert_eq!(strictest(&[]), "w");
    }
}
