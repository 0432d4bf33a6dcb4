//! What it costs to read over HTTP from a read-only destination: beside no guard, beside the same way through a process
//! that reads nothing of it, and beside peers that judge requests too.

use anyhow::Result;

use super::Plan;
use super::figure::{Figure, Target, Unit};
use super::http_sides::{HttpSides, Task};
use super::samples::Samples;

/// What is measured on each side, and what of it is to be reached beside no guard.
struct Row {
    name: &'static str,
    unit: Unit,
    task: Task,
    target: Target,
    /// What stands in the way.
    why: &'static str,
    rounds: fn(&Plan) -> usize,
}

const REQUESTS: Task = Task {
    what: "get",
    amount: ("count", 2000),
    measured: "a_second",
    may_be_less: true,
};
const IDLE: Task = Task {
    what: "idle",
    amount: ("count", 1000),
    measured: "open",
    may_be_less: false,
};

const HOP: &str =
    "a connection more, and two wake-ups more for each request: the relay has them too";
const COPIES: &str = "each byte leaves the kernel and enters it once more: with the relay, too";

const ROWS: [Row; 5] = [
    Row {
        name: "GETs over one connection",
        unit: Unit::Requests,
        task: REQUESTS,
        target: Target::RatioAtLeast(0.5),
        why: HOP,
        rounds: |plan| plan.rounds,
    },
    Row {
        name: "the slowest in a hundred of them",
        unit: Unit::Time,
        task: Task {
            measured: "p99_ns",
            ..REQUESTS
        },
        target: Target::Ratio(2.0),
        why: HOP,
        rounds: |plan| plan.rounds,
    },
    Row {
        name: "connection with one GET",
        unit: Unit::Time,
        task: Task {
            what: "get-fresh",
            amount: ("count", 200),
            measured: "ns",
            may_be_less: true,
        },
        target: Target::Ratio(1.4),
        why: HOP,
        rounds: |plan| plan.rounds,
    },
    Row {
        name: "download of 1 GiB",
        unit: Unit::Throughput,
        task: Task {
            what: "download",
            amount: ("bytes", 1 << 30),
            measured: "bytes_a_second",
            may_be_less: true,
        },
        target: Target::RatioAtLeast(0.8),
        why: COPIES,
        rounds: |plan| plan.few,
    },
    Row {
        name: "1,000 connections at once, a GET each",
        unit: Unit::Time,
        task: Task {
            what: "get-at-once",
            amount: ("count", 1000),
            measured: "ns",
            may_be_less: false,
        },
        target: Target::Stated,
        why: "",
        // mitmproxy takes ten seconds for one.
        rounds: |plan| plan.fewest.min(3),
    },
];

/// Requests, downloads, and many connections.
///
/// # Errors
///
/// That something could not be measured. Of a peer, its lines say so.
pub(super) fn http(plan: &Plan) -> Result<Vec<Figure>> {
    let mut sides = HttpSides::start()?;
    // First: what the allocator has once had it keeps in part.
    let idle = idle(&mut sides)?;
    let mut figures = Vec::new();
    for row in &ROWS {
        let measured = sides.each((row.rounds)(plan), &row.task)?;
        // The first is beside no guard.
        let targets = std::iter::once(row.target).chain(std::iter::repeat(Target::Stated));
        for (other, target) in measured.others.into_iter().zip(targets) {
            let figure = Figure::alone(row.name, row.unit, measured.guard.clone(), target);
            let why = if target == row.target { row.why } else { "" };
            figures.push(figure.beside(other).remark(why));
        }
    }
    figures.push(idle);
    Ok(figures)
}

/// What a connection costs that has asked for something and is kept.
fn idle(sides: &mut HttpSides) -> Result<Figure> {
    let few = Task {
        amount: ("count", 10),
        ..IDLE
    };
    // What the process needs besides is there by then.
    sides.guarded(&few)?;
    let before = sides.proxy()?;
    let open = sides.guarded(&IDLE)?;
    let each = (sides.proxy()? - before) / open;
    sides.guarded(&few)?;
    let name = "the proxy, for each of 1,000 idle connections";
    Ok(Figure::alone(
        name,
        Unit::Memory,
        Samples(vec![each]),
        Target::AtMost(32.0 * 1024.0),
    ))
}
