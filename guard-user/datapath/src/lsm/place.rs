//! How this machine's kernel runs programs at its security hooks.

use std::{io, os::fd::AsFd as _};

use guard_sys::{
    bpf::{
        MapLayout, ProgramKind, attach_to_function, counting, create_map, first_of_array,
        load_program,
    },
    btf::Btf,
    errno::errno,
    process::session_of,
};

/// How programs are run at security hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityHooks {
    /// As one of the security modules, if the kernel has the one called `bpf` (`BPF_LSM_MAC`).
    Module,
    /// Before the function that calls the modules, which is skipped if the program refuses (`BPF_MODIFY_RETURN`). No module is
    /// needed: the kernel accepts such programs for every function whose name begins with `security_`.
    Function,
}

/// Called when a process asks for the session of another: seldom, and harmless.
const TRIED: &str = "task_getsid";

impl SecurityHooks {
    /// Finds out how an attached program is called: the kernel accepts programs of a security module even if `bpf` is not among
    /// the modules of this boot. The programs only count.
    ///
    /// # Errors
    ///
    /// Why there is no way, in words.
    pub fn find(types: &Btf) -> Result<Self, String> {
        let mut problems = Vec::new();
        for place in [Self::Module, Self::Function] {
            let why = match place.count(types) {
                Ok(1..) => return Ok(place),
                Ok(0) => "it is never called".to_owned(),
                Err(why) => why,
            };
            problems.push(format!("{}: {why}", place.as_str()));
        }
        Err(problems.join("; "))
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Module => "as a security module",
            Self::Function => "before the functions that ask the security modules",
        }
    }

    /// How a program is loaded for a hook.
    ///
    /// # Errors
    ///
    /// `NotFound` if this kernel has no such hook.
    pub(super) fn kind(self, types: &Btf, hook: &str) -> io::Result<ProgramKind> {
        let id = |name: String| Ok::<_, io::Error>(types.function(&name)?.cast_unsigned());
        Ok(match self {
            Self::Module => ProgramKind::security_module(id(format!("bpf_lsm_{hook}"))?),
            Self::Function => ProgramKind::before_function(id(format!("security_{hook}"))?),
        })
    }

    /// How often a program was called when it had to be called once.
    fn count(self, types: &Btf) -> Result<u64, String> {
        if self == Self::Function && preempts_under_locks() {
            return Err(
                "the kernel is one for real time (PREEMPT_RT): it may leave such a program out"
                    .to_owned(),
            );
        }
        let kind = self.kind(types, TRIED).map_err(|error| error.to_string())?;
        let layout = MapLayout {
            // BPF_MAP_TYPE_ARRAY
            kind: 2,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            flags: 0,
        };
        let array = create_map("guard_probe", layout).map_err(|error| errno(&error))?;
        let program = load_program(kind, "guard_probe", &counting(array.as_fd()))
            .map_err(|error| format!("a program does not load: {}", errno(&error)))?;
        let _link = attach_to_function(&program)
            .map_err(|error| format!("a program is not attached: {}", errno(&error)))?;
        session_of(rustix::process::getpid()).map_err(|error| errno(&error))?;
        first_of_array(array.as_fd()).map_err(|error| errno(&error))
    }
}

/// Whether a task may be preempted by another while it holds a socket's lock. The kernel skips a program before a function if
/// it runs on that processor already (`bpf_prog_enter_recur`), and so for the other task. On other kernels no two are judged on
/// one processor at once, since connections are judged under that lock.
fn preempts_under_locks() -> bool {
    let version = rustix::system::uname();
    version.version().to_string_lossy().contains("PREEMPT_RT")
}
