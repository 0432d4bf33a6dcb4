//! What listens on the loopback outside of a session, and where it leads.

mod evicted;
mod late;
mod scene;

use std::{thread, time::Duration};

use guard_lab::{Attempt, Json as _, OPEN, Running, Shell, Tested, eventually, patience};
use scene::{DENIED, PATIENCE, PRODUCTION, READ_ALL, RelayScene, tcp};

#[test]
fn a_relay_is_judged_by_where_it_leads() -> Tested {
    let scene = RelayScene::new()?;
    let _relay = scene.relay("127.0.0.1", 5432, PRODUCTION, &["early"])?;
    assert!(scene.outside("127.0.0.1", 5432)?);
    let before = scene.reached(PRODUCTION)?;
    assert!(before > 0);
    let mut shell = scene.shell("asks")?;
    let first = shell.attempt(&tcp("127.0.0.1", 5432))?;
    assert_eq!(first.errno.as_deref(), Some("ECONNABORTED"), "{first:?}");
    let second = shell.attempt(&tcp("127.0.0.1", 5432))?;
    assert_eq!(second.errno.as_deref(), Some("EPERM"), "{second:?}");
    assert_eq!(scene.reached(PRODUCTION)?, before);
    let pending = scene.pending()?;
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert_eq!(pending[0]["destination"]["address"], PRODUCTION);
    assert_eq!(pending[0]["rule"], "production");
    assert_eq!(pending[0]["through"]["port"], 5432);
    assert_eq!(pending[0]["through"]["address"], "127.0.0.1");
    let comm = pending[0]["through"]["comm"].text()?;
    assert!(comm.contains("python"), "{comm}");
    // A hole for where it leads is one for the relay.
    let id = pending[0]["id"].text()?.to_owned();
    scene.daemon.root(["approve", &id]).run()?.success()?;
    let through = shell.attempt(&tcp("127.0.0.1", 5432))?;
    assert!(through.ok, "{through:?}");
    assert!(scene.reached(PRODUCTION)? > before);
    Ok(())
}

#[test]
fn what_leads_to_what_is_allowed_or_nowhere_is_reached() -> Tested {
    let scene = RelayScene::new()?;
    let _open = scene.relay("127.0.0.1", 5001, OPEN, &["early"])?;
    let _denied = scene.relay("127.0.0.1", 5002, DENIED, &["early"])?;
    let mut shell = scene.shell("asks")?;
    for _ in 0..3 {
        let open = shell.attempt(&tcp("127.0.0.1", 5001))?;
        assert!(open.ok, "{open:?}");
    }
    assert!(scene.outside("127.0.0.1", 5002)?);
    for _ in 0..2 {
        let denied = shell.attempt(&tcp("127.0.0.1", 5002))?;
        assert!(!denied.ok, "{denied:?}");
    }
    assert!(scene.pending()?.is_empty());
    // What does not listen is refused by the kernel, as anywhere.
    let nobody = shell.attempt(&tcp("127.0.0.1", 5003))?;
    assert_eq!(nobody.errno.as_deref(), Some("ECONNREFUSED"));
    Ok(())
}

#[test]
fn a_server_of_the_sessions_own_is_always_reached() -> Tested {
    let mut scene = RelayScene::new()?;
    let mut shell = scene.shell("shut")?;
    scene.serve(
        &mut shell,
        "127.0.0.1 6001 127.0.0.2 6002 ::1 6003 0.0.0.0 6004 :: 6005",
    )?;
    scene.serve(&mut shell, "mptcp 127.0.0.1 6006")?;
    scene.serve(&mut shell, "shared 127.0.0.1 6007")?;
    let own = [
        ("127.0.0.1", 6001),
        ("127.0.0.2", 6002),
        ("::1", 6003),
        ("127.0.0.3", 6004),
        ("::ffff:127.0.0.1", 6001),
        ("127.0.0.1", 6005),
        ("::1", 6005),
        ("0.0.0.0", 6004),
        ("127.0.0.1", 6006),
        ("127.0.0.1", 6007),
    ];
    let reach = |shell: &mut Shell| -> Tested {
        for (to, port) in own {
            let reached = shell.attempt(&tcp(to, port))?;
            assert!(reached.ok, "{to} {port}: {reached:?}");
        }
        Ok(())
    };
    reach(&mut shell)?;
    // A server outside is not, and that of another session neither.
    let _outside = scene.server("127.0.0.1", 6100)?;
    assert!(scene.outside("127.0.0.1", 6100)?);
    let mut other = scene.shell("shut")?;
    for _ in 0..2 {
        let refused = shell.attempt(&tcp("127.0.0.1", 6100))?;
        assert!(!refused.ok, "{refused:?}");
        let refused = other.attempt(&tcp("127.0.0.1", 6001))?;
        assert!(!refused.ok, "{refused:?}");
    }
    // The kernel needs nobody for it.
    scene.daemon.kill()?;
    reach(&mut shell)?;
    Ok(())
}

