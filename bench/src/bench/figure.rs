//! Figures: numbers of several rounds, and the lines that they are printed as.

use anyhow::Result;

/// Unit of a figure's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// Nanoseconds.
    Time,
    /// Bytes.
    Memory,
    /// Bytes a second.
    Throughput,
    /// Packets, requests or transactions a second.
    Rate,
}

impl Unit {
    /// Returns a number as people read it.
    pub(super) fn text(self, number: f64) -> String {
        match self {
            Self::Time if number < 1e6 => format!("{:.1} µs", number / 1e3),
            Self::Time => format!("{:.1} ms", number / 1e6),
            Self::Memory => format!("{:.1} KiB", number / 1024.0),
            Self::Throughput => format!("{:.2} GB/s", number / 1e9),
            Self::Rate => format!("{number:.0}/s"),
        }
    }
}

/// Measurements of one thing, a number for each round.
#[derive(Clone, Default)]
pub(super) struct Samples(pub(super) Vec<f64>);

impl Samples {
    pub(super) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns the number below which a part of the samples lies.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = part * sorted.len().saturating_sub(1) as f64;
        let (low, high) = (at.floor() as usize, at.ceil() as usize);
        match (sorted.get(low), sorted.get(high)) {
            (Some(low), Some(high)) => low + (high - low) * at.fract(),
            _ => f64::NAN,
        }
    }
}

/// One line of the table.
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) guard: Samples,
    /// What was measured in the same rounds.
    pub(super) other: Option<(&'static str, Samples)>,
}

impl Figure {
    pub(super) fn new(name: &str, unit: Unit, guard: Samples) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            guard,
            other: None,
        }
    }

    pub(super) fn beside(mut self, name: &'static str, other: Samples) -> Self {
        self.other = Some((name, other));
        self
    }

    /// Returns guard over the other side, round by round.
    pub(super) fn ratios(&self) -> Samples {
        let other = self.other.iter().flat_map(|(_, other)| &other.0);
        Samples(
            self.guard
                .0
                .iter()
                .zip(other)
                .map(|(guard, other)| guard / other)
                .collect(),
        )
    }

    /// Prints the figure as a row: medians, and the median and the middle half of the rounds' ratios.
    pub(super) fn print(&self) {
        let guard = self.unit.text(self.guard.median());
        let (mut beside, mut ratio) = (String::new(), String::new());
        if let Some((name, other)) = &self.other {
            let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| self.ratios().quantile(part));
            beside = format!("{name} {}", self.unit.text(other.median()));
            ratio = format!("{middle:.3} ({low:.3}–{high:.3})");
        }
        println!(
            "| {:<40} | {guard:<10} | {beside:<24} | {ratio:<21} |",
            self.name
        );
    }
}

/// Measures each side once a round, so that other work on the machine falls on all of them. Each round begins with another
/// side; the first one warms up and does not count.
pub(super) fn turns(
    rounds: usize,
    sides: usize,
    mut measure: impl FnMut(usize) -> Result<f64>,
) -> Result<Vec<Samples>> {
    let mut samples = vec![Samples::default(); sides];
    for round in 0..=rounds {
        for turn in 0..sides {
            let side = (round + turn) % sides;
            let number = measure(side)?;
            if round > 0 {
                samples[side].0.push(number);
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_is_measured_in_each_round_and_compared_with_its_own() -> Result<()> {
        let mut order = Vec::new();
        let samples = turns(2, 2, |side| {
            order.push(side);
            Ok(order.len() as f64)
        })?;
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        let [guard, other] = [&samples[0], &samples[1]].map(Samples::clone);
        assert_eq!(
            (&guard.0[..], &other.0[..]),
            (&[4.0, 5.0][..], &[3.0, 6.0][..])
        );
        let figure = Figure::new("x", Unit::Time, guard).beside("y", other);
        assert_eq!(figure.ratios().0, [4.0 / 3.0, 5.0 / 6.0]);
        assert_eq!(figure.guard.median(), 4.5);
        assert!(Samples::default().median().is_nan());
        Ok(())
    }
}
