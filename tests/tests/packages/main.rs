//! The .deb on a machine with systemd: installed, upgraded, taken away, and killed over each of these.
//!
//! For a machine that is thrown away afterwards. `GUARD_DEBS` names a directory with two versions of the package.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agent;
mod install;
mod killed;
mod machine;
mod remove;
mod upgrade;

/// Production, which the policy asks about.
const V4: &str = "192.0.2.10";
/// An address of production that the policy denies.
const NEVER: &str = "192.0.2.99";
/// What everybody may reach.
const OPEN: &str = "198.51.100.7";

/// What of guard's lies in the kernel.
const KERNEL: [&str; 2] = ["/sys/fs/bpf/guard", "/sys/fs/cgroup/guard.slice"];

/// An administrator's own policy.
const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24"]
action = "confirm"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
"#;
