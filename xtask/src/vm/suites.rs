//! Which tests run in which kinds of machines.

use clap::ValueEnum;

/// A kernel, and the release of Debian that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kernel {
    /// The oldest that guard supports; Debian 12, systemd 252
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13, systemd 257
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    pub(super) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    pub(super) fn codename(self) -> &'static str {
        match self {
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
        }
    }
}

/// What a machine's root file system has beside the usual packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    Plain,
    /// Engines for containers.
    Engines,
    /// Claude Code.
    Agent,
    /// Tools that developers use.
    Tools,
}

/// A kind of machine.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) contents: Contents,
    /// MiB: the root file system is in memory, and has half of it.
    pub(super) memory: u32,
    /// Kernel arguments of its own.
    pub(super) append: &'static str,
    /// Command that must succeed in it before any test.
    pub(super) prepare: &'static str,
    pub(super) kernels: &'static [Kernel],
    /// Beginnings of the names of tests that run in it; none: all but [`ELSEWHERE`].
    tests: &'static [&'static str],
}

const TARGET: &str = "systemd.unit=vm.target";
const NO_BPF: &str =
    "systemd.unit=vm.target lsm=landlock,lockdown,yama,loadpin,safesetid,integrity,apparmor";
const CGROUP2: &str = "test -f /sys/fs/cgroup/cgroup.controllers";

/// As Debian boots: systemd, and cgroup v2 alone.
const PLAIN: Kind = Kind {
    name: "plain",
    contents: Contents::Plain,
    memory: 2048,
    append: TARGET,
    prepare: CGROUP2,
    kernels: &Kernel::ALL,
    tests: &[],
};

pub(super) const KINDS: [Kind; 9] = [
    PLAIN,
    // BPF is no security module, and the kernel tells nobody its types.
    Kind {
        name: "no-bpf-lsm",
        append: NO_BPF,
        prepare: "mkdir /run/empty && mount --bind /run/empty /sys/kernel/btf && \
                  ! grep -w bpf /sys/kernel/security/lsm && ! test -e /sys/kernel/btf/vmlinux",
        tests: &["enforcement::", "escapes::", "holes::", "lifecycle::"],
        ..PLAIN
    },
    // The same, but that the kernel tells its types: programs go before the functions that ask the modules.
    Kind {
        name: "fmod-ret",
        append: NO_BPF,
        prepare: "! grep -w bpf /sys/kernel/security/lsm && test -e /sys/kernel/btf/vmlinux",
        tests: &[
            "doctor::",
            "escapes::",
            "lifecycle::",
            "nested::",
            "sockets::",
        ],
        ..PLAIN
    },
    // cgroup v1 beside cgroup v2, as systemd had it before.
    Kind {
        name: "hybrid",
        append: "systemd.unit=vm.target systemd.unified_cgroup_hierarchy=0",
        prepare: "test -d /sys/fs/cgroup/unified && test -d /sys/fs/cgroup/memory",
        kernels: &[Kernel::V6_1],
        tests: &[
            "enforcement::",
            "lifecycle::",
            "systemd::order::",
            "systemd::slice::",
        ],
        ..PLAIN
    },
    // cgroup v1 alone, as systemd had it at first: nothing can be guarded.
    Kind {
        name: "legacy",
        append: "systemd.unit=vm.target systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
        prepare: "! grep -w cgroup2 /proc/mounts && test -d /sys/fs/cgroup/memory",
        kernels: &[Kernel::V6_1],
        tests: &["legacy::"],
        ..PLAIN
    },
    // Its root file system is on a disk, and it boots more than once. Units that are enabled start, as on any machine.
    Kind {
        name: REBOOT,
        append: "rdinit=/vm/init-disk systemd.wants=vm.service",
        tests: &["reboot::"],
        ..PLAIN
    },
    Kind {
        name: "containers",
        contents: Contents::Engines,
        memory: 3072,
        append: "rdinit=/vm/init-bind systemd.unit=vm.target",
        tests: &["containers::"],
        ..PLAIN
    },
    // Neither of these says anything about a kernel.
    Kind {
        name: "agent",
        contents: Contents::Agent,
        memory: 3072,
        kernels: &[Kernel::V6_12],
        tests: &["documents::agent::"],
        ..PLAIN
    },
    Kind {
        name: "tools",
        contents: Contents::Tools,
        memory: 8192,
        kernels: &[Kernel::V6_12],
        tests: &[RESOLVED, KEYS, "tools::"],
        ..PLAIN
    },
];

pub(super) const REBOOT: &str = "reboot";
/// Tests that want systemd-resolved, and those that want git, ssh and gpg.
const RESOLVED: &str = "resolver::resolved::";
const KEYS: &str = "sockets::keys::";

