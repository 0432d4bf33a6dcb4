//! What a session can reach, by every way that the lab knows: each refusal beside the same attempt
//! without the guard, and production's own word for what arrived.

use anyhow::{Context as _, Result};
use guard_lab::{AGENT, Attempt, Network, Report, Scene, Tested, Unowned, V4, V6};

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

fn scene() -> Tested<Scene> {
    Ok(Scene::with(|daemon| {
        daemon
            .policy("denied", DENIED)
            .policy("allowlist", ALLOWLIST)
    })?)
}

/// The attempt reaches `arrives_at` without the guard, and nothing reaches it with the guard.
fn refuses(scene: &Scene, policy: &str, attempt: &Attempt, arrives_at: &str) -> Tested<Report> {
    let outside = || attempt.outside(scene.network.dev(), AGENT);
    let (before, arrived) = arrivals(scene, arrives_at, outside)?;
    assert!(before.ok, "without the guard {attempt:?}: {before:?}");
    assert!(arrived > 0, "without the guard {attempt:?} did not arrive");
    let under = || attempt.under(&scene.daemon, policy);
    let (report, arrived) = arrivals(scene, arrives_at, under)?;
    assert_eq!(arrived, 0, "{attempt:?} under {policy} arrived: {report:?}");
    Ok(report)
}

/// The same with the error that says so.
fn denies(scene: &Scene, policy: &str, attempt: &Attempt, arrives_at: &str) -> Tested {
    let report = refuses(scene, policy, attempt, arrives_at)?;
    assert_eq!(
        report.errno.as_deref(),
        Some("EPERM"),
        "{attempt:?}: {report:?}"
    );
    Ok(())
}

fn allows(scene: &Scene, policy: &str, attempt: &Attempt, arrives_at: &str) -> Tested {
    let under = || attempt.under(&scene.daemon, policy);
    let (report, arrived) = arrivals(scene, arrives_at, under)?;
    assert!(
        report.ok && arrived > 0,
        "{attempt:?} under {policy}: {report:?}"
    );
    Ok(())
}

/// How many packets reached an address while something was done.
fn arrivals(
    scene: &Scene,
    address: &str,
    work: impl FnOnce() -> Result<Report>,
) -> Tested<(Report, usize)> {
    let production = scene.production()?;
    let report = work()?;
    let mut reached = production.reached()?;
    reached.retain(|one| one.kind == "packet" && one.to.to_string() == address);
    Ok((report, reached.len()))
}

#[test]
fn a_denied_destination_cannot_be_reached_by_tcp_or_udp_in_any_form() -> Tested {
    let scene = scene()?;
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
            denies(&scene, "denied", &Attempt::new(kind, to, port), to)?;
        }
        for to in [OPEN_V4, OPEN_V6] {
            allows(&scene, "denied", &Attempt::new(kind, to, port), to)?;
        }
    }
    Ok(())
}

#[test]
fn an_ipv4_mapped_address_is_the_ipv4_address() -> Tested {
    let scene = scene()?;
    for (kind, port) in [("mapped", 443), ("mapped-udp", 53)] {
        denies(&scene, "denied", &Attempt::new(kind, V4, port), V4)?;
        let open = Attempt::new(kind, OPEN_V4, port);
        allows(&scene, "denied", &open, OPEN_V4)?;
    }
    Ok(())
}

#[test]
fn a_socket_that_was_allowed_elsewhere_is_judged_anew() -> Tested {
    let scene = scene()?;
    for (to, open) in [(V4, OPEN_V4), (V6, OPEN_V6)] {
        for (kind, port) in [("reconnect", 443), ("udp-reconnect", 53)] {
            let attempt = Attempt::new(kind, to, port).other(open);
            refuses(&scene, "denied", &attempt, to)?;
        }
    }
    Ok(())
}

#[test]
fn kinds_of_sockets_that_no_hook_judges_cannot_be_made() -> Tested {
    let scene = scene()?;
    for to in [V4, V6] {
        let report = refuses(&scene, "denied", &Attempt::new("udplite", to, 53), to)?;
        assert!(report.detail.starts_with("socket"), "{report:?}");
    }
    for kind in ["vsock", "io-uring"] {
        let attempt = Attempt::new(kind, "2", 443);
        let report = attempt.under(&scene.daemon, "denied")?;
        assert_eq!(report.errno.as_deref(), Some("EPERM"), "{kind}: {report:?}");
    }
    Ok(())
}

