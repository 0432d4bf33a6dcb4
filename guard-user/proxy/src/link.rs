//! The proxy's end of its connection to guardd (`guard_proto::wire`): requests for terms and answers, and a cache of terms.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, hash_map::Entry as MapEntry},
    io,
    rc::Rc,
    time::Duration,
};

use guard_sys::{
    clock,
    packets::{MAX_MESSAGE, Packets},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_local,
    time::{Instant, sleep, timeout},
};

use super::{
    judge::Rules,
    name_cache::{NameCache, NameRefusal, NameTerms, RefusedBy, Shown},
    terms_cache::{KnownTerms, TargetsTooFast, TermsCache},
    wire::{
        AskAnswer, Entry, HttpAttempt, NetworkId, Number, RedirectTarget, TargetTerms, ToDaemon,
    },
};

/// Why a connection is closed whose session has connected to targets too fast.
const TOO_MANY_TARGETS: &str =
    "its session has connected to more destinations lately than guardd judges";

/// How long guardd has, when a hole has ended, to say what holds since: it may write to a slow disk just then. And how long a connection waits
/// that is there, where guardd judges no more targets of its session.
const OVERDUE: Duration = Duration::from_secs(3);
/// How often it is looked whether a hole has ended.
const STEP: Duration = Duration::from_secs(1);

/// How long it is until that boot time.
fn left(end: u64) -> Duration {
    Duration::from_nanos(end.saturating_sub(clock::now().0))
}

/// A message to guardd that waits for its answer.
#[derive(Debug)]
enum Waiting {
    Terms {
        target: RedirectTarget,
        epoch: u64,
        /// It was judged before, as guardd was told.
        again: bool,
        /// Connections that want them at once have one answer.
        tell: Vec<oneshot::Sender<ToldTerms>>,
    },
    Answer {
        tell: oneshot::Sender<AskAnswer>,
    },
    Reached {
        tell: oneshot::Sender<bool>,
    },
    Name {
        shown: Shown,
        account: u32,
        epoch: u64,
        /// It was judged before, as guardd was told.
        again: bool,
        /// Clients that show it at once have one answer.
        tell: Vec<oneshot::Sender<NameTerms>>,
    },
}

/// guardd's answer about a target.
type ToldTerms = Result<KnownTerms, TargetsTooFast>;

/// Bytes of the longest name of a host. What is longer is none.
const LONGEST_NAME: usize = 255;

/// Records of refusals of one session that wait to be sent at most: a client may be refused faster than guardd writes, and guardd
/// writes fewer of a session.
const MAX_RECORDS: usize = 128;

/// The same of all sessions: beyond it each has one.
const MAX_UNSENT: usize = 1024;

/// The time after which guardd hears of reads.
const READS_EVERY: Duration = Duration::from_secs(1);

/// The records of a session that are not sent.
#[derive(Clone, Copy, Debug, Default)]
struct Backlog {
    waiting: usize,
    /// How many were left out since the first of them.
    left_out: u64,
}

/// The connection to guardd: messages to send, those that wait for an answer, and the cache of terms.
#[derive(Debug)]
pub(super) struct GuarddLink {
    next: Cell<u64>,
    /// Raised with each change that guardd reports: terms that were asked for under an earlier one are not cached.
    epoch: watch::Sender<u64>,
    waiting: RefCell<HashMap<Number, Waiting>>,
    targets: RefCell<TermsCache>,
    /// The last message about each target that waits for its answer.
    asked_targets: RefCell<HashMap<RedirectTarget, Number>>,
    /// What is said of names.
    names: RefCell<NameCache>,
    /// The last message about each name that waits for its answer.
    asked_names: RefCell<HashMap<Shown, Number>>,
    outgoing: mpsc::UnboundedSender<ToDaemon>,
    /// Records of the audit log that are not sent yet: how many, and by session.
    unsent_records: Cell<usize>,
    records: RefCell<HashMap<u32, Backlog>>,
    unsent: RefCell<Option<mpsc::UnboundedReceiver<ToDaemon>>>,
    /// Requests and statements that read, of which guardd has not heard.
    reads: RefCell<HashMap<RedirectTarget, u64>>,
}

impl GuarddLink {
    /// A link without messages yet.
    #[must_use]
    pub(super) fn new() -> Self {
        let (outgoing, unsent) = mpsc::unbounded_channel();
        Self {
            next: Cell::new(1),
            epoch: watch::Sender::new(0),
            waiting: RefCell::default(),
            targets: RefCell::default(),
            asked_targets: RefCell::default(),
            names: RefCell::default(),
            asked_names: RefCell::default(),
            outgoing,
            unsent_records: Cell::new(0),
            records: RefCell::default(),
            unsent: RefCell::new(Some(unsent)),
            reads: RefCell::default(),
        }
    }

