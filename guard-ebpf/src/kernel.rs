//! The BPF helpers in use, each with the one safe signature that this crate needs.

use core::{
    ffi::{c_long, c_void},
    mem::MaybeUninit,
};

use aya_ebpf::{
    Global,
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated as raw,
};
use guard_common::{Address, BootTime, Connection, NetnsCookie};

/// Which bit of a socket says that others may share its port (`sock_common.skc_reuseport`); 0 where this kernel does not say, or may not
/// be read. Set by guardd when it loads the programs.
#[unsafe(no_mangle)]
static REUSEPORT: Global<u32> = Global::new(0);

/// Byte of a socket at which the pointer to the sockets that share its port begins (`sock.sk_reuseport_cb`). Set with [`REUSEPORT`].
#[unsafe(no_mangle)]
static REUSEPORT_GROUP: Global<u32> = Global::new(0);

/// Reads a value at an address of the kernel's; zeros if it cannot be read.
#[inline(always)]
pub(crate) fn peek<T: Copy + Default>(at: u64) -> T {
    try_peek(at).unwrap_or_default()
}

/// Reads a value at an address of the kernel's, if it can be read.
#[inline(always)]
pub(crate) fn try_peek<T: Copy + Default>(at: u64) -> Option<T> {
    let mut value = T::default();
    let to: *mut T = &raw mut value;
    // SAFETY: the pointer is to as many writable bytes as the length says, and the kernel checks the address. Only numbers
    // are read so.
    let failed = unsafe {
        raw::bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, at as *const c_void)
    };
    if failed == 0 { Some(value) } else { None }
}

/// Copies bytes from an address of the kernel's; false if they cannot be read.
///
/// # Safety
///
/// `to` is `length` writable bytes.
#[inline(always)]
pub(crate) unsafe fn copy(to: *mut u8, length: u32, at: u64) -> bool {
    // SAFETY: the caller's; the kernel checks the address.
    unsafe { raw::bpf_probe_read_kernel(to.cast(), length, at as *const c_void) == 0 }
}

/// Copies a string from an address of the kernel's, up to its NUL, or as many bytes as there is room for with one; an empty one
/// if it cannot be read.
///
/// # Safety
///
/// `to` is `length` writable bytes.
#[inline(always)]
pub(crate) unsafe fn copy_string(to: *mut u8, length: u32, at: u64) {
    // SAFETY: the caller's; the kernel checks the address.
    unsafe { raw::bpf_probe_read_kernel_str(to.cast(), length, at as *const c_void) };
}

/// The same number, opaque to LLVM: it compares that very register, whose bounds the verifier then knows.
#[inline(always)]
pub(crate) fn opaque(number: u64) -> u64 {
    let mut same = number;
    // SAFETY: does nothing.
    unsafe {
        core::arch::asm!("{same} += 0", same = inout(reg) same, options(nostack, nomem, pure))
    };
    same
}

/// The next number, for a compare before it that LLVM may not make one of this number's.
#[inline(always)]
pub(crate) fn next(number: u64) -> u64 {
    let mut next = number;
    // SAFETY: adds 1.
    unsafe {
        core::arch::asm!("{next} += 1", next = inout(reg) next, options(nostack, nomem, pure))
    };
    next
}

/// Time since boot, suspend included.
#[inline(always)]
pub(crate) fn boot_time() -> BootTime {
    // SAFETY: takes no pointer.
    BootTime(unsafe { raw::bpf_ktime_get_boot_ns() })
}

/// Id of the ancestor, at a level of the hierarchy, of the current task's cgroup; 0 if there is none.
#[inline(always)]
pub(crate) fn task_ancestor_cgroup(level: u32) -> u64 {
    // SAFETY: takes no pointer; the kernel checks the level.
    unsafe { raw::bpf_get_current_ancestor_cgroup_id(level as i32) }
}

/// The same of the cgroup in which a packet's socket was made.
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

/// The address of the current task (`struct task_struct`), as a number.
#[inline(always)]
pub(crate) fn current_task() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { raw::bpf_get_current_task() }
}

/// User of the current task.
#[inline(always)]
pub(crate) fn current_uid() -> u32 {
    // SAFETY: takes no pointer.
    (unsafe { raw::bpf_get_current_uid_gid() }) as u32
}

