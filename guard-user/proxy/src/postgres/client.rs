//! The client's messages: read, judged, asked about, and sent on.

use std::{collections::HashMap, io, rc::Rc};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::oneshot,
};

use super::{
    super::{
        client::ConnectionContext,
        judge::Rules,
        room::JudgingTurn,
        wire::{AskAnswer, Entry, TargetTerms, TransactionState},
    },
    across::AcrossConnections,
    asking::{AskedStatement, Login},
    beside::Beside,
    frame::{HEAD, KeptMessage, MAX_READ, MessageHead, Reader, invalid},
    judge::{self, Control, Extra, Release},
    large,
    ledger::{Bound, Expected, OwnReply, Parameters},
    lock::Lock,
    meaning::Meaning,
    refusal::{Refusal, failing_query, query},
    replication,
    server::BothDirections,
    server_name::NamedTerms,
    unit::{INSTEAD, Unit},
};

/// Texts whose judgements are cached, and below the most bytes of one, and of what is kept of it.
const MAX_KNOWN: usize = 128;
const MAX_KNOWN_TEXT: usize = 1024;
const MAX_KNOWN_KEPT: usize = 4 * 1024;

const FEWER_FUNCTIONS: &str =
    "the policy does not let all functions or settings pass any more that it did";
const NOTHING_PASSES: &str = "nothing passes there any more";

/// The mechanism by which a client checks that no proxy is in between, as it names it.
const BINDING: &[u8] = b"SCRAM-SHA-256-PLUS\0";
const BOUND: &str =
    "the client logs in with channel binding, which no server takes with guard between the two";

/// The most names that one text may execute or fetch.
const MAX_CALLS: usize = 64;

/// A client, with its server.
pub(super) struct PostgresClient<'a, R, W> {
    pub(super) context: &'a ConnectionContext,
    pub(super) login: Login,
    pub(super) from: Reader<R>,
    pub(super) to: W,
    pub(super) shared: &'a BothDirections,
    pub(super) across: Rc<AcrossConnections>,
    /// The terms by which the cached texts were judged.
    terms: Option<Rc<TargetTerms>>,
    /// Those with the rules for the name that the client has shown.
    pub(super) named: Option<NamedTerms>,
    /// The last terms that did not let everything pass: what was prepared under them stays prepared.
    rules: Option<Rc<TargetTerms>>,
    /// The release for which they were judged.
    release: Release,
    /// By shape, if a text has one and only reads; else by its full text.
    known: HashMap<Vec<u8>, Rc<Unit>>,
    pub(super) batch: Vec<KeptMessage>,
    /// Whether something was sent of a batch that has not ended.
    pub(super) is_open: bool,
    /// Whether it is open to the client, and has ended to the server (a quiet end).
    pub(super) is_quiet: bool,
    /// Whether messages up to its end are skipped, as a server does after an error.
    is_past: bool,
    /// The bytes of those.
    pub(super) size: usize,
    /// The meaning of names since the batch began, if all of it succeeds.
    pub(super) statements: HashMap<Bytes, Option<Rc<Unit>>>,
    pub(super) portals: HashMap<Bytes, Option<Bound>>,
    /// Whether the server is known to hold the client to reading.
    pub(super) is_sure: bool,
    /// Whether the guard had to set that again, since the start-up packet's settings were dropped: a reset to these would lift
    /// the lock.
    pub(super) is_dropped: bool,
    pub(super) lock: Lock,
    /// The transaction that may write, by the ledger's count.
    pub(super) writes_in: Option<u64>,
    /// Whether nothing was done in the transaction yet.
    pub(super) is_fresh: bool,
    /// The settings that the server has said last to read by.
    pub(super) last_meaning: Meaning,
    /// Held while a message is judged.
    turn: Option<JudgingTurn>,
}

/// What a person sees of a statement beside its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) parameters: &'a Parameters,
    pub(super) meaning: &'a Meaning,
    pub(super) beside: &'a Beside,
    /// The values of its parameters, as they were sent.
    pub(super) bind: &'a Bytes,
    /// Whether its batch does nothing before it.
    pub(super) is_first: bool,
}

/// How something executed comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comes {
    /// As a query of its own.
    Alone,
    /// In the batch in which it was bound.
    Bound,
    /// In a batch, bound in an earlier one.
    Earlier,
}

/// The verdict on something that the client wants done.
#[derive(Default)]
pub(super) enum StatementVerdict {
    #[default]
    Passes,
    /// After a person's yes.
    Allowed,
    Refused(Refusal),
}

