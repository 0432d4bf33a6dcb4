//! Which test binaries run in which kinds of machines.

use std::time::Duration;

use super::kernels::Kernel;

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Kind {
    /// As Debian boots: systemd, and cgroup v2 alone
    Plain,
    /// BPF is no security module, and the kernel tells nobody its types
    NoBpfLsm,
    /// BPF is no security module, and the kernel tells its types: programs go before the functions that ask the modules
    FmodRet,
    /// cgroup v1 beside cgroup v2, as systemd had it before
    Hybrid,
    /// cgroup v1 alone, as systemd had it at first: nothing can be guarded
    Legacy,
    /// Its root file system is on a disk, and it boots more than once
    Reboot,
    /// Podman and Docker are installed
    Containers,
}

/// What is in a machine's root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    Plain,
    /// And engines for containers: three times as much.
    Engines,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::NoBpfLsm => "no-bpf-lsm",
            Self::FmodRet => "fmod-ret",
            Self::Hybrid => "hybrid",
            Self::Legacy => "legacy",
            Self::Reboot => "reboot",
            Self::Containers => "containers",
        }
    }

    /// What its kernel is told beside what all are told.
    pub(super) fn append(self) -> &'static str {
        match self {
            Self::Plain => "systemd.unit=vm.target",
            Self::NoBpfLsm | Self::FmodRet => {
                "systemd.unit=vm.target lsm=landlock,lockdown,yama,loadpin,safesetid,integrity,apparmor"
            }
            Self::Hybrid => "systemd.unit=vm.target systemd.unified_cgroup_hierarchy=0",
            Self::Legacy => {
                "systemd.unit=vm.target systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1"
            }
            // What is enabled starts, as on any machine.
            Self::Reboot => "rdinit=/vm/init-disk systemd.wants=vm.service",
            Self::Containers => "rdinit=/vm/init-bind systemd.unit=vm.target",
        }
    }

    pub(super) fn contents(self) -> Contents {
        match self {
            Self::Containers => Contents::Engines,
            _ => Contents::Plain,
        }
    }

    /// In MiB: the root file system is in memory, and has half of it.
    pub(super) fn memory(self) -> u32 {
        match self.contents() {
            Contents::Plain => 2048,
            Contents::Engines => 3072,
        }
    }

    /// What is done in it before anything else.
    pub(super) fn prepare(self) -> Option<&'static str> {
        match self {
            Self::NoBpfLsm => Some(
                "mkdir /run/empty && mount --bind /run/empty /sys/kernel/btf && \
                 ! grep -w bpf /sys/kernel/security/lsm && ! test -e /sys/kernel/btf/vmlinux",
            ),
            Self::FmodRet => {
                Some("! grep -w bpf /sys/kernel/security/lsm && test -e /sys/kernel/btf/vmlinux")
            }
            Self::Hybrid => Some("test -d /sys/fs/cgroup/unified && test -d /sys/fs/cgroup/memory"),
            Self::Legacy => Some("! grep -w cgroup2 /proc/mounts && test -d /sys/fs/cgroup/memory"),
            Self::Plain | Self::Reboot | Self::Containers => {
                Some("test -f /sys/fs/cgroup/cgroup.controllers")
            }
        }
    }

    /// Whether a kernel's release of systemd can still make it.
    pub(super) fn exists_with(self, kernel: Kernel) -> bool {
        !matches!(self, Self::Hybrid | Self::Legacy) || kernel == Kernel::V6_1
    }
}

/// A test binary, and which of its tests; none: all.
#[derive(Clone)]
pub(super) struct Suite {
    pub(super) name: String,
    pub(super) filters: Vec<String>,
    /// What is left out of these.
    pub(super) skips: Vec<String>,
}

impl Suite {
    /// Whether one of its tests, by its whole name, is to run: what takes long or is no test runs where somebody names it.
    pub(super) fn has(&self, test: &str) -> bool {
        let name = test.split_once("::").map_or(test, |(_, name)| name);
        let said = |parts: &[String]| parts.iter().any(|part| name.contains(&**part));
        (self.filters.is_empty() && !LEFT_OUT.contains(&test) || said(&self.filters))
            && !said(&self.skips)
    }
}

/// Tests that are ignored for another reason than that they change the machine.
const LEFT_OUT: &[&str] = &["waiting::soak::soak_of_ten_thousand_questions"];

/// Where the suites run that do not run in plain machines alone. What is not named here runs there.
const ELSEWHERE: &[(Kind, &[&str])] = &[
    (
        Kind::NoBpfLsm,
        &["enforcement", "escapes", "holes", "lifecycle"],
    ),
    (
        Kind::FmodRet,
        &["doctor", "escapes", "lifecycle", "nested", "sockets"],
    ),
    (Kind::Hybrid, &["enforcement", "lifecycle", "systemd"]),
    (Kind::Legacy, &["legacy"]),
    (Kind::Reboot, &["reboot"]),
    (Kind::Containers, &["containers"]),
];
/// What cannot run in a plain machine: `clients` wants programs that no machine has, `agents` a bus and a polkit of its own,
/// and `watch` types keys in time, which
/// an emulated one has not. None of them says anything about a kernel.
const NOT_PLAIN: &[&str] = &[
    "agents",
    "clients",
    "containers",
    "legacy",
    "reboot",
    "watch",
];

