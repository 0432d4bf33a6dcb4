//! What the server has still to answer, in its order: by that both sides agree on what a name stands for.

use std::{
    collections::{HashMap, VecDeque},
    io,
    rc::Rc,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{frame::invalid, refusal::Refusal, unit::Unit};

/// Names that a client may have in use at once.
const MAX_NAMES: usize = 4096;

/// What is to come.
#[derive(Debug)]
pub(super) enum Expected {
    /// That the connection has begun; ends with `ReadyForQuery`, as all that follow.
    Start,
    /// The answer to a query.
    Query,
    /// The answer to a query of the guard's own, of which the client hears nothing.
    Own(oneshot::Sender<Heard>),
    /// The end of a batch.
    Sync,
    /// That a statement has a name now.
    Parsed(Bytes, Rc<Unit>),
    /// That a portal has.
    Bound(Bytes, Bound),
    /// The end of a batch that the client wanted only to hear of: it is not told that it has ended.
    Quiet,
    /// That a name is free again.
    Closed(Named, Bytes),
    /// That something failed which the guard has put in place of what it refused.
    Refused(Refusal),
}

/// What the server says to a query of the guard's own: its rows, first columns only, or why it fails.
pub(super) type Heard = Result<Vec<Bytes>, String>;

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// What a portal stands for.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) unit: Rc<Unit>,
    /// Its parameters, as a person is shown them.
    pub(super) parameters: Rc<str>,
    /// The same, as they were sent.
    pub(super) values: Bytes,
}

