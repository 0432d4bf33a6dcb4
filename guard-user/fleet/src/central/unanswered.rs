//! What is published until it is answered, or until its time is over.

use std::time::Duration;

use guard_proto::{ErrorName, Failure};
use tokio::{sync::oneshot, time::Instant};

use crate::{link::NatsLink, messages};

/// After which time it is published again.
const AGAIN: Duration = Duration::from_secs(1);
/// At once.
pub(super) const MOST: usize = 64;

/// What a console hears in the end.
pub(super) type Reply<A> = Result<A, (ErrorName, Failure)>;

/// Where a message goes.
pub(super) trait Recipient {
    /// How long to wait for an answer.
    const TIMEOUT: Duration;

    /// The subject to publish at.
    fn subject(&self) -> String;

    /// What is said where no answer came.
    fn silent(&self) -> Failure;
}

/// A message, and where it goes.
#[derive(Debug)]
pub(super) struct Outgoing<R> {
    pub(super) to: R,
    pub(super) message: Vec<u8>,
}

/// All that has no answer yet.
#[derive(Debug)]
pub(super) struct Unanswered<R, A> {
    open: Vec<Open<R, A>>,
}

#[derive(Debug)]
struct Open<R, A> {
    outgoing: Outgoing<R>,
    /// The hash of the message, by which an answer names it.
    name: String,
    again: Instant,
    latest: Instant,
    reply: oneshot::Sender<Reply<A>>,
}

impl<R, A> Default for Unanswered<R, A> {
    fn default() -> Self {
        Self { open: Vec::new() }
    }
}

impl<R: Recipient, A> Unanswered<R, A> {
    /// Whether there is no room for one more. What nobody waits for any more takes none.
    pub(super) fn is_full(&mut self) -> bool {
        self.open.retain(|one| !one.reply.is_closed());
        self.open.len() >= MOST
    }

    /// Publishes one.
    pub(super) async fn begin(
        &mut self,
        link: &NatsLink,
        outgoing: Outgoing<R>,
        reply: oneshot::Sender<Reply<A>>,
    ) {
        self.add(outgoing, reply, Instant::now());
        self.again(link).await;
    }

    /// Adds one that is published first at `now`.
    pub(super) fn add(
        &mut self,
        outgoing: Outgoing<R>,
        reply: oneshot::Sender<Reply<A>>,
        now: Instant,
    ) {
        self.open.push(Open {
            name: messages::name_of(&outgoing.message),
            outgoing,
            again: now,
            latest: now + R::TIMEOUT,
            reply,
        });
    }

