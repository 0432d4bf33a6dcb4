//! Which suites run where, and together with which.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Error, Result, bail, ensure};

use super::kernels::Kernel;
use super::machine::Machine;
use super::payload::TestsProgram;
use super::report::{Ran, SuiteStatus};
use super::snapshot::Maker;
use super::suites::{GATE, Kind, Suite, kinds, part, runs_on, takes_long};
use crate::cache::Cache;

/// What a suite takes of which nothing is known, in seconds.
const UNKNOWN: f64 = 30.0;
/// The same of those that take long everywhere.
const LONG: f64 = 150.0;
/// A second machine for what the first could do pays from so many seconds on: it has to boot.
const ANOTHER_MACHINE: f64 = 40.0;
/// In the cache: how long each suite took last.
const TIMES: &str = "times.json";

/// The suites that were asked for; all, where none was.
pub(super) fn select(wanted: &[String]) -> Result<Vec<Suite>> {
    let names = crate::test::suites()?;
    let mut selected: Vec<Suite> = Vec::new();
    if wanted.is_empty() {
        let all = names.into_iter().map(|name| Suite {
            name,
            filters: Vec::new(),
            within: &[],
            without: &[],
        });
        return Ok(all.collect());
    }
    for wanted in wanted {
        let (name, filter) = wanted.split_once("::").unwrap_or((wanted, ""));
        if !names.iter().any(|suite| suite == name) {
            bail!("no suite is called {name}; there are {}", names.join(", "));
        }
        let filter = (!filter.is_empty()).then(|| filter.to_owned());
        match selected.iter_mut().find(|suite| suite.name == name) {
            // Who asks for all of it and for a part gets all.
            Some(suite) if filter.is_none() => suite.filters.clear(),
            Some(suite) if suite.filters.is_empty() => {}
            Some(suite) => suite.filters.extend(filter),
            None => selected.push(Suite {
                name: name.to_owned(),
                filters: filter.into_iter().collect(),
                within: &[],
                without: &[],
            }),
        }
    }
    Ok(selected)
}

/// A suite, or a part of it, in a kind of machine with one kernel.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) kernel: Kernel,
    pub(super) kind: Kind,
    pub(super) suite: Suite,
}

impl Cell {
    /// What it is called where it is kept how long it took.
    fn key(&self) -> String {
        key(self.kernel.name(), self.kind, &self.suite.name)
    }

    /// How long it takes as far as anybody knows without having run it, in seconds.
    fn weight(&self) -> f64 {
        if takes_long(&self.suite.name) {
            LONG
        } else {
            UNKNOWN
        }
    }
}

/// Where suites run, of some kernels, in one kind of machine or in all.
pub(super) fn cells(suites: &[Suite], kernels: &[Kernel], only: Option<Kind>) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &kernel in kernels {
        for suite in suites.iter().filter(|suite| runs_on(&suite.name, kernel)) {
            for kind in kinds(&suite.name) {
                if kind.exists_with(kernel) && only.is_none_or(|only| only == kind) {
                    let suite = part(kind, suite);
                    cells.push(Cell {
                        kernel,
                        kind,
                        suite,
                    });
                }
            }
        }
    }
    cells
}

/// What a machine is called.
#[derive(Clone, Copy)]
pub(super) struct MachineName {
    pub(super) kernel: &'static str,
    pub(super) kind: &'static str,
}

/// The kinds of machines, in order.
pub(super) fn machines(cells: &[Cell]) -> Vec<MachineName> {
    let mut machines: Vec<_> = cells.iter().map(|cell| (cell.kernel, cell.kind)).collect();
    machines.sort_unstable();
    machines.dedup();
    let name = |(kernel, kind): (Kernel, Kind)| MachineName {
        kernel: kernel.name(),
        kind: kind.name(),
    };
    machines.into_iter().map(name).collect()
}

/// How many tests of these suites do not run in any of these places.
pub(super) fn left_out(cells: &[Cell], tests: &TestsProgram) -> usize {
    let suites: BTreeSet<_> = cells.iter().map(|cell| &*cell.suite.name).collect();
    let all = suites.into_iter().flat_map(|suite| {
        let of_it = cells.iter().filter(move |cell| cell.suite.name == suite);
        let runs = move |test: &&str| of_it.clone().any(|cell| cell.suite.has(test));
        tests.tests_in(suite).filter(move |test| !runs(test))
    });
    all.count()
}