/// What is known of a server's state.
#[derive(Debug)]
pub(super) struct Ledger {
    expected: VecDeque<Expected>,
    /// `I`, `T` or `E`, as the last `ReadyForQuery` said: idle, in a transaction, in one that has failed.
    pub(super) status: u8,
    statements: HashMap<Bytes, Rc<Unit>>,
    portals: HashMap<Bytes, Bound>,
    /// Prepared in SQL. What has once been a write under a name stays one.
    by_sql: HashMap<Bytes, Rc<Unit>>,
    /// The client sends rows, and what else it sends means nothing to the server.
    pub(super) copies_in: bool,
    /// Something has failed: the server reads past all that comes before the end of the batch.
    skips: bool,
    /// So many transactions have ended, at least: once more whenever the server is idle.
    pub(super) transactions: u64,
    /// The server has said that it holds the client to reading.
    pub(super) is_locked: bool,
    /// Settings by which the server reads what it is sent in another way than the guard does.
    odd: Vec<Bytes>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            expected: VecDeque::from([Expected::Start]),
            status: 0,
            statements: HashMap::new(),
            portals: HashMap::new(),
            by_sql: HashMap::new(),
            copies_in: false,
            skips: false,
            transactions: 0,
            is_locked: false,
            odd: Vec::new(),
        }
    }

    /// Whether the server has answered all.
    pub(super) fn is_idle(&self) -> bool {
        self.expected.is_empty()
    }

    /// Whether what is sent now is read past, and nothing is to be expected of it.
    pub(super) fn skips(&self) -> bool {
        self.skips && self.is_idle()
    }

    /// Whether the client may speak of more than who it is.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.expected.front(), Some(Expected::Start))
    }

    /// Whether what comes now is an answer to the guard alone.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.expected.front(), Some(Expected::Own(_)))
    }

    pub(super) fn expect(&mut self, what: Expected) {
        self.expected.push_back(what);
    }

    /// Notes whether a setting has the server read in another way.
    pub(super) fn note_odd(&mut self, setting: Bytes, is_odd: bool) {
        self.odd.retain(|other| *other != setting);
        if is_odd {
            self.odd.push(setting);
        }
    }

    /// Whether the server reads what it is sent in another way than the guard does.
    pub(super) fn is_odd(&self) -> bool {
        !self.odd.is_empty()
    }

    /// Whether there is no room for another name.
    pub(super) fn is_full(&self) -> bool {
        self.statements.len() + self.portals.len() + self.expected.len() >= MAX_NAMES
    }

    /// Whether the server is to answer some of what was sent before more is.
    pub(super) fn is_behind(&self) -> bool {
        self.expected.len() >= MAX_NAMES
    }

    /// All that a statement's name may stand for when what was sent so far has been done.
    pub(super) fn statements(&self, name: &Bytes) -> Vec<Rc<Unit>> {
        let coming = self.expected.iter().filter_map(|one| match one {
            Expected::Parsed(to, unit) if to == name => Some(unit),
            _ => None,
        });
        let known = self.statements.get(name).into_iter();
        let all = known.chain(self.by_sql.get(name)).chain(coming);
        all.map(Rc::clone).collect()
    }

    /// The same of a portal's.
    pub(super) fn portals(&self, name: &Bytes) -> Vec<Bound> {
        let coming = self.expected.iter().filter_map(|one| match one {
            Expected::Bound(to, bound) if to == name => Some(bound),
            _ => None,
        });
        let all = self.portals.get(name).into_iter().chain(coming);
        all.cloned().collect()
    }

    /// Notes what a name stands for that SQL gives. One that is not noted is not known when it is executed.
    pub(super) fn prepared_by_sql(&mut self, name: Bytes, unit: Rc<Unit>) {
        if self.by_sql.len() >= MAX_NAMES {
            return;
        }
        let known = self.by_sql.entry(name).or_insert_with(|| Rc::clone(&unit));
        if known.reads() {
            *known = unit;
        }
    }

    /// `ParseComplete`.
    pub(super) fn parsed(&mut self) -> io::Result<()> {
        match self.expected.pop_front() {
            Some(Expected::Parsed(name, unit)) => self.statements.insert(name, unit),
            _ => return Err(unasked()),
        };
        Ok(())
    }

    /// `BindComplete`.
    pub(super) fn bound(&mut self) -> io::Result<()> {
        match self.expected.pop_front() {
            Some(Expected::Bound(name, unit)) => self.portals.insert(name, unit),
            _ => return Err(unasked()),
        };
        Ok(())
    }

    /// `CloseComplete`.
    pub(super) fn closed(&mut self) -> io::Result<()> {
        match self.expected.pop_front() {
            Some(Expected::Closed(Named::Statement, name)) => drop(self.statements.remove(&name)),
            Some(Expected::Closed(Named::Portal, name)) => drop(self.portals.remove(&name)),
            _ => return Err(unasked()),
        }
        Ok(())
    }

    /// `ErrorResponse`: what was to come of the rest of a batch does not. Where it is about what the guard has put in the
    /// place of something, what the client is told.
    pub(super) fn failed(&mut self) -> Option<Refusal> {
        let mut refusal = None;
        while let Some(next) = self.expected.front() {
            match next {
                Expected::Start
                | Expected::Query
                | Expected::Own(_)
                | Expected::Quiet
                | Expected::Sync => break,
                Expected::Refused(_) if refusal.is_none() => {
                    if let Some(Expected::Refused(first)) = self.expected.pop_front() {
                        refusal = Some(first);
                    }
                }
                _ => drop(self.expected.pop_front()),
            }
        }
        self.copies_in = false;
        self.skips = !self.ends_by_itself();
        refusal
    }

    /// Whether a `ReadyForQuery` comes next though the client says nothing more.
    fn ends_by_itself(&self) -> bool {
        let next = self.expected.front();
        matches!(
            next,
            Some(Expected::Start | Expected::Query | Expected::Own(_) | Expected::Quiet)
        )
    }

    /// `CopyInResponse`, to a query and nothing else: what is read past within a batch nobody can tell.
    ///
    /// # Errors
    ///
    /// That it is to something else.
    pub(super) fn copies(&mut self) -> io::Result<()> {
        match self.expected.make_contiguous() {
            [Expected::Query] => self.copies_in = true,
            _ => return Err(invalid("the server takes rows where nobody asked it to")),
        }
        Ok(())
    }

    /// `ReadyForQuery`. Who has waited for it is told by the caller.
    pub(super) fn ready(&mut self, status: u8) -> io::Result<Expected> {
        self.status = status;
        self.copies_in = false;
        if status == b'I' {
            // With a transaction its portals end.
            self.portals.clear();
            self.transactions += 1;
        }
        self.skips = false;
        while let Some(next) = self.expected.pop_front() {
            match next {
                Expected::Start
                | Expected::Query
                | Expected::Own(_)
                | Expected::Quiet
                | Expected::Sync => return Ok(next),
                // Said after something had failed: the server has read past it.
                _ => {}
            }
        }
        Err(unasked())
    }
}

