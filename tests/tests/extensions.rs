//! Packets behind IPv6 extension headers are judged by what they carry. No session can make the raw socket that this
//! takes; what ran in the slice before guardd did can have one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::time::Duration;

use guard_lab::{AGENT, Attempt, Daemon, Network, Production, Running, Unowned};

const OPEN: &str = "2001:db8:8::7";
const PRODUCTION: &str = "2001:db8:7::10";
/// As many as the kernel half goes through, with the datagram behind them.
const MOST: usize = 5;

/// One port of one address, and neither the next port nor the next address.
const ONE_PORT: &str = r#"
version = 1
name = "one-port"
default = "deny"

[[rule]]
name = "open"
to = ["2001:db8:8::7"]
ports = ["udp/443"]
action = "allow"
"#;

struct Sender(Running);

impl Sender {
    /// In a cgroup that the guard will judge.
    fn start(unit: &Unowned, daemon: &Daemon) -> Self {
        let probe = guard_lab::bins::for_everybody("guard-lab", daemon.tag()).unwrap();
        let mut command = unit.command();
        command.arg(probe).args(["probe", "extended", "::", "0"]);
        let mut running = Running::start(&mut command).unwrap();
        running.line_with("ready", PATIENCE).unwrap();
        Self(running)
    }

    /// What the kernel says to it, and how many packets arrive.
    fn send(
        &mut self,
        network: &Network,
        (to, port): (&str, u16),
        headers: usize,
    ) -> (String, usize) {
        let production = Production::start(network).unwrap();
        self.0.write(&format!("{to} {port} {headers}\n")).unwrap();
        let said = self.0.line_with("sent", PATIENCE).unwrap();
        let reached = production.reached().unwrap();
        let arrived = reached.iter().filter(|one| {
            one.kind == "packet" && one.to.to_string() == to && one.port == Some(port)
        });
        (said, arrived.count())
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn what_is_behind_extension_headers_decides() {
    let network = Network::new().unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("one-port", ONE_PORT)
        .prepare()
        .unwrap();
    fs::create_dir(daemon.cgroup_root()).unwrap();
    let unit = Unowned::named(&daemon, "early.service").unwrap();
    let mut sender = Sender::start(&unit, &daemon);
    // So that the next machine's address is known, and no packet waits for it.
    let production = Production::start(&network).unwrap();
    for to in [OPEN, PRODUCTION] {
        let known = Attempt::udp(to, 53).outside(network.dev(), AGENT).unwrap();
        assert!(known.ok, "{known:?}");
    }
    drop(production);
    let all = [(OPEN, 443), (OPEN, 53), (PRODUCTION, 443)];
    for headers in 0..=MOST + 2 {
        for to in all {
            let (said, arrived) = sender.send(&network, to, headers);
            assert_eq!(
                arrived, 1,
                "without the guard, {headers} headers to {to:?}: {said}"
            );
        }
    }
    daemon.start().unwrap();
    let raw = unit.attempt(&Attempt::new("raw", OPEN, 0)).unwrap();
    assert_eq!(raw.errno.as_deref(), Some("EPERM"), "{raw:?}");
    // Nobody's yet: nothing passes.
    for headers in 0..=MOST {
        let (said, arrived) = sender.send(&network, all[0], headers);
        assert_eq!(arrived, 0, "of no session, {headers} headers: {said}");
    }
    let path = unit.path().to_str().unwrap();
    let assign = ["assign", "--policy", "one-port", path];
    daemon.ask(assign).unwrap().success().unwrap();
    for headers in 0..=MOST + 2 {
        for to in all {
            let (said, arrived) = sender.send(&network, to, headers);
            let passes = to == all[0] && headers <= MOST;
            assert_eq!(
                arrived,
                usize::from(passes),
                "{headers} headers to {to:?}: {said}"
            );
            assert_eq!(
                said.contains("EPERM"),
                !passes,
                "{headers} headers to {to:?}: {said}"
            );
        }
    }
}