/// What is left of the connection before (TIME_WAIT) is at the server's end, where the SYN finds it in place of the listener.
#[test]
fn a_server_of_the_sessions_own_is_reached_again_from_the_same_port() -> Tested {
    let scene = RelayScene::new()?;
    let mut shell = scene.shell("shut")?;
    assert_eq!(scene.reach_again(&mut shell)?, "ended: reached");
    Ok(())
}

#[test]
fn what_listens_in_another_session_is_judged_like_anybody() -> Tested {
    let scene = RelayScene::new()?;
    let mut server = scene.shell("asks")?;
    scene.serve(&mut server, "127.0.0.1 6001")?;
    scene.relay_in(&mut server, &format!("127.0.0.1 6002 {OPEN} 5432 early"))?;
    let mut shell = scene.shell("asks")?;
    for port in [6001, 6002] {
        let reached = shell.attempt(&tcp("127.0.0.1", port))?;
        assert!(reached.ok, "{port}: {reached:?}");
    }
    // What that session may reach by a hole, this one may not through it.
    let session = server.session().to_owned();
    let open = ["open", PRODUCTION, "--all-ports", "--session", &session];
    scene.daemon.root(open).run()?.success()?;
    scene.relay_in(
        &mut server,
        &format!("127.0.0.1 6003 {PRODUCTION} 5432 early"),
    )?;
    let before = scene.reached(PRODUCTION)?;
    for _ in 0..2 {
        let refused = shell.attempt(&tcp("127.0.0.1", 6003))?;
        assert!(!refused.ok, "{refused:?}");
    }
    assert_eq!(scene.reached(PRODUCTION)?, before);
    scene.relay_in(&mut server, &format!("127.0.0.1 6004 {PRODUCTION} 5432"))?;
    is_found_out(&scene, &mut shell, 6004)?;
    // Whoever serves there may have been started by whoever listens, and be connected already.
    let script = format!(
        "
import os, socket, sys
server = socket.create_server(('127.0.0.1', 6005))
if os.fork():
    os.wait()
upstream = socket.create_connection(('{PRODUCTION}', 5432))
print('listening', flush=True)
while True:
    client, _ = server.accept()
    upstream.sendall(client.recv(65536))
    client.sendall(upstream.recv(65536))
    client.close()
"
    );
    let file = scene.daemon.dir().join("prefork.py");
    std::fs::write(&file, script)?;
    let run = format!("/usr/bin/python3 {} &", file.display());
    server.tell(&run)?;
    server.line_with("listening")?;
    assert!(scene.outside("127.0.0.1", 6005)?);
    let refused = shell.attempt(&tcp("127.0.0.1", 6005))?;
    assert!(!refused.ok, "{refused:?}");
    Ok(())
}

#[test]
fn a_connection_through_a_relay_waits_for_a_person() -> Tested {
    let scene = RelayScene::new()?;
    let _watcher = scene.watcher()?;
    let _relay = scene.relay("::1", 5432, PRODUCTION, &["early"])?;
    let mut shell = scene.shell("asks")?;
    let before = scene.reached(PRODUCTION)?;
    for known in [false, true] {
        let attempt = tcp("::1", 5432).timeout(Duration::from_secs(15));
        shell.begin(&attempt)?;
        let mut held = Vec::new();
        eventually("it waits", || {
            held = scene.pending()?;
            Ok(held.first().is_some_and(|one| one["held"] == true))
        })?;
        assert_eq!(held[0]["destination"]["address"], PRODUCTION, "{known}");
        assert_eq!(held[0]["through"]["address"], "::1");
        assert_eq!(scene.reached(PRODUCTION)?, before);
        let id = held[0]["id"].text()?.to_owned();
        let answer = if known {
            ["approve", &id, "--for", "10s"]
        } else {
            ["deny", &id, "--for", "1s"]
        };
        scene.daemon.root(answer).run()?.success()?;
        let report = guard_lab::Report::parse(&shell.line_with("\"ok\"")?)?;
        assert_eq!(report.ok, known, "{report:?}");
        thread::sleep(patience(Duration::from_millis(1500)));
    }
    assert!(scene.reached(PRODUCTION)? > before);
    Ok(())
}

/// As through `ssh -L`, which leads to its server and to where that leads: it waits on for the second after a yes to the first.
#[test]
fn a_connection_through_a_relay_waits_for_a_yes_to_each_upstream() -> Tested {
    let scene = RelayScene::new()?;
    let _watcher = scene.watcher()?;
    let also = format!("also={PRODUCTION}:443");
    let _relay = scene.relay("::1", 5432, PRODUCTION, &["early", &also])?;
    let mut shell = scene.shell("asks")?;
    shell.begin(&tcp("::1", 5432).timeout(Duration::from_secs(25)))?;
    let mut ports = Vec::new();
    for _ in 0..2 {
        let mut held = None;
        eventually("a person is asked", || {
            let mut pending = scene.pending()?.into_iter();
            held = pending.find(|one| one["held"] == true);
            Ok(held.is_some())
        })?;
        let held = held.unwrap();
        assert_eq!(held["destination"]["address"], PRODUCTION, "{held}");
        ports.push(held["destination"]["port"].as_u64());
        let id = held["id"].text()?;
        scene.daemon.root(["approve", id]).run()?.success()?;
    }
    ports.sort_unstable();
    assert_eq!(ports, [Some(443), Some(5432)]);
    let report = guard_lab::Report::parse(&shell.line_with("\"ok\"")?)?;
    assert!(report.ok, "{report:?}");
    Ok(())
}

