//! Measurements of one thing, a number a round.

/// Numbers, in the order of the rounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(pub(super) Vec<f64>);

impl Samples {
    /// The middle one.
    pub(super) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The number below which a part of them lies; not a number where there are none.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = part * (sorted.len().saturating_sub(1)) as f64;
        let (low, high) = (at.floor() as usize, at.ceil() as usize);
        match (sorted.get(low), sorted.get(high)) {
            (Some(low), Some(high)) => low + (high - low) * at.fract(),
            _ => f64::NAN,
        }
    }

    /// This divided by what was measured in the same rounds.
    pub(super) fn over(&self, other: &Self) -> Self {
        self.pairs(other, |this, other| this / other)
    }

    /// This less what was measured in the same rounds.
    pub(super) fn less(&self, other: &Self) -> Self {
        self.pairs(other, |this, other| this - other)
    }

    fn pairs(&self, other: &Self, with: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.0.iter().zip(&other.0);
        Self(pairs.map(|(this, other)| with(*this, *other)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_what_was_measured() {
        let samples = Samples(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!(samples.median(), 2.5);
        assert_eq!(samples.quantile(0.0), 1.0);
        assert_eq!(samples.quantile(1.0), 4.0);
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn pairs_are_of_the_same_round() {
        let (this, other) = (Samples(vec![2.0, 9.0]), Samples(vec![1.0, 3.0]));
        assert_eq!(this.over(&other).0, [2.0, 3.0]);
        assert_eq!(this.less(&other).0, [1.0, 6.0]);
    }
}
