//! Names of errors, which tests compare.

use std::io;

/// The name of the error that a call gave: `EPERM`.
pub(super) fn of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => name(number),
        None => format!("{:?}", error.kind()),
    }
}

/// The name of an error number; `E` and the number for those that the network never gives.
#[must_use]
pub fn name(number: i32) -> String {
    macro_rules! names {
        ($($name:ident)*) => {
            match number {
                $(libc::$name => stringify!($name).to_owned(),)*
                _ => format!("E{number}"),
            }
        };
    }
    names! {
        EPERM ENOENT EINTR EIO ENXIO EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY ENODEV EINVAL EPIPE ENOSYS
        EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
        EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED
        ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH
        EALREADY EINPROGRESS
    }
}
