//! `guard-fleet remove`: a machine is in the fleet no more.

use anyhow::{Result, bail, ensure};

use crate::{VerbOutcome, args::RemoveArgs, list::LockedList, people, subjects::Machine};

/// Takes it out of the list. The keeper has servers drop its key, and consoles drop the machine.
///
/// # Errors
///
/// That no machine, or several, are called so, or the list cannot be written.
pub(crate) fn remove(args: &RemoveArgs) -> Result<VerbOutcome> {
    let (called, file) = (&args.machine, args.list.display());
    let is_whole = called.parse::<Machine>().is_ok();
    ensure!(
        is_whole || called.len() >= people::SHORTEST,
        "{called:?} may be any machine: type {} characters of it at least",
        people::SHORTEST
    );
    let held = LockedList::open(&args.list)?;
    let meant = held.list.machine.iter().filter(|one| one.id.begins(called));
    let one = match meant.collect::<Vec<_>>()[..] {
        [one] => one.clone(),
        [] => bail!("{file} lists no machine {called}: guard-fleet machines lists who is there"),
        _ => bail!("several machines in {file} begin with {called}: type more of it"),
    };
    held.remove(&one.id)?;
    people::print(&format!(
        "{} is out of {}: its key {} counts no more\n",
        one.id, one.group, one.key
    ))
}
