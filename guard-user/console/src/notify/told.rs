//! What was sent, and when there may be more: an agent that asks and asks is not to have a person press yes for peace.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::message::RequestLine;

/// Seconds between two messages.
const GAP: u64 = 15;
/// Messages about one session, and about all, in [`WINDOW`] seconds.
const OF_ONE: usize = 3;
const OF_ALL: usize = 10;
const WINDOW: u64 = 300;
/// How many no's to one session within so many seconds have nobody notified of it any more, for as many.
const NOES: usize = 2;
const MUTED: u64 = 900;
/// Seconds that somebody who gathers and sends may take; one that was killed holds up nobody for longer.
const BUSY: u64 = 20;
/// Seconds that a request is known for. guardd runs the command for it again within less.
const KNOWN: u64 = 900;
/// Requests that are kept.
const MOST: usize = 256;

/// All of it. Times are seconds since boot; those in the future are of another boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notices {
    /// Requests that a message was about, and when.
    told: BTreeMap<String, u64>,
    /// Requests that none was about yet, and when they were last seen.
    waiting: BTreeMap<String, (RequestLine, u64)>,
    messages: Vec<SentMessage>,
    /// No's, by the request: to which outermost session, and when.
    #[serde(default)]
    noes: BTreeMap<String, (String, u64)>,
    /// Outermost sessions that got no too often, and since when nobody is notified of them.
    #[serde(default)]
    muted: BTreeMap<String, u64>,
    /// When somebody began to gather.
    busy: Option<u64>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SentMessage {
    at: u64,
    /// The outermost sessions whose requests it was about.
    sessions: BTreeSet<String>,
}

/// What to do about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It was sent.
    Known,
    /// Others were sent a moment ago, or too often. The next message is about it, too.
    NotYet,
    /// Gather and tell.
    Now,
}

impl Notices {
    /// Whether it is time to tell of a request.
    pub(crate) fn is_due(&mut self, line: &RequestLine, now: u64) -> Turn {
        self.expire(now);
        if self.told.contains_key(&line.key) {
            return Turn::Known;
        }
        if self.waiting.len() >= MOST && !self.waiting.contains_key(&line.key) {
            self.make_room();
        }
        self.waiting.insert(line.key.clone(), (line.clone(), now));
        let is_about = |sent: &&SentMessage| sent.sessions.contains(&line.session);
        let is_quiet = self.busy.is_some()
            || self.muted.contains_key(&line.session)
            || self.messages.last().is_some_and(|last| now < last.at + GAP)
            || self.messages.iter().filter(is_about).count() >= OF_ONE
            || self.messages.len() >= OF_ALL;
        if is_quiet {
            return Turn::NotYet;
        }
        self.busy = Some(now);
        Turn::Now
    }

    /// Only what waits still is waited for: nobody is notified of what was answered meanwhile, and of nothing twice.
    pub(crate) fn keep(&mut self, open: &BTreeSet<&str>, now: u64) {
        self.waiting.retain(|key, _| open.contains(&**key));
        for (key, at) in &mut self.told {
            if open.contains(&**key) && *at <= now {
                *at = now;
            }
        }
    }

