//! Names in policies: looked up at load, again by their TTL, and kept when nobody answers.

mod floods;
pub(crate) mod scene;
pub(crate) mod server;

use std::fs;
use std::os::unix::fs::chown;
use std::thread;
use std::time::Duration;

use guard_lab::{
    AGENT, ALLOWS, Attempt, Daemon, Json as _, Network, Output, Production, Running, Shell, Tested,
    V6, bins, eventually,
};
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

/// A network with production, and a name server whose names a test sets before guardd starts.
struct HostNames {
    _production: Production,
    network: Network,
    server: NameServer,
}

impl HostNames {
    fn new() -> Tested<Self> {
        let (network, _production) = Network::with_production()?;
        let server = NameServer::start(network.dev())?;
        Ok(Self {
            _production,
            network,
            server,
        })
    }

    /// A daemon that asks the bench's server, every second, and forgets at once what a name has lost.
    fn daemon(&self) -> Tested<Daemon> {
        self.daemon_with(&[("named", POLICY)])
    }

    fn daemon_with(&self, policies: &[(&str, &str)]) -> Tested<Daemon> {
        let at = self.server.at();
        let config = format!("resolvers = [\"{at}\"]\nname_refresh_floor = 1\nname_grace = 0\n");
        let mut daemon = Daemon::in_network(&self.network);
        for (name, text) in policies {
            daemon = daemon.policy(name, text);
        }
        Ok(daemon.config(&config).start()?)
    }
}

/// What `guard status` says of the policy that it should be careful about.
fn warnings(daemon: &Daemon) -> Tested<String> {
    let status = daemon.root(["status"]).json()?;
    let policy = &status["policies"][0];
    assert_eq!(policy["name"], "named", "{status}");
    Ok(policy["warnings"].to_string())
}

fn reaches(shell: &mut Shell, to: &str) -> Tested<bool> {
    Ok(shell.reaches(&Attempt::tcp(to, 443))?)
}

/// Waits until it is.
fn stopped(shell: &mut Shell, to: &str) -> Tested {
    let is_stopped = || Ok(!reaches(shell, to)?);
    Ok(eventually(&format!("stopped at {to}"), is_stopped)?)
}

#[test]
fn a_name_is_looked_up_at_load_and_again_when_its_answer_is_old() -> Tested {
    let bench = HostNames::new()?;
    bench.server.set("db.example.com", &[OLD, V6]);
    let daemon = bench.daemon()?;
    let mut shell = Shell::start(&daemon, "named")?;
    assert_eq!(warnings(&daemon)?, "[]");
    for (to, is_open) in [(OLD, false), (V6, false), (NEW, true)] {
        assert_eq!(reaches(&mut shell, to)?, is_open, "{to}");
    }
    let pending = daemon.root(["pending"]).json()?;
    for request in pending.list()? {
        assert_eq!(request["destination"]["host"], "db.example.com");
    }
    bench.server.set("db.example.com", &[NEW]);
    stopped(&mut shell, NEW)?;
    eventually("let go to the old one", || reaches(&mut shell, OLD))?;
    Ok(())
}

#[test]
fn an_alias_stands_for_what_it_leads_to() -> Tested {
    let bench = HostNames::new()?;
    bench.server.alias("db.example.com", "primary.example.net");
    bench
        .server
        .alias("primary.example.net", "node1.example.net");
    bench.server.set("node1.example.net", &[OLD]);
    let daemon = bench.daemon()?;
    let mut shell = Shell::start(&daemon, "named")?;
    assert!(!reaches(&mut shell, OLD)?);
    bench.server.set("node1.example.net", &[NEW]);
    stopped(&mut shell, NEW)?;
    Ok(())
}