/// What the gate runs.
pub(super) fn of_the_gate(kernel: Kernel) -> Vec<Cell> {
    let cell = |choice: &super::suites::GateSuite| {
        let tests = choice.tests.iter();
        let suite = Suite {
            name: choice.suite.to_owned(),
            filters: tests.map(|&test| test.to_owned()).collect(),
            within: &[],
            without: &[],
        };
        let kind = kinds(choice.suite).into_iter().next();
        Cell {
            kernel,
            kind: kind.unwrap_or(Kind::Plain),
            suite,
        }
    };
    GATE.iter().map(cell).collect()
}

/// One of so many parts of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    which: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "expected K/N, as in 1/3: the first of three parts";
        let (which, of) = text.split_once('/').context(expected)?;
        let number = |text: &str| text.parse::<usize>().context(expected);
        let (which, of) = (number(which)?, number(of)?);
        ensure!((1..=of).contains(&which), "{expected}");
        Ok(Self { which, of })
    }
}

impl Shard {
    /// Its share: the same on every machine, whatever that knows, and about as long as the others'.
    pub(super) fn share(self, cells: Vec<Cell>) -> Vec<Cell> {
        // What runs in the same kind of machine stays together, for each has to boot: but where that is most of all.
        let mut order: Vec<_> = cells.into_iter().enumerate().collect();
        order.sort_by(|(_, a), (_, b)| b.weight().total_cmp(&a.weight()));
        let mut loads = vec![0.0_f64; self.of];
        let mut share = Vec::new();
        for (at, cell) in order {
            let lightest = (0..self.of).min_by(|a, b| loads[*a].total_cmp(&loads[*b]));
            let lightest = lightest.unwrap_or_default();
            loads[lightest] += cell.weight();
            if lightest + 1 == self.which {
                share.push((at, cell));
            }
        }
        share.sort_by_key(|(at, _)| *at);
        share.into_iter().map(|(_, cell)| cell).collect()
    }
}

/// A kind of machine with one kernel.
#[derive(Clone, Copy)]
pub(super) struct MachineSpec<'a> {
    pub(super) maker: &'a Maker<'a>,
    pub(super) kind: Kind,
}

/// What is to be run where; whoever has a machine takes the longest of what it can run.
pub(super) struct Queue<'a>(Mutex<Vec<Group<'a>>>);

struct Group<'a> {
    place: MachineSpec<'a>,
    /// With the seconds that each may take; the longest last.
    suites: Vec<(f64, Suite)>,
    machines: usize,
}

/// One who runs suites, and for which group.
#[derive(Default)]
pub(super) struct Worker(Option<usize>);

impl<'a> Queue<'a> {
    pub(super) fn new(makers: &'a [Maker<'a>], cells: &[Cell], times: &Times) -> Self {
        let mut groups = Vec::new();
        for maker in makers {
            let image = maker.image;
            let mut by_kind: BTreeMap<Kind, Vec<(f64, Suite)>> = BTreeMap::new();
            for cell in cells {
                if cell.kernel == image.kernel && cell.kind.contents() == image.contents {
                    let suites = by_kind.entry(cell.kind).or_default();
                    suites.push((times.of(cell), cell.suite.clone()));
                }
            }
            groups.extend(by_kind.into_iter().map(|(kind, mut suites)| {
                suites.sort_by(|a, b| a.0.total_cmp(&b.0));
                let place = MachineSpec { maker, kind };
                Group {
                    place,
                    suites,
                    machines: 0,
                }
            }));
        }
        Self(Mutex::new(groups))
    }

    /// What a worker is to run next. It keeps its machine for as long as that has something to run.
    pub(super) fn next(
        &self,
        worker: &mut Worker,
        machine: &mut Option<Machine>,
    ) -> Option<(MachineSpec<'a>, Suite)> {
        let mut groups = self.groups();
        let at = match worker.0 {
            Some(mine) if !groups[mine].suites.is_empty() => mine,
            mine => {
                *machine = None;
                if let Some(mine) = mine {
                    groups[mine].machines -= 1;
                }
                worker.0 = where_to_help(groups.iter().map(|group| (group.machines, group.left())));
                groups[worker.0?].machines += 1;
                worker.0?
            }
        };
        let group = &mut groups[at];
        let (_, suite) = group.suites.pop()?;
        Some((group.place, suite))
    }

    fn groups(&self) -> MutexGuard<'_, Vec<Group<'a>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group<'_> {
    fn left(&self) -> f64 {
        self.suites.iter().map(|(time, _)| time).sum()
    }
}

