//! Networks that a session has made: whoever is root there is every server.

use guard_lab::{Attempt, Daemon, Network, Production, Shell};

use super::{API, ASK, reaches};
use crate::names::server::NameServer;

/// The machine's name server, as systemd-resolved listens.
const STUB: &str = "127.0.0.53";
const NAME: &str = "v1.api.example.com";
/// Of no name.
const ELSEWHERE: &str = "192.0.2.99";

/// As the policy `ci` that ships.
const POLICY: &str = r#"
version = 1
name = "listed"
default = "deny"

[[rule]]
name = "loopback"
to = ["@loopback"]
action = "allow"

[[rule]]
name = "resolvers"
to = ["@dns"]
ports = ["udp/53", "tcp/53"]
action = "allow"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "allow"
"#;

#[test]
fn a_name_server_in_a_network_of_the_sessions_own_teaches_nothing() {
    let network = Network::new().unwrap();
    let server = NameServer::start_at(network.dev(), &format!("{STUB}:53"));
    server.set(NAME, &[API]);
    let _production = Production::launch(&network, &[443], &[], true).unwrap();
    for to in [API, ELSEWHERE] {
        let outside = Attempt::tcp(to, 443).outside(network.dev(), 0);
        assert!(outside.unwrap().ok, "nothing stops it without the guard");
    }
    let config = format!("resolvers = [\"{STUB}:53\"]\n");
    let daemon = Daemon::in_network(&network).policy("listed", POLICY);
    let daemon = daemon.config(&config).start().unwrap();
    let ask = daemon.write_for_agents("ask.py", ASK).unwrap();
    let liar = include_str!("programs/liar.py");
    let liar = daemon.write_for_agents("liar.py", liar).unwrap();
    let mut shell = Shell::start(&daemon, "listed").unwrap();
    let mut told = |line: &str| {
        shell.tell(line).unwrap();
        let line = shell.line_with("answer ").unwrap();
        line.trim().trim_start_matches("answer ").to_owned()
    };

    let lie = format!(
        "unshare --user --map-root-user --net python3 {} {STUB} x.api.example.com {ELSEWHERE}",
        liar.display()
    );
    assert_eq!(told(&lie), format!("0 {ELSEWHERE}"), "it was told so");
    let ask = format!("python3 {} {STUB} {NAME} A connected", ask.display());
    assert_eq!(told(&ask), format!("0 {STUB} {API}"));
    assert!(reaches(&mut shell, API, 443), "the machine's own teaches");
    assert!(!reaches(&mut shell, ELSEWHERE, 443));
}
