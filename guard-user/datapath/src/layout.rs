//! The offsets of fields in this kernel's structures, for programs that read them.

use std::{io, path::Path};

use aya::Ebpf;
use guard_common::at;
use guard_sys::{
    bpf::{self, ProgramKind},
    btf::Btf,
};

use super::{
    DatapathError, Object, Result,
    loader::{LoadSettings, Loader},
    log_of, maps, pins,
    top::refused,
};

/// Loads an object for programs that read the kernel's structures. Pinned maps are used, and these others made and pinned if
/// they are missing.
pub(super) fn load(
    loader: &mut Loader<'_>,
    live: &Path,
    object: &Object,
    types: &Btf,
    others: &[&'static str],
) -> Result<Ebpf> {
    let (settings, aya) = loader.parts();
    let offsets = settings
        .offsets(types)
        .map_err(refused("the kernel's types"))?;
    log_of::prepare(aya, &settings.log);
    aya.override_global("SESSION_LEVEL", &settings.session_level, true);
    // An object of an earlier guard has none of these.
    aya.override_global("ROOT_ID", &settings.root_id, false);
    aya.override_global("OFFSETS", offsets, false);
    for name in maps::NAMES.iter().chain(others).copied() {
        aya.map_pin_path(name, pins::map(live, name));
    }
    aya.load(object.bytes())
        .map_err(DatapathError::ebpf("load the eBPF programs"))
}

/// See [`at`].
pub(super) fn offsets(btf: &Btf) -> io::Result<[u32; at::LEN]> {
    let mut offsets = [0; at::LEN];
    let fields: [(usize, &[(&str, &str)]); at::LEN] = [
        (at::SOCKET_SK, &[("socket", "sk")]),
        (
            at::SK_CGROUP,
            &[("sock", "sk_cgrp_data"), ("sock_cgroup_data", "cgroup")],
        ),
        (
            at::SK_FAMILY,
            &[("sock", "__sk_common"), ("sock_common", "skc_family")],
        ),
        (
            at::SK_COOKIE,
            &[("sock", "__sk_common"), ("sock_common", "skc_cookie")],
        ),
        (at::SK_UID, &[("sock", "sk_uid")]),
        (at::UNIX_ADDR, &[("unix_sock", "addr")]),
        (at::UNIX_PEER, &[("unix_sock", "peer")]),
        (at::ADDR_LEN, &[("unix_address", "len")]),
        (at::ADDR_NAME, &[("unix_address", "name")]),
        (at::CGROUP_LEVEL, &[("cgroup", "level")]),
        (at::CGROUP_ANCESTORS, &[("cgroup", "ancestors")]),
        (at::CGROUP_KN, &[("cgroup", "kn")]),
        (at::KN_ID, &[("kernfs_node", "id")]),
        (at::TASK_CGROUPS, &[("task_struct", "cgroups")]),
        (at::CSET_CGROUP, &[("css_set", "dfl_cgrp")]),
        (at::TASK_TGID, &[("task_struct", "tgid")]),
        (at::FILE_INODE, &[("file", "f_inode")]),
        (at::INODE_MODE, &[("inode", "i_mode")]),
        (at::FILE_PRIVATE, &[("file", "private_data")]),
        (at::TASK_PARENT, &[("task_struct", "real_parent")]),
        (at::SOCK_ADDR_SK, &[("bpf_sock_addr_kern", "sk")]),
        (at::SOCK_ADDR_UADDR, &[("bpf_sock_addr_kern", "uaddr")]),
        (at::TASK_CRED, &[("task_struct", "cred")]),
        (at::CRED_USER_NS, &[("cred", "user_ns")]),
        (
            at::USER_NS_INUM,
            &[("user_namespace", "ns"), ("ns_common", "inum")],
        ),
    ];
    for (index, path) in fields {
        for (structure, member) in path {
            offsets[index] += btf.member(structure, member)?.cast_unsigned();
        }
    }
    Ok(offsets)
}

/// Returns two places in a socket: the bit by which its program shares the port (`skc_reuseport`), and the byte of the pointer to the
/// sockets that share it (`sk_reuseport_cb`). Zeros on a kernel without BTF, or where programs may not read kernel memory: then every port
/// counts as shared.
pub(super) fn reuseport(settings: &LoadSettings) -> [u32; 2] {
    let places = |types: &Btf| -> io::Result<[u32; 2]> {
        bpf::load_program(
            ProgramKind::SOCKET_FILTER,
            "guard_reads",
            &bpf::READS_KERNEL,
        )?;
        let bit = types.bit("sock", "__sk_common")? + types.bit("sock_common", "skc_reuseport")?;
        Ok([bit, types.bit("sock", "sk_reuseport_cb")? / u8::BITS])
    };
    let types = settings.types().ok();
    types
        .and_then(|types| places(types).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_says_where_it_keeps_what_programs_read() {
        let offsets = offsets(&Btf::of_kernel().unwrap()).unwrap();
        // These fields are first in their structures in the kernel's source; all others are not.
        for (index, offset) in offsets.iter().enumerate() {
            let is_first = [at::INODE_MODE, at::SOCK_ADDR_SK].contains(&index);
            assert_eq!(*offset == 0, is_first, "{index}");
        }
        let [family, cookie] = [at::SK_FAMILY, at::SK_COOKIE].map(|index| offsets[index]);
        assert_eq!((family, cookie % 8), (16, 0));
    }
}