/// The same: each takes a hole of its own.
#[test]
fn a_connection_through_a_relay_ends_with_the_first_of_its_holes() -> Tested {
    let scene = RelayScene::new()?;
    let also = format!("also={PRODUCTION}:443");
    let _relay = scene.relay("::1", 5432, PRODUCTION, &["early", &also])?;
    let mut shell = scene.shell("asks")?;
    for (first, last) in [("tcp/443", "tcp/5432"), ("tcp/5432", "tcp/443")] {
        assert!(!shell.reaches(&tcp("::1", 5432))?);
        let open = |ports, time| {
            let open = ["open", PRODUCTION, "--ports", ports, "--for", time];
            scene.daemon.json(open)
        };
        open(last, "1h")?;
        assert!(!shell.reaches(&tcp("::1", 5432))?, "{first} asks, too");
        open(first, "10s")?;
        shell.begin(&Attempt::new("hold-open", "::1", 5432))?;
        shell.line_with("echo")?;
        let report = shell.line_with("\"ok\"")?;
        assert!(report.contains("ECONNABORTED"), "{first}: {report}");
        scene.daemon.json(["close", "--all"])?;
    }
    Ok(())
}

/// As through `ssh -L`, of which each end is allowed for one connection. What is refused in between takes none.
#[test]
fn a_connection_through_a_relay_takes_one_of_each_of_its_holes() -> Tested {
    for at in ["127.0.0.1", "::1"] {
        let scene = RelayScene::new()?;
        let also = format!("also={PRODUCTION}:443");
        let _relay = scene.relay(at, 5432, PRODUCTION, &["early", &also])?;
        assert!(scene.outside(at, 5432)?);
        let mut shell = scene.shell("asks")?;
        let before = scene.reached(PRODUCTION)?;
        let mut asked = Vec::<String>::new();
        let no_hole: &[Option<u64>] = &[];
        for left in [no_hole, &[Some(1)]] {
            let mut next: Option<String> = None;
            eventually("it is asked about", || {
                assert!(!shell.attempt(&tcp(at, 5432)).is_ok_and(|report| report.ok));
                let pending = scene.pending()?;
                let mut ids = pending.iter().filter_map(|one| one["id"].as_str());
                next = ids
                    .find(|id| !asked.iter().any(|old| old == id))
                    .map(str::to_owned);
                Ok(next.is_some())
            })?;
            for _ in 0..3 {
                assert!(!shell.reaches(&tcp(at, 5432))?, "{at}");
            }
            assert_eq!(scene.left()?, left, "{at}");
            let id = next.unwrap();
            let approve = ["approve", &id, "--connections", "1"];
            scene.daemon.root(approve).run()?.success()?;
            asked.push(id);
        }
        assert_eq!(scene.reached(PRODUCTION)?, before);
        assert_eq!(scene.left()?, [Some(1), Some(1)], "{at}");
        let through = shell.attempt(&tcp(at, 5432))?;
        assert!(through.ok, "{at}: {through:?}");
        assert_eq!(scene.left()?, [Some(0), Some(0)], "{at}");
        assert!(scene.reached(PRODUCTION)? > before);
        assert!(!shell.reaches(&tcp(at, 5432))?, "{at}");
    }
    Ok(())
}

/// It goes on as long as its holes do, however much it sends, and takes nothing more of them.
#[test]
fn a_connection_of_two_counted_holes_takes_none_with_its_packets() -> Tested {
    let scene = RelayScene::new()?;
    let also = format!("also={PRODUCTION}:443");
    let _relay = scene.relay("127.0.0.1", 5432, PRODUCTION, &["early", &also])?;
    let mut shell = scene.shell("asks")?;
    assert!(!shell.reaches(&tcp("127.0.0.1", 5432))?);
    for ports in ["tcp/5432", "tcp/443"] {
        let warnings = scene.open_counted(PRODUCTION, ports, "3")?;
        assert!(warnings.contains("127.0.0.1:5432"), "{warnings}");
    }
    for left in [2_u64, 1, 0] {
        assert!(shell.reaches(&tcp("127.0.0.1", 5432))?, "{left}");
        assert_eq!(scene.left()?, [Some(left), Some(left)]);
    }
    assert!(!shell.reaches(&tcp("127.0.0.1", 5432))?);
    assert_eq!(scene.left()?, [Some(0), Some(0)]);
    Ok(())
}