    /// The messages to send, in their order, for [`send_all`].
    pub(super) fn take_unsent(&self) -> mpsc::UnboundedReceiver<ToDaemon> {
        let unsent = self.unsent.borrow_mut().take();
        // Taken already: nothing is left to send.
        unsent.unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    fn number(&self) -> Number {
        let number = self.next.get();
        self.next.set(number + 1);
        Number(number)
    }

    fn say(&self, what: ToDaemon) {
        // Without a receiver, the process is about to end.
        let _ = self.outgoing.send(what);
    }

    /// The terms of a target, from the cache or from guardd. `None`: nothing passes there. A connection that is there waits a while where its
    /// session has connected to targets too fast, and is not closed for what it cannot help.
    pub(super) async fn terms(&self, target: RedirectTarget) -> KnownTerms {
        let last = Instant::now() + OVERDUE;
        loop {
            match self.terms_now(target).await {
                Ok(terms) => return terms,
                Err(TargetsTooFast { until }) if Instant::now() < last => {
                    // Boxed, as it is rare.
                    Box::pin(sleep(left(until))).await;
                }
                Err(_) => {
                    self.log_too_many(target);
                    return None;
                }
            }
        }
    }

    /// The same without such a wait.
    pub(super) async fn terms_now(&self, target: RedirectTarget) -> ToldTerms {
        if let Some(known) = self.known(target) {
            return Ok(known);
        }
        let told = self.ask_terms(target)?;
        // Without an answer guardd has ended.
        told.await.unwrap_or(Ok(None))
    }

    /// Whether the wanted listener is the one that listens at a loopback address, once a connection there stands: another may have taken
    /// the port. True elsewhere.
    pub(super) async fn has_reached(&self, target: RedirectTarget) -> bool {
        if target.listener == 0 {
            return true;
        }
        let (tell, told) = oneshot::channel();
        let number = self.number();
        self.waiting
            .borrow_mut()
            .insert(number, Waiting::Reached { tell });
        self.say(ToDaemon::Reached { number, target });
        told.await.unwrap_or(false)
    }

    /// guardd's answer about a listener.
    pub(super) fn reached(&self, number: Number, is_it: bool) {
        let waiting = self.waiting.borrow_mut().remove(&number);
        if let Some(Waiting::Reached { tell }) = waiting {
            // It may be gone.
            let _ = tell.send(is_it);
        }
    }

    /// What is cached of a target and still holds.
    fn known(&self, target: RedirectTarget) -> Option<KnownTerms> {
        self.targets.borrow().get(target, clock::now().0)
    }

    /// Asks guardd, unless somebody has who waits for its answer.
    fn ask_terms(
        &self,
        target: RedirectTarget,
    ) -> Result<oneshot::Receiver<ToldTerms>, TargetsTooFast> {
        let (tell, told) = oneshot::channel();
        let Some(tell) = self.join_asked(target, tell) else {
            return Ok(told);
        };
        let again = self.targets.borrow().was_judged(target);
        let now = clock::now().0;
        if let Some(too_fast) = self.targets.borrow().paused(target.session, again, now) {
            return Err(too_fast);
        }
        let number = self.number();
        let epoch = *self.epoch.borrow();
        let waiting = Waiting::Terms {
            target,
            epoch,
            again,
            tell: vec![tell],
        };
        self.waiting.borrow_mut().insert(number, waiting);
        self.asked_targets.borrow_mut().insert(target, number);
        self.say(ToDaemon::Terms {
            number,
            target,
            again,
        });
        Ok(told)
    }

    /// Adds one to those that wait for an answer already, about the same target under what holds now. Where nobody does, it is given back.
    fn join_asked(
        &self,
        target: RedirectTarget,
        tell: oneshot::Sender<ToldTerms>,
    ) -> Option<oneshot::Sender<ToldTerms>> {
        let asked = self.asked_targets.borrow().get(&target).copied();
        let mut all = self.waiting.borrow_mut();
        let same = asked.and_then(|number| all.get_mut(&number));
        match same {
            Some(Waiting::Terms {
                epoch,
                tell: others,
                ..
            }) if *epoch == *self.epoch.borrow() => {
                others.push(tell);
                None
            }
            _ => Some(tell),
        }
    }

    /// guardd's answer with the terms of a target. `until`: it judges no other new one of the session before, or no other again where it was
    /// asked so. Nothing of that is cached of the target.
    pub(super) fn told(&self, number: Number, terms: Option<TargetTerms>, until: Option<u64>) {
        let Some(Waiting::Terms {
            target,
            epoch,
            again,
            tell,
        }) = self.take_told(number)
        else {
            return;
        };
        let answer = match until {
            Some(until) => Err(self.pause(target, again, until)),
            None => {
                let terms = terms.map(Rc::new);
                self.keep(target, terms.clone(), epoch);
                Ok(terms)
            }
        };
        for waiter in tell {
            // It may be gone.
            let _ = waiter.send(answer.clone());
        }
    }

    /// Takes out those that wait for an answer about a target.
    fn take_told(&self, number: Number) -> Option<Waiting> {
        let waiting = self.waiting.borrow_mut().remove(&number)?;
        if let Waiting::Terms { target, .. } = &waiting {
            let mut asked = self.asked_targets.borrow_mut();
            if asked.get(target) == Some(&number) {
                asked.remove(target);
            }
        }
        Some(waiting)
    }

    /// Caches an answer that was asked for in that epoch. What a change has overtaken says only that the target was judged.
    fn keep(&self, target: RedirectTarget, terms: KnownTerms, epoch: u64) {
        let mut targets = self.targets.borrow_mut();
        let now = clock::now().0;
        if epoch == *self.epoch.borrow() {
            targets.keep(target, terms, now);
        } else if let Some(terms) = terms {
            targets.keep_void(target, terms.account, now);
        }
    }

    /// Has guardd asked about no more targets of the session for a while. Of new ones the first that is closed has a record: guardd is to hear
    /// of no others.
    fn pause(&self, target: RedirectTarget, again: bool, until: u64) -> TargetsTooFast {
        let mut targets = self.targets.borrow_mut();
        let now = clock::now().0;
        let is_paused = targets.paused(target.session, again, now).is_some();
        let too_fast = targets.pause(target.session, again, until, now);
        drop(targets);
        if !is_paused && !again {
            self.log_too_many(target);
        }
        too_fast
    }

    /// Records that a connection is closed, as its session has connected to targets too fast.
    fn log_too_many(&self, target: RedirectTarget) {
        let entry = Entry {
            no_rule: true,
            ..Entry::refused(TOO_MANY_TARGETS)
        };
        self.log(target, entry);
    }

    /// Why a client may not show a name at a target; `None` if it may. As [`Self::name_terms`].
    pub(super) async fn refuses_name(
        &self,
        target: RedirectTarget,
        account: u32,
        name: &str,
    ) -> Option<NameRefusal> {
        self.name_terms(target, account, name).await.refusal
    }

    /// What holds for a name that a client shows at a target, from the cache or from guardd; `account`: the target's terms have it. An empty
    /// name is none.
    pub(super) async fn name_terms(
        &self,
        target: RedirectTarget,
        account: u32,
        name: &str,
    ) -> NameTerms {
        let name = if name.len() > LONGEST_NAME { "" } else { name };
        let shown: Shown = (target, name.to_ascii_lowercase().into());
        if let Some(known) = self.known_name(account, &shown) {
            return known;
        }
        let told = match self.asked_name(&shown) {
            Some(told) => told,
            None => self.ask_name(account, shown),
        };
        told.await.unwrap_or_else(|_| {
            NameTerms::refused(NameRefusal {
                why: "guardd has ended".into(),
                by: RefusedBy::Policies,
            })
        })
    }

    /// What is cached of a name; or that guardd is not asked now about new ones of the session, or about those that were judged before.
    fn known_name(&self, account: u32, shown: &Shown) -> Option<NameTerms> {
        let names = self.names.borrow();
        if let Some(known) = names.get(account, shown) {
            return Some(known);
        }
        let again = names.was_judged(account, shown);
        let paused = names.paused(shown.0.session, again, clock::now().0);
        paused.map(NameTerms::refused)
    }

    /// The answer that others wait for already, about the same name under what holds now.
    fn asked_name(&self, shown: &Shown) -> Option<oneshot::Receiver<NameTerms>> {
        let number = *self.asked_names.borrow().get(shown)?;
        let mut all = self.waiting.borrow_mut();
        let Some(Waiting::Name {
            epoch: asked_at,
            tell: others,
            ..
        }) = all.get_mut(&number)
        else {
            return None;
        };
        if *asked_at != *self.epoch.borrow() {
            return None;
        }
        let (tell, told) = oneshot::channel();
        others.push(tell);
        Some(told)
    }

    fn ask_name(&self, account: u32, shown: Shown) -> oneshot::Receiver<NameTerms> {
        let (tell, told) = oneshot::channel();
        let number = self.number();
        let (target, name) = (shown.0, shown.1.to_string());
        let again = self.names.borrow().was_judged(account, &shown);
        self.asked_names.borrow_mut().insert(shown.clone(), number);
        let epoch = *self.epoch.borrow();
        let waiting = Waiting::Name {
            shown,
            account,
            epoch,
            again,
            tell: vec![tell],
        };
        self.waiting.borrow_mut().insert(number, waiting);
        self.say(ToDaemon::Name {
            number,
            target,
            name,
            again,
        });
        told
    }

    /// Takes out those that wait for an answer about a name.
    fn take_named(&self, number: Number) -> Option<Waiting> {
        let waiting = self.waiting.borrow_mut().remove(&number)?;
        if let Waiting::Name { shown, .. } = &waiting {
            let mut asked = self.asked_names.borrow_mut();
            if asked.get(shown) == Some(&number) {
                asked.remove(shown);
            }
        }
        Some(waiting)
    }

    /// guardd's answer about a name. `until`: it judges no other new one of the session before, or no other again where it was asked so.
    /// Nothing of that is cached: what was judged before stays so, and is asked about once that time is over.
    pub(super) fn named(
        &self,
        number: Number,
        why: Option<String>,
        rules: Vec<Rules>,
        until: Option<u64>,
    ) {
        let Some(Waiting::Name {
            shown,
            account,
            epoch,
            again,
            tell,
        }) = self.take_named(number)
        else {
            return;
        };
        let mut names = self.names.borrow_mut();
        let (session, now) = (shown.0.session, clock::now().0);
        let mut terms = match (why, until) {
            // An earlier message may have had an answer meanwhile.
            (Some(why), Some(until)) => match names.get(account, &shown) {
                Some(known) => known,
                None => NameTerms::refused(names.pause(session, again, until, why.into(), now)),
            },
            (why, _) => {
                let refusal = why.map(|why| NameRefusal {
                    why: why.into(),
                    by: RefusedBy::Policies,
                });
                let rules = names.shared(account, rules);
                let terms = NameTerms { refusal, rules };
                if epoch == *self.epoch.borrow() {
                    names.keep(account, shown, terms.clone(), now);
                } else {
                    names.keep_void(account, shown, now);
                }
                terms
            }
        };
        drop(names);
        for waiter in tell {
            // It may be gone: then the next one has the record.
            if waiter.send(terms.clone()).is_ok() {
                terms = terms.for_another();
            }
        }
    }

    /// Counts a request or a statement that reads. guardd hears the number within a second.
    pub(super) fn count_read(self: &Rc<Self>, target: RedirectTarget) {
        let mut reads = self.reads.borrow_mut();
        let is_first = reads.is_empty();
        *reads.entry(target).or_default() += 1;
        if is_first {
            let link = Rc::clone(self);
            spawn_local(async move {
                sleep(READS_EVERY).await;
                for (target, count) in link.reads.take() {
                    link.say(ToDaemon::Reads { target, count });
                }
            });
        }
    }

    /// Counts a refused name that gets no record: guardd hears the number once it judges names of the session again.
    pub(super) fn leave_out(self: &Rc<Self>, session: u32) {
        let Some(until) = self.names.borrow_mut().leave_out(session) else {
            return;
        };
        let link = Rc::clone(self);
        spawn_local(async move {
            sleep(left(until)).await;
            let count = link.names.borrow_mut().take_left_out(session);
            link.say(ToDaemon::LeftOut { session, count });
        });
    }

    /// Clears the cache: policies, sessions or holes have changed.
    pub(super) fn renew(&self) {
        let now = clock::now().0;
        self.targets.borrow_mut().clear(now);
        self.names.borrow_mut().clear(now);
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Waits until not everything passes at a target any more. Where a hole has ended and guardd does not say what holds since, nothing
    /// does.
    pub(super) async fn closes(&self, target: RedirectTarget) {
        let mut epoch = self.epoch.subscribe();
        // Whoever waits here has just gone by terms: by which, guardd may have to be asked.
        let mut end = Some(clock::now().0);
        loop {
            epoch.borrow_and_update();
            let patience = end.map_or(Duration::MAX, |end| left(end) + OVERDUE);
            let Ok(Some(terms)) = timeout(patience, self.terms(target)).await else {
                return;
            };
            if !terms.is_open() {
                return;
            }
            end = terms.until;
            // The sender is this link's own.
            match end {
                None => drop(epoch.changed().await),
                Some(end) => {
                    // In short steps: boot time goes on while a machine sleeps, and timers do not.
                    let is_over = || left(end).is_zero();
                    while !is_over() && timeout(left(end).min(STEP), epoch.changed()).await.is_err()
                    {
                    }
                }
            }
        }
    }

    /// Asks guardd whether a request may pass.
    pub(super) fn ask(self: &Rc<Self>, target: RedirectTarget, request: HttpAttempt) -> PendingAsk {
        let (tell, told) = oneshot::channel();
        let number = self.number();
        let waiting = Waiting::Answer { tell };
        self.waiting.borrow_mut().insert(number, waiting);
        self.say(ToDaemon::Ask {
            number,
            target,
            request,
        });
        PendingAsk {
            link: Rc::clone(self),
            number,
            told,
        }
    }

    /// guardd's answer to a request.
    pub(super) fn answered(&self, number: Number, answer: AskAnswer) {
        if let Some(Waiting::Answer { tell }) = self.waiting.borrow_mut().remove(&number) {
            // The waiter may be gone.
            let _ = tell.send(answer);
        }
    }

    /// Sends an entry for the audit log. Of refusals guardd keeps no more than a few a second: where more wait, they are left out.
    pub(super) fn log(&self, target: RedirectTarget, entry: Entry) {
        let mut records = self.records.borrow_mut();
        let backlog = records.entry(target.session).or_default();
        let is_full = backlog.waiting >= MAX_RECORDS || self.unsent_records.get() >= MAX_UNSENT;
        if entry.outcome == "refused" && is_full && backlog.waiting > 0 {
            backlog.left_out += 1;
            return;
        }
        backlog.waiting += 1;
        self.unsent_records.set(self.unsent_records.get() + 1);
        self.say(ToDaemon::Log { target, entry });
    }

    /// A session's record is sent; behind its last one guardd hears how many were left out.
    fn is_sent(&self, session: u32) {
        self.unsent_records.set(self.unsent_records.get() - 1);
        let mut records = self.records.borrow_mut();
        let MapEntry::Occupied(mut known) = records.entry(session) else {
            return;
        };
        known.get_mut().waiting -= 1;
        if known.get().waiting == 0 {
            let Backlog {
                left_out: count, ..
            } = known.remove();
            if count > 0 {
                self.say(ToDaemon::LeftOut { session, count });
            }
        }
    }

    /// Gives guardd the certificate that it has asked for.
    pub(super) fn vouch(&self, number: Number, certificate: String) {
        self.say(ToDaemon::Vouched {
            number,
            certificate,
        });
    }

    /// Asks guardd for more sockets of each family in a network.
    pub(super) fn want_sockets(&self, network: NetworkId, ipv4: usize, ipv6: usize) {
        self.say(ToDaemon::Sockets {
            network,
            ipv4,
            ipv6,
        });
    }
}

/// A request at guardd, with a client that is held for the answer. If it is dropped, guardd learns that the client has gone.
#[derive(Debug)]
pub(super) struct PendingAsk {
    link: Rc<GuarddLink>,
    number: Number,
    told: oneshot::Receiver<AskAnswer>,
}

impl PendingAsk {
    /// Waits for the answer. It is no if guardd ends before.
    pub(super) async fn answer(mut self) -> AskAnswer {
        (&mut self.told).await.unwrap_or_else(|_| AskAnswer::No {
            request: None,
            why: "guardd has ended before anybody answered".to_owned(),
            fix: "try again when it is back".to_owned(),
        })
    }
}

impl Drop for PendingAsk {
    fn drop(&mut self) {
        let waited = self.link.waiting.borrow_mut().remove(&self.number);
        if waited.is_some() {
            let number = self.number;
            self.link.say(ToDaemon::Gone { number });
        }
    }
}

/// Sends the messages to guardd, in their order.
///
/// # Errors
///
/// The system's: guardd no longer reads.
pub(super) async fn send_all(link: Rc<GuarddLink>, packets: Rc<Packets>) -> io::Result<()> {
    let mut unsent = link.take_unsent();
    while let Some(said) = unsent.recv().await {
        if let ToDaemon::Log { target, .. } = &said {
            link.is_sent(target.session);
        }
        let text = serde_json::to_vec(&said)?;
        match (text.len() > MAX_MESSAGE, said) {
            (false, _) => packets.send(&text, &[]).await?,
            (true, ToDaemon::Ask { number, .. }) => link.answered(number, too_much()),
            (true, _) => tracing::warn!(bytes = text.len(), "too much to be told to guardd"),
        }
    }
    Ok(())
}

fn too_much() -> AskAnswer {
    AskAnswer::No {
        request: None,
        why: "it is more than what a person can be shown".to_owned(),
        fix: "send less of it in the URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::{
        super::wire::{Passing, Tgid, TransactionState},
        *,
    };

    fn target(port: u16) -> RedirectTarget {
        RedirectTarget {
            session: 1,
            address: [192, 0, 2, 1].into(),
            port,
            listener: 0,
        }
    }

    fn asked() -> HttpAttempt {
        HttpAttempt {
            tgid: Tgid::default(),
            method: "PUT".to_owned(),
            scheme: "http".to_owned(),
            host: None,
            path: "/".to_owned(),
            bytes: None,
            body_preview: None,
            digest: None,
            matter: None,
            rule: "photos".to_owned(),
            kind: "changes something".to_owned(),
            warnings: Vec::new(),
            body_form: None,
            headers: Vec::new(),
            plain: true,
            definition: false,
            transaction: TransactionState::Able,
        }
    }

    fn said(unsent: &mut mpsc::UnboundedReceiver<ToDaemon>) -> ToDaemon {
        unsent.try_recv().unwrap()
    }

    fn terms() -> TargetTerms {
        TargetTerms {
            passing: Passing::Everything,
            account: 1,
            writes: false,
            by_sni: false,
            names: false,
            until: None,
        }
    }

    #[tokio::test]
    async fn what_is_known_is_not_asked_again_until_it_changes() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        for _ in 0..2 {
            let tell = async {
                let ToDaemon::Terms { number, .. } = said(&mut unsent) else {
                    panic!("asked for something else");
                };
                link.told(number, Some(terms()), None);
            };
            let (got, ()) = tokio::join!(link.terms(target(1)), tell);
            assert!(got.is_some());
            assert!(link.terms(target(1)).await.is_some());
            assert!(unsent.try_recv().is_err(), "asked again");
            link.renew();
        }
    }

    #[tokio::test]
    async fn terms_end_with_their_hole_also_where_guardd_says_nothing() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        let end = clock::now().0 + 50_000_000;
        let until_then = || TargetTerms {
            until: Some(end),
            ..terms()
        };
        let tell = async {
            let ToDaemon::Terms { number, .. } = said(&mut unsent) else {
                panic!("asked for something else");
            };
            link.told(number, Some(until_then()), None);
        };
        // guardd answers once, and no more.
        let (closed, ()) = tokio::join!(timeout(OVERDUE * 10, link.closes(target(1))), tell);
        assert!(closed.is_ok() && clock::now().0 >= end);
        assert!(matches!(said(&mut unsent), ToDaemon::Terms { .. }));
        // What it said counts no more: who comes now waits for the same answer.
        let waits = timeout(Duration::from_millis(10), link.terms(target(1))).await;
        assert!(waits.is_err() && unsent.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_answer_that_was_overtaken_is_not_remembered() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        let tell = async {
            let ToDaemon::Terms { number, .. } = said(&mut unsent) else {
                panic!("asked for something else");
            };
            link.renew();
            link.told(number, Some(terms()), None);
        };
        tokio::join!(link.terms(target(1)), tell);
        let targets = link.targets.borrow();
        assert!(targets.get(target(1), 0).is_none() && targets.was_judged(target(1)));
    }

    /// The next target that guardd is asked about, and whether it was judged before.
    fn asked_target(unsent: &mut mpsc::UnboundedReceiver<ToDaemon>) -> (Number, bool) {
        match said(unsent) {
            ToDaemon::Terms { number, again, .. } => (number, again),
            other => panic!("it says {other:?}"),
        }
    }

    #[tokio::test]
    async fn connections_that_want_the_terms_of_a_target_at_once_have_one_answer() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        let tell = async {
            let (number, again) = asked_target(&mut unsent);
            assert!(!again && unsent.try_recv().is_err(), "asked twice");
            link.told(number, Some(terms()), None);
        };
        let (first, second, ()) = tokio::join!(link.terms(target(1)), link.terms(target(1)), tell);
        assert!(first.is_some() && second.is_some());
        assert!(link.asked_targets.borrow().is_empty() && link.waiting.borrow().is_empty());
        // Under what holds since a change another answer is wanted.
        link.renew();
        let later = async {
            let first = asked_target(&mut unsent);
            link.renew();
            let tell = async {
                let second = asked_target(&mut unsent);
                assert!(first.1 && second.1);
                link.told(first.0, None, None);
                link.told(second.0, Some(terms()), None);
            };
            tokio::join!(link.terms(target(1)), tell).0
        };
        let (first, second) = tokio::join!(link.terms(target(1)), later);
        assert!(first.is_none() && second.is_some());
        assert!(link.terms(target(1)).await.is_some());
    }

