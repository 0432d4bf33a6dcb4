//! A place between machines that are in networks of their own, where what they share is.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::reap::Reaper;
use crate::{Side, Tag};

/// A namespace that each of some machines reaches, beside its production. It lives as long as this value.
#[derive(Debug)]
pub struct Hub {
    side: Side,
    _reaper: Reaper,
}

impl Hub {
    /// Where it is, for each of them.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 65);
    /// The network of all links: a machine has four addresses of it.
    const LINKS: [u8; 4] = [203, 0, 113, 128];
    /// Machines that there is room for: the last four addresses are those between a machine and its production.
    const MOST: u8 = 31;

    /// Makes one between these machines.
    ///
    /// # Errors
    ///
    /// What `ip` said, or that there are too many.
    pub fn between<'s>(machines: impl IntoIterator<Item = &'s Side>) -> Result<Self> {
        let tag = Tag::new();
        let mut reaper = Reaper::start()?;
        reaper.dir(&tag.dir())?;
        let side = Side::new(&tag, "hub", &mut reaper)?;
        let at = Self::ADDRESS;
        side.ip(&format!("link set lo up\naddr add {at}/32 dev lo"))?;
        for (number, machine) in (0..).zip(machines) {
            ensure!(number < Self::MOST, "there is no room for so many machines");
            let [a, b, c, first] = Self::LINKS;
            let [here, there] = [1, 2].map(|end| Ipv4Addr::new(a, b, c, first + number * 4 + end));
            machine.ip(&format!(
                "link add hub0 type veth peer name m{number} netns {hub}
addr add {there}/30 dev hub0
link set hub0 up",
                hub = side.name()
            ))?;
            side.ip(&format!(
                "addr add {here}/30 dev m{number}\nlink set m{number} up"
            ))?;
            machine.ip(&format!("route add {at}/32 via {here}"))?;
        }
        Ok(Self {
            side,
            _reaper: reaper,
        })
    }

    /// Its own machine.
    #[must_use]
    pub fn side(&self) -> &Side {
        &self.side
    }

    /// A directory for what they share, which is removed with it.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.side.tag().dir()
    }
}