#[test]
fn a_hole_for_a_port_counts_a_connection_once_wherever_it_leads() -> Tested {
    for at in ["127.0.0.1", "::1"] {
        let scene = RelayScene::new()?;
        let _relay = scene.relay(at, 5432, PRODUCTION, &["early"])?;
        assert!(scene.outside(at, 5432)?);
        let mut shell = scene.shell("near")?;
        assert!(!shell.reaches(&tcp(at, 5432))?);
        scene.open_counted(at, "tcp/5432", "2")?;
        for left in [1_u64, 0] {
            assert!(shell.reaches(&tcp(at, 5432))?, "{at}: {left}");
            assert_eq!(scene.left()?, [Some(left)], "{at}");
        }
        assert!(!shell.reaches(&tcp(at, 5432))?, "{at}");
        // One for where it leads is not for the port.
        scene.daemon.json(["close", "--all"])?;
        scene.open_counted(PRODUCTION, "tcp/5432", "1")?;
        for _ in 0..3 {
            assert!(!shell.reaches(&tcp(at, 5432))?, "{at}");
        }
        assert_eq!(scene.left()?, [Some(1)], "{at}");
    }
    Ok(())
}

#[test]
fn one_hole_for_all_upstreams_counts_a_connection_once() -> Tested {
    let scene = RelayScene::new()?;
    let also = format!("also={PRODUCTION}:443");
    let _relay = scene.relay("127.0.0.1", 5432, PRODUCTION, &["early", &also])?;
    let mut shell = scene.shell("asks")?;
    assert!(!shell.reaches(&tcp("127.0.0.1", 5432))?);
    scene.open_counted("192.0.2.0/28", "tcp/1-6000", "2")?;
    for left in [1_u64, 0] {
        assert!(shell.reaches(&tcp("127.0.0.1", 5432))?, "{left}");
        assert_eq!(scene.left()?, [Some(left)]);
    }
    assert!(!shell.reaches(&tcp("127.0.0.1", 5432))?);
    assert_eq!(scene.left()?, [Some(0)]);
    Ok(())
}

/// A socket remembers two: of a third it could not tell that it has taken one.
#[test]
fn a_connection_that_needs_three_counted_holes_takes_none() -> Tested {
    let scene = RelayScene::new()?;
    let also = [443, 8080].map(|port| format!("also={PRODUCTION}:{port}"));
    let more = ["early", also[0].as_str(), also[1].as_str()];
    let _relay = scene.relay("127.0.0.1", 5432, PRODUCTION, &more)?;
    let mut shell = scene.shell("asks")?;
    assert!(!shell.reaches(&tcp("127.0.0.1", 5432))?);
    eventually("a person is asked", || Ok(!scene.pending()?.is_empty()))?;
    for ports in ["tcp/5432", "tcp/443", "tcp/8080"] {
        let warnings = scene.open_counted(PRODUCTION, ports, "1")?;
        assert!(warnings.contains("3 destinations"), "{warnings}");
    }
    for _ in 0..3 {
        assert!(!shell.reaches(&tcp("127.0.0.1", 5432))?);
    }
    assert_eq!(scene.left()?, [Some(1); 3]);
    // It is said at once why, and nobody is asked for a fourth.
    eventually("it says why", || scene.says_many_budgets())?;
    assert!(scene.pending()?.is_empty());
    let guard = scene.daemon.program("guard")?;
    shell.tell(&format!("{} why --json", guard.display()))?;
    shell.line_with("open one of them without a budget")?;
    scene.daemon.json(["close", "h3"])?;
    scene
        .daemon
        .json(["open", PRODUCTION, "--ports", "tcp/8080"])?;
    assert!(shell.reaches(&tcp("127.0.0.1", 5432))?);
    assert_eq!(scene.left()?, [Some(0), Some(0), None]);
    Ok(())
}

/// Nothing waits for a person who has answered all.
#[test]
fn a_connection_that_waited_for_three_counted_holes_ends_with_the_last_yes() -> Tested {
    let scene = RelayScene::new()?;
    let _watcher = scene.watcher()?;
    let also = [443, 8080].map(|port| format!("also={PRODUCTION}:{port}"));
    let more = ["early", also[0].as_str(), also[1].as_str()];
    let _relay = scene.relay("::1", 5432, PRODUCTION, &more)?;
    assert!(scene.outside("::1", 5432)?);
    let mut shell = scene.shell("asks")?;
    shell.begin(&tcp("::1", 5432).timeout(patience(PATIENCE)))?;
    for _ in 0..3 {
        let mut held = None;
        eventually("a person is asked", || {
            let mut pending = scene.pending()?.into_iter();
            held = pending.find(|one| one["held"] == true);
            Ok(held.is_some())
        })?;
        let id = held.unwrap()["id"].text()?.to_owned();
        let approve = ["approve", &id, "--connections", "1"];
        scene.daemon.root(approve).run()?.success()?;
    }
    let report = guard_lab::Report::parse(&shell.line_with("\"ok\"")?)?;
    assert_eq!(report.errno.as_deref(), Some("ECONNABORTED"), "{report:?}");
    assert!(scene.says_many_budgets()?);
    // The next one is not held.
    let next = shell.attempt(&tcp("::1", 5432))?;
    assert_eq!(next.errno.as_deref(), Some("EPERM"), "{next:?}");
    assert_eq!(scene.left()?, [Some(1); 3]);
    Ok(())
}

