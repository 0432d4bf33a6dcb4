//! Packages on a machine with systemd. The .deb: installed, upgraded, taken away, and killed over each of these; the .rpm
//! likewise, and the tarball by what the documents say.
//!
//! For a machine that is thrown away afterwards. `GUARD_PACKAGES` names a directory with two versions of the .deb and the
//! .rpm, and a tarball.

mod agent;
mod before;
mod console;
mod fleet;
pub(crate) mod install;
mod killed;
pub(crate) mod machine;
mod remove;
mod rpm;
mod tarball;
mod upgrade;

pub(crate) const SETTINGS: &str = "/etc/guard/guardd.toml";
/// What an administrator wrote there.
const EDITED: &str = "# An administrator's\nmax_requests = 77\n";
/// How the later version's end.
const NEXT: &str = "\n# As of the next version.\n";

/// The last that the package says where it is new.
const BEGIN: &str = "guard: next, as yourself: guard doctor, then in your project: guard setup";

/// What the presets enable, and so every package.
const ENABLED: [&str; 3] = ["guardd.service", "guardd.socket", "guard.slice"];
/// What others start that need it.
const STATIC: [&str; 6] = [
    "guardd-pins.service",
    "guardd-ready.service",
    "guard-proxy.service",
    "guard-proxy.path",
    "guard-resolver.service",
    "guard-resolver.path",
];

/// What of guard's lies in the kernel.
const KERNEL: [&str; 2] = ["/sys/fs/bpf/guard", "/sys/fs/cgroup/guard.slice"];

/// An administrator's own policy.
pub(crate) use guard_lab::ASKS as POLICY;
