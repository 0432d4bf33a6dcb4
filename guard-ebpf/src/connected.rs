//! What is noted of a UDP socket that `connect` let pass unjudged: who connected it, and what was allowed since ([`crate::unsent`]).

use aya_ebpf::bindings::bpf_sock;
use guard_common::{Connection, Hook};

use crate::{
    kernel,
    maps::{self, UnsentState},
};

/// The record of a socket. What it is connected to the kernel says itself: threads may connect one socket at once.
#[derive(Clone, Copy)]
pub(crate) struct Unsent(*mut UnsentState);

impl Unsent {
    #[inline(always)]
    pub(crate) fn of(sk: *mut bpf_sock) -> Option<Self> {
        kernel::socket_storage(maps::unsent(), sk).map(Self)
    }

    /// The same, made where there is none.
    #[inline(always)]
    pub(crate) fn new(sk: *mut bpf_sock) -> Option<Self> {
        kernel::new_socket_storage(maps::unsent(), sk).map(Self)
    }

    /// Notes who connects it. What it sends is judged again.
    #[inline(always)]
    pub(crate) fn note(self, hook: Hook, cgroup: u64) {
        let state = self.0;
        let (pid, tgid) = kernel::current_pid_tgid();
        // SAFETY: a live map value, aligned to 8.
        unsafe {
            (&raw mut (*state).cgroup).write_volatile(cgroup);
            (&raw mut (*state).hook).write_volatile(hook as u32);
            (&raw mut (*state).pid).write_volatile(pid);
            (&raw mut (*state).tgid).write_volatile(tgid);
            (&raw mut (*state).uid).write_volatile(kernel::current_uid());
            kernel::current_comm(&mut *(&raw mut (*state).comm).cast());
            kernel::fetch_add(&raw mut (*state).connects, 1);
        }
    }

    /// How often it was connected.
    #[inline(always)]
    pub(crate) fn connects(self) -> u64 {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).connects).read_volatile() }
    }

    /// How often it had been when what it sends was last allowed.
    #[inline(always)]
    pub(crate) fn allowed(self) -> u64 {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).allowed).read_volatile() }
    }

    /// Whether that connection was allowed.
    #[inline(always)]
    pub(crate) fn is_allowed(self, connects: u64, to: &Connection) -> bool {
        let state = self.0;
        // SAFETY: a live map value; aligned words.
        unsafe {
            let allowed = (&raw const (*state).to).cast::<u32>();
            (&raw const (*state).allowed).read_volatile() == connects
                && allowed.read_volatile() == to.to.0[0]
                && allowed.add(1).read_volatile() == to.to.0[1]
                && allowed.add(2).read_volatile() == to.to.0[2]
                && allowed.add(3).read_volatile() == to.to.0[3]
                && (&raw const (*state).port).read_volatile() == u32::from(to.port)
        }
    }

    #[inline(always)]
    pub(crate) fn allow(self, connects: u64, to: &Connection) {
        let state = self.0;
        // SAFETY: a live map value; aligned words.
        unsafe {
            let allowed = (&raw mut (*state).to).cast::<u32>();
            allowed.write_volatile(to.to.0[0]);
            allowed.add(1).write_volatile(to.to.0[1]);
            allowed.add(2).write_volatile(to.to.0[2]);
            allowed.add(3).write_volatile(to.to.0[3]);
            (&raw mut (*state).port).write_volatile(u32::from(to.port));
            (&raw mut (*state).allowed).write_volatile(connects);
        }
    }

    /// The cgroup of the session that connected it.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> u64 {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw const (*self.0).cgroup).read_volatile() }
    }

    /// The hook of that call.
    #[inline(always)]
    pub(crate) fn hook(self) -> Hook {
        // SAFETY: a live map value; one aligned word.
        match unsafe { (&raw const (*self.0).hook).read_volatile() } {
            hook if hook == Hook::Connect6 as u32 => Hook::Connect6,
            _ => Hook::Connect4,
        }
    }

    /// The thread, the process and the user that connected it.
    #[inline(always)]
    pub(crate) fn caller(self) -> (u32, u32, u32) {
        let state = self.0;
        // SAFETY: a live map value; aligned words.
        unsafe {
            (
                (&raw const (*state).pid).read_volatile(),
                (&raw const (*state).tgid).read_volatile(),
                (&raw const (*state).uid).read_volatile(),
            )
        }
    }

    /// Copies what the thread called itself.
    ///
    /// # Safety
    ///
    /// `comm` is 16 writable bytes, aligned to 4.
    #[inline(always)]
    pub(crate) unsafe fn copy_comm(self, comm: *mut u32) {
        for at in 0..4 {
            // SAFETY: a live map value, and the caller's.
            unsafe {
                let from = (&raw const (*self.0).comm).cast::<u32>().add(at);
                comm.add(at).write_volatile(from.read_volatile());
            }
        }
    }
}