/// Name of the current thread; zeros if it cannot be read.
#[inline(always)]
pub(crate) fn current_comm(comm: &mut [u8; 16]) {
    // SAFETY: the pointer is to 16 writable bytes, and the length says so.
    unsafe { raw::bpf_get_current_comm(comm.as_mut_ptr().cast(), 16) };
}

/// Zeroes what [`current_comm`] writes. Word by word: LLVM calls `memset` for an array of bytes, and each call costs 32 bytes
/// of the stack on old kernels.
///
/// # Safety
///
/// That `comm` is to 16 writable bytes, aligned to 4.
#[inline(always)]
pub(crate) unsafe fn clear(comm: *mut u32) {
    for at in 0..4 {
        // SAFETY: within the 16 bytes.
        unsafe { comm.add(at).write_volatile(0) };
    }
}

/// The number of a socket, for as long as it lives (`SO_COOKIE`).
#[inline(always)]
pub(crate) fn socket_cookie(context: *mut c_void) -> u64 {
    // SAFETY: `context` is the one that the kernel passed to the program.
    unsafe { raw::bpf_get_socket_cookie(context) }
}

/// The network namespace of a connect hook's socket.
#[inline(always)]
pub(crate) fn netns_cookie(context: *mut c_void) -> NetnsCookie {
    // SAFETY: `context` is the one that the kernel passed to the program.
    NetnsCookie(unsafe { raw::bpf_get_netns_cookie(context) })
}

/// Calls `at` with 0, 1, … until it returns something, `limit` times at most; `failed` if that cannot be done. The verifier
/// checks `at` once.
#[inline(always)]
pub(crate) fn find<R, F: FnMut(usize) -> Option<R>>(limit: u32, failed: R, at: F) -> Option<R> {
    /// What the helper calls for each.
    extern "C" fn step<R, F: FnMut(usize) -> Option<R>>(
        i: u32,
        search: *mut Search<R, F>,
    ) -> c_long {
        // SAFETY: the helper passes on what it was given, which outlives the call.
        let search = unsafe { &mut *search };
        match (search.at)(i as usize) {
            Some(found) => {
                search.found = Some(found);
                1
            }
            None => 0,
        }
    }
    struct Search<R, F> {
        at: F,
        found: Option<R>,
    }
    let mut search = Search { at, found: None };
    let step: extern "C" fn(u32, *mut Search<R, F>) -> c_long = step;
    // SAFETY: `step` has the signature that the helper wants, and gets the pointer as its second argument.
    let rounds = unsafe { raw::bpf_loop(limit, step as *mut c_void, (&raw mut search).cast(), 0) };
    if rounds < 0 {
        return Some(failed);
    }
    search.found
}

/// The socket that a packet belongs to. The kernel runs egress programs for full sockets only
/// (`BPF_CGROUP_RUN_PROG_INET_EGRESS`): of a request, it is the listener.
#[inline(always)]
pub(crate) fn packet_socket(skb: *mut __sk_buff) -> Option<*mut bpf_sock> {
    // SAFETY: `skb` is the program's context.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() { None } else { Some(sk) }
}

/// Bytes of a packet, its IP header included. One that is yet to be cut into segments counts with the headers of all of
/// them, as if each had the usual ones of IPv6 and of TCP with timestamps.
#[inline(always)]
pub(crate) fn length(skb: *mut __sk_buff) -> u64 {
    const HEADERS: u64 = 40 + 32;
    // SAFETY: `skb` is the program's context.
    let (length, segments) = unsafe { ((*skb).len, (*skb).gso_segs) };
    let others = u64::from(segments).saturating_sub(1);
    u64::from(length) + others * HEADERS
}

/// Into how many segments a packet is yet to be cut; 0 for one that is whole.
#[inline(always)]
pub(crate) fn segments(skb: *mut __sk_buff) -> u32 {
    // SAFETY: `skb` is the program's context.
    unsafe { (&raw const (*skb).gso_segs).read_volatile() }
}

/// A socket's storage in a map of `T`, if it has any.
#[inline(always)]
pub(crate) fn socket_storage<T>(map: *mut c_void, sk: *mut bpf_sock) -> Option<*mut T> {
    storage(map, sk, 0)
}

