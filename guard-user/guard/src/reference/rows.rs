//! What the rows of `guard doctor` are about.

use std::fmt::Write as _;

use guard_probe::daemon::HOOK;
use serde::Serialize;

use crate::doctor::CHECKS;

/// Rows that are tried alike.
#[derive(Debug)]
pub struct RowGroup {
    /// What they are about, and who tries them how, as Markdown.
    pub about: &'static str,
    /// The rows.
    pub rows: &'static [RowHelp],
}

/// A row, or several whose names begin so.
#[derive(Clone, Copy, Debug)]
pub struct RowHelp {
    /// The name that `guard doctor` prints: whole, or the part before a colon and the subject.
    pub name: &'static str,
    /// Whether traffic can escape where it is not ok.
    pub required: bool,
    /// What its name does not say, as Markdown; or nothing.
    pub says: &'static str,
}

const fn row(name: &'static str, says: &'static str) -> RowHelp {
    RowHelp {
        name,
        required: true,
        says,
    }
}

const fn optional(name: &'static str, says: &'static str) -> RowHelp {
    RowHelp {
        name,
        required: false,
        says,
    }
}

const REFUSES: &str = "refuses what policies do";
const OUTSIDE: &str = "refuses sockets made outside";
const UNIX: &str = "refuses Unix sockets";
const SECURITY: &str = "refuses at a security hook";
const HELPS: &str = "refuses nothing";
const GATE: &str = "has connections pass by names in TLS; without it guard-proxy does";

/// All of them, as the page has them.
pub const GROUPS: [RowGroup; 9] = [
    RowGroup {
        about: "guardd",
        rows: &[
            row("guardd", ""),
            optional("one version", "of guard and guardd"),
            row("maps", "at their pins"),
            optional("the proxy", "runs, or nothing needs it"),
            optional("the resolver", "runs, or nothing needs it"),
            optional("the fleet's policies", ""),
            optional("the slice's unit", ""),
            row(
                "units and containers",
                "without `CAP_NET_RAW` and `CAP_NET_ADMIN`, in the slice",
            ),
            row("root owns the cgroups", ""),
            optional(
                "a yes costs a password",
                "polkit asks, else a program outside, led to type `guard approve` as you, can answer",
            ),
        ],
    },
    RowGroup {
        about: "its programs, read back (`hook NAME`)",
        rows: &[
            row("hook connect4", REFUSES),
            row("hook connect6", REFUSES),
            row("hook sendmsg4", REFUSES),
            row("hook sendmsg6", REFUSES),
            row("hook egress", REFUSES),
            row("hook sock_create", REFUSES),
            row("hook top_connect4", OUTSIDE),
            row("hook top_connect6", OUTSIDE),
            row("hook top_sendmsg4", OUTSIDE),
            row("hook top_sendmsg6", OUTSIDE),
            row("hook connect_unix", UNIX),
            row("hook sendmsg_unix", UNIX),
            row("hook unix_stream_connect", SECURITY),
            row("hook unix_may_send", SECURITY),
            row("hook file_receive", SECURITY),
            row("hook task_kill", SECURITY),
            optional("hook getpeername4", HELPS),
            optional("hook getpeername6", HELPS),
            optional("hook ingress", HELPS),
            optional("hook recvmsg4", HELPS),
            optional("hook recvmsg6", HELPS),
            optional("hook hold", HELPS),
            optional("hook listen", HELPS),
            optional("hook gate_ops", GATE),
            optional("hook gate_hello", GATE),
        ],
    },
    RowGroup {
        about: "the kernel, tried by guardd",
        rows: &[
            row("programs at cgroups", ""),
            row("programs are compiled", ""),
            optional("ring buffer", "else refusals are only counted"),
            row("cgroup v2", ""),
            optional("connections are cut", "else those of a closed hole hang"),
        ],
    },
    RowGroup {
        about: "sent by a session that denies everything",
        rows: &[
            row("TCP over IPv4", ""),
            row("TCP over IPv6", ""),
            row("UDP", ""),
            row("io_uring", ""),
            row("packet sockets", ""),
            row("vsock", ""),
            row("TUN and TAP devices", ""),
        ],
    },
    RowGroup {
        about: "done by a session to what is outside",
        rows: &[
            row("a socket handed in", ""),
            row("pidfd_getfd", ""),
            row("ptrace", ""),
            row("process_vm_readv", ""),
            row("/proc/PID/mem", ""),
            optional("signals to outside", ""),
            row("TIOCSTI", ""),
            row("cgroup.procs", "leaving the cgroup"),
            row("a user namespace", "leaving the cgroup"),
            row("control verbs", "calling what is for people"),
        ],
    },
    RowGroup {
        about: "Unix sockets outside, reached by a session",
        rows: &[
            row("unix sockets by path", ""),
            row("abstract unix sockets", ""),
            row(
                "a helper outside",
                "a row each: docker, podman, …; access(2) alone, also of the caller's `DOCKER_HOST`, `SSH_AUTH_SOCK`, …",
            ),
        ],
    },
    RowGroup {
        about: "what judges Unix sockets",
        rows: &[
            row("unix sockets are judged", ""),
            row(
                "unix sockets can be judged",
                "by the next, or the three behind it together",
            ),
            optional("programs at security hooks", ""),
            optional("refuse connect to unix sockets", ""),
            optional("refuse datagrams to unix sockets", ""),
            optional("seccomp asks a supervisor", ""),
        ],
    },
    RowGroup {
        about: "what the user may, looked at as that user",
        rows: &[
            row(
                "network devices as files",
                "access(2) to macvtap, RDMA, vhost",
            ),
            optional("Landlock", ""),
            optional(
                "Landlock's scopes",
                "else, without security hooks, a session may signal your other processes",
            ),
            optional("Yama", ""),
            optional("the kernel's types (BTF)", ""),
            optional("bpf() by ordinary users", ""),
            optional("typing into terminals", ""),
            optional("user namespaces for all", ""),
            optional(
                "spools of cron and at",
                "not claimed, though what is put there runs outside, as you",
            ),
            optional("listeners on loopback", "any may lead elsewhere"),
            row("connections change hands", "`net.ipv4.tcp_migrate_req`"),
            row("what the user may", ""),
        ],
    },
    RowGroup {
        about: "what the user did",
        rows: &[
            optional(
                "production was looked for",
                "when `guard discover` ran last; what runs as the user may write that",
            ),
            optional(
                "forward proxy",
                "in the environment: what goes through one is judged by its address, not by name",
            ),
        ],
    },
];