/// Tests that cannot run in a plain machine, for want of programs. Those of `watch` type keys in time, which an emulated machine has not;
/// of `documents` two modules run there.
const ELSEWHERE: [&str; 19] = [
    "agents::",
    "clients::",
    "completions::",
    "console::",
    "containers::",
    "documents::agent::",
    "documents::block::",
    "documents::job::",
    "documents::model::",
    "documents::person::",
    "documents::recording::",
    "documents::typed::",
    "fleet::",
    "legacy::",
    "reboot::",
    RESOLVED,
    KEYS,
    "tools::",
    "watch::",
];
/// Tests that are ignored for another reason than that they change the machine: they run where somebody names them.
const LEFT_OUT: [&str; 4] = [
    "lab::on_purpose::",
    "resolver::churn::a_million_addresses_are_reached_at_once",
    "resolver::churn::addresses_that_change_each_second_are_reached_for_ten_minutes",
    "waiting::soak::soak_of_ten_thousand_requests",
];

/// What the gate runs, in machines with the newest kernel: what no other place can tell. The rest is each night's.
pub(super) const GATE: [&str; 17] = [
    // What docs/start.md has a newcomer type: the gate runs it also where nothing changed that only machines can tell.
    "documents::machine::getting_started",
    // Enforcement before anything else runs: only these tests boot.
    "reboot::",
    // What a user does with the package.
    "packages::install::an_installation_enforces_and_a_purge_takes_all_away",
    "packages::upgrade::",
    // The units that ship: their order, their sandbox, and what systemd says of them.
    "systemd::order::a_unit_of_the_slice_waits_for_an_enforcing_guardd",
    "systemd::sandbox::",
    "systemd::slice::sessions_stay_guarded_when_the_slice_stops",
    "systemd::socket::the_first_call_starts_guardd",
    "systemd::units::",
    "services::begins::",
    // Security hooks judge Unix sockets, sockets that are handed in and signals: this machine's kernel may take none there.
    "sockets::listeners_outside_are_out_of_reach_of_every_kind",
    "sockets::network_sockets_that_are_handed_in_serve_nobody",
    "sockets::a_connection_that_is_handed_in_does_not_arrive_where_the_kernel_judges_that",
    "sockets::processes_outside_get_no_signal_where_the_kernel_judges_that",
    "nested::a_socket_that_sessions_pass_on_reaches_what_both_may",
    "observed::",
    // Whether this kernel takes the programs at all, and they decide as on others.
    "enforcement::a_denied_destination_cannot_be_reached_by_tcp_or_udp_in_any_form",
];

impl Kind {
    /// Returns true if a test runs in this kind with a kernel; `wanted` has the beginnings of names that were asked for.
    pub(super) fn runs(&self, kernel: Kernel, test: &str, wanted: &[String]) -> bool {
        let begins = |all: &[&str]| all.iter().any(|begin| test.starts_with(begin));
        let is_named = |name: &String| test.starts_with(&**name);
        let is_left_out = begins(&LEFT_OUT)
            && !wanted
                .iter()
                .any(|name| name.contains("::") && is_named(name));
        let is_too_new = kernel == Kernel::V6_1 && test.starts_with("upgrade::");
        let is_of_kind = if self.tests.is_empty() {
            !begins(&ELSEWHERE)
        } else {
            begins(self.tests) && (self.contents == Contents::Tools || !test.starts_with(KEYS))
        };
        self.kernels.contains(&kernel)
            && is_of_kind
            && !is_left_out
            && !is_too_new
            && (wanted.is_empty() || wanted.iter().any(is_named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wants_programs_runs_where_they_are() {
        let kinds = |kernel, test: &str, wanted: &[&str]| -> Vec<_> {
            let wanted: Vec<_> = wanted.iter().map(|&name| name.to_owned()).collect();
            let runs = KINDS.iter().filter(|kind| kind.runs(kernel, test, &wanted));
            runs.map(|kind| kind.name).collect()
        };
        let newest = Kernel::V6_12;
        assert_eq!(kinds(newest, "sockets::keys::agents_sign", &[]), ["tools"]);
        assert_eq!(kinds(newest, "sockets::others", &[]), ["plain", "fmod-ret"]);
        assert_eq!(
            kinds(newest, "documents::machine::metrics", &["holes"]),
            [""; 0]
        );
        assert_eq!(
            kinds(newest, "documents::machine::metrics", &["documents"]),
            ["plain"]
        );
        assert_eq!(kinds(newest, LEFT_OUT[3], &["waiting"]), [""; 0]);
        assert_eq!(kinds(newest, LEFT_OUT[3], &["waiting::soak"]), ["plain"]);
        assert_eq!(
            kinds(Kernel::V6_1, "systemd::order::x", &[]),
            ["plain", "hybrid"]
        );
    }
}
