//! The resolver's end of its connection to guardd (`guard_proto::names`).

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::IpAddr,
    rc::{Rc, Weak},
};

use guard_proto::names::{FromResolver, NetworkId, Number, Tgid};
use guard_sys::{
    clock,
    packets::{MAX_MESSAGE, Packets},
};
use tokio::sync::{mpsc, watch};

use super::{answer::DnsAnswer, kinds::Kind, name::WireName, reports::MoreNames};

/// Messages that wait to be sent. Who has one more waits, with its place for a question.
const QUEUE: usize = 1024;
/// Addresses in one message: each takes 42 bytes at most.
const ADDRESSES: usize = 1024;

/// Who asked what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// The session's number.
    pub(super) session: u32,
    /// The process.
    pub(super) tgid: Tgid,
    /// The name.
    pub(super) name: WireName,
    /// The type.
    pub(super) kind: Kind,
    /// The server that was meant.
    pub(super) server: IpAddr,
}

/// What one question to guardd is for: questions of a program for one name that come together are one.
type Subject = (u32, String, Option<Kind>);

/// The connection to guardd: messages to send, and questions that wait for an answer.
#[derive(Debug)]
pub(super) struct Link {
    next: Cell<u64>,
    waiting: RefCell<HashMap<Number, Weak<Awaited>>>,
    subjects: RefCell<HashMap<Subject, Weak<Awaited>>>,
    outgoing: mpsc::Sender<FromResolver>,
    unsent: RefCell<Option<mpsc::Receiver<FromResolver>>>,
}

impl Link {
    /// One with nothing said yet.
    pub(super) fn new() -> Self {
        let (outgoing, unsent) = mpsc::channel(QUEUE);
        Self {
            next: Cell::new(1),
            waiting: RefCell::default(),
            subjects: RefCell::default(),
            outgoing,
            unsent: RefCell::new(Some(unsent)),
        }
    }

