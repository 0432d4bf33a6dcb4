//! What machines say, and that somebody looks, for as long as that is so.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use anyhow::{Context as _, Result};
use async_nats::{Message, Subscriber};
use futures_util::{
    StreamExt as _,
    stream::{SelectAll, select_all},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::{
    link::Link,
    messages::{self, Asked, Here, Look, Receipt, There},
    subjects::{Group, Machine, Subject, What},
};

/// How often machines are told that somebody looks.
const LOOKS: Duration = Duration::from_secs(5);
/// When machines are asked again for all that is open, after the first time: servers tell each other a moment late who listens.
const AGAIN: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];
/// How long machines may take to ask all of it again: the last time they are asked to, and what that takes.
const SETTLED: Duration = Duration::from_secs(3);
/// The same where the server was gone: machines come back to one in half a minute.
const RECONNECTED: Duration = Duration::from_secs(40);
/// Machines that are remembered at most, and bytes of what they ask and who answers: more come from nobody honest.
const MOST: (usize, usize) = (20_000, 64 * 1024 * 1024);

/// What is known of them.
pub(crate) struct Fleet {
    pub(crate) link: Link,
    groups: Vec<Group>,
    heard: SelectAll<Subscriber>,
    looks: Interval,
    /// Whether somebody looks: of a console it depends.
    is_looked: bool,
    /// How often somebody has begun to, and until when machines say what they still ask.
    looked: u64,
    settled: Option<Instant>,
    /// Of a console: whether machines say who may answer.
    is_console: bool,
    /// When to ask for all that is open.
    again: VecDeque<Instant>,
    machines: BTreeMap<(Group, Machine), State>,
    /// Bytes of all questions.
    bytes: usize,
    /// Whether something was left out, which is said once.
    is_full: bool,
    /// What was heard at once.
    news: VecDeque<News>,
}

/// What is known of a machine.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) here: Option<Here>,
    /// Heard by consoles alone, with the bytes of its message; none: not said yet.
    pub(crate) there: Option<(There, usize)>,
    questions: BTreeMap<String, OfMachine>,
}

/// A question, and where it is from.
#[derive(Clone, Debug)]
pub(crate) struct OfMachine {
    pub(crate) group: Group,
    pub(crate) machine: Machine,
    pub(crate) asked: Asked,
    /// The number of the look in which it was heard.
    looked: u64,
}

/// Something new.
#[derive(Debug)]
pub(crate) enum News {
    Asked(Box<OfMachine>),
    Over(Box<OfMachine>),
    /// What a machine says of itself.
    Machine(Group, Machine),
    /// It is in the fleet no more.
    Removed(Group, Machine),
    Receipt(Box<(Subject, Receipt)>),
    /// A server has come, or gone.
    Link,
}

impl Fleet {
    /// Looks at these groups.
    pub(crate) async fn begin(link: Link, groups: Vec<Group>) -> Result<Self> {
        let mut fleet = Self::hear(link, groups, false).await?;
        fleet.look_anew().await;
        Ok(fleet)
    }

    /// Hears these groups for a console, which nobody looks at yet.
    pub(crate) async fn begin_console(link: Link, groups: Vec<Group>) -> Result<Self> {
        Self::hear(link, groups, true).await
    }

