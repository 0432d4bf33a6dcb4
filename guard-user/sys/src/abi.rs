//! Numbers of the kernel's interface, for a seccomp filter to compare with.

pub use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, IP_FREEBIND, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP,
    IPV6_FREEBIND, NETLINK_USERSOCK, SO_MAX_PACING_RATE, SO_TXTIME, SOL_SOCKET, SYS_io_uring_enter,
    SYS_io_uring_register, SYS_io_uring_setup, SYS_ioctl, SYS_open_by_handle_at, SYS_prlimit64,
    SYS_request_key, SYS_setns, SYS_setsockopt, SYS_socket, SYS_socketpair, TCP_ULP,
};

/// Types a byte into a terminal, as if its user had. ioctl_tty(2)
pub const TIOCSTI: u32 = libc::TIOCSTI as u32;

/// Makes a descriptor of `/dev/net/tun` an end of a network device. linux/if_tun.h
pub const TUNSETIFF: u32 = libc::TUNSETIFF as u32;

/// Has what was written to `/dev/uinput` be a keyboard or a mouse, in either way to describe one. linux/uinput.h, `_IO('U', 1)`
pub const UI_DEV_CREATE: u32 = 0x5501;

/// On a console: pastes the selection, among other things. ioctl_console(2)
pub const TIOCLINUX: u32 = libc::TIOCLINUX as u32;
