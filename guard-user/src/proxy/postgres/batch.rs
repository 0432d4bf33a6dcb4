//! Batches: what a client prepares, binds and executes before it wants to hear how that went (the extended query protocol).

use std::{io, rc::Rc};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{
    super::wire::Terms,
    asking::digest,
    client::{Client, Verdict, empty, strictest, too_long, unknown},
    frame::{Head, MAX_READ, invalid},
    ledger::{Bound, Expected, Named},
    lock::Lock,
    parts::Part,
    refusal::{Refusal, failing_parse, message},
    unit::Unit,
};

/// Bytes of a batch that are kept until its end.
const MAX_BATCH: usize = MAX_READ;
/// Messages that are kept until then.
const MAX_PARTS: usize = 1024;
impl<R, W> Client<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// A part of a batch.
    pub(super) async fn part(&mut self, head: Head) -> io::Result<()> {
        if matches!(head.tag, b'S' | b'H') {
            empty(head)?;
        }
        let message = match head.body > MAX_READ {
            // What it was for is refused when its turn comes.
            true => {
                self.from.skip(head).await?;
                Bytes::new()
            }
            false => self.from.message(head).await?,
        };
        self.size += message.len();
        let is_full = self.size > MAX_BATCH || self.batch.len() >= MAX_PARTS;
        self.batch.push((head, message));
        match matches!(head.tag, b'S' | b'H') || is_full {
            true => self.run().await,
            false => Ok(()),
        }
    }

    /// Judges the batch so far, and passes it on.
    pub(super) async fn run(&mut self) -> io::Result<()> {
        let terms = self.terms().await?;
        if !self.shared.ledger.borrow().is_idle() && self.is_ambiguous()? {
            // What a person is shown is to be what is done.
            self.shared.idle().await;
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.size = 0;
        let last = batch.pop_if(|(head, _)| matches!(head.tag, b'S' | b'H'));
        let end = match last.map(|(head, _)| head.tag) {
            Some(b'S') => End::Sync,
            // Whoever only prepares is not to keep a transaction open by it.
            Some(_) if !self.is_open && !batch.iter().any(does_something) => End::Quiet,
            Some(_) => End::Flush,
            None => End::Full,
        };
        let mut planned = Planned::default();
        for (head, message) in &batch {
            if let Some(refused) = self.plan(&terms, *head, message, end, &mut planned).await? {
                planned.verdict = Verdict::Refused(refused);
                break;
            }
        }
        let together = Unit::all(&planned.units);
        let is_allowed = matches!(planned.verdict, Verdict::Allowed);
        let may_write = is_allowed || self.lock == Lock::Off || self.may_write();
        let was_refused = matches!(planned.verdict, Verdict::Refused(_));
        if may_write && !was_refused && together.ends_and_goes_on() {
            let why = "a batch that ends a transaction that may write, and goes on";
            let fix = "Send what follows by itself.";
            planned.verdict = Verdict::Refused(Refusal::stopped(&terms, why, fix));
        }
        planned.verdict = self.readied(&terms, planned.verdict, &together).await?;
        if matches!(planned.verdict, Verdict::Refused(_)) && !was_refused {
            // Of such a one nothing is done.
            planned.messages.clear();
            planned.units.clear();
        }
        // What may write ends at once: many a driver sends a Sync behind this, and what else it sends is to be judged then.
        let may_write = self.lock == Lock::Off || self.may_write();
        let end = match end {
            End::Flush if may_write && !self.is_open => End::Quiet,
            End::Full if may_write => {
                return Err(invalid(
                    "a batch that may write is longer than what is kept",
                ));
            }
            end => end,
        };
        self.send(planned, end).await
    }

    /// Whether a name in the batch may stand for one thing or another, as long as the server has not answered.
    fn is_ambiguous(&self) -> io::Result<bool> {
        let ledger = self.shared.ledger.borrow();
        for (head, message) in &self.batch {
            if message.is_empty() || !does_something(&(*head, Bytes::new())) {
                continue;
            }
            let many = match Part::of(head.tag, message)? {
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

    /// Plans one of its messages. Why it is refused, if it is.
    async fn plan(
        &mut self,
        terms: &Rc<Terms>,
        head: Head,
        message: &Bytes,
        end: End,
        planned: &mut Planned,
    ) -> io::Result<Option<Refusal>> {
        if message.is_empty() {
            return Ok(Some(too_long(terms)));
        }
        let part = Part::of(head.tag, message)?;
        if matches!(head.tag, b'P' | b'B') && self.has_no_room(planned) {
            let why = "too many names are in use at once";
            return Ok(Some(Refusal::stopped(terms, why, "Close some.")));
        }
        if let Part::Execute { portal } = &part {
            let bound = self.bound(portal);
            if let Some(why) = self.forbidden(&bound.unit, true) {
                return Ok(Some(self.never(terms, why)));
            }
            if let Some(asked) = self.needs(&bound.unit) {
                if self.is_open || end == End::Full {
                    let why =
                        "it would change something in a batch that has begun to do other things";
                    let fix = "Send it in a batch of its own.";
                    return Ok(Some(Refusal::stopped(terms, why, fix)));
                }
                let digest = digest(&self.login, &[&asked.sum, &bound.values]);
                match self
                    .decide(terms, &asked, &bound.parameters, &digest)
                    .await?
                {
                    Verdict::Refused(refusal) => return Ok(Some(refusal)),
                    allowed => planned.verdict = allowed,
                }
            }
            planned.units.push(bound.unit);
        }
        planned.binds |= matches!(head.tag, b'P' | b'B');
        let expected = self.expected(terms, part);
        planned.messages.push((message.clone(), expected));
        Ok(None)
    }

    /// Whether no more names can be given.
    fn has_no_room(&self, planned: &Planned) -> bool {
        let own = self.statements.len() + self.portals.len() + planned.messages.len();
        own >= MAX_PARTS * 2 || self.shared.ledger.borrow().is_full()
    }

    async fn send(&mut self, planned: Planned, end: End) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        {
            let mut ledger = self.shared.ledger.borrow_mut();
            for (message, expected) in planned.messages {
                bytes.extend_from_slice(&message);
                if let Some(expected) = expected {
                    ledger.expect(expected);
                }
            }
            if let Verdict::Refused(refusal) = planned.verdict {
                bytes.extend_from_slice(&failing_parse());
                ledger.expect(Expected::Refused(refusal));
            }
            // Without one the server keeps its answers to itself until the client ends the batch, and all wait for each other.
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

    /// What the server is to answer to a part, which is noted.
    fn expected(&mut self, terms: &Terms, part: Part) -> Option<Expected> {
        match part {
            Part::Parse { name, text, types } => {
                let unit = self.judged(terms, &text).typed(&types);
                self.statements.insert(name.clone(), Some(Rc::clone(&unit)));
                Some(Expected::Parsed(name, unit))
            }
            Part::Bind {
                portal,
                statement,
                parameters,
                values,
            } => {
                let bound = Bound {
                    unit: self.prepared(&statement),
                    parameters: parameters.into(),
                    // A part of a message keeps the whole of it.
                    values: Bytes::copy_from_slice(&values),
                };
                self.portals.insert(portal.clone(), Some(bound.clone()));
                Some(Expected::Bound(portal, bound))
            }
            Part::Close(named, name) => {
                match named {
                    Named::Statement => drop(self.statements.insert(name.clone(), None)),
                    Named::Portal => drop(self.portals.insert(name.clone(), None)),
                }
                Some(Expected::Closed(named, name))
            }
            Part::Execute { .. } | Part::Describe => None,
        }
    }

    /// What a prepared statement's name stands for; of several the strictest.
    fn prepared(&self, name: &Bytes) -> Rc<Unit> {
        match self.statements.get(name) {
            Some(Some(unit)) => Rc::clone(unit),
            Some(None) => unknown(name),
            None => strictest(&self.shared.ledger.borrow().statements(name), name),
        }
    }

    /// The same of a portal's.
    fn bound(&self, name: &Bytes) -> Bound {
        let known = match self.portals.get(name) {
            Some(bound) => bound.clone(),
            None => {
                let all = self.shared.ledger.borrow().portals(name);
                let write = all.iter().find(|bound| !bound.unit.reads());
                write.or(all.first()).cloned()
            }
        };
        known.unwrap_or_else(|| Bound {
            unit: unknown(name),
            parameters: "".into(),
            values: Bytes::new(),
        })
    }

    /// All that a statement's name may stand for, in this batch and before.
    pub(super) fn statements_called(&self, name: &str) -> Vec<Rc<Unit>> {
        let name = Bytes::copy_from_slice(name.as_bytes());
        let mut all = self.shared.ledger.borrow().statements(&name);
        all.extend(self.statements.get(&name).cloned().flatten());
        all
    }

    /// The same of a portal's.
    pub(super) fn portals_called(&self, name: &str) -> Vec<Rc<Unit>> {
        let name = Bytes::copy_from_slice(name.as_bytes());
        let mut all = self.shared.ledger.borrow().portals(&name);
        all.extend(self.portals.get(&name).cloned().flatten());
        all.into_iter().map(|bound| bound.unit).collect()
    }
}

/// How the part of a batch ends that is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Sync,
    /// In a Sync of which the client hears nothing, in the place of a Flush.
    Quiet,
    /// Not yet.
    Flush,
    /// Nor has it been flushed: it is longer than what is kept.
    Full,
}

/// What is to be passed on of a batch.
#[derive(Default)]
struct Planned {
    messages: Vec<(Bytes, Option<Expected>)>,
    /// What it executes.
    units: Vec<Rc<Unit>>,
    /// It prepares or binds something.
    binds: bool,
    verdict: Verdict,
}

fn does_something((head, _): &(Head, Bytes)) -> bool {
    matches!(head.tag, b'B' | b'E')
}
