//! The figures, as a table for people and as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::figure::{Figure, Other, Outcome};
use super::machine::Machine;
use xtask::shell::say;

const HEAD: [&str; 6] = ["figure", "guard", "beside", "ratio", "target", "result"];

/// Prints the table, in Markdown, and what stands in the way of what was missed below it.
pub(super) fn print(figures: &[Figure], machine: &Machine) {
    println!("\n{}\n", machine.text());
    let rows: Vec<_> = figures.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(HEAD[column].len())
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    print_row(&HEAD.map(str::to_owned), &widths);
    print_row(&widths.map(|width| "-".repeat(width)), &widths);
    for row in &rows {
        print_row(row, &widths);
    }
    let remarks = figures.iter().filter(|figure| speaks(figure));
    for figure in remarks {
        println!("\n- {}: {}", figure.name, figure.remark);
    }
}

fn print_row(cells: &[String; 6], widths: &[usize; 6]) {
    let cells = cells.iter().zip(widths);
    let line: Vec<_> = cells
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect();
    println!("| {} |", line.join(" | "));
}

fn row(figure: &Figure) -> [String; 6] {
    let beside = match &figure.other {
        Other::None => String::new(),
        Other::Measured(name, samples) => format!("{name} {}", figure.unit.text(samples.median())),
        Other::Missing(name, why) => format!("no {name}: {why}"),
    };
    [
        figure.name.clone(),
        figure.unit.text(figure.guard.median()),
        beside,
        ratio(figure),
        figure.target_text(),
        result(figure),
    ]
}

/// The median of the rounds' ratios, and where the middle half of them lies.
fn ratio(figure: &Figure) -> String {
    let Some(ratios) = figure.ratios() else {
        return String::new();
    };
    let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| ratios.quantile(part));
    format!("{middle:.3} ({low:.3}–{high:.3})")
}

fn result(figure: &Figure) -> String {
    let outcome = match figure.outcome() {
        Outcome::Reached => "reached".to_owned(),
        Outcome::Missed(short) => format!("missed by {:.1} %", short * 100.0),
        Outcome::Open => String::new(),
    };
    if figure.rounds_disagree() {
        return format!("{outcome}, rounds disagree");
    }
    outcome
}

/// A remark belongs to what was missed, and to what is only stated.
fn speaks(figure: &Figure) -> bool {
    !figure.remark.is_empty() && figure.outcome() != Outcome::Reached
}

/// Writes the same, with each round's number.
///
/// # Errors
///
/// That the file cannot be written.
pub(super) fn write(figures: &[Figure], machine: &Machine, file: &Path) -> Result<()> {
    let figures: Vec<_> = figures.iter().map(as_json).collect();
    let report = json!({"machine": machine.as_json(), "figures": figures});
    fs::write(file, format!("{report:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    say(&format!("wrote {}", file.display()));
    Ok(())
}

fn as_json(figure: &Figure) -> Value {
    let other = match &figure.other {
        Other::None => Value::Null,
        Other::Measured(name, samples) => {
            json!({"name": name, "median": samples.median(), "rounds": samples.0})
        }
        Other::Missing(name, why) => json!({"name": name, "missing": why}),
    };
    let (reached, short_by) = match figure.outcome() {
        Outcome::Reached => (Some(true), None),
        Outcome::Missed(short) => (Some(false), Some(short)),
        Outcome::Open => (None, None),
    };
    let target = figure.target_text();
    json!({
        "name": figure.name,
        "unit": figure.unit.name(),
        "guard": {"median": figure.guard.median(), "rounds": figure.guard.0},
        "other": other,
        "ratio": figure.ratios().map(|ratios| ratios.median()),
        "target": (!target.is_empty()).then_some(target),
        "reached": reached,
        "short_by": short_by,
        "rounds_disagree": figure.rounds_disagree(),
        "remark": (speaks(figure)).then_some(&figure.remark),
    })
}
