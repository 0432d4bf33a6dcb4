//! The chain against whatever may be done to an audit log.

use std::io::Cursor;

use guard_proto::{LogKind, LogRecord};
use jiff::{SignedDuration, Timestamp};
use proptest::{prelude::*, sample::Index};
use serde_json::{Map, json};

use super::super::{
    chain::{ChainHead, Line, seal},
    verify::{BreakKind, Source, Verified, verify},
};

fn record(number: usize) -> LogRecord {
    let fields = json!({ "uid": 1000, "rule": format!("r{number} \"\\ü\n") });
    LogRecord {
        at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number as i64),
        kind: LogKind::Denied,
        session: Some(format!("s{number}")),
        fields: fields.as_object().cloned().unwrap_or_else(Map::new),
    }
}

/// A line of a version that knew no chain.
fn plain(number: usize) -> Vec<u8> {
    let mut line = serde_json::to_vec(&record(number)).unwrap();
    line.push(b'\n');
    line
}

/// The lines of files, each of so many records, behind so many plain ones; and the heads of all.
fn trail(plain_ones: usize, files: &[usize]) -> (Vec<Vec<Vec<u8>>>, Vec<ChainHead>) {
    let mut all: Vec<Vec<Vec<u8>>> = files.iter().map(|_| Vec::new()).collect();
    all[0].extend((0..plain_ones).map(plain));
    let mut head = ChainHead::behind(all[0].concat().as_slice()).unwrap();
    let mut heads = Vec::new();
    for (file, count) in all.iter_mut().zip(files) {
        for number in 0..*count {
            let (line, next) = seal(&head, file.is_empty(), &record(number)).unwrap();
            file.push(line);
            head = next;
            heads.push(head);
        }
    }
    (all, heads)
}

fn check(files: &[Vec<u8>], noted: &[ChainHead]) -> Verified {
    let sources = files.iter().enumerate().map(|(number, bytes)| Source {
        name: format!("f{number}"),
        lines: Box::new(Cursor::new(bytes.clone())),
    });
    verify(sources.collect(), noted).unwrap()
}

fn joined(files: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    files.iter().map(|lines| lines.concat()).collect()
}

fn kind(lines: &[Vec<u8>]) -> Option<(u64, BreakKind)> {
    let found = check(&[lines.concat()], &[]);
    assert_eq!(found.whole, found.broken.is_none());
    found.broken.map(|broken| (broken.line, broken.kind))
}

#[test]
fn what_was_done_to_a_trail_is_told_apart() {
    let (files, _) = trail(0, &[6]);
    let lines = &files[0];
    assert_eq!(kind(lines), None);
    let mut edited = lines.clone();
    let text = String::from_utf8(edited[2].clone()).unwrap();
    edited[2] = text.replace("\"s2\"", "\"s7\"").into_bytes();
    assert_eq!(kind(&edited), Some((3, BreakKind::Edited)));
    let mut renumbered = lines.clone();
    renumbered[2] = text.replace("\"number\":3", "\"number\":5").into_bytes();
    assert_eq!(kind(&renumbered), Some((3, BreakKind::Edited)));
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat();
    assert_eq!(kind(&without(2)), Some((3, BreakKind::Missing)));
    assert_eq!(kind(&without(0)), Some((1, BreakKind::CutFront)));
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    assert_eq!(kind(&swapped), Some((3, BreakKind::Reordered)));
    let mut twice = lines.clone();
    twice.insert(3, lines[2].clone());
    assert_eq!(kind(&twice), Some((4, BreakKind::Repeated)));
    let mut foreign = lines.clone();
    foreign.insert(3, plain(3));
    assert_eq!(kind(&foreign), Some((4, BreakKind::Unchained)));
    let mut garbage = lines.clone();
    garbage.insert(3, b"x\n".to_vec());
    assert_eq!(kind(&garbage), Some((4, BreakKind::NoRecord)));
    let anew = [&lines[..], &lines[..1]].concat();
    assert_eq!(kind(&anew), Some((7, BreakKind::Restarted)));
}

#[test]
fn a_torn_last_line_is_no_edit() {
    let (files, _) = trail(0, &[3]);
    let whole = files[0].concat();
    let last = files[0][2].len();
    for cut in 1..last {
        let found = check(&[whole[..whole.len() - cut].to_vec()], &[]);
        assert!(found.whole && found.broken.is_none(), "{cut}: {found:?}");
        assert_eq!((found.records, found.torn.len()), (2, 1), "{cut}");
        assert_eq!(found.torn[0].line, 3);
    }
    for end in [" ", "}", "x", "\r", "\0"] {
        let mut edited = whole.clone();
        edited.pop();
        edited.extend(end.bytes());
        let broken = check(&[edited], &[]).broken.unwrap();
        assert_eq!((broken.line, broken.kind), (3, BreakKind::NoRecord));
    }
}