#[test]
fn the_last_answer_stands_when_the_server_dies_and_when_guardd_does() -> Tested {
    let bench = HostNames::new()?;
    bench.server.set("db.example.com", &[OLD]);
    let mut daemon = bench.daemon()?;
    let mut shell = Shell::start(&daemon, "named")?;
    assert!(!reaches(&mut shell, OLD)?);
    bench.server.set_dead(true);
    let is_told = |daemon: &Daemon| -> Tested<_> {
        let warnings = warnings(daemon)?;
        Ok(warnings.contains("db.example.com") && warnings.contains("keep their last addresses"))
    };
    eventually("told so", || is_told(&daemon))?;
    assert!(!reaches(&mut shell, OLD)?);
    daemon.kill()?;
    daemon.start()?;
    assert!(!reaches(&mut shell, OLD)?);
    eventually("told so again", || is_told(&daemon))?;
    assert!(!reaches(&mut shell, OLD)?);
    bench.server.set_dead(false);
    bench.server.set("db.example.com", &[NEW]);
    stopped(&mut shell, NEW)?;
    assert_eq!(warnings(&daemon)?, "[]");
    Ok(())
}

#[test]
fn a_name_that_never_resolved_covers_nothing_and_says_so() -> Tested {
    let bench = HostNames::new()?;
    let daemon = bench.daemon()?;
    let mut shell = Shell::start(&daemon, "named")?;
    let warnings = warnings(&daemon)?;
    for word in ["db.example.com", "no such name", "cover no address"] {
        assert!(warnings.contains(word), "{word}: {warnings}");
    }
    let run = daemon
        .agent(["run", "--policy", "named", "--", "true"])
        .run()?;
    assert!(run.stderr.contains("db.example.com"), "{run:?}");
    assert!(reaches(&mut shell, OLD)?);
    bench.server.set("db.example.com", &[OLD]);
    stopped(&mut shell, OLD)?;
    Ok(())
}

#[test]
fn answers_that_were_lost_with_the_state_do_not_open_what_was_shut() -> Tested {
    let bench = HostNames::new()?;
    bench.server.set("db.example.com", &[OLD]);
    let mut daemon = bench.daemon()?;
    let mut shell = Shell::start(&daemon, "named")?;
    assert!(!reaches(&mut shell, OLD)?);
    bench.server.set_dead(true);
    daemon.kill()?;
    std::fs::remove_dir_all(daemon.state_dir().join("names"))?;
    daemon.start()?;
    for _ in 0..8 {
        assert!(!reaches(&mut shell, OLD)?);
        thread::sleep(Duration::from_millis(500));
    }
    bench.server.set_dead(false);
    bench.server.set("db.example.com", &[NEW]);
    stopped(&mut shell, NEW)?;
    Ok(())
}

#[test]
fn explain_says_which_name_an_address_has() -> Tested {
    let bench = HostNames::new()?;
    bench.server.set("db.example.com", &[OLD]);
    let daemon = bench.daemon()?;
    let _shell = Shell::start(&daemon, "named")?;
    let explain =
        |to: &str| -> Tested<_> { Ok(daemon.root(["explain", to, "--session", "s1"]).json()?) };
    let by_address: Value = explain(OLD)?;
    assert_eq!(by_address["verdict"], "confirm", "{by_address}");
    assert_eq!(by_address["rule"], "database");
    assert_eq!(explain("db.example.com")?["verdict"], "confirm");
    Ok(())
}

/// Each of them takes three seconds; one after the other they would take more than [`guard_lab::PATIENCE`], unless this is a
/// machine that is given more time.
#[test]
fn slow_names_inside_a_session_hold_up_nobody_outside() -> Tested {
    let bench = HostNames::new()?;
    let daemon = bench.daemon()?;
    let mut session = Shell::start(&daemon, "named")?;
    bench.server.set_dead(true);
    let guard = bins::for_everybody("guard", daemon.tag())?;
    // Names of policies that a session brings are not looked up where the resolver tells it of them: what it asks for is.
    let script = format!(
        "for n in $(seq 30); do {} request slow$n.example.com:443 --reason x >/dev/null 2>&1 & done; echo begun",
        guard.display()
    );
    session.tell(&script)?;
    session.line_with("begun")?;
    eventually("asked", || bench.server.was_asked("slow"))?;

    let own = daemon.write_for_agents("own", ALLOWS)?;
    let run = daemon.agent(["run", "--policy"]).args([own]);
    let mut outside = run.args(["--", "true"]).spawn()?;
    eventually("a session outside", || outside.has_ended())?;
    assert!(outside.wait()?.success());
    Ok(())
}

