//! Hears machines, and tells them that somebody looks, for as long as that is so.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, Result};
use async_nats::Subscriber;
use futures_util::{
    StreamExt as _,
    stream::{SelectAll, select_all},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::known::KnownMachines;
use crate::{
    link::{NatsLink, until},
    messages::{self, PublishAgain},
    subjects::{Group, Machine, SubjectKind},
};

pub(crate) use super::known::{KnownChange, OfMachine, State};

/// How often machines hear that somebody looks.
const LOOKS: Duration = Duration::from_secs(5);
/// When machines are asked again for all that is open, after the first time: servers tell each other a moment late who listens.
const AGAIN: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];
/// How long machines may take to ask all of it again: the last time they are asked to, and what that takes.
const SETTLED: Duration = Duration::from_secs(3);
/// The same where the server was gone: machines come back to one in half a minute.
const RECONNECTED: Duration = Duration::from_secs(40);

/// What is known of them.
pub(crate) struct Fleet {
    pub(crate) link: NatsLink,
    groups: Vec<Group>,
    heard: SelectAll<Subscriber>,
    looks: Interval,
    /// Whether somebody looks: of a console it depends.
    is_looked: bool,
    /// Until when machines say what they still ask.
    settled: Option<Instant>,
    /// Of a console: whether machines say who may answer.
    is_console: bool,
    /// When to ask for all that is open.
    again: VecDeque<Instant>,
    known: KnownMachines,
}

impl Fleet {
    /// Looks at these groups.
    pub(crate) async fn begin(link: NatsLink, groups: Vec<Group>) -> Result<Self> {
        let mut fleet = Self::hear(link, groups, false).await?;
        fleet.look_again().await;
        Ok(fleet)
    }

    /// Hears these groups for a console, which nobody looks at yet.
    pub(crate) async fn begin_console(link: NatsLink, groups: Vec<Group>) -> Result<Self> {
        Self::hear(link, groups, true).await
    }

    async fn hear(link: NatsLink, groups: Vec<Group>, is_console: bool) -> Result<Self> {
        let mut heard = Vec::new();
        let whats = [
            SubjectKind::Here,
            SubjectKind::Question,
            SubjectKind::Receipt,
        ]
        .into_iter();
        let of_console = [SubjectKind::Approvers, SubjectKind::Removed].into_iter();
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
            settled: None,
            is_console,
            again: VecDeque::new(),
            known: KnownMachines::default(),
        })
    }

    /// Whether somebody looks now. What machines do not ask any more, nobody has reported meanwhile: what they do not ask again is
    /// over.
    pub(crate) async fn set_looked(&mut self, is_looked: bool) {
        self.is_looked = is_looked;
        if is_looked {
            self.settle_within(SETTLED);
            self.look_again().await;
        } else {
            self.again.clear();
            self.settled = None;
        }
    }

    /// From now on machines say what they still ask. A person's command ends before that matters.
    fn settle_within(&mut self, time: Duration) {
        if self.is_console {
            self.known.begin_look();
            self.settled = Some(Instant::now() + time);
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

    async fn look_again(&mut self) {
        self.look(true).await;
        self.again = AGAIN.map(|after| Instant::now() + after).into();
    }

    async fn look(&self, anew: bool) {
        for group in &self.groups {
            let look = messages::bytes(&PublishAgain { anew });
            self.link.publish(group.look(), look).await;
        }
    }

    /// The next thing that machines say; tells them meanwhile that somebody looks.
    pub(crate) async fn next(&mut self) -> Result<KnownChange> {
        loop {
            if let Some(news) = self.known.next() {
                return Ok(news);
            }
            tokio::select! {
                heard = self.heard.next() => {
                    let heard = heard.context("the connection has ended")?;
                    // What cannot be read is nobody's.
                    let _ = self.known.take(&heard);
                }
                _ = self.looks.tick(), if self.is_looked => self.look(false).await,
                () = until(self.again.front().copied()) => {
                    self.again.pop_front();
                    self.look(true).await;
                }
                () = until(self.settled) => {
                    self.settled = None;
                    self.known.settle();
                }
                () = self.link.change() => {
                    // What was said meanwhile nobody has heard.
                    if self.link.stands() {
                        self.ask_who().await;
                        if self.is_looked {
                            self.settle_within(RECONNECTED);
                            self.look_again().await;
                        }
                    }
                    return Ok(KnownChange::Link);
                }
            }
        }
    }

    /// What is open.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &OfMachine> {
        self.known.questions()
    }

    /// The machines that were heard.
    pub(crate) fn machines(&self) -> impl Iterator<Item = (&Group, &Machine, &State)> {
        self.known.machines()
    }

    /// One of them.
    pub(crate) fn machine(&self, group: &Group, machine: &Machine) -> Option<&State> {
        self.known.machine(group, machine)
    }
}
