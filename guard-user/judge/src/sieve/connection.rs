//! The Connection field of a request, RFC 9110 7.6.1.

use super::{field::Field, malformed::Malformed};

/// What becomes of a connection after a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Connection {
    close: bool,
    keep_alive: bool,
}

impl Connection {
    /// Takes a Connection field. The options are those in use. Any other names a field that an intermediary takes
    /// out: `Host`, `Authorization` or `Content-Length` would be gone for the server, and not for whoever judged.
    pub(super) fn take(&mut self, field: &Field<'_>) -> Result<(), Malformed> {
        for option in field.elements() {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            match () {
                () if is("close") => self.close = true,
                () if is("keep-alive") => self.keep_alive = true,
                () if is("upgrade") || is("te") || is("http2-settings") => {}
                () => return Err(Malformed::ConnectionOption),
            }
        }
        Ok(())
    }

    /// Whether another message may follow, RFC 9112 9.3; `old` is HTTP/1.0.
    pub(super) const fn persists(self, old: bool) -> bool {
        !self.close && (!old || self.keep_alive)
    }
}