impl<'a, R, W> PostgresClient<'a, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    pub(super) fn new(
        context: &'a ConnectionContext,
        login: Login,
        from: Reader<R>,
        to: W,
        shared: &'a BothDirections,
    ) -> Self {
        Self {
            context,
            login,
            from,
            to,
            shared,
            across: Rc::clone(&context.across),
            terms: None,
            named: None,
            rules: None,
            release: Release::default(),
            known: HashMap::new(),
            batch: Vec::new(),
            size: 0,
            is_open: false,
            is_quiet: false,
            is_past: false,
            statements: HashMap::new(),
            portals: HashMap::new(),
            is_sure: false,
            is_dropped: false,
            lock: Lock::On,
            writes_in: None,
            is_fresh: false,
            last_meaning: Meaning::default(),
            turn: None,
        }
    }

    /// Sends the start-up packet.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) async fn begin(&mut self, packet: &[u8]) -> io::Result<()> {
        self.to.write_all(packet).await?;
        self.to.flush().await
    }

    /// Serves the client until it ends.
    ///
    /// # Errors
    ///
    /// The system's; violations of the protocol; that nothing passes there any more.
    pub(super) async fn serve(&mut self) -> io::Result<()> {
        while let Some(head) = self.from.head().await? {
            while self.shared.ledger.borrow().is_behind() {
                while_here(&mut self.from, self.shared.answered.notified()).await?;
            }
            let (has_begun, copies) = {
                let ledger = self.shared.ledger.borrow();
                (ledger.has_begun(), ledger.copies_in)
            };
            if has_begun && !self.is_sure {
                self.make_sure().await?;
            }
            if self.is_read_past(head).await? {
                self.to.flush().await?;
                continue;
            }
            match head.tag {
                b'p' if !has_begun => self.password(head).await?,
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
            self.end_turn().await;
            self.to.flush().await?;
        }
        Ok(())
    }

    /// The current terms, once it is the account's turn.
    pub(super) async fn terms_in_turn(&mut self) -> io::Result<Rc<TargetTerms>> {
        let account = self.terms().await?.account;
        self.turn = Some(self.context.room.turn(account).await);
        self.terms().await
    }

    /// Ends the turn before any wait.
    pub(super) async fn end_turn(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.end().await;
        }
    }

    /// A password, or a part of an exchange about one. Only the mechanism in it is read.
    async fn password(&mut self, head: MessageHead) -> io::Result<()> {
        let names_one = std::mem::take(&mut self.shared.ledger.borrow_mut().asks_sasl);
        if !names_one || head.body > MAX_READ {
            return self.from.pass(head, &mut self.to).await;
        }
        let message = self.from.message(head).await?;
        if message[HEAD..].starts_with(BINDING) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, BOUND));
        }
        self.to.write_all(&message).await
    }

    /// Skips a message after an error in the same batch, but for the batch's end, if the server does not know of the batch.
    async fn is_read_past(&mut self, head: MessageHead) -> io::Result<bool> {
        if !self.is_quiet || matches!(head.tag, b'X' | b'd' | b'c' | b'f') {
            return Ok(false);
        }
        self.idle().await?;
        self.is_past |= self.shared.ledger.borrow_mut().take_quiet_failed();
        if !self.is_past {
            return Ok(false);
        }
        if head.tag != b'S' {
            self.from.skip(head).await?;
            return Ok(true);
        }
        // It ends something that was removed from the batch, or never put there.
        self.batch.clear();
        (self.size, self.is_past) = (0, false);
        Ok(false)
    }

    /// Rows, or their end.
    async fn copy(&mut self, head: MessageHead) -> io::Result<()> {
        if !self.batch.is_empty() {
            self.run().await?;
        }
        // The server has to say first whether it takes them.
        while !self.copies_in() && !self.shared.ledger.borrow().is_idle() {
            while_here(&mut self.from, self.shared.answered.notified()).await?;
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

    /// Checks that no batch is open: what a server makes of a query within one depends on earlier errors.
    fn closed(&self) -> io::Result<()> {
        if self.is_open || !self.batch.is_empty() {
            Err(invalid("a query in a batch that has not ended"))
        } else {
            Ok(())
        }
    }

    /// The terms that hold now.
    pub(super) async fn terms(&mut self) -> io::Result<Rc<TargetTerms>> {
        let terms = self.context.link.terms(self.context.target).await;
        let terms = terms.ok_or_else(|| forbidden(NOTHING_PASSES))?;
        let terms = self.with_name(terms).await?;
        let is_same = |known: &Rc<TargetTerms>| Rc::ptr_eq(known, &terms);
        if !self.terms.as_ref().is_some_and(is_same) {
            self.known.clear();
            if terms.is_open() {
                self.shared.goes_by_hole();
            } else if let Some(before) = &self.rules
                && !pass_as_much(terms.rules(), before.rules())
            {
                return Err(forbidden(FEWER_FUNCTIONS));
            } else {
                self.rules = Some(Rc::clone(&terms));
            }
            self.terms = Some(Rc::clone(&terms));
        }
        Ok(terms)
    }

    pub(super) fn judged(&mut self, terms: &TargetTerms, text: &Bytes) -> Rc<Unit> {
        if self.shared.ledger.borrow().is_odd() {
            let why = "a setting of the server's has it read text in another way than guard does, or write";
            return Rc::new(Unit::unknown(text, why));
        }
        let release = self.shared.ledger.borrow().release();
        if self.release != release {
            self.known.clear();
            self.release = release;
        }
        if text.len() > MAX_KNOWN_TEXT {
            return Unit::of(text, terms.rules(), release);
        }
        let shape = judge::shape(text);
        let of_shape = shape.as_ref().and_then(|shape| self.known.get(shape));
        if let Some(unit) = of_shape.or_else(|| self.known.get(&text[..])) {
            return Rc::clone(unit);
        }
        let unit = Unit::of(text, terms.rules(), release);
        // In the middle of a batch the terms may have changed; before the server has begun, its release is not known.
        let is_now = |known: &Rc<TargetTerms>| std::ptr::eq(&**known, terms);
        let has_begun = self.shared.ledger.borrow().has_begun();
        if !has_begun || unit.kept() > MAX_KNOWN_KEPT || !self.terms.as_ref().is_some_and(is_now) {
            return unit;
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        let shape = shape.filter(|_| unit.only_reads());
        self.known
            .insert(shape.unwrap_or_else(|| text.to_vec()), Rc::clone(&unit));
        unit
    }

    /// A query, in one message.
    async fn query(&mut self, head: MessageHead) -> io::Result<()> {
        self.closed()?;
        if head.body > MAX_READ {
            self.from.skip(head).await?;
            let terms = self.terms().await?;
            return self.refuse_query(too_long(&terms)).await;
        }
        let mut message = self.from.message(head).await?;
        let mut terms = self.terms_in_turn().await?;
        let mut fields = super::frame::Fields::of(&message);
        let text = fields.string()?;
        fields.end()?;
        if self.shared.ledger.borrow().replicates && replication::is_command(&text) {
            self.end_turn().await;
            self.shared.ledger.borrow_mut().expect(Expected::Query);
            return self.to.write_all(&message).await;
        }
        let mut unit = self.judged(&terms, &text);
        if unit.calls() > 0 {
            self.idle().await?;
            // The terms may be stricter after that.
            terms = self.terms().await?;
            unit = self.judged(&terms, &text);
        }
        if unit.is_instead {
            message = query(INSTEAD);
        }
        let verdict = match (self.forbidden(&unit, Comes::Alone), self.needs(&unit)) {
            (Some(why), _) => StatementVerdict::Refused(self.never(&terms, why)),
            (None, None) => {
                self.context.link.count_read(self.context.target);
                StatementVerdict::Passes
            }
            (None, Some(asked)) => self.decide_query(&mut unit, &asked, &text).await?,
        };
        self.end_turn().await;
        match self.readied(verdict, &unit).await? {
            StatementVerdict::Refused(refusal) => self.refuse_query(refusal).await,
            StatementVerdict::Passes | StatementVerdict::Allowed => {
                self.note(&unit);
                self.shared.ledger.borrow_mut().expect(Expected::Query);
                self.to.write_all(&message).await
            }
        }
    }

    /// Whether a query may pass that needs to be `asked` about. What it prepares then stands in the unit.
    async fn decide_query(
        &mut self,
        unit: &mut Rc<Unit>,
        asked: &Unit,
        text: &Bytes,
    ) -> io::Result<StatementVerdict> {
        let is_set = asked.is_by_cursor() || unit.sets_first || self.sets_by_a_name(unit);
        let meaning = self.meaning(is_set).await?;
        self.note_reading(unit, &meaning);
        if unit.prepares_a_write() {
            // An earlier statement in the text may set something.
            let by = match unit.statements {
                1 => meaning.clone(),
                _ => Meaning::default(),
            };
            *unit = unit.prepared_by(&by);
        }
        let meaning = asked.meaning(meaning);
        let digest = meaning.digest(&self.login, &[&asked.sum, text]);
        let about = About {
            parameters: &Parameters::default(),
            meaning: &meaning,
            beside: &Beside::nothing(),
            bind: &Bytes::new(),
            is_first: true,
        };
        self.decide(asked, about, digest).await
    }

    async fn refuse_query(&mut self, refusal: Refusal) -> io::Result<()> {
        {
            let mut ledger = self.shared.ledger.borrow_mut();
            ledger.expect(Expected::Refused(refusal));
            ledger.expect(Expected::Query);
        }
        self.to.write_all(&failing_query()).await
    }

    /// A call of a function by its number: a few are known to read.
    async fn call(&mut self, head: MessageHead) -> io::Result<()> {
        self.closed()?;
        let read = if head.body > large::MAX_CALL {
            self.from.skip(head).await?;
            None
        } else {
            Some(self.from.message(head).await?).filter(large::reads)
        };
        let terms = self.terms().await?;
        let Some(message) = read else {
            let why = "a function called by its number (fast path), which is none that reads large objects";
            let fix = "Call it by its name, in a query.";
            self.log_refused(&terms, why);
            return self.refuse_query(Refusal::stopped(&terms, why, fix)).await;
        };
        // A reading call has no text, so the judgement is that of an empty one.
        let nothing = Unit::of(&Bytes::new(), &[], Release::default());
        if let StatementVerdict::Refused(refusal) =
            self.readied(StatementVerdict::Passes, &nothing).await?
        {
            return self.refuse_query(refusal).await;
        }
        self.is_fresh = false;
        self.shared.ledger.borrow_mut().expect(Expected::Query);
        self.to.write_all(&message).await
    }

    /// Waits until the server has answered everything.
    pub(super) async fn idle(&mut self) -> io::Result<()> {
        self.end_turn().await;
        while_here(&mut self.from, self.shared.idle()).await
    }

    /// The server's answer to the guard's own query.
    pub(super) async fn told(&mut self, told: oneshot::Receiver<OwnReply>) -> io::Result<OwnReply> {
        self.end_turn().await;
        let told = while_here(&mut self.from, told).await?;
        told.map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    /// Why a statement is refused without asking a person: a yes would be ambiguous, or both sides would read it differently.
    pub(super) fn forbidden(&self, unit: &Unit, comes: Comes) -> Option<&'static str> {
        let in_batch = comes != Comes::Alone;
        if comes == Comes::Earlier && !unit.reads() {
            return Some("a portal of an earlier batch, bound to what does not only read");
        }
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
            () if self.is_dropped && self.lifts(unit) => Some(
                "the server would not be held to reading any more, for something in front of it has dropped what guard said first",
            ),
            () if unit.calls() > MAX_CALLS => Some("more names in one text than are followed"),
            () if fetches_a_write => Some("it fetches from a portal that does not only read"),
            () if unit.copies_in && (in_batch || unit.statements > 1) => {
                Some("COPY FROM beside something else")
            }
            () if in_batch && unit.prepares_a_write() => {
                Some("PREPARE of what does not only read in a batch")
            }
            () if unit.prepares().next().is_some() && self.shared.ledger.borrow().is_full() => {
                Some("too many names are in use at once")
            }
            () => None,
        }
    }

    /// The refusal of such a statement.
    pub(super) fn never(&self, terms: &TargetTerms, why: &str) -> Refusal {
        self.log_refused(terms, why);
        Refusal::stopped(terms, why, "Send it by itself, as a simple query.")
    }

    /// Whether a write may pass, by the current terms.
    pub(super) async fn decide(
        &mut self,
        unit: &Unit,
        about: About<'_>,
        digest: Option<String>,
    ) -> io::Result<StatementVerdict> {
        let Some(write) = &unit.write else {
            return Ok(StatementVerdict::Passes);
        };
        // Whatever is under way: the terms may be stricter after that.
        self.idle().await?;
        let terms = &self.terms().await?;
        let digest = digest.as_deref();
        if terms.is_open() {
            return Ok(StatementVerdict::Allowed);
        }
        let mut write = self.described(terms, unit, write, about).await?;
        let is_ascii = unit.text.is_ascii() && about.parameters.shown.is_ascii();
        write.warnings.splice(..0, about.meaning.warnings(is_ascii));
        write.warnings.extend(sets_by_the_rule(terms));
        let write = &write;
        let statement = AskedStatement {
            login: &self.login,
            unit,
            write,
            parameters: about.parameters,
            meaning: about.meaning,
            beside: about.beside,
            digest,
            transaction: self.transaction_state(),
        };
        let key = self.shared.ledger.borrow().cancel_key.clone();
        let answer = tokio::select! {
            answer = statement.ask(self.context, terms) => answer,
            () = self.across.withdrawn(self.context.target, key) => {
                return Ok(StatementVerdict::Refused(Refusal::withdrawn()));
            }
            () = self.from.left() => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if answer == AskAnswer::Yes {
            // Only then is the surrounding transaction known.
            while_here(&mut self.from, self.shared.idle()).await?;
        }
        Ok(self.by_answer(answer, &statement, terms))
    }

    /// The verdict on a write, by an approver's answer.
    fn by_answer(
        &self,
        answer: AskAnswer,
        statement: &AskedStatement<'_>,
        terms: &TargetTerms,
    ) -> StatementVerdict {
        match answer {
            AskAnswer::Yes if self.can_write() => StatementVerdict::Allowed,
            AskAnswer::Yes => {
                let why = "it may pass, but its transaction has begun as one that only reads";
                let fix = "Roll back, and do the whole transaction again.";
                self.context.log(statement.entry("failed", terms, why));
                StatementVerdict::Refused(Refusal::stopped(terms, why, fix))
            }
            AskAnswer::No { why, fix, .. } => {
                let why = format!("{}; {why}", statement.write.because);
                self.context.log(statement.entry("refused", terms, &why));
                StatementVerdict::Refused(Refusal::stopped(terms, &why, &fix))
            }
        }
    }

    /// Returns whether what is asked about can pass in the current transaction.
    fn transaction_state(&self) -> TransactionState {
        match self.shared.ledger.borrow().status {
            b'E' => TransactionState::HasFailed,
            _ if self.can_write() => TransactionState::Able,
            _ => TransactionState::HasRead,
        }
    }

    /// Whether what is done now can write, or be made to.
    fn can_write(&self) -> bool {
        let status = self.shared.ledger.borrow().status;
        status == b'I' || self.may_write() || (self.is_fresh && status == b'T')
    }

    pub(super) fn log_refused(&self, terms: &TargetTerms, why: &str) {
        self.context.log(Entry {
            rule: terms.rules().first().and_then(|rules| rules.name.clone()),
            sql: true,
            ..Entry::refused(why)
        });
    }
}

/// Waits for the server, unless the client leaves.
async fn while_here<R: AsyncRead + Unpin, T>(
    from: &mut Reader<R>,
    what: impl Future<Output = T>,
) -> io::Result<T> {
    tokio::select! {
        biased;
        what = what => Ok(what),
        () = from.left() => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Checks that a message has no body.
pub(super) fn empty(head: MessageHead) -> io::Result<()> {
    match head.body {
        0 => Ok(()),
        _ => Err(invalid("a message is longer than what it says")),
    }
}

/// Whether all functions and settings that pass by `before` pass by `now`: for each policy in force now there was one that let
/// no more pass.
fn pass_as_much(now: &[Rules], before: &[Rules]) -> bool {
    let covers = |now: &Rules, before: &Rules| {
        let [now, before] = [now, before].map(|one| Extra::of(&one.lists, Release::default()));
        now.covers(before)
    };
    now.iter()
        .all(|now| before.iter().any(|before| covers(now, before)))
}

/// The warning if a rule lets the agent set something that applications rely on.
fn sets_by_the_rule(terms: &TargetTerms) -> Option<String> {
    let all = terms
        .rules()
        .iter()
        .map(|rules| &rules.lists.postgres_settings);
    let settings = all.flatten().next()?;
    Some(format!(
        "the agent may have set {settings}, or others that the rule names"
    ))
}

/// The error if nothing passes there.
fn forbidden(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

pub(super) fn too_long(terms: &TargetTerms) -> Refusal {
    let why = format!("it is longer than the {MAX_READ} bytes that guard reads");
    let fix = "Send less at once.";
    Refusal::stopped(terms, &why, fix)
}
