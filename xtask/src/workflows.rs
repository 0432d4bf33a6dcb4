//! What CI and a release run, held to the commands that there are; and the scripts of a release, run on files like its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;

use crate::shell::root;
use crate::{package, promises};

const CI: &str = ".github/workflows/ci.yml";
const RELEASE: &str = ".github/workflows/release.yml";
const GITLAB: &str = ".gitlab-ci.yml";
const ON_PURPOSE: &str = ".ci/on-purpose";

/// Variables of theirs, and what they may be.
const VARIABLES: [(&str, &str); 2] = [
    ("${{ matrix.shard }}", "1"),
    ("\"$CI_NODE_INDEX/$CI_NODE_TOTAL\"", "1/3"),
];

/// What `cargo xtask package` makes.
const MADE: [&str; 8] = [
    "guard_0.3.0_amd64.deb",
    "guard-console_0.3.0_amd64.deb",
    "guard-fleet_0.3.0_amd64.deb",
    "guard-0.3.0-1.x86_64.rpm",
    "guard-console-0.3.0-1.x86_64.rpm",
    "guard-fleet-0.3.0-1.x86_64.rpm",
    "guard-0.3.0-x86_64-linux.tar.xz",
    "guard-0.3.0.cdx.json",
];

fn text(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))
}

/// Its lines that are no comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
}

/// The script of the first step behind some words, as the runner has it.
fn script(text: &str, behind: &str) -> Result<String> {
    let (_, rest) = text.split_once(behind).context("there is no such step")?;
    let (_, block) = rest.split_once("run: |\n").context("it runs nothing")?;
    let indent = block.len() - block.trim_start_matches(' ').len();
    let lines = block.lines().map_while(|line| {
        line.get(indent..)
            .filter(|_| line[..indent].trim().is_empty())
    });
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// Runs one as GitHub's runners do, with these variables and more programs.
fn run(script: &str, dir: &Path, variables: &[(&str, &str)]) -> Result<Output> {
    let mut bash = Command::new("bash");
    bash.args(["-e", "-c", script]).current_dir(dir);
    Ok(bash.envs(variables.iter().copied()).output()?)
}

#[test]
fn each_command_of_ci_is_one_that_there_is() -> Result<()> {
    let mut count = 0;
    for file in [CI, RELEASE, GITLAB, ON_PURPOSE] {
        for line in lines(&text(file)?) {
            let Some((_, rest)) = line.split_once("cargo xtask ") else {
                continue;
            };
            let mut typed = rest.to_owned();
            for (variable, value) in VARIABLES {
                typed = typed.replace(variable, value);
            }
            ensure!(!typed.contains('$'), "{file}: {typed}");
            let words = typed.split_whitespace();
            let parsed = crate::Args::try_parse_from(["cargo xtask"].into_iter().chain(words));
            let parsed = parsed.map_err(|error| error.to_string());
            ensure!(parsed.is_ok(), "{file}: {typed}: {:?}", parsed.err());
            count += 1;
        }
    }
    ensure!(count >= 10, "only {count} commands were found");
    Ok(())
}

/// The lines of a job, which are behind its name.
fn job<'t>(file: &str, text: &'t str, name: &str) -> Result<&'t str> {
    let indent = if file == GITLAB { "" } else { "  " };
    let (_, rest) = text
        .split_once(&format!("\n{indent}{name}:\n"))
        .with_context(|| format!("{file} has no job {name}"))?;
    let inside = format!("{indent}  ");
    let is_next = |line: &&str| !line.is_empty() && !line.starts_with(&inside);
    let next = rest.lines().find(is_next);
    Ok(next.map_or(rest, |next| {
        rest.split(&format!("\n{next}\n")).next().unwrap_or(rest)
    }))
}

/// What a job has cargo xtask do.
fn commands(job: &str) -> impl Iterator<Item = &str> {
    lines(job).filter_map(|line| Some(line.split_once("cargo xtask ")?.1.trim()))
}

