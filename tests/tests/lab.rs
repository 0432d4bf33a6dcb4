//! The lab itself, without a guard: all that tests rely on when they call a refusal one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use guard_lab::{
    AGENT, Attempt, Daemon, Network, Production, Running, Tested, V4, V6, bins, eventually,
};

const ELSEWHERE_V4: &str = "198.51.100.7";
const ELSEWHERE_V6: &str = "2001:db8:8::7";

const ICMP: u64 = 1;
const TCP: u64 = 6;
const UDP: u64 = 17;
const ICMPV6: u64 = 58;
const UDPLITE: u64 = 136;

/// Who tries what, and which packet must reach which address.
struct Case {
    uid: u32,
    attempt: Attempt,
    arrives_at: &'static str,
    protocol: u64,
}

fn case(uid: u32, kind: &str, to: &'static str, port: u16, protocol: u64) -> Case {
    Case {
        uid,
        attempt: Attempt::new(kind, to, port),
        arrives_at: to,
        protocol,
    }
}

/// A case with a second address; `arrives_at` is the one that must be reached.
fn by_way(uid: u32, kind: &str, to: [&str; 2], arrives_at: &'static str, protocol: u64) -> Case {
    Case {
        uid,
        attempt: Attempt::new(kind, to[0], 443).other(to[1]),
        arrives_at,
        protocol,
    }
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        case(AGENT, "mapped", V4, 443, TCP),
        case(AGENT, "put", V4, 80, TCP),
        case(AGENT, "mapped-udp", V4, 53, UDP),
        case(AGENT, "ping", V4, 0, ICMP),
        case(AGENT, "ping", V6, 0, ICMPV6),
        case(0, "raw", V4, 0, ICMP),
        case(0, "raw", V6, 0, ICMPV6),
        case(0, "packet", V4, 53, UDP),
        by_way(AGENT, "rthdr", [ELSEWHERE_V6, V6], V6, UDP),
        by_way(0, "lsrr", [ELSEWHERE_V4, V4], V4, UDP),
    ];
    for (to, elsewhere) in [(V4, ELSEWHERE_V4), (V6, ELSEWHERE_V6)] {
        for kind in ["tcp", "fastopen", "mptcp", "loop"] {
            cases.push(case(AGENT, kind, to, 443, TCP));
        }
        for kind in ["udp-send", "udp-connect", "udp-sendmmsg"] {
            cases.push(case(AGENT, kind, to, 53, UDP));
        }
        cases.push(case(AGENT, "udplite", to, 53, UDPLITE));
        cases.push(by_way(AGENT, "reconnect", [to, elsewhere], to, TCP));
        cases.push(by_way(AGENT, "udp-reconnect", [to, elsewhere], to, UDP));
    }
    cases
}

#[test]
fn each_way_reaches_production_and_is_written_down() -> Tested {
    let network = Network::new()?;
    for case in cases() {
        let production = Production::start(&network)?;
        let report = case.attempt.outside(network.dev(), case.uid)?;
        assert!(report.ok, "{:?}: {report:?}", case.attempt);
        let reached = production.reached()?;
        let arrived = reached.iter().any(|one| {
            one.to.to_string() == case.arrives_at && one.protocol() == Some(case.protocol)
        });
        assert!(arrived, "{:?}: {reached:?}", case.attempt);
    }
    Ok(())
}

#[test]
fn who_keeps_connecting_does_so() -> Tested {
    let (network, production) = Network::with_production()?;
    let probe = bins::for_everybody("guard-lab", network.tag())?;
    let mut keep = network.dev().command_as(AGENT, probe);
    let _keep = Running::start(keep.args(Attempt::new("keep", V4, 443).args()))?;
    eventually("it has tried many times", || {
        Ok(production.reached_at(V4, 443)?.len() > 20)
    })?;
    Ok(())
}

#[test]
fn a_port_without_a_server_refuses_and_the_packet_is_written_down() -> Tested {
    let (network, production) = Network::with_production()?;
    for to in [V4, V6] {
        let report = Attempt::tcp(to, 81).outside(network.dev(), AGENT)?;
        assert_eq!(report.errno.as_deref(), Some("ECONNREFUSED"));
        let reached = production.reached_at(to, 81)?;
        assert_eq!(reached.len(), 1);
        assert_eq!(reached[0].kind, "packet");
    }
    Ok(())
}

