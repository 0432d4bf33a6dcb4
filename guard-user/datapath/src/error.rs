//! What can go wrong between guardd and the kernel.

use std::{error::Error, fs, io, path::PathBuf};

use guard_proto::{Failure, HookStatus};
use guard_sys::release::{release, version};
use rustix::io::Errno;

/// Why the kernel half could not do something.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// A file, directory or cgroup.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A map, program or link failed.
    #[error("cannot {doing}: {why}")]
    Ebpf {
        /// What was tried.
        doing: String,
        /// The kernel's or the loader's words.
        why: String,
        /// Whether a capability was missing.
        denied: bool,
        /// The system's number, if it said why.
        code: Option<i32>,
    },
    /// A program at the top of the hierarchy failed.
    #[error("cannot judge what sessions do at the top of the cgroup hierarchy: {what}: {why}")]
    Top {
        /// The operation that failed.
        what: &'static str,
        /// The system's word.
        why: io::Error,
    },
    /// Another guardd holds the lock.
    #[error("another guardd uses {path}")]
    Busy {
        /// The pin directory or cgroup root.
        path: PathBuf,
    },
    /// There is no cgroup v2 at the cgroup root.
    #[error("{path} is not in a cgroup v2 hierarchy")]
    NoCgroup2 {
        /// The cgroup root.
        path: PathBuf,
    },
    /// Others than root could move processes out of the cgroup root.
    #[error("root does not own {path}, so what is in it could leave it")]
    NotRoots {
        /// The cgroup root.
        path: PathBuf,
    },
    /// Others than root could remove the pins.
    #[error("{path} is no directory of root's, so whoever owns it could take the pins in it away")]
    NotRootsPins {
        /// The pin directory.
        path: PathBuf,
    },
    /// The pins were made with other layouts.
    #[error("the pins in {path} have layout version {found}, this guardd has {ours}")]
    OtherVersion {
        /// The pin directory.
        path: PathBuf,
        /// The cgroup root.
        root: PathBuf,
        /// The version in the pins.
        found: u64,
        /// This program's version.
        ours: u64,
    },
    /// A pin was removed.
    #[error("{pin} is gone, so what is enforced cannot be read or changed")]
    Incomplete {
        /// The pin.
        pin: PathBuf,
    },
    /// The pins hold programs that are attached elsewhere.
    #[error("the pins in {pins} guard another cgroup than {root}")]
    OtherRoot {
        /// The pin directory.
        pins: PathBuf,
        /// The cgroup root.
        root: PathBuf,
    },
    /// The cgroup root was removed, and the programs with it.
    #[error("the cgroup {root} is gone, or another has come in its place")]
    RootGone {
        /// The cgroup root.
        root: PathBuf,
    },
    /// A program is not attached as it should be.
    #[error("{hook} is not attached to {root}")]
    NotEnforced {
        /// Which.
        hook: String,
        /// The cgroup root.
        root: PathBuf,
        /// All of them.
        hooks: Vec<HookStatus>,
    },
    /// A limit is reached.
    #[error("there is no room for more {what} (at most {limit})")]
    Full {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The thing does not exist.
    #[error("there is no {what}")]
    Absent {
        /// What.
        what: String,
    },
    /// A process did not arrive in its session.
    #[error("process {pid} is not in {cgroup}")]
    NotInside {
        /// The process.
        pid: u32,
        /// The session's cgroup.
        cgroup: PathBuf,
    },
    /// Teardown is refused: systemd could not stop the slice, whose units could then start unguarded.
    #[error("systemd does not stop guard.slice: {why}")]
    SliceStands {
        /// systemd's words.
        why: String,
    },
    /// Teardown is refused: sessions are live.
    #[error("sessions live in {root}: {sessions}")]
    SessionsLive {
        /// The cgroup root.
        root: PathBuf,
        /// Their names.
        sessions: String,
    },
}

/// What the maps of the kernel half have an entry for each of that refuse one more, and for how many they have room. Those that evict the
/// least recently used one are never full.
const ROOMS: [(&str, &str, usize); 17] = [
    ("POLICIES", "policies in the kernel", 4096),
    ("RANGES", "lists of port ranges", 65_536),
    ("SESSIONS", "sessions in the kernel", 4096),
    ("STATS", "sessions in the kernel", 4096),
    ("OUTERMOST", "nested sessions in the kernel", 4096),
    ("HOLES", "sessions with holes", 4096),
    ("BUDGETS", "budgets of holes", 65_536),
    ("PATIENCE", "sessions whose connections are held", 4096),
    ("PROXIES", "networks that the proxy serves", 4096),
    ("RESOLVERS", "networks that the resolver serves", 4096),
    ("UNIX", "sessions with Unix sockets", 4096),
    ("UNIX_PATHS", "Unix sockets of all sessions", 256),
    ("LSM_SESSIONS", "sessions with Unix sockets", 4096),
    ("LSM_SOCKETS", "Unix sockets of sessions", 16_384),
    ("LSM_NAMES", "names of Unix sockets", 16_384),
    ("HERE", "addresses of this machine", 1024),
    ("REMEMBERS", "sessions with remembered programs", 4096),
];

