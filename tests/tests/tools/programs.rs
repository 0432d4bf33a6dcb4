//! What runs, tests and debugs programs.

use crate::tools::tool::{tool, tools};

tools! { "Programs and tests";
    #[ignore = "it takes seconds: `cargo xtask test --ignored tools`"]
    pytest_xdist: tool("pytest -n 2");
    node_test: tool("node --test");
    node_cluster: tool("a cluster of Node's");
    node_server: tool("a server of Node's, and curl");
    python_server: tool("`python -m http.server`, and curl");
    sqlite_wal: tool("sqlite3 with a write-ahead log, two at once");
    gdb_run: tool("gdb: run");
    gdb_attach: tool("gdb: attach");
    strace_f: tool("strace -f");
}
