//! What passes because a hole for everything is open, and that this ends with it.

use super::*;

const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

async fn arrives(to: &Destination, word: &str) {
    let arrives = async {
        while !to.text().ends_with(word) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, arrives).await.unwrap();
}

#[tokio::test]
async fn what_passes_by_a_hole_ends_with_it() {
    here(async {
        for head in [
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
        ] {
            let to = Destination::new(b"websocket\r\n\r\n", SWITCH, 9).await;
            let lab = Lab::new(everything(), no(), to.at).await;
            let mut client = lab.client().await;
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(b"while it is open").await.unwrap();
            arrives(&to, "while it is open").await;
            // Something else may have changed.
            lab.link.renew();
            client.write_all(b", and still is").await.unwrap();
            arrives(&to, ", and still is").await;

            *lab.guardd.terms.borrow_mut() = read_only();
            lab.link.renew();
            let ends = async { while matches!(client.read(&mut [0; 1024]).await, Ok(1..)) {} };
            tokio::time::timeout(TIMEOUT, ends).await.unwrap();
            let _ = client.write_all(b"afterwards").await;
            let logged = |guardd: &Guardd| !guardd.logged.borrow().is_empty();
            lab.guardd.until("it is in the log", logged).await;
            assert!(to.text().ends_with(", and still is"), "{}", to.text());
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_read_without_one_goes_on() {
    here(async {
        let to = Destination::new(b"\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n", 9).await;
        let lab = Lab::new(read_only(), no(), to.at).await;
        let mut client = lab.client().await;
        for _ in 0..3 {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .await
                .unwrap();
            let mut answer = [0; 27];
            client.read_exact(&mut answer).await.unwrap();
            lab.link.renew();
        }
    })
    .await;
}
