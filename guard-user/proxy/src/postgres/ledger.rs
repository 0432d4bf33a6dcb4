//! FIFO of in-flight server responses (pipelining); keeps proxy and server in step on statement and portal names.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    io,
    rc::Rc,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{frame::invalid, judge::Release, meaning::Meaning, refusal::Refusal, unit::Unit};

/// Names that a client may have in use at once, and below the bytes that are kept of their meanings.
const MAX_NAMES: usize = 4096;
pub(super) const MAX_KEPT: usize = 2 * 1024 * 1024;
/// This many outstanding answers are few, whatever is kept of them.
const FEW: usize = 128;

/// Why what was prepared to read is not known to do so any more.
const OF_LATER: &str = "it was prepared while the server said that it was of a later release, which has functions that an older one lacks";

/// An outstanding answer.
#[derive(Debug)]
pub(super) enum Expected {
    /// To the start of the connection; ends with `ReadyForQuery`, as all that follow.
    Start,
    /// To a query.
    Query,
    /// To a query of the guard's own, which the client does not see.
    Own(oneshot::Sender<OwnReply>),
    /// The end of a batch.
    Sync,
    /// A statement has a name now.
    Parsed(Bytes, Rc<Unit>),
    /// A portal has a name now.
    Bound(Bytes, Bound),
    /// The end of a batch that the client only flushed: the client does not see it.
    Quiet,
    /// A name is free again.
    Closed(NamedObject, Bytes),
    /// The failure of what the guard has sent in place of a refused statement.
    Refused(Refusal),
}

impl Expected {
    /// Whether it ends with a `ReadyForQuery`.
    fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Start | Self::Query | Self::Own(_) | Self::Quiet | Self::Sync
        )
    }
}

/// The server's answer to a query of the guard's own: its rows, first columns only, or its error.
pub(super) type OwnReply = Result<Vec<Bytes>, String>;

/// The kind of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedObject {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// The parameters of a statement, as a person is shown them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) shown: Rc<str>,
    /// Whether they are cut.
    pub(super) is_cut: bool,
}

/// The meaning of a portal.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) unit: Rc<Unit>,
    pub(super) parameters: Parameters,
    /// SHA-256 of the values as they were sent, if it does more than read.
    pub(super) values: Bytes,
    /// Their formats and themselves, if it does more than read and they are short; else empty.
    pub(super) bind: Bytes,
}

