//! What a client says: read, judged, asked about, and passed on.

use std::{collections::HashMap, io, rc::Rc};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{
    super::{
        client::Way,
        wire::{Answer, Entry, Terms},
    },
    again::Again,
    asking::{Login, Statement, digest},
    frame::{Head, MAX_READ, Reader, invalid},
    judge::Control,
    ledger::Bound,
    ledger::Expected,
    lock::Lock,
    parts::is_plain,
    refusal::{Refusal, failing_query},
    server::Shared,
    unit::Unit,
};

/// Texts whose judgement is remembered, and the longest of them in bytes.
const MAX_KNOWN: usize = 128;
const MAX_KNOWN_TEXT: usize = 1024;

/// One client, with its server.
pub(super) struct Client<'a, R, W> {
    pub(super) way: &'a Way,
    pub(super) login: Login,
    pub(super) from: Reader<R>,
    pub(super) to: W,
    pub(super) shared: &'a Shared,
    pub(super) again: Rc<Again>,
    /// By which the known texts were judged.
    terms: Option<Rc<Terms>>,
    known: HashMap<Bytes, Rc<Unit>>,
    pub(super) batch: Vec<(Head, Bytes)>,
    /// Something of a batch was passed on that has not ended.
    pub(super) is_open: bool,
    /// The bytes of those.
    pub(super) size: usize,
    /// What names stand for since the batch began, if all of it succeeds.
    pub(super) statements: HashMap<Bytes, Option<Rc<Unit>>>,
    pub(super) portals: HashMap<Bytes, Option<Bound>>,
    /// The server holds the client to reading, as it has said or was told once more.
    pub(super) is_sure: bool,
    /// So many definitions (DDL) have been asked about in a row.
    pub(super) definitions: u32,
    pub(super) lock: Lock,
    /// The transaction that may write, as the ledger counts them.
    pub(super) writes_in: Option<u64>,
    /// Nothing has been done in the transaction yet.
    pub(super) is_fresh: bool,
}

/// What becomes of something that the client wants done.
#[derive(Default)]
pub(super) enum Verdict {
    #[default]
    Passes,
    /// After a person's yes.
    Allowed,
    Refused(Refusal),
}