    #[tokio::test]
    async fn a_session_that_connects_to_targets_too_fast_asks_about_no_new_ones_for_a_while() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        let tell = async {
            let (number, _) = asked_target(&mut unsent);
            link.told(number, Some(terms()), None);
        };
        let (known, ()) = tokio::join!(link.terms_now(target(1)), tell);
        assert!(known.is_ok());
        let until = clock::now().0 + 60_000_000_000;
        let tell = async {
            let (number, again) = asked_target(&mut unsent);
            assert!(!again);
            link.told(number, None, Some(until));
        };
        let (refused, ()) = tokio::join!(link.terms_now(target(2)), tell);
        assert_eq!(refused, Err(TargetsTooFast { until }));
        // It has a record, of no rule.
        assert!(matches!(
            said(&mut unsent),
            ToDaemon::Log { entry, .. } if entry.no_rule
        ));
        for port in [2, 3] {
            let refused = link.terms_now(target(port)).await;
            assert_eq!(refused, Err(TargetsTooFast { until }), "{port}");
        }
        assert!(unsent.try_recv().is_err(), "asked again");
        // What was judged before is not new, and other sessions' targets are judged as ever.
        link.renew();
        let other = RedirectTarget {
            session: 2,
            ..target(2)
        };
        for (one, was_judged) in [(target(1), true), (other, false)] {
            let tell = async {
                let (number, again) = asked_target(&mut unsent);
                assert_eq!(again, was_judged);
                link.told(number, Some(terms()), None);
            };
            let (known, ()) = tokio::join!(link.terms_now(one), tell);
            assert!(known.is_ok_and(|terms| terms.is_some()));
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_there_waits_where_its_session_connects_too_fast() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        let tell = async {
            let (number, _) = asked_target(&mut unsent);
            link.told(number, Some(terms()), None);
        };
        tokio::join!(link.terms(target(1)), tell);
        link.renew();
        let tell = async {
            let (number, again) = asked_target(&mut unsent);
            assert!(again);
            link.told(number, None, Some(clock::now().0 + 1_000_000));
            match unsent.recv().await {
                Some(ToDaemon::Terms { number, .. }) => link.told(number, Some(terms()), None),
                other => panic!("it says {other:?}"),
            }
        };
        let (known, ()) = tokio::join!(link.terms(target(1)), tell);
        assert!(known.is_some());
    }

