//! cargo-nextest: each test in a process of its own, several at once, and what came of them as JUnit has it.

use std::collections::{BTreeMap, BTreeSet, hash_map::RandomState};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use roxmltree::{Document, Node};
use serde_json::Value;

use super::outcome::{Flaky, Outcome};
use crate::build;
use crate::cache;
use crate::install;
use crate::shell::{cargo_by, read, root, say, target, text};
use crate::timings::Timings;

/// Installed where there is none.
const VERSION: &str = "0.9.143";
/// What it ends with where a test failed, and nothing else is wrong:
/// <https://docs.rs/nextest-metadata/latest/nextest_metadata/enum.NextestExitCode.html>.
const TESTS_FAILED: i32 = 100;
/// The same where there was none to be run.
const NO_TESTS: i32 = 4;
/// The profiles in `.config/nextest.toml`: for the first time, and alone.
const FIRST: &str = "default";
const AGAIN: &str = "again";
/// The number that what is tried at random follows from: <https://docs.rs/proptest/latest/proptest/test_runner/struct.Config.html>.
const SEED: &str = "PROPTEST_RNG_SEED";

/// Which tests.
#[derive(Clone, Default)]
pub(super) struct Selection {
    /// What their names begin with; none: all.
    pub(super) names: Vec<String>,
    /// Only those that are ignored otherwise.
    pub(super) ignored: bool,
    /// Arguments of `cargo nextest run`.
    pub(super) args: Vec<String>,
}

/// Whether an argument can begin the name of a test.
pub(super) fn name(argument: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if !argument.is_empty() && argument.chars().all(fits) {
        Ok(argument.to_owned())
    } else {
        Err("names of tests have letters, digits, _ and ::, as in `holes::udp`".to_owned())
    }
}

impl Selection {
    pub(super) fn is_all(&self) -> bool {
        self.names.is_empty() && !self.ignored && self.args.is_empty()
    }

    /// Whether tests of a suite may be among them.
    pub(super) fn has(&self, suite: &str) -> Result<bool> {
        let wanted = self.wanted()?;
        // The name of a suite that is not written out is one, too.
        let may_be = |wanted: &Wanted| match wanted.begins.split_once("::") {
            _ if wanted.package.is_some() => false,
            Some((first, _)) => first == suite,
            None => suite.starts_with(&wanted.begins),
        };
        Ok(wanted.is_empty() || wanted.iter().any(may_be))
    }

    /// What the names mean.
    fn wanted(&self) -> Result<Vec<Wanted>> {
        let crates = crates()?;
        let wanted = self.names.iter().map(|name| Wanted::of(name, &crates));
        Ok(wanted.collect())
    }

    /// Whether tests of any suite may be.
    pub(super) fn has_suites(&self) -> Result<bool> {
        for suite in super::suites()? {
            if self.has(&suite)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn arguments(&self) -> Result<Vec<OsString>> {
        let mut arguments: Vec<OsString> = Vec::new();
        let wanted = self.wanted()?;
        if !self.has_suites()? {
            // The programs and the suites need not be built.
            arguments.push("--lib".into());
            arguments.extend(
                own_tests(&wanted)?
                    .into_iter()
                    .flat_map(|name| ["--test".into(), name]),
            );
        }
        if !wanted.is_empty() {
            let tests = wanted.iter().map(Wanted::expression);
            arguments.push("-E".into());
            arguments.push(tests.collect::<Vec<_>>().join(" | ").into());
        }
        if self.ignored {
            arguments.extend(["--run-ignored", "only"].map(OsString::from));
        }
        Ok(arguments)
    }
}

/// What a name on the command line means: tests whose names begin so, or those of a crate.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    package: Option<String>,
    begins: String,
}

impl Wanted {
    fn of(name: &str, crates: &BTreeMap<String, PathBuf>) -> Self {
        let (first, rest) = name.split_once("::").unwrap_or((name, ""));
        let package = first.replace('_', "-");
        if crates.contains_key(&package) {
            Self {
                package: Some(package),
                begins: rest.to_owned(),
            }
        } else {
            Self {
                package: None,
                begins: name.to_owned(),
            }
        }
    }

    /// As nextest has it.
    fn expression(&self) -> String {
        let tests = format!("test(/^{}/)", self.begins);
        match &self.package {
            Some(package) => format!("(package(={package}) & {tests})"),
            None => tests,
        }
    }

