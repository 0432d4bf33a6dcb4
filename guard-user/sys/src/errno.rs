//! Errors by the names that manuals have for them.

use std::io;

/// An error as people look it up.
#[must_use]
pub fn errno(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM",
        Some(libc::ENOENT) => "ENOENT",
        Some(libc::EIO) => "EIO",
        Some(libc::EACCES) => "EACCES",
        Some(libc::ENODEV) => "ENODEV",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::ENOTTY) => "ENOTTY",
        Some(libc::EROFS) => "EROFS",
        Some(libc::ENOSYS) => "ENOSYS",
        Some(libc::EOPNOTSUPP) => "EOPNOTSUPP",
        Some(libc::EAFNOSUPPORT) => "EAFNOSUPPORT",
        Some(libc::ECONNABORTED) => "ECONNABORTED",
        Some(libc::ECONNREFUSED) => "ECONNREFUSED",
        Some(libc::ENOSPC) => "ENOSPC",
        _ => return error.to_string(),
    };
    name.to_owned()
}