    async fn hear(link: Link, groups: Vec<Group>, is_console: bool) -> Result<Self> {
        let mut heard = Vec::new();
        let whats = [What::Here, What::Question, What::Receipt].into_iter();
        let of_console = [What::Approvers, What::Removed].into_iter();
        let whats = whats.chain(of_console.filter(|_| is_console));
        for group in &groups {
            for what in whats.clone() {
                let subject = group.all(what, None);
                let subscribed = link.client.subscribe(subject).await;
                heard.push(subscribed.context("cannot hear machines")?);
            }
        }
        let mut looks = interval(LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once, and by hand.
        looks.tick().await;
        Ok(Self {
            link,
            groups,
            heard: select_all(heard),
            looks,
            is_looked: !is_console,
            looked: 0,
            settled: None,
            is_console,
            again: VecDeque::new(),
            machines: BTreeMap::new(),
            bytes: 0,
            is_full: false,
            news: VecDeque::new(),
        })
    }

    /// Whether somebody looks now. What machines do not ask any more, nobody has told meanwhile: what they do not ask again is
    /// over.
    pub(crate) async fn set_looked(&mut self, is_looked: bool) {
        self.is_looked = is_looked;
        if is_looked {
            self.settle_within(SETTLED);
            self.look_anew().await;
        } else {
            self.again.clear();
            self.settled = None;
        }
    }

    /// From now on machines say what they still ask. A person's command ends before that matters.
    fn settle_within(&mut self, time: Duration) {
        if self.is_console {
            self.looked += 1;
            self.settled = Some(Instant::now() + time);
        }
    }

    /// Drops what was not asked again.
    fn settle(&mut self) {
        self.settled = None;
        let mut gone = Vec::new();
        for state in self.machines.values_mut() {
            let old = state
                .questions
                .extract_if(.., |_, of| of.looked != self.looked);
            gone.extend(old.map(|(_, of)| of));
        }
        for over in gone {
            self.is_over(over);
        }
    }

    /// Whether somebody does.
    pub(crate) fn is_looked(&self) -> bool {
        self.is_looked
    }

    /// Has machines say who may answer, and how they are.
    pub(crate) async fn ask_who(&self) {
        for group in self.groups.iter().filter(|_| self.is_console) {
            self.link.publish(group.who(), Vec::new()).await;
        }
    }

    async fn look_anew(&mut self) {
        self.look(true).await;
        self.again = AGAIN.map(|after| Instant::now() + after).into();
    }

    async fn look(&self, anew: bool) {
        for group in &self.groups {
            let look = messages::bytes(&Look { anew });
            self.link.publish(group.look(), look).await;
        }
    }

    /// The next thing that machines say; tells them meanwhile that somebody looks.
    pub(crate) async fn next(&mut self) -> Result<News> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            tokio::select! {
                heard = self.heard.next() => {
                    let heard = heard.context("the connection has ended")?;
                    // What cannot be read is nobody's.
                    let _ = self.take(&heard);
                }
                _ = self.looks.tick(), if self.is_looked => self.look(false).await,
                () = until(self.again.front().copied()) => {
                    self.again.pop_front();
                    self.look(true).await;
                }
                () = until(self.settled) => self.settle(),
                () = self.link.change() => {
                    // What was said meanwhile nobody has heard.
                    if self.link.stands() {
                        self.ask_who().await;
                        if self.is_looked {
                            self.settle_within(RECONNECTED);
                            self.look_anew().await;
                        }
                    }
                    return Ok(News::Link);
                }
            }
        }
    }

    fn take(&mut self, heard: &Message) -> Option<()> {
        let subject = Subject::parse(&heard.subject)?;
        if !messages::is_published(heard) {
            return None;
        }
        let at = (subject.group.clone(), subject.machine.clone());
        if !self.machines.contains_key(&at) && self.machines.len() >= MOST.0 {
            self.leave_out();
            return None;
        }
        match (subject.what, subject.request.clone()) {
            (What::Here, _) => {
                let here = Here::read(&heard.payload)?;
                if here.leaves {
                    self.machines.get(&at)?;
                    self.forget(&at);
                } else {
                    self.machines.entry(at).or_default().here = Some(here);
                }
                let (group, machine) = (subject.group, subject.machine);
                self.news.push_back(News::Machine(group, machine));
            }
            (What::Removed, _) if messages::is_empty(heard) => {
                self.forget(&at);
                self.news.push_back(News::Removed(at.0, at.1));
            }
            (What::Approvers, _) => {
                let there = messages::read(&heard.payload)?;
                let before = self.machines.get(&at);
                let before = before.and_then(|state| state.there.as_ref());
                let less = before.map_or(0, |(_, bytes)| *bytes);
                let bytes = self.bytes - less + heard.payload.len();
                if bytes > MOST.1 {
                    self.leave_out();
                    return None;
                }
                self.bytes = bytes;
                let state = self.machines.entry(at).or_default();
                state.there = Some((there, heard.payload.len()));
                let (group, machine) = (subject.group, subject.machine);
                self.news.push_back(News::Machine(group, machine));
            }
            (What::Question, Some(request)) if heard.payload.is_empty() => {
                let over = self.machines.get_mut(&at)?.questions.remove(&request)?;
                self.is_over(over);
            }
            (What::Question, Some(request)) => {
                let asked = Asked::read(&subject, &heard.payload)?;
                let state = self.machines.entry(at.clone()).or_default();
                let before = state.questions.get_mut(&request);
                if let Some(before) = before
                    && before.asked.bytes == asked.bytes
                {
                    before.looked = self.looked;
                    return None;
                }
                let before = state.questions.get(&request);
                let less = before.map_or(0, |before| before.asked.bytes.len());
                let bytes = self.bytes - less + asked.bytes.len();
                if bytes > MOST.1 {
                    self.leave_out();
                    return None;
                }
                self.bytes = bytes;
                let (group, machine) = at;
                let asked = OfMachine {
                    group,
                    machine,
                    asked,
                    looked: self.looked,
                };
                state.questions.insert(request, asked.clone());
                self.news.push_back(News::Asked(Box::new(asked)));
            }
            (What::Receipt, Some(_)) => {
                let receipt = messages::read(&heard.payload)?;
                self.news
                    .push_back(News::Receipt(Box::new((subject, receipt))));
            }
            _ => {}
        }
        Some(())
    }

    fn forget(&mut self, at: &(Group, Machine)) {
        let Some(gone) = self.machines.remove(at) else {
            return;
        };
        self.bytes -= gone.there.map_or(0, |(_, bytes)| bytes);
        for over in gone.questions.into_values() {
            self.is_over(over);
        }
    }

    fn is_over(&mut self, over: OfMachine) {
        self.bytes -= over.asked.bytes.len();
        self.news.push_back(News::Over(Box::new(over)));
    }

    fn leave_out(&mut self) {
        if !std::mem::replace(&mut self.is_full, true) {
            tracing::warn!(
                "more comes than is remembered: not all machines and questions are here"
            );
        }
    }

    /// What is open.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &OfMachine> {
        self.machines
            .values()
            .flat_map(|state| state.questions.values())
    }

    /// The machines that were heard.
    pub(crate) fn machines(&self) -> impl Iterator<Item = (&Group, &Machine, &State)> {
        self.machines
            .iter()
            .map(|((group, machine), state)| (group, machine, state))
    }

    /// One of them.
    pub(crate) fn machine(&self, group: &Group, machine: &Machine) -> Option<&State> {
        self.machines.get(&(group.clone(), machine.clone()))
    }
}

/// Until then; without a time for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl State {
    /// How many questions of it are open.
    pub(crate) fn open(&self) -> usize {
        self.questions.len()
    }

    /// These.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &Asked> {
        self.questions.values().map(|of| &of.asked)
    }

    /// The one about a request.
    pub(crate) fn question(&self, request: &str) -> Option<&Asked> {
        self.questions.get(request).map(|of| &of.asked)
    }
}