/// A socket's storage in a map of `T`, made of zeros on first use; `None` when memory is short.
#[inline(always)]
pub(crate) fn new_socket_storage<T>(map: *mut c_void, sk: *mut bpf_sock) -> Option<*mut T> {
    storage(map, sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
}

#[inline(always)]
fn storage<T>(map: *mut c_void, sk: *mut bpf_sock, flags: u64) -> Option<*mut T> {
    // SAFETY: `map` is a socket storage map, `sk` a socket from the context.
    let state = unsafe { raw::bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), flags) };
    if state.is_null() {
        None
    } else {
        Some(state.cast())
    }
}

/// Id of the ancestor, at a level of the hierarchy, of the cgroup in which a socket was made; 0 if there is none. Egress may
/// call this.
#[inline(always)]
pub(crate) fn socket_ancestor_cgroup(sk: *mut bpf_sock, level: u32) -> u64 {
    // SAFETY: `sk` is a socket that was looked up.
    unsafe { raw::bpf_sk_ancestor_cgroup_id(sk.cast(), level as i32) }
}

/// A socket's state (`BPF_TCP_*`), also of one that is no full socket.
#[inline(always)]
pub(crate) fn state(sk: *mut bpf_sock) -> u32 {
    // SAFETY: a socket that was looked up.
    unsafe { (&raw const (*sk).state).read_volatile() }
}

/// The listener that a request for a connection came to. Egress may call this.
#[inline(always)]
pub(crate) fn listener_of(request: *mut bpf_sock) -> Option<*mut bpf_sock> {
    // SAFETY: a socket that was looked up.
    let listener = unsafe { raw::bpf_get_listener_sock(request) };
    if listener.is_null() {
        None
    } else {
        Some(listener)
    }
}

/// Whether others may share a full socket's port (`SO_REUSEPORT`); true where that cannot be read. Then a look-up, which shows the kernel no
/// packet, may find another one than a packet gets to: a program of theirs chooses. A program that takes `SO_REUSEPORT` back stays in the
/// kernel's group.
///
/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn may_share_port(sk: *mut bpf_sock) -> bool {
    const BITS: u32 = u8::BITS;
    let bit = REUSEPORT.load();
    if bit == 0 {
        return true;
    }
    // The verifier lets nobody calculate with a socket's address. On the stack it is bytes like others.
    let (own, mut address, mut byte, mut group) = (sk, 0_u64, 0_u8, 0_u64);
    let (of, to, at) = (&raw const own, &raw mut address, &raw mut byte);
    let in_group = &raw mut group;
    // SAFETY: the pointers are to as many writable bytes as the lengths say.
    let is_read = unsafe {
        copy(to.cast(), 8, of as u64)
            && copy(at, 1, to.read_volatile() + u64::from(bit / BITS))
            && copy(
                in_group.cast(),
                8,
                to.read_volatile() + u64::from(REUSEPORT_GROUP.load()),
            )
    };
    // SAFETY: pointers to them.
    !is_read
        || unsafe { at.read_volatile() & (1 << (bit % BITS)) != 0 || in_group.read_volatile() != 0 }
}

/// An unpredictable number.
#[inline(always)]
pub(crate) fn random() -> u64 {
    // SAFETY: takes no pointer.
    let (high, low) = unsafe { (raw::bpf_get_prandom_u32(), raw::bpf_get_prandom_u32()) };
    (u64::from(high) << 32) | u64::from(low)
}

/// Where a socket is: an address, and a port in host byte order.
#[derive(Clone, Copy)]
pub(crate) struct SocketAddress<'a> {
    pub(crate) address: &'a Address,
    pub(crate) port: u16,
}

impl<'a> SocketAddress<'a> {
    /// The destination of a connection.
    #[inline(always)]
    pub(crate) const fn of(to: &'a Connection) -> Self {
        Self {
            address: &to.to,
            port: to.port,
        }
    }

    /// Port 0, which no socket has.
    #[inline(always)]
    pub(crate) const fn nobody(address: &'a Address) -> Self {
        Self { address, port: 0 }
    }
}

/// Calls `work` with the TCP socket that gets packets from one port and address to another, ports in host byte order, in the
/// network namespace of `context`. From port 0 that is a listener. Connect hooks and egress may call this.
#[inline(always)]
pub(crate) fn with_receiver<R>(
    context: *mut c_void,
    from: SocketAddress<'_>,
    to: SocketAddress<'_>,
    work: impl FnOnce(*mut bpf_sock) -> R,
) -> Option<R> {
    with_socket(context, Kind::Tcp, from, to, work)
}