/// Runs each night and before a release, and leaves a file however that ends.
fn leaves(file: &str, job: &str, left: &str) -> Result<()> {
    let (always, tagged) = match file {
        GITLAB => ("when: always", "$CI_COMMIT_TAG"),
        _ => ("if: always()\n        with:", "refs/tags/"),
    };
    for part in ["schedule", tagged, always, left] {
        ensure!(job.contains(part), "{file}: {part:?} is not in {job}");
    }
    Ok(())
}

#[test]
fn each_night_all_promises_are_in_one_table() -> Result<()> {
    for file in [CI, GITLAB] {
        let text = text(file)?;
        let job = job(file, &text, "promises")?;
        ensure!(
            commands(job).any(|command| command == "promises --all"),
            "{job}"
        );
        leaves(file, job, "target/ci/promises.txt")?;
    }
    Ok(())
}

#[test]
fn each_night_the_figures_are_measured_again() -> Result<()> {
    for file in [CI, GITLAB] {
        let text = text(file)?;
        let job = job(file, &text, "figures")?;
        leaves(file, job, "target/bench.json")?;
        let measured: Vec<_> = commands(job).collect();
        for again in promises::measured_again() {
            let Some(command) = again
                .split([',', ':'])
                .next()
                .unwrap_or_default()
                .strip_prefix("cargo xtask ")
            else {
                continue;
            };
            let is_run = match command.split_whitespace().collect::<Vec<_>>()[..] {
                // With each change.
                ["bench", "--gate"] | ["test", ..] => {
                    lines(&text).any(|line| line.contains(".ci/run"))
                }
                // All of it.
                ["bench", ..] => measured.contains(&"bench"),
                ["vm", "--bench", ..] => measured.contains(&command),
                ["vm", ..] => lines(&text).any(|line| line.contains("cargo xtask vm --cold")),
                _ => false,
            };
            ensure!(
                is_run,
                "{file}: no job does what a figure is measured by: {again}"
            );
        }
    }
    Ok(())
}

/// The names of tests below a directory that are ignored for the minutes that they take; `module`: what theirs begin with.
fn take_minutes(dir: &Path, module: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let module = match &*stem {
            "mod" => module.to_owned(),
            stem => format!("{module}{stem}::"),
        };
        if path.is_dir() {
            found.extend(take_minutes(&path, &module)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path)?;
            for ignored in text.split("#[ignore = \"").skip(1) {
                let (why, rest) = ignored.split_once("\"]").context("no end of a reason")?;
                if why.contains("minutes") {
                    let test = rest.trim_start().strip_prefix("fn ");
                    let name = test.and_then(|test| Some(test.split_once('(')?.0));
                    let name = name.with_context(|| format!("{module}: no test is {why:?}"))?;
                    found.push(format!("{module}{name}"));
                }
            }
        }
    }
    Ok(found)
}

#[test]
fn each_night_what_takes_minutes_is_run() -> Result<()> {
    let tests = take_minutes(&root().join("tests/tests"), "")?;
    ensure!(tests.len() >= 5, "only these were found: {tests:?}");
    for file in [CI, GITLAB] {
        let text = text(file)?;
        let job = job(file, &text, "long")?;
        ensure!(job.contains("schedule"), "{file}: {job}");
        let ignored = commands(job).filter_map(|command| command.strip_prefix("test --ignored "));
        let named: Vec<_> = ignored.flat_map(str::split_whitespace).collect();
        for test in &tests {
            let is_run = named.iter().any(|name| test.starts_with(*name));
            ensure!(is_run, "{file}: no night runs {test}");
        }
    }
    Ok(())
}

/// The number behind some words.
fn number(text: &str, behind: &str) -> Result<u32> {
    let (_, rest) = text
        .split_once(behind)
        .with_context(|| format!("{behind:?} is not in {text}"))?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    Ok(digits.unwrap_or_default().parse()?)
}