/// A row as it is explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The name that `guard doctor` prints.
    pub check: &'static str,
    /// What it is about, and what its name does not say.
    pub text: String,
    /// Whether traffic can escape where it is not ok.
    pub required: bool,
    /// What to do where it is not ok.
    pub fix: &'static str,
}

/// All of them, in order.
pub fn all() -> impl Iterator<Item = Explained> {
    GROUPS.iter().flat_map(|group| {
        group.rows.iter().map(|row| Explained {
            check: row.name,
            text: match row.says {
                "" => format!("{}.", group.about),
                says => format!("{}: {says}.", group.about),
            },
            required: row.required,
            fix: fix(row.name),
        })
    })
}

/// What guard doctor says is to be done about a row that is not ok.
fn fix(name: &str) -> &'static str {
    // Each hook has a row of its own.
    let is_hook = name.starts_with("hook ");
    let name = if is_hook { HOOK.name } else { name };
    let mut checks = guard_probe::checks().chain(CHECKS);
    let found = checks.find(|check| check.name == name);
    found.map_or("", |check| check.fix)
}

/// A row that guard doctor prints one of for each of a kind, each with a name of its own.
const HELPERS: &str = "a helper outside";

/// What guard doctor may print in its place, each by its whole name.
#[must_use]
pub fn names(row: &RowHelp) -> Vec<String> {
    match row.name {
        HELPERS => {
            let kinds = guard_probe::helpers::names().into_iter();
            kinds.map(|kind| format!("{HELPERS}: {kind}")).collect()
        }
        name => vec![name.to_owned()],
    }
}

/// The one of that name, however it is written; or the one that has it before its colon.
#[must_use]
pub fn find(name: &str) -> Option<Explained> {
    let name = name.trim();
    let (first, _) = name.split_once(": ").unwrap_or((name, ""));
    all().find(|row| {
        let is_it = |name: &str| row.check.eq_ignore_ascii_case(name);
        is_it(name) || is_it(first) || is_it(&format!("hook {name}"))
    })
}

/// The list of docs/reference/doctor.md: ° is behind what is not required.
#[must_use]
pub fn page() -> String {
    let mut list = String::new();
    for group in &GROUPS {
        let _ = writeln!(list, "- **{}**: {}", group.about, told(group.rows));
    }
    list
}

/// Rows one behind the other, those of which the same is said with it once.
fn told(rows: &[RowHelp]) -> String {
    let alike = rows.chunk_by(|one, other| {
        one.says == other.says && (one.required == other.required || one.says.is_empty())
    });
    let told = alike.map(|rows| {
        let names = rows.iter().map(|row| {
            let name = row.name.strip_prefix("hook ").unwrap_or(row.name);
            let mark = if row.required { "" } else { "°" };
            format!("`{name}`{mark}")
        });
        let names = names.collect::<Vec<_>>().join(", ");
        match rows.first().map_or("", |row| row.says) {
            "" => names,
            says => format!("{names}: {says}"),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_found_and_says_something() {
        for row in all() {
            assert_eq!(find(row.check), Some(row.clone()));
            assert!(row.text.len() > 5 && !row.fix.is_empty(), "{row:?}");
        }
        let mut names: Vec<_> = all().map(|row| row.check).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn a_row_is_found_as_people_type_it() {
        let name = |typed| find(typed).map(|row| row.check);
        assert_eq!(name("tcp over ipv4"), Some("TCP over IPv4"));
        assert_eq!(name("a helper outside: docker"), Some("a helper outside"));
        assert_eq!(name("connect4"), Some("hook connect4"));
        assert_eq!(name("nonsense"), None);
    }

    #[test]
    fn rows_of_which_the_same_is_said_share_it() {
        let rows = [
            row("a", "x"),
            row("b", "x"),
            optional("c", ""),
            row("d", ""),
        ];
        assert_eq!(told(&rows), "`a`, `b`: x; `c`°, `d`");
    }
}
