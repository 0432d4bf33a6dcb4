//! `cargo xtask promises`: what README and docs promise, and whether it was seen to be true.
//!
//! Each promise is a sentence of a document, and what shows it: tests on this kernel, or in machines. A sentence that does not stand
//! there any more is an error, and so is a test that is not there: neither changes without the other. Beside these, each block of
//! commands in the documents is run as it stands or is named with the reason why not, and each figure has its day.

mod blocks;
mod figures;
pub(crate) mod last;
mod list;
mod pictures;
mod place;
#[cfg(test)]
mod taken;

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::shell::{root, target};
use crate::test::outcome::Outcome;
use crate::{lab, test, vm};
use last::{Last, commit};
use list::ALL;

/// `cargo xtask promises`
#[derive(Args)]
pub(crate) struct PromisesArgs {
    /// Also those that machines show, which takes an hour
    #[arg(long)]
    all: bool,
    /// Only print them, with when each was last seen true; the blocks of commands, and the figures
    #[arg(long, conflicts_with = "all")]
    list: bool,
    /// Write what the documents show of guard as it comes now, and take their pictures
    #[arg(long, conflicts_with_all = ["all", "list", "names"])]
    write: bool,
    /// Only those whose names begin so
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// What a document promises.
struct Promise {
    name: &'static str,
    /// The document, as seen from the workspace.
    file: &'static str,
    /// What it says there; any blanks stand for any others.
    says: &'static str,
    shown: Shown,
}

/// What shows it: tests, or what their names begin with.
enum Shown {
    /// On this kernel.
    Here(&'static [&'static str]),
    /// In machines of `cargo xtask vm`.
    InMachines(&'static [&'static str]),
}

/// The table as a run of the gate leaves it, below `target/ci`.
const TABLE: &str = "promises.txt";

/// Shown by these beside tests: the ratios that are measured with each change, and demos.
pub(crate) const RATIOS: &str = "bench::ratios";
const DEMO: &str = "demo::demo";
const FLEET: &str = "demo::fleet";
/// The tests that write what documents show, and the environment variable by which they do so: `documents::recording`.
const RECORDINGS: &str = "documents::recording::";
const WRITE: &str = "GUARD_LAB_WRITE_DOCUMENTS";

/// Runs what shows them, and prints a table.
///
/// # Errors
///
/// That something could not be run, or that one of them is not true.
pub(crate) fn promises(args: &PromisesArgs) -> Result<ExitCode> {
    if args.write {
        let recorded = test::these_with(RECORDINGS, &[(WRITE, root())])?;
        ensure!(recorded == ExitCode::SUCCESS, "{RECORDINGS} failed");
        return pictures::write();
    }
    let chosen = chosen(args)?;
    let cache = Cache::open()?;
    let mut last = Last::read(&cache);
    let (mut is_false, mut unseen) = (Vec::new(), Vec::new());
    if !args.list {
        let outcome = run(&chosen, args)?;
        outcome.print();
        let _lock = Last::lock(&cache)?;
        last = Last::read(&cache);
        is_false = last.take_in(&chosen, &outcome, &commit()?);
        // Without `--all` what takes machines is left out, unless it was named.
        if args.all {
            unseen = not_shown(&chosen, &outcome);
        }
        last.write(&cache)?;
        write_table(&last)?;
    }
    println!();
    for promise in &chosen {
        println!("{}", last.row(promise)?);
    }
    if args.list && args.names.is_empty() {
        print_others();
    }
    let wrong = [blocks::problems()?, figures::problems()?].concat();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(is_false.is_empty(), "not true: {}", is_false.join(", "));
    ensure!(unseen.is_empty(), "nothing showed: {}", unseen.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// Those whose names begin as they were named; all where none was.
fn chosen(args: &PromisesArgs) -> Result<Vec<&'static Promise>> {
    let begins = |promise: &&Promise| {
        args.names
            .iter()
            .any(|name| promise.name.starts_with(&**name))
    };
    let chosen = ALL
        .iter()
        .filter(|promise| args.names.is_empty() || begins(promise));
    let chosen: Vec<&Promise> = chosen.collect();
    ensure!(
        !chosen.is_empty(),
        "no promise has such a name: see `cargo xtask promises --list`"
    );
    Ok(chosen)
}

/// The rows of what is promised beside sentences.
fn print_others() {
    println!("\nBlocks of commands:\n");
    for row in blocks::rows() {
        println!("{row}");
    }
    println!("\nFigures:\n");
    for row in figures::rows() {
        println!("{row}");
    }
}

/// Those of which nothing ran that shows them.
fn not_shown(all: &[&Promise], outcome: &Outcome) -> Vec<&'static str> {
    let unseen = all
        .iter()
        .filter(|promise| promise.is_true(outcome).is_none());
    unseen.map(|promise| promise.name).collect()
}