    fn is(&self, package: &str, test: &str) -> bool {
        let is_in_it = self.package.as_ref().is_none_or(|wanted| wanted == package);
        is_in_it && test.starts_with(&self.begins)
    }
}

/// The packages of the user half, and where they are.
fn crates() -> Result<BTreeMap<String, PathBuf>> {
    let mut crates = BTreeMap::new();
    for dir in entries(&root().join("guard-user"))? {
        let manifest = dir.join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        let name = text.lines().find_map(|line| line.strip_prefix("name = \""));
        let name = name.with_context(|| format!("{} has no name", manifest.display()))?;
        crates.insert(name.trim_end_matches('"').to_owned(), dir);
    }
    Ok(crates)
}

/// The programs of tests that packages have beside their libraries, of which the libraries have no module.
fn own_tests(wanted: &[Wanted]) -> Result<BTreeSet<OsString>> {
    let crates = crates()?;
    let mut all = BTreeSet::new();
    for one in wanted {
        let Some(dir) = one.package.as_ref().and_then(|name| crates.get(name)) else {
            continue;
        };
        let (first, _) = one.begins.split_once("::").unwrap_or((&one.begins, ""));
        let module = dir.join("src").join(first);
        let tests = dir.join("tests");
        let has_module =
            !first.is_empty() && (module.is_dir() || module.with_extension("rs").exists());
        if has_module || !tests.exists() {
            continue;
        }
        let is_program = |path: &PathBuf| {
            path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").exists()
        };
        let programs = entries(&tests)?.into_iter().filter(is_program);
        all.extend(programs.filter_map(|path| path.file_stem().map(OsString::from)));
    }
    Ok(all)
}

/// What is in a directory.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    });
    entries.with_context(|| format!("cannot list {}", dir.display()))
}

/// Runs them, and those that fail once more, each alone.
///
/// # Errors
///
/// That they could not be run.
pub(super) fn run(
    timings: &Timings,
    selection: &Selection,
    env: &[(&str, OsString)],
) -> Result<Outcome> {
    obtain()?;
    // With one number in both runs what failed at random fails again, and is believed.
    let seed = env::var_os(SEED).unwrap_or_else(random);
    let env = &[env, &[(SEED, seed.clone())]].concat();
    let arguments = selection.arguments()?;
    let mut first: Vec<OsString> = arguments.clone();
    first.extend(selection.args.iter().map(OsString::from));
    let tests = ran(FIRST, &first, env)?;
    for test in &tests {
        timings.test(&test.suite(), &test.name, test.seconds);
    }
    let (failed, passed): (Vec<_>, Vec<_>) = tests.into_iter().partition(|test| test.failed);
    let mut outcome = Outcome {
        passed: passed.len(),
        names: passed.into_iter().map(|test| test.name).collect(),
        skipped: skipped(selection, &arguments, env)?,
        ..Outcome::default()
    };
    if !failed.is_empty() {
        say(&format!(
            "{} failed, and run once more, each alone (what is tried at random again from {SEED}={})",
            failed.len(),
            seed.display()
        ));
        again(failed, env, &mut outcome)?;
    }
    Ok(outcome)
}

fn random() -> OsString {
    RandomState::new()
        .build_hasher()
        .finish()
        .to_string()
        .into()
}

/// Sorts those that failed into those that are flaky and those that fail.
fn again(failed: Vec<Test>, env: &[(&str, OsString)], outcome: &mut Outcome) -> Result<()> {
    let these = failed.iter().map(Test::expression).collect::<Vec<_>>();
    let arguments = [
        "-E".into(),
        these.join(" | ").into(),
        "--run-ignored".into(),
        "all".into(),
    ];
    let second = ran(AGAIN, &arguments, env)?;
    for test in failed {
        let same = |other: &&Test| other.binary == test.binary && other.name == test.name;
        match second.iter().find(same) {
            Some(other) if !other.failed => {
                outcome.passed += 1;
                outcome.names.insert(test.name.clone());
                outcome.flaky.push(Flaky {
                    name: test.whole_name(),
                    failed: test.said,
                    passed: other.said.clone(),
                });
            }
            _ => outcome.failed.push(test.whole_name()),
        }
    }
    Ok(())
}

/// A test that ran.
#[derive(Debug)]
struct Test {
    /// As nextest calls the program that it is in.
    binary: String,
    name: String,
    seconds: f64,
    failed: bool,
    /// All that it wrote.
    said: String,
}

impl Test {
    /// The suite, or the crate and its module.
    fn suite(&self) -> String {
        let first = self.name.split("::").next().unwrap_or_default();
        match self.binary.split_once("::") {
            Some((_, "suites")) => first.to_owned(),
            _ => format!("{} {first}", self.binary),
        }
    }

    fn whole_name(&self) -> String {
        format!("{} {}", self.binary, self.name)
    }

