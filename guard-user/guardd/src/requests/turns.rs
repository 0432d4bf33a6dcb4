//! Events that were taken out of the ring buffer and are not handled yet. Whoever causes more than guardd can handle waits alone: one event
//! of each session is handled after the other.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
};

use guard_common::{Event, Hook, SessionId};
use guard_datapath::{EventReader, KernelEvent};
use tokio::sync::Notify;

use crate::sessions::{Session, Sessions};

/// Events of one [`Causer`] that wait, and dials.
const MAX_OF_ONE: usize = 1024;
/// Events that wait in all. Where there are so many, only those of whom fewer than [`MIN_OF_ONE`] wait are kept.
const MAX_WAITING: usize = 4096;
const MIN_OF_ONE: usize = 64;

/// What an event was caused by, that is no dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Causer {
    /// Refusals of an outermost session and those inside it, and what is refused to them at a security hook.
    Refused(SessionId),
    /// Listeners that they connect to. The kernel half reports a listener once in a while, whoever connects: another may wait for its scan.
    Connects(SessionId),
}

impl Causer {
    fn of(event: &KernelEvent, sessions: &Sessions) -> Self {
        match event {
            KernelEvent::Connection(event) if event.hook == Hook::Listener as u8 => {
                Self::Connects(sessions.outermost_of(event.session))
            }
            KernelEvent::Connection(event) => Self::Refused(sessions.outermost_of(event.session)),
            KernelEvent::Other(event) => {
                let session = sessions.of_cgroup(event.cgroup);
                Self::Refused(session.map_or(SessionId(0), Session::outermost))
            }
        }
    }
}

/// Which events are handled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    All,
    /// Those of one causer.
    Of(Causer),
    /// Listeners that anybody connects to.
    Listeners,
}

/// The kernel half's events, each in its turn.
#[derive(Debug)]
pub(crate) struct Events {
    reader: EventReader,
    waiting: WaitingEvents,
    stir: Rc<Notify>,
}

impl Events {
    /// Those of that ring buffer.
    pub(crate) fn of(reader: EventReader) -> Self {
        Self {
            reader,
            waiting: WaitingEvents::default(),
            stir: Rc::default(),
        }
    }

    /// The next of the wanted events, if there is one now, or what is handled at once. `left_out` gets those that find no room.
    pub(super) fn next(
        &mut self,
        wanted: Wanted,
        sessions: &Sessions,
        mut left_out: impl FnMut(KernelEvent),
    ) -> Option<KernelEvent> {
        while let Some(event) = self.reader.next() {
            let put = match event {
                KernelEvent::Connection(dial) if is_dial(dial.hook) => self.waiting.put_dial(dial),
                _ => self.waiting.put(Causer::of(&event, sessions), event),
            };
            match put {
                Queued::Waits => {}
                Queued::AtOnce(event) => return Some(event),
                Queued::LeftOut(event) => left_out(event),
            }
        }
        self.waiting.take(wanted)
    }

    /// Wakes the task that handles events where some wait.
    pub(super) fn stir_if_some_wait(&self) {
        if self.waiting.turns.count > 0 || !self.waiting.dials.is_empty() {
            self.stir.notify_one();
        }
    }

    /// Wakes the task that handles events.
    pub(crate) fn stirs(&self) -> Rc<Notify> {
        Rc::clone(&self.stir)
    }
}

/// Its descriptor is readable when there is one in the ring buffer.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Whether it is about what a listener's process connects to.
pub(super) const fn is_dial(hook: u8) -> bool {
    hook == Hook::Dial as u8 || hook == Hook::ManyDials as u8
}

/// What becomes of an event.
#[derive(Debug)]
enum Queued {
    Waits,
    /// It is handled before all that wait.
    AtOnce(KernelEvent),
    /// Too many wait of whoever causes it.
    LeftOut(KernelEvent),
}

/// Those that wait.
#[derive(Debug, Default)]
struct WaitingEvents {
    turns: FairQueues<Causer, KernelEvent>,
    /// They have every second turn: by what a listener's process connects to, others are judged.
    dials: VecDeque<Event>,
    is_dials_turn: bool,
}

impl WaitingEvents {
    /// Where very many wait, more may be connected to than they tell: it counts as the kernel half's word that it left some out.
    fn put_dial(&mut self, dial: Event) -> Queued {
        if self.dials.len() < MAX_OF_ONE {
            self.dials.push_back(dial);
            return Queued::Waits;
        }
        Queued::AtOnce(KernelEvent::Connection(Event {
            hook: Hook::ManyDials as u8,
            ..dial
        }))
    }