/// The known state of a server.
#[derive(Debug)]
pub(super) struct Ledger {
    expected: VecDeque<Expected>,
    /// `I`, `T` or `E`, as the last `ReadyForQuery` said: idle, in a transaction, in one that has failed.
    pub(super) status: u8,
    statements: HashMap<Bytes, Rc<Unit>>,
    portals: HashMap<Bytes, Bound>,
    /// Prepared in SQL. A name that was once a write stays one.
    by_sql: HashMap<Bytes, Rc<Unit>>,
    /// Whether the client sends rows: other messages mean nothing to the server then.
    pub(super) copies_in: bool,
    /// Whether something has failed in a batch that goes on for the client.
    quiet_failed: bool,
    /// Whether something has failed: the server skips all that comes before the end of the batch.
    skips: bool,
    /// How many transactions have ended, at least: counted whenever the server is idle.
    pub(super) transactions: u64,
    /// Whether a person has allowed a replication connection.
    pub(super) replicates: bool,
    /// Whether the server has confirmed that it holds the client to reading.
    pub(super) is_locked: bool,
    /// Whether the server has asked for a password by SASL: the client names a mechanism next.
    pub(super) asks_sasl: bool,
    /// Settings by which the server parses its input differently than the guard.
    odd: Vec<Bytes>,
    /// The oldest release that the server has said to be of.
    release: Option<Release>,
    /// What a client has to send to cancel what this connection does; empty: not known.
    pub(super) cancel_key: Bytes,
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
            quiet_failed: false,
            transactions: 0,
            replicates: false,
            is_locked: false,
            asks_sasl: false,
            odd: Vec::new(),
            release: None,
            cancel_key: Bytes::new(),
        }
    }

    /// Whether the server has answered everything.
    pub(super) fn is_idle(&self) -> bool {
        self.expected.is_empty()
    }

    /// Whether the server skips what is sent now, so that no answer follows.
    pub(super) fn skips(&self) -> bool {
        self.skips && self.is_idle()
    }

    /// Whether the connection has started.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.expected.front(), Some(Expected::Start))
    }

    /// Whether the next answer is to the guard alone.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.expected.front(), Some(Expected::Own(_)))
    }

    pub(super) fn expect(&mut self, what: Expected) {
        if self.skips() && !what.is_end() {
            // The server skips it: to wait for an answer would be to wait for ever.
            return;
        }
        self.expected.push_back(what);
    }

    /// The server's release; the oldest where it is not known.
    pub(super) fn release(&self) -> Release {
        self.release.unwrap_or_default()
    }

    /// Notes a release. Servers behind a pooler may be of several.
    pub(super) fn note_release(&mut self, said: Release) {
        if self.release.is_some_and(|known| said < known) {
            self.doubt_reads();
        }
        let oldest = self.release.map_or(said, |known| known.min(said));
        self.release = Some(oldest);
    }

    /// Notes that what was prepared to read may do more: an older server calls anybody's functions in it.
    fn doubt_reads(&mut self) {
        let coming = self.expected.iter_mut().filter_map(|one| match one {
            Expected::Parsed(name, unit) => Some((&*name, unit)),
            Expected::Bound(name, bound) => Some((&*name, &mut bound.unit)),
            _ => None,
        });
        let portals = self.portals.iter_mut();
        let bound = portals.map(|(name, bound)| (name, &mut bound.unit));
        let named = self.statements.iter_mut().chain(&mut self.by_sql);
        for (name, unit) in named.chain(bound).chain(coming) {
            if unit.reads() {
                *unit = Rc::new(Unit::unknown(name, OF_LATER));
            }
        }
    }

    /// Notes whether a setting has the server parse differently.
    pub(super) fn note_odd(&mut self, setting: Bytes, is_odd: bool) {
        self.odd.retain(|other| *other != setting);
        if is_odd {
            self.odd.push(setting);
        }
    }

    /// Whether the server parses its input differently than the guard.
    pub(super) fn is_odd(&self) -> bool {
        !self.odd.is_empty()
    }

    /// Whether there is no room for another name.
    pub(super) fn is_full(&self) -> bool {
        let names = self.statements.len() + self.portals.len() + self.expected.len();
        names >= MAX_NAMES || self.by_sql.len() >= MAX_NAMES || self.kept() >= MAX_KEPT
    }

    /// Bytes that are kept of names' meanings.
    fn kept(&self) -> usize {
        let named = self.statements.values().chain(self.by_sql.values());
        let bound = self
            .portals
            .values()
            .map(|bound| bound.parameters.shown.len());
        named.map(|unit| unit.kept()).chain(bound).sum()
    }

    /// Whether the server must answer some of what was sent before more is sent.
    pub(super) fn is_behind(&self) -> bool {
        let is_much = self.expected.len() >= FEW && self.coming() >= MAX_KEPT;
        self.expected.len() >= MAX_NAMES || is_much
    }

    /// Bytes that are kept of what was sent and not answered yet.
    fn coming(&self) -> usize {
        let coming = self.expected.iter().map(|one| match one {
            Expected::Parsed(_, unit) => unit.kept(),
            Expected::Bound(_, bound) => bound.parameters.shown.len(),
            _ => 0,
        });
        coming.sum()
    }

    /// All meanings that a statement's name may have when what was sent so far has been done.
    pub(super) fn statements(&self, name: &Bytes) -> Vec<Rc<Unit>> {
        let coming = self.expected.iter().filter_map(|one| match one {
            Expected::Parsed(to, unit) if to == name => Some(unit),
            _ => None,
        });
        let known = self.statements.get(name).into_iter();
        let all = known.chain(self.by_sql.get(name)).chain(coming);
        all.map(Rc::clone).collect()
    }

    /// The same for a portal's name.
    pub(super) fn portals(&self, name: &Bytes) -> Vec<Bound> {
        let coming = self.expected.iter().filter_map(|one| match one {
            Expected::Bound(to, bound) if to == name => Some(bound),
            _ => None,
        });
        let all = self.portals.get(name).into_iter().chain(coming);
        all.cloned().collect()
    }

    /// Notes the meaning of a name given in SQL. A name that is not noted is unknown when it is executed.
    pub(super) fn prepared_by_sql(&mut self, name: Bytes, unit: Rc<Unit>) {
        if self.by_sql.len() >= MAX_NAMES {
            return;
        }
        match self.by_sql.entry(name) {
            Entry::Occupied(mut known) if known.get().reads() => drop(known.insert(unit)),
            Entry::Occupied(known) if known.get().is_same(&unit) => {}
            Entry::Occupied(mut known) => {
                // Whether the first is gone is unknown.
                let why = "it was prepared more than once, as one change or another";
                let either = Unit::unknown(known.key(), why);
                known.insert(Rc::new(either));
            }
            Entry::Vacant(free) => drop(free.insert(unit)),
        }
    }

    /// Notes the settings by which a statement of that name may be read, whatever it is.
    pub(super) fn note_read(&mut self, name: &Bytes, meaning: &Meaning) {
        let named = self.statements.get_mut(name);
        for unit in named.into_iter().chain(self.by_sql.get_mut(name)) {
            unit.read_by(meaning);
        }
        for one in &mut self.expected {
            if let Expected::Parsed(to, unit) = one
                && to == name
            {
                unit.read_by(meaning);
            }
        }
    }

    /// Removes reading statements, of all names or of one: SQL releases those. The release may fail: others stay, and what a
    /// removed name would do is unknown.
    pub(super) fn forget(&mut self, name: Option<&str>) {
        let stays = |to: &Bytes, unit: &mut Rc<Unit>| {
            let is_it = name.is_none_or(|name| name.as_bytes() == &to[..]);
            let is_harmless = unit.reads() && !unit.sets && unit.controls.is_empty();
            !(is_it && is_harmless)
        };
        self.statements.retain(stays);
        self.by_sql.retain(stays);
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
            Some(Expected::Closed(NamedObject::Statement, name)) => {
                drop(self.statements.remove(&name))
            }
            Some(Expected::Closed(NamedObject::Portal, name)) => drop(self.portals.remove(&name)),
            _ => return Err(unasked()),
        }
        Ok(())
    }

    /// `ErrorResponse`: the outstanding answers of the batch do not come. If it is about what the guard has sent in place of a
    /// statement, returns the client's error.
    pub(super) fn failed(&mut self) -> Option<Refusal> {
        let mut refusal = None;
        while let Some(next) = self.expected.front() {
            match next {
                next if next.is_end() => break,
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
        self.quiet_failed |= matches!(self.expected.front(), Some(Expected::Quiet));
        refusal
    }

    /// Whether something has failed since the last call in a batch that goes on for the client.
    pub(super) fn take_quiet_failed(&mut self) -> bool {
        std::mem::take(&mut self.quiet_failed)
    }

    /// Whether a `ReadyForQuery` comes next without a further message of the client's.
    fn ends_by_itself(&self) -> bool {
        let next = self.expected.front();
        matches!(
            next,
            Some(Expected::Start | Expected::Query | Expected::Own(_) | Expected::Quiet)
        )
    }

    /// `CopyInResponse`, to a query only: within a batch it is unknown which messages the server skips.
    ///
    /// # Errors
    ///
    /// If it is to something else.
    pub(super) fn copies(&mut self) -> io::Result<()> {
        match self.expected.make_contiguous() {
            [Expected::Query] => self.copies_in = true,
            _ => return Err(invalid("the server takes rows where nobody asked it to")),
        }
        Ok(())
    }

    /// `ReadyForQuery`. The caller wakes the waiters.
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
            // Other messages were sent after the failure: the server has skipped them.
            if next.is_end() {
                return Ok(next);
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
        Unit::of(
            &Bytes::from_static(text.as_bytes()),
            &[],
            Release::default(),
        )
    }

    fn begun() -> Ledger {
        let mut ledger = Ledger::new();
        ledger.ready(b'I').unwrap();
        ledger
    }

    fn parsed(ledger: &mut Ledger, text: &'static str) {
        ledger.expect(Expected::Parsed("a".into(), unit(text)));
    }

    /// Whether all meanings of the name `a` read.
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
        ledger.expect(Expected::Closed(NamedObject::Statement, "a".into()));
        parsed(&mut ledger, "select 1");
        ledger.expect(Expected::Sync);
        ledger.closed().unwrap();
        ledger.parsed().unwrap();
        ledger.ready(b'I').unwrap();
        assert!(reads(&ledger));
    }

    #[test]
    fn what_was_prepared_for_a_later_release_may_do_more_on_an_older_one() {
        let mut ledger = begun();
        ledger.note_release(Release::of("16.1"));
        ledger.prepared_by_sql("b".into(), unit("prepare b as select 1"));
        parsed(&mut ledger, "select 1");
        ledger.parsed().unwrap();
        // One that comes, of which the same is true.
        parsed(&mut ledger, "select 2");
        ledger.note_release(Release::of("17.1"));
        assert!(reads(&ledger) && ledger.release() == Release::of("16"));
        ledger.note_release(Release::of("15.4"));
        let all = [
            ledger.statements(&"a".into()),
            ledger.statements(&"b".into()),
        ]
        .concat();
        assert_eq!(all.len(), 3);
        assert!(!all.iter().any(|unit| unit.reads()));
        ledger.parsed().unwrap();
        parsed(&mut ledger, "select 3");
        ledger.parsed().unwrap();
        assert!(reads(&ledger));
    }

    #[test]
    fn what_is_said_after_a_failure_is_not_waited_for() {
        let mut ledger = begun();
        let bound = Bound {
            unit: unit("select 1"),
            parameters: Parameters::default(),
            values: Bytes::new(),
            bind: Bytes::new(),
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
    fn what_is_read_past_is_not_waited_for() {
        let mut ledger = begun();
        parsed(&mut ledger, "select nosuch");
        assert!(ledger.failed().is_none());
        // It was flushed: what comes before the end of its batch is skipped.
        parsed(&mut ledger, "select 1");
        assert!(ledger.is_idle());
        ledger.expect(Expected::Sync);
        parsed(&mut ledger, "select 1");
        ledger.ready(b'I').unwrap();
        assert!(!ledger.is_idle());
        ledger.parsed().unwrap();
    }

    #[test]
    fn names_take_so_much_room_and_no_more() {
        let mut ledger = begun();
        let long = Bytes::from(format!("delete from t --{}", "x".repeat(15_000)));
        for at in 0..1000 {
            if ledger.is_full() {
                assert!((100..200).contains(&at), "{at}");
                return;
            }
            let name = Bytes::from(at.to_string());
            ledger.expect(Expected::Parsed(
                name,
                Unit::of(&long, &[], Release::default()),
            ));
            ledger.parsed().unwrap();
        }
        panic!("it takes any number");
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