    /// The messages to send, in their order, for [`send_all`].
    pub(super) fn take_unsent(&self) -> mpsc::Receiver<FromResolver> {
        let unsent = self.unsent.borrow_mut().take();
        // Taken already: there is nothing left to send.
        unsent.unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Says it when there is room.
    async fn say(&self, what: FromResolver) {
        // Where nobody sends any more, the process is about to end.
        let _ = self.outgoing.send(what).await;
    }

    /// Says it if there is room.
    fn try_say(&self, what: FromResolver) -> bool {
        self.outgoing.try_send(what).is_ok()
    }

    /// That everything up to a mark was heard.
    pub(super) async fn marked(&self, number: Number) {
        self.say(FromResolver::Marked { number }).await;
    }

    /// That a name was refused to a program, or that this has `failed`, and why.
    pub(super) async fn refused(&self, asker: &Asker, why: &str, failed: bool, searched: bool) {
        self.say(FromResolver::Refused {
            session: asker.session,
            tgid: asker.tgid,
            name: asker.name.to_string(),
            kind: asker.kind.to_string(),
            server: asker.server,
            why: why.to_owned(),
            failed,
            searched,
        })
        .await;
    }

    /// That a session has learned an answer.
    pub(super) async fn learned(&self, asker: &Asker, answer: &DnsAnswer) {
        let at = clock::now().0;
        for name in &answer.names {
            for part in answer.addresses.chunks(ADDRESSES) {
                self.say(FromResolver::Learned {
                    session: asker.session,
                    name: name.to_string(),
                    asked: (*name != asker.name).then(|| asker.name.to_string()),
                    addresses: part.iter().map(IpAddr::to_canonical).collect(),
                    ttl: answer.ttl,
                    at,
                    tgid: asker.tgid,
                })
                .await;
            }
        }
    }

    /// That a session has learned more than was reported to guardd, which lasts so many seconds.
    pub(super) async fn untold(&self, session: u32, ttl: u32) {
        self.say(FromResolver::Untold { session, ttl }).await;
    }

    /// That so many more names of a session were refused, or not answered, than were reported to guardd.
    pub(super) async fn more(&self, session: u32, more: MoreNames) {
        let MoreNames { refused, failed } = more;
        self.say(FromResolver::More {
            session,
            refused,
            failed,
        })
        .await;
    }

    /// Asks guardd whether a name, or what is written so, may be asked for. Whoever asks the same meanwhile waits for the same
    /// answer. `None`: guardd hears too slowly to be asked.
    pub(super) fn ask(self: &Rc<Self>, asker: &Asker, name: String) -> Option<Rc<Awaited>> {
        let kind = (!asker.kind.leads_on()).then_some(asker.kind);
        let subject = (asker.session, name, kind);
        let same = self.subjects.borrow().get(&subject).and_then(Weak::upgrade);
        if same.is_some() {
            return same;
        }
        let number = self.next_number();
        let said = self.try_say(FromResolver::Ask {
            number,
            session: asker.session,
            tgid: asker.tgid,
            name: subject.1.clone(),
            kind: asker.kind.to_string(),
            server: asker.server,
        });
        said.then(|| self.waiting(number, subject))
    }

    /// Tells guardd of addresses that a hole for their name is to cover, and waits for its word. `None`: guardd hears too slowly,
    /// or the answer has more than can be reported at once.
    pub(super) fn opens(
        self: &Rc<Self>,
        asker: &Asker,
        addresses: &[IpAddr],
    ) -> Option<Rc<Awaited>> {
        let number = self.next_number();
        let said = addresses.len() <= ADDRESSES
            && self.try_say(FromResolver::Opens {
                number,
                session: asker.session,
                name: asker.name.to_string(),
                addresses: addresses.iter().map(IpAddr::to_canonical).collect(),
            });
        // No question has a subject like that.
        let subject = (asker.session, format!(" {}", number.0), None);
        said.then(|| self.waiting(number, subject))
    }

    fn next_number(&self) -> Number {
        let number = Number(self.next.get());
        self.next.set(number.0 + 1);
        number
    }

    /// Waits for the answer to a message.
    fn waiting(self: &Rc<Self>, number: Number, subject: Subject) -> Rc<Awaited> {
        let asked = Rc::new(Awaited {
            link: Rc::clone(self),
            number,
            subject: subject.clone(),
            answer: watch::Sender::new(None),
            is_used: Cell::default(),
        });
        let weak = Rc::downgrade(&asked);
        self.waiting.borrow_mut().insert(number, Weak::clone(&weak));
        self.subjects.borrow_mut().insert(subject, weak);
        asked
    }

    /// The answer.
    pub(super) fn answered(&self, number: Number, yes: bool) {
        let asked = self.waiting.borrow_mut().remove(&number);
        if let Some(asked) = asked.and_then(|asked| asked.upgrade()) {
            asked.answer.send_replace(Some(yes));
        }
    }

    /// Wants so many more sockets of each kind in a network. `false`: it is to be asked for again.
    pub(super) fn want_sockets(&self, network: NetworkId, wanted: [usize; 4]) -> bool {
        let [udp4, udp6, tcp4, tcp6] = wanted;
        self.try_say(FromResolver::Sockets {
            network,
            udp4,
            udp6,
            tcp4,
            tcp6,
        })
    }
}

/// A question at guardd. When nobody waits for its answer any more, guardd learns that.
#[derive(Debug)]
pub(super) struct Awaited {
    link: Rc<Link>,
    number: Number,
    subject: Subject,
    answer: watch::Sender<Option<bool>>,
    is_used: Cell<bool>,
}

impl Awaited {
    /// Waits for the answer.
    pub(super) async fn answer(&self) -> bool {
        let mut answer = self.answer.subscribe();
        // The sender is this question's own.
        let answered = answer.wait_for(Option::is_some).await;
        answered.is_ok_and(|answer| *answer == Some(true))
    }

