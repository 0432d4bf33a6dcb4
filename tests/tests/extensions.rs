//! Packets behind IPv6 extension headers are judged by what they carry. No session can make the raw socket that this
//! takes; what ran in the slice before guardd did can have one.

use std::fs;

use guard_lab::{AGENT, Attempt, Daemon, Extended, Network, Production, Unowned};

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

#[test]
fn what_is_behind_extension_headers_decides() {
    let network = Network::new().unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("one-port", ONE_PORT)
        .prepare()
        .unwrap();
    fs::create_dir(daemon.cgroup_root()).unwrap();
    let unit = Unowned::named(&daemon, "early.service").unwrap();
    let mut sender = Extended::start(&unit, &daemon).unwrap();
    // So that the next machine's address is known, and no packet waits for it.
    let production = Production::start(&network).unwrap();
    for to in [OPEN, PRODUCTION] {
        let known = Attempt::udp(to, 53).outside(network.dev(), AGENT).unwrap();
        assert!(known.ok, "{known:?}");
    }
    let all = [(OPEN, 443), (OPEN, 53), (PRODUCTION, 443)];
    for headers in 0..=MOST + 2 {
        for to in all {
            let (said, arrived) = sender.send(&production, to, headers).unwrap();
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
        let (said, arrived) = sender.send(&production, all[0], headers).unwrap();
        assert_eq!(arrived, 0, "of no session, {headers} headers: {said}");
    }
    let path = unit.path().to_str().unwrap();
    let assign = ["assign", "--policy", "one-port", path];
    daemon.ask(assign).unwrap().success().unwrap();
    for headers in 0..=MOST + 2 {
        for to in all {
            let (said, arrived) = sender.send(&production, to, headers).unwrap();
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
