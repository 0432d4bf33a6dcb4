//! Programs at the top of the cgroup hierarchy: they see the use of sockets that were made outside of the guard's root. Each
//! first reads which cgroup the *task* is in, and allows all others.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{CgroupSockAddr, ProgramError},
};
use guard_proto::HookStatus;
use guard_sys::{bpf, cgroup2::Hierarchy};

use super::{DatapathError, Result, pins};

/// A hook of the kernel's for which a program is attached at the top.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedHook {
    pub(super) name: &'static str,
    /// `enum bpf_attach_type`
    pub(super) attach_type: u32,
}

impl NamedHook {
    pub(super) const fn new(name: &'static str, attach_type: u32) -> Self {
        Self { name, attach_type }
    }
}

/// Hooks of an earlier version, which reported the connections of other processes (`BPF_CGROUP_INET4_CONNECT`, `BPF_CGROUP_INET6_CONNECT`).
pub(super) const FORMER: [NamedHook; 2] = [
    NamedHook::new("top_dial4", 10),
    NamedHook::new("top_dial6", 11),
];

/// Hooks, and whether this guardd has attached their programs.
pub(super) struct KnownHooks {
    hooks: &'static [NamedHook],
    is_attached: bool,
}

impl KnownHooks {
    pub(super) const fn new(hooks: &'static [NamedHook], is_attached: bool) -> Self {
        Self { hooks, is_attached }
    }
}

/// Loads an object's programs for some hooks, which have the hooks' names, attaches each, and pins the links in `live`. An
/// existing one that does the same stays; else the new one is attached before that goes.
///
/// # Errors
///
/// The system's, as if the kernel has no such hook.
pub(super) fn attach(live: &Path, hooks: &[NamedHook], ebpf: &mut Ebpf) -> Result<()> {
    for hook in hooks {
        let failed = || DatapathError::ebpf(format!("load {}", hook.name));
        let found = ebpf
            .program_mut(hook.name)
            .ok_or_else(|| DatapathError::Absent {
                what: format!("program {} in the eBPF object", hook.name),
            })?;
        let typed: std::result::Result<&mut CgroupSockAddr, ProgramError> = found.try_into();
        let program = typed.map_err(failed())?;
        program.load().map_err(failed())?;
        attach_one(live, hook, program.fd().map_err(failed())?)?;
    }
    Ok(())
}

/// The same for one loaded program.
///
/// # Errors
///
/// The system's.
pub(super) fn attach_one(live: &Path, hook: &NamedHook, program: &impl AsFd) -> Result<()> {
    let NamedHook { name, attach_type } = *hook;
    let (top, pin) = (top()?, pin(live, name));
    pins::clear_beside(&pin);
    let cgroup = top
        .metadata()
        .map_err(refused("the top of the hierarchy"))?
        .ino();
    if does_the_same(&pin, program, attach_type, cgroup) {
        return Ok(());
    }
    let link =
        bpf::attach_to_cgroup(program.as_fd(), top.as_fd(), attach_type).map_err(refused(name))?;
    pins::replace(&link, &pin)
}

/// Whether a program is pinned for a hook.
pub(super) fn is_pinned(live: &Path, hook: &NamedHook) -> bool {
    pin(live, hook.name).exists()
}

/// Removes programs, if they exist.
pub(super) fn detach(live: &Path, hooks: &[NamedHook]) {
    for hook in hooks {
        pins::take_away(&pin(live, hook.name));
    }
}

fn top() -> Result<File> {
    let hierarchy = Hierarchy::find().map_err(refused("the cgroup v2 hierarchy"))?;
    let mount = hierarchy.mount();
    File::open(mount).map_err(DatapathError::file("open", mount))
}

fn pin(live: &Path, hook: &str) -> PathBuf {
    live.join(format!("top_{hook}"))
}

/// Whether the link that is pinned has a program of the same code at that cgroup.
pub(super) fn does_the_same(
    pin: &Path,
    program: &impl AsFd,
    attach_type: u32,
    cgroup: u64,
) -> bool {
    let does = || -> io::Result<bool> {
        let link = bpf::link_info(pin)?;
        let there = link.cgroup_id == cgroup && link.attach_type == attach_type;
        Ok(there && is_same(link.prog_id, program)?)
    };
    does().unwrap_or(false)
}

/// Whether a program in the kernel has the same code as another.
///
/// # Errors
///
/// The system's.
pub(super) fn is_same(id: u32, program: &impl AsFd) -> io::Result<bool> {
    Ok(bpf::code(bpf::program_of(id)?.as_fd())? == bpf::code(program.as_fd())?)
}

/// Hooks as the kernel has them: those that are said to be attached, and those that an earlier guardd has left.
pub(super) fn read_back(live: &Path, all: &[KnownHooks]) -> Vec<HookStatus> {
    let top = top().and_then(|top| {
        let meta = top.metadata();
        Ok(meta.map_err(refused("the top of the hierarchy"))?.ino())
    });
    let known = all
        .iter()
        .filter(|known| known.is_attached || known.hooks.iter().any(|hook| is_pinned(live, hook)));
    known
        .flat_map(|known| known.hooks)
        .map(|NamedHook { name, attach_type }| {
            let link = bpf::link_info(&pin(live, name)).ok();
            let is_attached = link.as_ref().is_some_and(|link| {
                top.as_ref().is_ok_and(|top| link.cgroup_id == *top)
                    && link.attach_type == *attach_type
            });
            HookStatus {
                name: (*name).into(),
                attached: is_attached,
                program_id: link.map(|link| link.prog_id),
            }
        })
        .collect()
}

/// What the kernel lacks, or refuses.
pub(super) fn refused(what: &'static str) -> impl FnOnce(io::Error) -> DatapathError {
    move |why| DatapathError::Top { what, why }
}
