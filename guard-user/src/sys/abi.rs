//! Numbers of the kernel's interface, for a seccomp filter to compare with.

pub use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, SYS_io_uring_enter, SYS_io_uring_register,
    SYS_io_uring_setup, SYS_ioctl, SYS_request_key, SYS_socket, SYS_socketpair,
};

/// Types a byte into a terminal, as if its user had. ioctl_tty(2)
pub const TIOCSTI: u32 = libc::TIOCSTI as u32;

/// Makes a descriptor of `/dev/net/tun` an end of a network device. linux/if_tun.h
pub const TUNSETIFF: u32 = libc::TUNSETIFF as u32;

/// On a console: pastes the selection, among other things. ioctl_console(2)
pub const TIOCLINUX: u32 = libc::TIOCLINUX as u32;
