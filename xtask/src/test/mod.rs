//! `cargo xtask test`.

mod selection;

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::BuildHasher as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::shell::{beside, cargo_by, read, root, run, say, target, text};
use crate::timings::Timings;
use crate::{build, cache, clients, install, lab, lint, nats, shared, tools, vm};
use selection::Selection;

/// Installed where there is none.
const NEXTEST: (&str, &str) = ("cargo-nextest", "0.9.143");
/// Exit status of nextest where a test failed, and nothing else is wrong:
/// <https://docs.rs/nextest-metadata/latest/nextest_metadata/enum.NextestExitCode.html>.
const TESTS_FAILED: i32 = 100;
/// Number that random tests follow from: <https://docs.rs/proptest/latest/proptest/test_runner/struct.Config.html>. A retry has the same
/// one, so a random failure is repeated, and believed.
const SEED: &str = "PROPTEST_RNG_SEED";
/// Environment variable by which the lab tries some of very many steps: `guard_lab::is_sampled`.
const SAMPLED: &str = "GUARD_LAB_SAMPLED";

/// Places whose changes are tried in machines before they are merged.
const OF_MACHINES: [&str; 4] = [
    "packaging/",
    "guard-ebpf/",
    "guard-user/datapath/",
    "guard-user/launch/",
];

/// Environment of tests: variables by which `guard_lab::bins` finds what was built and obtained.
type Environment = Vec<(&'static str, OsString)>;

/// `cargo xtask test`
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Only tests whose names begin so: a suite (`holes`), a part of it (`holes::udp`), or a crate and a module of it (`guard::watch`)
    #[arg(value_name = "NAME", value_parser = selection::name)]
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
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    let timings = Timings::begin();
    let done = if args.gate {
        gate(&timings)
    } else {
        let selection = Selection {
            names: args.names.clone(),
            ignored: args.ignored,
            args: args.args.clone(),
        };
        here(&timings, &selection, &[])
    };
    timings.print();
    done
}

