//! Rounds: each side of a comparison once, in turns.

use anyhow::Result;

use super::samples::Samples;

/// One measurement of a side.
pub(super) type Side<'a, C, T = f64> = &'a mut dyn FnMut(&mut C) -> Result<T>;

/// As [`take_turns`], where a measurement is one number.
pub(super) fn interleave<C, const N: usize>(
    rounds: usize,
    context: &mut C,
    sides: [Side<'_, C>; N],
) -> Result<[Samples; N]> {
    Ok(take_turns(rounds, context, sides)?.map(Samples))
}

/// Measures each side once a round, so that whatever else the machine does falls on all of them, and starts
/// each round with another one. The first round warms up and is dropped.
pub(super) fn take_turns<C, T, const N: usize>(
    rounds: usize,
    context: &mut C,
    sides: [Side<'_, C, T>; N],
) -> Result<[Vec<T>; N]> {
    let mut samples: [Vec<T>; N] = std::array::from_fn(|_| Vec::new());
    for round in 0..=rounds {
        for turn in 0..N {
            let side = (round + turn) % N;
            let measured = sides[side](context)?;
            if round > 0 {
                samples[side].push(measured);
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_is_measured_in_each_round() -> Result<()> {
        let mut order = Vec::new();
        let sides: [Side<'_, Vec<u8>>; 2] = [
            &mut |order| {
                order.push(0);
                Ok(0.0)
            },
            &mut |order| {
                order.push(1);
                Ok(1.0)
            },
        ];
        let [zero, one] = interleave(2, &mut order, sides)?;
        assert_eq!((zero.0, one.0), (vec![0.0; 2], vec![1.0; 2]));
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        Ok(())
    }
}