    fn put(&mut self, by: Causer, event: KernelEvent) -> Queued {
        let waiting = self.turns.of(by);
        let is_full =
            waiting >= MAX_OF_ONE || (self.turns.count >= MAX_WAITING && waiting >= MIN_OF_ONE);
        match by {
            _ if !is_full => {
                self.turns.put(by, event);
                Queued::Waits
            }
            // The kernel half reports few, and guardd keeps few of a session.
            Causer::Connects(_) => Queued::AtOnce(event),
            Causer::Refused(_) => Queued::LeftOut(event),
        }
    }

    fn take(&mut self, wanted: Wanted) -> Option<KernelEvent> {
        match wanted {
            Wanted::All => self.take_any(),
            Wanted::Of(causer) => self.turns.take_of(causer),
            Wanted::Listeners => {
                let connects = |causer: &Causer| matches!(causer, Causer::Connects(_));
                self.turns.take_where(connects)
            }
        }
    }

    fn take_any(&mut self) -> Option<KernelEvent> {
        self.is_dials_turn = !self.is_dials_turn;
        if self.is_dials_turn
            && let Some(dial) = self.dials.pop_front()
        {
            return Some(KernelEvent::Connection(dial));
        }
        let other = self.turns.take();
        other.or_else(|| self.dials.pop_front().map(KernelEvent::Connection))
    }
}

/// What waits for its turn, of several. Each one's come in their order.
#[derive(Debug)]
struct FairQueues<K, T> {
    /// The one whose turn it is first. None is empty.
    queues: VecDeque<(K, VecDeque<T>)>,
    count: usize,
}

impl<K, T> Default for FairQueues<K, T> {
    fn default() -> Self {
        Self {
            queues: VecDeque::new(),
            count: 0,
        }
    }
}

impl<K: Copy + PartialEq, T> FairQueues<K, T> {
    /// How many wait of one.
    fn of(&self, key: K) -> usize {
        let queue = self.queues.iter().find(|(of, _)| *of == key);
        queue.map_or(0, |(_, queue)| queue.len())
    }

    fn put(&mut self, key: K, one: T) {
        self.count += 1;
        match self.queues.iter_mut().find(|(of, _)| *of == key) {
            Some((_, queue)) => queue.push_back(one),
            None => self.queues.push_back((key, VecDeque::from([one]))),
        }
    }

    fn take(&mut self) -> Option<T> {
        self.take_where(|_| true)
    }

    /// The first of whose turn it is among those.
    fn take_where(&mut self, is_one: impl Fn(&K) -> bool) -> Option<T> {
        let mut keys = self.queues.iter().map(|(key, _)| *key);
        let key = keys.find(is_one)?;
        self.take_of(key)
    }

