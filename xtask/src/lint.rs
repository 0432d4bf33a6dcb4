//! `cargo xtask lint`.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::shell::{beside, cargo, read, root, run, say};
use crate::timings::Timings;
use crate::{build, ebpf, install, mass, shared};

/// Installed where there is none; a later one may want a later compiler.
const DENY_VERSION: &str = "0.20.2";

/// Fails with the findings.
type Check = fn() -> Result<()>;

/// Checks format, lints, what the dependencies may be, and the alerts: all of it, whatever fails first.
///
/// # Errors
///
/// Which of these found something.
pub(crate) fn lint() -> Result<()> {
    let timings = Timings::begin();
    begin(&timings)?;
    // Beside each other: the one is compiled crate after crate, and the others run one after the other.
    let (mut found, others) = beside(|| of_both_halves(&timings), || of_sources(&timings));
    shared::add();
    found.extend(others);
    ensure!(found.is_empty(), "{}", found.join("\nxtask: "));
    Ok(())
}

/// Sees to it that there is room, and that the kernel half can be built and linted: no two may install the same at once.
///
/// # Errors
///
/// What could not be had.
pub(crate) fn begin(timings: &Timings) -> Result<()> {
    build::begin()?;
    timings.stage("what the kernel half is made with", ebpf::obtain)
}

/// Builds the kernel half, which the user half has in it, and lints the user half. Returns the problems that were found.
pub(crate) fn of_both_halves(timings: &Timings) -> Vec<String> {
    let found = timings.stage("the kernel half", build::prepare);
    let found = found.and_then(|()| timings.stage("clippy", clippy));
    found.err().map(told).into_iter().collect()
}

/// Checks what needs nothing that is built. Returns the problems that were found.
pub(crate) fn of_sources(timings: &Timings) -> Vec<String> {
    let checks: [(&str, Check); 5] = [
        ("mass and prose", mass::check),
        ("format", format),
        ("licences and sources of dependencies", deny),
        ("alerts for Prometheus", alerts),
        ("clippy of the kernel half", ebpf::lint),
    ];
    let found = checks
        .iter()
        .filter_map(|(name, check)| timings.stage(name, check).err());
    found.map(told).collect()
}

fn told(problem: anyhow::Error) -> String {
    let problem = format!("{problem:#}");
    say(&problem);
    problem
}

fn format() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")
}

fn clippy() -> Result<()> {
    run(build::workspace(&["clippy"]).args(["--all-targets", "--", "--deny", "warnings"]))
}

fn deny() -> Result<()> {
    let path = install::path_with_tools()?;
    let version = read(
        Command::new("cargo-deny")
            .arg("--version")
            .env("PATH", &path),
    );
    if version.is_err() {
        let why = "it checks licences and sources of the dependencies";
        install::cargo_install("cargo-deny", DENY_VERSION, why)?;
    }
    let checks = ["bans", "licenses", "sources"];
    run(cargo()
        .args(["deny", "--locked", "check", "--hide-inclusion-graph"])
        .args(checks)
        .env("PATH", path))
}

/// Checks that Prometheus takes the shipped alerts, and that each fires when it should and only then.
fn alerts() -> Result<()> {
    let why = "it checks the alerts for Prometheus";
    let prometheus = install::obtain_tree("prometheus", &["prometheus"], why)?;
    for (verb, file) in [("check", "alerts.yml"), ("test", "alerts.test.yml")] {
        run(Command::new(prometheus.join("usr/bin/promtool"))
            .current_dir(root().join("packaging/prometheus"))
            .args([verb, "rules", file]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// In two parts, for this is a source as well.
    const CALL: &str = concat!("libc::", "syscall(");

    /// The arguments of each system call that is made by its number, as they stand in a text.
    fn arguments(text: &str) -> Vec<String> {
        text.split(CALL).skip(1).flat_map(of_one).collect()
    }

    /// Those of one, up to the parenthesis that closes it.
    fn of_one(behind: &str) -> Vec<String> {
        let (mut depth, mut all) = (0, vec![String::new()]);
        for letter in behind.chars() {
            match letter {
                ')' if depth == 0 => break,
                ',' if depth == 0 => {
                    all.push(String::new());
                    continue;
                }
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
            if let Some(last) = all.last_mut() {
                last.push(letter);
            }
        }
        all
    }

    /// Whether it is a number without a type, which is an `i32` then.
    fn is_bare(argument: &str) -> bool {
        let number = argument.trim().trim_start_matches('-');
        let digits = number.strip_prefix("0x").unwrap_or(number);
        let is_digit = |c: char| c.is_ascii_hexdigit() || c == '_';
        number.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(is_digit)
    }

    /// The kernel reads whole registers, and an `i32` fills half of one: the other half of a sixth argument is whatever the
    /// stack had there.
    #[test]
    fn no_number_of_a_system_call_is_half_a_register() -> Result<()> {
        let mut calls = 0;
        let mut open = ["guard-user", "tests", "bench", "xtask"]
            .map(|name| root().join(name))
            .to_vec();
        while let Some(path) = open.pop() {
            if path.is_dir() {
                for entry in fs::read_dir(&path)? {
                    open.push(entry?.path());
                }
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let arguments = arguments(&fs::read_to_string(&path)?);
                calls += arguments.len();
                for argument in &arguments {
                    let (file, number) = (path.display(), argument.trim());
                    ensure!(
                        !is_bare(number),
                        "{file}: write a type behind {number}, such as {number}_usize"
                    );
                }
            }
        }
        ensure!(calls > 20, "only {calls} arguments were found");
        Ok(())
    }

    #[test]
    fn arguments_are_read_as_they_stand() {
        let text = format!("{CALL}A, f(1, 2), 0);\n{CALL}\n    B,\n    -1,\n    0_usize,\n)");
        let all = arguments(&text);
        let all: Vec<_> = all.iter().map(|one| one.trim()).collect();
        assert_eq!(all, ["A", "f(1, 2)", "0", "B", "-1", "0_usize", ""]);
        let bare = all.into_iter().filter(|one| is_bare(one));
        assert_eq!(bare.collect::<Vec<_>>(), ["0", "-1"]);
        assert!(is_bare("0xff") && !is_bare("0xff_u32") && !is_bare("number - 1"));
    }
}
