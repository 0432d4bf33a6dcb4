//! Whoever had a raw socket before guardd came: a unit's process, which puts datagrams behind IPv6 extension headers.

use anyhow::Result;

use crate::{Daemon, PATIENCE, Production, Running, Unowned, bins};

/// The process.
#[derive(Debug)]
pub struct Extended(Running);

impl Extended {
    /// In a cgroup that the guard will judge, before it does.
    ///
    /// # Errors
    ///
    /// That it cannot be started, or has no raw socket.
    pub fn start(unit: &Unowned, daemon: &Daemon) -> Result<Self> {
        let probe = bins::for_everybody("guard-lab", daemon.tag())?;
        let mut command = unit.command();
        command.arg(probe).args(["probe", "extended", "::", "0"]);
        let mut running = Running::start(&mut command)?;
        running.line_with("ready", PATIENCE)?;
        Ok(Self(running))
    }

    /// Sends a datagram behind so many headers: what the kernel says to that, and how many packets arrive.
    ///
    /// # Errors
    ///
    /// That it has ended, or production.
    pub fn send(
        &mut self,
        production: &Production,
        (to, port): (&str, u16),
        headers: usize,
    ) -> Result<(String, usize)> {
        let before = packets(production, (to, port))?;
        self.0.write(&format!("{to} {port} {headers}\n"))?;
        let said = self.0.line_with("sent", PATIENCE)?;
        Ok((said, packets(production, (to, port))? - before))
    }
}

fn packets(production: &Production, (to, port): (&str, u16)) -> Result<usize> {
    let reached = production.reached_at(to, port)?;
    Ok(reached.iter().filter(|one| one.kind == "packet").count())
}