#[test]
fn a_request_is_answered_and_written_down() -> Tested {
    let (network, production) = Network::with_production()?;
    let answer = network.dev().enter(|| {
        let mut stream = TcpStream::connect((V4, 2283))?;
        stream.write_all(
            b"PUT /api/jobs/thumbnailGeneration HTTP/1.1\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
        )?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    assert!(answer?.starts_with("HTTP/1.1 200 OK\r\n"));
    let reached = production.reached_at(V4, 2283)?;
    let request = reached.iter().find(|one| one.kind == "http").unwrap();
    assert_eq!(request.record["method"], "PUT");
    assert_eq!(request.record["path"], "/api/jobs/thumbnailGeneration");
    assert_eq!(request.record["body"], "body");
    Ok(())
}

#[test]
fn more_prefixes_can_be_production() -> Tested {
    let network = Network::new()?;
    network.answer_for(&["10.0.0.0/8", "fd00::/8"])?;
    let _production = Production::start(&network)?;
    for to in ["10.1.2.3", "fd00::1"] {
        assert!(Attempt::tcp(to, 80).outside(network.dev(), AGENT)?.ok);
    }
    Ok(())
}

#[test]
fn the_unspecified_address_is_this_machine() -> Tested {
    let network = Network::new()?;
    for (at, to) in [("127.0.0.1", "0.0.0.0"), ("::1", "::")] {
        let mut listen = network.dev().command(bins::find("guard-lab")?);
        listen.args(Attempt::new("listen", at, 4000).args());
        let mut listener = Running::start(&mut listen)?;
        listener.line_with("listening", guard_lab::PATIENCE)?;
        let report = Attempt::tcp(to, 4000).outside(network.dev(), AGENT)?;
        assert!(report.ok, "{to}: {report:?}");
    }
    Ok(())
}

#[test]
fn an_open_connection_is_seen_to_live_and_to_end() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut hold = network.dev().command_as(AGENT, bins::find("guard-lab")?);
    hold.args(Attempt::new("hold-open", V4, 443).args());
    let mut held = Running::start(&mut hold)?;
    held.line_with("\"echo\":2", guard_lab::PATIENCE)?;
    drop(production);
    let end = held.line_with("errno", guard_lab::PATIENCE)?;
    assert!(end.contains("\"ok\":false"), "{end}");
    assert_eq!(held.wait()?.code(), Some(1));
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Tested {
    let network = Network::new()?;
    let names = [
        network.dev().name().to_owned(),
        network.prod().name().to_owned(),
    ];
    let production = Production::start(&network)?;
    let mut sleep = network.dev().command("sleep");
    let mut forgotten = sleep.arg("1000").spawn()?;
    drop(production);
    drop(network);
    for name in names {
        assert!(!Path::new("/run/netns").join(name).exists());
    }
    assert!(!forgotten.wait()?.success());
    Ok(())
}

#[test]
fn what_a_daemon_leaves_behind_is_taken_down() -> Tested {
    let daemon = Daemon::on_this_machine().policy("p", "").prepare()?;
    let session = daemon.cgroup_root().join("s1");
    fs::create_dir_all(session.join("below"))?;
    fs::create_dir_all(daemon.pin_dir().join("maps"))?;
    let mut agent = Command::new("sleep").arg("1000").spawn()?;
    fs::write(session.join("below/cgroup.procs"), agent.id().to_string())?;
    let traces = [
        daemon.cgroup_root().to_owned(),
        daemon.pin_dir().to_owned(),
        daemon.dir().to_owned(),
    ];
    assert!(traces.iter().all(|path| path.exists()));
    drop(daemon);
    assert!(!traces.iter().any(|path| path.exists()), "{traces:?}");
    assert!(!agent.wait()?.success());
    Ok(())
}

#[test]
fn two_labs_never_meet() -> Tested {
    let networks = [Network::new()?, Network::new()?];
    let production = networks
        .each_ref()
        .map(|network| Production::start(network).unwrap());
    let report = Attempt::tcp(V4, 443).outside(networks[0].dev(), AGENT)?;
    assert!(report.ok);
    assert!(!production[0].reached()?.is_empty());
    assert!(production[1].reached()?.is_empty());
    Ok(())
}

/// What becomes of tests that fail, shown by `cargo xtask test lab::on_purpose --ignored`.
mod on_purpose {
    use std::fs;
    use std::path::Path;

    use guard_lab::Tested;

    /// Fails the first of three times, and so passes when it is run again.
    #[test]
    #[ignore = "it fails one time in three, to show that it is listed as flaky"]
    fn fails_one_time_in_three() -> Tested {
        let count = Path::new(env!("CARGO_TARGET_TMPDIR")).join("one-time-in-three");
        let before = fs::read(&count).map_or(0, |runs| runs.len());
        match before {
            2 => fs::remove_file(&count)?,
            _ => fs::write(&count, "x".repeat(before + 1))?,
        }
        println!("run {} of three", before + 1);
        assert!(before > 0, "the first time of three");
        Ok(())
    }

    #[test]
    #[ignore = "it fails each time, to show that the run fails"]
    fn fails_each_time() -> Tested {
        panic!("each time");
    }
}