/// Calls `work` with what gets a packet of TCP's: also with a request for a connection, or the rest of one that was closed, which are no full
/// sockets. Egress may call this.
#[inline(always)]
pub(crate) fn with_any_receiver<R>(
    skb: *mut __sk_buff,
    from: SocketAddress<'_>,
    to: SocketAddress<'_>,
    work: impl FnOnce(*mut bpf_sock) -> R,
) -> Option<R> {
    with_socket(skb.cast(), Kind::AnyTcp, from, to, work)
}

/// The same of a UDP socket. Connect and sendmsg hooks and egress may ask.
#[inline(always)]
pub(crate) fn with_udp_receiver<R>(
    context: *mut c_void,
    to: SocketAddress<'_>,
    work: impl FnOnce(*mut bpf_sock) -> R,
) -> Option<R> {
    let localhost = to.address.localhost();
    with_socket(
        context,
        Kind::Udp,
        SocketAddress::nobody(&localhost),
        to,
        work,
    )
}

/// What is looked up.
#[derive(Clone, Copy)]
enum Kind {
    /// A full socket of TCP's: in place of a request, its listener.
    Tcp,
    /// Any of TCP's.
    AnyTcp,
    Udp,
}

#[inline(always)]
fn with_socket<R>(
    context: *mut c_void,
    kind: Kind,
    from: SocketAddress<'_>,
    to: SocketAddress<'_>,
    work: impl FnOnce(*mut bpf_sock) -> R,
) -> Option<R> {
    /// The namespace of the context's own socket; `BPF_F_CURRENT_NETNS` of linux/bpf.h.
    const HERE: u64 = u64::MAX;
    // `struct bpf_sock_tuple`: source, destination, and both ports. What counts of it is written word by word: LLVM calls
    // `memset` to clear all of it, and each call costs 32 bytes of the stack on old kernels.
    let mut tuple = MaybeUninit::<[u32; 9]>::uninit();
    let at: *mut u32 = tuple.as_mut_ptr().cast();
    let ports = (u32::from(to.port.to_be()) << 16) | u32::from(from.port.to_be());
    let (from, to) = (from.address, to.address);
    let write = |word: usize, value: u32| {
        // SAFETY: one of nine words.
        unsafe { at.add(word).write_volatile(value) };
    };
    let length = if to.is_v4() {
        write(0, from.0[3]);
        write(1, to.0[3]);
        write(2, ports);
        12
    } else {
        for word in 0..4 {
            write(word, from.0[word]);
            write(4 + word, to.0[word]);
        }
        write(8, ports);
        36
    };
    let at = at.cast();
    // SAFETY: the pointer is to as many bytes as the length says, all of them written, and the context is the program's.
    let found = unsafe {
        match (kind, length) {
            (Kind::Tcp, 12) => raw::bpf_sk_lookup_tcp(context, at, 12, HERE, 0),
            (Kind::Tcp, _) => raw::bpf_sk_lookup_tcp(context, at, 36, HERE, 0),
            (Kind::AnyTcp, 12) => raw::bpf_skc_lookup_tcp(context, at, 12, HERE, 0),
            (Kind::AnyTcp, _) => raw::bpf_skc_lookup_tcp(context, at, 36, HERE, 0),
            (Kind::Udp, 12) => raw::bpf_sk_lookup_udp(context, at, 12, HERE, 0),
            (Kind::Udp, _) => raw::bpf_sk_lookup_udp(context, at, 36, HERE, 0),
        }
    };
    if found.is_null() {
        return None;
    }
    let done = work(found);
    // SAFETY: what was looked up, which nobody uses any more.
    unsafe { raw::bpf_sk_release(found.cast()) };
    Some(done)
}

/// Whether a socket that has storage in `map` listens at a TCP port, in host byte order, of an address, in the network
/// namespace that `context` is about. From nobody's port: only listeners match. Connect hooks and egress may ask.
#[inline(always)]
pub(crate) fn is_listening(
    context: *mut c_void,
    map: *mut c_void,
    at: &Address,
    port: u16,
) -> bool {
    let nobody = Address::default();
    let is_marked = |found| socket_storage::<u64>(map, found).is_some();
    let (nobody, at) = (
        SocketAddress::nobody(&nobody),
        SocketAddress { address: at, port },
    );
    with_receiver(context, nobody, at, is_marked).unwrap_or(false)
}

