//! Programs of the security module, where the kernel has BPF as one and asks it: they judge what sessions do to Unix sockets
//! of others, which sockets they are handed, and whom they signal. What a program is told of the kernel's structures is
//! found in its own description of itself (BTF).

use std::{
    fs, io,
    os::{
        fd::AsFd as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
    programs::{Lsm as Program, ProgramError, links::FdLink},
};
use guard_common::{AllowedName, AllowedSocket, LsmSession};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use zerocopy::FromZeros as _;

use super::{
    DatapathError, Object, Result, cgroup, layout,
    maps::{bytes, gone, open},
    top::refused,
};
use crate::{
    proto::HookStatus,
    sys::{bpf, btf::Btf},
};

/// The hooks, and the programs for them.
const HOOKS: [&str; 4] = [
    "unix_stream_connect",
    "unix_may_send",
    "file_receive",
    "task_kill",
];

/// As the eBPF object names them.
const MAPS: [&str; 4] = ["LSM_SESSIONS", "LSM_SOCKETS", "LSM_NAMES", "LSM_PROBE"];

/// The module of that name is among those that the kernel asks, says this file, where securityfs is mounted.
const MODULES: &str = "/sys/kernel/security/lsm";

/// What is tried.
const TRIAL: &str = "a connection to try it";

/// The maps of the attached programs.
pub(super) struct Lsm {
    sessions: HashMap<MapData, u64, [u8; size_of::<LsmSession>()]>,
    sockets: HashMap<MapData, [u8; size_of::<AllowedSocket>()], u8>,
    names: HashMap<MapData, [u8; size_of::<AllowedName>()], u8>,
}

impl Lsm {
    /// Attaches the programs, where each does not do the same already, and sees that somebody asks them. Else why there are
    /// none, in words; then none of a new guard's stays.
    pub(super) fn attach(
        live: &Path,
        object: &Object,
        root: &cgroup::Root,
        types: &Btf,
    ) -> std::result::Result<Self, String> {
        let were_there = HOOKS.iter().all(|hook| pin(live, hook).exists());
        let attached = layout::load(live, object, root, types, &MAPS)
            .and_then(|mut ebpf| attach_all(live, &mut ebpf))
            .and_then(|()| Self::open(live));
        let words = match attached {
            Err(why) => in_short(&why.to_string()),
            Ok(lsm) if is_asked(live) => return Ok(lsm),
            Ok(_) => {
                detach(live);
                return Err(not_asked());
            }
        };
        if !were_there {
            detach(live);
        }
        Err(words)
    }

    fn open(live: &Path) -> Result<Self> {
        Ok(Self {
            sessions: open(live, "LSM_SESSIONS")?,
            sockets: open(live, "LSM_SOCKETS")?,
            names: open(live, "LSM_NAMES")?,
        })
    }

    /// What holds for the session that has the cgroup of that id.
    pub(super) fn set(&mut self, cgroup: u64, free: bool, outer: Option<u64>) -> Result<()> {
        let session = LsmSession {
            outer: outer.unwrap_or(0),
            free: u64::from(free),
        };
        let put = self.sessions.insert(cgroup, bytes(&session), 0);
        put.map_err(DatapathError::ebpf("write the map LSM_SESSIONS"))
    }

    /// Lets the session that has that cgroup, or with 0 every one, connect to a socket.
    pub(super) fn allow_socket(&mut self, session: u64, cookie: u64) -> Result<()> {
        let key = AllowedSocket { session, cookie };
        let put = self.sockets.insert(bytes(&key), 1, 0);
        put.map_err(DatapathError::ebpf("write the map LSM_SOCKETS"))
    }

    /// Lets it connect to whatever socket has that name: a path and a NUL, or a NUL and an abstract name. With 0 the socket
    /// must be root's.
    pub(super) fn allow_name(&mut self, session: u64, name: &[u8]) -> Result<()> {
        let mut key = AllowedName::new_zeroed();
        key.session = session;
        let Some(to) = key.name.get_mut(..name.len()) else {
            return Ok(());
        };
        to.copy_from_slice(name);
        key.length = name.len() as u32;
        let put = self.names.insert(bytes(&key), 1, 0);
        put.map_err(DatapathError::ebpf("write the map LSM_NAMES"))
    }

    /// Forgets which sockets a session may connect to, or with 0 every one.
    pub(super) fn forget_sockets(&mut self, session: u64) {
        let sockets: Vec<_> = self.sockets.keys().filter_map(is_of(session)).collect();
        for key in sockets {
            let _ = gone(self.sockets.remove(&key));
        }
    }

    /// Forgets a session.
    pub(super) fn forget(&mut self, session: u64) {
        // Ids are not used again; what stays takes room.
        let _ = gone(self.sessions.remove(&session));
        self.forget_sockets(session);
        let names: Vec<_> = self.names.keys().filter_map(is_of(session)).collect();
        for key in names {
            let _ = gone(self.names.remove(&key));
        }
    }
}

/// Without what the verifier has to say of each instruction.
fn in_short(words: &str) -> String {
    let lines: Vec<_> = words.lines().filter(|line| line.len() > 2).collect();
    match lines.as_slice() {
        [first, .., last, _] if lines.len() > 4 => format!("{first} … {last}"),
        lines => lines.join("; "),
    }
}

/// Keeps the keys that begin with the session's number.
fn is_of<const N: usize, E>(
    session: u64,
) -> impl FnMut(std::result::Result<[u8; N], E>) -> Option<[u8; N]> {
    move |key| {
        key.ok()
            .filter(|key| key.starts_with(&session.to_ne_bytes()))
    }
}

/// Loads all before any is attached.
fn attach_all(live: &Path, ebpf: &mut Ebpf) -> Result<()> {
    let types = aya::Btf::from_sys_fs().map_err(DatapathError::ebpf("read the kernel's types"))?;
    for hook in HOOKS {
        let loaded = program(ebpf, hook)?.load(hook, &types);
        loaded.map_err(DatapathError::ebpf(format!("load {hook}")))?;
    }
    for hook in HOOKS {
        attach_one(live, program(ebpf, hook)?, hook)?;
    }
    Ok(())
}

fn program<'a>(ebpf: &'a mut Ebpf, hook: &str) -> Result<&'a mut Program> {
    let found = ebpf
        .program_mut(hook)
        .ok_or_else(|| DatapathError::Absent {
            what: format!("program {hook} in the eBPF object"),
        })?;
    let typed: std::result::Result<_, ProgramError> = found.try_into();
    typed.map_err(DatapathError::ebpf(format!("load {hook}")))
}