/// An agent may have written what a project's policy says, and the name server that answers for a name reads it.
#[test]
fn a_projects_names_leave_only_where_every_name_may() -> Tested {
    let bench = HostNames::new()?;
    let free = "version = 1\nname = \"free\"\ndefault = \"allow\"\n";
    let careful = "version = 1\nname = \"careful\"\ndefault = \"allow\"\n[dns]\nnames = \"ask\"\n";
    // No name server can be asked there.
    let shut = "version = 1\nname = \"shut\"\ndefault = \"deny\"\n[[rule]]\nto = [\"192.0.2.0/24\"]\nports = [\"tcp/443\"]\naction = \"allow\"\n";
    let daemon = bench.daemon_with(&[("free", free), ("careful", careful), ("shut", shut)])?;
    let project = daemon.tag().dir().join("agents/project");
    fs::create_dir_all(&project)?;
    let file = project.join(".guard.toml");
    // What the policy leaves to it, it stops all the same.
    let stops = |host: &str| {
        format!(
            "version = 1\n[[rule]]\nname = \"own\"\nto = [\"{host}.example.com\", \"{OLD}\"]\naction = \"deny\"\n"
        )
    };
    let guard = |host: &str, args: &[&str]| -> Tested<Output> {
        fs::write(&file, stops(host))?;
        chown(&file, Some(AGENT), Some(AGENT))?;
        let mut command = daemon.agent(args.iter().copied()).command()?;
        Ok(command.current_dir(&project).output()?.into())
    };
    for policy in ["free", "careful", "shut"] {
        let run = guard(
            &format!("run-{policy}"),
            &["run", "--policy", policy, "--", "true"],
        )?;
        assert_eq!(run.code(), Some(0), "{run:?}");
        let to = format!("{OLD}:443");
        let explain = ["explain", &to, "--policy", policy, "--json"];
        let explained = guard(&format!("explain-{policy}"), &explain)?.json()?;
        assert_eq!(explained["rule"], ".guard.toml: own", "{explained}");
        for verb in ["run", "explain"] {
            let is_asked = bench.server.was_asked(&format!("{verb}-{policy}"));
            assert_eq!(is_asked, policy == "free", "{verb} {policy}");
        }
    }
    Ok(())
}

/// An agent may have written what comes into reach, too.
#[test]
fn names_that_come_into_reach_leave_only_where_every_name_may() -> Tested {
    let bench = HostNames::new()?;
    let free = "version = 1\nname = \"free\"\ndefault = \"allow\"\n";
    let careful = format!("{free}[dns]\nnames = \"ask\"\n").replace("free", "careful");
    let rule = "[[rule]]\nto = [\"@dns\"]\naction = \"deny\"\n";
    let mute = format!("{free}{rule}").replace("free", "mute");
    let at = bench.server.at();
    let daemon = Daemon::in_network(&bench.network)
        .policy("free", free)
        .policy("careful", &careful)
        .policy("mute", &mute)
        .config(&format!(
            "resolvers = [\"{at}\"]\ndiscover = {{ drift = \"ask\" }}\n"
        ))
        .start()?;
    let project = daemon.tag().dir().join("agents/project");
    for (number, policy) in ["free", "careful", "mute"].into_iter().enumerate() {
        let dir = project.join(policy);
        fs::create_dir_all(&dir)?;
        chown(&dir, Some(AGENT), Some(AGENT))?;
        let settings = format!("A_URL=postgres://app:word@{policy}.example.com/app");
        let script = format!("echo '{settings}' > .env; echo written; read line");
        let run = ["run", "--policy", policy, "--", "sh", "-c", &script];
        let run = daemon.agent(run).env("HOME", &project);
        let mut session = Running::start(run.command()?.current_dir(&dir))?;
        session.line_with("written", guard_lab::PATIENCE)?;
        let mut all = Vec::new();
        eventually("it came into reach", || {
            all = daemon.logged("appeared")?;
            Ok(all.len() > number)
        })?;
        // It is asked about all the same.
        let last = &all[number];
        assert_eq!(last["host"], format!("{policy}.example.com"), "{last}");
        assert_eq!(last["asks"], true, "{last}");
        let is_asked = bench.server.was_asked(&format!("{policy}.example"));
        assert_eq!(is_asked, policy == "free", "{policy}");
    }
    Ok(())
}