    fn expression(&self) -> String {
        format!("(binary_id(={}) & test(={}))", self.binary, self.name)
    }
}

/// Runs some in a profile.
fn ran(profile: &str, arguments: &[OsString], env: &[(&str, OsString)]) -> Result<Vec<Test>> {
    let report = report(profile);
    fs::create_dir_all(target())?;
    // Each run of this clone writes the same report, and reads it.
    let _lock = cache::lock_file(
        &target().join("nextest.lock"),
        "waiting for another run of tests in this clone",
    )?;
    // An earlier run's says nothing about this one.
    let _ = fs::remove_file(&report);
    let mut nextest = nextest("run", env);
    nextest.args(["--profile", profile]).args(arguments);
    let status = nextest
        .status()
        .with_context(|| format!("cannot start {}", text(&nextest)))?;
    match status.code() {
        Some(0 | TESTS_FAILED) => {}
        Some(NO_TESTS) => bail!("no test has such a name"),
        _ => bail!("{} failed ({status})", text(&nextest)),
    }
    let junit = fs::read_to_string(&report)
        .with_context(|| format!("nextest has left no {}", report.display()))?;
    let tests = parse(&junit).with_context(|| format!("cannot read {}", report.display()))?;
    let any_failed = tests.iter().any(|test| test.failed);
    ensure!(
        any_failed || status.success(),
        "nextest says that a test failed, and {} does not say which",
        report.display()
    );
    Ok(tests)
}

/// How many of them are left out because they are ignored.
fn skipped(
    selection: &Selection,
    arguments: &[OsString],
    env: &[(&str, OsString)],
) -> Result<usize> {
    let mut list = nextest("list", env);
    list.args(["--message-format", "json"]).args(arguments);
    let list: Value = serde_json::from_str(&read(&mut list)?)?;
    let wanted = selection.wanted()?;
    let suites = list["rust-suites"].as_object().into_iter().flatten();
    let tests = suites.flat_map(|(_, suite)| {
        let package = suite["package-name"].as_str().unwrap_or_default();
        let tests = suite["testcases"].as_object().into_iter().flatten();
        tests.map(move |(name, test)| (package, name, test))
    });
    let is_skipped = |(package, name, test): &(&str, &String, &Value)| {
        test["filter-match"]["reason"] == "ignored"
            && (wanted.is_empty() || wanted.iter().any(|wanted| wanted.is(package, name)))
    };
    Ok(tests.filter(is_skipped).count())
}

