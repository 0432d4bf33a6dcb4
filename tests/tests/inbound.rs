//! Servers inside a session: who reaches them, and that their connections lead nowhere else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use guard_lab::network::{DEV_V4, DEV_V6};
use guard_lab::{AGENT, Attempt, Daemon, Network, Report, Running, Shell, Tested};
use serde_json::Value;

const POLICY: &str = r#"
version = 1
default = "deny"

[[rule]]
name = "never"
to = ["192.0.2.99", "2001:db8:7::99"]
action = "deny"
"#;

/// Who connects, and to where, in each family.
const PEERS: [(&str, &str, IpAddr); 2] = [
    ("192.0.2.10", "192.0.2.99", IpAddr::V4(DEV_V4)),
    ("2001:db8:7::10", "2001:db8:7::99", IpAddr::V6(DEV_V6)),
];

fn started(network: &Network) -> Daemon {
    let closed = POLICY.replace("default", "inbound = false\ndefault");
    let answers = closed.clone()
        + "\n[[rule]]\nname = \"peer\"\nto = [\"192.0.2.10\", \"2001:db8:7::10\"]\naction = \"allow\"\n";
    let daemon = Daemon::in_network(network).policy("open", POLICY);
    let daemon = daemon.policy("closed", &closed).policy("answers", &answers);
    daemon.start().unwrap()
}

/// Has a session listen at `on`, and gives the port.
fn listen(shell: &mut Shell, on: IpAddr) -> u16 {
    shell
        .begin(&Attempt::new("listen", &on.to_string(), 0))
        .unwrap();
    port(&shell.line_with("listening").unwrap())
}

fn port(line: &str) -> u16 {
    let line: Value = serde_json::from_str(line).unwrap();
    line["listening"].as_u64().unwrap().try_into().unwrap()
}

/// Whether production reaches that port from one of its addresses, and is answered.
fn reaches(network: &Network, from: &str, to: SocketAddr) -> io::Result<()> {
    network.call(from.parse().unwrap(), to).unwrap()
}

#[test]
fn a_server_inside_answers_whom_no_rule_denies() -> Tested {
    let network = Network::new()?;
    let daemon = started(&network);
    for (peer, never, here) in PEERS {
        let cases = [
            ("open", peer, true),
            ("open", never, false),
            ("closed", peer, false),
            ("answers", peer, true),
            ("answers", never, false),
        ];
        let servers = cases.map(|(policy, from, is_answered)| {
            let mut shell = Shell::start(&daemon, policy).unwrap();
            let port = listen(&mut shell, here);
            (shell, policy, from, port, is_answered)
        });
        // Who is not answered waits ten seconds.
        thread::scope(|scope| {
            for (_, policy, from, port, is_answered) in &servers {
                let network = &network;
                scope.spawn(move || {
                    let result = reaches(network, from, (here, *port).into());
                    assert_eq!(
                        result.is_ok(),
                        *is_answered,
                        "{from} under {policy}: {result:?}"
                    );
                });
            }
        });
        // Without the guard, no matter who it is.
        let probe = daemon.program("guard-lab")?;
        let mut server = network.dev().command_as(AGENT, probe);
        let listen = Attempt::new("listen", &here.to_string(), 0);
        let mut server = Running::start(server.args(listen.args()))?;
        let line = server.line_with("listening", guard_lab::PATIENCE)?;
        reaches(&network, never, (here, port(&line)).into())?;
    }
    Ok(())
}

#[test]
fn what_came_in_cannot_be_turned_around_to_go_out() -> Tested {
    let (network, production) = Network::with_production()?;
    let daemon = started(&network);
    for (peer, _, here) in PEERS {
        for (port, kind) in [(7001, "turn"), (7002, "turn-listener")] {
            let attempt = Attempt::new(kind, peer, 443).other(&port.to_string());
            let mut shell = Shell::start(&daemon, "open")?;
            shell.begin(&attempt)?;
            shell.line_with("listening")?;
            reaches(&network, peer, (here, port).into())?;
            let report = Report::parse(&shell.line_with("\"ok\"")?)?;
            assert!(!report.ok, "{kind}: {report:?}");
            assert!(report.detail.starts_with("connect"), "{kind}: {report:?}");
            assert!(production.reached_at(peer, 443)?.is_empty());
        }
    }
    Ok(())
}

/// Connects to `ADDRESS PORT`, leaves there, and listens with the same socket. Says on which port.
const TURNS: &str = r#"
import ctypes, socket, struct, sys
s = socket.socket()
s.connect((sys.argv[1], int(sys.argv[2])))
print("connected", flush=True)
sys.stdin.readline()
nowhere = struct.pack("H14x", socket.AF_UNSPEC)
assert ctypes.CDLL(None).connect(s.fileno(), nowhere, len(nowhere)) == 0
s.listen()
print("listening", s.getsockname()[1], flush=True)
while True:
    s.accept()[0].sendall(b"!")
"#;

/// What is accepted inherits what is cached of the listener, which was connected through that hole.
#[test]
fn a_listener_answers_nobody_through_the_hole_of_what_it_was_connected_to() -> Tested {
    const PORT: u16 = 7443;
    let network = Network::new()?;
    let peer: IpAddr = guard_lab::V4.parse()?;
    for (how, is_answered) in [("inbound = false\n", false), ("", true)] {
        let policy = format!(
            "version = 1\n{how}default = \"allow\"\n[[rule]]\nname = \"peer\"\nto = [\"{peer}\"]\naction = \"confirm\"\n"
        );
        let daemon = Daemon::in_network(&network)
            .policy("asks", &policy)
            .start()?;
        let turns = daemon.write_for_agents("turns.py", TURNS)?;
        let ports = format!("tcp/{PORT}");
        let server = network.prod().enter(|| {
            let server = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            server.set_reuse_address(true)?;
            server.bind(&SocketAddr::new(peer, PORT).into())?;
            server.listen(8)?;
            Ok(server)
        })?;
        let mut shell = Shell::start(&daemon, "asks")?;
        daemon.json([
            "open",
            guard_lab::V4,
            "--ports",
            &ports,
            "--connections",
            "1",
        ])?;
        shell.tell(&format!("python3 {} {peer} {PORT}", turns.display()))?;
        shell.line_with("connected")?;
        let (mut accepted, _) = server.accept()?;
        accepted.set_read_timeout(Some(guard_lab::patience(guard_lab::PATIENCE)))?;
        drop(server);
        shell.tell("")?;
        let line = shell.line_with("listening")?;
        // Until it is gone, nothing else connects from there.
        let left = io::Read::read(&mut accepted, &mut [0]).unwrap_err();
        assert_eq!(left.kind(), io::ErrorKind::ConnectionReset);
        drop(accepted);
        let port: u16 = line.trim().trim_start_matches("listening ").parse()?;
        let here = (IpAddr::V4(DEV_V4), port).into();
        let answered = network.call_from((peer, PORT).into(), here)?;
        let problem = answered.map_err(|error| error.kind());
        let expected = if is_answered {
            Ok(())
        } else {
            Err(io::ErrorKind::TimedOut)
        };
        assert_eq!(problem, expected, "{how}");
    }
    Ok(())
}