/// What is the same on every kernel: `cargo xtask test` has said all about it.
const SAME_EVERYWHERE: &[&str] = &[
    "assign",
    "bad_input",
    "contract",
    "control",
    "crashes",
    "https",
    "lab",
    "metrics",
    "names",
    "proxy",
    "read_only",
    "reload",
    "report",
    "rotation",
    "trail",
    "trust",
];
/// What asks the kernel, and takes many minutes in an emulated machine: `cargo xtask test` asks the one that it runs on, and
/// `cargo xtask vm` without `--brief` each.
const LONG: &[&str] = &["doctor", "escapes"];
/// What takes long and asks for nothing that came with a kernel after the oldest: the oldest says enough, beside the one that
/// `cargo xtask test` runs on.
const OF_THE_OLDEST: &[&str] = &["lifecycle", "waiting"];
/// What asks nothing of the kernel but of what Debian runs on it. Every machine installs the package, and the hybrid one has the
/// older systemd.
const OF_SYSTEMD: &[&str] = &["containers", "packages", "services", "systemd"];

/// Of which suites a part says enough in a kind of machine.
const PARTS: &[(Kind, &str, &[&str])] = &[(Kind::Hybrid, "systemd", &["order::", "slice::"])];

/// What of a suite asks guardd more than the kernel, or more at once than an emulated machine can do in the time that people
/// wait: `cargo xtask test` has asked, and `cargo xtask vm` without `--brief` does.
const NOT_IN_BRIEF: &[(&str, &str)] = &[("waiting", "burst::"), ("waiting", "soak::")];

/// Whether a suite can run on a kernel at all.
pub(super) fn runs_on(suite: &str, kernel: Kernel) -> bool {
    suite != "upgrade" || kernel != Kernel::V6_1
}

/// Whether a suite is one of the few that are most of the work: those begin.
pub(super) fn takes_long(suite: &str) -> bool {
    ["crashes", "packages", "services", "systemd"].contains(&suite)
}

/// Whether a suite says in such a machine what is said nowhere else.
pub(super) fn in_brief(suite: &str, kind: Kind, kernel: Kernel) -> bool {
    let has_newest_systemd = Kernel::ALL.last() == Some(&kernel);
    let asks_systemd = OF_SYSTEMD.contains(&suite);
    let elsewhere = asks_systemd && !has_newest_systemd;
    // Neither who judges Unix sockets nor the hierarchy of cgroups makes a difference to what guardd takes up again, and the
    // tests on a host with both hierarchies say what the hybrid machine would.
    let by_plain = matches!(kind, Kind::NoBpfLsm | Kind::FmodRet) && suite == "lifecycle"
        || kind == Kind::Hybrid;
    // To have the engines takes longer than to try them, and their containers are sessions as services are.
    let with_engines = kind.contents() == Contents::Engines;
    // What goes before the kernel's functions does as in a plain machine.
    let says_the_oldest = OF_THE_OLDEST.contains(&suite) || kind == Kind::FmodRet;
    let is_old = says_the_oldest && Kernel::ALL.first() != Some(&kernel);
    let is_long = LONG.contains(&suite) || is_old;
    !SAME_EVERYWHERE.contains(&suite) && !is_long && !elsewhere && !by_plain && !with_engines
}

/// The kinds of machines that a suite runs in.
pub(super) fn kinds(suite: &str) -> Vec<Kind> {
    let mut kinds = Vec::new();
    if !NOT_PLAIN.contains(&suite) {
        kinds.push(Kind::Plain);
    }
    for (kind, suites) in ELSEWHERE {
        if suites.contains(&suite) {
            kinds.push(*kind);
        }
    }
    kinds
}

/// What runs of a suite in a kind of machine, unless somebody asks for other parts.
pub(super) fn part(kind: Kind, suite: &Suite, brief: bool) -> Suite {
    let is_it = |part: &&(Kind, &str, _)| part.0 == kind && part.1 == suite.name;
    let mut part = suite.clone();
    if !suite.filters.is_empty() {
        return part;
    }
    if let Some((_, _, filters)) = PARTS.iter().find(is_it) {
        part.filters = filters.iter().map(|&filter| filter.to_owned()).collect();
    }
    let left_out = NOT_IN_BRIEF
        .iter()
        .filter(|(name, _)| brief && *name == suite.name);
    part.skips = left_out.map(|&(_, tests)| tests.to_owned()).collect();
    part
}

/// How long a suite may take, on a slow and busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(1200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_brief_the_kernel_is_asked_everywhere_and_systemd_where_it_is_newest() {
        for kernel in Kernel::ALL {
            for suite in ["enforcement", "holes", "relays", "sockets"] {
                assert!(in_brief(suite, Kind::Plain, kernel), "{suite}");
            }
            assert!(!in_brief("contract", Kind::Plain, kernel));
        }
        for suite in ["lifecycle", "waiting"] {
            assert!(in_brief(suite, Kind::Plain, Kernel::V6_1), "{suite}");
            assert!(!in_brief(suite, Kind::Plain, Kernel::V6_12), "{suite}");
        }
        assert!(in_brief("sockets", Kind::FmodRet, Kernel::V6_1));
        assert!(!in_brief("sockets", Kind::FmodRet, Kernel::V6_12));
        assert!(in_brief("systemd", Kind::Plain, Kernel::V6_12));
        assert!(!in_brief("systemd", Kind::Plain, Kernel::V6_1));
        assert!(!in_brief("systemd", Kind::Hybrid, Kernel::V6_1));
        assert!(!in_brief("containers", Kind::Containers, Kernel::V6_12));
    }
}