#[test]
fn what_does_not_end_is_ended_by_its_own_limit() -> Result<()> {
    /// As long as all of it may be compiled for, where the cache has nothing.
    const BUILD: u32 = 40;
    let config = text(".config/nextest.toml")?;
    let (_, crashes) = config
        .split_once("filter = 'test(/^crashes::/)'")
        .context("no limit is theirs")?;
    // Minutes, each of them a period.
    ensure!(number(crashes, "period = \"")? == 60, "{crashes}");
    let each = number(crashes, "terminate-after = ")?;
    for (file, behind) in [(CI, "timeout-minutes: "), (GITLAB, "timeout: ")] {
        let text = text(file)?;
        for name in ["gate", "crashes"] {
            let limit = number(job(file, &text, name)?, behind)?;
            // What fails runs once more.
            ensure!(
                limit >= BUILD + 2 * each,
                "{file}: {limit} minutes for {name}"
            );
        }
    }
    Ok(())
}

#[test]
fn each_night_it_is_shown_that_a_run_can_fail() -> Result<()> {
    for file in [CI, GITLAB] {
        let text = text(file)?;
        let is_run = lines(job(file, &text, "long")?).any(|line| line.ends_with(ON_PURPOSE));
        ensure!(is_run, "{file}: no night runs {ON_PURPOSE}");
    }
    let names = ["fails_each_time", "fails_one_time_in_three"];
    let (script, tests) = (text(ON_PURPOSE)?, text("tests/tests/lab.rs")?);
    for name in names {
        ensure!(
            script.contains(&format!("lab::on_purpose::{name}")),
            "{name}"
        );
        ensure!(tests.contains(&format!("fn {name}(")), "{name}");
    }
    Ok(())
}

/// What the script that shows it says of a run, whose cargo says these lines and ends so.
fn on_purpose(said: &[&str], status: u8) -> Result<bool> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    for made in [".ci", "bin"] {
        fs::create_dir(at(made))?;
    }
    fs::copy(root().join(ON_PURPOSE), at(ON_PURPOSE))?;
    fs::write(at("said"), said.join("\n") + "\n")?;
    fs::write(
        at("bin/cargo"),
        format!("#!/bin/sh\ncat said\nexit {status}\n"),
    )?;
    fs::set_permissions(at("bin/cargo"), fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH")?);
    let output = run(ON_PURPOSE, dir.path(), &[("PATH", &path)])?;
    Ok(output.status.success())
}

#[test]
fn a_run_that_does_not_fail_where_it_has_to_is_told() -> Result<()> {
    const SAID: [&str; 3] = [
        "failed twice: guard-lab::suites lab::on_purpose::fails_each_time",
        "1 flaky: guard-lab::suites lab::on_purpose::fails_one_time_in_three",
        "1 passed, 1 failed, 0 skipped",
    ];
    ensure!(on_purpose(&SAID, 1)?, "what fails as it has to is refused");
    ensure!(
        !on_purpose(&SAID, 0)?,
        "a run that ends well is what it has to be"
    );
    for left_out in SAID {
        let said: Vec<_> = SAID.into_iter().filter(|line| *line != left_out).collect();
        ensure!(!on_purpose(&said, 1)?, "nobody misses {left_out:?}");
    }
    Ok(())
}

#[test]
fn actions_are_pinned_and_jobs_may_only_read() -> Result<()> {
    for (file, writes) in [(CI, 0), (RELEASE, 3)] {
        let text = text(file)?;
        for action in lines(&text).filter_map(|line| line.split_once("uses: ")) {
            let (name, version) = action.1.split_once('@').unwrap_or((action.1, ""));
            let (commit, remark) = version.split_once(" # ").unwrap_or((version, ""));
            let is_commit = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
            let is_pinned = name.starts_with("./") || (is_commit && remark.starts_with('v'));
            ensure!(is_pinned, "{file}: {}", action.1);
        }
        let (head, _) = text.split_once("\njobs:\n").context("no jobs")?;
        ensure!(
            head.contains("\npermissions:\n  contents: read\n"),
            "{file}"
        );
        let count = lines(&text).filter(|line| line.contains(": write")).count();
        ensure!(count == writes, "{file}: {count} rights to write");
        let checkouts = text.matches("uses: actions/checkout@").count();
        let without = text.matches("persist-credentials: false").count();
        ensure!(checkouts == without, "{file}: a checkout keeps the token");
    }
    Ok(())
}