/// It opens all that the listener leads to, whatever else is open there.
#[test]
fn a_hole_for_a_port_is_enough_where_upstreams_have_too_many() -> Tested {
    for at in ["127.0.0.1", "::1"] {
        let scene = RelayScene::new()?;
        let also = format!("also={PRODUCTION}:443");
        let _relay = scene.relay(at, 5432, PRODUCTION, &["early", &also])?;
        assert!(scene.outside(at, 5432)?);
        let mut shell = scene.shell("near")?;
        assert!(!shell.reaches(&tcp(at, 5432))?);
        for ports in ["tcp/5432", "tcp/443"] {
            scene.open_counted(PRODUCTION, ports, "1")?;
        }
        assert!(!shell.reaches(&tcp(at, 5432))?, "{at}");
        assert_eq!(scene.left()?, [Some(1), Some(1)], "{at}");
        scene.open_counted(at, "tcp/5432", "2")?;
        for left in [1_u64, 0] {
            assert!(shell.reaches(&tcp(at, 5432))?, "{at}: {left}");
            assert_eq!(scene.left()?, [Some(1), Some(1), Some(left)], "{at}");
        }
        assert!(!shell.reaches(&tcp(at, 5432))?, "{at}");
    }
    Ok(())
}

/// Which of those that share a port gets a connection is told by its packet: `connect` may have judged another one. The second one comes
/// while no guardd runs, so nobody has scanned it.
#[test]
fn a_hole_for_one_relay_opens_no_other_one_at_the_same_port() -> Tested {
    let mut scene = RelayScene::new()?;
    let _known = scene.relay("0.0.0.0", 5432, PRODUCTION, &["early", "shared"])?;
    let mut shell = scene.shell("asks")?;
    assert!(!shell.reaches(&tcp("127.0.0.1", 5432))?);
    scene.daemon.json(["open", PRODUCTION, "--all-ports"])?;
    assert!(shell.reaches(&tcp("127.0.0.1", 5432))?);
    scene.daemon.kill()?;
    let _unknown = scene.relay("0.0.0.0", 5432, DENIED, &["shared"])?;
    eventually("it gets some without the guard", || {
        scene.outside("127.0.0.1", 5432)?;
        Ok(scene.reached(DENIED)? > 0)
    })?;
    let (known, unknown) = (scene.reached(PRODUCTION)?, scene.reached(DENIED)?);
    // Each address has `connect` choose again between the two, and each attempt its packet.
    let mut attempt = |last: u8| {
        let attempt = Attempt::tcp(&format!("127.0.0.{last}"), 5432);
        shell.attempt(&attempt.timeout(patience(Duration::from_millis(250))))
    };
    for last in 1..=20 {
        attempt(last)?;
    }
    let mut more = (21..=250).cycle();
    eventually("the first one gets some", || {
        attempt(more.next().unwrap())?;
        Ok(scene.reached(PRODUCTION)? > known)
    })?;
    assert_eq!(scene.reached(DENIED)?, unknown);
    Ok(())
}

#[test]
fn a_relay_that_takes_a_servers_place_is_no_server() -> Tested {
    let mut scene = RelayScene::new()?;
    let mut shell = scene.shell("asks")?;
    let server = scene.server("127.0.0.1", 5432)?;
    for _ in 0..2 {
        assert!(shell.attempt(&tcp("127.0.0.1", 5432))?.ok);
    }
    drop(server);
    let relay = scene.relay("0.0.0.0", 5432, PRODUCTION, &["early"])?;
    let before = scene.reached(PRODUCTION)?;
    let refused = |shell: &mut Shell| {
        for to in ["127.0.0.1", "127.0.0.1", "127.0.0.2"] {
            let refused = shell.attempt(&tcp(to, 5432)).unwrap();
            assert!(!refused.ok, "{to}: {refused:?}");
        }
    };
    refused(&mut shell);
    // Nobody looks at what comes when no guardd runs; what is known stays known.
    let server = scene.server("127.0.0.1", 5001)?;
    assert!(shell.attempt(&tcp("127.0.0.1", 5001))?.ok);
    scene.daemon.kill()?;
    refused(&mut shell);
    assert!(shell.attempt(&tcp("127.0.0.1", 5001))?.ok);
    assert_eq!(scene.reached(PRODUCTION)?, before);
    drop((server, relay));
    let _server = scene.server("127.0.0.1", 5432)?;
    assert!(scene.outside("127.0.0.1", 5432)?);
    let refused = shell.attempt(&tcp("127.0.0.1", 5432))?;
    assert!(!refused.ok, "{refused:?}");
    scene.daemon.start()?;
    let reached = shell.attempt(&tcp("127.0.0.1", 5432))?;
    assert!(reached.ok, "{reached:?}");
    Ok(())
}

