//! What wants rights, or somebody who has them.

use crate::tools::tool::{Claim, Way, told, tool, tools};

/// It wants ranges of users, or rules of sudo.
const ONLY_IN_MACHINES: &str = "not tried here: it would change the machine";

const NO_SU: Claim = told(
    "cannot set groups: Operation not permitted",
    "agents.md",
    NO_RIGHTS,
);
const NO_SUDO: Claim = told("no new privileges", "agents.md", NO_RIGHTS);
const NO_RIGHTS: &str = "do not work: no_new_privs";
const NO_DOCKER: Claim = told(
    // "Cannot connect to", and of later ones "permission denied while trying to connect to".
    "connect to the Docker daemon",
    "agents.md",
    "its socket is refused",
);
const NO_PODMAN: Claim = told(
    "newuidmap",
    "services.md",
    "in a session it cannot map users",
);

tools! { "Rights and helpers";
    unshare_mount: tool("unshare and mount, in a user namespace");
    logger: tool("logger").not_here("not tried here: nothing listens at /dev/log");
    su: tool("su to another user").always(NO_SU);
    sudo: tool("sudo to another user").always(NO_SUDO)
        // It finds its own settings to be somebody else's.
        .but(Way::AsRoot, told("sudo: ", "agents.md", NO_RIGHTS))
        .not_here(ONLY_IN_MACHINES);
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    docker_cli: tool("docker's command line, with an engine outside of the session").always(NO_DOCKER)
        // Unix sockets are open to units.
        .but(Way::Unit, Claim::Same);
    podman: tool("podman of a user: podman unshare").always(NO_PODMAN)
        // It takes itself for root's, whose images are not for root of a user namespace.
        .but(Way::AsRoot, Claim::NotInNamespace { seen: "/var/lib/containers" })
        .not_here(ONLY_IN_MACHINES);
}
