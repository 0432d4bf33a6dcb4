//! What a session can reach, by every way that the lab knows: each refusal beside the same attempt
//! without the guard, and production's own word for what arrived.

use guard_lab::{AGENT, Attempt, Daemon, Network, Production, Report, Tested, Unowned, V4, V6};

const OPEN_V4: &str = "198.51.100.7";
const OPEN_V6: &str = "2001:db8:8::7";

/// Production is denied by one rule; everything else is open.
const DENIED: &str = r#"
version = 1
name = "denied"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "deny"
reason = "it is production"
"#;

/// Nothing is open but one address of each family, all of it.
const ALLOWLIST: &str = r#"
version = 1
name = "allowlist"
default = "deny"

[[rule]]
name = "open"
to = ["198.51.100.7", "2001:db8:8::7"]
action = "allow"
"#;

struct Bench {
    network: Network,
}

impl Bench {
    fn new() -> Self {
        Self {
            network: Network::new().unwrap(),
        }
    }

    fn daemon(&self) -> Daemon {
        Daemon::in_network(&self.network)
            .policy("denied", DENIED)
            .policy("allowlist", ALLOWLIST)
            .start()
            .unwrap()
    }

    /// The attempt reaches `arrives_at` without the guard, and nothing reaches it with the guard.
    fn refuses(
        &self,
        daemon: &Daemon,
        policy: &str,
        attempt: &Attempt,
        arrives_at: &str,
    ) -> Report {
        let before = self.arrivals(arrives_at, || {
            attempt.outside(self.network.dev(), AGENT).unwrap()
        });
        assert!(before.0.ok, "without the guard {attempt:?}: {:?}", before.0);
        assert!(before.1 > 0, "without the guard {attempt:?} did not arrive");
        let (report, arrived) =
            self.arrivals(arrives_at, || attempt.under(daemon, policy).unwrap());
        assert_eq!(arrived, 0, "{attempt:?} under {policy} arrived: {report:?}");
        report
    }

    fn allows(&self, daemon: &Daemon, policy: &str, attempt: &Attempt, arrives_at: &str) {
        let (report, arrived) =
            self.arrivals(arrives_at, || attempt.under(daemon, policy).unwrap());
        assert!(
            report.ok && arrived > 0,
            "{attempt:?} under {policy}: {report:?}"
        );
    }

    /// How many packets reached an address while something was done.
    fn arrivals(&self, address: &str, work: impl FnOnce() -> Report) -> (Report, usize) {
        let production = Production::start(&self.network).unwrap();
        let report = work();
        let reached = production.reached().unwrap();
        let arrived = reached
            .iter()
            .filter(|one| one.kind == "packet" && one.to.to_string() == address);
        (report, arrived.count())
    }
}

#[test]
fn a_denied_destination_cannot_be_reached_by_tcp_or_udp_in_any_form() {
    let bench = Bench::new();
    let daemon = bench.daemon();
    for kind in [
        "tcp",
        "mptcp",
        "fastopen",
        "udp-send",
        "udp-connect",
        "udp-sendmmsg",
    ] {
        let port = if kind.starts_with("udp") { 53 } else { 443 };
        for to in [V4, V6] {
            let report = bench.refuses(&daemon, "denied", &Attempt::new(kind, to, port), to);
            assert_eq!(
                report.errno.as_deref(),
                Some("EPERM"),
                "{kind} to {to}: {report:?}"
            );
        }
        for to in [OPEN_V4, OPEN_V6] {
            bench.allows(&daemon, "denied", &Attempt::new(kind, to, port), to);
        }
    }
}

#[test]
fn an_ipv4_mapped_address_is_the_ipv4_address() {
    let bench = Bench::new();
    let daemon = bench.daemon();
    for (kind, port) in [("mapped", 443), ("mapped-udp", 53)] {
        let report = bench.refuses(&daemon, "denied", &Attempt::new(kind, V4, port), V4);
        assert_eq!(report.errno.as_deref(), Some("EPERM"), "{kind}: {report:?}");
        bench.allows(
            &daemon,
            "denied",
            &Attempt::new(kind, OPEN_V4, port),
            OPEN_V4,
        );
    }
}

#[test]
fn a_socket_that_was_allowed_elsewhere_is_judged_anew() {
    let bench = Bench::new();
    let daemon = bench.daemon();
    for (to, open) in [(V4, OPEN_V4), (V6, OPEN_V6)] {
        for (kind, port) in [("reconnect", 443), ("udp-reconnect", 53)] {
            let attempt = Attempt::new(kind, to, port).other(open);
            bench.refuses(&daemon, "denied", &attempt, to);
        }
    }
}

#[test]
fn kinds_of_sockets_that_no_hook_judges_cannot_be_made() -> Tested {
    let bench = Bench::new();
    let daemon = bench.daemon();
    for to in [V4, V6] {
        let report = bench.refuses(&daemon, "denied", &Attempt::new("udplite", to, 53), to);
        assert!(report.detail.starts_with("socket"), "{report:?}");
    }
    for kind in ["vsock", "io-uring"] {
        let attempt = Attempt::new(kind, "2", 443);
        let report = attempt.under(&daemon, "denied")?;
        assert_eq!(report.errno.as_deref(), Some("EPERM"), "{kind}: {report:?}");
    }
    Ok(())
}

