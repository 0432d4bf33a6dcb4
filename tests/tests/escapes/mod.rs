//! Ways round the guard, each tried for real: without it, where it works, and with it. `docs/escapes.md` is made from
//! them, and `GUARD_ESCAPES=DIR cargo xtask test escapes` leaves there what came of each.

mod calls;
mod forms;
mod guard;
mod helpers;
mod layer;
mod leaving;
mod names;
mod page;
mod protocols;
mod root;
mod rooted;
mod scene;
mod sockets;
mod time;
pub(crate) mod way;

use way::Family;

/// As the page has them.
const FAMILIES: &[Family] = &[
    forms::FAMILY,
    calls::FAMILY,
    protocols::FAMILY,
    names::FAMILY,
    sockets::FAMILY,
    leaving::FAMILY,
    helpers::FAMILY,
    guard::FAMILY,
    time::FAMILY,
    root::FAMILY,
    rooted::FAMILY,
];

fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter()
}
