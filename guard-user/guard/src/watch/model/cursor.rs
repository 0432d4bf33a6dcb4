//! Which line of a list keys are for, and since when the person who presses them has seen it there.

use std::ops::Range;

use super::Moment;

/// A person who presses a key sooner after a line has changed meant what was there before: that long a hand takes to stop.
pub(crate) const SETTLES: Moment = Moment::from_millis(300);

/// A place in a list that sticks to an id, wherever that moves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    ids: Vec<String>,
    at: usize,
    /// Since when this id has been under the cursor on the screen; none: it has not been drawn yet.
    seen: Option<Moment>,
    /// Since when the screen has shown these ids in this order.
    order_seen: Option<Moment>,
    /// Which of them the screen shows.
    window: Range<usize>,
}

impl Cursor {
    /// The id under it.
    pub(crate) fn id(&self) -> Option<&str> {
        self.ids.get(self.at).map(String::as_str)
    }

    /// Where it is in the list.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// Since when the id under it has been seen there.
    pub(crate) const fn seen(&self) -> Option<Moment> {
        self.seen
    }

    /// The list has become this one. Where the id under it is gone, it stays in its place, which is another id's now.
    pub(crate) fn follow(&mut self, ids: Vec<String>) {
        if ids == self.ids {
            return;
        }
        let found = self
            .id()
            .and_then(|id| ids.iter().position(|one| one == id));
        if let Some(at) = found {
            self.at = at;
        } else {
            self.at = self.at.min(ids.len().saturating_sub(1));
            self.seen = None;
        }
        self.ids = ids;
        self.order_seen = None;
    }

    /// Goes to what has just come, which has to be seen there first.
    pub(crate) fn go_to(&mut self, id: &str) {
        if let Some(at) = self.ids.iter().position(|one| one == id) {
            self.at = at;
            self.seen = None;
        }
    }

    /// A person moves it. What was on the screen in its place already needs no second look.
    pub(crate) fn step(&mut self, by: isize) {
        let last = self.ids.len().saturating_sub(1);
        let to = self.at.saturating_add_signed(by).min(last);
        if to != self.at {
            self.at = to;
            self.seen = self.order_seen.filter(|_| self.window.contains(&to));
        }
    }

    /// The screen shows `window` of the list now.
    pub(crate) fn drawn(&mut self, window: Range<usize>, now: Moment) {
        self.order_seen.get_or_insert(now);
        if self.id().is_some() && window.contains(&self.at) {
            self.seen.get_or_insert(now);
        }
        self.window = window;
    }

    /// Somebody pressed a key too early. A key that is held down comes again and again: it must never get through.
    pub(crate) fn hurried(&mut self, now: Moment) {
        self.seen = self.seen.map(|seen| seen.max(now));
    }
}

/// Whether what was first seen at `seen` was there long enough for a key pressed at `now` to be meant for it.
pub(crate) fn is_settled(seen: Option<Moment>, now: Moment) -> bool {
    seen.is_some_and(|seen| now.saturating_sub(seen) >= SETTLES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn ids(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn drawn(text: &str) -> Cursor {
        let mut cursor = Cursor::default();
        cursor.follow(ids(text));
        cursor.drawn(0..10, at(0));
        cursor
    }

    #[test]
    fn it_sticks_to_an_id() {
        let mut cursor = drawn("r1 r2 r3");
        cursor.step(1);
        cursor.follow(ids("r0 r1 r2 r3"));
        assert_eq!((cursor.id(), cursor.at()), (Some("r2"), 2));
        assert!(
            is_settled(cursor.seen(), at(300)),
            "it is the one that was seen"
        );
        cursor.follow(ids("r0 r3"));
        assert_eq!(cursor.id(), Some("r3"));
        assert!(!is_settled(cursor.seen(), at(10_000)), "it was never drawn");
    }

    #[test]
    fn what_comes_under_it_has_to_be_seen_first() {
        let mut cursor = drawn("r1 r2");
        cursor.follow(ids("r2"));
        cursor.drawn(0..10, at(1000));
        assert!(!is_settled(cursor.seen(), at(1299)));
        assert!(is_settled(cursor.seen(), at(1300)));
        // A key from before it was drawn.
        assert!(!is_settled(cursor.seen(), at(900)));
    }

    #[test]
    fn a_key_that_is_held_down_never_gets_through() {
        let mut cursor = drawn("r1");
        for now in (0..10_000).step_by(33).map(at) {
            assert!(!is_settled(cursor.seen(), now));
            cursor.hurried(now);
        }
    }

    #[test]
    fn a_step_to_what_has_been_in_view_needs_no_second_look() {
        let mut cursor = drawn("r1 r2 r3");
        cursor.step(1);
        assert!(is_settled(cursor.seen(), at(300)));
        cursor.follow(ids("r2 r9 r3"));
        cursor.step(1);
        assert!(
            !is_settled(cursor.seen(), at(300)),
            "r9 has just come there"
        );
        let mut cursor = drawn("r1 r2 r3");
        cursor.drawn(0..1, at(0));
        cursor.step(1);
        assert!(!is_settled(cursor.seen(), at(300)), "r2 was below the edge");
    }

    proptest! {
        #[test]
        fn it_is_on_one_of_the_list(
            changes in prop::collection::vec((prop::collection::vec(0_u8..20, 0..8), -3_isize..4), 1..20),
        ) {
            let mut cursor = Cursor::default();
            for (numbers, step) in changes {
                let mut list: Vec<String> = numbers.iter().map(|number| format!("r{number}")).collect();
                list.sort();
                list.dedup();
                let before = cursor.id().map(str::to_owned);
                cursor.follow(list.clone());
                if let Some(before) = before.filter(|before| list.contains(before)) {
                    prop_assert_eq!(cursor.id(), Some(&*before));
                } else if !list.is_empty() {
                    prop_assert_eq!(cursor.seen(), None);
                }
                prop_assert_eq!(cursor.id().is_some(), !list.is_empty());
                cursor.drawn(0..8, at(0));
                cursor.step(step);
                prop_assert_eq!(cursor.id().is_some(), !list.is_empty());
            }
        }
    }
}
