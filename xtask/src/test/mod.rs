//! `cargo xtask test`.

mod gate;
mod nextest;
pub(crate) mod outcome;

use std::ffi::OsString;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Result, ensure};
use clap::Args;

use crate::shell::{root, run, say};
use crate::timings::Timings;
use crate::{build, clients, dependencies, install, lab, nats, tools};
use nextest::Selection;
use outcome::Outcome;

/// The environment variables by which the lab finds what `cargo xtask` has built and obtained: `guard_lab::bins`.
const PROGRAMS: &str = "GUARD_BIN_DIR";
const CLIENTS: &str = "GUARD_CLIENTS";
const BROWSERS: &str = "GUARD_BROWSERS";
const NATS: &str = "GUARD_NATS";
const KUBERNETES: &str = "GUARD_KUBERNETES";
/// The same by which it asks for some of very many steps: `guard_lab::is_sampled`.
const SAMPLED: &str = "GUARD_LAB_SAMPLED";

/// `cargo xtask test`
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Only tests whose names begin so: a suite (`holes`), a part of it (`holes::udp`), or a crate and a module of it (`guard::watch`)
    #[arg(value_name = "NAME", value_parser = nextest::name)]
    names: Vec<String>,
    /// Only those that are left out otherwise, for they take long
    #[arg(long)]
    ignored: bool,
    /// Lint as well, and run in a machine what this one cannot tell: all that CI runs
    #[arg(long, conflicts_with_all = ["names", "ignored", "args"])]
    gate: bool,
    /// Arguments of `cargo nextest run`
    #[arg(last = true)]
    args: Vec<String>,
}

/// Runs tests, the privileged ones on this machine's kernel.
///
/// # Errors
///
/// That this machine cannot run all of them, or that one failed twice.
pub(crate) fn test(args: &TestArgs) -> Result<ExitCode> {
    let timings = Timings::begin();
    let outcome = if args.gate {
        gate::run(&timings)
    } else {
        let selection = Selection {
            names: args.names.clone(),
            ignored: args.ignored,
            args: args.args.clone(),
        };
        here(&timings, &selection, &[])
    };
    end(&timings, outcome)
}

/// Runs those whose names begin so, with more in their environment.
///
/// # Errors
///
/// As [`test`].
pub(crate) fn these_with(names: &[&str], env: &[(&str, &Path)]) -> Result<ExitCode> {
    let timings = Timings::begin();
    let selection = Selection {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        ..Selection::default()
    };
    let outcome = here(&timings, &selection, env);
    end(&timings, outcome)
}

/// Runs those whose names begin in one of these ways, also such as are left out otherwise, with more in their environment.
///
/// # Errors
///
/// As [`these`].
pub(crate) fn all_of(names: Vec<String>, env: &[(&str, &Path)]) -> Result<Outcome> {
    let timings = Timings::begin();
    let selection = Selection {
        names,
        args: ["--run-ignored", "all"].map(str::to_owned).to_vec(),
        ..Selection::default()
    };
    let outcome = here(&timings, &selection, env);
    timings.end()?;
    outcome
}

