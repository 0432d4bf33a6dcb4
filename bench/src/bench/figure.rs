//! One line of the table: what was measured, beside what, and what is to be reached.

use super::samples::Samples;

/// What numbers are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nanoseconds.
    Time,
    /// Bytes.
    Memory,
    /// Bytes a second.
    Throughput,
    /// Packets a second.
    Packets,
    /// Requests a second.
    Requests,
    /// Transactions a second.
    Transactions,
    /// Percent of one CPU.
    Cpu,
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Time => "ns",
            Self::Memory => "bytes",
            Self::Throughput => "bytes/s",
            Self::Packets => "packets/s",
            Self::Requests => "requests/s",
            Self::Transactions => "transactions/s",
            Self::Cpu => "% of a CPU",
        }
    }

    /// A number as people read it.
    pub(super) fn text(self, number: f64) -> String {
        const MIB: f64 = 1024.0 * 1024.0;
        let size = number.abs();
        match self {
            Self::Time if size < 1e3 => format!("{number:.0} ns"),
            Self::Time if size < 1e6 => format!("{:.1} µs", number / 1e3),
            Self::Time if size < 1e9 => format!("{:.1} ms", number / 1e6),
            Self::Time => format!("{:.2} s", number / 1e9),
            Self::Memory if size < MIB => format!("{:.1} KiB", number / 1024.0),
            Self::Memory => format!("{:.1} MiB", number / MIB),
            Self::Throughput if size < 1e6 => format!("{number:.1} B/s"),
            Self::Throughput => format!("{:.2} GB/s", number / 1e9),
            Self::Requests | Self::Transactions if size < 1e4 => format!("{number:.0}/s"),
            Self::Packets | Self::Requests | Self::Transactions => {
                format!("{:.0} k/s", number / 1e3)
            }
            Self::Cpu => format!("{number:.2} %"),
        }
    }
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Target {
    /// Guard over the other side, at most.
    Ratio(f64),
    /// Guard over the other side, at least.
    RatioAtLeast(f64),
    /// Guard more than the other side, by so much at most.
    More(f64),
    /// So much at most.
    AtMost(f64),
    /// So much at least.
    AtLeast(f64),
    /// Nothing: it is to be known.
    Stated,
}

/// What it is compared with.
#[derive(Clone, Debug)]
pub(super) enum Other {
    /// Nothing.
    None,
    /// Something measured in the same rounds.
    Measured(&'static str, Samples),
    /// Something that could not be had, and why.
    Missing(&'static str, String),
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) guard: Samples,
    pub(super) other: Other,
    pub(super) target: Target,
    /// Said where it is missed: what stands in the way. And where nothing is to be reached: a remark.
    pub(super) remark: String,
}

/// How it came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Reached,
    /// By so much: a share of the target, as 0.1 for a tenth.
    Missed(f64),
    /// There is nothing to reach, or nothing to compare with.
    Open,
}

impl Figure {
    /// Of a number alone.
    pub(super) fn alone(name: &str, unit: Unit, guard: Samples, target: Target) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            guard,
            other: Other::None,
            target,
            remark: String::new(),
        }
    }

    /// Beside something.
    pub(super) fn beside(mut self, other: Other) -> Self {
        self.other = other;
        self
    }

    /// With a remark.
    pub(super) fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = remark.into();
        self
    }

    /// Guard over the other side, round by round.
    pub(super) fn ratios(&self) -> Option<Samples> {
        match &self.other {
            Other::Measured(_, other) => Some(self.guard.over(other)),
            _ => None,
        }
    }

    /// What the target is about, round by round.
    fn judged(&self) -> Option<Samples> {
        match (self.target, &self.other) {
            (Target::Ratio(_) | Target::RatioAtLeast(_), _) => self.ratios(),
            (Target::More(_), Other::Measured(_, other)) => Some(self.guard.less(other)),
            (Target::AtMost(_) | Target::AtLeast(_), _) => Some(self.guard.clone()),
            _ => None,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let Some(judged) = self.judged() else {
            return Outcome::Open;
        };
        let found = judged.median();
        let short = match self.target {
            Target::RatioAtLeast(least) | Target::AtLeast(least) => (least - found) / least,
            Target::Ratio(most) | Target::More(most) | Target::AtMost(most) => {
                (found - most) / most
            }
            Target::Stated => return Outcome::Open,
        };
        // Not a number where nothing was measured: that is no success.
        if short <= 0.0 {
            Outcome::Reached
        } else {
            Outcome::Missed(short)
        }
    }

    /// Whether the middle half of the rounds lies on both sides of the target.
    pub(super) fn rounds_disagree(&self) -> bool {
        let (Some(limit), Some(judged)) = (self.limit(), self.judged()) else {
            return false;
        };
        judged.quantile(0.25) <= limit && limit < judged.quantile(0.75)
    }

    fn limit(&self) -> Option<f64> {
        match self.target {
            Target::Ratio(limit)
            | Target::RatioAtLeast(limit)
            | Target::More(limit)
            | Target::AtMost(limit)
            | Target::AtLeast(limit) => Some(limit),
            Target::Stated => None,
        }
    }

    pub(super) fn target_text(&self) -> String {
        match self.target {
            Target::Ratio(most) => format!("× ≤ {most}"),
            Target::RatioAtLeast(least) => format!("× ≥ {least}"),
            Target::More(most) => format!("+ ≤ {}", self.unit.text(most)),
            Target::AtMost(most) => format!("≤ {}", self.unit.text(most)),
            Target::AtLeast(least) => format!("≥ {}", self.unit.text(least)),
            Target::Stated => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(target: Target) -> Figure {
        let other = Other::Measured("other", Samples(vec![10.0, 10.0]));
        Figure::alone("x", Unit::Time, Samples(vec![11.0, 13.0]), target).beside(other)
    }

    #[test]
    fn a_target_is_reached_or_missed_by_a_share() {
        assert_eq!(figure(Target::Ratio(1.25)).outcome(), Outcome::Reached);
        assert_eq!(figure(Target::AtMost(10.0)).outcome(), Outcome::Missed(0.2));
        assert_eq!(figure(Target::More(1.0)).outcome(), Outcome::Missed(1.0));
        assert_eq!(
            figure(Target::RatioAtLeast(0.98)).outcome(),
            Outcome::Reached
        );
        assert_eq!(figure(Target::AtLeast(12.0)).outcome(), Outcome::Reached);
        assert_eq!(
            figure(Target::AtLeast(24.0)).outcome(),
            Outcome::Missed(0.5)
        );
        assert_eq!(figure(Target::Stated).outcome(), Outcome::Open);
    }

    #[test]
    fn nothing_measured_reaches_nothing() {
        let nothing = Figure::alone("x", Unit::Time, Samples::default(), Target::AtMost(1.0));
        assert!(matches!(nothing.outcome(), Outcome::Missed(_)));
        let nothing = Figure::alone("x", Unit::Time, Samples::default(), Target::AtLeast(1.0));
        assert!(matches!(nothing.outcome(), Outcome::Missed(_)));
    }

    #[test]
    fn rounds_on_both_sides_of_a_target_disagree() {
        assert!(figure(Target::Ratio(1.2)).rounds_disagree());
        assert!(!figure(Target::Ratio(2.0)).rounds_disagree());
    }
}
