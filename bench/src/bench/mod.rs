//! `cargo xtask bench`: what the guard costs, measured beside having none and beside its peers.
//!
//! Both sides of each comparison run in one go and in turns, in many short rounds; a comparison is the median
//! of the rounds' ratios. Nothing here fails because of a number, the table says what was reached; but for the ratios of
//! `gate`.

mod adopting;
mod answer;
mod building;
mod client;
mod connects;
mod containment;
mod crowd;
mod discover;
mod figure;
mod fleet;
mod gate;
mod http;
mod http_peers;
mod http_sides;
mod machine;
mod machines;
mod memory;
mod name_server;
mod names;
mod pages;
mod peers;
mod pgbench;
mod policies;
mod postgres;
mod postgres_sides;
mod prefixes;
mod report;
mod rounds;
mod samples;
mod shown;
mod signatures;
mod stalls;
mod starts;
mod traffic;
mod waiting;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use figure::Figure;
use machine::Machine;
use prefixes::Prefixes;
use xtask::lab;
use xtask::shell::{say, target};

/// `cargo xtask bench`
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Fewer rounds: minutes become one, and numbers rough
    #[arg(long)]
    quick: bool,
    /// Only this group of figures (`names` brings `tls`); may be given more than once
    #[arg(long, value_name = "NAME", value_parser = NAMES)]
    only: Vec<String>,
    /// Measure the programs of this directory, the lab's among them, and build and install nothing
    #[arg(long, value_name = "DIR", conflicts_with = "gate")]
    programs: Option<PathBuf>,
    /// Only the ten ratios that are measured with each change, in twenty seconds; fails where one is off by more than a third,
    /// twice, from what docs/performance.md says
    #[arg(long, conflicts_with_all = ["quick", "only", "json"])]
    gate: bool,
    /// Where to write the figures as JSON [default: target/bench.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How thoroughly to measure.
struct Plan {
    /// Of what takes milliseconds.
    rounds: usize,
    /// Of what takes longer.
    few: usize,
    /// Of what takes seconds.
    fewest: usize,
    /// Whether to have less of what is large.
    quick: bool,
}

type Group = fn(&Plan) -> Result<Vec<Figure>>;

const NAMES: [&str; 25] = [
    "connect-10",
    "connect-100k",
    "throughput",
    "tls",
    "egress",
    "http",
    "postgres",
    "connect-program",
    "answer",
    "run",
    "start",
    "adopting",
    "memory",
    "policy-100k",
    "policy-1m",
    "stall",
    "crowd",
    "waiting",
    "containment",
    "building",
    "names",
    "discover",
    "signatures",
    "fleet",
    "machines",
];

/// Parts of another group, which comes with them: what stands between a session and a name is measured in one run.
const PARTS: [(&str, &str); 1] = [("tls", "names")];

const GROUPS: [Group; NAMES.len()] = [
    |plan| connects::connects(plan, Prefixes::TEN, "10 rules"),
    |plan| connects::connects(plan, Prefixes::MANY, "100,000 prefixes"),
    traffic::throughput,
    shown::names,
    traffic::egress,
    http::http,
    postgres::postgres,
    traffic::connect,
    answer::answer,
    starts::run,
    starts::guardd,
    adopting::adopting,
    starts::memory,
    policies::large,
    policies::largest,
    stalls::stalls,
    crowd::crowd,
    waiting::waiting,
    containment::containment,
    building::building,
    names::names,
    discover::discover,
    signatures::signatures,
    fleet::fleet,
    machines::machines,
];

/// Measures, prints the table and writes it as JSON.
///
/// # Errors
///
/// That this machine cannot, or what could not be measured; what was, is printed all the same.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    if args.gate {
        return gate::gate();
    }
    match &args.programs {
        Some(programs) => guard_lab::bins::look_in(programs.clone()),
        None => {
            guard_lab::bins::look_in(lab::prepare_as_released()?);
            lab::obtain(&[("nft", "nftables")], "guard is compared with it")?;
        }
    }
    let plan = Plan::of(args);
    let mut machine = Machine::before(plan.rounds);
    let mut figures = Vec::new();
    let mut failed = Vec::new();
    let chosen =
        |name: &str| args.only.is_empty() || args.only.iter().any(|only| brings(only, name));
    for (name, group) in NAMES.iter().zip(GROUPS).filter(|(name, _)| chosen(name)) {
        say(&format!("measuring {name}"));
        match group(&plan).with_context(|| format!("cannot measure {name}")) {
            Ok(more) => figures.extend(more),
            Err(error) => {
                say(&format!("{error:#}"));
                failed.push(*name);
            }
        }
    }
    machine.after();
    report::print(&figures, &machine);
    let file = args
        .json
        .clone()
        .unwrap_or_else(|| target().join("bench.json"));
    report::write(&figures, &machine, &file)?;
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

/// Whether who asks for a group gets that one.
fn brings(asked: &str, group: &str) -> bool {
    let mut parts = PARTS.iter();
    asked == group || parts.any(|(part, of)| *part == group && *of == asked)
}

impl Plan {
    fn of(args: &BenchArgs) -> Self {
        let [rounds, few, fewest] = if args.quick { [7, 5, 3] } else { [41, 15, 5] };
        Self {
            rounds,
            few,
            fewest,
            quick: args.quick,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_brings_itself_and_its_parts() {
        assert!(brings("names", "names") && brings("names", "tls"));
        assert!(brings("tls", "tls") && !brings("tls", "names"));
        assert!(!brings("egress", "tls"));
        let are_groups = |(part, of): &(&str, &str)| NAMES.contains(part) && NAMES.contains(of);
        assert!(PARTS.iter().all(are_groups));
    }
}
