//! Loads plain instructions, for kinds of programs that aya does not know. And those few that are written by hand, to try out what
//! a kernel lets us do: they are not in the eBPF object, which may not load where they are tried.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::batch::{MapSizes, map_sizes};
use super::{BPF_OBJ_GET_INFO_BY_FD, Element, InfoByFd, address, bpf};

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_LINK_CREATE: libc::c_int = 28;
/// Limit of the verifier's log, in bytes.
const LOG: usize = 64 * 1024;

/// The beginning of the variant of `union bpf_attr` for `BPF_PROG_QUERY`.
#[derive(Default)]
#[repr(C)]
struct ProgQuery {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// The kernel's id of the program that sees what is sent on the sockets of a map (`BPF_SK_MSG_VERDICT`), if there is one.
///
/// # Errors
///
/// The system's: before Linux 5.18 it cannot tell.
pub fn message_program(sockets: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    const BPF_PROG_QUERY: libc::c_int = 16;
    const BPF_SK_MSG_VERDICT: u32 = 7;
    let mut id = 0_u32;
    let mut attr = ProgQuery {
        target_fd: sockets.as_raw_fd().cast_unsigned(),
        attach_type: BPF_SK_MSG_VERDICT,
        prog_ids: address(&raw mut id),
        prog_cnt: 1,
        ..ProgQuery::default()
    };
    // SAFETY: `attr` is laid out as the command wants it, and `prog_ids` is room for one number, as `prog_cnt` says.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }?;
    Ok((attr.prog_cnt != 0).then_some(id))
}

/// What a program is loaded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    /// `enum bpf_prog_type`
    pub program: u32,
    /// `enum bpf_attach_type`
    pub attach: u32,
    /// The function in the kernel's BTF that it is for; 0: none.
    pub function: u32,
}

impl ProgramKind {
    /// At one of the hooks of a cgroup that see an address (`BPF_PROG_TYPE_CGROUP_SOCK_ADDR`).
    #[must_use]
    pub const fn address_hook(attach: u32) -> Self {
        Self {
            program: 18,
            attach,
            function: 0,
        }
    }

    /// At a hook that the kernel asks a security module of programs at (`BPF_PROG_TYPE_LSM`, `BPF_LSM_MAC`).
    #[must_use]
    pub const fn security_module(function: u32) -> Self {
        Self {
            program: 29,
            attach: 27,
            function,
        }
    }

    /// Before a function of the kernel's, and in its place where the program returns an error (`BPF_PROG_TYPE_TRACING`,
    /// `BPF_MODIFY_RETURN`).
    #[must_use]
    pub const fn before_function(function: u32) -> Self {
        Self {
            program: 26,
            attach: 26,
            function,
        }
    }

    /// At a tracepoint (`BPF_PROG_TYPE_TRACEPOINT`): what a kernel takes that takes none of those before.
    pub const TRACEPOINT: Self = Self {
        program: 5,
        attach: 0,
        function: 0,
    };

    /// A socket's own filter (`BPF_PROG_TYPE_SOCKET_FILTER`): what ordinary users may load, if anything.
    pub const SOCKET_FILTER: Self = Self {
        program: 1,
        attach: 0,
        function: 0,
    };
}

// Assembled here, since these try what a kernel takes, and must not depend on an object and its maps.

/// `mov64 r0, 0; exit`: refuses, where 0 means no.
pub const ANSWER_0: [u64; 2] = [encode(0xb7, 0, 0, 0, 0), encode(0x95, 0, 0, 0, 0)];

/// Reads the kernel's memory (`bpf_probe_read_kernel`): lockdown(7) may forbid that.
pub const READS_KERNEL: [u64; 8] = [
    // Eight bytes of the stack, for what is read.
    encode(0x7a, 10, 0, -8, 0),
    encode(0xbf, 1, 10, 0, 0),
    encode(0x07, 1, 0, 0, -8),
    encode(0xb7, 2, 0, 0, 8),
    encode(0xb7, 3, 0, 0, 0),
    encode(0x85, 0, 0, 0, 113),
    ANSWER_0[0],
    ANSWER_0[1],
];

/// Adds 1 to the first element of an array of `u64`, and lets what is asked about pass.
#[must_use]
pub fn counting(array: BorrowedFd<'_>) -> Vec<u64> {
    vec![
        // The key, 0, on the stack.
        encode(0x62, 10, 0, -4, 0),
        encode(0xbf, 2, 10, 0, 0),
        encode(0x07, 2, 0, 0, -4),
        // The map: BPF_PSEUDO_MAP_FD.
        encode(0x18, 1, 1, 0, array.as_raw_fd()),
        0,
        // bpf_map_lookup_elem
        encode(0x85, 0, 0, 0, 1),
        encode(0x15, 0, 0, 2, 0),
        encode(0xb7, 1, 0, 0, 1),
        encode(0xdb, 0, 1, 0, 0),
        ANSWER_0[0],
        ANSWER_0[1],
    ]
}

/// An instruction, `struct bpf_insn`, on a little-endian machine.
#[must_use]
pub const fn encode(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    code as u64
        | (to as u64) << 8
        | (from as u64) << 12
        | (offset.cast_unsigned() as u64) << 16
        | (value.cast_unsigned() as u64) << 32
}

/// The beginning of the variant of `union bpf_attr` for `BPF_PROG_LOAD`.
#[derive(Default)]
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    padding: u32,
}