#[test]
fn a_relay_that_connects_for_each_is_found_out_once_and_for_all() -> Tested {
    let scene = RelayScene::new()?;
    let _relay = scene.relay("127.0.0.1", 5432, PRODUCTION, &[])?;
    let mut shell = scene.shell("asks")?;
    // Nothing tells of it before it has connected.
    let hold = Attempt::new("hold-open", "127.0.0.1", 5432);
    shell.begin(&hold)?;
    let ended = shell.line_with("\"ok\"")?;
    assert!(ended.contains("false"), "{ended}");
    let before = scene.reached(PRODUCTION)?;
    for _ in 0..2 {
        let refused = shell.attempt(&tcp("127.0.0.1", 5432))?;
        assert_eq!(refused.errno.as_deref(), Some("EPERM"), "{refused:?}");
    }
    assert_eq!(scene.reached(PRODUCTION)?, before);
    Ok(())
}

#[test]
fn what_is_read_through_a_relay_ends_when_it_is_found_out() -> Tested {
    let scene = RelayScene::new()?;
    let _server = scene.reads_from_production()?;
    let mut shell = scene.shell("reads")?;
    // Over one connection: what stays on this machine, and then production, until guardd sees that.
    assert_eq!(scene.read(&mut shell, "own")?, READ_ALL);
    let through = scene.read(&mut shell, "")?;
    assert!(!through.contains("wished"), "{through}");
    let before = scene.reached(PRODUCTION)?;
    assert!(before > 0);
    let again = scene.read(&mut shell, "")?;
    assert!(again.contains("after 0"), "{again}");
    assert_eq!(scene.reached(PRODUCTION)?, before);
    Ok(())
}

/// It does not have to be tried again: the proxy waits until guardd has scanned what listens there.
#[test]
fn the_first_read_of_a_server_passes_after_each_change_of_a_policy() -> Tested {
    let scene = RelayScene::new()?;
    let _server = scene.reads_from_production()?;
    let mut shell = scene.shell("reads")?;
    for round in 0..3 {
        assert_eq!(scene.read(&mut shell, "own")?, READ_ALL, "round {round}");
        let also = format!("198.51.100.{round}");
        scene.deny_also(&also)?;
    }
    Ok(())
}

#[test]
fn the_first_read_through_a_relay_is_judged_by_where_it_leads() -> Tested {
    for (to, asks) in [(PRODUCTION, true), (DENIED, false)] {
        let scene = RelayScene::new()?;
        let _relay = scene.relay("127.0.0.1", 7080, to, &["early"])?;
        assert!(scene.outside("127.0.0.1", 7080)?);
        let before = scene.reached(to)?;
        assert!(before > 0);
        let mut shell = scene.shell("reads")?;
        for attempt in 0..2 {
            let read = scene.read(&mut shell, "own")?;
            assert!(read.contains("after 0"), "{to}, {attempt}: {read}");
        }
        assert_eq!(scene.reached(to)?, before);
        let pending = scene.pending()?;
        assert_eq!(pending.len(), usize::from(asks), "{to}: {pending:?}");
        if asks {
            assert_eq!(pending[0]["destination"]["address"], to);
            assert_eq!(pending[0]["through"]["port"], 7080);
            let comm = pending[0]["comm"].text()?;
            assert!(comm.contains("python"), "{comm}");
        }
    }
    Ok(())
}

/// Tries until it is refused, for one connection after the other that ends at once, and sees that it stays so.
fn is_found_out(scene: &RelayScene, shell: &mut Shell, port: u16) -> Tested {
    let attempt = tcp("127.0.0.1", port);
    let refused = eventually("it is found out", || {
        !shell.attempt(&attempt).is_ok_and(|report| report.ok)
    });
    refused?;
    let before = scene.reached(PRODUCTION)?;
    for _ in 0..5 {
        let refused = shell.attempt(&attempt)?;
        assert_eq!(refused.errno.as_deref(), Some("EPERM"), "{refused:?}");
    }
    assert_eq!(scene.reached(PRODUCTION)?, before);
    // Also to people, once it is scanned again: nothing of its connections is left for them to see.
    let port = format!("127.0.0.1:{port}");
    let explain = ["explain", port.as_str(), "--policy", "asks"];
    eventually("people are told where it leads", || {
        let explained = scene.daemon.json(explain)?;
        assert_eq!(explained["verdict"], "confirm", "{explained}");
        Ok(explained["leads_to"][0]["address"] == PRODUCTION)
    })?;
    Ok(())
}

