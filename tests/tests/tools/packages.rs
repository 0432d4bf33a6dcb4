//! What installs and builds.

use crate::tools::tool::{SLOW, tool, tools};

const NO_COMPILER: &str = "not tried: that machine has no such compiler";

tools! { "Packages and builds";
    #[ignore = "it takes seconds: `cargo xtask test --ignored tools`"]
    npm_install: tool("npm install, from a registry");
    #[ignore = "it takes seconds: `cargo xtask test --ignored tools`"]
    pip_venv: tool("pip in a venv, from an index").not_in_machines(SLOW);
    #[ignore = "it takes seconds: `cargo xtask test --ignored tools`"]
    cargo_build: tool("cargo build and run with a crate, from a registry").not_in_machines(NO_COMPILER);
    #[ignore = "it takes seconds: `cargo xtask test --ignored tools`"]
    go_run: tool("go run, with a server and a client of HTTP").not_in_machines(NO_COMPILER);
    make_j4: tool("make -j4 and cc");
    ccache: tool("ccache");
    #[ignore = "not every system has it: `cargo xtask test --ignored tools`"]
    sccache: tool("sccache and its server").not_in_machines("not tried: that machine has no sccache");
}
