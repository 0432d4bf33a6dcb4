//! What SSH's messages are made of (RFC 4251, section 5): numbers, and text behind its length.

use crate::signature::AnswerRefusal;

/// Bytes that are still to be read.
pub(crate) struct Wire<'b>(&'b [u8]);

impl<'b> Wire<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// The next bytes, if there are as many.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'b [u8], AnswerRefusal> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, AnswerRefusal> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn number(&mut self) -> Result<u32, AnswerRefusal> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(crate) fn string(&mut self) -> Result<&'b [u8], AnswerRefusal> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| CUT)?)
    }

    /// A positive number of 32 bytes at most, in the one way that it is written (`mpint`), as 32 bytes.
    pub(crate) fn scalar(&mut self) -> Result<[u8; 32], AnswerRefusal> {
        let written = self.string()?;
        let digits = match written {
            [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => rest,
            [1..0x80, ..] => written,
            _ => return Err(CUT),
        };
        let mut scalar = [0; 32];
        let start = scalar.len().checked_sub(digits.len()).ok_or(CUT)?;
        scalar[start..].copy_from_slice(digits);
        Ok(scalar)
    }

    /// That nothing is left.
    pub(crate) fn end(self) -> Result<(), AnswerRefusal> {
        if self.0.is_empty() { Ok(()) } else { Err(CUT) }
    }
}

const CUT: AnswerRefusal = AnswerRefusal::Malformed("signature or key of SSH");

/// Text behind its length.
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) {
    // Nothing here is as long as 4 GiB.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    out.extend(length.to_be_bytes());
    out.extend(text);
}