#[test]
fn a_relay_whose_connections_end_at_once_is_found_out() -> Tested {
    let scene = RelayScene::new()?;
    let _threads = scene.relay("127.0.0.1", 5432, PRODUCTION, &[])?;
    let _forks = scene.relay("127.0.0.1", 5433, PRODUCTION, &["fork"])?;
    let mut shell = scene.shell("asks")?;
    for port in [5432, 5433] {
        assert!(scene.outside("127.0.0.1", port)?);
        is_found_out(&scene, &mut shell, port)?;
    }
    Ok(())
}

#[test]
fn a_relay_to_a_relay_is_found_out_by_what_that_does() -> Tested {
    let scene = RelayScene::new()?;
    let _far = scene.relay("0.0.0.0", 5433, PRODUCTION, &[])?;
    let _near = scene.relay("127.0.0.1", 5432, "127.0.0.1 5433", &[])?;
    // By an address of the machine that is not its loopback's.
    let _own = scene.relay("127.0.0.1", 5434, "203.0.113.253 5433", &[])?;
    let mut shell = scene.shell("asks")?;
    for port in [5432, 5434] {
        assert!(scene.outside("127.0.0.1", port)?);
        is_found_out(&scene, &mut shell, port)?;
    }
    Ok(())
}

#[test]
fn a_relay_that_is_started_again_is_known_again() -> Tested {
    let scene = RelayScene::new()?;
    let relay = scene.relay("127.0.0.1", 5432, PRODUCTION, &[])?;
    let mut shell = scene.shell("asks")?;
    is_found_out(&scene, &mut shell, 5432)?;
    drop(relay);
    let _relay = scene.relay("127.0.0.1", 5432, PRODUCTION, &[])?;
    let before = scene.reached(PRODUCTION)?;
    let refused = shell.attempt(&tcp("127.0.0.1", 5432))?;
    assert!(!refused.ok, "{refused:?}");
    assert_eq!(scene.reached(PRODUCTION)?, before);
    Ok(())
}

/// The agent has a session inside its own listen there between two starts, and comes to that: so guardd looks at it.
#[test]
fn a_relay_is_known_again_whoever_listened_there_in_between() -> Tested {
    let scene = RelayScene::new()?;
    let mut relay = Some(scene.relay("127.0.0.1", 5432, PRODUCTION, &[])?);
    let mut shell = scene.shell("asks")?;
    is_found_out(&scene, &mut shell, 5432)?;
    for _ in 0..5 {
        drop(relay.take());
        scene.serve_further_inside(&mut shell, "127.0.0.1 5432")?;
        assert!(scene.outside("127.0.0.1", 5432)?);
        // On a busy machine guardd may not read in time who that is, and refuse it: it has looked at it all the same.
        shell.attempt(&tcp("127.0.0.1", 5432))?;
        let sessions = scene.daemon.json(["sessions"])?;
        assert_eq!(sessions.list()?.len(), 2, "{sessions}");
        shell.tell("kill $server; wait; echo gone")?;
        shell.line_with("gone")?;
        relay = Some(scene.relay("127.0.0.1", 5432, PRODUCTION, &[])?);
        let before = scene.reached(PRODUCTION)?;
        let refused = shell.attempt(&tcp("127.0.0.1", 5432))?;
        assert!(!refused.ok, "{refused:?}");
        assert_eq!(scene.reached(PRODUCTION)?, before);
        assert!(scene.outside("127.0.0.1", 5432)?);
    }
    Ok(())
}

/// One that listens at all addresses is the same program at each of them, and a second listener of it is no other one.
#[test]
fn a_relay_is_known_again_at_each_of_its_addresses() -> Tested {
    let scene = RelayScene::new()?;
    let mut relay = Some(scene.relay("0.0.0.0", 5432, PRODUCTION, &[])?);
    let mut shell = scene.shell("asks")?;
    is_found_out(&scene, &mut shell, 5432)?;
    for at in 2..6 {
        drop(relay.take());
        relay = Some(scene.relay("0.0.0.0", 5432, PRODUCTION, &[])?);
        let address = format!("127.0.0.{at}");
        let before = scene.reached(PRODUCTION)?;
        let refused = shell.attempt(&tcp(&address, 5432))?;
        assert!(!refused.ok, "{address}: {refused:?}");
        assert_eq!(scene.reached(PRODUCTION)?, before, "{address}");
        assert!(scene.outside(&address, 5432)?);
    }
    Ok(())
}

#[test]
fn what_a_session_is_refused_makes_no_relay_of_its_servers() -> Tested {
    let scene = RelayScene::new()?;
    let script = format!(
        "
import socket
server = socket.create_server(('127.0.0.1', 6001))
print('listening', flush=True)
while True:
    client, _ = server.accept()
    try:
        socket.create_connection(('{PRODUCTION}', 5432), 1).close()
    except OSError:
        pass
    while data := client.recv(65536):
        client.sendall(data)
    client.close()
"
    );
    let file = scene.daemon.dir().join("telemetry.py");
    std::fs::write(&file, script)?;
    let mut server = scene.shell("asks")?;
    let run = format!("/usr/bin/python3 {} &", file.display());
    server.tell(&run)?;
    server.line_with("listening")?;
    let mut shell = scene.shell("asks")?;
    for _ in 0..20 {
        let reached = shell.attempt(&tcp("127.0.0.1", 6001))?;
        assert!(reached.ok, "{reached:?}");
    }
    assert_eq!(scene.reached(PRODUCTION)?, 0);
    Ok(())
}

