//! The chunks of a body, RFC 9112 7.1, up to the trailer section.

use super::{framing::LONGEST, malformed::Malformed};

/// The digits of the largest number of 64 bits.
const MOST_DIGITS: u8 = 16;

/// Where in the chunks of a body a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In a chunk size, after so many digits of it.
    Size { digits: u8, size: u64 },
    /// Between CR and LF after a chunk size.
    SizeLf { size: u64 },
    /// In a chunk that has so many bytes left, at least one.
    Data { left: u64 },
    /// After the bytes of a chunk.
    DataCr,
    /// Between CR and LF after the bytes of a chunk.
    DataLf,
    /// After the line of the last chunk. What follows is the trailer section.
    Over,
}

impl Chunks {
    pub(super) const START: Self = Self::Size { digits: 0, size: 0 };

    /// How many of these bytes are of the chunks. It is zero only for no bytes, and where the chunks are over.
    ///
    /// # Errors
    /// Where the first byte is one that cannot be there.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match (&mut *self, bytes) {
            (Self::Over, _) | (_, []) => Ok(0),
            (Self::Data { left }, _) => {
                let here = bytes.len();
                let taken = usize::try_from(*left).map_or(here, |left| left.min(here));
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::DataCr;
                }
                Ok(taken)
            }
            (_, [byte, ..]) => {
                *self = self.after(*byte)?;
                Ok(1)
            }
        }
    }

    /// The state after a byte that is not a chunk's own.
    fn after(self, byte: u8) -> Result<Self, Malformed> {
        Ok(match (self, byte) {
            (Self::Size { digits: 1.., size }, b'\r') => Self::SizeLf { size },
            (Self::Size { digits, size }, _) => digit(digits, size, byte)?,
            (Self::SizeLf { size: 0 }, b'\n') => Self::Over,
            (Self::SizeLf { size }, b'\n') => Self::Data { left: size },
            (Self::SizeLf { .. }, _) => return Err(Malformed::BareCr),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::DataCr, b'\n') => return Err(Malformed::BareLf),
            _ => return Err(Malformed::ChunkEnd),
        })
    }
}

fn digit(digits: u8, size: u64, byte: u8) -> Result<Chunks, Malformed> {
    let value = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        b'\n' => return Err(Malformed::BareLf),
        b';' if digits > 0 => return Err(Malformed::ChunkExtension),
        _ => return Err(Malformed::ChunkSize(byte)),
    };
    match size << 4 | u64::from(value) {
        _ if digits == MOST_DIGITS => Err(Malformed::ChunkTooLarge),
        size if size > LONGEST => Err(Malformed::ChunkTooLarge),
        size => Ok(Chunks::Size {
            digits: digits + 1,
            size,
        }),
    }
}
