//! What was kept elsewhere of an audit log, against what may become of it on the way.

use guard_proto::{LogKind, LogRecord};
use jiff::Timestamp;
use proptest::{prelude::*, sample::Index};
use serde_json::Map;

use super::super::{
    chain::{ChainHead, seal},
    verify::collected::{Collected, Collector, LogFinding, Missing},
};

/// The lines of a chain of so many records, of which each tells that text.
fn chain(count: usize, text: &str) -> Vec<Vec<u8>> {
    let mut head = ChainHead::behind(&b""[..]).unwrap();
    behind(&mut head, count, text)
}

fn behind(head: &mut ChainHead, count: usize, text: &str) -> Vec<Vec<u8>> {
    let lines = (0..count).map(|_| {
        let mut fields = Map::new();
        fields.insert("rule".to_owned(), text.into());
        let record = LogRecord {
            at: Timestamp::UNIX_EPOCH,
            kind: LogKind::Denied,
            session: None,
            fields,
        };
        let (mut line, next) = seal(head, false, &record).unwrap();
        line.pop();
        *head = next;
        line
    });
    lines.collect()
}

fn collect<'l>(lines: impl IntoIterator<Item = &'l Vec<u8>>) -> Collected {
    let mut collector = Collector::new(None);
    lines.into_iter().for_each(|line| collector.take(line));
    collector.finish()
}

#[test]
fn what_came_once_in_order_is_whole() {
    let lines = chain(5, "a");
    let found = collect(&lines);
    assert!(found.whole, "{found:?}");
    assert_eq!((found.records, found.first, found.doubles), (5, Some(1), 0));
    assert!(collect(&lines[2..]).whole, "the oldest may be gone");
    assert!(!collect(&[]).whole);
}

#[test]
fn a_gap_is_told_with_what_the_sender_said() {
    let mut lines = chain(9, "a");
    lines.drain(3..5);
    let gap = |why| LogFinding::Gap {
        from: 4,
        to: 5,
        why,
    };
    assert_eq!(collect(&lines).findings, [gap(None)]);
    let missing = Missing {
        from: 4,
        to: 5,
        why: "gone".to_owned(),
    };
    lines.insert(3, serde_json::to_vec(&missing).unwrap());
    assert_eq!(collect(&lines).findings, [gap(Some("gone".to_owned()))]);
}

#[test]
fn what_the_sender_says_to_be_missing_is_missing_wherever_it_is() {
    let lines = chain(9, "a");
    let missing = |from, to| {
        let why = "too long".to_owned();
        serde_json::to_vec(&Missing { from, to, why }).unwrap()
    };
    let gap = |from, to| LogFinding::Gap {
        from,
        to,
        why: Some("too long".to_owned()),
    };
    let found = |kept: &[Vec<u8>], said: &[Vec<u8>]| collect(kept.iter().chain(said)).findings;
    assert_eq!(found(&lines[..6], &[missing(7, 9)]), [gap(7, 9)]);
    assert_eq!(found(&lines[3..], &[missing(1, 3)]), [gap(1, 3)]);
    assert_eq!(found(&[], &[missing(1, 9)]), [gap(1, 9)]);
    let split = [missing(1, 4), missing(2, 20), missing(30, 31)];
    assert_eq!(
        found(&lines[2..], &split),
        [gap(1, 2), gap(10, 20), gap(30, 31)]
    );
    assert_eq!(found(&lines, &[missing(2, 5)]), [], "it came after all");
    let endless = [missing(0, u64::MAX), missing(5, 4)];
    assert_eq!(
        found(&lines, &endless),
        [LogFinding::NoRecord, LogFinding::NoRecord]
    );
}

#[test]
fn numbers_without_end_and_a_log_that_begins_anew_again_and_again_hold_nobody_up() {
    let mut head = ChainHead {
        number: u64::MAX - 2,
        ..ChainHead::behind(&b""[..]).unwrap()
    };
    let lines = behind(&mut head, 2, "a");
    assert_eq!(
        collect(&lines).findings,
        [LogFinding::NoRecord, LogFinding::NoRecord]
    );
    let whole = chain(20_000, "a");
    let mut head = ChainHead::behind(&b""[..]).unwrap();
    behind(&mut head, 19_999, "a");
    let (mut one, mut other) = (head, head);
    let ends = [behind(&mut one, 1, "b"), behind(&mut other, 1, "c")].concat();
    let found = collect(whole.iter().chain(ends.iter().cycle().take(20_000)));
    assert_eq!(found.records, 40_000);
    assert_eq!(found.findings.len() as u64 + found.more, 20_000);
}

#[test]
fn a_log_that_was_removed_or_brought_back_is_told() {
    let mut lines = chain(5, "a");
    lines.extend(chain(7, "b"));
    let found = collect(&lines);
    let back = |number| LogFinding::WentBack { number, after: 5 };
    assert_eq!(found.findings, [back(1)]);
    assert_eq!((found.records, found.doubles), (12, 0));
    // From a picture of the machine that has three.
    let mut head = ChainHead::behind(&b""[..]).unwrap();
    let mut lines = behind(&mut head, 3, "a");
    let mut other = head;
    lines.extend(behind(&mut head, 2, "a"));
    lines.extend(behind(&mut other, 4, "b"));
    let found = collect(&lines);
    assert_eq!(found.findings, [back(4)]);
    assert_eq!(found.head, Some(other));
}

#[test]
fn what_is_no_record_is_told() {
    let mut lines = chain(3, "a");
    lines.insert(1, b"hello".to_vec());
    assert_eq!(collect(&lines).findings, [LogFinding::NoRecord]);
}

proptest! {
    #[test]
    fn order_and_doubles_change_nothing(
        count in 1_usize..40,
        again in prop::collection::vec(any::<Index>(), 0..20),
        swaps in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let lines = chain(count, "a");
        let mut came = lines.clone();
        came.extend(again.iter().map(|at| at.get(&lines).clone()));
        for at in &swaps {
            let at = at.index(count);
            // The very first is not there before it has come: that is an audit log whose oldest records are gone.
            if at > 1 {
                came.swap(at - 1, at);
            }
        }
        let found = collect(&came);
        prop_assert!(found.whole, "{found:?}");
        prop_assert_eq!((found.records, found.doubles), (count as u64, again.len() as u64));
    }

    #[test]
    fn an_altered_byte_is_told(count in 2_usize..20, at in any::<Index>(), byte in any::<Index>()) {
        let mut lines = chain(count, "a");
        let line = &mut lines[at.index(count)];
        let byte = byte.index(line.len());
        line[byte] ^= 1;
        let found = collect(&lines);
        // The last one's hash is what nothing follows: whoever has noted the head tells.
        prop_assert!(!found.whole, "{found:?}");
    }
}
