//! Events that were taken out of the ring buffer and are not handled yet. Whoever causes more than guardd can handle waits alone: one event
//! of each session is handled after the other.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
};

use guard_common::SessionId;
use guard_datapath::{EventReader, KernelEvent};
use tokio::sync::Notify;

use crate::sessions::{Session, Sessions};

/// Events of one outermost session that wait.
const MAX_OF_ONE: usize = 1024;
/// Events that wait in all. Where there are so many, only those of whom fewer than [`MIN_OF_ONE`] wait are kept.
const MAX_WAITING: usize = 4096;
const MIN_OF_ONE: usize = 64;

/// The outermost session that an event is charged to.
fn causer(event: &KernelEvent, sessions: &Sessions) -> SessionId {
    match event {
        KernelEvent::Connection(event) => sessions.outermost_of(event.session),
        KernelEvent::Other(event) => {
            let session = sessions.of_cgroup(event.cgroup);
            session.map_or(SessionId(0), Session::outermost)
        }
    }
}

/// Which events are handled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    All,
    /// Those of one outermost session and those inside it.
    Of(SessionId),
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

    /// The next of the wanted events, if there is one now. `left_out` gets those that find no room.
    pub(super) fn next(
        &mut self,
        wanted: Wanted,
        sessions: &Sessions,
        mut left_out: impl FnMut(KernelEvent),
    ) -> Option<KernelEvent> {
        while let Some(event) = self.reader.next() {
            if let Some(event) = self.waiting.put(causer(&event, sessions), event) {
                left_out(event);
            }
        }
        self.waiting.take(wanted)
    }

    /// Wakes the task that handles events where some wait.
    pub(super) fn stir_if_some_wait(&self) {
        if self.waiting.turns.count > 0 {
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

/// Those that wait.
#[derive(Debug, Default)]
struct WaitingEvents {
    turns: FairQueues<SessionId, KernelEvent>,
}

impl WaitingEvents {
    /// Has an event wait. Gives it back where too many wait of whoever causes it.
    fn put(&mut self, by: SessionId, event: KernelEvent) -> Option<KernelEvent> {
        let waiting = self.turns.of(by);
        let is_full =
            waiting >= MAX_OF_ONE || (self.turns.count >= MAX_WAITING && waiting >= MIN_OF_ONE);
        if is_full {
            return Some(event);
        }
        self.turns.put(by, event);
        None
    }

    fn take(&mut self, wanted: Wanted) -> Option<KernelEvent> {
        match wanted {
            Wanted::All => self.turns.take(),
            Wanted::Of(causer) => self.turns.take_of(causer),
        }
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
        let key = self.queues.front()?.0;
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
    use guard_common::Event;
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

    #[test]
    fn who_has_very_many_is_left_out_and_others_are_not() {
        let mut waiting = WaitingEvents::default();
        let mut put = |session| {
            let event = KernelEvent::Connection(Event::default());
            waiting.put(SessionId(session), event).is_none()
        };
        for session in 1..=4 {
            for _ in 0..MAX_OF_ONE {
                assert!(put(session));
            }
            assert!(!put(session));
        }
        // There are 4,096.
        for _ in 0..MIN_OF_ONE {
            assert!(put(5));
        }
        assert!(!put(5));
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
