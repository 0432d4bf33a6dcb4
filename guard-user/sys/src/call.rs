//! What system calls return, and options of sockets that rustix does not know.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use zerocopy::FromBytes;

/// What a call returned; where that is less than 0, the error that it has left behind.
pub(crate) fn check<N: Default + PartialOrd>(returned: N) -> io::Result<N> {
    if returned < N::default() {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}

/// The value of a socket's option. Of a longer one the kernel gives the beginning.
pub(crate) fn option<T: FromBytes>(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    let mut value = T::new_zeroed();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `length` writable bytes, of which each may be anything, and both live as long as the call.
    let done = unsafe {
        let value = (&raw mut value).cast();
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value,
            &raw mut length,
        )
    };
    check(done)?;
    // What the kernel has not said is not taken for a zero.
    if length as usize == size_of::<T>() {
        Ok(value)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Returns the value of a socket's option that is a list of numbers.
pub(crate) fn list_option(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<Vec<u32>> {
    let mut list = vec![0_u32; 32];
    loop {
        let mut length = size_of_val(&list[..]) as libc::socklen_t;
        // SAFETY: `list` is `length` writable bytes, of which each may be anything, and both live as long as the call.
        let done = unsafe {
            let list = list.as_mut_ptr().cast();
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                level,
                name,
                list,
                &raw mut length,
            )
        };
        let needed = length as usize / size_of::<u32>();
        match check(done) {
            // The kernel says how long it is.
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) && needed > list.len() => {
                list.resize(needed, 0);
            }
            done => {
                done?;
                list.truncate(needed);
                return Ok(list);
            }
        }
    }
}

/// Sets a socket's option that is a number.
pub(crate) fn set_option(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer is to an int, as the length says, and lives as long as the call.
    let done = unsafe {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, value, length)
    };
    check(done).map(drop)
}
