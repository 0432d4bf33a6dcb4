//! [`guard_common::decide`] on the BPF maps.
//!
//! What searches is a global function, which the verifier checks once and on its own instead of once for each
//! way in which a program may get there.

use guard_common::{
    BootTime, Connection, Decision, HoleId, Passage, PolicyId, PolicyVerdict, Session, SessionId,
    Wanted, chain_verdict, find_hole, policy_verdict, with_hole,
};

use crate::maps::Kernel;

/// Where [`guard_find_hole`] says of which kind a hole is.
const KIND: u32 = 32;

/// Where [`guard_chain_verdict`] says which policy decided.
const POLICY: u32 = 32;

/// The verdict for a connection of a session; `granted` and `wanted` as in [`find_hole`].
#[inline(always)]
pub(crate) fn decide(
    session: &Session,
    to: &Connection,
    granted: HoleId,
    wanted: Wanted,
) -> Decision {
    with_hole(of_policies(session, to), wanted, |wanted| {
        hole(session.id, to, granted, wanted)
    })
}

/// The same without any hole.
#[inline(always)]
pub(crate) fn of_policies(session: &Session, to: &Connection) -> Decision {
    let packed = guard_chain_verdict(session, to);
    Decision::by(
        PolicyId((packed >> POLICY) as u32),
        PolicyVerdict::unpack(packed & u64::from(u32::MAX)),
    )
}

/// [`chain_verdict`], packed, and the policy that decided at [`POLICY`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_chain_verdict(session: *const Session, to: *const Connection) -> u64 {
    if session.is_null() || to.is_null() {
        return PolicyVerdict::DENY.pack();
    }
    // SAFETY: not null, and only called from `of_policies`, with references.
    let session = unsafe { &*session };
    let decision = chain_verdict(session, |policy| {
        PolicyVerdict::unpack(guard_policy_verdict(policy.0, to))
    });
    (u64::from(decision.policy.0) << POLICY) | decision.said().pack()
}

/// [`find_hole`].
#[inline(always)]
pub(crate) fn hole(
    session: SessionId,
    to: &Connection,
    granted: HoleId,
    wanted: Wanted,
) -> Option<Passage> {
    let mut expires = 0;
    let (id, granted) = (session.0, granted.0);
    let found = guard_find_hole(id, to, granted, &raw mut expires, wanted as u32);
    (found != 0).then_some(Passage {
        hole: HoleId(found as u32),
        kind: (found >> KIND) as u32,
        expires: BootTime(expires),
    })
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

/// [`find_hole`]: the hole's id, or 0, and its kind at [`KIND`]; `expires` gets the moment at which it ends.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_find_hole(
    session: u32,
    to: *const Connection,
    granted: u32,
    expires: *mut u64,
    wanted: u32,
) -> u64 {
    if to.is_null() || expires.is_null() {
        return 0;
    }
    // SAFETY: not null, and only called from `decide`, with references.
    unsafe {
        let (session, granted) = (SessionId(session), HoleId(granted));
        match find_hole(&Kernel, session, &*to, granted, Wanted::from_u32(wanted)) {
            Some(passage) => {
                *expires = passage.expires.0;
                (u64::from(passage.kind) << KIND) | u64::from(passage.hole.0)
            }
            None => 0,
        }
    }
}
