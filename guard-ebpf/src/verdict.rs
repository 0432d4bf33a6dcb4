//! The verdict of a session's policies on the BPF maps, and what a hole changes of it, as [`guard_common::decide`] has it: made
//! policy by policy, of numbers, for the verifier's sake.
//!
//! Which rule wins: of a policy the one that guardd has compiled into the longest prefix and the range over the port, and of several
//! policies the one with the strictest verdict, of equals the outermost policy's.
//!
//! What searches, and what joins what it found, are global functions, which the verifier checks once and on their own instead of once
//! for each way in which a program may get there: with each guardd that starts, the verifier is most of what it waits for.

use guard_common::{
    BootTime, Connection, Decision, HoleId, MAX_CHAIN, MAX_PATTERNS, NameId, NamedKey, NamesSaid,
    Passage, PolicyId, PolicyVerdict, Said, Session, SessionId, Wanted, find_hole, said_of,
    with_hole,
};

use crate::{
    began::Began,
    kernel,
    maps::{Kernel, KnownAs},
};

/// Where [`guard_find_hole`] says of which kind a hole is.
const KIND: u32 = 32;

/// Where [`guard_chain_verdict`] says which policy decided.
const POLICY: u32 = 32;

/// The verdict for a connection of a session; `used` and `wanted` as in [`hole`].
#[inline(always)]
pub(crate) fn decide(
    session: &Session,
    to: &Connection,
    began: Began,
    used: HoleId,
    wanted: Wanted,
) -> Decision {
    with_hole(of_policies(session, to, began), wanted, |wanted| {
        hole(session.id, to, used, wanted)
    })
}

/// The same without any hole.
#[inline(always)]
pub(crate) fn of_policies(session: &Session, to: &Connection, began: Began) -> Decision {
    unpacked(packed(session, to, began))
}

/// The same as one number, for [`unpacked`].
#[inline(always)]
pub(crate) fn packed(session: &Session, to: &Connection, began: Began) -> u64 {
    guard_chain_verdict(session, to, began.moment())
}

/// What a policy says, as [`packed`].
#[inline(always)]
pub(crate) const fn with_policy(said: PolicyVerdict, policy: PolicyId) -> u64 {
    ((policy.0 as u64) << POLICY) | said.pack()
}

/// Out of [`packed`].
#[inline(always)]
pub(crate) fn unpacked(packed: u64) -> Decision {
    Decision::by(
        PolicyId((packed >> POLICY) as u32),
        PolicyVerdict::unpack(packed & u64::from(u32::MAX)),
    )
}

/// What one policy says, with the names by which the session knows the address.
#[inline(always)]
pub(crate) fn of_policy(
    policy: PolicyId,
    session: SessionId,
    to: &Connection,
    began: Began,
) -> PolicyVerdict {
    PolicyVerdict::unpack(guard_policy_verdict(
        policy.0,
        session.0,
        to,
        began.moment(),
    ))
}

/// What a policy says of a pattern.
#[inline(always)]
pub(crate) fn said(policy: PolicyId, pattern: NameId, to: &Connection) -> Said {
    Said::unpack(guard_said(policy.0, pattern.0, to))
}

/// [`guard_common::chain_verdict`], packed, and the policy that decided at [`POLICY`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_chain_verdict(
    session: *const Session,
    to: *const Connection,
    began: u64,
) -> u64 {
    if session.is_null() || to.is_null() {
        return PolicyVerdict::DENY.pack();
    }
    // SAFETY: not null, and all callers, in this file, pass references.
    let session = unsafe { &*session };
    let [own, first, second, third] = session.policies;
    const { assert!(MAX_CHAIN == 4) };
    let says = |policy: PolicyId| {
        (u64::from(policy.0) << POLICY) | guard_policy_verdict(policy.0, session.id.0, to, began)
    };
    let mut all = says(own);
    all = guard_both(all, all);
    if first.0 != 0 {
        all = guard_both(all, says(first));
        if second.0 != 0 {
            all = guard_both(all, says(second));
            if third.0 != 0 {
                all = guard_both(all, says(third));
            }
        }
    }
    all
}

/// [`Decision::and`], packed. A function of its own, as [`known_as`]: on Linux 6.1 calls have 512 bytes together.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_both(all: u64, outer: u64) -> u64 {
    let both = unpacked(all).and(unpacked(outer));
    with_policy(both.said(), both.policy)
}

/// The hole that lets a connection through, which takes one from it. `used`: the one hole that its socket has taken from before, or 0.
#[inline(always)]
pub(crate) fn hole(
    session: SessionId,
    to: &Connection,
    used: HoleId,
    wanted: Wanted,
) -> Option<Passage> {
    let passage = find(session, to, used, wanted)?;
    passage.take(&Kernel, used, wanted).then_some(passage)
}

