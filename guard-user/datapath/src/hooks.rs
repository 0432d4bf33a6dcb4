//! The programs: loaded, attached to the guard's root cgroup, pinned, and read back.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, Program,
        SockOps, links::FdLink,
    },
    util::KernelVersion,
};
use guard_proto::HookStatus;
use guard_sys::{bpf, netns, service::LongStart};

use super::{DatapathError, Object, Result, holding, layout, loader::Loader, log_of, maps, pins};

/// A program's name and the `enum bpf_attach_type` that it must be attached as.
struct Hook {
    name: &'static str,
    attach_type: u32,
}

/// The hooks of every kernel. Egress comes first: with it in place, no more gets out than without the others.
const HOOKS: [Hook; 6] = [
    Hook {
        name: "egress",
        attach_type: 1,
    },
    Hook {
        name: "sock_create",
        attach_type: 2,
    },
    Hook {
        name: "connect4",
        attach_type: 10,
    },
    Hook {
        name: "connect6",
        attach_type: 11,
    },
    Hook {
        name: "sendmsg4",
        attach_type: 14,
    },
    Hook {
        name: "sendmsg6",
        attach_type: 15,
    },
];

/// Programs that refuse nothing, so they come last. Two return the original destination to a program whose connection was
/// redirected; the third paces the SYNs of a held connection.
const HELPERS: [Hook; 3] = [
    Hook {
        name: "getpeername4",
        attach_type: 29,
    },
    Hook {
        name: "getpeername6",
        attach_type: 30,
    },
    Hook {
        name: "hold",
        attach_type: 3,
    },
];

/// Those of an object that knows names. Two show the server that was asked to a program whose question was redirected; the third
/// reads what other servers answer.
const RECEIVERS: [Hook; 3] = [
    Hook {
        name: "recvmsg4",
        attach_type: 19,
    },
    Hook {
        name: "recvmsg6",
        attach_type: 20,
    },
    INGRESS,
];

const INGRESS: Hook = Hook {
    name: "ingress",
    attach_type: 0,
};

/// Lets a server answer over IPv6 on kernels that do not run egress for a listener's answers.
const LISTEN: Hook = Hook {
    name: "listen",
    attach_type: 3,
};
/// The first kernel that does.
const ASKS_ABOUT_LISTENERS: KernelVersion = KernelVersion::new(6, 6, 0);

/// The hooks of this kernel and an object.
fn hooks(knows_names: bool) -> impl Iterator<Item = &'static Hook> {
    // A kernel of unknown version gets the program too: it does no harm.
    let old = KernelVersion::current().map_or(true, |version| version < ASKS_ABOUT_LISTENERS);
    let receivers = knows_names.then_some(&RECEIVERS);
    let receivers = receivers.into_iter().flatten();
    let first = HOOKS.iter().chain(old.then_some(&LISTEN));
    first.chain(receivers).chain(&HELPERS)
}

/// Loads the programs on the maps that are pinned in `dir`; missing ones are made and pinned.
pub(super) fn load(loader: &mut Loader<'_>, object: &Object, dir: &Path) -> Result<Ebpf> {
    let first_probe =
        holding::first_probe().map_err(DatapathError::file("read", "the clock's tick"))?;
    let network = netns::own().map_err(DatapathError::file("find", "guardd's network"))?;
    let (settings, aya) = loader.parts();
    log_of::prepare(aya, &settings.log);
    aya.override_global("SESSION_LEVEL", &settings.session_level, true);
    let first_probe = settings.first_probe.get_or_init(|| first_probe);
    aya.override_global("FIRST_PROBE", first_probe, true);
    // An object of an earlier guard has none of this.
    let network = settings.own_network.get_or_init(|| network.0);
    aya.override_global("OWN_NETWORK", network, false);
    let reuseport = settings
        .reuseport
        .get_or_init(|| layout::reuseport(settings));
    aya.override_global("REUSEPORT", &reuseport[0], false);
    aya.override_global("REUSEPORT_GROUP", &reuseport[1], false);
    for name in maps::NAMES {
        aya.map_pin_path(name, pins::map(dir, name));
    }
    aya.load(object.bytes())
        .map_err(DatapathError::ebpf("load the eBPF programs"))
}

/// Attaches every program and pins the links in `dir`. An existing link is replaced: both programs run for a moment, and both
/// must allow.
pub(super) fn attach(ebpf: &mut Ebpf, cgroup: &File, dir: &Path) -> Result<()> {
    let knows_names = ebpf.program(RECEIVERS[0].name).is_some();
    // The verifier may take seconds for each on a slow machine.
    let mut start = LongStart::begin();
    for hook in hooks(knows_names) {
        start.goes_on();
        let link = attach_one(ebpf, cgroup, hook.name)?;
        let pin = pins::link(dir, hook.name);
        let beside = pins::link(dir, &format!("{}{BESIDE}", hook.name));
        let _ = fs::remove_file(&beside);
        link.pin(&beside)
            .map_err(DatapathError::ebpf(format!("pin {}", hook.name)))?;
        fs::rename(&beside, &pin).map_err(DatapathError::file("replace", &pin))?;
    }
    Ok(())
}

