//! The same, put together at random: lines of a head, their ends, and bodies that fit one of them, or none.

use guard_lab::Tested;
use std::env;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::judges::{Judges, scene, smuggled, text};

/// For how many seconds to go on with new ones; a test that nobody told takes one round.
const SECONDS: &str = "GUARD_FUZZ_ROUNDS";
/// How many a round has.
const ROUND: usize = 1000;

const LINES: &[&str] = &[
    "POST /search HTTP/1.1",
    "GET /photos HTTP/1.1",
    "POST /search HTTP/1.0",
    "POST /search  HTTP/1.1",
    "HEAD /photos HTTP/1.1",
    "POST http://a/search HTTP/1.1",
];

/// `ALL` is the length of the body, `SOME` that of its first line.
const FIELDS: &[&str] = &[
    "Content-Length: ALL",
    "Content-Length: SOME",
    "Content-Length: 0",
    "Content-Length: +ALL",
    "Content-Length: 0ALL",
    "Content-Length: 0, ALL",
    "Content-Length : SOME",
    "Content-Length:\tALL",
    "Content_Length: SOME",
    "Content-Length: \u{b}SOME",
    " Content-Length: SOME",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding:chunked ",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding : chunked",
    "transfer_encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "Connection: close, Content-Length",
    "Connection: keep-alive, Transfer-Encoding",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "TE: trailers",
    "X: y",
    "X: y\rTransfer-Encoding: chunked",
    "X",
    ": x",
];

const ENDS: &[&str] = &["\r\n", "\n", "\r", "\r\r\n", "\n\r\n", "\0\r\n"];

/// Beginnings of bodies, as some would end them there; `SIZE` is the size of what is smuggled.
const BODIES: &[&str] = &[
    "0\r\n\r\n",
    "0\n\n",
    "00000000000000000\r\n\r\n",
    "0;x=y\r\n\r\n",
    "0\r\nContent-Length: 0\r\n\r\n",
    "0\r\nX\r\n\r\n",
    "SIZE\r\n",
    "SIZE \r\n",
    "SIZE;x=\"\n\"\r\n",
    "0xSIZE\r\n",
    "+SIZE\r\n",
    "SIZE;\n",
    "FFFFFFFFFFFFFFFFF\r\n",
    "1\r\nZ\r\n0\r\n\r\n",
    "1\r\nZ\n0\n\n",
    "1\r\nZZ\r\n0\r\n\r\n",
    "2;\nxx\r\n",
    "-1\r\n",
    "",
];

/// Mostly that of the standard.
fn end() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just("\r\n"), 1 => select(ENDS)]
}

/// One that smuggles what has its number, if it can.
fn case(number: usize) -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![4 => Just(LINES[0]), 1 => select(LINES)];
    let fields = vec((select(FIELDS), end()), 1..4);
    let ended = any::<bool>();
    (line, end(), fields, end(), select(BODIES), ended).prop_map(
        move |(line, after_line, fields, last, begin, ended)| {
            let smuggled = smuggled(number);
            let begin = begin.replace("SIZE", &format!("{:x}", smuggled.len()));
            let close = if ended { "\r\n0\r\n\r\n" } else { "" };
            let body = format!("{begin}{smuggled}{close}");
            let some = begin.find('\n').map_or(0, |at| at + 1);
            let mut head = format!("{line}{after_line}Host: a\r\n");
            for (field, end) in fields {
                head += &field
                    .replace("ALL", &body.len().to_string())
                    .replace("SOME", &some.to_string());
                head += end;
            }
            // A character a byte: what is in the tables is Latin-1.
            format!("{head}{last}{body}")
                .chars()
                .map(|c| c as u8)
                .collect()
        },
    )
}

/// A round's, which are always the same.
fn round(seed: u8) -> Vec<Vec<u8>> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut make = |number| case(number).new_tree(&mut runner).unwrap().current();
    (0..ROUND).map(&mut make).collect()
}

#[test]
fn whatever_is_put_together_smuggles_nothing_past_the_guard() -> Tested {
    let seconds = env::var(SECONDS).ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let scene = scene()?;
    let mut judges = Judges::start(&scene);
    let mut agent = scene.agent()?;
    let mut seed = 0;
    loop {
        let cases = round(seed);
        if seed == 0 {
            let (arrived, _) = judges.hear(&scene, &mut scene.unguarded()?, &cases)?;
            // Else it would not say much that nothing gets past the guard.
            for judge in arrived {
                assert!(judge.smuggled().len() > ROUND / 10, "{judge:?}");
            }
        }
        let (arrived, told) = judges.hear(&scene, &mut agent, &cases)?;
        for judge in &arrived {
            let past = judge.smuggled();
            let cases: Vec<_> = past.iter().map(|number| text(&cases[*number])).collect();
            assert_eq!(cases, [""; 0], "round {seed}");
            assert_eq!(judge.forbidden(), [""; 0], "round {seed}");
        }
        // Some of it has one reading, and passes.
        assert!(told.contains("200 ") && told.contains("400 "), "{told}");
        seed = seed.wrapping_add(1);
        if Instant::now() >= until {
            return Ok(());
        }
    }
}
