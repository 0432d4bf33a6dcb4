//! What the kernel is told of the proxy.

use std::io;

use guard_common::NetnsCookie;
use guard_datapath::Datapath;

use super::networks::Listeners;

/// Has connections to read-only destinations turned to these, in their network.
pub(super) fn turn_to(kernel: &mut Datapath, there: &Listeners) -> io::Result<()> {
    let told = kernel.set_proxy(there.cookie, there.port, &there.sockets);
    told.map_err(io::Error::other)
}

/// Has them refused in a network.
pub(super) fn close_read_only(kernel: &mut Datapath, network: NetnsCookie) {
    if let Err(error) = kernel.clear_proxy(network) {
        tracing::error!(%error, "connections are turned to a proxy that is not there");
    }
}
