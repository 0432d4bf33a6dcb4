//! The body of a request, and what is known of it.

use super::RequestHead;

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// All of it; empty where there is none.
    Whole(&'a [u8]),
    /// A body that has not been read yet.
    Unread,
    /// A body that is too long to be judged.
    TooLong,
}

impl<'a> Body<'a> {
    pub(super) fn of(request: &RequestHead<'_>, body: Option<&'a [u8]>) -> Self {
        match body {
            Some(body) if body.len() > super::BODY_LIMIT => Self::TooLong,
            Some(body) => Self::Whole(body),
            None if request.has_body => Self::Unread,
            None => Self::Whole(&[]),
        }
    }
}
