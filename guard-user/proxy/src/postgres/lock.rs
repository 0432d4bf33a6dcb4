//! The second lock: the server begins all transactions as read-only, except for what a person has allowed.

use std::{io, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::oneshot,
};

use super::{
    super::wire::TargetTerms,
    client::{PostgresClient, StatementVerdict},
    frame::invalid,
    ledger::{Expected, OwnReply},
    refusal::{OWN, OwnQuery, Refusal, batch, query},
    unit::Unit,
};

const LOCK: &str = "SET SESSION default_transaction_read_only = on";
const UNLOCK: &str = "SET SESSION default_transaction_read_only = off";
/// The setting to which RESET goes back.
const GIVEN: &str =
    "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only'";
const UNLOCK_THIS: &str = "SET TRANSACTION READ WRITE";
const LOCK_THIS: &str = "SET TRANSACTION READ ONLY";
/// Another client may hold what is asked about.
const IMPATIENT: &str = "SET LOCAL lock_timeout = '300ms'";
/// Timeout of a question outside of transactions.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether transactions that the client begins may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    On,
    Off,
}

impl<R, W> PostgresClient<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// Has the server hold the client to reading, except for what a person has allowed.
    pub(super) async fn readied(
        &mut self,
        verdict: StatementVerdict,
        unit: &Unit,
    ) -> io::Result<StatementVerdict> {
        let mut terms = self.terms().await?;
        if self.is_open || self.lock == Lock::On && !self.is_allowed(&terms, &verdict, unit) {
            return Ok(verdict);
        }
        self.idle().await?;
        terms = self.terms().await?;
        let is_allowed = self.is_allowed(&terms, &verdict, unit);
        let (status, skips) = {
            let ledger = self.shared.ledger.borrow();
            (ledger.status, ledger.skips())
        };
        if skips {
            return Ok(verdict);
        }
        let done = match status {
            b'I' => self.set_lock(is_allowed).await?,
            _ => self.set_transaction(is_allowed, status).await?,
        };
        Ok(match done {
            Ok(()) => verdict,
            Err(why) => {
                let fix = "Roll back, and do the whole transaction again.";
                StatementVerdict::Refused(Refusal::stopped(&terms, &why, fix))
            }
        })
    }

    /// Whether it may write: a person has allowed it, or it begins an allowed transaction.
    fn is_allowed(&self, terms: &TargetTerms, verdict: &StatementVerdict, unit: &Unit) -> bool {
        let all_may = terms.writes || terms.is_open();
        matches!(verdict, StatementVerdict::Allowed) || (unit.begins() && all_may)
    }

    /// Servers before 14 do not report the start-up packet's settings, and a pooler may have dropped them.
    pub(super) async fn make_sure(&mut self) -> io::Result<()> {
        self.idle().await?;
        if !self.shared.ledger.borrow().is_locked {
            let told = self.asked(&[GIVEN.into()]).await?;
            let given = self.told(told).await?.ok();
            self.is_dropped = given.is_none_or(|given| given[..] != ["on"]);
            let done = self.own(LOCK).await?;
            done.map_err(|_| invalid("the server cannot be held to reading"))?;
        }
        self.look_elsewhere().await?;
        self.is_sure = true;
        Ok(())
    }

    /// Has the transactions that begin now write, or read.
    async fn set_lock(&mut self, may_write: bool) -> io::Result<Result<(), String>> {
        let (lock, text) = if may_write {
            (Lock::Off, UNLOCK)
        } else {
            (Lock::On, LOCK)
        };
        if self.lock == lock {
            return Ok(Ok(()));
        }
        let done = self.own(text).await?;
        if self.shared.ledger.borrow().status != b'I' {
            // It would be undone with a transaction that the guard does not know of.
            return Err(invalid("the server is not as idle as it has said"));
        }
        match (&done, lock) {
            (Ok(()), _) => self.lock = lock,
            // It may have taken effect all the same: then it is undone first.
            (Err(_), Lock::Off) => self.lock = Lock::Off,
            // The client could go on writing.
            (Err(_), Lock::On) => return Err(invalid("the server cannot be held to reading")),
        }
        Ok(done)
    }

    /// Has this transaction write, if that is still possible.
    async fn set_transaction(
        &mut self,
        may_write: bool,
        status: u8,
    ) -> io::Result<Result<(), String>> {
        if self.lock == Lock::Off {
            self.let_write();
        }
        if !may_write || self.may_write() {
            return Ok(Ok(()));
        }
        if !self.is_fresh || status != b'T' {
            return Ok(Err(
                "its transaction has begun as one that only reads".to_owned()
            ));
        }
        let done = self.own(UNLOCK_THIS).await?;
        if done.is_ok() {
            self.let_write();
        }
        Ok(done)
    }

    /// Notes that the current transaction may write.
    fn let_write(&mut self) {
        self.writes_in = Some(self.shared.ledger.borrow().transactions);
    }

    /// Whether the current transaction may write.
    pub(super) fn may_write(&self) -> bool {
        let ledger = self.shared.ledger.borrow();
        ledger.status != b'I' && self.writes_in == Some(ledger.transactions)
    }

    /// Has the server do something that the client does not see. Returns its error, if it fails.
    async fn own(&mut self, text: &str) -> io::Result<Result<(), String>> {
        let told = self.asked(&[text.into()]).await?;
        Ok(self.told(told).await?.map(drop))
    }

    /// Asks the server for something that must not change anything, in whatever transaction the client is. Returns the first
    /// columns of all rows; none if the server cannot tell.
    pub(super) async fn peeked(&mut self, question: OwnQuery) -> io::Result<Option<Vec<Bytes>>> {
        let (status, can_tell) = {
            let ledger = self.shared.ledger.borrow();
            let can_tell = ledger.is_idle() && !ledger.skips() && !ledger.replicates;
            (ledger.status, can_tell)
        };
        match status {
            _ if !can_tell => Ok(None),
            b'I' => {
                if self.set_lock(false).await?.is_err() {
                    return Ok(None);
                }
                let told = self.asked(&[question]).await?;
                let told = tokio::time::timeout(PATIENCE, told).await;
                Ok(told.ok().and_then(Result::ok).and_then(Result::ok))
            }
            b'T' => self.peeked_within(question).await,
            _ => Ok(None),
        }
    }

    /// The same within a transaction, which stays as it was: a savepoint takes back whatever it does to it. Only after a
    /// question can it not be made to write any more, so that comes before. What a person refuses in it ends it.
    async fn peeked_within(&mut self, question: OwnQuery) -> io::Result<Option<Vec<Bytes>>> {
        if self.is_fresh && !self.may_write() {
            if self.own(UNLOCK_THIS).await?.is_err() {
                return Ok(None);
            }
            self.let_write();
        }
        let savepoint = format!("SAVEPOINT \"{OWN}\"");
        let before = [&*savepoint, LOCK_THIS, IMPATIENT].map(OwnQuery::from);
        let told = self.asked(&[&before[..], &[question]].concat()).await?;
        let told = self.told(told).await?;
        let back = format!("ROLLBACK TO {savepoint}");
        let release = format!("RELEASE {savepoint}");
        let told_back = self
            .asked(&[back.as_str().into(), release.as_str().into()])
            .await?;
        match self.told(told_back).await? {
            Ok(_) => Ok(told.ok()),
            Err(_) => Err(invalid("the server does not go back to a savepoint")),
        }
    }

    /// The same for several statements; the receiver gets the first columns of all rows.
    pub(super) async fn asked(
        &mut self,
        questions: &[OwnQuery],
    ) -> io::Result<oneshot::Receiver<OwnReply>> {
        let (tell, told) = oneshot::channel();
        let replicates = {
            let mut ledger = self.shared.ledger.borrow_mut();
            ledger.expect(Expected::Own(tell));
            ledger.replicates
        };
        let message = if replicates {
            // Such a connection has no others.
            query(
                &questions
                    .iter()
                    .map(|one| &*one.text)
                    .collect::<Vec<_>>()
                    .join("; "),
            )
        } else {
            batch(questions)
        };
        self.to.write_all(&message).await?;
        self.to.flush().await?;
        Ok(told)
    }
}
