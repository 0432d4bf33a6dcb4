//! What the programs weigh: where a package grows too large, that is said before it is packed.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::build::PROGRAMS;
use crate::shell::{read, say};

/// KiB that all may weigh without their symbols: `xz -9e` packs 30,018 KiB of them, with what else is in a package, into 8,137, and a
/// .deb may have 8 MiB.
const MOST: u64 = 30_200;
/// KiB that the program may weigh that runs as root: all of it is what an attacker wants.
const MOST_OF_ROOT: u64 = 10 * 1024;

/// Says what the programs in a directory weigh.
///
/// # Errors
///
/// That they are too large for a package, or cannot be read.
pub(super) fn check(programs: &Path) -> Result<()> {
    let mut all = 0;
    let mut said = Vec::new();
    for name in PROGRAMS {
        let size = size(&programs.join(name))?;
        all += size;
        said.push(format!("{name} {size}"));
        ensure!(
            name != "guardd" || size <= MOST_OF_ROOT,
            "guardd has {size} KiB, and may have {MOST_OF_ROOT}"
        );
    }
    say(&format!(
        "the programs weigh {all} KiB: {}",
        said.join(", ")
    ));
    ensure!(
        all <= MOST,
        "{all} KiB do not go into a package of 8 MiB, {MOST} would"
    );
    Ok(())
}

/// Returns the KiB of the sections that are loaded: those have an address.
fn size(program: &Path) -> Result<u64> {
    let sections = read(Command::new("size").arg("--format=sysv").arg(program))?;
    let sizes = sections.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, size, address) = (
            words.next()?,
            words.next()?.parse::<u64>().ok()?,
            words.next()?,
        );
        (name != ".bss" && address.parse() != Ok(0_u64)).then_some(size)
    });
    Ok(sizes.sum::<u64>() / 1024)
}