fn attach_one(live: &Path, program: &mut Program, hook: &str) -> Result<()> {
    let pin = pin(live, hook);
    if does_the_same(&pin, program) {
        return Ok(());
    }
    let failed = || DatapathError::ebpf(format!("attach {hook}"));
    let id = program.attach().map_err(failed())?;
    let link: FdLink = program.take_link(id).map_err(failed())?.into();
    // No dots: they are not for names in a bpffs.
    let beside = PathBuf::from(format!("{}_new", pin.display()));
    let _ = fs::remove_file(&beside);
    let pinned = link.pin(&beside);
    pinned.map_err(DatapathError::ebpf(format!("pin {hook}")))?;
    fs::rename(&beside, &pin).map_err(DatapathError::file("replace", &pin))
}

fn does_the_same(pin: &Path, program: &Program) -> bool {
    let there = bpf::lsm_program(pin).and_then(|id| bpf::tag(bpf::program_of(id)?.as_fd()));
    let info = program.info().ok();
    there.is_ok_and(|tag| info.is_some_and(|info| info.tag() == u64::from_be_bytes(tag)))
}

fn pin(live: &Path, hook: &str) -> PathBuf {
    live.join(format!("lsm_{hook}"))
}

/// The maps stay: what is in them holds for programs that may come back.
fn detach(live: &Path) {
    for hook in HOOKS {
        let _ = fs::remove_file(pin(live, hook));
    }
}

