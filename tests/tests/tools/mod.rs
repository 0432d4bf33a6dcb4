//! Tools that developers use, each run for real: without the guard, and in a session of each kind, which has to make no
//! difference but those that documents tell. `docs/tools.md` is made from them, and `cargo xtask test --ignored tools` runs those that take long.

mod agents;
mod desktop;
mod keys;
mod packages;
mod page;
mod programs;
mod rights;
mod scene;
mod sockets;
mod tool;
mod transfer;
mod unit;

use tool::Family;

/// As the page has them.
const FAMILIES: &[Family] = &[
    transfer::FAMILY,
    packages::FAMILY,
    programs::FAMILY,
    sockets::FAMILY,
    keys::FAMILY,
    desktop::FAMILY,
    rights::FAMILY,
    agents::FAMILY,
];
