//! HTTP/2 frames of every kind, put together at random, against the whole proxy: no write arrives, whatever they are.

use proptest::{collection::vec, prelude::*, sample::select, strategy::ValueTree as _};

use super::{http2::destination, *};

/// Types of frames (RFC 9113 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a read begins with.
const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/x"),
    (":authority", "photos"),
];

/// What makes another request of one, or none, or is to make some server think so.
const FIELDS: &[(&str, &str)] = &[
    (":method", "DELETE"),
    (":method", "GET"),
    (":method", "get"),
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":path", "/other"),
    (":path", "*"),
    (":path", ""),
    (":path", "/x HTTP/1.1\r\nDELETE /y"),
    (":authority", "staging"),
    (":authority", "user@photos"),
    (":scheme", "https"),
    (":scheme", "file"),
    (":status", "200"),
    (":unknown", "x"),
    ("host", "photos"),
    ("host", "staging"),
    ("Host", "photos"),
    ("content-length", "0"),
    ("content-length", "5"),
    ("content-length", "5, 5"),
    ("content-length", "+5"),
    ("content_length", "5"),
    ("transfer-encoding", "chunked"),
    ("transfer_encoding", "chunked"),
    ("connection", "close"),
    ("keep-alive", "1"),
    ("upgrade", "websocket"),
    ("te", "gzip"),
    ("te", "trailers"),
    ("expect", "100-continue"),
    ("x-http-method-override", "DELETE"),
    ("cookie", "a=b"),
    ("x", "y\r\nz: w"),
    ("x", "\0"),
    ("x y", "z"),
    ("", "z"),
];

#[derive(Clone, Debug)]
enum Step {
    /// A head: what of a read is left out of it, what is added, and whether it is all.
    Head {
        without: Option<usize>,
        more: Vec<(&'static str, &'static str)>,
        ends: bool,
        cut: Option<usize>,
    },
    /// Data of the last stream, or trailers.
    Data(Vec<u8>, bool),
    Trailers(Vec<(&'static str, &'static str)>),
    /// Any frame at all.
    Any(u8, u8, u32, Vec<u8>),
    Noise(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let fields = || vec(select(FIELDS), 0..3);
    let without = prop::option::weighted(0.1, 0..GET.len());
    let cut = prop::option::weighted(0.1, 0..40_usize);
    let head =
        (without, fields(), any::<bool>(), cut).prop_map(|(without, more, ends, cut)| Step::Head {
            without,
            more,
            ends,
            cut,
        });
    let stream = select(vec![0, 1, 2, 3, 5, 1 << 31, u32::MAX]);
    let any_frame = (0..12_u8, any::<u8>(), stream, vec(any::<u8>(), 0..20));
    prop_oneof![
        8 => head,
        4 => (vec(any::<u8>(), 0..9), any::<bool>()).prop_map(|(data, ends)| Step::Data(data, ends)),
        1 => fields().prop_map(Step::Trailers),
        1 => any_frame.prop_map(|(kind, flags, stream, rest)| Step::Any(kind, flags, stream, rest)),
        1 => Just(Step::Any(WINDOW_UPDATE, 0, 0, vec![0, 0, 1, 0])),
        1 => Just(Step::Any(RST_STREAM, 0, 1, vec![0, 0, 0, 8])),
        1 => vec(any::<u8>(), 0..20).prop_map(Step::Noise),
    ]
}

/// RFC 9113 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Literal fields that no table keeps (RFC 7541 6.2.2), each shorter than 127 bytes.
fn block<'a>(fields: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn head(stream: u32, block: &[u8], ends: bool, cut: Option<usize>) -> Vec<u8> {
    let end = if ends { END_STREAM } else { 0 };
    match cut.filter(|at| *at < block.len()) {
        None => frame(HEADERS, END_HEADERS | end, stream, block),
        Some(at) => [
            frame(HEADERS, end, stream, &block[..at]),
            frame(CONTINUATION, END_HEADERS, stream, &block[at..]),
        ]
        .concat(),
    }
}

/// All that a client says, and at last a read of `/end`.
fn said(steps: &[Step]) -> Vec<u8> {
    let mut said = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut stream = 1_u32;
    for step in steps {
        said.extend(match step {
            Step::Head {
                without,
                more,
                ends,
                cut,
            } => {
                stream += 2;
                let kept = GET
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| Some(*at) != *without);
                let kept = kept.map(|(_, field)| field);
                // What has a colon comes first, or the head is none.
                let (pseudo, other): (Vec<_>, Vec<_>) =
                    more.iter().partition(|(name, _)| name.starts_with(':'));
                let block = block(kept.chain(pseudo).chain(other));
                head(stream, &block, *ends, *cut)
            }
            Step::Data(data, ends) => frame(DATA, u8::from(*ends), stream, data),
            Step::Trailers(fields) => head(stream, &block(fields), true, None),
            Step::Any(kind, flags, stream, payload) => frame(*kind, *flags, *stream, payload),
            Step::Noise(bytes) => bytes.clone(),
        });
    }
    let end = GET.map(|(name, value)| (name, if name == ":path" { "/end" } else { value }));
    said.extend(head(stream + 2, &block(&end), true, None));
    said
}

/// What arrives of it at a destination, once the end has, or the proxy has had enough.
async fn arrives(lab: &Lab, arrived: &RefCell<Vec<String>>, said: &[u8]) -> Vec<String> {
    let mut client = lab.client().await;
    // Whoever is sent nonsense may have closed already.
    let _ = client.write_all(said).await;
    let mut buffer = [0; 4096];
    let heard = async {
        while matches!(client.read(&mut buffer).await, Ok(1..))
            && !arrived.borrow().iter().any(|line| line.ends_with("/end"))
        {}
    };
    // A head that goes on in the next frame is waited for.
    let _ = tokio::time::timeout(Duration::from_millis(200), heard).await;
    arrived.take()
}

fn is_read(line: &str) -> bool {
    ["GET http://photos/", "GET http://staging/"]
        .iter()
        .any(|read| line.starts_with(read))
}

async fn try_all(cases: u32) {
    let (to, arrived) = destination().await;
    let lab = Lab::new(read_only(), no(), to).await;
    let mut runner = guard_rounds::runner(cases);
    let mut ends = 0;
    let steps = vec(step(), 0..6);
    for _ in 0..runner.config().cases {
        let steps = steps.new_tree(&mut runner).unwrap().current();
        let lines = arrives(&lab, &arrived, &said(&steps)).await;
        assert!(
            lines.iter().all(|line| is_read(line)),
            "{lines:?}: {steps:?}"
        );
        ends += u32::from(lines.iter().any(|line| line.ends_with("/end")));
    }
    // Else it would say little: most of it is HTTP/2 for the greater part.
    assert!(ends > cases / 5, "{ends} of {cases} arrive");
    assert!(!lab.guardd.asked.borrow().is_empty());
}

#[tokio::test]
async fn whatever_frames_come_no_write_arrives() {
    let tasks = LocalSet::new();
    tasks.run_until(try_all(400)).await;
}
