//! What the kernel is told of the proxy.

use std::{io, os::fd::OwnedFd};

use anyhow::Result;
use guard_common::NetnsCookie;

use super::networks::Listeners;
use crate::state::State;

impl State {
    /// The map in which the kernel notes where connections were going, for the proxy to read.
    pub(super) fn origins(&self) -> Result<OwnedFd> {
        Ok(self.datapath.origins()?)
    }

    /// Has connections to read-only destinations turned to these, in their network.
    pub(super) fn turn_to(&mut self, there: &Listeners) -> io::Result<()> {
        let told = self
            .datapath
            .set_proxy(there.cookie, there.port, &there.sockets);
        told.map_err(io::Error::other)
    }

    /// Has them refused in a network.
    pub(super) fn close_read_only(&mut self, network: NetnsCookie) {
        if let Err(error) = self.datapath.clear_proxy(network) {
            tracing::error!(%error, "connections are turned to a proxy that is not there");
        }
    }
}