    /// When something is to be done next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.open.iter().map(|one| one.again.min(one.latest)).min()
    }

    /// Publishes again what is to be published again, and gives up what nobody has answered.
    pub(super) async fn again(&mut self, link: &NatsLink) {
        let now = Instant::now();
        for (subject, message) in self.due(now) {
            link.publish(subject, message).await;
        }
        self.give_up(now);
    }

    /// What is to be published now, with its subject.
    fn due(&mut self, now: Instant) -> Vec<(String, Vec<u8>)> {
        let due = self.open.iter_mut().filter(|one| one.again <= now);
        let due = due.map(|one| {
            one.again = now + AGAIN;
            (one.outgoing.to.subject(), one.outgoing.message.clone())
        });
        due.collect()
    }

    fn give_up(&mut self, now: Instant) {
        for late in self.open.extract_if(.., |one| one.latest <= now) {
            let silent = late.outgoing.to.silent();
            // Who has gone meanwhile wants no answer.
            let _ = late.reply.send(Err((ErrorName::Failed, silent)));
        }
    }

    /// Whether any is meant by `is_it`, which gets where it went and its name.
    pub(super) fn has(&self, is_it: impl Fn(&R, &str) -> bool) -> bool {
        let mut open = self.open.iter();
        open.any(|one| is_it(&one.outgoing.to, &one.name))
    }

    /// Answers those that are meant by `is_it`, as [`Self::has`] has it.
    pub(super) fn answer(&mut self, said: &Reply<A>, is_it: impl Fn(&R, &str) -> bool)
    where
        A: Clone,
    {
        let is_it = |one: &mut Open<R, A>| is_it(&one.outgoing.to, &one.name);
        for one in self.open.extract_if(.., is_it) {
            let _ = one.reply.send(said.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const MOMENT: Duration = Duration::from_millis(1);

    impl Recipient for &'static str {
        const TIMEOUT: Duration = TIMEOUT;

        fn subject(&self) -> String {
            format!("guard.ci.{self}")
        }

        fn silent(&self) -> Failure {
            Failure {
                what: (*self).to_owned(),
                why: "it is silent".to_owned(),
                fix: "try again".to_owned(),
            }
        }
    }

    type Said = oneshot::Receiver<Reply<u32>>;

    fn add(open: &mut Unanswered<&'static str, u32>, to: &'static str, now: Instant) -> Said {
        let (reply, said) = oneshot::channel();
        let message = to.as_bytes().to_vec();
        open.add(Outgoing { to, message }, reply, now);
        said
    }

    /// The subjects of what is to be published.
    fn due(open: &mut Unanswered<&'static str, u32>, now: Instant) -> Vec<String> {
        let due = open.due(now).into_iter();
        due.map(|(subject, _)| subject).collect()
    }

    #[test]
    fn each_is_published_at_once_and_again_after_a_pause_of_its_own() {
        let (mut open, start) = (Unanswered::default(), Instant::now());
        assert_eq!(open.next(), None);
        let _said = add(&mut open, "a", start);
        assert_eq!(open.next(), Some(start));
        assert_eq!(open.due(start), [("guard.ci.a".to_owned(), b"a".to_vec())]);
        assert_eq!(open.next(), Some(start + AGAIN));
        let later = start + AGAIN / 2;
        let _said = add(&mut open, "b", later);
        assert_eq!(due(&mut open, later), ["guard.ci.b"]);
        assert_eq!(due(&mut open, start + AGAIN - MOMENT), [""; 0]);
        assert_eq!(due(&mut open, start + AGAIN), ["guard.ci.a"]);
        assert_eq!(open.next(), Some(later + AGAIN));
    }

    #[test]
    fn what_nobody_answers_is_given_up_when_its_time_is_over() -> Result<()> {
        let (mut open, start) = (Unanswered::default(), Instant::now());
        let mut said = add(&mut open, "a", start);
        open.give_up(start + TIMEOUT - MOMENT);
        assert!(said.try_recv().is_err());
        open.due(start + TIMEOUT - MOMENT);
        assert_eq!(
            open.next(),
            Some(start + TIMEOUT),
            "that comes before it is published again"
        );
        open.give_up(start + TIMEOUT);
        let said = said.try_recv()?.map_err(|(_, failure)| failure.what);
        assert_eq!(said, Err("a".to_owned()));
        assert_eq!(open.next(), None);
        Ok(())
    }

    #[test]
    fn an_answer_is_for_all_that_are_meant_and_for_no_other() -> Result<()> {
        let (mut open, start) = (Unanswered::default(), Instant::now());
        let (mut first, mut second) = (add(&mut open, "a", start), add(&mut open, "a", start));
        let mut other = add(&mut open, "b", start);
        let name = messages::name_of(b"a");
        let is_it = |to: &&'static str, named: &str| *to == "a" && named == name;
        assert!(open.has(is_it));
        open.answer(&Ok(7), is_it);
        assert!(!open.has(is_it) && open.has(|to, _| *to == "b"));
        for said in [&mut first, &mut second] {
            assert_eq!(said.try_recv()?.ok(), Some(7));
        }
        assert!(other.try_recv().is_err());
        Ok(())
    }

    #[test]
    fn what_nobody_waits_for_takes_no_room() {
        let (mut open, start) = (Unanswered::default(), Instant::now());
        let mut waiting: Vec<_> = (1..MOST).map(|_| add(&mut open, "a", start)).collect();
        assert!(!open.is_full());
        waiting.push(add(&mut open, "a", start));
        assert!(open.is_full());
        waiting.pop();
        assert!(!open.is_full());
    }
}
