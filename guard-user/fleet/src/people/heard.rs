//! What machines say, for as long as somebody looks.

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
    messages::{self, Asked, Here, Look, Receipt},
    subjects::{Group, Machine, Subject, What},
};

/// How often machines are told that somebody looks.
const LOOKS: Duration = Duration::from_secs(5);
/// When machines are asked again for all that is open, after the first time: servers tell each other a moment late who listens.
const AGAIN: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];
/// Machines that are remembered at most, and bytes of all that they ask: more come from nobody honest.
const MOST: (usize, usize) = (20_000, 64 * 1024 * 1024);

/// What is known of them.
pub(super) struct Fleet {
    pub(super) link: Link,
    groups: Vec<Group>,
    heard: SelectAll<Subscriber>,
    looks: Interval,
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
pub(super) struct State {
    pub(super) here: Option<Here>,
    questions: BTreeMap<String, OfMachine>,
}

/// A question, and where it is from.
#[derive(Clone, Debug)]
pub(super) struct OfMachine {
    pub(super) group: Group,
    pub(super) machine: Machine,
    pub(super) asked: Asked,
}

/// Something new.
#[derive(Debug)]
pub(super) enum News {
    Asked(Box<OfMachine>),
    Over(Box<OfMachine>),
    Machine,
    Receipt(Box<(Subject, Receipt)>),
}

impl Fleet {
    /// Looks at these groups.
    pub(super) async fn begin(link: Link, groups: Vec<Group>) -> Result<Self> {
        let mut heard = Vec::new();
        for group in &groups {
            for what in [What::Here, What::Question, What::Receipt] {
                let subject = group.all(what, None);
                let subscribed = link.client.subscribe(subject).await;
                heard.push(subscribed.context("cannot hear machines")?);
            }
        }
        let mut looks = interval(LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once, and by hand.
        looks.tick().await;
        let mut fleet = Self {
            link,
            groups,
            heard: select_all(heard),
            looks,
            again: VecDeque::new(),
            machines: BTreeMap::new(),
            bytes: 0,
            is_full: false,
            news: VecDeque::new(),
        };
        fleet.look_anew().await;
        Ok(fleet)
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
    pub(super) async fn next(&mut self) -> Result<News> {
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
                _ = self.looks.tick() => self.look(false).await,
                () = until(self.again.front().copied()) => {
                    self.again.pop_front();
                    self.look(true).await;
                }
                () = self.link.change() => {
                    // What was said meanwhile nobody has heard.
                    if self.link.stands() {
                        self.look_anew().await;
                    }
                }
            }
        }
    }

    fn take(&mut self, heard: &Message) -> Option<()> {
        let subject = Subject::parse(&heard.subject)?;
        let at = (subject.group.clone(), subject.machine.clone());
        if !self.machines.contains_key(&at) && self.machines.len() >= MOST.0 {
            self.leave_out();
            return None;
        }
        match (subject.what, subject.request.clone()) {
            (What::Here, _) => {
                let here = Here::read(&heard.payload)?;
                if here.leaves {
                    for over in self.machines.remove(&at)?.questions.into_values() {
                        self.is_over(over);
                    }
                } else {
                    self.machines.entry(at).or_default().here = Some(here);
                }
                self.news.push_back(News::Machine);
            }
            (What::Question, Some(request)) if heard.payload.is_empty() => {
                let over = self.machines.get_mut(&at)?.questions.remove(&request)?;
                self.is_over(over);
            }
            (What::Question, Some(request)) => {
                let asked = Asked::read(&subject, &heard.payload)?;
                let state = self.machines.entry(at.clone()).or_default();
                let before = state.questions.get(&request);
                if before.is_some_and(|before| before.asked.bytes == asked.bytes) {
                    return None;
                }
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
    pub(super) fn questions(&self) -> impl Iterator<Item = &OfMachine> {
        self.machines
            .values()
            .flat_map(|state| state.questions.values())
    }

    /// The machines that were heard.
    pub(super) fn machines(&self) -> impl Iterator<Item = (&Group, &Machine, &State)> {
        self.machines
            .iter()
            .map(|((group, machine), state)| (group, machine, state))
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
    pub(super) fn open(&self) -> usize {
        self.questions.len()
    }
}
