//! A body, whatever says where it ends.

use super::{chunk::Chunks, framing::Framing, malformed::Malformed};

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SievedBody {
    /// A body of this many bytes, which may be none.
    Sized { left: u64 },
    /// Chunks, then a trailer section.
    Chunked(Chunks),
    /// All that the server sends until it closes, RFC 9112 6.3.
    UntilClose,
}

impl SievedBody {
    pub(super) const NONE: Self = Self::Sized { left: 0 };

    /// The body that a head announces; `unsaid` where it says nothing.
    pub(super) fn of(framing: Framing, unsaid: Self) -> Self {
        match framing {
            Framing::Unsaid => unsaid,
            Framing::Length(left) => Self::Sized { left },
            Framing::Chunked => Self::Chunked(Chunks::START),
        }
    }

    /// How many of these bytes are of the body. Zero where there are none, or the body is over but for its trailers.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::UntilClose => Ok(bytes.len()),
            Self::Chunked(chunks) => chunks.pass(bytes),
            Self::Sized { left } => {
                let here = bytes.len();
                let taken = usize::try_from(*left).map_or(here, |left| left.min(here));
                *left -= taken as u64;
                Ok(taken)
            }
        }
    }
}