/// Runs tests whose names begin so, with more in their environment.
///
/// # Errors
///
/// As [`test`].
pub(crate) fn these_with(names: &[&str], env: &[(&'static str, &Path)]) -> Result<()> {
    let selection = Selection {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        ..Selection::default()
    };
    here(&Timings::begin(), &selection, env)
}

/// Builds, and runs them on this machine.
fn here(timings: &Timings, selection: &Selection, env: &[(&'static str, &Path)]) -> Result<()> {
    let is_privileged = selection.has_suites()?;
    if is_privileged {
        timings.stage("what the lab needs", lab::equip)?;
    }
    timings.stage("the kernel half", build::prepare)?;
    let (built, obtained) = beside(
        || {
            timings.stage("build", || {
                if is_privileged {
                    build::build_tests()
                } else {
                    Ok(())
                }
            })
        },
        || obtain(timings, selection),
    );
    built?;
    if is_privileged {
        shared::add();
    }
    let mut environment = obtained?;
    environment.extend(
        env.iter()
            .map(|(name, value)| (*name, value.as_os_str().to_owned())),
    );
    timings.stage("tests on this kernel", || nextest(selection, &environment))?;
    Ok(())
}

/// Lints, runs tests on this kernel, and in machines what no other place can tell.
///
/// # Errors
///
/// That something could not be run at all, or all that failed.
fn gate(timings: &Timings) -> Result<()> {
    timings.stage("what the lab needs", lab::equip)?;
    lint::begin(timings)?;
    let selection = Selection::default();
    // Cargo compiles one thing after the other; what runs beside it mostly waits for one processor or for the network.
    let ((mut problems, built), (others, obtained)) = beside(
        || {
            let problems = lint::of_both_halves(timings);
            (problems, timings.stage("build", build::build_tests))
        },
        || (lint::of_sources(timings), obtain(timings, &selection)),
    );
    built?;
    shared::add();
    problems.extend(others);
    let mut environment = obtained?;
    environment.push((SAMPLED, "1".into()));
    let mut take =
        |done: Result<()>| problems.extend(done.err().map(|problem| format!("{problem:#}")));
    take(timings.stage("tests on this kernel", || nextest(&selection, &environment)));
    take(timings.stage("machines", || vm::gate(concerns_machines())));
    take(timings.stage("ten ratios", lab::ratios));
    ensure!(problems.is_empty(), "{}", problems.join("\nxtask: "));
    Ok(())
}

/// Returns true if something changed that only machines can tell, or if git cannot say.
fn concerns_machines() -> bool {
    let changed = changed();
    let is_of_them = |file: &str| OF_MACHINES.iter().any(|begin| file.starts_with(begin));
    match &changed {
        Ok(files) if files.lines().any(is_of_them) => true,
        Ok(_) => {
            say(
                "nothing changed that only machines can tell: one boots, and the rest is each night's",
            );
            false
        }
        Err(why) => {
            say(&format!(
                "git does not say what changed ({why:#}): running all that only machines can tell"
            ));
            true
        }
    }
}

/// Returns the files that differ from where this branch left `main`; on `main`, those that a day has changed: each night runs everything.
fn changed() -> Result<String> {
    let git = |args: &[&str]| read(Command::new("git").current_dir(root()).args(args));
    let base = git(&["merge-base", "HEAD", "origin/main"]);
    let mut base = base.or_else(|_| git(&["merge-base", "HEAD", "main"]))?;
    if base == git(&["rev-parse", "HEAD"])? {
        base = git(&["rev-list", "-1", "--before=1.day", "HEAD"])?;
    }
    ensure!(!base.is_empty(), "its history is shorter than a day");
    git(&["diff", "--name-only", base.trim()])
}

/// Runs tests, and those that fail once more.
fn nextest(selection: &Selection, env: &Environment) -> Result<()> {
    if selection.has_suites()? {
        // It tells what this kernel lacks, once and not with each test.
        run(Command::new(build::tested().join("guard-lab")).arg("fit"))?;
    }
    let path = install::path_with_tools()?;
    let version = read(
        Command::new(NEXTEST.0)
            .args(["nextest", "--version"])
            .env("PATH", &path),
    );
    if version.is_err() {
        install::cargo_install(NEXTEST.0, NEXTEST.1, "it runs the tests beside each other")?;
    }
    // One run of a clone writes the report.
    let _lock = cache::lock_file(
        &target().join("nextest.lock"),
        "waiting for another run of tests in this clone",
    )?;
    // nextest ends what it runs when this run ends, however that ends. A job in the background of a script ignores these signals, and
    // so would what the tests interrupt.
    let mut by = Command::new("setpriv");
    by.args(["--pdeathsig", "TERM", "env", "--default-signal=INT,QUIT"]);
    let mut nextest = cargo_by(by);
    nextest
        .args(["nextest", "run", "--locked", "--workspace"])
        .args(["--exclude", "guard-ebpf", "--target-dir"])
        .arg(target())
        .args(selection.arguments()?)
        .env("PATH", path)
        .envs(env.iter().map(|(name, value)| (name, value)));
    if std::env::var_os(SEED).is_none() {
        nextest.env(SEED, RandomState::new().hash_one(0).to_string());
    }
    let status = nextest
        .status()
        .with_context(|| format!("cannot start {}", text(&nextest)))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(TESTS_FAILED) => bail!(
            "tests failed, and failed again: target/nextest/default/junit.xml has what they said"
        ),
        _ => bail!("{} failed ({status})", text(&nextest)),
    }
}

/// What reads a push as a browser does, by whoever wrote the RFC.
const READS_PUSHES: &str = "http_ece@1.2.1";
/// What knows the schemas of Kubernetes.
const KNOWS_KUBERNETES: &str = "kubernetes-validate==1.37.0";

/// Sees to it that the other programs are here that these tests want.
fn obtain(timings: &Timings, selection: &Selection) -> Result<Environment> {
    let mut env: Environment = vec![("GUARD_BIN_DIR", build::tested().into())];
    let has = |suite: &str| selection.has(suite);
    let (fleet, clients) = (has("fleet")?, has(clients::SUITE)?);
    // One page is that of a fleet, and one is behind a real proxy.
    if has("console")? || fleet || clients {
        let why = "the console's pages are tested with it";
        let browser = timings.stage("a browser", || {
            let programs = [
                ("chromedriver", "chromium-driver"),
                ("node", "nodejs"),
                ("npm", "npm"),
            ];
            lab::obtain(&programs, why)?;
            install::obtain_of_npm("browsers", &[READS_PUSHES], why)
        })?;
        env.push(("GUARD_BROWSERS", browser.into()));
    }
    // nginx is in front of a fleet's page, too.
    if clients || fleet {
        env.push((
            "GUARD_CLIENTS",
            timings.stage("real clients", clients::obtain)?.into(),
        ));
    }
    if fleet {
        let server = timings.stage("a server of NATS", || {
            nats::obtain("fleets are tested with it")
        })?;
        env.push(("GUARD_NATS", server.into()));
        let why = "manifests are tested with it";
        let schemas = timings.stage("schemas of Kubernetes", || {
            lab::obtain(
                &[("kubectl", "kubernetes-client"), ("python3", "python3")],
                why,
            )?;
            install::obtain_of_pip("kubernetes", &[KNOWS_KUBERNETES], why)
        })?;
        env.push(("GUARD_KUBERNETES", schemas.into()));
    }
    if has(tools::SUITE)? {
        env.extend(timings.stage("tools", || tools::obtain(selection.ignored))?);
    }
    Ok(env)
}
