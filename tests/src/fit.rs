//! Whether this machine can run the lab.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use rustix::process::geteuid;

use crate::mounts;

/// Whether this is root on a kernel that has what the guard and the lab need.
///
/// # Errors
///
/// What is missing, and how to have it.
pub fn fit() -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "this makes network namespaces and loads eBPF programs, and so needs root: \
         put `sudo -E env \"PATH=$PATH\"` before the command"
    );
    mounts::cgroup2()?;
    for (path, what) in [
        ("/proc/self/ns/net", "network namespaces (CONFIG_NET_NS)"),
        (
            "/proc/sys/kernel/unprivileged_bpf_disabled",
            "eBPF (CONFIG_BPF_SYSCALL)",
        ),
        ("/proc/sys/net/ipv6", "IPv6 (CONFIG_IPV6, ipv6.disable=0)"),
    ] {
        if !Path::new(path).exists() {
            bail!("this kernel is not fit: {path} is not there, so it lacks {what}");
        }
    }
    Ok(())
}