/// How an operation is called that puts an entry into a map.
const WRITE: &str = "write the map ";

impl DatapathError {
    pub(super) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    pub(super) fn ebpf<E: Error + 'static>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |error| {
            Self::full(&doing, &error).unwrap_or_else(|| Self::Ebpf {
                doing,
                denied: is_due_to(io::ErrorKind::PermissionDenied, &error),
                code: causes(&error)
                    .find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error()),
                why: chain(&error),
            })
        }
    }

    /// That a map is full, where that is why an entry was refused: a hash map answers E2BIG then (`bpf(2)`), and a program that is too
    /// long gets the same.
    fn full(doing: &str, error: &(dyn Error + 'static)) -> Option<Self> {
        let map = doing.strip_prefix(WRITE)?;
        let (_, what, limit) = ROOMS.into_iter().find(|(name, ..)| *name == map)?;
        is_due_to(io::ErrorKind::ArgumentListTooLong, error).then_some(Self::Full { what, limit })
    }

    /// Returns true if the system was short of something, or busy: nothing is known of what it can do.
    pub(super) fn is_shortage(&self) -> bool {
        const SHORTAGES: [Errno; 6] = [
            Errno::NOMEM,
            Errno::NFILE,
            Errno::MFILE,
            Errno::AGAIN,
            Errno::INTR,
            Errno::BUSY,
        ];
        let code = match self {
            Self::File { source: io, .. } | Self::Top { why: io, .. } => io.raw_os_error(),
            Self::Ebpf { code, .. } => *code,
            _ => None,
        };
        code.is_some_and(|code| SHORTAGES.contains(&Errno::from_raw_os_error(code)))
    }

    /// What to type or change next.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run guardd as root, with all of root's capabilities; a container usually lacks some".into()
            }
            shortage if shortage.is_shortage() => {
                "start guardd again; if that fails, see its limits of memory and open files (LimitNOFILE=, MemoryMax=)".into()
            }
            Self::Ebpf { denied, .. } => ebpf_fix(*denied),
            Self::File { path, .. } => format!(
                "see to {}, or give guardd other places: --pin-dir, --cgroup-root, --state-dir",
                path.display()
            ),
            Self::Busy { .. } => {
                "stop the other guardd, or give this one its own --pin-dir, --cgroup-root and --state-dir"
                    .into()
            }
            Self::NoCgroup2 { .. } => {
                "give --cgroup-root a directory below a cgroup v2 mount (`findmnt -t cgroup2` lists them)".into()
            }
            Self::NotRoots { path } => format!("run `chown -R root: {}`, or give another --cgroup-root", path.display()),
            Self::NotRootsPins { path } => format!(
                "see who made it, and what is in it; then remove it, and start guardd again: ls -la {0}; rm -r {0}",
                path.display()
            ),
            // Without the root, teardown would look for sessions in another one, find none, and leave these unguarded.
            Self::OtherVersion { path, root, .. } => format!(
                "end the sessions, run `guardd teardown --pin-dir {} --cgroup-root {}`, then start guardd again",
                path.display(),
                root.display()
            ),
            Self::OtherRoot { pins, .. } => format!(
                "end the sessions, run `guardd teardown --pin-dir {}`, then start guardd again",
                pins.display()
            ),
            Self::Incomplete { .. } => {
                "end the sessions, run `guardd teardown` with the same directories, then start guardd again".into()
            }
            Self::RootGone { .. } | Self::NotEnforced { .. } => "restart guardd: it attaches what is missing".into(),
            Self::Full { .. } => "close some (`guard holes`, `guard sessions`), then try again".into(),
            Self::Absent { .. } => "list what there is: `guard sessions`, `guard holes`".into(),
            Self::NotInside { .. } => "start the command again".into(),
            Self::SliceStands { .. } => "stop it: systemctl stop guard.slice".into(),
            Self::Top { .. } => "guard doctor".into(),
            Self::SessionsLive { .. } => "end them first, or add --force to end them now".into(),
        }
    }

    /// For a person or a client.
    #[must_use]
    pub fn failure(&self, what: impl Into<String>) -> Failure {
        Failure {
            what: what.into(),
            why: self.to_string(),
            fix: self.fix(),
        }
    }
}