#[test]
fn echoes_are_judged_packet_by_packet() -> Tested {
    let scene = scene()?;
    for (to, open) in [(V4, OPEN_V4), (V6, OPEN_V6)] {
        refuses(&scene, "denied", &Attempt::new("ping", to, 0), to)?;
        allows(&scene, "denied", &Attempt::new("ping", open, 0), open)?;
    }
    Ok(())
}

#[test]
fn routing_headers_do_not_lead_to_production() -> Tested {
    let scene = scene()?;
    // The packet's own address is production's, its last one is open; and the other way round.
    let to_open = Attempt::new("rthdr", OPEN_V6, 443).other(V6);
    refuses(&scene, "denied", &to_open, V6)?;
    let to_production = Attempt::new("rthdr", V6, 443).other(OPEN_V6);
    refuses(&scene, "denied", &to_production, OPEN_V6)?;
    Ok(())
}

#[test]
fn what_is_for_this_host_does_not_leave_it() -> Tested {
    let scene = scene()?;
    for to in ["127.0.0.9", "::1"] {
        refuses(&scene, "denied", &Attempt::new("device", to, 53), to)?;
        let own = Attempt::new("device", to, 53).other("lo");
        assert!(own.under(&scene.daemon, "denied")?.ok, "{to}");
    }
    Ok(())
}

#[test]
fn an_allowlist_lets_nothing_else_through() -> Tested {
    let scene = scene()?;
    for (to, open) in [(V4, OPEN_V4), (V6, OPEN_V6)] {
        refuses(&scene, "allowlist", &Attempt::tcp(to, 443), to)?;
        refuses(&scene, "allowlist", &Attempt::udp(to, 53), to)?;
        allows(&scene, "allowlist", &Attempt::tcp(open, 443), open)?;
        allows(&scene, "allowlist", &Attempt::udp(open, 53), open)?;
    }
    Ok(())
}

/// A prefix has no more port ranges than 64, and the kernel goes through them in order of the ports.
#[test]
fn the_last_of_64_port_ranges_decides() -> Tested {
    let network = Network::new()?;
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
        let scene = Scene::on(network.clone(), |daemon| {
            daemon.policy("many", &policy("\"tcp/443\""))
        })?;
        // It is the 64th, for there is no room behind it.
        let more = policy("\"tcp/443\", \"tcp/445\"");
        let file = scene.daemon.write_policy("more", &more)?;
        let check = scene.daemon.ask(["check", file.to_str().unwrap()])?;
        assert_eq!(check.code(), Some(1), "{check:?}");
        for to in [V4, V6] {
            let (last, beside) = (Attempt::tcp(to, 443), Attempt::tcp(to, 2283));
            let (refused, allowed) = if action == "allow" {
                (beside, last)
            } else {
                (last, beside)
            };
            denies(&scene, "many", &refused, to)?;
            allows(&scene, "many", &allowed, to)?;
        }
    }
    Ok(())
}

#[test]
fn a_denial_is_in_the_log_with_its_rule() -> Tested {
    let scene = scene()?;
    refuses(&scene, "denied", &Attempt::tcp(V4, 443), V4)?;
    let denied = scene.daemon.logged("denied")?;
    let denied = denied.first().context("nothing was denied")?;
    assert_eq!(denied["rule"], "production");
    assert_eq!(denied["destination"]["address"], V4);
    assert_eq!(denied["destination"]["port"], 443);
    assert_eq!(denied["session"], "s1");
    Ok(())
}

#[test]
fn a_cgroup_that_no_session_owns_is_denied_everything() -> Tested {
    let scene = scene()?;
    let unowned = Unowned::new(&scene.daemon)?;
    let attempt = Attempt::tcp(OPEN_V4, 443);
    let (report, arrived) = arrivals(&scene, OPEN_V4, || unowned.attempt(&attempt))?;
    assert_eq!((report.errno.as_deref(), arrived), (Some("EPERM"), 0));
    Ok(())
}
