//! Names in policies: looked up at load, again by their TTL, and kept when nobody answers.

mod floods;
pub(crate) mod server;

use std::thread;
use std::time::Duration;

use guard_lab::{Attempt, Daemon, Network, Production, Shell, V6, bins, eventually};
use serde_json::Value;
use server::NameServer;

const OLD: &str = "192.0.2.10";
const NEW: &str = "192.0.2.11";

const POLICY: &str = r#"
version = 1
name = "named"
default = "allow"

[[rule]]
name = "database"
to = ["db.example.com"]
action = "confirm"
"#;

struct Bench {
    network: Network,
    server: NameServer,
}

impl Bench {
    fn new() -> Self {
        let network = Network::new().unwrap();
        let server = NameServer::start(network.dev());
        Self { network, server }
    }

    /// A daemon that asks the bench's server, every second, and forgets at once what a name has lost.
    fn daemon(&self) -> Daemon {
        self.daemon_with(&[("named", POLICY)])
    }

    fn daemon_with(&self, policies: &[(&str, &str)]) -> Daemon {
        let at = self.server.at();
        let config = format!("resolvers = [\"{at}\"]\nname_refresh_floor = 1\nname_grace = 0\n");
        let mut daemon = Daemon::in_network(&self.network);
        for (name, text) in policies {
            daemon = daemon.policy(name, text);
        }
        daemon.config(&config).start().unwrap()
    }
}

/// What `guard status` says of the policy that it should be careful about.
fn warnings(daemon: &Daemon) -> String {
    let status = daemon.root(["status"]).json().unwrap();
    let policy = &status["policies"][0];
    assert_eq!(policy["name"], "named", "{status}");
    policy["warnings"].to_string()
}

fn reaches(shell: &mut Shell, to: &str) -> bool {
    shell.reaches(&Attempt::tcp(to, 443)).unwrap()
}

#[test]
fn a_name_is_looked_up_at_load_and_again_when_its_answer_is_old() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    bench.server.set("db.example.com", &[OLD, V6]);
    let daemon = bench.daemon();
    let mut shell = Shell::start(&daemon, "named").unwrap();
    assert_eq!(warnings(&daemon), "[]");
    for (to, is_open) in [(OLD, false), (V6, false), (NEW, true)] {
        assert_eq!(reaches(&mut shell, to), is_open, "{to}");
    }
    let pending = daemon.root(["pending"]).json().unwrap();
    for request in pending.as_array().unwrap() {
        assert_eq!(request["destination"]["host"], "db.example.com");
    }
    bench.server.set("db.example.com", &[NEW]);
    eventually("stopped at the new address", || !reaches(&mut shell, NEW)).unwrap();
    eventually("let go to the old one", || reaches(&mut shell, OLD)).unwrap();
}

#[test]
fn an_alias_stands_for_what_it_leads_to() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    bench.server.alias("db.example.com", "primary.example.net");
    bench
        .server
        .alias("primary.example.net", "node1.example.net");
    bench.server.set("node1.example.net", &[OLD]);
    let daemon = bench.daemon();
    let mut shell = Shell::start(&daemon, "named").unwrap();
    assert!(!reaches(&mut shell, OLD));
    bench.server.set("node1.example.net", &[NEW]);
    eventually("stopped at the new address", || !reaches(&mut shell, NEW)).unwrap();
}

#[test]
fn the_last_answer_stands_when_the_server_dies_and_when_guardd_does() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    bench.server.set("db.example.com", &[OLD]);
    let mut daemon = bench.daemon();
    let mut shell = Shell::start(&daemon, "named").unwrap();
    assert!(!reaches(&mut shell, OLD));
    bench.server.set_dead(true);
    let is_told = |daemon: &Daemon| {
        let warnings = warnings(daemon);
        warnings.contains("db.example.com") && warnings.contains("keep their last addresses")
    };
    eventually("told so", || is_told(&daemon)).unwrap();
    assert!(!reaches(&mut shell, OLD));
    daemon.kill().unwrap();
    daemon.start().unwrap();
    assert!(!reaches(&mut shell, OLD));
    eventually("told so again", || is_told(&daemon)).unwrap();
    assert!(!reaches(&mut shell, OLD));
    bench.server.set_dead(false);
    bench.server.set("db.example.com", &[NEW]);
    eventually("stopped at the new address", || !reaches(&mut shell, NEW)).unwrap();
    assert_eq!(warnings(&daemon), "[]");
}

