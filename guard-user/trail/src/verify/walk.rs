//! Along the chain, line by line.

use std::io;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    super::chain::{ChainHead, Chained, Digest, Line},
    Break, BreakKind, LineRef, Lines, NotedHead, Source, Verified,
    signatures::Signatures,
};

/// Where a walk along the chain has come to.
pub(super) struct Walk<'n> {
    found: Verified,
    noted: &'n [ChainHead],
    /// Which of them were met.
    met: Vec<Option<bool>>,
    file: String,
    pub(super) line: u64,
    /// What stands in this file before its chain begins.
    plain: Sha256,
    head: Option<ChainHead>,
    signatures: Option<Signatures>,
}

impl<'n> Walk<'n> {
    pub(super) fn new(
        files: usize,
        noted: &'n [ChainHead],
        signatures: Option<Signatures>,
    ) -> Self {
        Self {
            found: Verified {
                files,
                ..Verified::default()
            },
            noted,
            met: vec![None; noted.len()],
            file: String::new(),
            line: 0,
            plain: Sha256::new(),
            head: None,
            signatures,
        }
    }

    pub(super) fn begin(&mut self, file: String) {
        self.file = file;
        self.line = 0;
        self.plain = Sha256::new();
    }

    pub(super) fn step(&mut self, line: &[u8]) -> Result<(), BreakKind> {
        let Some(whole) = line.strip_suffix(b"\n") else {
            return self.end(line);
        };
        match Line::of(whole) {
            Line::Nothing => Err(BreakKind::NoRecord),
            Line::Plain(_) if self.head.is_some() => Err(BreakKind::Unchained),
            Line::Plain(_) => {
                self.plain.update(line);
                self.found.unchained += 1;
                Ok(())
            }
            Line::Chained(one) => self.chained(&one),
        }
    }

    /// A last line without a newline: torn where a crash can have left it so, which is the beginning of a record.
    fn end(&mut self, line: &[u8]) -> Result<(), BreakKind> {
        let is_torn = match serde_json::from_slice::<Value>(line) {
            Ok(_) => line.last() == Some(&b'}'),
            Err(error) => error.is_eof() && line.first() == Some(&b'{'),
        };
        if !is_torn {
            return Err(BreakKind::NoRecord);
        }
        self.found.torn.push(self.place());
        Ok(())
    }

    fn chained(&mut self, one: &Chained<'_>) -> Result<(), BreakKind> {
        let before = self.before(one)?;
        if !one.follows(&before) {
            return Err(BreakKind::Edited);
        }
        self.head = Some(one.head);
        self.found.records += 1;
        self.found.first.get_or_insert(one.head.number);
        self.found.from.get_or_insert(one.record.at);
        self.found.to = Some(one.record.at);
        if let Some(signatures) = &mut self.signatures {
            signatures.see(one.head.number, &one.record);
        }
        self.found.lost += one.record.common().lost.take().unwrap_or(0);
        for (noted, met) in self.noted.iter().zip(&mut self.met) {
            if noted.number == one.head.number {
                *met = Some(noted.hash == one.head.hash);
            }
        }
        Ok(())
    }

    /// The hash that the line has to follow.
    fn before(&self, one: &Chained<'_>) -> Result<Digest, BreakKind> {
        let number = one.head.number;
        let Some(head) = self.head else {
            return self.before_first(one);
        };
        match number.checked_sub(head.number) {
            Some(1) => {}
            Some(0) => return Err(BreakKind::Repeated),
            Some(_) => return Err(BreakKind::Missing),
            None if number == 1 => return Err(BreakKind::Restarted),
            None => return Err(BreakKind::Reordered),
        }
        match one.previous {
            None if self.line == 1 => Err(BreakKind::CutFront),
            Some(said) if said != head.hash => Err(BreakKind::Edited),
            _ => Ok(head.hash),
        }
    }

    fn before_first(&self, one: &Chained<'_>) -> Result<Digest, BreakKind> {
        match one.previous {
            None => Err(BreakKind::CutFront),
            // What is before the chain in its file is covered by its first line.
            Some(said) if one.head.number == 1 => {
                let plain: [u8; 32] = self.plain.clone().finalize().into();
                (said == Digest::from(plain))
                    .then_some(said)
                    .ok_or(BreakKind::Edited)
            }
            Some(said) if self.found.unchained == 0 => Ok(said),
            Some(_) => Err(BreakKind::Missing),
        }
    }

    /// A number that is too high is of a line that stands too early, or one whose predecessors are gone: which, what
    /// follows tells.
    pub(super) fn told_apart(
        &self,
        kind: BreakKind,
        line: &[u8],
        mut rest: Lines,
        sources: impl Iterator<Item = Source>,
    ) -> io::Result<BreakKind> {
        let (BreakKind::Missing, Some(head)) = (kind, self.head) else {
            return Ok(kind);
        };
        if self.has_another_number(&head, line) {
            return Ok(BreakKind::Edited);
        }
        let is_next = |line: &[u8]| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            matches!(Line::of(line), Line::Chained(one) if one.head.number == head.number + 1)
        };
        let mut others = sources.map(|source| Lines::new(source.lines));
        loop {
            while let Some(line) = rest.next()? {
                if is_next(&line) {
                    return Ok(BreakKind::Reordered);
                }
            }
            match others.next() {
                Some(next) => rest = next,
                None => return Ok(kind),
            }
        }
    }

    /// Whether the line is the next one but for its number.
    fn has_another_number(&self, head: &ChainHead, line: &[u8]) -> bool {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\n');
        let Line::Chained(one) = Line::of(text.as_bytes()) else {
            return false;
        };
        let [is, was] = [one.head.number, head.number + 1].map(|n| format!(",\"number\":{n}"));
        let as_it_was = text.replacen(&is, &was, 1);
        matches!(Line::of(as_it_was.as_bytes()), Line::Chained(one) if one.follows(&head.hash))
    }

    fn place(&self) -> LineRef {
        LineRef {
            file: self.file.clone(),
            line: self.line,
        }
    }

    pub(super) fn stop(&mut self, kind: BreakKind) {
        let LineRef { file, line } = self.place();
        let next = self.head.map_or(1, |head| head.number + 1);
        self.found.broken = Some(Break {
            file,
            line,
            kind,
            why: kind.why(next),
        });
    }

    pub(super) fn finish(mut self) -> Verified {
        let (first, last) = (self.found.first, self.head.map(|head| head.number));
        let noted = self.noted.iter().zip(&self.met);
        let noted = noted.map(|(head, met)| {
            let why = match met {
                Some(true) => None,
                Some(false) => Some("its number has another hash: the chain was rewritten"),
                None if first.is_some_and(|first| head.number < first) => {
                    Some("it is older than what is left")
                }
                None if self.found.broken.is_some() => Some("the chain breaks before it"),
                None if last.is_none() => Some("there is no chain"),
                None => Some("the chain ends before it: its end was cut off"),
            };
            NotedHead {
                head: *head,
                found: why.is_none(),
                why,
            }
        });
        self.found.noted = noted.collect();
        self.found.head = self.head;
        let all_found = self.found.noted.iter().all(|noted| noted.found);
        self.found.signatures = self.signatures.map(Signatures::found);
        let mut signed = self.found.signatures.iter().flatten();
        let all_signed = signed.all(|one| one.ok);
        let is_one = self.head.is_some() && self.found.broken.is_none();
        self.found.whole = is_one && all_found && all_signed;
        self.found
    }
}