/// Runs the examples in documentation, which nextest does not.
///
/// # Errors
///
/// That cargo cannot be started.
pub(super) fn documents() -> Result<Outcome> {
    let mut cargo = build::workspace(&["test", "--doc", "--no-fail-fast"]);
    let output = cargo.args(["--exclude", "guard-bench"]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut outcome = Outcome::default();
    for line in said.lines().filter_map(|line| line.strip_prefix("test ")) {
        match line.rsplit_once(" ... ") {
            Some((_, "ok")) => outcome.passed += 1,
            Some((_, "ignored")) => outcome.skipped += 1,
            Some((name, "FAILED")) => outcome.failed.push(name.to_owned()),
            _ => {}
        }
    }
    if !output.status.success() {
        eprint!("{said}{}", String::from_utf8_lossy(&output.stderr));
        if outcome.failed.is_empty() {
            outcome
                .problems
                .push(format!("{} failed ({})", text(&cargo), output.status));
        }
    }
    Ok(outcome)
}

fn nextest(verb: &str, env: &[(&str, OsString)]) -> Command {
    // It takes down what it runs when this run ends, however that ends. A job in the background of a script ignores these
    // signals, and so would what the tests interrupt.
    let mut by = Command::new("setpriv");
    by.args(["--pdeathsig", "TERM", "env", "--default-signal=INT,QUIT"]);
    let mut nextest = cargo_by(by);
    nextest
        .args(["nextest", verb, "--locked", "--workspace"])
        .args(["--exclude", "guard-ebpf", "--exclude", "guard-bench"])
        .arg("--target-dir")
        .arg(target())
        .envs(env.iter().map(|(name, value)| (name, value)));
    if let Ok(path) = install::path_with_tools() {
        nextest.env("PATH", path);
    }
    nextest
}

fn obtain() -> Result<()> {
    let version = read(&mut {
        let mut v = Command::new("cargo-nextest");
        v.args(["nextest", "--version"])
            .env("PATH", install::path_with_tools()?);
        v
    });
    match version {
        Ok(_) => Ok(()),
        Err(_) => install::cargo_install(
            "cargo-nextest",
            VERSION,
            "it runs the tests beside each other",
        ),
    }
}

fn report(profile: &str) -> PathBuf {
    target().join("nextest").join(profile).join("junit.xml")
}

/// Reads a report: a `testsuite` for each program, a `testcase` for each test.
fn parse(junit: &str) -> Result<Vec<Test>> {
    let document = Document::parse(junit)?;
    let cases = document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"));
    cases.map(|case| test(&case)).collect()
}

fn test(case: &Node<'_, '_>) -> Result<Test> {
    let attribute = |node: &Node<'_, '_>, name: &str| {
        let value = node.attribute(name).map(str::to_owned);
        value.with_context(|| format!("<{}> has no {name}", node.tag_name().name()))
    };
    let children = |tag| {
        case.children()
            .filter(move |child: &Node<'_, '_>| child.has_tag_name(tag))
    };
    // What is in `failure` is a part of these.
    let said = children("system-out").chain(children("system-err"));
    let said: Vec<_> = said
        .filter_map(|child| child.text())
        .map(str::trim_end)
        .collect();
    Ok(Test {
        binary: attribute(case, "classname")?,
        name: attribute(case, "name")?,
        seconds: attribute(case, "time")?.parse()?,
        failed: children("failure")
            .chain(children("error"))
            .next()
            .is_some(),
        said: said.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUNIT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0" time="2.1">
    <testsuite name="guard-lab::suites" tests="2" disabled="0" errors="0" failures="1">
        <testcase name="holes::udp" classname="guard-lab::suites" time="1.500"/>
        <testcase name="ends::one" classname="guard-lab::suites" time="0.250">
            <failure type="test failure with exit code 101">thread panicked: &lt;it&gt;</failure>
            <system-out>out</system-out>
            <system-err>err</system-err>
        </testcase>
    </testsuite>
    <testsuite name="guard-policy" tests="1" disabled="0" errors="0" failures="0">
        <testcase name="tests::one" classname="guard-policy" time="0.010"/>
    </testsuite>
</testsuites>"#;

    #[test]
    fn a_report_says_what_came_of_each() -> Result<()> {
        let tests = parse(JUNIT)?;
        let failed: Vec<_> = tests.iter().filter(|test| test.failed).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].whole_name(), "guard-lab::suites ends::one");
        assert_eq!(failed[0].said, "out\nerr");
        let suites: Vec<_> = tests.iter().map(Test::suite).collect();
        assert_eq!(suites, ["holes", "ends", "guard-policy tests"]);
        assert!((tests[0].seconds - 1.5).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn who_names_a_module_builds_no_suite() -> Result<()> {
        let selection = |names: &[&str]| Selection {
            names: names.iter().map(ToString::to_string).collect(),
            ..Selection::default()
        };
        assert!(selection(&[]).has_suites()?);
        assert!(selection(&["holes::udp"]).has_suites()?);
        assert!(selection(&["hol"]).has_suites()?);
        assert!(!selection(&["guard::watch", "guardd", "guard_judge::http"]).has_suites()?);
        assert!(selection(&["clients"]).has("clients")?);
        assert!(!selection(&["holes"]).has("clients")?);
        Ok(())
    }

    #[test]
    fn tests_beside_a_library_are_built_where_they_may_be_meant() -> Result<()> {
        let own = |name: &str| own_tests(&[Wanted::of(name, &crates()?)]);
        assert_eq!(own("guard_discover")?, ["reading".into()].into());
        assert_eq!(own("guard_discover::secrets")?, ["reading".into()].into());
        for name in [
            "guard_discover::dsn::tests",
            "guard::watch",
            "guard_policy",
            "secrets",
        ] {
            assert!(own(name)?.is_empty(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_crate_is_told_from_a_suite() {
        let crates = ["guard", "guard-proxy"].map(|name| (name.to_owned(), PathBuf::new()));
        let crates = BTreeMap::from(crates);
        let expression = |name: &str| Wanted::of(name, &crates).expression();
        assert_eq!(expression("watch::shown"), "test(/^watch::shown/)");
        assert_eq!(
            expression("guard::watch"),
            "(package(=guard) & test(/^watch/))"
        );
        assert_eq!(
            expression("guard_proxy"),
            "(package(=guard-proxy) & test(/^/))"
        );
        let tls = Wanted::of("guard_proxy::tls", &crates);
        assert!(tls.is("guard-proxy", "tls::one"));
        assert!(!tls.is("guard", "tls::one"));
    }

    #[test]
    fn a_name_that_no_test_can_have_is_refused() {
        assert!(name("holes::udp").is_ok());
        for wrong in ["", "a b", "x)|test(/", "--test"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