#[test]
fn a_name_that_never_resolved_covers_nothing_and_says_so() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    let daemon = bench.daemon();
    let mut shell = Shell::start(&daemon, "named").unwrap();
    let warnings = warnings(&daemon);
    for word in ["db.example.com", "no such name", "cover nothing"] {
        assert!(warnings.contains(word), "{word}: {warnings}");
    }
    let run = daemon
        .agent(["run", "--policy", "named", "--", "true"])
        .run()
        .unwrap();
    assert!(run.stderr.contains("db.example.com"), "{run:?}");
    assert!(reaches(&mut shell, OLD));
    bench.server.set("db.example.com", &[OLD]);
    eventually("stopped when it does resolve", || !reaches(&mut shell, OLD)).unwrap();
}

#[test]
fn answers_that_were_lost_with_the_state_do_not_open_what_was_shut() {
    let bench = Bench::new();
    let _production = Production::start(&bench.network).unwrap();
    bench.server.set("db.example.com", &[OLD]);
    let mut daemon = bench.daemon();
    let mut shell = Shell::start(&daemon, "named").unwrap();
    assert!(!reaches(&mut shell, OLD));
    bench.server.set_dead(true);
    daemon.kill().unwrap();
    std::fs::remove_dir_all(daemon.state_dir().join("names")).unwrap();
    daemon.start().unwrap();
    for _ in 0..8 {
        assert!(!reaches(&mut shell, OLD));
        thread::sleep(Duration::from_millis(500));
    }
    bench.server.set_dead(false);
    bench.server.set("db.example.com", &[NEW]);
    eventually("stopped at the new address", || !reaches(&mut shell, NEW)).unwrap();
}

#[test]
fn explain_says_which_name_an_address_has() {
    let bench = Bench::new();
    bench.server.set("db.example.com", &[OLD]);
    let daemon = bench.daemon();
    let _shell = Shell::start(&daemon, "named").unwrap();
    let explain = |to: &str| {
        daemon
            .root(["explain", to, "--session", "s1"])
            .json()
            .unwrap()
    };
    let by_address: Value = explain(OLD);
    assert_eq!(by_address["verdict"], "confirm", "{by_address}");
    assert_eq!(by_address["rule"], "database");
    assert_eq!(explain("db.example.com")["verdict"], "confirm");
}

/// Each of them takes three seconds; one after the other they would take more than [`guard_lab::PATIENCE`], unless this is a
/// machine that is given more time.
#[test]
fn slow_names_inside_a_session_hold_up_nobody_outside() {
    let bench = Bench::new();
    let daemon = bench.daemon();
    let mut session = Shell::start(&daemon, "named").unwrap();
    bench.server.set_dead(true);
    let guard = bins::for_everybody("guard", daemon.tag()).unwrap();
    // Names of policies that a session brings are not looked up where the resolver tells it of them: what it asks for is.
    let script = format!(
        "for n in $(seq 30); do {} request slow$n.example.com:443 --reason x >/dev/null 2>&1 & done; echo begun",
        guard.display()
    );
    session.tell(&script).unwrap();
    session.line_with("begun").unwrap();
    eventually("asked", || bench.server.was_asked("slow")).unwrap();

    let own = daemon
        .write_for_agents("own", "version = 1\ndefault = \"allow\"\n")
        .unwrap();
    let run = daemon.agent(["run", "--policy"]).args([own]);
    let mut outside = run.args(["--", "true"]).spawn().unwrap();
    eventually("a session outside", || outside.has_ended()).unwrap();
    assert!(outside.wait().unwrap().success());
}