#[test]
fn a_noted_head_finds_what_no_chain_can_show() {
    let (files, heads) = trail(0, &[3, 2]);
    let all = joined(&files);
    assert!(check(&all, &heads).whole);
    // Its end cut off.
    let found = check(&[files[0].concat()], &heads);
    assert!(!found.whole && found.broken.is_none());
    assert_eq!(found.noted.iter().filter(|noted| noted.found).count(), 3);
    // Rewritten from the second record on, which root can do.
    let other = LogRecord {
        kind: LogKind::Held,
        ..record(1)
    };
    let (line, head) = seal(&heads[0], false, &other).unwrap();
    let forged = [&files[0][0][..], &line].concat();
    assert!(check(std::slice::from_ref(&forged), &[]).whole);
    assert!(check(std::slice::from_ref(&forged), &[heads[0], head]).whole);
    let found = check(&[forged], &heads[1..2]);
    assert!(found.noted[0].why.unwrap().contains("rewritten"));
    // Those before are gone: it is whole, and what was noted of them cannot be found.
    let late = check(&all[1..], &[]);
    assert_eq!((late.whole, late.first), (true, Some(4)));
    assert!(!check(&all[1..], &heads[..1]).whole);
}

#[test]
fn what_was_before_the_chain_is_said_to_be() {
    let old = [plain(1), plain(2)].concat();
    let found = check(&[old], &[]);
    assert_eq!((found.whole, found.unchained, found.records), (false, 2, 0));
    assert!(found.broken.is_none());
    let (files, _) = trail(2, &[2, 1]);
    let found = check(&joined(&files), &[]);
    assert_eq!((found.whole, found.unchained, found.records), (true, 2, 3));
    // The first record of the chain covers those before it in its file.
    let mut less = joined(&files);
    less[0].drain(..files[0][0].len());
    let broken = check(&less, &[]).broken.unwrap();
    assert_eq!((broken.line, broken.kind), (2, BreakKind::Edited));
}

#[test]
fn heads_read_back_as_written() {
    let (_, heads) = trail(0, &[1]);
    assert_eq!(heads[0].to_string().parse(), Ok(heads[0]));
    let text = heads[0].to_string();
    for wrong in [
        "",
        "1",
        "1:",
        "x:00",
        &text[..text.len() - 1],
        &text.to_uppercase(),
        &text.replacen(':', ":+", 1),
    ] {
        assert!(wrong.parse::<ChainHead>().is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_changed_byte_verifies_as_whole(
        plain_ones in 0..3_usize,
        counts in prop::collection::vec(1..4_usize, 1..4),
        file in any::<Index>(),
        at in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let (files, _) = trail(plain_ones, &counts);
        let mut files = joined(&files);
        let found = check(&files, &[]);
        prop_assert!(found.whole, "{:?}", found);
        prop_assert_eq!(found.records as usize, counts.iter().sum::<usize>());
        let bytes = &mut files[file.index(counts.len())];
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(!check(&files, &[]).whole);
    }

    #[test]
    fn lines_that_are_moved_or_gone_show(
        counts in prop::collection::vec(1..4_usize, 1..4),
        from in any::<Index>(),
        to in any::<Index>(),
    ) {
        let (files, heads) = trail(0, &counts);
        let total = heads.len();
        let (from, to) = (from.index(total), to.index(total));
        let split = |mut lines: Vec<Vec<u8>>| {
            let mut all = Vec::new();
            for count in &counts {
                let rest = lines.split_off((*count).min(lines.len()));
                all.push(lines.concat());
                lines = rest;
            }
            all
        };
        let flat: Vec<_> = files.concat();
        let mut gone = flat.clone();
        gone.remove(from);
        // The last line is missed by who has noted it, and by nobody else.
        // A first file that is gone with all of its lines is an audit log that begins later.
        let is_rotated = from == 0 && counts[0] == 1;
        prop_assert!(is_rotated || !check(&split(gone), &heads[total - 1..]).whole);
        prop_assume!(from != to);
        let mut swapped = flat;
        swapped.swap(from, to);
        prop_assert!(!check(&split(swapped), &[]).whole);
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        files in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4),
        inside in prop::collection::vec(any::<u8>(), 0..80),
        at in any::<Index>(),
    ) {
        prop_assert!(!check(&files, &[]).whole);
        // Among lines of a chain, too, where they tear it.
        let (chained, _) = trail(1, &[3]);
        let mut bytes = chained.concat().concat();
        let at = at.index(bytes.len());
        bytes.splice(at..at, inside.iter().copied());
        let found = check(&[bytes], &[]);
        prop_assert!(inside.is_empty() || !found.whole, "{:?}", found);
        let _ = Line::of(&inside);
    }
}
