//! Packets behind IPv6 extension headers are judged by what they carry. No session can make the raw socket that this
//! takes; what ran in the slice before guardd did can have one.

use std::fs;

use guard_lab::{AGENT, Attempt, Daemon, Extended, Network, Production, Tested, Unowned};

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
fn what_is_behind_extension_headers_decides() -> Tested {
    let network = Network::new()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("one-port", ONE_PORT)
        .prepare()?;
    fs::create_dir(daemon.cgroup_root())?;
    let unit = Unowned::named(&daemon, "early.service")?;
    let mut sender = Extended::start(&unit, &daemon)?;
    // So that the next machine's address is known, and no packet waits for it.
    let production = Production::start(&network)?;
    for to in [OPEN, PRODUCTION] {
        let known = Attempt::udp(to, 53).outside(network.dev(), AGENT)?;
        assert!(known.ok, "{known:?}");
    }
    let all = [(OPEN, 443), (OPEN, 53), (PRODUCTION, 443)];
    for headers in 0..=MOST + 2 {
        for to in all {
            let (said, arrived) = sender.send(&production, to, headers)?;
            assert_eq!(
                arrived, 1,
                "without the guard, {headers} headers to {to:?}: {said}"
            );
        }
    }
    daemon.start()?;
    let raw = unit.attempt(&Attempt::new("raw", OPEN, 0))?;
    assert_eq!(raw.errno.as_deref(), Some("EPERM"), "{raw:?}");
    // Nobody's yet: nothing passes.
    for headers in 0..=MOST {
        let (said, arrived) = sender.send(&production, all[0], headers)?;
        assert_eq!(arrived, 0, "of no session, {headers} headers: {said}");
    }
    let path = unit.path().to_str().unwrap();
    let assign = ["assign", "--policy", "one-port", path];
    daemon.ask(assign)?.success()?;
    for headers in 0..=MOST + 2 {
        for to in all {
            let (said, arrived) = sender.send(&production, to, headers)?;
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
    Ok(())
}
