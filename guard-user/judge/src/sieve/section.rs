//! The lines of a head or a trailer section, which is held back until it is whole.

use memchr::memchr;

use super::malformed::Malformed;

/// How far a section has been read. It is shown from its first byte on each time, and nothing is read twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// Where the first line begins that is not complete.
    pub(super) line: usize,
    /// All line ends before this position have been met.
    seen: usize,
    fields: usize,
}

impl Section {
    /// The next line that is complete, without its CRLF. The section may be `most` bytes so far, or it is `over`.
    pub(super) fn next<'b>(
        &mut self,
        bytes: &'b [u8],
        most: usize,
        over: Malformed,
    ) -> Result<Option<&'b [u8]>, Malformed> {
        let within = &bytes[..bytes.len().min(most)];
        let Some(found) = memchr(b'\n', &within[self.seen.min(within.len())..]) else {
            self.seen = within.len();
            return if within.len() == most {
                Err(over)
            } else {
                Ok(None)
            };
        };
        let end = self.seen + found;
        let line = within[self.line..end].strip_suffix(b"\r");
        (self.line, self.seen) = (end + 1, end + 1);
        line.map(Some).ok_or(Malformed::BareLf)
    }

    /// Counts one more field.
    pub(super) fn field(&mut self, most: usize) -> Result<(), Malformed> {
        self.fields += 1;
        if self.fields <= most {
            Ok(())
        } else {
            Err(Malformed::TooManyFields)
        }
    }
}
