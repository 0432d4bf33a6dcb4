//! The client against peers that misbehave: what is tested is the codec.

use std::thread::{self, JoinHandle};

use guard_proto::{
    ErrorName, HoleTerms, HolesReply, LogRecord, PolicyRef,
    calls::{Assign, Run},
    varlink::{MAX_FRAME, MAX_POLICY_FRAME},
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::failure::start_commands;
use super::*;

/// A client whose peer reads one call, writes `script`, and closes. The handle gives the call.
fn against(script: &[u8]) -> (Client, JoinHandle<Vec<u8>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let script = script.to_owned();
    let peer = thread::spawn(move || {
        let mut theirs = BufReader::new(theirs);
        let mut call = Vec::new();
        theirs.read_until(0, &mut call).unwrap();
        // The client may have hung up on a script that is too long.
        let _ = theirs.get_mut().write_all(&script);
        call
    });
    (
        Client::over(ours, Path::new("/run/test.sock"), TrustedPeer::Root),
        peer,
    )
}

fn holes(script: &[u8]) -> Result<HolesReply, CliError> {
    against(script).0.call(&Call::Holes {})
}

fn why(error: CliError) -> String {
    error.failure().unwrap().why.clone()
}

#[test]
fn a_call_is_a_frame_and_has_an_answer() {
    let (mut client, peer) = against(b"{\"parameters\":{\"holes\":[]}}\0");
    let answer: HolesReply = client.call(&Call::Holes {}).unwrap();
    assert!(answer.holes.is_empty());
    let call = String::from_utf8(peer.join().unwrap()).unwrap();
    insta::assert_snapshot!(call.trim_end_matches('\0'), @r#"{"method":"org.guardd.Control.Holes","parameters":{}}"#);
}

/// systemd closes what waits where guardd cannot start, and a guardd that has just started may do so as well.
#[test]
fn a_call_that_nobody_read_is_made_once_more() {
    for (closed, answered) in [(1, true), (2, false)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guardd.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut client = Client::connect_inside(&path).unwrap();
        let peer = thread::spawn(move || {
            for _ in 0..closed {
                // What is closed with something unread in it is reset.
                let (unread, _) = listener.accept().unwrap();
                rustix::net::recv(&unread, &mut [0_u8; 1], rustix::net::RecvFlags::PEEK).unwrap();
            }
            if answered {
                let (mut read, _) = listener.accept().unwrap();
                BufReader::new(read.try_clone().unwrap())
                    .read_until(0, &mut Vec::new())
                    .unwrap();
                read.write_all(b"{\"parameters\":{\"holes\":[]}}\0")
                    .unwrap();
            }
        });
        let answer = client.call::<HolesReply>(&Call::Holes {});
        assert_eq!(answer.is_ok(), answered, "{answer:?}");
        if let Err(error) = answer {
            assert_eq!(why(error), "it stopped, or cannot start");
        }
        peer.join().unwrap();
    }
}

/// As guardd does with whom it does not know, or who has too many connections.
#[test]
fn whoever_is_turned_away_before_the_call_learns_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guardd.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let stream = UnixStream::connect(&path).unwrap();
    let (mut turned_away, _) = listener.accept().unwrap();
    let told = r#"{"error":"org.guardd.Control.Refused","parameters":{"what":"no","why":"too many","fix":"wait"}}"#;
    turned_away.write_all(told.as_bytes()).unwrap();
    turned_away.write_all(&[0]).unwrap();
    drop(turned_away);
    let mut client = Client::over(stream, &path, TrustedPeer::Root);
    let answer = client.call::<HolesReply>(&Call::Holes {});
    assert_eq!(why(answer.unwrap_err()), "too many");
}

#[test]
fn calls_survive_the_wire() {
    let terms = HoleTerms {
        seconds: Some(900.0),
        connections: Some(3),
        read_only: true,
        ..HoleTerms::default()
    };
    let bytes = varlink::call(
        &Call::Approve {
            id: "r1".into(),
            path: None,
            writes: false,
            prefix: false,
            tried: None,
            address: false,
            always: false,
            terms,
        },
        false,
    )
    .unwrap();
    let (nul, json) = bytes.split_last().unwrap();
    assert_eq!(*nul, 0);
    insta::assert_snapshot!(String::from_utf8_lossy(json), @r#"{"method":"org.guardd.Control.Approve","parameters":{"id":"r1","for":900.0,"connections":3,"read_only":true}}"#);
    let back: Call = serde_json::from_slice(json).unwrap();
    assert!(matches!(back, Call::Approve { id, terms: back, .. } if id == "r1" && back == terms));
}

#[test]
fn a_stream_asks_for_more() {
    let bytes = varlink::call(&Call::Pending {}, true).unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(&bytes).trim_end_matches('\0'), @r#"{"method":"org.guardd.Control.Pending","parameters":{},"more":true}"#);
}

#[test]
fn a_stream_ends_when_guardd_says_so() {
    let script = br#"{"parameters":{"at":"2026-11-20T12:00:00Z","kind":"denied","session":"s1"},"continues":true}
{"parameters":{"at":"2026-11-20T12:00:01Z","kind":"daemon-stop","session":null}}"#;
    let script: Vec<u8> = script
        .split(|b| *b == b'\n')
        .flat_map(|frame| [frame, b"\0"].concat())
        .collect();
    let (client, _peer) = against(&script);
    let records: Result<Vec<LogRecord>, _> = client
        .stream(&Call::Log {
            follow: false,
            session: None,
            since: None,
        })
        .unwrap()
        .collect();
    assert_eq!(records.unwrap().len(), 2);
}

#[test]
fn an_empty_stream_has_no_records() {
    let (client, _peer) = against(b"{\"parameters\":{}}\0");
    let stream = client
        .stream::<LogRecord>(&Call::Log {
            follow: false,
            session: None,
            since: None,
        })
        .unwrap();
    assert_eq!(stream.count(), 0);
}

#[test]
fn a_stream_that_breaks_off_is_an_error() {
    let (client, _peer) =
        against(b"{\"parameters\":{\"at\":\"2026-11-20T12:00:00Z\",\"kind\":\"denied\"},\"continues\":true}\0");
    let records: Vec<_> = client
        .stream::<LogRecord>(&Call::Log {
            follow: true,
            session: None,
            since: None,
        })
        .unwrap()
        .collect();
    assert_eq!(records.len(), 2);
    assert!(records[0].is_ok() && records[1].is_err());
}

#[test]
fn errors_keep_their_name_and_failure() {
    let script =
        br#"{"error":"org.guardd.Control.No","parameters":{"what":"w","why":"y","fix":"f"}}"#;
    let error = holes(&[&script[..], b"\0"].concat()).unwrap_err();
    assert_eq!(error.exit(), super::super::error::Exit::NO);
    assert!(
        matches!(error, CliError::Answer { name: ErrorName::No, failure } if failure.fix == "f")
    );
}

#[test]
fn unknown_errors_are_no_answers() {
    for name in [
        "org.varlink.service.MethodNotFound",
        "org.guardd.Control.New",
        "org.guardd.ControlNo",
        "",
    ] {
        let script = format!("{{\"error\":\"{name}\",\"parameters\":{{}}}}\0");
        let error = holes(script.as_bytes()).unwrap_err();
        assert!(matches!(error, CliError::Local(_)), "{name}");
    }
}

#[test]
fn a_guardd_of_another_version_is_told_apart() {
    for (error, unknown) in [
        (
            "MethodNotFound\",\"parameters\":{\"method\":\"org.guardd.Control.New\"}",
            "org.guardd.Control.New",
        ),
        (
            "InvalidParameter\",\"parameters\":{\"parameter\":\"newer\"}",
            "InvalidParameter: newer",
        ),
    ] {
        let script = format!("{{\"error\":\"org.varlink.service.{error}}}\0");
        let failure = holes(script.as_bytes()).unwrap_err();
        let failure = failure.failure().unwrap();
        assert!(failure.why.contains(unknown), "{failure}");
        assert!(failure.fix.contains("guardd --version"), "{failure}");
    }
    // What a newer one says beside what is known is passed over.
    let newer = b"{\"parameters\":{\"holes\":[],\"warnings\":[],\"newer\":1}}\0";
    assert!(holes(newer).is_ok());
}

#[test]
fn garbage_is_not_understood() {
    for script in [
        "\0",
        "garbage\0",
        "[]\0",
        "{\"parameters\":{\"holes\":3}}\0",
        "{\"continues\":1}\0",
        "\u{1b}[2J\0",
    ] {
        let error = holes(script.as_bytes()).unwrap_err();
        assert!(
            error
                .failure()
                .unwrap()
                .what
                .starts_with("cannot understand"),
            "{script:?}: {error}"
        );
    }
}

#[test]
fn deep_nesting_is_not_understood() {
    let script = [vec![b'['; 100_000], vec![0]].concat();
    assert!(
        holes(&script)
            .unwrap_err()
            .failure()
            .unwrap()
            .what
            .starts_with("cannot understand")
    );
}

#[test]
fn early_ends_are_told_apart() {
    insta::assert_snapshot!(why(holes(b"").unwrap_err()), @"it closed the connection without an answer");
    insta::assert_snapshot!(why(holes(b"{\"parameters\":").unwrap_err()), @"it closed the connection in the middle of an answer");
}

#[test]
fn an_endless_answer_is_given_up_on() {
    let script = vec![b' '; usize::try_from(MAX_ANSWER).unwrap() + 10];
    insta::assert_snapshot!(why(holes(&script).unwrap_err()), @"its answer does not end");
}

#[test]
fn long_calls_are_refused_before_they_are_sent() {
    let close = Call::Close {
        ids: vec!["h".repeat(MAX_FRAME)],
        all: false,
        by: None,
    };
    let (mut client, _peer) = against(b"");
    assert!(matches!(
        client.call::<HolesReply>(&close),
        Err(CliError::Local(_))
    ));
    // What carries a policy's text may be longer.
    let assign = |length: usize| {
        let call = Call::Assign(Assign {
            policy: PolicyRef {
                name: None,
                file: None,
                text: Some("x".repeat(length)),
            },
            unit: None,
            name: None,
            owner: None,
        });
        check_length(&varlink::call(&call, false).unwrap())
    };
    assert!(assign(MAX_FRAME).is_ok());
    let refused = assign(MAX_POLICY_FRAME).unwrap_err();
    assert!(
        refused
            .failure()
            .unwrap()
            .fix
            .contains("/etc/guard/policies")
    );
}

#[test]
fn a_missing_daemon_brings_the_commands() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("guardd.sock");
    assert!(matches!(
        Client::connect(&socket),
        Err(CliError::NoDaemon(_))
    ));
    // A socket that nobody listens at.
    let deaf = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&deaf, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
    assert!(matches!(
        Client::connect(&socket),
        Err(CliError::NoDaemon(_))
    ));
    insta::assert_snapshot!(start_commands(Path::new(guard_proto::varlink::DEFAULT_SOCKET)), @r"
    start it:
    sudo systemctl start guardd
    or, where no systemd runs:
    sudo guardd
    ");
}

#[test]
fn a_long_frame_says_first_that_it_is_a_run() {
    let run = Run {
        policy: None,
        name: None,
        hold: None,
        command: Vec::new(),
        uid: 0,
        connects: false,
        scoped: false,
        root: false,
        observe: false,
        beside: None,
        agreed: false,
    };
    let bytes = varlink::call(&Call::Run(run), false).unwrap();
    assert!(bytes.starts_with(br#"{"method":"org.guardd.Control.Run""#));
}

#[test]
fn a_socket_that_may_not_be_used_says_who_may() {
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let error = failure::cannot_connect(Path::new("/run/guard/guardd.sock"), &denied);
    assert!(
        matches!(error, CliError::Local(_)),
        "a guardd may well run there"
    );
    let said = error.failure().unwrap();
    insta::assert_snapshot!(format!("{said}\n{}", said.fix), @r"
    cannot reach guardd at /run/guard/guardd.sock: you may not use that socket
    look at who may:
    ls -l /run/guard/guardd.sock
    ");
}

#[test]
fn a_socket_of_ones_own_brings_other_commands() {
    insta::assert_snapshot!(start_commands(Path::new("/run/mine/guardd.sock")), @r"
    start it, with the other options that it had (--config, --policy-dir, --pin-dir, --cgroup-root):
    sudo guardd --state-dir /run/mine
    or use the machine's own, without --socket and GUARD_SOCKET:
    sudo systemctl start guardd
    ");
}
