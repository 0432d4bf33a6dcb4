//! What connects its own parts, by Unix sockets above all.

use crate::tools::tool::{Claim, SLOW, Way, tool, tools};

const NO_ROOT: Claim = Claim::NotAsRoot {
    seen: "cannot be run as root",
};
/// It gives a terminal to a group that such a namespace does not have.
const NO_TERMINAL: Claim = Claim::NotInNamespace {
    seen: "screen has ended",
};

tools! { "Own servers and sockets";
    redis_tcp: tool("redis over TCP, redis-cli");
    redis_unix: tool("redis over a Unix socket, redis-cli");
    postgres: tool("PostgreSQL over its Unix socket: initdb, psql").but(Way::AsRoot, NO_ROOT);
    node_ipc: tool("Node's net over a Unix socket");
    #[ignore = "it wants large packages: `cargo xtask test --ignored tools`"]
    vscode: tool("VS Code's server: its page, an extension host, a terminal").not_in_machines(SLOW);
    asyncio_unix: tool("Python's asyncio over a Unix socket");
    manager: tool("Python's multiprocessing: Manager, Pool");
    abstract_sockets: tool("abstract Unix sockets");
    tmux: tool("tmux");
    screen: tool("screen").but(Way::AsRoot, NO_TERMINAL);
    ssh_master: tool("ssh with ControlMaster");
    dbus_run_session: tool("dbus-run-session, dbus-send");
}