    #[tokio::test]
    async fn names_with_the_same_rules_have_them_once() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        let mut rules = Vec::new();
        for (name, rule) in [("a", "api"), ("b", "api"), ("c", "other")] {
            let tell = async {
                let ToDaemon::Name { number, .. } = said(&mut unsent) else {
                    panic!("asked for something else");
                };
                let own = Rules {
                    name: Some(rule.to_owned()),
                    ..Rules::default()
                };
                link.named(number, None, vec![own], None);
            };
            let (told, ()) = tokio::join!(link.name_terms(target(1), 1, name), tell);
            rules.push(told.rules);
        }
        assert!(Rc::ptr_eq(&rules[0], &rules[1]));
        assert_eq!(rules[2][0].name.as_deref(), Some("other"));
    }

    /// The next name that guardd is asked about.
    fn asked_name(unsent: &mut mpsc::UnboundedReceiver<ToDaemon>) -> Number {
        match said(unsent) {
            ToDaemon::Name { number, .. } => number,
            other => panic!("it says {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_session_that_shows_names_too_fast_asks_no_more_for_a_while() {
        let work = async {
            let link = Rc::new(GuarddLink::new());
            let mut unsent = link.take_unsent();
            let tell = async { link.named(asked_name(&mut unsent), None, Vec::new(), None) };
            let (known, ()) = tokio::join!(link.name_terms(target(1), 1, "known"), tell);
            assert!(known.refusal.is_none());
            let until = clock::now().0 + 60_000_000_000;
            let too_many = || Some("too many".to_owned());
            // Both are asked about before there is an answer.
            let tell = async {
                for _ in 0..2 {
                    link.named(asked_name(&mut unsent), too_many(), Vec::new(), Some(until));
                }
            };
            let [first, second] = ["a", "b"].map(|name| link.refuses_name(target(1), 1, name));
            let (first, second, ()) = tokio::join!(first, second, tell);
            let by = [first, second].map(|refusal| refusal.map(|one| one.by));
            assert_eq!(by, [Some(RefusedBy::Pace), Some(RefusedBy::Pause)]);
            // The pause outlasts what is cached.
            link.renew();
            for name in ["a", "c"] {
                let refusal = link.refuses_name(target(1), 1, name).await;
                assert_eq!(refusal.map(|one| one.by), Some(RefusedBy::Pause), "{name}");
            }
            assert!(unsent.try_recv().is_err(), "asked again");
            // What was judged before is not new.
            let tell = async {
                let asked = said(&mut unsent);
                let ToDaemon::Name { number, again, .. } = asked else {
                    panic!("it says {asked:?}");
                };
                assert!(again);
                link.named(number, None, Vec::new(), None);
            };
            let (known, ()) = tokio::join!(link.refuses_name(target(1), 1, "known"), tell);
            assert!(known.is_none());
            // Others are judged as ever.
            let other = RedirectTarget {
                session: 2,
                ..target(1)
            };
            let tell = async { link.named(asked_name(&mut unsent), None, Vec::new(), None) };
            let (of_other, ()) = tokio::join!(link.refuses_name(other, 2, "a"), tell);
            assert!(of_other.is_none());
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn names_that_are_not_judged_again_now_stay_known_and_are_asked_about_later() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        for name in ["a", "b"] {
            let tell = async { link.named(asked_name(&mut unsent), None, Vec::new(), None) };
            let (known, ()) = tokio::join!(link.refuses_name(target(1), 1, name), tell);
            assert!(known.is_none());
        }
        link.renew();
        // The first pause is over when guardd tells of it.
        let now = clock::now().0;
        for until in [now, now + 60_000_000_000] {
            let tell = async {
                let asked = said(&mut unsent);
                let ToDaemon::Name { number, again, .. } = asked else {
                    panic!("it says {asked:?}");
                };
                assert!(again);
                let too_many = Some("too many".to_owned());
                link.named(number, too_many, Vec::new(), Some(until));
            };
            let (refusal, ()) = tokio::join!(link.refuses_name(target(1), 1, "a"), tell);
            assert_eq!(refusal.map(|one| one.by), Some(RefusedBy::Pace));
        }
        for name in ["a", "b"] {
            let refusal = link.refuses_name(target(1), 1, name).await;
            assert_eq!(refusal.map(|one| one.by), Some(RefusedBy::Pause), "{name}");
            let shown: Shown = (target(1), name.into());
            let names = link.names.borrow();
            assert!(names.get(1, &shown).is_none() && names.was_judged(1, &shown));
        }
        assert!(unsent.try_recv().is_err(), "asked again");
        // New ones are judged all the while, and stay allowed.
        let tell = async { link.named(asked_name(&mut unsent), None, Vec::new(), None) };
        let (new, ()) = tokio::join!(link.refuses_name(target(1), 1, "c"), tell);
        assert!(new.is_none());
        assert!(link.refuses_name(target(1), 1, "c").await.is_none());
    }

    #[tokio::test]
    async fn clients_that_show_a_name_at_once_have_one_answer() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        let until = clock::now().0 + 60_000_000_000;
        let too_many = Some("too many".to_owned());
        let tell = async {
            let number = asked_name(&mut unsent);
            assert!(unsent.try_recv().is_err(), "asked twice");
            link.named(number, too_many, Vec::new(), Some(until));
        };
        let [first, second] = ["a", "A"].map(|name| link.refuses_name(target(1), 1, name));
        let (first, second, ()) = tokio::join!(first, second, tell);
        let by = [first, second].map(|refusal| refusal.map(|one| one.by));
        assert_eq!(by, [Some(RefusedBy::Pace), Some(RefusedBy::Pause)]);
        assert!(link.asked_names.borrow().is_empty() && link.waiting.borrow().is_empty());
    }

    #[tokio::test]
    async fn a_name_that_is_asked_about_again_after_a_change_is_refused_for_no_pace() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        let until = clock::now().0 + 60_000_000_000;
        let too_many = Some("too many".to_owned());
        // The second asks under what holds since; the answers come the other way round.
        let later = async {
            let first = asked_name(&mut unsent);
            link.renew();
            let tell = async {
                let second = asked_name(&mut unsent);
                link.named(second, None, Vec::new(), None);
                link.named(first, too_many, Vec::new(), Some(until));
            };
            let (refusal, ()) = tokio::join!(link.refuses_name(target(1), 1, "a"), tell);
            refusal
        };
        let (first, second) = tokio::join!(link.refuses_name(target(1), 1, "a"), later);
        assert!(first.is_none() && second.is_none());
        assert!(link.asked_names.borrow().is_empty());
        // An answer that was overtaken says at least that the name was judged.
        let tell = async {
            let number = asked_name(&mut unsent);
            link.renew();
            link.named(number, None, Vec::new(), None);
        };
        tokio::join!(link.refuses_name(target(1), 1, "b"), tell);
        let shown: Shown = (target(1), "b".into());
        let names = link.names.borrow();
        assert!(names.get(1, &shown).is_none() && names.was_judged(1, &shown));
    }

    #[tokio::test]
    async fn guardd_hears_how_many_names_were_left_out() {
        let work = async {
            let link = Rc::new(GuarddLink::new());
            let mut unsent = link.take_unsent();
            let until = clock::now().0 + 1;
            let too_many = Some("too many".to_owned());
            let tell = async {
                link.named(asked_name(&mut unsent), too_many, Vec::new(), Some(until));
            };
            tokio::join!(link.name_terms(target(1), 1, "a"), tell);
            for _ in 0..3 {
                link.leave_out(1);
            }
            let told = unsent.recv().await;
            let is_all = matches!(
                told,
                Some(ToDaemon::LeftOut {
                    session: 1,
                    count: 3
                })
            );
            assert!(is_all, "{told:?}");
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn whoever_leaves_is_reported_and_whoever_was_answered_is_not() {
        let link = Rc::new(GuarddLink::new());
        let mut unsent = link.take_unsent();
        drop(link.ask(target(1), asked()));
        assert!(matches!(said(&mut unsent), ToDaemon::Ask { .. }));
        assert!(matches!(
            said(&mut unsent),
            ToDaemon::Gone { number: Number(1) }
        ));
        let question = link.ask(target(1), asked());
        assert!(matches!(said(&mut unsent), ToDaemon::Ask { .. }));
        link.answered(Number(2), AskAnswer::Yes);
        assert_eq!(question.answer().await, AskAnswer::Yes);
        assert!(unsent.try_recv().is_err(), "said more");
    }

    #[test]
    fn a_session_that_is_refused_without_end_leaves_room_for_the_others() {
        let link = GuarddLink::new();
        let mut unsent = link.take_unsent();
        let [loud, quiet] = [1, 2].map(|session| RedirectTarget {
            session,
            ..target(1)
        });
        for _ in 0..MAX_RECORDS + 7 {
            link.log(loud, Entry::of("refused"));
        }
        link.log(loud, Entry::of("failed"));
        link.log(quiet, Entry::of("refused"));
        let mut sent = || match said(&mut unsent) {
            ToDaemon::Log { target, .. } => {
                link.is_sent(target.session);
                (target.session, 0)
            }
            ToDaemon::LeftOut { session, count } => (session, count),
            other => panic!("it says {other:?}"),
        };
        for _ in 0..=MAX_RECORDS {
            assert_eq!(sent(), (1, 0));
        }
        assert_eq!([sent(), sent()], [(2, 0), (1, 7)]);
        assert!(link.records.borrow().is_empty());
    }
}