fn unasked() -> io::Error {
    invalid("the server answers what nobody asked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &'static str) -> Rc<Unit> {
        Unit::of(&Bytes::from_static(text.as_bytes()), &[])
    }

    fn begun() -> Ledger {
        let mut ledger = Ledger::new();
        ledger.ready(b'I').unwrap();
        ledger
    }

    fn parsed(ledger: &mut Ledger, text: &'static str) {
        ledger.expect(Expected::Parsed("a".into(), unit(text)));
    }

    /// Whether all that the name `a` may stand for reads.
    fn reads(ledger: &Ledger) -> bool {
        let units = ledger.statements(&"a".into());
        assert!(!units.is_empty());
        units.iter().all(|unit| unit.reads())
    }

    #[test]
    fn a_name_may_stand_for_either_until_the_server_has_said_which() {
        let mut ledger = begun();
        parsed(&mut ledger, "delete from t");
        ledger.expect(Expected::Sync);
        ledger.parsed().unwrap();
        ledger.ready(b'I').unwrap();
        assert!(!reads(&ledger));
        // This one fails: the name is taken.
        parsed(&mut ledger, "select 1");
        ledger.expect(Expected::Sync);
        assert!(!reads(&ledger));
        ledger.failed();
        assert!(ledger.skips || !ledger.is_idle());
        ledger.ready(b'I').unwrap();
        assert!(!reads(&ledger));
        // And this one does not, for it was free again.
        ledger.expect(Expected::Closed(Named::Statement, "a".into()));
        parsed(&mut ledger, "select 1");
        ledger.expect(Expected::Sync);
        ledger.closed().unwrap();
        ledger.parsed().unwrap();
        ledger.ready(b'I').unwrap();
        assert!(reads(&ledger));
    }

    #[test]
    fn what_is_said_after_a_failure_is_not_waited_for() {
        let mut ledger = begun();
        let bound = Bound {
            unit: unit("select 1"),
            parameters: "".into(),
            values: Bytes::new(),
        };
        ledger.expect(Expected::Bound("".into(), bound));
        assert!(ledger.failed().is_none());
        assert!(ledger.skips());
        parsed(&mut ledger, "select 1");
        ledger.expect(Expected::Sync);
        ledger.ready(b'I').unwrap();
        assert!(ledger.is_idle() && !ledger.skips());
        assert!(ledger.statements(&"a".into()).is_empty());
    }

    #[test]
    fn an_answer_out_of_turn_breaks_the_protocol() {
        let mut ledger = begun();
        assert!(ledger.parsed().is_err());
        let mut ledger = begun();
        ledger.expect(Expected::Query);
        assert!(ledger.closed().is_err());
        let mut ledger = begun();
        assert!(ledger.ready(b'I').is_err());
    }

    #[test]
    fn what_was_once_a_write_by_sql_stays_one() {
        let mut ledger = begun();
        ledger.prepared_by_sql("a".into(), unit("prepare a as select 1"));
        assert!(reads(&ledger));
        ledger.prepared_by_sql("a".into(), unit("prepare a as delete from t"));
        ledger.prepared_by_sql("a".into(), unit("prepare a as select 1"));
        assert!(!reads(&ledger));
    }

    #[test]
    fn rows_are_taken_by_a_query_alone() {
        let mut ledger = begun();
        ledger.expect(Expected::Query);
        ledger.copies().unwrap();
        assert!(ledger.copies_in);
        ledger.ready(b'I').unwrap();
        assert!(!ledger.copies_in);
        ledger.expect(Expected::Sync);
        assert!(ledger.copies().is_err());
        assert!(begun().copies().is_err());
    }
}
