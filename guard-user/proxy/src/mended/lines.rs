//! Lines, which end with LF, whatever is before that.

use memchr::memchr;

/// How far a growing section has been searched: no byte is searched twice.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of the first incomplete line.
    begun: usize,
    /// No unread line end is before this.
    seen: usize,
}

impl Lines {
    /// The length of a line, its end included; `None` if that has not come.
    pub(super) fn line(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = self.next(bytes)?;
        *self = Self::default();
        Some(end)
    }

    /// The length of a section, the empty line at its end included; `None` if that has not come.
    pub(super) fn section(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let begun = self.begun;
            let end = self.next(bytes)?;
            if content(&bytes[begun..end]).is_empty() {
                *self = Self::default();
                return Some(end);
            }
        }
    }

    fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        let Some(found) = memchr(b'\n', &bytes[self.seen..]) else {
            self.seen = bytes.len();
            return None;
        };
        let end = self.seen + found + 1;
        (self.begun, self.seen) = (end, end);
        Some(end)
    }
}

/// A line without its end.
pub(super) fn content(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
