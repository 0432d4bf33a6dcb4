//! What the sieve costs: `cargo test --release -p guard-user --lib sieve::tests::speed -- --ignored --nocapture`.

use std::{hint::black_box, time::Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{super::SievedIo, requests};

const GET: &[u8] =
    b"GET /a HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

/// Best of five, as others use the machine too.
fn best(mut once: impl FnMut()) -> f64 {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        once();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

/// A body of that many mebibytes in chunks of that many bytes.
fn chunked(chunk: usize, mebibytes: usize) -> Vec<u8> {
    let one = [
        format!("{chunk:x}\r\n").into_bytes(),
        vec![b'x'; chunk],
        b"\r\n".to_vec(),
    ]
    .concat();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    [
        &head[..],
        &one.repeat((mebibytes << 20) / chunk),
        b"0\r\n\r\n",
    ]
    .concat()
}

#[test]
#[ignore = "it measures"]
fn the_sieve() {
    let many = GET.repeat(10_000);
    let heads = best(|| assert_eq!(black_box(requests()).pass(black_box(&many)), Ok(many.len())));
    println!("a GET of {} bytes: {:.0} ns", GET.len(), heads * 1e5);
    for chunk in [16, 1024, 16 * 1024] {
        let body = chunked(chunk, 16);
        let time =
            best(|| assert_eq!(black_box(requests()).pass(black_box(&body)), Ok(body.len())));
        println!(
            "chunks of {chunk} bytes: {:.0} MB/s",
            body.len() as f64 / time / 1e6
        );
    }
}

#[test]
#[ignore = "it measures"]
fn a_connection() {
    let size = 256 << 20;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for sieved in [true, false] {
        let time = best(|| {
            runtime.block_on(async {
                let (mut client, server) = duplex(64 << 10);
                let send = async {
                    client.write_all(head.as_bytes()).await.unwrap();
                    let piece = vec![b'x'; 64 << 10];
                    for _ in 0..size / piece.len() {
                        client.write_all(&piece).await.unwrap();
                    }
                    drop(client);
                };
                let receive = async {
                    if sieved {
                        count(SievedIo::new(server, requests())).await
                    } else {
                        count(server).await
                    }
                };
                let (_, received) = tokio::join!(send, receive);
                assert_eq!(received, size + head.len());
            });
        });
        println!(
            "a body over a pipe, sieved: {sieved}: {:.0} MB/s",
            size as f64 / time / 1e6
        );
    }
}

async fn count(mut io: impl AsyncReadExt + Unpin) -> usize {
    let (mut buffer, mut all) = (vec![0; 64 << 10], 0);
    loop {
        match io.read(&mut buffer).await.unwrap() {
            0 => return all,
            length => all += length,
        }
    }
}
