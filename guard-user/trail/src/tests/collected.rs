//! What was kept elsewhere of a trail, against what may become of it on the way.

use guard_proto::{LogKind, LogRecord};
use jiff::Timestamp;
use proptest::{prelude::*, sample::Index};
use serde_json::Map;

use super::super::{
    chain::{Head, seal},
    verify::collected::{Collected, Collector, Finding, Missing},
};

/// The lines of a chain of so many records, of which each tells that text.
fn chain(count: usize, text: &str) -> Vec<Vec<u8>> {
    let mut head = Head::behind(&b""[..]).unwrap();
    behind(&mut head, count, text)
}

fn behind(head: &mut Head, count: usize, text: &str) -> Vec<Vec<u8>> {
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
    let gap = |why| Finding::Gap {
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
fn a_log_that_was_removed_or_brought_back_is_told() {
    let mut lines = chain(5, "a");
    lines.extend(chain(7, "b"));
    let found = collect(&lines);
    let back = |number| Finding::WentBack { number, after: 5 };
    assert_eq!(found.findings, [back(1)]);
    assert_eq!((found.records, found.doubles), (12, 0));
    // From a picture of the machine that has three.
    let mut head = Head::behind(&b""[..]).unwrap();
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
    assert_eq!(collect(&lines).findings, [Finding::NoRecord]);
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
            // The very first is not there before it has come: that is a trail whose oldest records are gone.
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