#[test]
fn a_release_takes_what_was_made_whole_and_nothing_else() -> Result<()> {
    let script = script(&text(RELEASE)?, "All of it is there, and as it was made")?;
    let made = |names: &[&str]| -> Result<tempfile::TempDir> {
        let dir = tempfile::tempdir()?;
        for name in names {
            fs::write(dir.path().join(name), name)?;
        }
        package::sums(dir.path())?;
        Ok(dir)
    };
    let is_taken = |dir: &Path| -> Result<bool> { Ok(run(&script, dir, &[])?.status.success()) };

    let whole = made(&MADE)?;
    ensure!(is_taken(whole.path())?, "what is whole is refused");
    for missing in MADE {
        let names: Vec<_> = MADE.into_iter().filter(|name| *name != missing).collect();
        let dir = made(&names)?;
        ensure!(!is_taken(dir.path())?, "it does without {missing}");
    }
    fs::write(whole.path().join(MADE[0]), "other bytes")?;
    ensure!(!is_taken(whole.path())?, "other bytes than were made");
    let more = made(&MADE)?;
    fs::write(more.path().join("other_1_amd64.deb"), "")?;
    ensure!(!is_taken(more.path())?, "one that has no sum");
    Ok(())
}

#[test]
fn a_release_bears_one_version_everywhere() -> Result<()> {
    let script = script(&text(RELEASE)?, "TAG: ${{ github.ref_name }}")?;
    let dir = tempfile::tempdir()?;
    fs::copy(root().join("Cargo.toml"), dir.path().join("Cargo.toml"))?;
    let version = env!("CARGO_PKG_VERSION");
    let log = |head: &str| {
        fs::write(
            dir.path().join("CHANGELOG.md"),
            format!("# Changes\n\n{head}\n"),
        )
    };
    let is_taken = |tag: &str| -> Result<bool> {
        Ok(run(&script, dir.path(), &[("TAG", tag)])?.status.success())
    };
    let tag = format!("v{version}");
    log(&format!("## [{version}] - 2026-11-27"))?;
    ensure!(is_taken(&tag)?, "the tag of this workspace is refused");
    ensure!(!is_taken("v99.0.0")?, "another version's tag");
    ensure!(!is_taken(version)?, "a tag without its v");
    log("## [Unreleased]")?;
    ensure!(!is_taken(&tag)?, "nothing says what has changed");
    let own = run(&script, root(), &[("TAG", &tag)])?;
    ensure!(
        own.status.success(),
        "this clone could be no release: {own:?}"
    );
    Ok(())
}

#[test]
fn a_draft_says_what_has_changed_since_the_last_one() -> Result<()> {
    let text = text(RELEASE)?;
    let (_, draft) = text.split_once("\n  draft:\n").context("no draft")?;
    let script = script(draft, "GH_TOKEN")?;
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let log = "# Changes\n\n## [Unreleased]\n\nlater\n\n## [9.1.0] - 2026-11-27\n\n- new\n\n## [9.0.0]\n\n- old\n";
    fs::write(at("CHANGELOG.md"), log)?;
    fs::create_dir(at("packages"))?;
    fs::write(at("packages/guard.deb"), "")?;
    // In the place of GitHub's: its arguments are written down.
    fs::create_dir(at("bin"))?;
    fs::write(at("bin/gh"), "#!/bin/sh\nprintf '%s\\n' \"$@\" > told\n")?;
    fs::set_permissions(at("bin/gh"), fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH")?);
    let output = run(&script, dir.path(), &[("TAG", "v9.1.0"), ("PATH", &path)])?;
    ensure!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(at("notes.md"))?, "\n- new\n\n");
    let told = fs::read_to_string(at("told"))?;
    for word in [
        "v9.1.0",
        "--draft",
        "--verify-tag",
        "guard 9.1.0",
        "packages/guard.deb",
    ] {
        ensure!(told.lines().any(|line| line == word), "{word}: {told}");
    }
    Ok(())
}
