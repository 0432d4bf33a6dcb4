//! `guard-fleet invite`: a token, by which one machine may join once.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nkeys::KeyPair;

use crate::{
    VerbOutcome,
    args::InviteArgs,
    list::{Invitation, LockedList, Until},
    people::print,
    subjects::NatsKey,
};

/// Writes the invitation into the list, and prints its token.
///
/// # Errors
///
/// That the list is wrong, or cannot be written.
pub(crate) fn invite(args: &InviteArgs) -> Result<VerbOutcome> {
    let token = KeyPair::new_user();
    let key: NatsKey = token
        .public_key()
        .parse()
        .map_err(|why: String| anyhow::anyhow!(why))?;
    let until = Timestamp::now().checked_add(args.lasts);
    let until = until.context("no invitation lasts for that long")?;
    // Seconds are enough, and read better.
    let until = Timestamp::from_second(until.as_second())?;
    LockedList::open(&args.list)?.invite(&Invitation {
        key,
        group: args.group.clone(),
        until: Until(until),
        id: args.machine.clone(),
    })?;
    let seed = token.seed().context("cannot make a token")?;
    print(&format!("{}.{seed}\n", args.group))
}