#[test]
fn a_server_that_talks_to_others_that_are_allowed_or_to_itself_stays_one() -> Tested {
    let scene = RelayScene::new()?;
    let script = "
import socket, sys, threading, time
server = socket.create_server(('127.0.0.1', 5432))
print('listening', flush=True)
def busy():
    at = 1
    while True:
        at = at % 60 + 1
        for to in [(f'198.51.100.{at}', 5432), ('127.0.0.1', 5432)]:
            try:
                socket.create_connection(to, 0.2).close()
            except OSError:
                pass
        time.sleep(0.005)
threading.Thread(target=busy, daemon=True).start()
def serve(client):
    try:
        while data := client.recv(65536):
            client.sendall(data)
    except OSError:
        pass
while True:
    client, _ = server.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
";
    let mut command = scene
        .network
        .dev()
        .command_as(guard_lab::AGENT, "/usr/bin/python3");
    let mut server = Running::start(command.args(["-c", script]))?;
    server.line_with("listening", PATIENCE)?;
    let mut shell = scene.shell("asks")?;
    for _ in 0..40 {
        let reached = shell.attempt(&tcp("127.0.0.1", 5432))?;
        assert!(reached.ok, "{reached:?}");
    }
    assert_eq!(scene.pending()?, Vec::<serde_json::Value>::new());
    Ok(())
}

#[test]
fn a_command_line_tells_where_a_program_leads() -> Tested {
    let scene = RelayScene::new()?;
    let to = format!("TCP:{PRODUCTION}:5432");
    let listen = "TCP-LISTEN:5432,bind=127.0.0.1,fork,reuseaddr";
    let _relay = scene.listens(5432, &["socat", listen, &to])?;
    let listen = "TCP-LISTEN:5433,bind=127.0.0.1,fork,reuseaddr";
    let _shell = scene.listens(5433, &["socat", listen, "EXEC:cat"])?;
    let mut shell = scene.shell("asks")?;
    for port in [5432, 5433] {
        assert!(scene.outside("127.0.0.1", port)?);
        for _ in 0..2 {
            let refused = shell.attempt(&tcp("127.0.0.1", port))?;
            assert!(!refused.ok, "{port}: {refused:?}");
        }
    }
    let pending = scene.pending()?;
    let of = |address: &str| {
        pending
            .iter()
            .find(|one| one["destination"]["address"] == address)
    };
    assert_eq!(
        of(PRODUCTION).unwrap()["through"]["comm"]
            .as_str()
            .map(|comm| &comm[..5]),
        Some("socat")
    );
    // Who leads anywhere is asked about by itself.
    let anywhere = of("127.0.0.1").unwrap();
    assert_eq!(anywhere["verdict"], "confirm");
    let id = anywhere["id"].text()?.to_owned();
    scene.daemon.root(["approve", &id]).run()?.success()?;
    let reached = shell.attempt(&tcp("127.0.0.1", 5433))?;
    assert!(reached.ok, "{reached:?}");
    Ok(())
}

#[test]
fn explain_says_who_listens_and_where_that_leads() -> Tested {
    let scene = RelayScene::new()?;
    let _relay = scene.relay("127.0.0.1", 5432, PRODUCTION, &["early"])?;
    let _server = scene.server("127.0.0.1", 5001)?;
    let explained = |args: &[&str]| -> Tested<_> {
        let mut all = vec!["explain"];
        all.extend(args);
        Ok(scene.daemon.json(all)?)
    };
    let relay = explained(&["127.0.0.1:5432", "--policy", "asks"])?;
    assert_eq!(relay["verdict"], "confirm");
    assert_eq!(relay["rule"], "production");
    assert_eq!(relay["leads_to"][0]["address"], PRODUCTION);
    assert!(relay["listener"]["pid"].is_number(), "{relay}");
    let server = explained(&["127.0.0.1:5001", "--policy", "asks"])?;
    assert_eq!(server["verdict"], "allow");
    assert_eq!(server["leads_to"].list()?.len(), 0);
    assert_eq!(
        explained(&["127.0.0.1:5002", "--policy", "asks"])?["listener"],
        serde_json::Value::Null
    );
    // Of a session its own servers, and its holes.
    let mut shell = scene.shell("shut")?;
    scene.serve(&mut shell, "127.0.0.1 5003")?;
    let session = shell.session().to_owned();
    let own = explained(&["127.0.0.1:5003", "--session", &session])?;
    assert_eq!(own["verdict"], "allow");
    assert_eq!(
        explained(&["127.0.0.1:5001", "--session", &session])?["verdict"],
        "deny"
    );
    Ok(())
}
