//! However a stream comes, and whoever reads it by the RFCs: the same passes.

use proptest::{collection::vec, prelude::*};

use super::{
    super::{Limits, Malformed, SentRequest, SentRequests, Sieve},
    naive, pieces,
    random::{noise, stream},
    requests, responses, whole,
};

const SMALL: Limits = Limits {
    start_line: 24,
    head: 60,
    fields: 3,
    trailers: 16,
};

/// Splits at these places.
fn cut(input: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.iter_mut().for_each(|cut| *cut %= input.len() + 1);
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([input.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts
        .zip(ends)
        .map(|(start, end)| &input[start..end])
        .collect()
}

fn server() -> Sieve {
    let head = SentRequest {
        head: true,
        upgrade: false,
    };
    responses(&[SentRequest::default(), head, SentRequest::default()])
}

/// What a server might send, from the words of what a client might.
fn as_response(input: &[u8]) -> Vec<u8> {
    let status = &b"HTTP/1.1 200 OK\r\n"[..];
    let rest = input
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    [status, &input[rest..]].concat()
}

proptest! {
    #![proptest_config(guard_rounds::rounds(2048))]

    #[test]
    fn splitting_changes_nothing(
        input in prop_oneof![stream(), noise()],
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let most = Limits::default().head;
        let expected = whole(requests(), &input);
        prop_assert_eq!(pieces(requests(), most, cut(&input, cuts.clone()).into_iter()), expected);
        prop_assert_eq!(pieces(requests(), most, input.chunks(1)), expected);

        let small = || Sieve::requests(SMALL);
        let expected = whole(small(), &input);
        prop_assert_eq!(pieces(small(), SMALL.head, cut(&input, cuts).into_iter()), expected);
        prop_assert_eq!(pieces(small(), SMALL.head, input.chunks(1)), expected);
    }

    #[test]
    fn splitting_a_response_changes_nothing(
        input in prop_oneof![stream(), noise()],
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let input = as_response(&input);
        let most = Limits::default().head;
        let expected = whole(server(), &input);
        prop_assert_eq!(pieces(server(), most, cut(&input, cuts).into_iter()), expected);
        prop_assert_eq!(pieces(server(), most, input.chunks(1)), expected);
    }

    #[test]
    fn a_naive_reading_agrees(input in prop_oneof![4 => stream(), 1 => noise()]) {
        for limits in [Limits::default(), SMALL] {
            let reading = naive::read(&input, &limits);
            let (passed, refused) = whole(Sieve::requests(limits), &input);
            prop_assert_eq!(passed, reading.passed, "{:?}", refused);
            prop_assert_eq!(refused.is_some(), reading.refused, "{:?}", refused);
        }
    }

    #[test]
    fn no_bytes_are_too_odd(input in vec(any::<u8>(), 0..300)) {
        let most = Limits::default().head;
        let one_way = pieces(requests(), most, input.chunks(7));
        prop_assert_eq!(one_way, whole(requests(), &input));
        let mut sieve = Sieve::responses(SMALL, SentRequests::default());
        prop_assert!(sieve.pass(&input).is_err() || input.is_empty());
    }
}

#[test]
fn a_trailer_whose_name_has_a_sign_is_the_field_that_it_may_be_read_as() {
    let chunked = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    for name in ["If#-Match", "If.Match", "If_Match", "If-Match"] {
        let input = format!("{chunked}{name}: a\r\n\r\n");
        let (passed, refused) = whole(requests(), input.as_bytes());
        assert_eq!(refused, Some(Malformed::Trailer), "{name}");
        let reading = naive::read(input.as_bytes(), &Limits::default());
        assert_eq!((reading.passed, reading.refused), (passed, true), "{name}");
    }
}

/// A test of the tests: what is generated has to be of both kinds.
#[test]
fn half_of_what_is_tried_is_right() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut passed, mut messages) = (0, 0);
    for _ in 0..1000 {
        let input = stream().new_tree(&mut runner).unwrap().current();
        let reading = naive::read(&input, &Limits::default());
        passed += usize::from(!reading.refused);
        messages += reading.requests.len();
    }
    assert!((250..750).contains(&passed), "{passed} of 1000 pass");
    assert!(messages > 700, "{messages} messages");
}

#[test]
fn what_never_ends_is_refused_at_the_limit() {
    for start in ["", "GET / HTTP/1.1\r\nHost: a\r\nA: "] {
        let endless = start.bytes().chain(std::iter::repeat_n(b'a', 100_000));
        let endless: Vec<u8> = endless.collect();
        let (passed, refused) = pieces(requests(), Limits::default().head, endless.chunks(1000));
        assert_eq!(passed, 0);
        assert!(matches!(refused.unwrap().status().as_u16(), 414 | 431));
    }
}
