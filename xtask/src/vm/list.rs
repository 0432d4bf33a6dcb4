//! `cargo xtask vm --list`.

use anyhow::Result;

use super::kernels::Kernel;
use super::plan;
use super::sources;
use super::suites::{Kind, Suite};

/// Prints how many tests of each suite run in each kind of machine, and in the gate.
pub(super) fn print(suites: &[Suite]) -> Result<()> {
    print!("{}", table(suites)?);
    println!();
    println!(
        "The column gate is what `cargo xtask test --gate` runs, with Linux {}.",
        newest().name()
    );
    println!("All kinds of machines run with each kernel, but where one is named.");
    Ok(())
}

fn newest() -> Kernel {
    Kernel::ALL[Kernel::ALL.len() - 1]
}

fn table(suites: &[Suite]) -> Result<String> {
    let mut rows = vec![header()];
    for suite in suites {
        rows.push(row(suite)?);
    }
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let mut table = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join(" ");
        table.push_str(line.trim_end());
        table.push('\n');
    }
    Ok(table)
}

fn header() -> Vec<String> {
    let kinds = Kind::ALL.iter().map(|kind| kind.name().to_owned());
    let ends = ["suite".to_owned(), "gate".to_owned()];
    let [suite, gate] = ends;
    [suite].into_iter().chain(kinds).chain([gate]).collect()
}

fn row(suite: &Suite) -> Result<Vec<String>> {
    let tests = sources::tests_in(&suite.name)?;
    let count = |part: &Suite| tests.iter().filter(|test| part.has(test)).count();
    let mut row = vec![suite.name.clone()];
    for kind in Kind::ALL {
        let cells = plan::cells(std::slice::from_ref(suite), &Kernel::ALL, Some(kind));
        row.push(match &cells[..] {
            [] => String::new(),
            [only] if kind.exists_with(Kernel::V6_1) && kind.exists_with(newest()) => {
                format!("{} ({})", count(&only.suite), only.kernel.name())
            }
            [cell, ..] => count(&cell.suite).to_string(),
        });
    }
    let gate = plan::of_the_gate(newest()).into_iter();
    let gate: usize = gate
        .filter(|cell| cell.suite.name == suite.name)
        .map(|cell| count(&cell.suite))
        .sum();
    row.push(if gate > 0 {
        gate.to_string()
    } else {
        String::new()
    });
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_fits_a_terminal_of_100_columns_and_has_every_suite() -> Result<()> {
        let suites = plan::select(&[])?;
        let table = table(&suites)?;
        assert_eq!(table.lines().count(), suites.len() + 1);
        for line in table.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        let holes = table.lines().find(|line| line.starts_with("holes "));
        let holes: Vec<_> = holes.unwrap_or_default().split_whitespace().collect();
        let count = sources::tests_in("holes")?.len().to_string();
        assert_eq!(holes[1], count);
        Ok(())
    }
}