#[test]
fn echoes_are_judged_packet_by_packet() {
    let bench = Bench::new();
    let daemon = bench.daemon();
    for (to, open) in [(V4, OPEN_V4), (V6, OPEN_V6)] {
        bench.refuses(&daemon, "denied", &Attempt::new("ping", to, 0), to);
        bench.allows(&daemon, "denied", &Attempt::new("ping", open, 0), open);
    }
}

#[test]
fn routing_headers_do_not_lead_to_production() {
    let bench = Bench::new();
    let daemon = bench.daemon();
    // The packet's own address is production's, its last one is open; and the other way round.
    let to_open = Attempt::new("rthdr", OPEN_V6, 443).other(V6);
    bench.refuses(&daemon, "denied", &to_open, V6);
    let to_production = Attempt::new("rthdr", V6, 443).other(OPEN_V6);
    bench.refuses(&daemon, "denied", &to_production, OPEN_V6);
}

#[test]
fn what_is_for_this_host_does_not_leave_it() -> Tested {
    let bench = Bench::new();
    let daemon = bench.daemon();
    for to in ["127.0.0.9", "::1"] {
        bench.refuses(&daemon, "denied", &Attempt::new("device", to, 53), to);
        let own = Attempt::new("device", to, 53).other("lo");
        assert!(own.under(&daemon, "denied")?.ok, "{to}");
    }
    Ok(())
}

#[test]
fn an_allowlist_lets_nothing_else_through() {
    let bench = Bench::new();
    let daemon = bench.daemon();
    for (to, open) in [(V4, OPEN_V4), (V6, OPEN_V6)] {
        bench.refuses(&daemon, "allowlist", &Attempt::tcp(to, 443), to);
        bench.refuses(&daemon, "allowlist", &Attempt::udp(to, 53), to);
        bench.allows(&daemon, "allowlist", &Attempt::tcp(open, 443), open);
        bench.allows(&daemon, "allowlist", &Attempt::udp(open, 53), open);
    }
}

/// A prefix has no more port ranges than 64, and the kernel goes through them in order of the ports.
#[test]
fn the_last_of_64_port_ranges_decides() -> Tested {
    let bench = Bench::new();
    let before: Vec<_> = (0..63)
        .map(|at| format!("\"tcp/{}\"", 100 + 2 * at))
        .collect();
    for action in ["allow", "deny"] {
        let default = if action == "allow" { "deny" } else { "allow" };
        let policy = |last: &str| {
            format!(
                "version = 1\nname = \"many\"\ndefault = \"{default}\"\n[[rule]]\nname = \"ports\"\n\
                 to = [\"{V4}\", \"{V6}\"]\nports = [{}, {last}]\naction = \"{action}\"\n",
                before.join(", ")
            )
        };
        let daemon = Daemon::in_network(&bench.network)
            .policy("many", &policy("\"tcp/443\""))
            .start()?;
        // It is the 64th, for there is no room behind it.
        let file = daemon.write_policy("more", &policy("\"tcp/443\", \"tcp/445\""))?;
        let check = daemon.ask(["check", file.to_str().unwrap()])?;
        assert_eq!(check.code(), Some(1), "{check:?}");
        for to in [V4, V6] {
            let (last, beside) = (Attempt::tcp(to, 443), Attempt::tcp(to, 2283));
            let (refused, allowed) = if action == "allow" {
                (beside, last)
            } else {
                (last, beside)
            };
            let report = bench.refuses(&daemon, "many", &refused, to);
            assert_eq!(
                report.errno.as_deref(),
                Some("EPERM"),
                "{action}: {report:?}"
            );
            bench.allows(&daemon, "many", &allowed, to);
        }
    }
    Ok(())
}

#[test]
fn a_denial_is_in_the_log_with_its_rule() -> Tested {
    let bench = Bench::new();
    let daemon = bench.daemon();
    bench.refuses(&daemon, "denied", &Attempt::tcp(V4, 443), V4);
    let log = daemon.ask(["log", "--json"])?.success()?;
    let denied = log
        .json_lines()?
        .into_iter()
        .find(|record| record["kind"] == "denied")
        .expect("a denied record");
    assert_eq!(denied["rule"], "production");
    assert_eq!(denied["destination"]["address"], V4);
    assert_eq!(denied["destination"]["port"], 443);
    assert_eq!(denied["session"], "s1");
    Ok(())
}

#[test]
fn a_cgroup_that_no_session_owns_is_denied_everything() -> Tested {
    let bench = Bench::new();
    let daemon = bench.daemon();
    let unowned = Unowned::new(&daemon)?;
    let (report, arrived) = bench.arrivals(OPEN_V4, || {
        unowned.attempt(&Attempt::tcp(OPEN_V4, 443)).unwrap()
    });
    assert_eq!((report.errno.as_deref(), arrived), (Some("EPERM"), 0));
    Ok(())
}
