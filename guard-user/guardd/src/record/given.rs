//! Which ids the audit log names already. The kernel's counters begin again with its state, as after a reboot.

use std::{io, io::BufRead, path::Path};

use guard_common::{HoleId, SessionId};
use guard_datapath::LastIds;
use guard_proto::{
    LogRecord,
    record::{Field, Record},
};
use guard_trail::files;
use memchr::memmem::find;

/// The kinds of records that name a new id, as they stand in a line: only these lines are parsed.
const KINDS: [&[u8]; 3] = [
    br#""kind":"session-start""#,
    br#""kind":"request""#,
    br#""kind":"hole-open""#,
];

/// The highest ids that the audit log at `path` names, as far as its files are kept and can be read. The newest file has them, but
/// for a kind of id that it has none of.
///
/// # Errors
///
/// The system's.
pub(crate) fn last_in(path: &Path) -> io::Result<LastIds> {
    let mut last = LastIds::default();
    for file in files::of(path)?.read.iter().rev() {
        add(&mut last, files::open(file)?.as_mut())?;
        let LastIds {
            session,
            request,
            hole,
        } = last;
        if ![session.0, request, hole.0].contains(&0) {
            break;
        }
    }
    Ok(last)
}

fn add(last: &mut LastIds, from: &mut dyn BufRead) -> io::Result<()> {
    let mut line = Vec::new();
    while files::read_line(from, &mut line)? {
        if !KINDS.iter().any(|kind| find(&line, kind).is_some()) {
            continue;
        }
        // What is no record was not written by guardd.
        let Ok(record) = serde_json::from_slice::<LogRecord>(&line) else {
            continue;
        };
        match record.record() {
            Record::SessionStart(_) => {
                let id = record.session.as_deref().and_then(|id| number(id, 's'));
                last.session = last.session.max(SessionId(id.unwrap_or(0)));
            }
            Record::Request(one) => last.request = last.request.max(of(&one.request, 'r')),
            Record::HoleOpen(one) => last.hole = last.hole.max(HoleId(of(&one.hole, 'h'))),
            _ => {}
        }
    }
    Ok(())
}

fn of(id: &Field<String>, letter: char) -> u32 {
    id.get().and_then(|id| number(id, letter)).unwrap_or(0)
}

fn number(id: &str, letter: char) -> Option<u32> {
    id.strip_prefix(letter)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use guard_proto::record::{Denied, HoleOpen, Request, SessionStart};

    use super::*;
    use crate::record::audit::{Audit, LogEntry};

    #[test]
    fn the_highest_ids_count_in_whichever_file_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        assert_eq!(last_in(&path).unwrap(), LastIds::default());
        let mut audit = Audit::open(&path).unwrap();
        for session in ["s2", "s11", "s9"] {
            let start = SessionStart::default();
            audit.write(LogEntry::of(session, 1000, start)).unwrap();
        }
        let hole = HoleOpen {
            hole: "h4".into(),
            ..HoleOpen::default()
        };
        audit.write(LogEntry::of("s2", 1000, hole)).unwrap();
        fs::rename(&path, dir.path().join("audit.jsonl.1")).unwrap();
        audit.follow_path();
        let asked = Request {
            request: "r7".into(),
            // Quoted, it is no record's.
            note: r#"{"kind":"session-start","session":"s99"}"#.into(),
            ..Request::default()
        };
        audit.write(LogEntry::of("s12", 1000, asked)).unwrap();
        audit
            .write(LogEntry::of("s13", 1000, Denied::default()))
            .unwrap();
        let last = LastIds {
            session: SessionId(11),
            request: 7,
            hole: HoleId(4),
        };
        assert_eq!(last_in(&path).unwrap(), last);
    }
}