/// Loads a program. `name` is what bpftool shows, of 15 characters at most.
///
/// # Errors
///
/// The system's: `EINVAL` where the kernel does not know the kind. Where the verifier refuses it, with its last words.
pub fn load_program(kind: ProgramKind, name: &str, code: &[u64]) -> io::Result<OwnedFd> {
    let mut attr = ProgLoad {
        prog_type: kind.program,
        insn_cnt: code.len() as u32,
        insns: address(code.as_ptr()),
        license: address(c"Dual MIT/GPL".as_ptr()),
        expected_attach_type: kind.attach,
        attach_btf_id: kind.function,
        ..ProgLoad::default()
    };
    for (to, byte) in attr.prog_name[..15].iter_mut().zip(name.bytes()) {
        *to = byte;
    }
    // SAFETY: the instructions are `insn_cnt` of eight bytes, the licence ends by a NUL, there is no log, and all outlive the
    // call.
    unsafe { descriptor(BPF_PROG_LOAD, &mut attr) }.or_else(|why| {
        // A log that has no room for all of a long program would have it refused.
        let mut log = vec![0_u8; LOG];
        attr.log_level = 1;
        attr.log_size = LOG as u32;
        attr.log_buf = address(log.as_mut_ptr());
        // SAFETY: as before, and the log is as long as is said.
        let loaded = unsafe { descriptor(BPF_PROG_LOAD, &mut attr) };
        loaded.map_err(|_| with_last_words(why, &log))
    })
}

fn with_last_words(why: io::Error, log: &[u8]) -> io::Error {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let log = String::from_utf8_lossy(&log[..end]);
    let words: Vec<_> = log.lines().rev().take(3).collect();
    if words.is_empty() {
        why
    } else {
        io::Error::new(why.kind(), format!("{why}: {}", words.join("; ")))
    }
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches a program to a cgroup for as long as the link is open.
///
/// # Errors
///
/// The system's.
pub fn attach_to_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach: u32,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type: attach,
        flags: 0,
    };
    // SAFETY: the command reads nothing but `attr`.
    unsafe { descriptor(BPF_LINK_CREATE, &mut attr) }
}

#[repr(C)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    padding: u32,
}

/// Attaches a program to the function that it was loaded for, for as long as the link is open.
///
/// # Errors
///
/// The system's.
pub fn attach_to_function(program: &OwnedFd) -> io::Result<OwnedFd> {
    let mut attr = RawTracepoint {
        name: 0,
        prog_fd: program.as_raw_fd().cast_unsigned(),
        padding: 0,
    };
    // SAFETY: the command reads nothing but `attr`: no name is given.
    unsafe { descriptor(BPF_RAW_TRACEPOINT_OPEN, &mut attr) }
}

/// The beginning of `struct bpf_prog_info`.
#[derive(Default)]
#[repr(C)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    xlated_len: u32,
}

/// Whether the kernel has compiled a program for the processor (JIT), as it says of that very program.
///
/// # Errors
///
/// The system's.
pub fn is_compiled(program: &OwnedFd) -> io::Result<bool> {
    Ok(info(program.as_fd())?.jited_len > 0)
}

/// What tells a program from others, without its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramCode {
    /// `enum bpf_prog_type`
    pub kind: u32,
    /// The tag of its instructions.
    pub tag: [u8; 8],
}

/// The code of a loaded program.
///
/// # Errors
///
/// The system's.
pub fn code(program: BorrowedFd<'_>) -> io::Result<ProgramCode> {
    let ProgInfo { kind, tag, .. } = info(program)?;
    Ok(ProgramCode { kind, tag })
}

fn info(program: BorrowedFd<'_>) -> io::Result<ProgInfo> {
    let mut info = ProgInfo::default();
    let mut attr = InfoByFd {
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        info_len: size_of::<ProgInfo>() as u32,
        info: address(&raw mut info),
    };
    // SAFETY: `info` is `info_len` writable bytes, and any bytes make a `ProgInfo`.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(info)
}

/// A loaded program, by the kernel's id.
///
/// # Errors
///
/// The system's: `NotFound` where there is none.
pub fn program_of(id: u32) -> io::Result<OwnedFd> {
    // The command reads the id, and where to go on from and how.
    let mut attr = [id, 0, 0];
    // SAFETY: the command reads nothing but `attr`, and makes a descriptor.
    unsafe { descriptor(BPF_PROG_GET_FD_BY_ID, &mut attr) }
}

/// The first element of an array that was made for `u64`.
///
/// # Errors
///
/// The system's; `InvalidInput` where it is another map.
pub fn first_of_array(array: BorrowedFd<'_>) -> io::Result<u64> {
    if map_sizes(array)? != MapSizes::of::<u32, u64>() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the map's keys or values have another size",
        ));
    }
    let (key, mut value) = (0_u32, 0_u64);
    let mut attr = Element {
        map_fd: array.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: address(&raw const key),
        value: address(&raw mut value),
        flags: 0,
    };
    // SAFETY: the kernel reads a key and writes a value, of the sizes that were compared above.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr)? };
    Ok(value)
}

/// A command that makes a descriptor.
///
/// # Safety
///
/// The promise of [`bpf`]; and the command must return a new descriptor.
unsafe fn descriptor<T>(command: libc::c_int, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attr)? };
    // SAFETY: the kernel has just made this descriptor, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_as_the_kernel_reads_them() {
        assert_eq!(ANSWER_0[0].to_le_bytes(), [0xb7, 0, 0, 0, 0, 0, 0, 0]);
        let store = encode(0x62, 10, 0, -4, 7);
        assert_eq!(store.to_le_bytes(), [0x62, 0x0a, 0xfc, 0xff, 7, 0, 0, 0]);
        let copy = encode(0xbf, 2, 10, 0, 0);
        assert_eq!(copy.to_le_bytes(), [0xbf, 0xa2, 0, 0, 0, 0, 0, 0]);
    }
}