    /// Whether nobody has said so of this question before: for what an answer is good for once.
    pub(super) fn is_first(&self) -> bool {
        !self.is_used.replace(true)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.link.subjects.borrow_mut().remove(&self.subject);
        if self
            .link
            .waiting
            .borrow_mut()
            .remove(&self.number)
            .is_some()
        {
            let number = self.number;
            // guardd may go on asking then: the answer will be nobody's.
            self.link.try_say(FromResolver::Gone { number });
        }
    }
}

/// Sends the messages to guardd, in their order.
///
/// # Errors
///
/// The system's: guardd does not hear any more.
pub(super) async fn send_all(link: Rc<Link>, packets: Rc<Packets>) -> io::Result<()> {
    let mut unsent = link.take_unsent();
    while let Some(said) = unsent.recv().await {
        let text = serde_json::to_vec(&said)?;
        if text.len() > MAX_MESSAGE {
            tracing::warn!(bytes = text.len(), "too much to be told to guardd");
            continue;
        }
        packets.send(&text, &[]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::name::name, *};

    fn asker(kind: u16) -> Asker {
        Asker {
            session: 1,
            tgid: Tgid(7),
            name: name("a.example"),
            kind: Kind(kind),
            server: [192, 0, 2, 53].into(),
        }
    }

    #[tokio::test]
    async fn those_who_ask_the_same_wait_for_one_answer() {
        let link = Rc::new(Link::new());
        let mut unsent = link.take_unsent();
        let ask = |kind| link.ask(&asker(kind), "a.example".to_owned()).unwrap();
        let (first, second, text) = (ask(1), ask(28), ask(16));
        assert!(Rc::ptr_eq(&first, &second) && !Rc::ptr_eq(&first, &text));
        for kind in ["A", "TXT"] {
            let said = unsent.try_recv().unwrap();
            assert!(matches!(said, FromResolver::Ask { kind: asked, .. } if asked == kind));
        }
        link.answered(Number(1), true);
        assert!(first.answer().await && second.answer().await);
        // Who was answered leaves without a word, who was not is gone.
        drop((first, second));
        assert!(unsent.try_recv().is_err());
        drop(text);
        let gone = FromResolver::Gone { number: Number(2) };
        assert_eq!(unsent.try_recv().unwrap(), gone);
        link.answered(Number(2), true);
        assert!(link.waiting.borrow().is_empty() && link.subjects.borrow().is_empty());
    }

    #[tokio::test]
    async fn long_answers_are_told_in_parts_that_fit() {
        let link = Rc::new(Link::new());
        let mut unsent = link.take_unsent();
        let addresses: Vec<IpAddr> = (0..2500_u128)
            .map(|number| std::net::Ipv6Addr::from_bits(u128::MAX - number).into())
            .collect();
        let answer = DnsAnswer {
            names: vec![name("a.example"), name("b.example")],
            targets: Vec::new(),
            addresses,
            ttl: 60,
        };
        link.learned(&asker(1), &answer).await;
        let mut told = 0;
        while let Ok(said) = unsent.try_recv() {
            assert!(serde_json::to_vec(&said).unwrap().len() < MAX_MESSAGE);
            let FromResolver::Learned {
                name,
                asked,
                addresses,
                ..
            } = said
            else {
                panic!("not learned")
            };
            assert_eq!(asked.is_some(), name == "b.example");
            told += addresses.len();
        }
        assert_eq!(told, 2 * 2500);
    }

    #[test]
    fn a_guardd_that_hears_slowly_is_not_asked() {
        let link = Rc::new(Link::new());
        let asked: Vec<_> = (0..=QUEUE)
            .map(|number| link.ask(&asker(1), format!("n{number}.example")))
            .collect();
        assert_eq!(asked.iter().flatten().count(), QUEUE);
    }
}
