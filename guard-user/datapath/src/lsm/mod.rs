//! Programs at the kernel's security hooks, if it runs them there: they judge what sessions do to Unix sockets of others, which
//! sockets they receive, and which processes they signal. The kernel's type information (BTF) says where its structures have
//! the fields that they read.

mod place;
mod trial;

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use guard_common::{AllowedName, AllowedSocket, LSM_JUDGES, LsmSession};
use guard_proto::HookStatus;
use guard_sys::{bpf, btf::Btf};
use zerocopy::FromZeros as _;

pub use self::place::SecurityHooks;
use super::{
    DatapathError, Object, Result, instructions, layout,
    loader::Loader,
    maps::{bytes, gone, open},
    pins,
};

/// The hooks, and the programs for them.
const HOOKS: [&str; 4] = [
    "unix_stream_connect",
    "unix_may_send",
    "file_receive",
    "task_kill",
];

/// As the eBPF object names them.
const MAPS: [&str; 5] = [
    "LSM_SESSIONS",
    "LSM_SOCKETS",
    "LSM_NAMES",
    "LSM_PROBE",
    "LSM_STATE",
];

/// The maps of the attached programs.
pub(super) struct Lsm {
    state: Array<MapData, u64>,
    sessions: HashMap<MapData, u64, [u8; size_of::<LsmSession>()]>,
    sockets: HashMap<MapData, [u8; size_of::<AllowedSocket>()], u8>,
    names: HashMap<MapData, [u8; size_of::<AllowedName>()], u8>,
}

impl Lsm {
    /// Attaches the programs, unless attached ones do the same, and checks that they are run. They judge nothing until
    /// [`Self::judge`].
    ///
    /// # Errors
    ///
    /// Why there are none; then none of a new guard stays.
    pub(super) fn attach(
        live: &Path,
        object: &Object,
        loader: &mut Loader<'_>,
        types: &Btf,
    ) -> Result<Self> {
        let were_there = HOOKS.iter().all(|hook| pin(live, hook).exists());
        let mut attach = || -> Result<Self> {
            let place = SecurityHooks::find(types).map_err(not_asked)?;
            let ebpf = layout::load(loader, live, object, types, &MAPS)?;
            let programs = load_all(place, object, &ebpf, types)?;
            let mut lsm = Self::open(live)?;
            if were_there {
                // Those of an earlier guard may judge already.
                lsm.judge()?;
            }
            attach_all(live, &programs)?;
            match trial::never_asked(live)? {
                None => Ok(lsm),
                Some(hook) => Err(not_asked(format!("not the program at {}", hook.as_str()))),
            }
        };
        // A lack of memory or descriptors may pass in a moment.
        let why = match attach().or_else(|_| attach()) {
            Ok(lsm) => return Ok(lsm),
            Err(why) => why,
        };
        // Existing ones stay, unless they are seen to do nothing: sessions that began under them have no other protection.
        if were_there && !matches!(trial::never_asked(live), Ok(Some(_))) {
            tracing::warn!(%why, "the programs at the security hooks stay as they were");
            return Self::open(live);
        }
        detach(live);
        Err(why)
    }

    fn open(live: &Path) -> Result<Self> {
        Ok(Self {
            state: open(live, "LSM_STATE")?,
            sessions: open(live, "LSM_SESSIONS")?,
            sockets: open(live, "LSM_SOCKETS")?,
            names: open(live, "LSM_NAMES")?,
        })
    }

    /// Has the programs judge, from now on for as long as the maps exist.
    pub(super) fn judge(&mut self) -> Result<()> {
        let set = self.state.set(LSM_JUDGES, 1, 0);
        set.map_err(DatapathError::ebpf("write the map LSM_STATE"))
    }

    /// Sets how the session with that cgroup is judged.
    pub(super) fn set(&mut self, cgroup: u64, free: bool, outer: Option<u64>) -> Result<()> {
        let session = LsmSession {
            outer: outer.unwrap_or(0),
            free: u64::from(free),
        };
        let put = self.sessions.insert(cgroup, bytes(&session), 0);
        put.map_err(DatapathError::ebpf("write the map LSM_SESSIONS"))
    }

    /// Allows the session with that cgroup, or with 0 every one, to connect to a socket.
    pub(super) fn allow_socket(&mut self, session: u64, cookie: u64) -> Result<()> {
        let key = AllowedSocket { session, cookie };
        let put = self.sockets.insert(bytes(&key), 1, 0);
        put.map_err(DatapathError::ebpf("write the map LSM_SOCKETS"))
    }

    /// Allows it to connect to any socket with that name: a path and a NUL, or a NUL and an abstract name. With 0 the socket
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

    /// Removes the allowed sockets of a session, or with 0 of all.
    pub(super) fn forget_sockets(&mut self, session: u64) {
        let sockets: Vec<_> = self.sockets.keys().filter_map(is_of(session)).collect();
        for key in sockets {
            let _ = gone(self.sockets.remove(&key));
        }
    }

