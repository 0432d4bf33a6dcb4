//! What it costs to read from PostgreSQL through the proxy, beside no guard.

use anyhow::Result;

use super::Plan;
use super::figure::{Figure, Other, Target, Unit};
use super::pgbench::{Reads, Run};
use super::postgres_sides::PostgresSides;
use super::rounds::{interleave, take_turns};
use super::samples::Samples;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Connections that are idle before others are counted: what the proxy needs besides is there by then.
const FEW: u64 = 10;

const HOP: &str =
    "a connection more, two wake-ups more for each statement, and a parser that reads it";
const COPIES: &str = "each byte leaves the kernel and enters it once more";

const READS: [Reads; 4] = [
    reads(1, "simple"),
    reads(1, "prepared"),
    reads(8, "simple"),
    reads(8, "prepared"),
];

const fn reads(clients: u32, mode: &'static str) -> Reads {
    Reads { clients, mode }
}

/// Statements, copies, and connections that do nothing.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn postgres(plan: &Plan) -> Result<Vec<Figure>> {
    let mut sides = PostgresSides::start()?;
    // First: what the allocator has once had it keeps in part.
    let idle = idle(plan, &mut sides)?;
    let mut figures = Vec::new();
    for reads in &READS {
        figures.extend(statements(plan, &mut sides, reads)?);
    }
    for width in [KIB, 100] {
        figures.push(copy(plan, &mut sides, width)?);
    }
    figures.push(idle);
    Ok(figures)
}

/// Transactions of one SELECT by its primary key.
fn statements(plan: &Plan, sides: &mut PostgresSides, reads: &Reads) -> Result<[Figure; 2]> {
    let [guard, none] = take_turns(
        plan.few,
        sides,
        [
            &mut |sides: &mut PostgresSides| sides.guard.read(reads),
            &mut |sides| sides.none.read(reads),
        ],
    )?;
    let Reads { clients, mode } = reads;
    let figure = |what, unit, of: fn(&Run) -> f64, target| {
        let [guard, none] = [&guard, &none].map(|runs| Samples(runs.iter().map(of).collect()));
        let name = format!("pgbench -S -c {clients} -M {mode}{what}");
        beside_none(&name, unit, [guard, none], target)
    };
    Ok([
        figure(
            "",
            Unit::Transactions,
            |run| run.a_second,
            Target::RatioAtLeast(0.6),
        )
        .remark(HOP),
        figure(
            ", the middle one",
            Unit::Time,
            |run| run.middle,
            Target::Ratio(1.5),
        ),
    ])
}

/// A large answer, in rows of so many bytes, each of which is a message.
fn copy(plan: &Plan, sides: &mut PostgresSides, width: u64) -> Result<Figure> {
    let size = if plan.quick { 256 * MIB } else { 1024 * MIB };
    let rows = size / width;
    // With its end of line. In FROM, the server would write down all numbers first.
    let query = format!(
        "select line from (select repeat('x', {}) as line, generate_series(1, {rows})) as lines",
        width - 1
    );
    let a_second = |nanoseconds: f64| (rows * width) as f64 / nanoseconds * 1e9;
    let samples = interleave(
        plan.fewest,
        sides,
        [
            &mut |sides: &mut PostgresSides| sides.guard.copy(&query).map(a_second),
            &mut |sides| sides.none.copy(&query).map(a_second),
        ],
    )?;
    let name = format!("COPY of {} MiB, rows of {width} bytes", size / MIB);
    let target = Target::RatioAtLeast(0.7);
    Ok(beside_none(&name, Unit::Throughput, samples, target).remark(COPIES))
}

/// What a connection costs that has logged in, has read something and is kept.
fn idle(plan: &Plan, sides: &mut PostgresSides) -> Result<Figure> {
    let count = if plan.quick { 200 } else { 1000 };
    sides.guard.idle(FEW)?;
    let before = sides.proxy()?;
    sides.guard.idle(count)?;
    let each = (sides.proxy()? - before) / (count - FEW) as f64;
    sides.guard.idle(FEW)?;
    Ok(Figure::alone(
        &format!("the proxy, for each of {count} idle connections"),
        Unit::Memory,
        Samples(vec![each]),
        Target::AtMost((64 * KIB) as f64),
    ))
}

fn beside_none(name: &str, unit: Unit, [guard, none]: [Samples; 2], target: Target) -> Figure {
    Figure::alone(name, unit, guard, target).beside(Other::Measured("no guard", none))
}
