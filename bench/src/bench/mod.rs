//! `cargo xtask bench`: what the guard costs, beside no guard and beside peers.
//!
//! Both sides of each comparison run in turns, in many short rounds; a comparison is the median of the rounds' ratios. No number
//! fails a run, but for the ratios of `gate`.

mod client;
mod connects;
mod figure;
mod gate;
mod http;
mod names;
mod postgres;
mod prefixes;
mod starts;

use std::fs;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::json;
use xtask::lab;
use xtask::shell::{say, target};

use figure::Figure;

/// `cargo xtask bench`
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Fewer rounds: minutes become one, and numbers rough
    #[arg(long)]
    quick: bool,
    /// Only this group of figures; may be given more than once
    #[arg(long, value_name = "NAME", value_parser = GROUPS.map(|(name, _)| name))]
    only: Vec<String>,
    /// Only the ten ratios that are measured with each change, in twenty seconds; fails where one is off by more than a third,
    /// twice, from what docs/performance.md says
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    gate: bool,
}

/// Number of rounds.
struct Plan {
    /// Of what takes milliseconds.
    rounds: usize,
    /// Of what takes longer.
    few: usize,
}

type Group = fn(&Plan) -> Result<Vec<Figure>>;

const GROUPS: [(&str, Group); 6] = [
    ("connect", connects::connects),
    ("http", http::http),
    ("postgres", postgres::postgres),
    ("names", names::names),
    ("start", starts::start),
    ("memory", starts::memory),
];

/// Measures, prints a table, and writes each round's numbers into target/bench.json.
///
/// # Errors
///
/// That this machine cannot, or what could not be measured; the rest is printed all the same.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    if args.gate {
        return gate::gate();
    }
    guard_lab::bins::look_in(lab::prepare_as_released()?);
    lab::obtain(&[("nft", "nftables")], "guard is compared with it")?;
    let plan = if args.quick {
        Plan { rounds: 7, few: 3 }
    } else {
        Plan {
            rounds: 41,
            few: 11,
        }
    };
    let before = load();
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    let is_chosen = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    for (name, group) in GROUPS.iter().filter(|(name, _)| is_chosen(name)) {
        say(&format!("measuring {name}"));
        match group(&plan) {
            Ok(more) => figures.extend(more),
            Err(error) => {
                say(&format!("cannot measure {name}: {error:#}"));
                failed.push(*name);
            }
        }
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    let (kernel, after) = (kernel.trim(), load());
    println!(
        "\nLinux {kernel}, {cpus} CPUs, load average {before} before and {after} after; medians of {} rounds\n",
        plan.rounds
    );
    println!("| figure | guard | beside | ratio |\n|---|---|---|---|");
    figures.iter().for_each(Figure::print);
    let rows = figures.iter().map(|figure| {
        let other = figure.other.as_ref().map(|(name, other)| json!({"name": name, "rounds": other.0}));
        json!({"name": figure.name, "unit": format!("{:?}", figure.unit), "guard": figure.guard.0, "other": other})
    });
    let file = target().join("bench.json");
    fs::write(&file, json!(rows.collect::<Vec<_>>()).to_string())
        .with_context(|| format!("cannot write {}", file.display()))?;
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
