//! The last records of the audit log, for a guardd that has just begun.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
};

use guard_proto::LogRecord;
use memchr::memmem::find;

use super::audit::Audit;

/// The kinds that are looked for, as they stand in a line: only these lines are parsed.
const KINDS: [&[u8]; 6] = [
    br#""kind":"denied""#,
    br#""kind":"held""#,
    br#""kind":"answered""#,
    br#""kind":"hole-open""#,
    br#""kind":"hole-close""#,
    br#""kind":"http""#,
];

/// What the last so many bytes of the audit log say of refusals, answers and holes, the oldest first.
///
/// # Errors
///
/// The system's.
pub(crate) fn recent(audit: &Audit, bytes: u64) -> io::Result<Vec<LogRecord>> {
    let (current, _) = audit.current()?;
    let left = bytes.saturating_sub(current.metadata()?.len());
    let mut records = Vec::new();
    if let Some(previous) = audit.previous().filter(|_| left > 0) {
        add_last(&mut records, previous, left)?;
    }
    add_last(&mut records, current, bytes)?;
    Ok(records)
}

fn add_last(records: &mut Vec<LogRecord>, mut file: File, bytes: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(bytes);
    file.seek(SeekFrom::Start(skipped))?;
    let mut lines = BufReader::new(file.take(bytes));
    let mut line = Vec::new();
    // The rest of a line that begins before.
    if skipped > 0 {
        lines.read_until(b'\n', &mut line)?;
    }
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if KINDS.iter().any(|kind| find(&line, kind).is_some()) {
            // What is no record was not written by guardd.
            records.extend(serde_json::from_slice::<LogRecord>(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use guard_proto::record::{Denied, SessionStart};

    use super::*;
    use crate::record::audit::LogEntry;

    fn rules(records: &[LogRecord]) -> Vec<&str> {
        let rules = records.iter().map(|one| one.fields["rule"].as_str());
        rules.map(|rule| rule.unwrap_or("?")).collect()
    }

    #[test]
    fn the_last_records_are_read_from_as_many_files_as_it_takes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        let denied = |rule: &str| Denied {
            rule: rule.into(),
            ..Denied::default()
        };
        for rule in ["a", "b"] {
            audit.write(LogEntry::of("s1", 1000, denied(rule))).unwrap();
        }
        fs::rename(&path, dir.path().join("audit.jsonl.1")).unwrap();
        audit.follow_path();
        let start = SessionStart::default();
        audit.write(LogEntry::of("s1", 1000, start)).unwrap();
        audit.write(LogEntry::of("s1", 1000, denied("c"))).unwrap();
        let all = recent(&audit, 1 << 20).unwrap();
        assert_eq!(rules(&all), ["a", "b", "c"]);
        let length = fs::metadata(&path).unwrap().len();
        // One byte of the line before it is not the line.
        let last = recent(&audit, length + 1).unwrap();
        assert_eq!(rules(&last), ["c"]);
        assert!(recent(&audit, 1).unwrap().is_empty());
    }
}
