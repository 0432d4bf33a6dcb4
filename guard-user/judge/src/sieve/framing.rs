//! Where a body ends, RFC 9112 6.

use super::{field::Field, malformed::Malformed};

/// The longest body, in bytes: some count with a sign.
pub const LONGEST: u64 = i64::MAX as u64;

/// What a head says of its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    /// Nothing.
    #[default]
    Unsaid,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding.
    Chunked,
}

impl Framing {
    /// Takes a Content-Length, RFC 9110 8.6.
    pub(super) fn content_length(&mut self, field: &Field<'_>) -> Result<(), Malformed> {
        match self {
            Self::Unsaid => *self = Self::Length(decimal(field.exact()?)?),
            Self::Length(_) => return Err(Malformed::SecondLength),
            Self::Chunked => return Err(Malformed::LengthAndEncoding),
        }
        Ok(())
    }

    /// Takes a Transfer-Encoding, RFC 9112 6.1; `old` is HTTP/1.0.
    pub(super) fn transfer_encoding(
        &mut self,
        field: &Field<'_>,
        old: bool,
    ) -> Result<(), Malformed> {
        match self {
            _ if old => return Err(Malformed::EncodingInOld),
            Self::Length(_) => return Err(Malformed::LengthAndEncoding),
            Self::Chunked => return Err(Malformed::SecondEncoding),
            Self::Unsaid if !field.exact()?.eq_ignore_ascii_case(b"chunked") => {
                return Err(Malformed::Encoding);
            }
            Self::Unsaid => *self = Self::Chunked,
        }
        Ok(())
    }
}

/// Digits only, and no zero before others: to some that is octal.
fn decimal(value: &[u8]) -> Result<u64, Malformed> {
    let zero_first = value.len() > 1 && value.starts_with(b"0");
    if value.is_empty() || zero_first || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Length);
    }
    let number = value.iter().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    number
        .filter(|&number| number <= LONGEST)
        .ok_or(Malformed::LengthTooLarge)
}
