//! The ways that are known: CL.TE, TE.CL, TE.TE, and what else servers have disagreed about.

use super::judges::{Judges, scene, smuggled, text};
use guard_lab::Tested;

/// Lines of a head beside `Content-Length`, which counts all; who believes the coding sees the body end at once.
const CODINGS: &[&str] = &[
    "Transfer-Encoding: chunked",
    "transfer-encoding: CHUNKED",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer_Encoding: chunked",
    " Transfer-Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\r\n\tTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Connection: Content-Length\r\nTransfer-Encoding: chunked",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
];

/// Two lengths, `ALL` and `0`, of which servers take the first, the last, or one.
const LENGTHS: &[&str] = &[
    "Content-Length: 0\r\nContent-Length: ALL",
    "Content-Length: ALL\r\nContent-Length: 0",
    "content-length: 0\r\nCONTENT-LENGTH: ALL",
    "Content-Length: 0, ALL",
    "Content-Length: 0\r\nContent-Length : ALL",
    "Content-Length: 0\r\nContent_Length: ALL",
    "Content-Length: 0\r\n Content-Length: ALL",
    "Content-Length: 0\r\nX: y\nContent-Length: ALL",
];

fn post(fields: &str, body: &str) -> Vec<u8> {
    let fields = fields.replace("ALL", &body.len().to_string());
    let head = format!("POST /search HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    [head.as_bytes(), body.as_bytes()].concat()
}

/// All of them; each smuggles what has its number.
fn cases() -> Vec<Vec<u8>> {
    let mut cases: Vec<Vec<u8>> = Vec::new();
    for coding in CODINGS {
        let body = format!("0\r\n\r\n{}", smuggled(cases.len()));
        cases.push(post(&format!("Content-Length: ALL\r\n{coding}"), &body));
    }
    for lengths in LENGTHS {
        let body = smuggled(cases.len());
        cases.push(post(lengths, &body));
    }
    let others = [
        te_cl,
        size_with_prefix,
        extension,
        lines_end_with_lf,
        lf_ends_the_head,
    ];
    for other in others {
        let number = cases.len();
        cases.push(other(&smuggled(number)));
    }
    cases
}

/// Who believes the length sees it end behind the size of the chunk.
fn te_cl(smuggled: &str) -> Vec<u8> {
    let size = format!("{:x}\r\n", smuggled.len());
    let fields = format!(
        "Content-Length: {}\r\nTransfer-Encoding: chunked",
        size.len()
    );
    post(&fields, &format!("{size}{smuggled}\r\n0\r\n\r\n"))
}

/// To some 0x2c is 44, to others 0 and something.
fn size_with_prefix(smuggled: &str) -> Vec<u8> {
    let size = smuggled.len() + 2;
    let body = format!("0x{size:x}\r\n\r\n{smuggled}\r\n0\r\n\r\n");
    post("Transfer-Encoding: chunked", &body)
}

/// An extension that ends with LF: the chunk begins there, or behind the next CR LF.
fn extension(smuggled: &str) -> Vec<u8> {
    let inner = format!("0\r\n\r\n{smuggled}");
    let body = format!("2;\nxx\r\n{:02x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    post("Transfer-Encoding: chunked", &body)
}

/// To who wants CR LF it is one head.
fn lines_end_with_lf(smuggled: &str) -> Vec<u8> {
    post(
        &format!("Content-Length: 0\r\nX: y\n\n{}", smuggled.trim_end()),
        "",
    )
}

/// The same, with the CR of the line before.
fn lf_ends_the_head(smuggled: &str) -> Vec<u8> {
    post(
        &format!("Content-Length: 0\r\n\n{}", smuggled.trim_end()),
        "",
    )
}

#[test]
fn what_each_smuggles_without_the_guard_does_not_arrive_with_it() -> Tested {
    let scene = scene()?;
    let mut judges = Judges::start(&scene);
    let cases = cases();
    let (arrived, _) = judges.hear(&scene, &mut scene.unguarded()?, &cases)?;
    let [length, coding] = arrived.map(|judge| judge.smuggled());
    for (number, case) in cases.iter().enumerate() {
        assert!(
            length.contains(&number) != coding.contains(&number),
            "the judges agree about {}",
            text(case)
        );
    }
    let (arrived, told) = judges.hear(&scene, &mut scene.agent()?, &cases)?;
    for judge in &arrived {
        assert_eq!(judge.forbidden(), [""; 0], "{judge:?}");
    }
    // It is said to whoever sent it, and nobody is asked what cannot be told.
    assert_eq!(told, format!("400 {}\n", 2 * cases.len()));
    assert_eq!(scene.pending()?, [""; 0]);
    Ok(())
}

/// What has one reading, beside: chunks pass, and what looks like a request in them is none.
#[test]
fn a_body_that_looks_like_a_request_is_a_body() -> Tested {
    let scene = scene()?;
    let mut judges = Judges::start(&scene);
    let body = smuggled(0);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let cases = [
        post("Content-Length: ALL", &body),
        post("Transfer-Encoding: chunked", &chunked),
        post("Transfer-Encoding: CHUNKED", &chunked),
    ];
    let (arrived, told) = judges.hear(&scene, &mut scene.agent()?, &cases)?;
    assert_eq!(told, "200 6\n");
    for judge in &arrived {
        assert_eq!(
            (judge.count(), judge.forbidden().len()),
            (3, 0),
            "{judge:?}"
        );
    }
    Ok(())
}
