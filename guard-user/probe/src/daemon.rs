//! What guardd knows of itself: the rows that it answers `guard doctor` with, beside those that are tried here.

use super::{Check, Family, layers};

/// A program of the kernel half, read back: its row has the name of its hook behind this.
pub const HOOK: Check = Check::part(
    Family::Guard,
    layers::HOOK,
    "sudo systemctl restart guardd, and find out who removed it",
);
/// One without which nothing more is open.
pub const HELPER_HOOK: Check = HOOK.optional();
/// The pinned maps.
pub const MAPS: Check = Check::part(Family::Guard, "maps", "sudo systemctl restart guardd");
/// Whether only root moves processes into the guard's cgroup, or out of it.
pub const OWNER: Check = Check::part(
    Family::Leaving,
    "root owns the cgroups",
    "sudo guardd teardown, and start guardd with a --cgroup-root that is delegated to nobody",
);
/// The unit of the guard's slice.
pub const SLICE: Check = Check::part(
    Family::Guard,
    "the slice's unit",
    "install guard.slice again; sudo systemctl daemon-reload",
)
.optional();
/// Whether guardd judges Unix sockets.
pub const UNIX: Check = Check::part(
    Family::Helper,
    "unix sockets are judged",
    "sudo systemctl restart guardd, and journalctl -u guardd -n 20; where the row \"unix sockets can be judged\" is missing: \
     what it says",
);
/// The rights of units and containers that sessions are made of.
pub const UNITS: Check = Check::way(
    Family::Protocol,
    "units and containers",
    "as guard status says of each: CapabilityBoundingSet= without CAP_NET_RAW and CAP_NET_ADMIN, --cap-drop=NET_RAW,NET_ADMIN, no PAMName=",
);
/// Whether `guard-proxy` runs where it is needed.
pub const PROXY: Check = Check::part(
    Family::Guard,
    "the proxy",
    "journalctl -u guard-proxy -n 20 says why",
)
.optional();
/// Whether `guard-resolver` runs where it is needed.
pub const RESOLVER: Check = Check::part(
    Family::Guard,
    "the resolver",
    "journalctl -u guard-resolver -n 20 says why",
)
.optional();
/// Whether the fleet's policies are in force as they were signed.
pub const FLEET: Check = Check::part(
    Family::Guard,
    "the fleet's policies",
    "guard doctor --all; /usr/share/doc/guard/docs/fleet.md",
)
.optional();
/// Whether an answer takes a password.
pub const POLKIT: Check = Check::way(
    Family::Guard,
    "a yes costs a password",
    "[approve] polkit = true in /etc/guard/guardd.toml",
)
.optional();

/// All of them.
pub const CHECKS: [Check; 10] = [
    HOOK, MAPS, OWNER, SLICE, UNIX, UNITS, PROXY, RESOLVER, FLEET, POLKIT,
];
