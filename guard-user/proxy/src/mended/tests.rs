//! Whatever a server writes, and however that comes.

use std::collections::VecDeque;

use guard_judge::sieve::Sieve;
use guard_rounds::rounds;
use proptest::{collection::vec, prelude::*};
use tokio::io::AsyncReadExt as _;

use super::*;

/// A connection from which these are read, one after the other.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What answers a GET, a HEAD and an upgrade that fails, and then GETs.
fn asks() -> SentRequests {
    let asks = SentRequests::default();
    for (head, upgrade) in [(false, false), (true, false), (false, true)] {
        asks.push(SentRequest { head, upgrade });
    }
    (0..8).for_each(|_| asks.push(SentRequest::default()));
    asks
}

fn mended(pieces: impl Iterator<Item = Vec<u8>>, room: usize) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let mut io = Mended::new(Pieces(pieces.collect()), asks());
    let (mut all, mut buffer) = (Vec::new(), vec![0; room]);
    runtime.unwrap().block_on(async {
        while let read @ 1.. = io.read(&mut buffer).await.unwrap() {
            all.extend_from_slice(&buffer[..read]);
        }
    });
    all
}

fn whole(bytes: &[u8]) -> Vec<u8> {
    mended([bytes.to_vec()].into_iter(), 1 << 16)
}

/// How far the sieve passes answers on.
fn passes(bytes: &[u8]) -> usize {
    let mut sieve = Sieve::responses(Limits::of_answers(), asks());
    let mut passed = 0;
    while let Ok(more @ 1..) = sieve.pass(&bytes[passed..]) {
        passed += more;
    }
    passed
}

/// Answers, right and wrong.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        4 => prop::sample::select(vec![
            &b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.1 204 No\n", b"HTTP/1.0 999 \r\n", b"HTTP/1.1 103 E\r\n", b"HTTP/1.1 101 S\r\n",
            b"Content-Length: 5\r\n", b"content-length :\t5 \n", b"Content-Length: 5, 05\r\n", b"Content-Length: 0\r\n",
            b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:identity\n", b"Transfer-Encoding: gzip\r\n",
            b"A: b\r\n", b" c\r\n", b"\t\n", b"A:\r\n", b"no colon\r\n", b"Content-Type: late\r\n",
        ]),
        4 => prop::sample::select(vec![
            &b"\r\n"[..], b"\n", b"\r", b"hello", b"5\r\nhello\r\n", b"5;a=b\nhello\n", b"05 \r\nhello\r\n", b"0\r\n", b"0;a\n\n",
            b"0\r\n\r\n", b"x", b"\0",
        ]),
        1 => Just(&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..]),
        1 => Just(&b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"[..]),
    ];
    vec(words, 1..16).prop_map(|words| {
        [&b"HTTP/1.1 200 OK\r\n"[..]]
            .into_iter()
            .chain(words)
            .collect::<Vec<_>>()
            .concat()
    })
}

proptest! {
    #![proptest_config(rounds(1024))]

    #[test]
    fn splitting_changes_nothing(input in answers(), size in 1..9_usize, room in 1..9_usize) {
        let pieces = input.chunks(size).map(<[u8]>::to_vec);
        prop_assert_eq!(mended(pieces, room), whole(&input));
    }

    #[test]
    fn what_is_mended_stays_so(input in answers()) {
        let once = whole(&input);
        prop_assert_eq!(whole(&once), once);
    }

    /// What passes as it is means the same when it is mended: all of it still passes.
    #[test]
    fn what_is_right_stays_right(input in answers()) {
        let mended = whole(&input);
        prop_assert!(passes(&mended) == mended.len() || passes(&input) < input.len());
    }
}
