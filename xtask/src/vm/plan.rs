//! Which suites run where, and together with which.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, bail};

use super::cache::Cache;
use super::payload::Tests;
use super::report::{Outcome, Status};
use super::run::{Batch, Suite};
use super::snapshot::Maker;
use super::suites::{Kind, kinds, runs_on};

/// What a suite takes of which nothing is known, in seconds.
const UNKNOWN: f64 = 30.0;
/// In the cache: how long each suite took last.
const TIMES: &str = "times.json";

/// The suites that were asked for; all, where none was.
pub(super) fn select(tests: &Tests, wanted: &[String]) -> Result<Vec<Suite>> {
    let mut selected: Vec<Suite> = Vec::new();
    if wanted.is_empty() {
        let all = tests.suites().map(|name| Suite {
            name: name.to_owned(),
            filters: Vec::new(),
        });
        return Ok(all.collect());
    }
    for wanted in wanted {
        let (name, filter) = wanted.split_once("::").unwrap_or((wanted, ""));
        if !tests.suites().any(|suite| suite == name) {
            let names: Vec<_> = tests.suites().collect();
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
            }),
        }
    }
    Ok(selected)
}

/// Prints them, with their machines and their tests.
pub(super) fn list(tests: &Tests, suites: &[Suite]) -> Result<()> {
    for suite in suites {
        let kinds: Vec<_> = kinds(&suite.name).iter().map(|kind| kind.name()).collect();
        println!("{} ({})", suite.name, kinds.join(", "));
        for test in tests.tests_in(&suite.name)? {
            println!("    {}::{test}", suite.name);
        }
    }
    Ok(())
}

/// The kinds of machines that are to be made: for a shell, one.
pub(super) fn kinds_of(suites: &[Suite], only: Option<Kind>, shell: bool) -> Vec<Kind> {
    if shell {
        return vec![only.unwrap_or(Kind::Plain)];
    }
    let all = suites.iter().flat_map(|suite| kinds(&suite.name));
    all.filter(|kind| only.is_none_or(|only| only == *kind))
        .collect()
}

/// Shares the suites out to machines; what is to be taken first comes last.
pub(super) fn batches<'a>(
    makers: &'a [Maker<'a>],
    suites: &[Suite],
    only: Option<Kind>,
    jobs: usize,
    times: &Times,
) -> Vec<Batch<'a>> {
    let mut batches = Vec::new();
    for maker in makers {
        let mut by_kind: BTreeMap<Kind, Vec<Suite>> = BTreeMap::new();
        for suite in suites {
            for kind in kinds(&suite.name) {
                let wanted = only.is_none_or(|only| only == kind);
                let exists = kind.contents() == maker.image.contents
                    && kind.exists_with(maker.image.kernel)
                    && runs_on(&suite.name, maker.image.kernel);
                if wanted && exists {
                    by_kind.entry(kind).or_default().push(suite.clone());
                }
            }
        }
        for (kind, suites) in by_kind {
            // Another machine is another boot: worth it for what takes long.
            let machines = if kind == Kind::Plain {
                jobs.min(suites.len())
            } else {
                1
            };
            let shares = share(suites, machines, |suite| {
                times.of(maker.image.kernel.name(), kind, &suite.name)
            });
            batches.extend(shares.into_iter().map(|(_, suites)| Batch {
                maker,
                kind,
                suites,
            }));
        }
    }
    let time = |batch: &Batch<'_>| -> f64 {
        let kernel = batch.maker.image.kernel.name();
        batch
            .suites
            .iter()
            .map(|suite| times.of(kernel, batch.kind, &suite.name))
            .sum()
    };
    batches.sort_by(|a, b| time(a).total_cmp(&time(b)));
    batches
}

/// Longest first, each to whom has the least.
fn share<T>(mut items: Vec<T>, parts: usize, time: impl Fn(&T) -> f64) -> Vec<(f64, Vec<T>)> {
    let mut shares: Vec<(f64, Vec<T>)> = (0..parts).map(|_| (0.0, Vec::new())).collect();
    items.sort_by(|a, b| time(b).total_cmp(&time(a)));
    for item in items {
        let least = shares.iter_mut().min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((sum, share)) = least {
            *sum += time(&item);
            share.push(item);
        }
    }
    shares
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
        known.copied().unwrap_or(UNKNOWN)
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
    fn shares_are_even() {
        let shares = share(vec![1.0, 2.0, 3.0, 4.0], 2, |time| *time);
        let sums: Vec<_> = shares.iter().map(|(sum, _)| *sum).collect();
        assert_eq!(sums, [5.0, 5.0]);
    }
}