impl<'a, R, W> Client<'a, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    pub(super) fn new(
        way: &'a Way,
        login: Login,
        (from, to): (Reader<R>, W),
        shared: &'a Shared,
    ) -> Self {
        Self {
            way,
            login,
            from,
            to,
            shared,
            again: Rc::clone(&way.again),
            terms: None,
            known: HashMap::new(),
            batch: Vec::new(),
            size: 0,
            is_open: false,
            statements: HashMap::new(),
            portals: HashMap::new(),
            is_sure: false,
            definitions: 0,
            lock: Lock::On,
            writes_in: None,
            is_fresh: false,
        }
    }

    /// Serves the client until it ends.
    ///
    /// # Errors
    ///
    /// The system's; what breaks the protocol; that nothing passes there any more.
    pub(super) async fn serve(&mut self) -> io::Result<()> {
        while let Some(head) = self.from.head().await? {
            while self.shared.ledger.borrow().is_behind() {
                self.shared.answered.notified().await;
            }
            let (has_begun, copies) = {
                let ledger = self.shared.ledger.borrow();
                (ledger.has_begun(), ledger.copies_in)
            };
            if has_begun && !self.is_sure {
                self.make_sure().await?;
            }
            match head.tag {
                b'p' if !has_begun => self.from.pass(head, &mut self.to).await?,
                b'X' => {
                    self.from.pass(head, &mut self.to).await?;
                    return self.to.shutdown().await;
                }
                _ if !has_begun => return Err(invalid("the client does not wait to be let in")),
                b'd' | b'c' | b'f' => self.copy(head).await?,
                _ if copies => return Err(invalid("the client says something else between rows")),
                b'Q' => self.query(head).await?,
                b'F' => self.call(head).await?,
                b'P' | b'B' | b'E' | b'C' | b'D' | b'S' | b'H' => self.part(head).await?,
                _ => return Err(invalid("the client says what the protocol does not have")),
            }
            self.to.flush().await?;
        }
        Ok(())
    }

    /// Rows, or their end.
    async fn copy(&mut self, head: Head) -> io::Result<()> {
        if !self.batch.is_empty() {
            self.run().await?;
        }
        // Whether the server takes them is known when it has said so.
        while !self.copies_in() && !self.shared.ledger.borrow().is_idle() {
            self.shared.answered.notified().await;
        }
        if !self.copies_in() {
            return self.from.skip(head).await;
        }
        if head.tag != b'd' {
            self.shared.ledger.borrow_mut().copies_in = false;
        }
        self.from.pass(head, &mut self.to).await
    }

    fn copies_in(&self) -> bool {
        self.shared.ledger.borrow().copies_in
    }

    /// That no batch is open: what a server makes of a query within one depends on whether something in it has failed.
    fn closed(&self) -> io::Result<()> {
        match self.is_open || !self.batch.is_empty() {
            true => Err(invalid("a query in a batch that has not ended")),
            false => Ok(()),
        }
    }

    /// The terms that hold now.
    pub(super) async fn terms(&mut self) -> io::Result<Rc<Terms>> {
        let terms = self.way.link.terms(self.way.target).await;
        let terms = terms.ok_or_else(|| invalid("nothing passes there any more"))?;
        let is_same = |known: &Rc<Terms>| Rc::ptr_eq(known, &terms);
        if !self.terms.as_ref().is_some_and(is_same) {
            self.known.clear();
            self.terms = Some(Rc::clone(&terms));
        }
        Ok(terms)
    }

    pub(super) fn judged(&mut self, terms: &Terms, text: &Bytes) -> Rc<Unit> {
        if self.shared.ledger.borrow().is_odd() {
            let why = "a setting of the server's has it read text in another way than guard does, or write";
            return Rc::new(Unit::unknown(text, why));
        }
        if let Some(unit) = self.known.get(text) {
            return Rc::clone(unit);
        }
        let unit = Unit::of(text, &terms.rules);
        if text.len() <= MAX_KNOWN_TEXT {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(text.clone(), Rc::clone(&unit));
        }
        unit
    }

    /// A query, in one message.
    async fn query(&mut self, head: Head) -> io::Result<()> {
        self.closed()?;
        let terms = self.terms().await?;
        if head.body > MAX_READ {
            self.from.skip(head).await?;
            return self.refuse_query(too_long(&terms)).await;
        }
        let message = self.from.message(head).await?;
        let mut fields = super::frame::Fields::of(&message);
        let text = fields.string()?;
        fields.end()?;
        let unit = self.judged(&terms, &text);
        let verdict = match (self.forbidden(&unit, false), self.needs(&unit)) {
            (Some(why), _) => Verdict::Refused(self.never(&terms, why)),
            (None, None) => Verdict::Passes,
            (None, Some(asked)) => {
                let digest = digest(&self.login, &[&asked.sum, &text]);
                self.decide(&terms, &asked, "", &digest).await?
            }
        };
        match self.readied(&terms, verdict, &unit).await? {
            Verdict::Refused(refusal) => self.refuse_query(refusal).await,
            Verdict::Passes | Verdict::Allowed => {
                self.note(&unit);
                self.shared.ledger.borrow_mut().expect(Expected::Query);
                self.to.write_all(&message).await
            }
        }
    }

    async fn refuse_query(&mut self, refusal: Refusal) -> io::Result<()> {
        {
            let mut ledger = self.shared.ledger.borrow_mut();
            ledger.expect(Expected::Refused(refusal));
            ledger.expect(Expected::Query);
        }
        self.to.write_all(&failing_query()).await
    }

    /// A call of a function by its number: nobody can tell which that is.
    async fn call(&mut self, head: Head) -> io::Result<()> {
        self.closed()?;
        let terms = self.terms().await?;
        self.from.skip(head).await?;
        let why = "a function called by its number (fast path), which guard cannot read";
        let fix = "Call it by its name, in a query.";
        self.log_refused(&terms, why);
        self.refuse_query(Refusal::stopped(&terms, why, fix)).await
    }

    /// What of a unit a person has to be asked about: itself, and what it executes that was prepared or bound before.
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

    /// What nobody is asked about, as nobody could tell what a yes would be for, or what both sides make of it.
    pub(super) fn forbidden(&self, unit: &Unit, in_batch: bool) -> Option<&'static str> {
        let fetches_a_write = unit.controls.iter().any(|control| match control {
            Control::Fetch { name } => {
                let units = self.portals_called(name);
                units
                    .iter()
                    .any(|unit| !unit.reads() || !unit.controls.is_empty())
            }
            _ => false,
        });
        match () {
            () if fetches_a_write => Some("it fetches from a portal that does not only read"),
            () if unit.copies_in && (in_batch || unit.statements > 1) => {
                Some("COPY FROM beside something else")
            }
            () if in_batch && unit.prepares_a_write() => {
                Some("PREPARE of what does not only read in a batch")
            }
            () => None,
        }
    }

    /// The refusal of such a one.
    pub(super) fn never(&self, terms: &Terms, why: &str) -> Refusal {
        self.log_refused(terms, why);
        Refusal::stopped(terms, why, "Send it by itself, as a simple query.")
    }

    /// What does not only read of that.
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
                Control::Begin { .. } | Control::End { .. } => continue,
            };
            // What does something with names itself is not followed any further.
            // SQL's own cursors were judged when they were declared.
            let is_known = matches!(control, Control::Fetch { .. }) || own.contains(&name);
            let is_odd = units.iter().any(|unit| unit.does_more_than_prepare());
            if !is_plain(name.as_bytes()) || is_odd || (units.is_empty() && !is_known) {
                writes.push(unknown(&Bytes::copy_from_slice(name.as_bytes())));
            }
            writes.extend(units.into_iter().filter(|unit| !unit.reads()));
        }
        writes
    }

    /// Whether a write may pass.
    pub(super) async fn decide(
        &mut self,
        terms: &Rc<Terms>,
        unit: &Unit,
        parameters: &str,
        digest: &str,
    ) -> io::Result<Verdict> {
        let Some(write) = &unit.write else {
            return Ok(Verdict::Passes);
        };
        if terms.rules.is_empty() || self.again.take(self.way.target, digest) {
            return Ok(Verdict::Allowed);
        }
        let write = &self.described(unit, write).await?;
        let statement = Statement {
            login: &self.login,
            unit,
            write,
            parameters,
            digest,
        };
        let answer = tokio::select! {
            answer = statement.ask(self.way, terms) => answer,
            () = self.from.left() => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if answer == Answer::Yes {
            // Only then is it known what it would be part of.
            self.shared.idle().await;
        }
        Ok(match answer {
            Answer::Yes if self.can_write() => Verdict::Allowed,
            Answer::Yes => {
                self.again.keep(self.way.target, self.login.at(), digest);
                let why = "it may pass, but its transaction has begun as one that only reads";
                let fix = "Roll back, and do the whole transaction again within a minute: it may write then.";
                self.way.log(statement.entry("failed", terms, why));
                Verdict::Refused(Refusal::stopped(terms, why, fix))
            }
            Answer::No { why, fix, .. } => {
                let why = format!("{}; {why}", write.because);
                self.way.log(statement.entry("refused", terms, &why));
                Verdict::Refused(Refusal::stopped(terms, &why, &fix))
            }
        })
    }

    /// Whether what is done now can write, or be made to.
    fn can_write(&self) -> bool {
        let status = self.shared.ledger.borrow().status;
        status == b'I' || self.may_write() || (self.is_fresh && status == b'T')
    }

    /// Takes note of what is passed on.
    pub(super) fn note(&mut self, unit: &Rc<Unit>) {
        self.is_fresh = unit.begins();
        for name in unit.prepares() {
            let name = Bytes::copy_from_slice(name.as_bytes());
            let mut ledger = self.shared.ledger.borrow_mut();
            ledger.prepared_by_sql(name, Rc::clone(unit));
        }
    }

    pub(super) fn log_refused(&self, terms: &Terms, why: &str) {
        self.way.log(Entry {
            rule: terms.rules.first().and_then(|rules| rules.name.clone()),
            ..Entry::refused(why)
        });
    }
}

/// That a message says nothing but what it is.
pub(super) fn empty(head: Head) -> io::Result<()> {
    match head.body {
        0 => Ok(()),
        _ => Err(invalid("a message is longer than what it says")),
    }
}

pub(super) fn too_long(terms: &Terms) -> Refusal {
    let why = format!("it is longer than the {MAX_READ} bytes that guard reads");
    let fix = "Send less at once.";
    Refusal::stopped(terms, &why, fix)
}

pub(super) fn unknown(name: &Bytes) -> Rc<Unit> {
    let why = "it was prepared before, and guard does not know as what";
    Rc::new(Unit::unknown(name, why))
}

/// The first that does not only read; else the first.
pub(super) fn strictest(units: &[Rc<Unit>], name: &Bytes) -> Rc<Unit> {
    let write = units.iter().find(|unit| !unit.reads());
    let first = write.or(units.first()).map(Rc::clone);
    first.unwrap_or_else(|| unknown(name))
}