/// Of groups with so many machines and so many seconds left, the one that another machine helps most.
fn where_to_help(groups: impl Iterator<Item = (usize, f64)>) -> Option<usize> {
    let worth =
        |(machines, left): (usize, f64)| left > 0.0 && (machines == 0 || left > ANOTHER_MACHINE);
    let left = |(machines, left): (usize, f64)| (machines == 0, left / (machines + 1) as f64);
    groups
        .enumerate()
        .filter(|(_, group)| worth(*group))
        .max_by(|(_, a), (_, b)| left(*a).partial_cmp(&left(*b)).unwrap_or(Ordering::Equal))
        .map(|(at, _)| at)
}

/// How long suites took, in seconds.
pub(super) struct Times(BTreeMap<String, f64>);

impl Times {
    /// Nothing is known where that cannot be read.
    pub(super) fn read(cache: &Cache) -> Self {
        let text = fs::read(cache.path(TIMES)).unwrap_or_default();
        Self(serde_json::from_slice(&text).unwrap_or_default())
    }

    /// Of what the gate runs: of a suite that is less than what [`Times::read`] knows.
    pub(super) fn of_the_gate(kernel: Kernel) -> Self {
        let parts = GATE.iter().zip(of_the_gate(kernel));
        let times = parts.map(|(part, cell)| (cell.key(), f64::from(part.seconds)));
        Self(times.collect())
    }

    fn of(&self, cell: &Cell) -> f64 {
        let known = self.0.get(&cell.key());
        known.copied().unwrap_or_else(|| cell.weight())
    }

    /// Keeps what is known now. Losing it costs balance.
    pub(super) fn write(mut self, cache: &Cache, all: &[Ran]) {
        for ran in all.iter().filter(|ran| ran.status() == SuiteStatus::Passed) {
            self.0
                .insert(key(ran.kernel, ran.kind, &ran.suite), ran.seconds);
        }
        if let Ok(text) = serde_json::to_string_pretty(&self.0) {
            // Whole: another run may read it.
            let _ = super::matrix::write(&cache.path(TIMES), &text);
        }
    }
}

fn key(kernel: &str, kind: Kind, suite: &str) -> String {
    format!("{kernel} {} {suite}", kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_of_it() -> Result<()> {
        let all = cells(&select(&[])?, &Kernel::ALL, None);
        let name = |cell: &Cell| {
            let (kernel, kind) = (cell.kernel.name(), cell.kind.name());
            format!("{kernel} {kind} {}", cell.suite.name)
        };
        let mut seen = BTreeSet::new();
        let mut heaviest: f64 = 0.0;
        for shard in ["1/3", "2/3", "3/3"] {
            let share = Shard::from_str(shard)?.share(all.clone());
            heaviest = heaviest.max(share.iter().map(Cell::weight).sum());
            for cell in share {
                assert!(seen.insert(name(&cell)), "{} is in two", name(&cell));
            }
        }
        assert_eq!(seen, all.iter().map(name).collect());
        let whole: f64 = all.iter().map(Cell::weight).sum();
        assert!(heaviest < whole * 0.4, "{heaviest} of {whole}");
        Ok(())
    }

    #[test]
    fn a_shard_is_one_of_so_many() {
        assert!(Shard::from_str("3/3").is_ok());
        for wrong in ["", "1", "0/3", "4/3", "a/b", "1/0"] {
            assert!(Shard::from_str(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_gate_names_tests_that_there_are() -> Result<()> {
        for cell in of_the_gate(Kernel::V6_12) {
            let name = &cell.suite.name;
            let tests = super::super::sources::tests_in(name)?;
            assert!(!tests.is_empty(), "{name}");
            for filter in &cell.suite.filters {
                let inside = |test: &String| test.contains(&format!("{name}::{filter}"));
                assert!(tests.iter().any(inside), "{name}::{filter}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_gate_knows_how_long_each_of_its_parts_takes() {
        let times = Times::of_the_gate(Kernel::V6_12);
        for (part, cell) in GATE.iter().zip(of_the_gate(Kernel::V6_12)) {
            assert_eq!(times.of(&cell), f64::from(part.seconds), "{}", part.suite);
        }
    }

    #[test]
    fn a_machine_is_made_where_it_helps_most() {
        let at = |groups: &[(usize, f64)]| where_to_help(groups.iter().copied());
        assert_eq!(at(&[(0, 30.0), (0, 300.0)]), Some(1));
        assert_eq!(at(&[(0, 30.0), (1, 300.0)]), Some(0));
        assert_eq!(at(&[(0, 0.0), (1, 300.0), (1, 90.0)]), Some(1));
        assert_eq!(at(&[(0, 0.0), (1, 20.0)]), None);
    }
}
