//! Which suites run in which kinds of machines.

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
    /// Claude Code is installed
    Agent,
    /// Tools that developers use are installed
    Tools,
}

/// What is in a machine's root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contents {
    Plain,
    /// And engines for containers: three times as much.
    Engines,
    /// And an agent, as its vendor packs it: one program of 400 MB.
    Agent,
    /// And tools that developers use.
    Tools,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Plain,
        Self::NoBpfLsm,
        Self::FmodRet,
        Self::Hybrid,
        Self::Legacy,
        Self::Reboot,
        Self::Containers,
        Self::Agent,
        Self::Tools,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::NoBpfLsm => "no-bpf-lsm",
            Self::FmodRet => "fmod-ret",
            Self::Hybrid => "hybrid",
            Self::Legacy => "legacy",
            Self::Reboot => "reboot",
            Self::Containers => "containers",
            Self::Agent => "agent",
            Self::Tools => "tools",
        }
    }

    /// What its kernel is told beside what all are told.
    pub(super) fn append(self) -> &'static str {
        match self {
            Self::Plain | Self::Agent | Self::Tools => "systemd.unit=vm.target",
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
            Self::Agent => Contents::Agent,
            Self::Tools => Contents::Tools,
            _ => Contents::Plain,
        }
    }

    /// In MiB: the root file system is in memory, and has half of it.
    pub(super) fn memory(self) -> u32 {
        match self.contents() {
            Contents::Plain => 2048,
            Contents::Engines | Contents::Agent => 3072,
            // Three agents, each with a program of its own.
            Contents::Tools => 8192,
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
            Self::Plain | Self::Reboot | Self::Containers | Self::Agent | Self::Tools => {
                Some("test -f /sys/fs/cgroup/cgroup.controllers")
            }
        }
    }

    /// Whether a kernel's release of systemd can still make it.
    pub(super) fn exists_with(self, kernel: Kernel) -> bool {
        match self {
            Self::Hybrid | Self::Legacy => kernel == Kernel::V6_1,
            // Nothing that they say is about a kernel.
            Self::Agent | Self::Tools => kernel == Kernel::V6_12,
            _ => true,
        }
    }
}

/// A suite, and which of its tests; none: all.
#[derive(Clone, Debug)]
pub(super) struct Suite {
    pub(super) name: String,
    pub(super) filters: Vec<String>,
    /// Of these, only what has one of these parts in its name: nothing else can run where it is to; none: all.
    pub(super) within: &'static [&'static str],
    /// Nothing that has one of these parts in its name: it cannot run where the suite is to.
    pub(super) without: &'static [&'static str],
}

impl Suite {
    /// Whether one of its tests, by its whole name, is to run: what takes long or is no test runs where somebody names it.
    pub(super) fn has(&self, test: &str) -> bool {
        let name = test.split_once("::").map_or(test, |(_, name)| name);
        if !self.within.is_empty() && !self.within.iter().any(|part| name.contains(part)) {
            return false;
        }
        if self.without.iter().any(|part| name.contains(part)) {
            return false;
        }
        if self.filters.is_empty() {
            return !LEFT_OUT.contains(&test);
        }
        self.filters.iter().any(|part| name.contains(&**part))
    }
}

/// Tests that are ignored for another reason than that they change the machine.
const LEFT_OUT: &[&str] = &[
    "lab::on_purpose::fails_each_time",
    "lab::on_purpose::fails_one_time_in_three",
    "relays::evicted::a_flood_of_listeners_gets_nothing_through_a_relay",
    "resolver::churn::a_million_addresses_are_reached_at_once",
    "resolver::churn::addresses_that_change_each_second_are_reached_for_ten_minutes",
    "waiting::soak::soak_of_ten_thousand_requests",
];

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
    (Kind::Agent, &["documents"]),
    (Kind::Tools, &["resolver", "sockets", "tools"]),
];
/// What cannot run in a plain machine: `clients`, `completions`, `console` and `fleet` want programs that no machine has, `agents` a bus and
/// a polkit of its own, and `watch` types keys in time, which
/// an emulated one has not. None of them says anything about a kernel.
const NOT_PLAIN: &[&str] = &[
    "agents",
    "clients",
    "completions",
    "console",
    "containers",
    "fleet",
    "legacy",
    "reboot",
    "tools",
    "watch",
];

/// Of which suites a part says enough in a kind of machine.
const PARTS: &[(Kind, &str, &[&str])] = &[(Kind::Hybrid, "systemd", &["order::", "slice::"])];

/// The parts of suites that can run in one kind of machine alone.
const WITHIN: &[(Kind, &str, &[&str])] = &[
    (Kind::Plain, "documents", &["machine::", "what_happened::"]),
    (Kind::Agent, "documents", &["agent::"]),
    (Kind::Tools, "resolver", RESOLVED),
    (Kind::Tools, "sockets", KEYS),
];

/// The parts that cannot, for want of programs.
const WITHOUT: &[(Kind, &str, &[&str])] = &[
    (Kind::Plain, "resolver", RESOLVED),
    (Kind::Plain, "sockets", KEYS),
    (Kind::FmodRet, "sockets", KEYS),
];

/// What wants git, ssh and gpg.
const KEYS: &[&str] = &["keys::"];
/// What wants systemd-resolved.
const RESOLVED: &[&str] = &["resolved::"];