    /// The cgroups that something is known of; 0 stands for all sessions.
    pub(super) fn cgroups(&self) -> HashSet<u64> {
        let of = |key: &[u8]| key.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
        let sessions = self.sessions.keys().filter_map(std::result::Result::ok);
        let sockets = self.sockets.keys().filter_map(|key| of(&key.ok()?));
        let names = self.names.keys().filter_map(|key| of(&key.ok()?));
        sessions.chain(sockets).chain(names).collect()
    }

    /// Removes a session.
    pub(super) fn forget(&mut self, session: u64) {
        // Ids are not used again; a leftover only takes room.
        let _ = gone(self.sessions.remove(&session));
        self.forget_sockets(session);
        let names: Vec<_> = self.names.keys().filter_map(is_of(session)).collect();
        for key in names {
            let _ = gone(self.names.remove(&key));
        }
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
fn load_all(
    place: SecurityHooks,
    object: &Object,
    ebpf: &Ebpf,
    types: &Btf,
) -> Result<Vec<(&'static str, OwnedFd)>> {
    let code = instructions::of_programs(object, ebpf, &HOOKS)?;
    let load = |hook| {
        let kind = place.kind(types, hook);
        let loaded =
            kind.and_then(|kind| bpf::load_program(kind, hook, instructions::of(&code, hook)?));
        let program = loaded.map_err(DatapathError::ebpf(format!("load {hook}")))?;
        Ok((hook, program))
    };
    HOOKS.into_iter().map(load).collect()
}

fn attach_all(live: &Path, programs: &[(&str, OwnedFd)]) -> Result<()> {
    let attach = |(hook, program): &(&str, OwnedFd)| attach_one(live, program, hook);
    programs.iter().try_for_each(attach)
}

fn attach_one(live: &Path, program: &OwnedFd, hook: &str) -> Result<()> {
    let pin = pin(live, hook);
    pins::clear_beside(&pin);
    if does_the_same(&pin, program) {
        return Ok(());
    }
    let link = bpf::attach_to_function(program);
    let link = link.map_err(DatapathError::ebpf(format!("attach {hook}")))?;
    pins::replace(&link, &pin)
}

fn does_the_same(pin: &Path, program: &OwnedFd) -> bool {
    let there = bpf::function_program(pin).and_then(|id| bpf::code(bpf::program_of(id)?.as_fd()));
    let ours = bpf::code(program.as_fd());
    there.is_ok_and(|there| ours.is_ok_and(|ours| ours == there))
}

fn pin(live: &Path, hook: &str) -> PathBuf {
    live.join(format!("lsm_{hook}"))
}

/// The maps stay: their entries hold for programs that may come back.
fn detach(live: &Path) {
    for hook in HOOKS {
        pins::take_away(&pin(live, hook));
    }
}

fn not_asked(why: String) -> DatapathError {
    let why = format!(
        "the kernel asks no BPF programs at its security hooks ({why}): boot one with CONFIG_FUNCTION_TRACER=y, or with bpf in \
         lsm= (CONFIG_BPF_LSM=y)"
    );
    DatapathError::ebpf("judge at the security hooks")(io::Error::other(why))
}

/// The hooks as the kernel has them: all, if they were attached or an earlier guardd left one. If they judge, each is tried:
/// the kernel's means to call programs can be switched off (`kernel.ftrace_enabled`).
pub(super) fn read_back(live: &Path, attached: bool) -> Vec<HookStatus> {
    let is_one_pinned = || HOOKS.iter().any(|hook| pin(live, hook).exists());
    let hooks = HOOKS.iter().filter(|_| attached || is_one_pinned());
    let never_asked = if attached {
        // If the trial itself fails, the programs are not in doubt.
        trial::never_asked(live).ok().flatten()
    } else {
        None
    };
    hooks
        .map(|hook| {
            let program = bpf::function_program(&pin(live, hook)).ok();
            let is_asked = never_asked.is_none_or(|never| never.as_str() != *hook);
            HookStatus {
                name: (*hook).into(),
                attached: program.is_some() && is_asked,
                program_id: program,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use aya::EbpfLoader;

    use super::*;
    use guard_sys::bpf::ProgramKind;

    /// Also if the kernel knows no program of their types: they do nothing with their context that one at a tracepoint may not
    /// do.
    #[test]
    fn the_verifier_takes_the_programs_by_another_type() {
        let object = Object::built_in();
        let offsets = layout::offsets(&Btf::of_kernel().unwrap()).unwrap();
        let mut loader = EbpfLoader::new();
        loader.override_global("SESSION_LEVEL", &2_u32, true);
        loader.override_global("ROOT_ID", &1_u64, true);
        loader.override_global("OFFSETS", &offsets, true);
        let ebpf = loader.load(object.bytes()).unwrap();
        let code = instructions::of_programs(&object, &ebpf, &HOOKS).unwrap();
        for hook in HOOKS {
            let code = instructions::of(&code, hook).unwrap();
            bpf::load_program(ProgramKind::TRACEPOINT, hook, code).unwrap();
        }
    }
}
