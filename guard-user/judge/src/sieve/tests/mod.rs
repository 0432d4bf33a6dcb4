//! Tests of the whole room.

mod agree;
mod bodies;
mod connection;
mod fields;
mod heads;
mod lenient;
mod naive;
mod random;
mod responses;
mod speed;

use super::{Limits, Malformed, SentRequest, SentRequests, Sieve};

/// How many bytes pass, and why no more do.
type Sieved = (usize, Option<Malformed>);

fn requests() -> Sieve {
    Sieve::requests(Limits::default())
}

fn responses(asked: &[SentRequest]) -> Sieve {
    let asks = SentRequests::default();
    asked.iter().for_each(|&asked| asks.push(asked));
    Sieve::responses(Limits::default(), asks)
}

/// Shows the sieve all at once.
fn whole(mut sieve: Sieve, input: &[u8]) -> Sieved {
    let mut passed = 0;
    loop {
        match sieve.pass(&input[passed..]) {
            Ok(0) => return (passed, None),
            Ok(more) => passed += more,
            Err(malformed) => return (passed, Some(malformed)),
        }
    }
}

/// Shows the sieve these pieces, one after the other, and what was held back with each. Nothing held is ever longer
/// than a head may be.
fn pieces<'b>(mut sieve: Sieve, most: usize, pieces: impl Iterator<Item = &'b [u8]>) -> Sieved {
    let (mut held, mut passed) = (Vec::new(), 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            match sieve.pass(&held) {
                Ok(0) => break,
                Ok(more) => {
                    held.drain(..more);
                    passed += more;
                }
                Err(malformed) => return (passed, Some(malformed)),
            }
        }
        assert!(held.len() < most, "{} bytes are held", held.len());
    }
    (passed, None)
}

/// All that is there passes, and a message ends with it.
fn passes(sieve: fn() -> Sieve, input: &[u8]) {
    let mut fresh = sieve();
    let text = input.escape_ascii();
    assert_eq!(fresh.pass(input), Ok(input.len()), "{text}");
    assert_eq!(fresh.end(), Ok(()), "{text}");
}

/// So many bytes pass at most, then this is why no more do, with what a person reads harmless.
fn refuses(sieve: fn() -> Sieve, input: &[u8], most: usize, why: Malformed) {
    let (passed, refused) = whole(sieve(), input);
    assert_eq!(refused, Some(why), "{}", input.escape_ascii());
    assert!(passed <= most, "{passed} bytes: {}", input.escape_ascii());
    let text = why.to_string();
    assert!(text.chars().all(|c| matches!(c, ' '..='~')), "{text}");
    assert!(matches!(
        why.status().as_u16(),
        400 | 414 | 417 | 431 | 501 | 505
    ));
}
