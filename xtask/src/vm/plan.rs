//! Which suites run where, and together with which.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use super::kernels::Kernel;
use super::machine::Machine;
use super::report::{Outcome, Status};
use super::snapshot::Maker;
use super::suites::{Kind, Suite, in_brief, kinds, part, runs_on, takes_long};
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
            skips: Vec::new(),
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
                skips: Vec::new(),
            }),
        }
    }
    Ok(selected)
}

/// Prints them, with their machines.
pub(super) fn list(suites: &[Suite]) -> Result<()> {
    for suite in suites {
        let kinds: Vec<_> = kinds(&suite.name).iter().map(|kind| kind.name()).collect();
        println!("{:<14} {}", suite.name, kinds.join(", "));
    }
    Ok(())
}

/// What is left out of what could run.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Only this kind of machine.
    pub(super) only: Option<Kind>,
    /// Only what is said nowhere else.
    pub(super) brief: bool,
}

impl Limits {
    fn allow(self, suite: &str, kind: Kind, kernel: Kernel) -> bool {
        kind.exists_with(kernel)
            && self.only.is_none_or(|only| only == kind)
            && (!self.brief || in_brief(suite, kind, kernel))
    }
}

/// The kinds of machines with a kernel that are to be made: for a shell, one.
pub(super) fn kinds_of(suites: &[Suite], kernel: Kernel, limits: Limits, shell: bool) -> Vec<Kind> {
    if shell {
        return vec![limits.only.unwrap_or(Kind::Plain)];
    }
    let in_kinds = |suite: &Suite| {
        let kinds = kinds(&suite.name).into_iter();
        let allowed = kinds.filter(|kind| limits.allow(&suite.name, *kind, kernel));
        allowed.collect::<Vec<_>>()
    };
    suites.iter().flat_map(in_kinds).collect()
}

/// Whether any machine is to run a suite.
pub(super) fn runs_somewhere(suite: &Suite, kernels: &[Kernel], limits: Limits) -> bool {
    let suite = std::slice::from_ref(suite);
    kernels
        .iter()
        .any(|kernel| !kinds_of(suite, *kernel, limits, false).is_empty())
}

/// A kind of machine with one kernel.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) maker: &'a Maker<'a>,
    pub(super) kind: Kind,
}

/// What is to be run where; whoever has a machine takes the longest of what it can run.
pub(super) struct Queue<'a>(Mutex<Vec<Group<'a>>>);

struct Group<'a> {
    place: Place<'a>,
    /// With the seconds that each may take; the longest last.
    suites: Vec<(f64, Suite)>,
    machines: usize,
}

/// One who runs suites, and for which group.
#[derive(Default)]
pub(super) struct Worker(Option<usize>);

impl<'a> Queue<'a> {
    pub(super) fn new(
        makers: &'a [Maker<'a>],
        suites: &[Suite],
        limits: Limits,
        times: &Times,
    ) -> Self {
        let mut groups = Vec::new();
        for maker in makers {
            let mut by_kind: BTreeMap<Kind, Vec<(f64, Suite)>> = BTreeMap::new();
            let kernel = maker.image.kernel;
            for suite in suites.iter().filter(|suite| runs_on(&suite.name, kernel)) {
                for kind in kinds(&suite.name) {
                    let fits = kind.contents() == maker.image.contents;
                    if fits && limits.allow(&suite.name, kind, kernel) {
                        let time = times.of(kernel.name(), kind, &suite.name);
                        by_kind
                            .entry(kind)
                            .or_default()
                            .push((time, part(kind, suite, limits.brief)));
                    }
                }
            }
            groups.extend(by_kind.into_iter().map(|(kind, mut suites)| {
                suites.sort_by(|a, b| a.0.total_cmp(&b.0));
                let place = Place { maker, kind };
                Group {
                    place,
                    suites,
                    machines: 0,
                }
            }));
        }
        Self(Mutex::new(groups))
    }

    /// How many kinds of machines it takes.
    pub(super) fn places(&self) -> usize {
        self.groups().len()
    }

    /// What a worker is to run next. It keeps its machine for as long as that has something to run.
    pub(super) fn next(
        &self,
        worker: &mut Worker,
        machine: &mut Option<Machine>,
    ) -> Option<(Place<'a>, Suite)> {
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
#[derive(Default)]
pub(super) struct Times(BTreeMap<String, f64>);

impl Times {
    /// Nothing is known where that cannot be read.
    pub(super) fn read(cache: &Cache) -> Self {
        let text = fs::read(cache.path(TIMES)).unwrap_or_default();
        Self(serde_json::from_slice(&text).unwrap_or_default())
    }

    fn of(&self, kernel: &str, kind: Kind, suite: &str) -> f64 {
        let known = self.0.get(&key(kernel, kind, suite));
        let unknown = if takes_long(suite) { LONG } else { UNKNOWN };
        known.copied().unwrap_or(unknown)
    }

    /// Keeps what is known now. Losing it costs balance.
    pub(super) fn write(mut self, cache: &Cache, outcomes: &[Outcome]) {
        for outcome in outcomes.iter().filter(|o| o.status == Status::Passed) {
            self.0.insert(
                key(outcome.kernel, outcome.kind, &outcome.suite),
                outcome.seconds,
            );
        }
        if let Ok(text) = serde_json::to_vec_pretty(&self.0) {
            let _ = fs::write(cache.path(TIMES), text);
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
    fn a_machine_is_made_where_it_helps_most() {
        let at = |groups: &[(usize, f64)]| where_to_help(groups.iter().copied());
        assert_eq!(at(&[(0, 30.0), (0, 300.0)]), Some(1));
        assert_eq!(at(&[(0, 30.0), (1, 300.0)]), Some(0));
        assert_eq!(at(&[(0, 0.0), (1, 300.0), (1, 90.0)]), Some(1));
        assert_eq!(at(&[(0, 0.0), (1, 20.0)]), None);
    }
}
