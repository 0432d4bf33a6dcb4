//! [`guard_common::decide`] on the BPF maps.
//!
//! What searches is a global function, which the verifier checks once and on its own instead of once for each
//! way in which a program may get there.

use guard_common::{
    BootTime, Connection, Decision, HoleId, Passage, PolicyId, PolicyVerdict, Session, SessionId,
    find_hole, policy_verdict,
};

use crate::maps::Kernel;

/// The verdict for a connection of a session; `granted` as in [`find_hole`].
#[inline(always)]
pub(crate) fn decide(session: &Session, to: &Connection, granted: HoleId) -> Decision {
    guard_common::decide(
        session,
        |policy| PolicyVerdict::unpack(guard_policy_verdict(policy.0, to)),
        || {
            let mut expires = 0;
            let hole = guard_find_hole(session.id.0, to, granted.0, &raw mut expires);
            (hole != 0).then_some(Passage {
                hole: HoleId(hole),
                expires: BootTime(expires),
            })
        },
    )
}

/// The verdict of the policies alone, whatever holes there are.
#[inline(always)]
pub(crate) fn decide_without_holes(session: &Session, to: &Connection) -> Decision {
    guard_common::decide(
        session,
        |policy| PolicyVerdict::unpack(guard_policy_verdict(policy.0, to)),
        || None,
    )
}

/// [`policy_verdict`], packed. The verifier knows the size of what `to` points to from its type, and
/// wants it checked for null.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_policy_verdict(policy: u32, to: *const Connection) -> u64 {
    if to.is_null() {
        return PolicyVerdict::DENY.pack();
    }
    // SAFETY: not null, and only called from `decide`, with a reference.
    policy_verdict(&Kernel, PolicyId(policy), unsafe { &*to }).pack()
}

/// [`find_hole`]: the hole's id, or 0; `expires` gets the moment at which it ends.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_find_hole(
    session: u32,
    to: *const Connection,
    granted: u32,
    expires: *mut u64,
) -> u32 {
    if to.is_null() || expires.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `decide`, with references.
    unsafe {
        match find_hole(&Kernel, SessionId(session), &*to, HoleId(granted)) {
            Some(passage) => {
                *expires = passage.expires.0;
                passage.hole.0
            }
            None => 0,
        }
    }
}
