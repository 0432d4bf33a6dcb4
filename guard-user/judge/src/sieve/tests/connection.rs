//! The sieve around a connection.

use std::io;

use proptest::{collection::vec, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::yield_now,
};

use super::{
    super::{Limits, Malformed, Phase, Protocol, SievedIo},
    random::stream,
    requests, whole,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn pair() -> (DuplexStream, SievedIo<DuplexStream>) {
    let (client, server) = duplex(1 << 20);
    (client, SievedIo::new(server, requests()))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn why(error: &io::Error) -> Option<Malformed> {
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    Malformed::behind(error)
}

/// Writes this in such pieces.
async fn write(mut client: DuplexStream, input: &[u8], pieces: &[usize]) {
    let (mut rest, mut pieces) = (input, pieces.iter().cycle());
    while !rest.is_empty() {
        let length = pieces
            .next()
            .map_or(rest.len(), |&piece| piece.min(rest.len()));
        client.write_all(&rest[..length]).await.unwrap();
        rest = &rest[length..];
        yield_now().await;
    }
}

/// Reads all, so much at a time, and why there is no more.
async fn read(io: &mut SievedIo<DuplexStream>, sizes: &[usize]) -> (Vec<u8>, Option<Malformed>) {
    let (mut all, mut sizes) = (Vec::new(), sizes.iter().cycle());
    let mut buffer = [0; 64];
    loop {
        let room = &mut buffer[..*sizes.next().unwrap()];
        match io.read(room).await {
            Ok(0) => return (all, None),
            Ok(length) => all.extend_from_slice(&room[..length]),
            Err(error) => return (all, why(&error)),
        }
        assert!(io.held() < Limits::default().head + 4096);
    }
}

proptest! {
    #![proptest_config(guard_rounds::rounds(1024))]

    #[test]
    fn what_passes_is_delivered_and_nothing_else(
        input in stream(),
        written in vec(1..40_usize, 1..5),
        read_sizes in vec(1..64_usize, 1..5),
    ) {
        let (passed, refused) = whole(requests(), &input);
        let (all, why) = run(async {
            let (client, mut io) = pair();
            let (_, result) = tokio::join!(write(client, &input, &written), read(&mut io, &read_sizes));
            result
        });
        prop_assert_eq!(&all[..], &input[..passed]);
        match refused {
            Some(_) => prop_assert_eq!(why, refused),
            // Where it ends too early, that is found out.
            None => prop_assert!(matches!(why, None | Some(Malformed::Truncated))),
        }
    }
}

#[test]
fn a_refusal_is_repeated_and_nothing_is_kept() {
    run(async {
        let (mut client, mut io) = pair();
        let watch = io.watch();
        client
            .write_all(&[GET, b"GET / HTTP/1.1\nHost: a\r\n\r\n"].concat())
            .await
            .unwrap();
        let mut all = vec![0; 100];
        assert_eq!(io.read(&mut all).await.unwrap(), GET.len());
        for _ in 0..2 {
            let error = io.read(&mut all).await.unwrap_err();
            assert_eq!(why(&error), Some(Malformed::BareLf));
            assert_eq!((io.held(), watch.phase()), (0, Phase::Refused));
        }
        io.write_all(b"HTTP/1.1 400 \r\n\r\n").await.unwrap();
        assert_eq!(client.read(&mut all).await.unwrap(), 17);
    });
}

#[test]
fn a_head_is_held_back_until_it_is_whole() {
    run(async {
        let (mut client, mut io) = pair();
        let watch = io.watch();
        let mut all = vec![0; 100];
        client.write_all(&GET[..GET.len() - 1]).await.unwrap();
        tokio::select! {
            biased;
            read = io.read(&mut all) => panic!("{read:?}"),
            () = yield_now() => {}
        }
        assert_eq!(watch.phase(), Phase::Head);
        client.write_all(b"\n").await.unwrap();
        assert_eq!(io.read(&mut all).await.unwrap(), GET.len());
        assert_eq!(&all[..GET.len()], GET);
        assert_eq!(watch.phase(), Phase::Between);
    });
}

#[test]
fn after_an_upgrade_all_passes() {
    run(async {
        let (mut client, mut io) = pair();
        let watch = io.watch();
        client.write_all(GET).await.unwrap();
        let mut all = vec![0; 100];
        assert_eq!(io.read(&mut all).await.unwrap(), GET.len());
        watch.become_opaque();
        client.write_all(b"\x81\0\n").await.unwrap();
        assert_eq!(io.read(&mut all).await.unwrap(), 3);
        assert_eq!(watch.phase(), Phase::Opaque);
        drop(client);
        assert_eq!(io.read(&mut all).await.unwrap(), 0);
    });
}

#[test]
fn the_protocol_is_told_before_anything_is_read() {
    for (protocol, input) in [
        (
            Some(Protocol::Http2),
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04"[..],
        ),
        (
            Some(Protocol::Http1),
            b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (Some(Protocol::Http1), GET),
        (None, b""),
    ] {
        for size in [1, 5, 64] {
            run(async {
                let (client, mut io) = pair();
                let sizes = [size];
                let (_, found) = tokio::join!(write(client, input, &sizes), io.protocol());
                assert_eq!(found.unwrap(), protocol);
                if protocol == Some(Protocol::Http2) {
                    io.become_opaque();
                }
                assert_eq!(read(&mut io, &[7]).await, (input.to_vec(), None));
            });
        }
    }
}

#[test]
fn http_2_does_not_pass_unless_somebody_says_so() {
    run(async {
        let (mut client, mut io) = pair();
        client
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(io.protocol().await.unwrap(), Some(Protocol::Http2));
        assert_eq!(io.watch().refusal(), None);
        assert_eq!(
            read(&mut io, &[64]).await,
            (Vec::new(), Some(Malformed::Preface))
        );
        assert_eq!(io.watch().refusal(), Some(Malformed::Preface));
    });
}

#[test]
fn what_is_not_http_is_told_at_once() {
    run(async {
        let (mut client, mut io) = pair();
        client.write_all(b"\x16\x03\x01").await.unwrap();
        let error = io.protocol().await.unwrap_err();
        assert!(why(&error).unwrap().to_string().contains("TLS"));
    });
}