    /// The first of one, which has had its turn then.
    fn take_of(&mut self, key: K) -> Option<T> {
        let at = self.queues.iter().position(|(of, _)| *of == key)?;
        let (_, mut queue) = self.queues.remove(at)?;
        let one = queue.pop_front();
        self.count -= usize::from(one.is_some());
        if !queue.is_empty() {
            self.queues.push_back((key, queue));
        }
        one
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_comes_with_one_waits_for_one_of_each() {
        let mut turns = FairQueues::default();
        for number in 0..1000 {
            turns.put("loud", number);
        }
        turns.put("quiet", 1000);
        assert_eq!(turns.of("loud"), 1000);
        assert_eq!([turns.take(), turns.take()], [Some(0), Some(1000)]);
        // Whoever comes again does not go before who has waited since.
        turns.put("quiet", 1001);
        assert_eq!([turns.take(), turns.take()], [Some(1), Some(1001)]);
        assert_eq!(turns.count, 998);
    }

    fn event(hook: Hook) -> KernelEvent {
        KernelEvent::Connection(Event {
            hook: hook as u8,
            ..Event::default()
        })
    }

    /// The hook of one that was taken.
    fn hook(event: Option<KernelEvent>) -> Option<Hook> {
        match event? {
            KernelEvent::Connection(event) => Hook::from_u8(event.hook),
            KernelEvent::Other(_) => None,
        }
    }

    #[test]
    fn who_has_very_many_is_left_out_and_others_are_not() {
        let mut waiting = WaitingEvents::default();
        let mut put = |session, hook| match hook {
            Hook::Listener => waiting.put(Causer::Connects(SessionId(session)), event(hook)),
            _ => waiting.put(Causer::Refused(SessionId(session)), event(hook)),
        };
        for session in 1..=4 {
            for _ in 0..MAX_OF_ONE {
                assert!(matches!(put(session, Hook::Connect4), Queued::Waits));
            }
            assert!(matches!(put(session, Hook::Connect4), Queued::LeftOut(_)));
        }
        // There are 4,096.
        for _ in 0..MIN_OF_ONE {
            assert!(matches!(put(5, Hook::Connect4), Queued::Waits));
        }
        assert!(matches!(put(5, Hook::Connect4), Queued::LeftOut(_)));
        // What a scan waits for never is.
        for _ in 0..MIN_OF_ONE {
            assert!(matches!(put(1, Hook::Listener), Queued::Waits));
        }
        assert!(matches!(put(1, Hook::Listener), Queued::AtOnce(_)));
    }

    #[test]
    fn dials_have_every_second_turn_and_very_many_say_that_there_are_more() {
        let mut waiting = WaitingEvents::default();
        for session in 1..=3 {
            waiting.put(Causer::Refused(SessionId(session)), event(Hook::Connect4));
        }
        let dial = Event {
            hook: Hook::Dial as u8,
            ..Event::default()
        };
        for _ in 0..MAX_OF_ONE {
            assert!(matches!(waiting.put_dial(dial), Queued::Waits));
        }
        let Queued::AtOnce(more) = waiting.put_dial(dial) else {
            panic!("it waits");
        };
        assert_eq!(hook(Some(more)), Some(Hook::ManyDials));
        let taken: Vec<_> = (0..7).map(|_| hook(waiting.take_any())).collect();
        let (dial, refusal) = (Some(Hook::Dial), Some(Hook::Connect4));
        assert_eq!(taken, [dial, refusal, dial, refusal, dial, refusal, dial]);
        assert_eq!(hook(waiting.take_any()), dial, "nothing else waits");
    }

    #[test]
    fn where_listeners_are_wanted_each_sessions_come_in_turn_and_all_else_waits() {
        let mut waiting = WaitingEvents::default();
        for session in [1, 1, 2].map(SessionId) {
            waiting.put(Causer::Refused(session), event(Hook::Connect4));
            let listener = KernelEvent::Connection(Event {
                hook: Hook::Listener as u8,
                session,
                ..Event::default()
            });
            waiting.put(Causer::Connects(session), listener);
        }
        waiting.put_dial(Event {
            hook: Hook::Dial as u8,
            ..Event::default()
        });
        let mut next = |wanted| match waiting.take(wanted)? {
            KernelEvent::Connection(event) => Some((Hook::from_u8(event.hook)?, event.session.0)),
            KernelEvent::Other(_) => None,
        };
        let of_second = Wanted::Of(Causer::Connects(SessionId(2)));
        assert_eq!(next(of_second), Some((Hook::Listener, 2)));
        assert_eq!(next(of_second), None);
        for _ in 0..2 {
            assert_eq!(next(Wanted::Listeners), Some((Hook::Listener, 1)));
        }
        assert_eq!(next(Wanted::Listeners), None);
        assert_eq!((waiting.turns.count, waiting.dials.len()), (3, 1));
    }

    #[test]
    fn one_of_whom_all_are_taken_has_had_its_turn() {
        let mut turns = FairQueues::default();
        for number in 0..3 {
            turns.put("first", number);
            turns.put("second", 10 + number);
        }
        assert_eq!(
            [turns.take_of("second"), turns.take_of("second")],
            [Some(10), Some(11)]
        );
        assert_eq!(
            [turns.take(), turns.take(), turns.take()],
            [Some(0), Some(12), Some(1)]
        );
        assert_eq!((turns.take_of("second"), turns.count), (None, 1));
    }

    proptest! {
        /// Against the sentence: by going through what each has for the one that had its last turn first.
        #[test]
        fn each_has_its_turn_and_its_order(ops in prop::collection::vec(prop::option::of(0_u8..4), 0..200)) {
            let mut turns = FairQueues::default();
            let mut naive: Vec<(u8, usize)> = Vec::new();
            // When each had its turn, or came with nothing before it.
            let mut since = [0; 4];
            for (at, op) in ops.into_iter().enumerate() {
                let Some(key) = op else {
                    let next = naive.iter().map(|(key, _)| *key).min_by_key(|key| since[usize::from(*key)]);
                    let taken = next.and_then(|next| {
                        let first = naive.iter().position(|(key, _)| *key == next)?;
                        since[usize::from(next)] = at + 1;
                        Some(naive.remove(first).1)
                    });
                    prop_assert_eq!(turns.take(), taken);
                    continue;
                };
                if naive.iter().all(|(of, _)| *of != key) {
                    since[usize::from(key)] = at + 1;
                }
                naive.push((key, at));
                turns.put(key, at);
                prop_assert_eq!(turns.count, naive.len());
                prop_assert_eq!(turns.of(key), naive.iter().filter(|(of, _)| *of == key).count());
            }
        }
    }
}
