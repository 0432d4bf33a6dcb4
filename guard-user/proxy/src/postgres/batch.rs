//! Batches (the extended query protocol): what a client prepares, binds and executes before it waits for answers.

use std::{io, rc::Rc};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{
    super::wire::TargetTerms,
    beside::{Beside, NamesBefore},
    client::{About, Comes, PostgresClient, StatementVerdict, empty, too_long},
    frame::{KeptMessage, MAX_READ, MessageHead, invalid},
    ledger::{Bound, Expected, MAX_KEPT, NamedObject},
    lock::Lock,
    meaning::Meaning,
    parts::Part,
    refusal::{Refusal, failing_parse, message},
    sum::sum,
    unit::{INSTEAD, Unit},
};

/// Bytes of a batch that are held until its end.
const MAX_BATCH: usize = MAX_READ;
/// A message shorter than this is copied, in bytes.
const SHORT: usize = 4096;
/// Messages that are held until then.
const MAX_PARTS: usize = 1024;
impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// Takes a message of a batch.
    pub(super) async fn part(&mut self, head: MessageHead) -> io::Result<()> {
        if matches!(head.tag, b'S' | b'H') {
            empty(head)?;
        }
        let message = if head.body > MAX_READ {
            // What it was for is refused when its turn comes.
            self.from.skip(head).await?;
            Bytes::new()
        } else {
            self.from.message(head).await?
        };
        self.size += message.len();
        // A slice keeps the whole buffer.
        let bytes = if message.len() < SHORT {
            Bytes::copy_from_slice(&message)
        } else {
            message
        };
        let is_full = self.size > MAX_BATCH || self.batch.len() >= MAX_PARTS;
        self.batch.push(KeptMessage { head, bytes });
        if matches!(head.tag, b'S' | b'H') || is_full {
            self.run().await
        } else {
            Ok(())
        }
    }

    /// Judges the batch so far, and sends it on.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        if !self.shared.ledger.borrow().is_idle() && self.is_ambiguous()? {
            // What a person is shown must be what is done.
            self.idle().await?;
        }
        let terms = self.terms_in_turn().await?;
        let (batch, end) = self.take_batch();
        let mut planned = Planned {
            before: self.before(&batch),
            batch: &batch,
            ..Planned::default()
        };
        for (at, message) in batch.iter().enumerate() {
            planned.at = at;
            if let Some(refused) = self.plan(&terms, message, end, &mut planned).await? {
                planned.verdict = StatementVerdict::Refused(refused);
                break;
            }
        }
        let together = Unit::all(&planned.units);
        let is_allowed = matches!(planned.verdict, StatementVerdict::Allowed);
        let may_write = is_allowed || self.lock == Lock::Off || self.may_write();
        if may_write || together.begins() {
            planned.leave_out_unasked(&terms);
        }
        let was_refused = matches!(planned.verdict, StatementVerdict::Refused(_));
        if may_write && !was_refused && together.ends_and_goes_on() {
            let why = "a batch that ends a transaction that may write, and goes on";
            let fix = "Send what follows by itself.";
            planned.verdict = StatementVerdict::Refused(Refusal::stopped(&terms, why, fix));
        }
        self.end_turn().await;
        planned.verdict = self.readied(planned.verdict, &together).await?;
        if matches!(planned.verdict, StatementVerdict::Refused(_)) && !was_refused {
            // Nothing of a refused batch is done.
            planned.messages.clear();
            planned.units.clear();
        }
        let end = self.end_of_batch(end)?;
        self.send(planned, end).await
    }

    /// The batch so far, and what it ends with.
    fn take_batch(&mut self) -> (Vec<KeptMessage>, End) {
        let mut batch = std::mem::take(&mut self.batch);
        self.size = 0;
        let last = batch.pop_if(|last| matches!(last.head.tag, b'S' | b'H'));
        let end = match last.map(|last| last.head.tag) {
            Some(b'S') => End::Sync,
            // Preparing alone must not keep a transaction open.
            Some(_) if !self.is_open && !batch.iter().any(|one| does_something(one.head)) => {
                End::Quiet
            }
            Some(_) => End::Flush,
            None => End::Full,
        };
        (batch, end)
    }

    /// What follows the batch. One that may write ends at once: many drivers send a Sync after this, and what else they send must
    /// be judged then.
    fn end_of_batch(&self, end: End) -> io::Result<End> {
        let may_write = self.lock == Lock::Off || self.may_write();
        match end {
            End::Flush if may_write && !self.is_open => Ok(End::Quiet),
            End::Full if may_write => Err(invalid(
                "a batch that may write is longer than what is kept",
            )),
            end => Ok(end),
        }
    }

    /// Whether a name in the batch is ambiguous until the server has answered.
    fn is_ambiguous(&self) -> io::Result<bool> {
        let ledger = self.shared.ledger.borrow();
        for KeptMessage { head, bytes } in &self.batch {
            if bytes.is_empty() || !does_something(*head) {
                continue;
            }
            let many = match Part::of(head.tag, bytes)? {
                Part::Bind { statement, .. } => ledger.statements(&statement).len(),
                Part::Execute { portal } => ledger.portals(&portal).len(),
                _ => 0,
            };
            if many > 1 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Plans one of its messages. Returns why it is refused, if it is.
    async fn plan(
        &mut self,
        terms: &Rc<TargetTerms>,
        kept: &KeptMessage,
        end: End,
        planned: &mut Planned<'_>,
    ) -> io::Result<Option<Refusal>> {
        let KeptMessage { head, bytes } = kept;
        if bytes.is_empty() {
            return Ok(Some(too_long(terms)));
        }
        let part = Part::of(head.tag, bytes)?;
        if part.gives_a_name() && self.has_no_room(planned) {
            let why = "too many names are in use at once";
            return Ok(Some(Refusal::stopped(terms, why, "Close some.")));
        }
        if let Part::Execute { portal } = &part
            && let Some(refusal) = self.plan_execute(terms, portal, end, planned).await?
        {
            return Ok(Some(refusal));
        }
        if let Part::Bind { statement, .. } | Part::Describe(NamedObject::Statement, statement) =
            &part
            && !self.prepared(statement).reads()
        {
            let meaning = self.meaning_behind(planned, false).await?;
            self.note_read(statement, &meaning);
        }
        if let Part::Bind {
            portal, statement, ..
        } = &part
        {
            planned.bind(portal, self.prepared(statement).reads());
        }
        planned.binds |= matches!(head.tag, b'P' | b'B');
        let expected = self.expected(terms, part, planned).await?;
        let bytes = match &expected {
            Some(Expected::Parsed(name, unit)) if unit.is_instead => message(
                b'P',
                &[&name[..], &[0], INSTEAD.as_bytes(), &[0; 3]].concat(),
            ),
            _ => bytes.clone(),
        };
        planned.messages.push((bytes, expected));
        Ok(None)
    }

    /// Plans to execute a portal. Returns why it is refused, if it is.
    async fn plan_execute(
        &mut self,
        terms: &Rc<TargetTerms>,
        portal: &Bytes,
        end: End,
        planned: &mut Planned<'_>,
    ) -> io::Result<Option<Refusal>> {
        let bound = self.bound(portal);
        self.settle_names(&bound.unit).await?;
        // Its names were looked up when it was bound.
        let comes = if self.portals.contains_key(portal) {
            Comes::Bound
        } else {
            Comes::Earlier
        };
        // An SQL cursor may have replaced an earlier portal.
        planned.sets |= comes == Comes::Earlier;
        if let Some(why) = self.forbidden(&bound.unit, comes) {
            return Ok(Some(self.never(terms, why)));
        }
        let asked = self.needs(&bound.unit);
        if asked.is_none() {
            self.context.link.count_read(self.context.target);
        }
        if let Some(asked) = asked {
            if self.is_open || end == End::Full {
                let why = "it would change something in a batch that has begun to do other things";
                let fix = "Send it in a batch of its own.";
                return Ok(Some(Refusal::stopped(terms, why, fix)));
            }
            let is_by_cursor = asked.is_by_cursor();
            let meaning = self.meaning_behind(planned, is_by_cursor).await?;
            self.note_reading(&bound.unit, &meaning);
            let meaning = asked.meaning(meaning);
            let beside = self.beside(terms, &planned.before, planned.batch, planned.at)?;
            let digest = self.digest_of(&asked, &bound.values, &meaning, &beside);
            let about = About {
                parameters: &bound.parameters,
                meaning: &meaning,
                beside: &beside,
                bind: &bound.bind,
                is_first: planned.units.is_empty(),
            };
            match self.decide(&asked, about, digest).await? {
                StatementVerdict::Refused(refusal) => return Ok(Some(refusal)),
                allowed => planned.verdict = allowed,
            }
        }
        let is_another = |one: &Unasked| one.portal.as_ref() != Some(portal);
        planned.unasked.retain(is_another);
        planned.units.push(bound.unit);
        Ok(None)
    }

    /// What a yes to a statement is kept under: for one alone, in any form.
    fn digest_of(
        &self,
        asked: &Unit,
        values: &Bytes,
        meaning: &Meaning,
        beside: &Beside,
    ) -> Option<String> {
        let beside = beside.sum()?;
        let mut parts = vec![&asked.sum, values];
        parts.extend((!beside.is_empty()).then_some(&beside));
        meaning.digest(&self.login, &parts)
    }

    /// The settings by which the server reads what follows the planned messages.
    async fn meaning_behind(
        &mut self,
        planned: &mut Planned<'_>,
        is_by_cursor: bool,
    ) -> io::Result<Meaning> {
        if is_by_cursor || planned.sets || planned.units.iter().any(|unit| unit.sets) {
            return Ok(Meaning::default());
        }
        // Nothing is sent meanwhile.
        let meaning = match planned.meaning.take() {
            Some(known) => known,
            None => self.meaning(false).await?,
        };
        planned.meaning = Some(meaning.clone());
        Ok(meaning)
    }

    /// Whether no more names can be given.
    fn has_no_room(&self, planned: &Planned<'_>) -> bool {
        let own = self.statements.len() + self.portals.len() + planned.messages.len();
        let units = self.statements.values().flatten().map(|unit| unit.kept());
        own >= MAX_PARTS * 2
            || units.sum::<usize>() >= MAX_KEPT
            || self.shared.ledger.borrow().is_full()
    }

    async fn send(&mut self, planned: Planned<'_>, end: End) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        {
            let mut ledger = self.shared.ledger.borrow_mut();
            for (message, expected) in planned.messages {
                bytes.extend_from_slice(&message);
                if let Some(expected) = expected {
                    ledger.expect(expected);
                }
            }
            if let StatementVerdict::Refused(refusal) = planned.verdict {
                bytes.extend_from_slice(&failing_parse());
                ledger.expect(Expected::Refused(refusal));
            }
            // Without a flush the server holds its answers back until the client ends the batch, and all wait for each other.
            let (tag, expected) = match end {
                End::Sync => (b'S', Some(Expected::Sync)),
                End::Quiet => (b'S', Some(Expected::Quiet)),
                End::Flush | End::Full => (b'H', None),
            };
            bytes.extend_from_slice(&message(tag, &[]));
            if let Some(expected) = expected {
                ledger.expect(expected);
            }
        }
        self.is_open = matches!(end, End::Flush | End::Full);
        self.is_quiet = end == End::Quiet || (self.is_quiet && end != End::Sync);
        if !self.is_open {
            self.statements.clear();
            self.portals.clear();
        }
        self.is_fresh &= planned.units.is_empty() && !planned.binds;
        for unit in &planned.units {
            self.note(unit);
        }
        self.to.write_all(&bytes).await
    }

    /// The answer to expect from the server to a message, and notes it.
    async fn expected(
        &mut self,
        terms: &TargetTerms,
        part: Part,
        planned: &mut Planned<'_>,
    ) -> io::Result<Option<Expected>> {
        Ok(match part {
            Part::Parse { name, text, types } => {
                let mut unit = self.judged(terms, &text).saying(&text).typed(&types);
                if !unit.reads() {
                    unit = unit.prepared_by(&self.meaning_behind(planned, false).await?);
                }
                self.statements.insert(name.clone(), Some(Rc::clone(&unit)));
                Some(Expected::Parsed(name, unit))
            }
            Part::Bind {
                portal,
                statement,
                parameters,
                values,
                bind,
            } => {
                let unit = self.prepared(&statement);
                // The values may be long, and a name is kept for long.
                let (values, bind) = if unit.reads() && unit.controls.is_empty() {
                    (Bytes::new(), Bytes::new())
                } else if bind.len() > SHORT {
                    (sum([&values]), Bytes::new())
                } else {
                    (sum([&values]), Bytes::copy_from_slice(&bind))
                };
                let bound = Bound {
                    unit,
                    parameters,
                    values,
                    bind,
                };
                self.portals.insert(portal.clone(), Some(bound.clone()));
                Some(Expected::Bound(portal, bound))
            }
            Part::Close(named, name) => {
                match named {
                    NamedObject::Statement => drop(self.statements.insert(name.clone(), None)),
                    NamedObject::Portal => drop(self.portals.insert(name.clone(), None)),
                }
                Some(Expected::Closed(named, name))
            }
            Part::Execute { .. } | Part::Describe(..) => None,
        })
    }
}