fn attach_one(ebpf: &mut Ebpf, cgroup: &File, name: &str) -> Result<FdLink> {
    let doing = || format!("attach {name}");
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| DatapathError::Absent {
            what: format!("program {name} in the eBPF object"),
        })?;
    // A cgroup link always allows several programs: `Single` is the mode without legacy flags.
    let mode = CgroupAttachMode::Single;
    match program {
        Program::CgroupSockAddr(program) => link_sock_addr(program, cgroup, mode),
        Program::CgroupSkb(program) if name == INGRESS.name => {
            link_skb(program, cgroup, CgroupSkbAttachType::Ingress, mode)
        }
        Program::CgroupSkb(program) => link_skb(program, cgroup, CgroupSkbAttachType::Egress, mode),
        Program::CgroupSock(program) => link_sock(program, cgroup, mode),
        Program::SockOps(program) => link_sock_ops(program, cgroup, mode),
        _ => Err(aya::programs::ProgramError::UnexpectedProgramType.into()),
    }
    .map_err(DatapathError::ebpf(doing()))
}

/// Why a program could not be loaded or attached.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Program(#[from] aya::programs::ProgramError),
    #[error(transparent)]
    Link(#[from] aya::programs::links::LinkError),
}

type Linked = std::result::Result<FdLink, LinkError>;

fn link_sock_addr(program: &mut CgroupSockAddr, cgroup: &File, mode: CgroupAttachMode) -> Linked {
    program.load()?;
    let id = program.attach(cgroup, mode)?;
    Ok(program.take_link(id)?.try_into()?)
}

fn link_skb(
    program: &mut CgroupSkb,
    cgroup: &File,
    way: CgroupSkbAttachType,
    mode: CgroupAttachMode,
) -> Linked {
    program.load()?;
    let id = program.attach(cgroup, way, mode)?;
    Ok(program.take_link(id)?.try_into()?)
}

fn link_sock(program: &mut CgroupSock, cgroup: &File, mode: CgroupAttachMode) -> Linked {
    program.load()?;
    let id = program.attach(cgroup, mode)?;
    Ok(program.take_link(id)?.try_into()?)
}

fn link_sock_ops(program: &mut SockOps, cgroup: &File, mode: CgroupAttachMode) -> Linked {
    program.load()?;
    let id = program.attach(cgroup, mode)?;
    Ok(program.take_link(id)?.try_into()?)
}

/// The suffix of a link that is to replace another.
const BESIDE: &str = "_new";

/// Whether `dir` has links of no finished guard: one that was to replace another when guardd was killed, or one of another
/// version.
pub(super) fn has_strays(dir: &Path, knows_names: bool) -> Result<bool> {
    Ok(!strays(dir, knows_names)?.is_empty())
}

/// Removes such links. The others do the same.
pub(super) fn remove_strays(dir: &Path, knows_names: bool) -> Result<()> {
    for pin in strays(dir, knows_names)? {
        fs::remove_file(&pin).map_err(DatapathError::file("remove", pin))?;
    }
    Ok(())
}

fn strays(dir: &Path, knows_names: bool) -> Result<Vec<PathBuf>> {
    let mut links = pins::links(dir)?;
    links.retain(|pin| !hooks(knows_names).any(|hook| *pin == pins::link(dir, hook.name)));
    Ok(links)
}

/// The ids of the programs whose links are pinned, those of other versions among them.
pub(super) fn programs(dir: &Path) -> Result<Vec<u32>> {
    let links = pins::links(dir)?.into_iter();
    let links = links.filter_map(|pin| bpf::link_info(&pin).ok());
    Ok(links.map(|link| link.prog_id).collect())
}

/// What the kernel says of each pinned link: attached means to this cgroup, as this kind of hook.
pub(super) fn read_back(dir: &Path, root_id: u64, knows_names: bool) -> Vec<HookStatus> {
    hooks(knows_names)
        .map(|hook| {
            let link = bpf::link_info(&pins::link(dir, hook.name)).ok();
            HookStatus {
                name: hook.name.into(),
                attached: link.as_ref().is_some_and(|link| {
                    link.cgroup_id == root_id && link.attach_type == hook.attach_type
                }),
                program_id: link.map(|link| link.prog_id),
            }
        })
        .collect()
}

/// The cgroup that the pinned links guard, 0 if it is gone; `None` without a link.
pub(super) fn guarded_cgroup(dir: &Path) -> Option<u64> {
    hooks(true)
        .filter_map(|hook| bpf::link_info(&pins::link(dir, hook.name)).ok())
        .map(|link| link.cgroup_id)
        .max()
}