/// Says how long all of it took, and as the last words what came of it.
fn end(timings: &Timings, outcome: Result<Outcome>) -> Result<ExitCode> {
    let kept = timings.end();
    let mut outcome = outcome?;
    outcome
        .problems
        .extend(kept.err().map(|problem| format!("{problem:#}")));
    outcome.print();
    Ok(match outcome.verdict() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

/// Builds, and runs them on this machine.
fn here(timings: &Timings, selection: &Selection, env: &[(&str, &Path)]) -> Result<Outcome> {
    let is_privileged = selection.has_suites()?;
    if is_privileged {
        timings.stage("what the lab needs", lab::equip)?;
    }
    let dependencies = timings.stage("compiled dependencies", dependencies::restore)?;
    timings.stage("the kernel half", build::prepare)?;
    let others = if is_privileged {
        let (built, others) = build_and_obtain(timings, selection, env, build::build_tests);
        built?;
        dependencies.keep(false);
        others
    } else {
        obtain_others(timings, selection, env)
    };
    let mut outcome = ran(timings, selection, env, &others?)?;
    if selection.is_all() {
        outcome += documents(timings)?;
    }
    ensure!(outcome.ran() > 0, "no test has such a name");
    Ok(outcome)
}

/// Where other programs are that tests want, as variables of their environment.
type Others = Vec<(&'static str, OsString)>;

/// Builds the tests by `build`, while what they want of other programs is obtained: one waits for processors, and the other for the
/// network. Gives what came of either. What came of the build is said before the other is waited for, which may take long, or for ever.
fn build_and_obtain(
    timings: &Timings,
    selection: &Selection,
    env: &[(&str, &Path)],
    build: fn() -> Result<()>,
) -> (Result<()>, Result<Others>) {
    thread::scope(|scope| {
        let others = scope.spawn(|| obtain_others(timings, selection, env));
        let built = timings.stage("build", build);
        if !others.is_finished() {
            if let Err(problem) = &built {
                say(&format!("{problem:#}"));
            }
            say("waiting for what tests want of other programs");
        }
        let others = others.join().unwrap_or_else(|panic| resume_unwind(panic));
        if let (Err(_), Err(problem)) = (&built, &others) {
            // Whoever calls tells of the build.
            say(&format!("{problem:#}"));
        }
        (built, others)
    })
}

/// Sees to it that what the tests want of other programs is here.
fn obtain_others(
    timings: &Timings,
    selection: &Selection,
    env: &[(&str, &Path)],
) -> Result<Others> {
    let browsers = obtain_browser(timings, selection)?;
    let clients = obtain_clients(timings, selection)?;
    let nats = obtain_nats(timings, selection)?;
    let kubernetes = obtain_kubernetes(timings, selection)?;
    let tools = obtain_tools(timings, selection, env)?;
    let dirs = [
        (CLIENTS, clients),
        (BROWSERS, browsers),
        (NATS, nats),
        (KUBERNETES, kubernetes),
    ];
    let dirs = dirs
        .into_iter()
        .filter_map(|(name, dir)| Some((name, dir?.into_os_string())));
    let tools = tools
        .into_iter()
        .map(|(name, dir)| (name, dir.into_os_string()));
    Ok(dirs.chain(tools).collect())
}

/// Sees to it that tools that developers use are here where the tests want them, unless whoever calls has seen to that.
fn obtain_tools(
    timings: &Timings,
    selection: &Selection,
    env: &[(&str, &Path)],
) -> Result<Vec<(&'static str, PathBuf)>> {
    let has = env.iter().any(|(name, _)| *name == tools::TREE);
    if has || !selection.has(tools::SUITE)? {
        return Ok(Vec::new());
    }
    let tree = timings.stage("tools", tools::obtain_few)?;
    Ok(vec![(tools::TREE, tree)])
}

/// What reads a push as a browser does, by whoever wrote the RFC.
const READS_PUSHES: &str = "http_ece@1.2.1";

/// Sees to it that a browser is here where the tests want one, which its driver brings, and what opens what is sent to one.
fn obtain_browser(timings: &Timings, selection: &Selection) -> Result<Option<PathBuf>> {
    // One page is that of a fleet, and one is behind a real proxy.
    if !selection.has("console")? && !selection.has("fleet")? && !selection.has(clients::SUITE)? {
        return Ok(None);
    }
    let why = "the console's pages are tested with it";
    let browser = || {
        let programs = [
            ("chromedriver", "chromium-driver"),
            ("node", "nodejs"),
            ("npm", "npm"),
        ];
        lab::obtain(&programs, why)?;
        install::obtain_of_npm("browsers", &[READS_PUSHES], why)
    };
    timings.stage("a browser", browser).map(Some)
}

/// Sees to it that a server of NATS is here where the tests want one.
fn obtain_nats(timings: &Timings, selection: &Selection) -> Result<Option<PathBuf>> {
    if !selection.has("fleet")? {
        return Ok(None);
    }
    let server = || nats::obtain("fleets are tested with it");
    timings.stage("a server of NATS", server).map(Some)
}

/// What knows the schemas of Kubernetes.
const KNOWS_KUBERNETES: &str = "kubernetes-validate==1.37.0";

/// Sees to it that it is here where the manifests are tested, and what puts them together.
fn obtain_kubernetes(timings: &Timings, selection: &Selection) -> Result<Option<PathBuf>> {
    if !selection.has("fleet")? {
        return Ok(None);
    }
    let why = "manifests are tested with it";
    let schemas = || {
        let programs = [("kubectl", "kubernetes-client"), ("python3", "python3")];
        lab::obtain(&programs, why)?;
        install::obtain_of_pip("kubernetes", &[KNOWS_KUBERNETES], why)
    };
    timings.stage("schemas of Kubernetes", schemas).map(Some)
}

/// Sees to it that real clients are here where the tests want them.
fn obtain_clients(timings: &Timings, selection: &Selection) -> Result<Option<PathBuf>> {
    // nginx is in front of a fleet's page, too.
    if !selection.has(clients::SUITE)? && !selection.has("fleet")? {
        return Ok(None);
    }
    timings.stage("real clients", clients::obtain).map(Some)
}

/// Runs what is built, with what tests want of other programs.
fn ran(
    timings: &Timings,
    selection: &Selection,
    env: &[(&str, &Path)],
    others: &[(&'static str, OsString)],
) -> Result<Outcome> {
    if selection.has_suites()? {
        // It tells what this kernel lacks, once and not with each test.
        run(Command::new(build::tested().join("guard-lab")).arg("fit"))?;
    }
    let mut env: Vec<_> = env
        .iter()
        .map(|(name, value)| (*name, value.as_os_str().to_owned()))
        .collect();
    env.push((PROGRAMS, build::tested().into()));
    env.extend(others.iter().cloned());
    timings.stage("tests on this kernel", || {
        nextest::run(timings, selection, &env)
    })
}

/// Runs what documents of the code show.
fn documents(timings: &Timings) -> Result<Outcome> {
    timings.stage("tests in documents of the code", nextest::documents)
}

/// The names of the suites: the modules of the one program that they are.
pub(crate) fn suites() -> Result<Vec<String>> {
    let main = std::fs::read_to_string(root().join("tests/tests/main.rs"))?;
    let names = main
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        // What suites share.
        .filter(|name| !["half", "together"].contains(name));
    Ok(names.map(str::to_owned).collect())
}