/// How the part of a batch that is sent on ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Sync,
    /// By a Sync in place of a Flush, of which the client gets no answer.
    Quiet,
    /// It does not end yet.
    Flush,
    /// It does not end, and was not flushed: it is longer than what is held.
    Full,
}

/// The plan of what is sent on of a batch.
#[derive(Default)]
struct Planned<'b> {
    /// The whole batch, and below the index of the current message.
    batch: &'b [KeptMessage],
    at: usize,
    /// The meaning of names before it.
    before: NamesBefore,
    messages: Vec<(Bytes, Option<Expected>)>,
    /// The units that it executes.
    units: Vec<Rc<Unit>>,
    /// Whether it prepares or binds something.
    binds: bool,
    /// Whether it may change settings in ways that its texts do not show.
    sets: bool,
    /// Portals that do more than read, and are not executed yet.
    unasked: Vec<Unasked>,
    /// The settings by which the server reads it, if these were asked for.
    meaning: Option<Meaning>,
    verdict: StatementVerdict,
}

/// A portal about which no person was asked.
struct Unasked {
    /// None if another one has its name by now: nothing executes it.
    portal: Option<Bytes>,
    /// The messages and units before it.
    messages: usize,
    units: usize,
}

impl Planned<'_> {
    /// Notes what is bound.
    fn bind(&mut self, portal: &Bytes, reads: bool) {
        for other in &mut self.unasked {
            other.portal.take_if(|name| name == portal);
        }
        if !reads {
            self.unasked.push(Unasked {
                portal: Some(portal.clone()),
                messages: self.messages.len(),
                units: self.units.len(),
            });
        }
    }

    /// Leaves out portals about which no person was asked, and what follows them: the server plans what is bound, and planning
    /// calls functions, which may write if the transaction may.
    fn leave_out_unasked(&mut self, terms: &TargetTerms) {
        let Some(first) = self.unasked.first() else {
            return;
        };
        self.messages.truncate(first.messages);
        self.units.truncate(first.units);
        if !matches!(self.verdict, StatementVerdict::Refused(_)) {
            let why =
                "it binds what does not only read and does not execute it, where it may write";
            let fix = "Bind it in the batch that executes it.";
            self.verdict = StatementVerdict::Refused(Refusal::stopped(terms, why, fix));
        }
    }
}

fn does_something(head: MessageHead) -> bool {
    matches!(head.tag, b'B' | b'E')
}