/// [`find_hole`].
#[inline(always)]
pub(crate) fn find(
    session: SessionId,
    to: &Connection,
    used: HoleId,
    wanted: Wanted,
) -> Option<Passage> {
    let mut expires = 0;
    let (id, used) = (session.0, used.0);
    let found = guard_find_hole(id, to, used, &raw mut expires, wanted as u32);
    (found != 0).then_some(Passage {
        hole: HoleId(found as u32),
        kind: (found >> KIND) as u32,
        expires: BootTime(expires),
    })
}

/// What a policy says of a connection of a session that may know its address by names, packed. The verifier knows the size of what
/// `to` points to from its type, and wants it checked for null.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_policy_verdict(
    policy: u32,
    session: u32,
    to: *const Connection,
    began: u64,
) -> u64 {
    if to.is_null() {
        return PolicyVerdict::DENY.pack();
    }
    // SAFETY: not null, and all callers, in this file, pass references.
    let to = unsafe { &*to };
    let base = guard_said(policy, 0, to);
    let mut all = NamesSaid::NOTHING.pack();
    if !Said::unpack(base).speaks_of_names() {
        return guard_over(all, base);
    }
    let Some(known) = known_as(policy, session, to) else {
        return guard_over(all, base);
    };
    let began = Began::at(began).time();
    all = with_pattern(known, 0, policy, to, all, began);
    // Mostly there is one, and what is not used stands behind all others.
    if known.learned(1).pattern.0 != 0 {
        all = with_pattern(known, 1, policy, to, all, began);
        all = with_pattern(known, 2, policy, to, all, began);
        all = with_pattern(known, 3, policy, to, all, began);
        all = with_pattern(known, 4, policy, to, all, began);
        all = with_pattern(known, 5, policy, to, all, began);
        all = with_pattern(known, 6, policy, to, all, began);
        all = with_pattern(known, 7, policy, to, all, began);
    }
    const { assert!(MAX_PATTERNS == 8) };
    if !is_of(known, policy, session, to) {
        return PolicyVerdict::DENY.pack();
    }
    guard_over(all, base)
}

/// [`NamesSaid::over`], packed. A function of its own, as [`known_as`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_over(all: u64, base: u64) -> u64 {
    NamesSaid::unpack(all).over(Said::unpack(base)).pack()
}

/// A function of its own for the sake of the stack, as [`crate::emit::due`].
#[inline(never)]
fn known_as(policy: u32, session: u32, to: &Connection) -> Option<KnownAs> {
    KnownAs::find(&NamedKey::new(SessionId(session), PolicyId(policy), to.to))
}

/// Whether what was read is of that key still. A function of its own, as [`known_as`].
#[inline(never)]
fn is_of(known: KnownAs, policy: u32, session: u32, to: &Connection) -> bool {
    known.is_of(NamedKey::new(SessionId(session), PolicyId(policy), to.to).mark())
}

/// [`NamesSaid`] with one more pattern, if it counts.
#[inline(always)]
fn with_pattern(
    known: KnownAs,
    at: usize,
    policy: u32,
    to: &Connection,
    all: u64,
    began: BootTime,
) -> u64 {
    let learned = known.learned(at);
    if !learned.counts(began) {
        return all;
    }
    guard_and(all, guard_said(policy, learned.pattern.0, to))
}

/// [`NamesSaid::and`], packed. A function of its own, as [`known_as`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_and(all: u64, said: u64) -> u64 {
    NamesSaid::unpack(all).and(Said::unpack(said)).pack()
}

/// [`said_of`], packed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_said(policy: u32, pattern: u64, to: *const Connection) -> u64 {
    if to.is_null() {
        return Said::DENY.pack();
    }
    // SAFETY: not null, and all callers, in this file, pass references.
    said_of(&Kernel, PolicyId(policy), NameId(pattern), unsafe { &*to }).pack()
}

/// [`find_hole`]: the hole's id, or 0, and its kind at [`KIND`]; `expires` gets the moment at which it ends.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn guard_find_hole(
    session: u32,
    to: *const Connection,
    used: u32,
    expires: *mut u64,
    wanted: u32,
) -> u64 {
    if to.is_null() || expires.is_null() {
        return 0;
    }
    // SAFETY: not null, and all callers, in this file, pass references.
    unsafe {
        let (session, used) = (SessionId(session), HoleId(used));
        // In the search's step: see `find_hole`.
        let wanted = move || Wanted::from_u32(kernel::opaque(u64::from(wanted)) as u32);
        match find_hole(&Kernel, session, &*to, used, wanted) {
            Some(passage) => {
                *expires = passage.expires.0;
                (u64::from(passage.kind) << KIND) | u64::from(passage.hole.0)
            }
            None => 0,
        }
    }
}