/// What all tests that ran say of them.
///
/// # Errors
///
/// Which promises nothing says any more, or are not true.
pub(crate) fn judge(outcome: &Outcome) -> Result<()> {
    let mut wrong = [blocks::problems()?, figures::problems()?].concat();
    let in_machines = vm::names_of_tests()?;
    for promise in ALL {
        // Demos are for people, and for each night.
        let is_demo = [DEMO, FLEET].iter().any(|demo| promise.tests() == [*demo]);
        let is_here = matches!(promise.shown, Shown::Here(_)) && !is_demo;
        if matches!(promise.shown, Shown::InMachines(_)) {
            let is_gone = |test: &&&str| !in_machines.iter().any(|name| name.starts_with(**test));
            let gone = promise.tests().iter().filter(is_gone);
            wrong.extend(gone.map(|test| format!("no test {test} shows {}", promise.name)));
        }
        match promise.is_true(outcome) {
            Some(false) => wrong.push(format!(
                "{} is not true: not all of {} passed",
                promise.name,
                promise.tests().join(", ")
            )),
            None if is_here => wrong.push(format!("nothing shows {}", promise.name)),
            _ => {}
        }
        wrong.extend(
            place::line(promise)
                .err()
                .map(|problem| problem.to_string()),
        );
    }
    ensure!(wrong.is_empty(), "promises: {}", wrong.join("; "));
    Ok(())
}

/// How the documents' figures are measured again.
#[cfg(test)]
pub(crate) fn measured_again() -> impl Iterator<Item = &'static str> {
    figures::again()
}

/// Where tests ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RanIn {
    /// On this kernel.
    Here,
    /// In machines of `cargo xtask vm`.
    Machines,
}

/// Keeps what a run of many tests, not all of which show something, says of them: those of which all has run, where it shows them.
///
/// # Errors
///
/// That it cannot be kept.
pub(crate) fn keep(outcome: &Outcome, place: RanIn) -> Result<()> {
    let cache = Cache::open()?;
    let _lock = Last::lock(&cache)?;
    let mut last = Last::read(&cache);
    let whole: Vec<&Promise> = ALL
        .iter()
        .filter(|promise| promise.is_whole(outcome, place))
        .collect();
    last.take_in(&whole, outcome, &commit()?);
    last.write(&cache)?;
    write_table(&last)
}

/// Leaves the table of all of them where CI keeps what a run leaves: the cache is this machine's.
fn write_table(last: &Last) -> Result<()> {
    let rows = ALL.iter().map(|promise| last.row(promise));
    let rows: Vec<_> = rows.collect::<Result<_>>()?;
    let file = target().join("ci").join(TABLE);
    fs::create_dir_all(file.parent().unwrap_or(&file))?;
    fs::write(&file, rows.join("\n") + "\n")
        .with_context(|| format!("cannot write {}", file.display()))
}

/// The name of a test, without where it has failed.
fn last_word(name: &str) -> &str {
    name.rsplit(' ').next().unwrap_or_default()
}

fn run(chosen: &[&Promise], args: &PromisesArgs) -> Result<Outcome> {
    let tests = |is_here: bool| -> Vec<String> {
        let shown = chosen
            .iter()
            .filter(|promise| matches!(promise.shown, Shown::Here(_)) == is_here);
        let tests = shown.flat_map(|promise| promise.tests());
        let tests: BTreeSet<_> = tests.map(|test| (*test).to_owned()).collect();
        tests.into_iter().collect()
    };
    let (mut here, machines) = (tests(true), tests(false));
    let mut outcome = Outcome::default();
    let mut wanted = |name: &str| {
        let before = here.len();
        here.retain(|test| test != name);
        here.len() < before
    };
    let ratios = wanted(RATIOS);
    let demos = [(DEMO, false), (FLEET, true)].map(|(name, fleet)| (wanted(name), name, fleet));
    if ratios {
        outcome += lab::gate_ratios(lab::build_ratios());
    }
    // They tell stories, which takes its time.
    for (_, name, fleet) in demos.into_iter().filter(|(is_wanted, ..)| *is_wanted) {
        if args.all || !args.names.is_empty() {
            outcome += Outcome::of(name, lab::demo(fleet));
        }
    }
    if !here.is_empty() {
        outcome += test::these(here)?;
    }
    // One that is named is meant, however long it takes.
    if !machines.is_empty() && (args.all || !args.names.is_empty()) {
        outcome += vm::these(machines, None)?;
    }
    Ok(outcome)
}