/// Whether a program is asked: the kernel lets them be attached also where it asks no module called `bpf`. To one socket, for
/// a moment, everybody is refused a connection.
fn is_asked(live: &Path) -> bool {
    let probe = || -> Result<bool> {
        let mut probe: Array<MapData, u64> = open(live, "LSM_PROBE")?;
        let (listener, address) = listen().map_err(refused(TRIAL))?;
        let cookie = rustix::net::sockopt::socket_cookie(&listener)
            .map_err(|why| refused(TRIAL)(why.into()))?;
        let mut refuse = |cookie| {
            let set = probe.set(0, cookie, 0);
            set.map_err(DatapathError::ebpf("write the map LSM_PROBE"))
        };
        refuse(cookie)?;
        let connected = UnixStream::connect_addr(&address);
        refuse(0)?;
        match connected {
            Ok(_) => Ok(false),
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => Ok(true),
            Err(why) => Err(refused(TRIAL)(why)),
        }
    };
    probe().unwrap_or_else(|why| {
        tracing::warn!(%why, "whether the kernel asks its security module was not found out");
        false
    })
}

/// At a name that the kernel chooses.
fn listen() -> io::Result<(UnixListener, SocketAddr)> {
    let listener = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    bind(&listener, &SocketAddrUnix::new_unnamed())?;
    rustix::net::listen(&listener, 1)?;
    let listener = UnixListener::from(listener);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn not_asked() -> String {
    let modules = fs::read_to_string(MODULES).unwrap_or_default();
    let now = match modules.trim() {
        "" => String::new(),
        modules => format!(" (it asks {modules})"),
    };
    format!(
        "the kernel asks no BPF programs as a security module{now}: add bpf to lsm= on its command line"
    )
}

/// The hooks as the kernel has them: all, where they were attached or one of them was left by an earlier guardd.
pub(super) fn read_back(live: &Path, attached: bool) -> Vec<HookStatus> {
    let is_one_pinned = || HOOKS.iter().any(|hook| pin(live, hook).exists());
    let hooks = HOOKS.iter().filter(|_| attached || is_one_pinned());
    hooks
        .map(|hook| {
            let program = bpf::lsm_program(&pin(live, hook)).ok();
            HookStatus {
                name: (*hook).into(),
                attached: program.is_some(),
                program_id: program,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use aya::EbpfLoader;

    use super::*;

    /// Also where the kernel takes no program of that type: they do nothing with their context that a tracepoint's may not.
    #[test]
    fn the_verifier_takes_the_programs_by_another_type() {
        let mut bytes = Object::built_in().bytes().to_vec();
        for hook in HOOKS {
            // Only so much is written over: the end of a section's name is the program's, too.
            let section = format!("lsm/{hook}\0");
            let is_there = |at: &usize| bytes[*at..].starts_with(section.as_bytes());
            let places: Vec<_> = (0..bytes.len()).filter(is_there).collect();
            for at in places {
                bytes[at..at + 4].copy_from_slice(b"tp//");
            }
        }
        let offsets = layout::offsets(&Btf::of_kernel().unwrap()).unwrap();
        let mut loader = EbpfLoader::new();
        loader.override_global("SESSION_LEVEL", &2_u32, true);
        loader.override_global("ROOT_ID", &1_u64, true);
        loader.override_global("OFFSETS", &offsets, true);
        let mut ebpf = loader.load(&bytes).unwrap();
        for hook in HOOKS {
            let program = ebpf.program_mut(hook).unwrap();
            let program: &mut aya::programs::TracePoint = program.try_into().unwrap();
            program.load().unwrap();
        }
    }

    #[test]
    fn the_socket_of_the_trial_can_be_reached() {
        let (_listener, address) = listen().unwrap();
        UnixStream::connect_addr(&address).unwrap();
    }
}
