//! A control socket in the hands of somebody hostile.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use guard_lab::PATIENCE;
use guard_lab::{CONFIRMS, Daemon, Network, STRANGER, Tested};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use serde_json::Value;

/// guardd with nothing to do has a few MiB.
const BOUND: u64 = 64 * 1024;

fn started() -> (Network, Daemon) {
    let network = Network::new().unwrap();
    let daemon = Daemon::in_network(&network)
        .policy("asks", CONFIRMS)
        .start()
        .unwrap();
    (network, daemon)
}

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    stream
        .set_read_timeout(Some(guard_lab::patience(PATIENCE)))
        .unwrap();
    stream
        .set_write_timeout(Some(guard_lab::patience(PATIENCE)))
        .unwrap();
    stream
}

/// The next frame, or nothing where the connection has ended.
fn answer(stream: &mut UnixStream) -> Option<Value> {
    let mut frame = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) if byte == [0] => return Some(serde_json::from_slice(&frame).unwrap()),
            Ok(_) => frame.extend(byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&frame)),
        }
    }
}

/// It answers others although what came before goes on, and has not grown.
fn is_well(daemon: &Daemon, after: &str) {
    let mut stream = connect(daemon);
    stream
        .write_all(b"{\"method\":\"org.guardd.Control.Status\"}\0")
        .unwrap();
    let status = answer(&mut stream).expect(after);
    assert_eq!(status["parameters"]["enforcing"], true, "{after}: {status}");
    let resident = resident(daemon);
    assert!(resident < BOUND, "{after}: {resident} KiB");
}

/// Its resident memory, in KiB.
fn resident(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_is_no_call_gets_an_error_or_no_answer() -> Tested {
    let (_network, daemon) = started();
    let deep = format!("{{\"method\":{}1", "[".repeat(60_000));
    for (what, frame) in [
        ("garbage", &b"\xff\xfe\x00"[..]),
        ("no object", b"[]\0"),
        ("an empty frame", b"\0"),
        ("no method", b"{}\0"),
        (
            "an unknown method",
            b"{\"method\":\"org.guardd.Control.Explode\"}\0",
        ),
        (
            "an unknown interface",
            b"{\"method\":\"com.example.Guard.Open\"}\0",
        ),
        (
            "an unknown key",
            b"{\"method\":\"org.guardd.Control.Status\",\"parameters\":{\"x\":1}}\0",
        ),
        (
            "a wrong type",
            b"{\"method\":\"org.guardd.Control.Stop\",\"parameters\":{\"session\":1}}\0",
        ),
        (
            "a missing key",
            b"{\"method\":\"org.guardd.Control.Stop\",\"parameters\":{}}\0",
        ),
        (
            "no such session",
            b"{\"method\":\"org.guardd.Control.Stop\",\"parameters\":{\"session\":\"s9\"}}\0",
        ),
        ("deep", &[deep.as_bytes(), b"\0"].concat()),
    ] {
        let mut stream = connect(&daemon);
        stream.write_all(frame)?;
        let answer = answer(&mut stream);
        if let Some(answer) = answer {
            assert!(answer["error"].is_string(), "{what}: {answer}");
        }
        is_well(&daemon, what);
    }
    Ok(())
}

#[test]
fn a_connection_goes_on_after_a_call_that_was_refused() -> Tested {
    let (_network, daemon) = started();
    let mut stream = connect(&daemon);
    stream.write_all(b"{\"method\":\"org.guardd.Control.Explode\"}\0")?;
    assert!(answer(&mut stream).unwrap()["error"].is_string());
    stream.write_all(b"{\"method\":\"org.guardd.Control.Status\"}\0")?;
    assert_eq!(
        answer(&mut stream).unwrap()["parameters"]["enforcing"],
        true
    );
    Ok(())
}

#[test]
fn frames_that_do_not_end_are_cut_off() -> Tested {
    let (_network, daemon) = started();
    let heads = [
        "",
        "{\"method\":\"org.guardd.Control.Status\"",
        "{\"method\":\"org.guardd.Control.Run\"",
    ];
    for head in heads {
        let mut stream = connect(&daemon);
        stream.write_all(head.as_bytes())?;
        let chunk = [b' '; 64 * 1024];
        // 10 MiB, unless it has had enough before.
        let sent = (0..160)
            .take_while(|_| stream.write_all(&chunk).is_ok())
            .count();
        is_well(&daemon, &format!("{} KiB after {head:?}", sent * 64));
    }
    let mut stream = connect(&daemon);
    stream.write_all(b"{\"method\":\"org.gua")?;
    stream.shutdown(Shutdown::Write)?;
    if let Some(answer) = answer(&mut stream) {
        assert!(answer["error"].is_string(), "{answer}");
    }
    is_well(&daemon, "half a frame");
    Ok(())
}

#[test]
fn half_a_call_is_not_waited_for_long() -> Tested {
    let (_network, daemon) = started();
    let mut stream = connect(&daemon);
    stream.set_read_timeout(Some(guard_lab::patience(PATIENCE)))?;
    stream.write_all(b"{\"method\":\"org.gua")?;
    let error = answer(&mut stream).expect("an error");
    assert!(error.to_string().contains("too long"), "{error}");
    assert_eq!(answer(&mut stream), None);
    Ok(())
}

#[test]
fn half_closed_connections_get_their_answer() -> Tested {
    let (_network, daemon) = started();
    let mut stream = connect(&daemon);
    stream.write_all(b"{\"method\":\"org.guardd.Control.Status\"}\0")?;
    stream.shutdown(Shutdown::Write)?;
    assert_eq!(
        answer(&mut stream).unwrap()["parameters"]["enforcing"],
        true
    );
    assert_eq!(answer(&mut stream), None);
    Ok(())
}

#[test]
fn who_reads_no_answers_holds_up_nobody() -> Tested {
    let (_network, daemon) = started();
    let call = b"{\"method\":\"org.guardd.Control.Status\"}\0".repeat(1000);
    let mut deaf: Vec<_> = (0..8).map(|_| connect(&daemon)).collect();
    for stream in &mut deaf {
        stream.set_nonblocking(true)?;
        while stream.write(&call).is_ok_and(|sent| sent > 0) {}
    }
    is_well(&daemon, "a flood of calls");
    Ok(())
}

#[test]
fn idle_and_slow_connections_of_one_user_shut_out_no_other() -> Tested {
    let (_network, daemon) = started();
    // The kernel takes the peer's uid from the thread that connects.
    let held = thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let uid = Uid::from_raw(STRANGER);
            set_thread_res_uid(uid, uid, uid).unwrap();
            let mut held: Vec<_> = (0..500).map(|_| connect(&daemon)).collect();
            for stream in &mut held {
                // One too many is closed, which is fine.
                let _ = stream.write_all(b"{\"meth");
            }
            held
        });
        stranger.join().unwrap()
    });
    is_well(&daemon, "500 connections");
    let agent = daemon.agent(["sessions", "--json"]).run()?;
    assert_eq!(agent.code(), Some(0), "{agent:?}");
    assert_eq!(held.len(), 500);
    Ok(())
}

#[test]
fn it_stays_as_small_as_it_was() {
    let (_network, daemon) = started();
    is_well(&daemon, "the start");
    let before = resident(&daemon);
    for _ in 0..50 {
        let mut stream = connect(&daemon);
        // A frame as long as it reads, and one byte more.
        let _ = stream.write_all(&[b' '; 80 * 1024]);
        let _ = answer(&mut stream);
    }
    let after = resident(&daemon);
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
}