impl Promise {
    fn tests(&self) -> &'static [&'static str] {
        match self.shown {
            Shown::Here(tests) | Shown::InMachines(tests) => tests,
        }
    }

    /// Whether all of what shows it has run, where that shows it: a test of the same name elsewhere shows another machine.
    fn is_whole(&self, outcome: &Outcome, place: RanIn) -> bool {
        let shown = match self.shown {
            Shown::Here(_) => RanIn::Here,
            Shown::InMachines(_) => RanIn::Machines,
        };
        let names = || outcome.names.iter().chain(&outcome.failed);
        let ran = |test: &&str| {
            let mut names = names().map(|name| last_word(name));
            names.any(|name| name.starts_with(*test))
        };
        shown == place && self.tests().iter().all(ran)
    }

    /// Whether it was seen to be true; none where nothing that shows it has run.
    fn is_true(&self, outcome: &Outcome) -> Option<bool> {
        let begins = |test: &str, name: &String| name.starts_with(test);
        // Where each has failed stands before it.
        let failed_as = |name: &String| last_word(name).to_owned();
        let failed: Vec<String> = outcome.failed.iter().map(failed_as).collect();
        let failed = |test: &&str| failed.iter().any(|name| begins(test, name));
        let passed = |test: &&str| outcome.names.iter().any(|name| begins(test, name));
        let tests = self.tests();
        match (
            tests.iter().any(failed),
            tests.iter().filter(|test| passed(test)).count(),
        ) {
            (true, _) => Some(false),
            (false, 0) => None,
            (false, some) => Some(some == tests.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(names: &[&str], failed: &[&str]) -> Outcome {
        let owned = |name: &&str| (*name).to_owned();
        Outcome {
            names: names.iter().map(owned).collect(),
            failed: failed.iter().map(owned).collect(),
            ..Outcome::default()
        }
    }

    #[test]
    fn one_is_true_where_each_test_that_shows_it_has_passed() {
        let promise = Promise {
            name: "p",
            file: "README.md",
            says: "",
            shown: Shown::Here(&["holes::one", "watch::"]),
        };
        let seen = |names: &[&str], failed: &[&str]| promise.is_true(&outcome(names, failed));
        assert_eq!(seen(&["holes::one", "watch::keys"], &[]), Some(true));
        assert_eq!(seen(&["holes::one"], &[]), Some(false));
        assert_eq!(seen(&["other::one"], &[]), None);
        let failed = ["guard-lab::suites watch::other"];
        assert_eq!(seen(&["holes::one", "watch::keys"], &failed), Some(false));
    }

    #[test]
    fn one_is_kept_where_all_that_shows_it_ran_in_its_place() {
        let of = |shown| Promise {
            name: "p",
            file: "README.md",
            says: "",
            shown,
        };
        let tests: &[&str] = &["holes::one", "watch::"];
        let (here, machines) = (of(Shown::Here(tests)), of(Shown::InMachines(tests)));
        let whole = outcome(&["holes::one"], &["guard-lab::suites watch::keys"]);
        assert!(here.is_whole(&whole, RanIn::Here));
        assert!(machines.is_whole(&whole, RanIn::Machines));
        // The same tests on another kernel show nothing of this one.
        assert!(!here.is_whole(&whole, RanIn::Machines));
        assert!(!machines.is_whole(&whole, RanIn::Here));
        let half = outcome(&["holes::one"], &[]);
        assert!(!here.is_whole(&half, RanIn::Here));
        assert_eq!(not_shown(&[&here], &half), [""; 0]);
        assert_eq!(not_shown(&[&here], &outcome(&["other::one"], &[])), ["p"]);
    }

    /// A test that was given another name shows nothing any more, and the gate finds that out only at its end.
    #[test]
    fn what_shows_one_is_a_test() {
        let mut sources = String::new();
        let mut folders = ["guard-common", "guard-user", "tests", "xtask"]
            .map(|name| root().join(name))
            .to_vec();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    sources += &fs::read_to_string(path).unwrap();
                }
            }
        }
        // Its name as the gate hears it: a module comes first, never a crate.
        let is_there = |test: &str| {
            let (first, rest) = test.split_once("::").unwrap_or((test, ""));
            let last = rest.trim_end_matches("::").rsplit("::").next();
            let last = last.unwrap_or_default();
            let is = |what: &str| sources.contains(&format!("{what} {last}"));
            sources.contains(&format!("mod {first};")) && (last.is_empty() || is("fn") || is("mod"))
        };
        for promise in ALL {
            for test in promise.tests() {
                assert!(
                    [RATIOS, DEMO, FLEET].contains(test) || is_there(test),
                    "no test {test} shows {}",
                    promise.name
                );
            }
        }
    }

    /// What comes with the package is read before any document, and its sentences are promises as well.
    #[test]
    fn what_the_package_says_of_guard_is_promised() {
        const TELLING: [&str; 6] = ["at once", "by itself", "lasts", "pause", "waits", "watch"];
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut files = vec!["packaging/deb/control".to_owned()];
        for entry in fs::read_dir(root().join("policies")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            files.push(format!("policies/{name}"));
        }
        for file in files {
            let mut text = words(&fs::read_to_string(root().join(&file)).unwrap());
            for promise in ALL.iter().filter(|promise| promise.file == file) {
                text = text.replace(&words(promise.says), "");
            }
            for word in TELLING {
                assert!(!text.contains(word), "{file}: {word:?} is no promise's");
            }
        }
    }

    #[test]
    fn each_stands_where_it_is_said_to() {
        let mut names = BTreeSet::new();
        for promise in ALL {
            place::line(promise).unwrap();
            assert!(
                names.insert(promise.name),
                "{} is there twice",
                promise.name
            );
        }
    }
}