/// Sets an option of TCP's (`enum` in linux/tcp.h) on the context's socket; false if this kernel does not know it, or not that
/// value. Connect hooks and socket operations may call this.
#[inline(always)]
pub(crate) fn set_tcp_option(context: *mut c_void, option: i32, value: i32) -> bool {
    /// `SOL_TCP` of linux/socket.h.
    const SOL_TCP: i32 = 6;
    let mut value = value;
    // SAFETY: `context` is the program's; the pointer is to four bytes, and the length says so.
    (unsafe { raw::bpf_setsockopt(context, SOL_TCP, option, (&raw mut value).cast(), 4) }) == 0
}

/// Copies bytes of a packet; false if there are fewer.
#[inline(always)]
pub(crate) fn load_bytes<const N: usize>(skb: *mut __sk_buff, at: u32, to: &mut [u8; N]) -> bool {
    // SAFETY: `skb` is the context; the pointer is to N writable bytes, and the length says so.
    (unsafe { raw::bpf_skb_load_bytes(skb.cast(), at, to.as_mut_ptr().cast(), N as u32) }) == 0
}

/// Copies some bytes of a packet; false if there are fewer.
///
/// # Safety
///
/// `to` is `length` writable bytes, and the verifier can tell: it is 1 at least.
#[inline(always)]
pub(crate) unsafe fn load_some(skb: *mut __sk_buff, at: u32, to: *mut u8, length: u64) -> bool {
    // SAFETY: `skb` is the context; the rest is the caller's.
    (unsafe { raw::bpf_skb_load_bytes(skb.cast(), at, to.cast(), length as u32) }) == 0
}

/// Adds to a number that other CPUs change too, and returns its earlier value. Rust's atomics have no read-modify-write on this
/// target.
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

/// Replaces `old` by `new` if the value is `old`, and returns the earlier value. Writes before it are visible before it, and
/// those after it after it.
///
/// # Safety
///
/// As [`fetch_add`].
#[inline(always)]
pub(crate) unsafe fn compare_exchange(value: *mut u64, old: u64, new: u64) -> u64 {
    let mut found = old;
    // SAFETY: as in `fetch_add`. The instruction compares with r0 and leaves there what it found.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({value} + 0, r0, {new})",
            value = in(reg) value,
            new = in(reg) new,
            inout("r0") found,
            options(nostack),
        );
    }
    found
}

/// Loads a word, after `dependency` was loaded: the address depends on it, and loads with such a dependency
/// are not reordered on any machine that Linux runs on (memory-barriers.txt, "address dependency"). Without
/// it other CPUs than x86 would need an acquire, which BPF has only since Linux 6.15.
///
/// # Safety
///
/// `value` points into a live map value, aligned to 8.
#[inline(always)]
pub(crate) unsafe fn load_after(value: *const u64, dependency: u64) -> u64 {
    let mut zero = dependency;
    // SAFETY: reads no memory; it makes zero of a register, which LLVM does not see through.
    unsafe {
        core::arch::asm!("{zero} &= 0", zero = inout(reg) zero, options(nostack, nomem, pure));
        value.byte_add(zero as usize).read_volatile()
    }
}

/// Reads two bytes of a packet at once: LLVM would read what it does not know to be aligned byte by byte. The kernels of both
/// architectures take it so (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`).
///
/// # Safety
///
/// Their place in the packet was checked.
#[inline(always)]
pub(crate) unsafe fn packet_half(at: *const u8) -> u16 {
    let half: u16;
    // SAFETY: the caller checked the place, and the verifier does.
    unsafe {
        core::arch::asm!("{half} = *(u16 *)({at} + 0)", half = out(reg) half, at = in(reg) at, options(nostack, pure, readonly));
    }
    half
}

/// The same of four bytes.
///
/// # Safety
///
/// As of [`packet_half`].
#[inline(always)]
pub(crate) unsafe fn packet_word(at: *const u8) -> u32 {
    let word: u32;
    // SAFETY: as in `packet_half`.
    unsafe {
        core::arch::asm!("{word} = *(u32 *)({at} + 0)", word = out(reg) word, at = in(reg) at, options(nostack, pure, readonly));
    }
    word
}
