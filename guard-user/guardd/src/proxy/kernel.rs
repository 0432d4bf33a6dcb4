//! Has the kernel half redirect connections to the proxy, or refuse them.

use std::io;

use guard_common::NetnsCookie;
use guard_datapath::Datapath;

use super::networks::Listeners;

/// Has connections to read-only destinations redirected to these listeners, in their network namespace.
pub(super) fn turn_to(kernel: &mut Datapath, there: &Listeners) -> io::Result<()> {
    let told = kernel.set_proxy(there.cookie, there.port, &there.sockets);
    told.map_err(io::Error::other)
}

/// Has such connections refused in a network namespace.
pub(super) fn close_read_only(kernel: &mut Datapath, network: NetnsCookie) {
    if let Err(error) = kernel.clear_proxy(network) {
        tracing::error!(%error, "connections are turned to a proxy that is not there");
    }
}