    /// Evicts the oldest of the session that has the most: a session that floods loses its own.
    fn make_room(&mut self) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (line, _) in self.waiting.values() {
            *counts.entry(&line.session).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let most = most.map(|(session, _)| session.to_owned());
        let own = self.waiting.iter();
        let own = own.filter(|(_, (line, _))| Some(&line.session) == most.as_ref());
        let oldest = own.min_by_key(|(_, (line, at))| (*at, line.id.len(), line.id.clone()));
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.waiting.remove(&key);
        }
    }

    /// What a message is to be about, the first first.
    pub(crate) fn waiting(&self) -> Vec<RequestLine> {
        let all = self.waiting.values().map(|(line, _)| line);
        let all = all.filter(|line| !self.muted.contains_key(&line.session));
        let mut all: Vec<_> = all.cloned().collect();
        all.sort_by_key(|line| (line.id.len(), line.id.clone()));
        all
    }

    /// A message was sent.
    pub(crate) fn note_sent(&mut self, lines: &[RequestLine], now: u64) {
        self.busy = None;
        for line in lines {
            self.waiting.remove(&line.key);
            self.told.insert(line.key.clone(), now);
        }
        let sessions = lines.iter().map(|line| line.session.clone()).collect();
        self.messages.push(SentMessage { at: now, sessions });
    }

    /// Somebody has said no to a request of that outermost session, at that time.
    pub(crate) fn note_no(&mut self, request: &str, session: &str, at: u64, now: u64) {
        self.expire(now);
        if at > now || now - at >= MUTED || self.noes.contains_key(request) {
            return;
        }
        self.noes
            .insert(request.to_owned(), (session.to_owned(), at));
        let own = self.noes.values().filter(|(of, _)| of == session);
        if own.count() >= NOES {
            let since = self.muted.entry(session.to_owned()).or_default();
            *since = at.max(*since);
        }
        if self.noes.len() > MOST {
            let oldest = self.noes.iter().min_by_key(|(_, (_, at))| *at);
            let oldest = oldest.map(|(request, _)| request.clone());
            oldest.and_then(|request| self.noes.remove(&request));
        }
    }

    /// None was: the next may try at once.
    pub(crate) fn note_failed(&mut self) {
        self.busy = None;
    }

    fn expire(&mut self, now: u64) {
        let is_since = |at: u64, age: u64| at <= now && now < at + age;
        self.told.retain(|_, at| is_since(*at, KNOWN));
        self.waiting.retain(|_, (_, at)| is_since(*at, KNOWN));
        self.messages.retain(|sent| is_since(sent.at, WINDOW));
        self.noes.retain(|_, (_, at)| is_since(*at, MUTED));
        self.muted.retain(|_, at| is_since(*at, MUTED));
        self.busy = self.busy.filter(|at| is_since(*at, BUSY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(id: &str, session: &str) -> RequestLine {
        RequestLine {
            key: format!("{id}.0"),
            id: id.to_owned(),
            session: session.to_owned(),
            has_code: false,
            to: None,
        }
    }

    /// One run of the command at that moment; how many a message was about.
    fn run(told: &mut Notices, id: &str, session: &str, now: u64) -> Option<usize> {
        let turn = told.is_due(&line(id, session), now);
        (turn == Turn::Now).then(|| {
            let lines = told.waiting();
            told.note_sent(&lines, now);
            lines.len()
        })
    }

    #[test]
    fn what_comes_at_once_is_one_message() {
        let mut told = Notices::default();
        assert_eq!(told.is_due(&line("r1", "s1"), 100), Turn::Now);
        for id in ["r2", "r10", "r3"] {
            assert_eq!(told.is_due(&line(id, "s1"), 100), Turn::NotYet);
        }
        let lines = told.waiting();
        let ids: Vec<_> = lines.iter().map(|line| &*line.id).collect();
        assert_eq!(ids, ["r1", "r2", "r3", "r10"]);
        told.note_sent(&lines, 101);
        for id in ["r1", "r2", "r3", "r10"] {
            assert_eq!(told.is_due(&line(id, "s1"), 200), Turn::Known);
        }
    }

    #[test]
    fn three_in_five_minutes_about_a_session_and_then_all_at_once() {
        let mut told = Notices::default();
        let mut messages = Vec::new();
        for second in 1000..1300 {
            let id = format!("r{second}");
            messages.extend(run(&mut told, &id, "s1", second).map(|about| (second, about)));
        }
        assert_eq!(messages, [(1000, 1), (1015, 15), (1030, 15)]);
        // Another session has its own, and the first comes with it.
        assert!(run(&mut told, "r1", "s2", 1299).is_some_and(|about| about > 200));
        assert_eq!(
            run(&mut told, "r1301", "s1", 1314),
            None,
            "the message before was about it, too"
        );
        assert_eq!(run(&mut told, "r1301", "s1", 1315), Some(1));
    }

    #[test]
    fn after_two_noes_nobody_is_told_of_that_session_for_a_quarter_of_an_hour() {
        let mut told = Notices::default();
        assert_eq!(run(&mut told, "r1", "s1", 1000), Some(1));
        told.note_no("r1", "s1", 1010, 1010);
        assert_eq!(run(&mut told, "r2", "s1", 1020), Some(1), "one is none");
        for _ in 0..3 {
            // It is read again.
            told.note_no("r1", "s1", 1010, 1025);
        }
        assert_eq!(run(&mut told, "r3", "s1", 1040), Some(1));
        told.note_no("r2", "s1", 1050, 1060);
        assert_eq!(run(&mut told, "r4", "s1", 1070), None);
        assert_eq!(run(&mut told, "r5", "s2", 1080), Some(1), "another's alone");
        assert_eq!(run(&mut told, "r6", "s1", 1049 + MUTED), None);
        // With what has waited.
        assert_eq!(run(&mut told, "r6", "s1", 1050 + MUTED), Some(2));
        // Old ones, and those of another boot, count for nothing.
        for (request, at) in [("r7", 1), ("r8", 2), ("r9", 90_000), ("r10", 90_001)] {
            told.note_no(request, "s3", at, 5000);
        }
        assert_eq!(run(&mut told, "r11", "s3", 5000), Some(1));
    }

    #[test]
    fn many_sessions_are_no_way_round() {
        let mut told = Notices::default();
        let sent = (1000..1300).filter_map(|second| {
            let (id, session) = (format!("r{second}"), format!("s{second}"));
            run(&mut told, &id, &session, second)
        });
        assert_eq!(sent.count(), OF_ALL);
    }

    #[test]
    fn whoever_floods_pushes_out_its_own_oldest() {
        let mut told = Notices::default();
        assert_eq!(run(&mut told, "r1", "s1", 1000), Some(1));
        // Nobody is notified of another so soon, and they wait.
        told.is_due(&line("r2", "s2"), 1001);
        let flood = 2 * MOST;
        for number in 0..flood {
            told.is_due(&line(&format!("r{}", 100 + number), "s3"), 1002);
        }
        let ids = |told: &Notices| {
            let lines = told.waiting().into_iter();
            lines.map(|line| line.id).collect::<Vec<_>>()
        };
        let (first, last) = (100 + flood - (MOST - 1), 100 + flood - 1);
        let waiting = ids(&told);
        assert_eq!(waiting.len(), MOST);
        let ends = [&waiting[0], &waiting[1], &waiting[MOST - 1]];
        assert_eq!(ends, ["r2", &format!("r{first}"), &format!("r{last}")]);
        // One that is there already takes no room.
        told.is_due(&line(&format!("r{last}"), "s3"), 1003);
        assert_eq!(ids(&told), waiting);
        // A third session has room, too, at the cost of the same.
        told.is_due(&line("r3", "s4"), 1003);
        assert_eq!(ids(&told)[..2], ["r2", "r3"]);
    }

    #[test]
    fn one_that_fails_or_is_killed_is_told_by_the_next() {
        let mut told = Notices::default();
        assert_eq!(told.is_due(&line("r1", "s1"), 100), Turn::Now);
        told.note_failed();
        assert_eq!(told.is_due(&line("r1", "s1"), 101), Turn::Now);
        // It is killed.
        assert_eq!(told.is_due(&line("r1", "s1"), 102), Turn::NotYet);
        assert_eq!(told.is_due(&line("r1", "s1"), 101 + BUSY), Turn::Now);
    }

    #[test]
    fn who_lists_all_that_waits_is_told_of_each_once_and_of_nothing_that_is_answered() {
        let mut told = Notices::default();
        assert_eq!(run(&mut told, "r1", "s1", 1000), Some(1));
        assert_eq!(told.is_due(&line("r2", "s1"), 1001), Turn::NotYet);
        // r1 waits for an hour, r2 is answered.
        for minute in 1..60 {
            let now = 1000 + minute * 60;
            told.keep(&["r1.0"].into(), now);
            assert_eq!(told.is_due(&line("r1", "s1"), now), Turn::Known);
        }
        assert!(told.waiting().is_empty());
    }

    #[test]
    fn what_another_boot_has_left_counts_for_nothing() {
        let mut told = Notices::default();
        assert_eq!(run(&mut told, "r1", "s1", 100_000), Some(1));
        assert_eq!(run(&mut told, "r1", "s1", 50), Some(1));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nobody_is_told_too_often(asked in prop::collection::vec((1_u64..40, 0_u8..4), 1..200)) {
            let (mut told, mut now) = (Notices::default(), 1000);
            let (mut sent, mut open) = (Vec::new(), BTreeSet::new());
            let mut ids = 0;
            for (later, session) in asked {
                now += later;
                ids += 1;
                let one = line(&format!("r{ids}"), &format!("s{session}"));
                open.insert(one.key.clone());
                if told.is_due(&one, now) == Turn::Now {
                    let lines = told.waiting();
                    for line in &lines {
                        prop_assert!(open.remove(&line.key), "told twice: {line:?}");
                    }
                    told.note_sent(&lines, now);
                    sent.push(now);
                }
            }
            for pair in sent.windows(2) {
                prop_assert!(pair[1] >= pair[0] + GAP);
            }
            for some in sent.windows(OF_ALL + 1) {
                prop_assert!(some[OF_ALL] >= some[0] + WINDOW);
            }
            let waiting: BTreeSet<_> = told.waiting().into_iter().map(|line| line.key).collect();
            prop_assert!(open.iter().filter(|key| !waiting.contains(*key)).count() == 0 || now > 1000 + KNOWN);
        }
    }
}