/// The oldest kernel with everything that the programs need.
const OLDEST: (u32, u32) = (6, 1);

/// Whether the kernel interprets programs. It then rejects programs with helpers that call back.
fn jit_is_off() -> bool {
    fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").is_ok_and(|text| text.trim() == "0")
}

/// The advice about programs that the kernel rejects.
fn kernel_needed(release: &str) -> String {
    let (major, minor) = OLDEST;
    let is_old = version(release).is_some_and(|found| found < OLDEST);
    if is_old {
        format!("Linux {major}.{minor} or later is needed, and this is {release}")
    } else {
        format!(
            "report it as a bug, with this line and the kernel's release, {release}; Linux {major}.{minor} or \
             later is needed, with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF"
        )
    }
}

fn ebpf_fix(is_denied: bool) -> String {
    if is_denied {
        "run guardd as root, with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; a container usually has none \
         of them"
            .into()
    } else if jit_is_off() {
        "run `sysctl net.core.bpf_jit_enable=1`: the kernel has to compile these programs".into()
    } else {
        kernel_needed(&release())
    }
}

/// An error and all of its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Whether the system said so, as the cause of an error or itself.
fn is_due_to(kind: io::ErrorKind, error: &(dyn Error + 'static)) -> bool {
    let mut said = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
    said.any(|io| io.kind() == kind)
}

/// An error and its causes.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause: &&'e (dyn Error + 'static)| {
        (*cause).source()
    })
}

#[cfg(test)]
mod tests {
    use aya::{maps::MapError, sys::SyscallError};

    use super::*;
    use crate::Object;

    #[test]
    fn an_old_kernel_is_named() {
        for old in ["5.10.0-28-amd64", "6.0.19", "4.18"] {
            let said = kernel_needed(old);
            assert!(
                said.contains("Linux 6.1 or later is needed, and this is"),
                "{said}"
            );
            assert!(said.ends_with(old), "{said}");
        }
        for new in ["6.1.0-17-amd64", "6.12.3", "10.0-rc1", "odd"] {
            assert!(kernel_needed(new).starts_with("report it"), "{new}");
        }
    }

    /// As aya tells it: E2BIG below the error of a map.
    fn refused_entry() -> MapError {
        refused_entry_by(io::ErrorKind::ArgumentListTooLong.into())
    }

    fn refused_entry_by(io_error: io::Error) -> MapError {
        MapError::SyscallError(SyscallError {
            call: "bpf_map_update_elem",
            io_error,
        })
    }

    #[test]
    fn a_full_map_is_a_limit_and_no_bug() {
        let full = DatapathError::ebpf("write the map STATS")(refused_entry());
        assert_eq!(
            full.to_string(),
            "there is no room for more sessions in the kernel (at most 4096)"
        );
        assert!(full.fix().starts_with("close some"), "{}", full.fix());
        // What is no entry of a hash map says E2BIG for another reason.
        for other in ["load connect4", "write the map META"] {
            let failed = DatapathError::ebpf(other)(refused_entry());
            assert!(matches!(failed, DatapathError::Ebpf { .. }), "{failed}");
        }
        let denied: io::Error = io::ErrorKind::PermissionDenied.into();
        let denied = DatapathError::ebpf("write the map STATS")(denied);
        assert!(matches!(denied, DatapathError::Ebpf { denied: true, .. }));
    }

    #[test]
    fn a_shortage_does_not_count_as_a_kernel_that_lacks_something() {
        for (errno, is_shortage) in [
            (Errno::MFILE, true),
            (Errno::NOMEM, true),
            (Errno::OPNOTSUPP, false),
            (Errno::INVAL, false),
        ] {
            let said = || io::Error::from(errno);
            let load = DatapathError::ebpf("load unix_connect");
            let refused = refused_entry_by(said());
            for error in [load(refused), crate::top::refused("unix_connect")(said())] {
                assert_eq!(error.is_shortage(), is_shortage, "{error}");
            }
        }
    }

    #[test]
    fn the_maps_have_the_room_that_people_are_told_of() {
        let object = Object::built_in();
        let parsed = aya_obj::Object::parse(object.bytes()).unwrap();
        for (name, _, limit) in ROOMS {
            let map = parsed.maps.get(name);
            let room = map.map(aya_obj::Map::max_entries);
            assert_eq!(room, u32::try_from(limit).ok(), "{name}");
        }
    }
}
