//! What programs at the security hooks and guardd agree on.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::BootTime;

/// Where the running kernel keeps what the programs read: indices into their table of offsets, in bytes.
pub mod at {
    /// `socket.sk`
    pub const SOCKET_SK: usize = 0;
    /// `sock.sk_cgrp_data.cgroup`
    pub const SK_CGROUP: usize = 1;
    /// `sock.__sk_common.skc_family`
    pub const SK_FAMILY: usize = 2;
    /// `sock.__sk_common.skc_cookie`
    pub const SK_COOKIE: usize = 3;
    /// `sock.sk_uid`
    pub const SK_UID: usize = 4;
    /// `unix_sock.addr`
    pub const UNIX_ADDR: usize = 5;
    /// `unix_sock.peer`
    pub const UNIX_PEER: usize = 6;
    /// `unix_address.len`
    pub const ADDR_LEN: usize = 7;
    /// `unix_address.name`
    pub const ADDR_NAME: usize = 8;
    /// `cgroup.level`
    pub const CGROUP_LEVEL: usize = 9;
    /// `cgroup.ancestors`
    pub const CGROUP_ANCESTORS: usize = 10;
    /// `cgroup.kn`
    pub const CGROUP_KN: usize = 11;
    /// `kernfs_node.id`
    pub const KN_ID: usize = 12;
    /// `task_struct.cgroups`
    pub const TASK_CGROUPS: usize = 13;
    /// `css_set.dfl_cgrp`
    pub const CSET_CGROUP: usize = 14;
    /// `task_struct.tgid`
    pub const TASK_TGID: usize = 15;
    /// `file.f_inode`
    pub const FILE_INODE: usize = 16;
    /// `inode.i_mode`
    pub const INODE_MODE: usize = 17;
    /// `file.private_data`
    pub const FILE_PRIVATE: usize = 18;
    /// `task_struct.real_parent`
    pub const TASK_PARENT: usize = 19;
    /// `bpf_sock_addr_kern.sk`
    pub const SOCK_ADDR_SK: usize = 20;
    /// `bpf_sock_addr_kern.uaddr`
    pub const SOCK_ADDR_UADDR: usize = 21;
    /// `task_struct.cred`
    pub const TASK_CRED: usize = 22;
    /// `cred.user_ns`
    pub const CRED_USER_NS: usize = 23;
    /// `user_namespace.ns.inum`
    pub const USER_NS_INUM: usize = 24;
    /// How many there are.
    pub const LEN: usize = 25;
}

/// `sun_path` of unix(7), in bytes.
pub const NAME_SIZE: usize = 108;

/// The value of `LSM_SESSIONS`, keyed by the id of the session's cgroup. One without is judged like one without flags.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct LsmSession {
    /// The id of the cgroup of the session that it was started in; 0 where it was in none.
    pub outer: u64,
    /// 1 where nothing of it is judged.
    pub free: u64,
}

/// The key of `LSM_SOCKETS`: a socket of others that a session may connect to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AllowedSocket {
    /// The id of the session's cgroup; 0: every session may.
    pub session: u64,
    /// `SO_COOKIE`: nobody else's, ever.
    pub cookie: u64,
}

/// The key of `LSM_NAMES`: a name that a session may connect to, whoever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AllowedName {
    /// The id of the session's cgroup; 0: every session may, where the socket is root's.
    pub session: u64,
    /// A path and a NUL; or a NUL and an abstract name. Zeros follow.
    pub name: [u8; NAME_SIZE],
    /// How long that is, for an abstract name may end with zeros.
    pub length: u32,
}

/// The element of `LSM_STATE` that is 1 once guardd has told the programs what holds for whom: until then they refuse nobody. The
/// others are those of a [`LsmHook`]: 1 once that program was asked while guardd finds out whether it is.
pub const LSM_JUDGES: u32 = 0;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LsmHook {
    /// `connect` to a Unix socket.
    UnixConnect = 1,
    /// `connect` or `sendto` to a Unix socket for datagrams.
    UnixSend = 2,
    /// To be handed a socket.
    Receive = 3,
    /// `kill` and the like.
    Kill = 4,
}

impl LsmHook {
    /// The one that an event names, if it is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::UnixConnect,
            2 => Self::UnixSend,
            3 => Self::Receive,
            4 => Self::Kill,
            _ => return None,
        })
    }

    /// As the log names it: the kernel's name of the hook.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnixConnect => "unix_stream_connect",
            Self::UnixSend => "unix_may_send",
            Self::Receive => "file_receive",
            Self::Kill => "task_kill",
        }
    }
}

/// A refusal of theirs: also a record in the `EVENTS` ring buffer, told from [`crate::Event`] by its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LsmEvent {
    /// When.
    pub at: BootTime,
    /// The id of the session's cgroup.
    pub cgroup: u64,
    /// The thread.
    pub pid: u32,
    /// The process.
    pub tgid: u32,
    /// A signal's process, or a socket's family; else 0.
    pub subject: u32,
    /// A [`LsmHook`].
    pub hook: u32,
    /// The thread's name.
    pub comm: [u8; 16],
    /// The name that the other's socket is bound to: a path, or a NUL and an abstract name; zeros where it has none.
    pub name: [u8; NAME_SIZE],
    /// Unused.
    pub pad: [u8; 4],
}

const _: () = assert!(size_of::<LsmEvent>() != size_of::<crate::Event>());
