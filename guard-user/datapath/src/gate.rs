//! The gate: a program at a map of sockets, which reads what programs send first, and another that puts sockets there
//! (`guard-ebpf/src/gate.rs`). Where it is not in place, the proxy looks at TLS.

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{Array, MapData, SockHash},
    programs::{CgroupAttachMode, SkMsg, SockOps, links::FdLink},
    util::KernelVersion,
};
use guard_proto::HookStatus;
use guard_sys::bpf;

use super::{
    Datapath, DatapathError, Object, Result, cgroup,
    maps::{open, open_untyped},
    pins, top,
};

/// The program that puts sockets into the map, and its `enum bpf_attach_type`.
const OPS: &str = "gate_ops";
const SOCK_OPS: u32 = 3;
/// The program at the map.
const HELLO: &str = "gate_hello";
/// The first kernel on which its tests passed. On 6.1 they failed, for a reason that is not known; those between were not tried.
const FIRST: KernelVersion = KernelVersion::new(6, 18, 0);

/// Who looks at the server's name in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsBy {
    /// The proxy. There is no gate then, and no connection costs more for it.
    Proxy,
    /// The kernel half, where its programs load.
    Kernel,
}

/// The map that tells the kernel half whether the gate is in place.
pub(super) struct Gate {
    switch: Array<MapData, u64>,
}

impl Gate {
    /// Attaches both programs in place of those that are there, if these do not do the same.
    ///
    /// # Errors
    ///
    /// Why there is no gate. Then the kernel half keeps no connection at it.
    pub(super) fn attach(
        live: &Path,
        object: &Object,
        root: &cgroup::Root,
        ebpf: &mut Ebpf,
    ) -> std::result::Result<Self, String> {
        if !object.has_gate() {
            return Err("the kernel half is of a version that does not look at TLS".to_owned());
        }
        // A kernel of unknown version is not taken for one that has it.
        if KernelVersion::current().map_or(true, |version| version < FIRST) {
            detach(live);
            return Err("it does so from Linux 6.18 on".to_owned());
        }
        let attached = attach_hello(live, ebpf).and_then(|()| attach_ops(live, root, ebpf));
        let attached = attached.and_then(|()| {
            let switch = open(live, "GATE")?;
            match read_back(live, root.id())
                .iter()
                .find(|hook| !hook.attached)
            {
                None => Ok(Self { switch }),
                Some(hook) => Err(DatapathError::Absent {
                    what: format!("program {} where it was just attached", hook.name),
                }),
            }
        });
        attached.map_err(|why| {
            detach(live);
            why.to_string()
        })
    }

    fn switch(&mut self, is_on: bool) -> Result<()> {
        self.switch
            .set(0, u64::from(is_on), 0)
            .map_err(DatapathError::ebpf("write the map GATE"))
    }
}

/// The program stays at the map when this guardd ends.
fn attach_hello(live: &Path, ebpf: &mut Ebpf) -> Result<()> {
    let failed = || DatapathError::ebpf(format!("load {HELLO}"));
    let sockets = open_untyped(live, "GATE_SOCKETS")?;
    let sockets: SockHash<_, u64> = aya::maps::Map::SockHash(sockets)
        .try_into()
        .map_err(DatapathError::ebpf("open the map GATE_SOCKETS"))?;
    let program: &mut SkMsg = program(ebpf, HELLO)?
        .try_into()
        .map_err(DatapathError::ebpf(format!("load {HELLO}")))?;
    program.load().map_err(failed())?;
    let there = bpf::message_program(sockets.fd().as_fd()).ok().flatten();
    let new = program.fd().map_err(failed())?;
    if there.is_some_and(|id| top::is_same(id, new).unwrap_or(false)) {
        return Ok(());
    }
    let id = program.attach(sockets.fd()).map_err(failed())?;
    // Dropping it would detach the program.
    std::mem::forget(program.take_link(id).map_err(failed())?);
    Ok(())
}

fn attach_ops(live: &Path, root: &cgroup::Root, ebpf: &mut Ebpf) -> Result<()> {
    let failed = || DatapathError::ebpf(format!("load {OPS}"));
    let program: &mut SockOps = program(ebpf, OPS)?.try_into().map_err(failed())?;
    program.load().map_err(failed())?;
    let (new, pin) = (program.fd().map_err(failed())?, pin(live));
    pins::clear_beside(&pin);
    if top::does_the_same(&pin, new, SOCK_OPS, root.id()) {
        return Ok(());
    }
    let id = program
        .attach(root.dir(), CgroupAttachMode::Single)
        .map_err(failed())?;
    let link = program.take_link(id).map_err(failed())?;
    let link: FdLink = link
        .try_into()
        .map_err(DatapathError::ebpf(format!("attach {OPS}")))?;
    pins::replace_link(link, &pin)
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut aya::programs::Program> {
    ebpf.program_mut(name).ok_or_else(|| DatapathError::Absent {
        what: format!("program {name} in the eBPF object"),
    })
}

/// Has the kernel half keep no connection at the gate of an earlier guardd's.
pub(super) fn detach(live: &Path) {
    if let Ok(switch) = open(live, "GATE") {
        let _ = Gate { switch }.switch(false);
    }
    pins::take_away(&pin(live));
}

fn pin(live: &Path) -> PathBuf {
    live.join(OPS)
}

/// The programs as the kernel has them.
pub(super) fn read_back(live: &Path, root_id: u64) -> [HookStatus; 2] {
    let link = bpf::link_info(&pin(live)).ok();
    let sockets = open_untyped(live, "GATE_SOCKETS").ok();
    let at_map = sockets.and_then(|map| bpf::message_program(map.fd().as_fd()).ok().flatten());
    [
        HookStatus {
            name: OPS.into(),
            attached: link
                .as_ref()
                .is_some_and(|link| link.cgroup_id == root_id && link.attach_type == SOCK_OPS),
            program_id: link.map(|link| link.prog_id),
        },
        HookStatus {
            name: HELLO.into(),
            attached: at_map.is_some(),
            program_id: at_map,
        },
    ]
}

impl Datapath {
    /// Why the kernel half does not look at TLS; none if it does once [`Self::use_gate`] is called.
    #[must_use]
    pub fn gate_problem(&self) -> Option<&str> {
        self.gate.as_ref().err().map(String::as_str)
    }

    /// Has the kernel half look at TLS where rules want a name, or have such connections redirected to the proxy.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn use_gate(&mut self, is_used: bool) -> Result<()> {
        match &mut self.gate {
            Ok(gate) => gate.switch(is_used),
            Err(_) => Ok(()),
        }
    }
}