/// What the gate runs, in machines with the newest kernel: what no other place can tell. `cargo xtask test` says the rest on its own
/// kernel, and the matrix all of it on each. One machine boots twice for `reboot`; another runs what is below it, and a second one helps
/// once `reboot` is over.
pub(super) const GATE: &[GateSuite] = &[
    // Whether a boot enforces before anything else runs: nothing else boots. The power is cut in the matrix.
    GateSuite {
        suite: "reboot",
        seconds: 75,
        tests: &[],
    },
    // What a user does with the package; killed scripts, other kinds and other versions are the matrix's.
    GateSuite {
        suite: "packages",
        seconds: 92,
        tests: &[
            "install::an_installation_enforces_and_a_purge_takes_all_away",
            "upgrade::",
        ],
    },
    // What docs/start.md has a newcomer type: each other block of the documents is the matrix's.
    GateSuite {
        suite: "documents",
        seconds: 41,
        tests: &["machine::getting_started"],
    },
    // The units that ship: their order, their sandbox, and what systemd says of them. A test takes ten seconds of an
    // emulated processor: each way to stop them, and to break a machine under them, is the matrix's.
    GateSuite {
        suite: "systemd",
        seconds: 77,
        tests: &[
            "order::a_unit_of_the_slice_waits_for_an_enforcing_guardd",
            "sandbox::",
            "slice::sessions_stay_guarded_when_the_slice_stops",
            "socket::the_first_call_starts_guardd",
            "units::",
        ],
    },
    // That a service is a session from its first instruction, and that guardd's programs are at the security hooks by then.
    GateSuite {
        suite: "services",
        seconds: 17,
        tests: &["begins::"],
    },
    // Security hooks judge Unix sockets, sockets that are handed in and signals: this machine's kernel may take none there.
    GateSuite {
        suite: "sockets",
        seconds: 44,
        tests: &[
            "listeners_outside_are_out_of_reach_of_every_kind",
            "network_sockets_that_are_handed_in_serve_nobody",
            "a_connection_that_is_handed_in_does_not_arrive_where_the_kernel_judges_that",
            "processes_outside_get_no_signal_where_the_kernel_judges_that",
        ],
    },
    GateSuite {
        suite: "nested",
        seconds: 4,
        tests: &["a_socket_that_sessions_pass_on_reaches_what_both_may"],
    },
    // What guardd shows as a service, and to Prometheus.
    GateSuite {
        suite: "observed",
        seconds: 6,
        tests: &[],
    },
    // Whether this kernel takes the programs at all, and they decide as on others.
    GateSuite {
        suite: "enforcement",
        seconds: 15,
        tests: &[
            "a_denied_destination_cannot_be_reached_by_tcp_or_udp_in_any_form",
            "a_cgroup_that_no_session_owns_is_denied_everything",
        ],
    },
];

/// Of a suite, what the gate runs.
pub(super) struct GateSuite {
    pub(super) suite: &'static str,
    /// About how long it takes in an emulated machine: what takes longest begins, so that both machines have work to the end.
    pub(super) seconds: u32,
    /// Parts of their names; none: all.
    pub(super) tests: &'static [&'static str],
}

/// Whether a suite can run on a kernel at all.
pub(super) fn runs_on(suite: &str, kernel: Kernel) -> bool {
    !["tools", "upgrade"].contains(&suite) || kernel != Kernel::V6_1
}

/// Whether a suite is one of the few that are most of the work: those begin.
pub(super) fn takes_long(suite: &str) -> bool {
    ["crashes", "packages", "services", "systemd"].contains(&suite)
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
pub(super) fn part(kind: Kind, suite: &Suite) -> Suite {
    let is_it = |part: &&(Kind, &str, _)| part.0 == kind && part.1 == suite.name;
    let mut part = suite.clone();
    part.within = parts(WITHIN, kind, &suite.name);
    part.without = parts(WITHOUT, kind, &suite.name);
    if !suite.filters.is_empty() {
        return part;
    }
    if let Some((_, _, filters)) = PARTS.iter().find(is_it) {
        part.filters = filters.iter().map(|&filter| filter.to_owned()).collect();
    }
    part
}

/// What such a table has of a suite in a kind of machine.
fn parts(
    table: &[(Kind, &str, &'static [&'static str])],
    kind: Kind,
    suite: &str,
) -> &'static [&'static str] {
    let mut rows = table.iter();
    let found = rows.find(|(of, name, _)| *of == kind && *name == suite);
    found.map_or(&[], |(_, _, parts)| *parts)
}

/// How long a suite may take, on a slow and busy machine.
pub(super) fn limit(suite: &str) -> Duration {
    match suite {
        "tools" => Duration::from_secs(9000),
        "packages" | "resolver" => Duration::from_secs(2400),
        _ => Duration::from_secs(1200),
    }
}
/// How long a test may take that runs alone.
pub(super) const ALONE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wants_programs_runs_where_they_are_and_is_left_out_elsewhere() {
        for (name, equipped, other) in [
            (
                "resolver",
                "resolver::resolved::programs_ask_its_stub",
                "resolver::others",
            ),
            ("sockets", "sockets::keys::agents_sign", "sockets::others"),
        ] {
            let suite = Suite {
                name: name.to_owned(),
                filters: Vec::new(),
                within: &[],
                without: &[],
            };
            for kind in kinds(name) {
                let part = part(kind, &suite);
                let is_equipped = kind.contents() == Contents::Tools;
                assert_eq!(part.has(equipped), is_equipped, "{name} {kind:?}");
                assert_eq!(part.has(other), !is_equipped, "{name} {kind:?}");
            }
            assert!(kinds(name).contains(&Kind::Tools), "{name}");
        }
    }
}
