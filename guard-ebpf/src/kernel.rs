//! The BPF helpers in use, each with the one safe signature that this crate needs.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_spin_lock},
    helpers::generated as raw,
};
use guard_common::BootTime;

use crate::maps::SocketState;

/// Time since boot, suspend included.
#[inline(always)]
pub(crate) fn boot_time() -> BootTime {
    // SAFETY: takes no pointer.
    BootTime(unsafe { raw::bpf_ktime_get_boot_ns() })
}

/// Id of the ancestor, at a level of the hierarchy, of the current task's cgroup; 0 where there is none.
#[inline(always)]
pub(crate) fn task_ancestor_cgroup(level: u32) -> u64 {
    // SAFETY: takes no pointer; the kernel checks the level.
    unsafe { raw::bpf_get_current_ancestor_cgroup_id(level as i32) }
}

/// The same of the cgroup that a packet's socket was made in.
#[inline(always)]
pub(crate) fn packet_ancestor_cgroup(skb: *mut __sk_buff, level: u32) -> u64 {
    // SAFETY: `skb` is the context that the kernel passed to the program.
    unsafe { raw::bpf_skb_ancestor_cgroup_id(skb, level as i32) }
}

/// Thread and process of the current task.
#[inline(always)]
pub(crate) fn current_pid_tgid() -> (u32, u32) {
    // SAFETY: takes no pointer.
    let both = unsafe { raw::bpf_get_current_pid_tgid() };
    (both as u32, (both >> 32) as u32)
}

/// User of the current task.
#[inline(always)]
pub(crate) fn current_uid() -> u32 {
    // SAFETY: takes no pointer.
    (unsafe { raw::bpf_get_current_uid_gid() }) as u32
}

/// Name of the current thread; zeros where it cannot be had.
#[inline(always)]
pub(crate) fn current_comm(comm: &mut [u8; 16]) {
    // SAFETY: the pointer is to 16 writable bytes, and the length says so.
    unsafe { raw::bpf_get_current_comm(comm.as_mut_ptr().cast(), 16) };
}

/// The number that names a socket for as long as it lives (`SO_COOKIE`).
#[inline(always)]
pub(crate) fn socket_cookie(context: *mut c_void) -> u64 {
    // SAFETY: `context` is the one that the kernel passed to the program.
    unsafe { raw::bpf_get_socket_cookie(context) }
}

/// The whole socket that a packet belongs to; `None` for request and time-wait ones.
#[inline(always)]
pub(crate) fn full_socket(skb: *mut __sk_buff) -> Option<*mut bpf_sock> {
    // SAFETY: `skb` is the program's context.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: not null, and from the context.
    let full = unsafe { raw::bpf_sk_fullsock(sk) };
    if full.is_null() { None } else { Some(full) }
}

/// A socket's storage, made on first use; `None` when memory is short.
#[inline(always)]
pub(crate) fn socket_storage(map: *mut c_void, sk: *mut bpf_sock) -> Option<*mut SocketState> {
    // SAFETY: `map` is a socket storage map of `SocketState`, `sk` a full socket from the context.
    let state = unsafe {
        raw::bpf_sk_storage_get(
            map,
            sk.cast(),
            core::ptr::null_mut(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
    };
    if state.is_null() {
        None
    } else {
        Some(state.cast())
    }
}

/// Copies bytes of a packet; false where there are not so many.
#[inline(always)]
pub(crate) fn load_bytes<const N: usize>(skb: *mut __sk_buff, at: u32, to: &mut [u8; N]) -> bool {
    // SAFETY: `skb` is the context; the pointer is to N writable bytes, and the length says so.
    (unsafe { raw::bpf_skb_load_bytes(skb.cast(), at, to.as_mut_ptr().cast(), N as u32) }) == 0
}

/// Takes the lock in a map value.
///
/// # Safety
///
/// `lock` lies in a map value, no lock is held, and no helper is called before [`unlock`].
#[inline(always)]
pub(crate) unsafe fn lock(lock: *mut bpf_spin_lock) {
    // SAFETY: by the caller.
    unsafe { raw::bpf_spin_lock(lock) };
}

/// Gives it back.
///
/// # Safety
///
/// `lock` is held.
#[inline(always)]
pub(crate) unsafe fn unlock(lock: *mut bpf_spin_lock) {
    // SAFETY: by the caller.
    unsafe { raw::bpf_spin_unlock(lock) };
}

/// Adds to a number that other CPUs change too, and gives what it was before. Rust's atomics have no
/// read-modify-write on this target.
///
/// # Safety
///
/// `value` points into a live map value, aligned to 8.
#[inline(always)]
pub(crate) unsafe fn fetch_add(value: *mut u64, by: u64) -> u64 {
    let mut register = by;
    // SAFETY: the pointer is valid by the caller, and the instruction writes nothing else.
    unsafe {
        core::arch::asm!(
            "{by} = atomic_fetch_add((u64 *)({value} + 0), {by})",
            value = in(reg) value,
            by = inout(reg) register,
            options(nostack),
        );
    }
    register
}
