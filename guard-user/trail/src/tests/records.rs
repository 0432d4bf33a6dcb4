//! A line of each form of record, as guardd 0.3.0 wrote it, without its place in the chain: what is chained has to stay as it
//! is, byte by byte.

use std::collections::BTreeSet;

use guard_proto::{
    LogRecord,
    record::{Field, Record},
};
use serde_json::json;

const LINES: &str = include_str!("records.jsonl");

#[test]
fn each_is_of_its_kind_and_is_written_again_byte_for_byte() {
    let mut kinds = BTreeSet::new();
    for line in LINES.lines() {
        let read: LogRecord = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
        let (common, record) = (read.common(), read.record());
        assert_eq!(record.kind(), read.kind);
        let written = LogRecord::new(read.at, read.session, &common, &record);
        assert_eq!(serde_json::to_string(&written).unwrap(), line);
        kinds.insert(format!("{:?}", record.kind()));
    }
    assert_eq!(kinds.len(), 12, "{kinds:?}");
}

#[test]
fn what_another_version_wrote_is_kept_and_read_as_far_as_it_is_known() {
    let line = json!({
        "at": "2026-11-20T12:00:00Z", "kind": "denied", "session": "s1", "rule": null, "count": "many", "verdict": "deny",
        "destination": {"address": 7}, "of_another_version": [1],
    });
    let read: LogRecord = serde_json::from_value(line).unwrap();
    let Record::Denied(denied) = read.record() else {
        panic!("{read:?}");
    };
    assert_eq!((denied.rule, denied.hook), (Field::Null, Field::Absent));
    assert_eq!(denied.count, Field::Other(json!("many")));
    assert!(denied.verdict.is("deny") && denied.destination.get().is_none());
    let kept = serde_json::to_value(&read).unwrap();
    assert_eq!(kept["of_another_version"], json!([1]));
    assert_eq!(kept["count"], json!("many"));
}
