//! Events that were taken out of the ring buffer and are not handled yet. Whoever causes more than guardd can handle waits alone: one event
//! of each is handled after the other.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd},
};

use guard_common::{Hook, SessionId};
use guard_datapath::{EventReader, KernelEvent};

/// Events of one [`Causer`] that wait. The kernel half reports 384 in a second of an outermost session and those inside it.
const MAX_OF_ONE: usize = 1024;
/// Events that wait in all. What comes then stays in the ring buffer, and the kernel half reports less where that is filled.
const MAX_WAITING: usize = 4096;

/// What an event was caused by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Causer {
    /// An outermost session, or one inside it.
    Session(SessionId),
    /// A process that serves a listener, outside of the sessions.
    Dialer,
    /// A process at a security hook.
    SecurityHook,
}

impl Causer {
    fn of(event: &KernelEvent, outermost_of: impl Fn(SessionId) -> SessionId) -> Self {
        match event {
            KernelEvent::Connection(event) if is_dial(event.hook) => Self::Dialer,
            KernelEvent::Connection(event) => Self::Session(outermost_of(event.session)),
            KernelEvent::Other(_) => Self::SecurityHook,
        }
    }
}

/// Whether it is about what a listener's process connects to.
pub(super) const fn is_dial(hook: u8) -> bool {
    hook == Hook::Dial as u8 || hook == Hook::ManyDials as u8
}

/// The kernel half's events, each in its turn.
#[derive(Debug)]
pub(crate) struct Events {
    reader: EventReader,
    waiting: Turns<Causer, KernelEvent>,
}

impl Events {
    /// Those of that ring buffer.
    pub(crate) fn of(reader: EventReader) -> Self {
        Self {
            reader,
            waiting: Turns::default(),
        }
    }

    /// The next event, if there is one now. `left_out` gets those that find no room, of whoever has too many waiting: never a dial, nor what
    /// a program at a security hook reports.
    pub(super) fn next(
        &mut self,
        outermost_of: impl Fn(SessionId) -> SessionId,
        mut left_out: impl FnMut(KernelEvent),
    ) -> Option<KernelEvent> {
        while self.waiting.count < MAX_WAITING
            && let Some(event) = self.reader.next()
        {
            let by = Causer::of(&event, &outermost_of);
            let is_full = self.waiting.of(by) >= MAX_OF_ONE;
            if is_full && matches!(by, Causer::Session(_)) {
                left_out(event);
            } else {
                self.waiting.put(by, event);
            }
        }
        self.waiting.take()
    }
}

/// Its descriptor is readable when there is one in the ring buffer.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// What waits for its turn, of several. Each one's come in their order.
#[derive(Debug)]
struct Turns<K, T> {
    /// The one whose turn it is first. None is empty.
    queues: VecDeque<(K, VecDeque<T>)>,
    count: usize,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self {
            queues: VecDeque::new(),
            count: 0,
        }
    }
}

impl<K: PartialEq, T> Turns<K, T> {
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
        let (key, mut queue) = self.queues.pop_front()?;
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
        let mut turns = Turns::default();
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

    proptest! {
        /// Against the sentence: by going through what each has for the one that had its last turn first.
        #[test]
        fn each_has_its_turn_and_its_order(ops in prop::collection::vec(prop::option::of(0_u8..4), 0..200)) {
            let mut turns = Turns::default();
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
