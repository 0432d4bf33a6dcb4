//! Name servers of the engines: they are outside of the slice.

use guard_lab::Tested;
use std::fs;

use guard_lab::Attempt;

use crate::containers::engine::{Container, Engine};
use crate::containers::life::placing;
use crate::containers::machine::{configure_whole, has_ended, is_refused, machine, ok, session};
use crate::names::server::NameServer;
use crate::services::names::{API, DNS, NAME, OTHER, POLICY as BY_NAME, SECRET};

/// The name server that this machine's own settings lead to, and that the engines ask.
const UPSTREAM: &str = "192.0.2.53";

/// A network of an engine's in which names are looked up. It is removed on drop.
struct Named(Engine);

impl Named {
    fn new(engine: Engine) -> Self {
        engine.says(&["network", "create", "--subnet=10.89.7.0/24", "named"]);
        Self(engine)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.output(&["network", "rm", "-f", "named"]);
    }
}

/// What guard and the engine make of a look-up.
fn looks_up(container: &Container, name: &str) -> bool {
    let output = container.output(&["nslookup", name]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().any(|line| line.starts_with("Name:"))
}

const POLICY: &str = "/etc/guard/policies/names.toml";
const SLICE: &str = "guard-names.slice";

fn an_engine_answers_what_the_policy_lets_it_be_asked(
    engine: Engine,
    server: &str,
    rule: &str,
) -> Tested {
    let _one = placing();
    let _ = fs::remove_file(POLICY);
    ok(&["systemctl", "start", SLICE]);
    let production = &engine.lab().production;
    let _network = Named::new(engine);
    // Else conmon is in the slice, and what it starts is refused the bus that it asks for the container's scope.
    let conmon = (engine == Engine::Podman).then_some("--cgroups=no-conmon");
    let options = [
        "--network=named",
        "--name=here",
        "--cgroup-parent=guard-names.slice",
    ];
    let options: Vec<_> = options.into_iter().chain(conmon).collect();
    let container = engine.starts(&options, &[]);
    let servers = container.output(&["cat", "/etc/resolv.conf"]).stdout;
    let servers = String::from_utf8(servers)?;
    assert!(
        servers.contains(&format!("nameserver {server}")),
        "{servers}"
    );
    assert!(!looks_up(&container, "here"));

    let policy = format!(
        "version = 1\ndefault = \"deny\"\n\n[[rule]]\nname = \"names\"\n{rule}\naction = \"allow\"\n"
    );
    fs::write(POLICY, policy)?;
    session(SLICE);
    assert!(looks_up(&container, "here"));
    // The engine asks on, from outside: whatever is put into a name leaves by that way.
    let before = production.reached_at(UPSTREAM, 53)?.len();
    let _ = looks_up(&container, "secret.example.com");
    assert!(production.reached_at(UPSTREAM, 53)?.len() > before);
    drop(container);
    ok(&["systemctl", "stop", SLICE]);
    has_ended(SLICE);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn docker_answers_at_loopback() -> Tested {
    // Docker's own rules lead the question to another port.
    let rule = "to = [\"127.0.0.11\"]\nports = [\"udp\", \"tcp\"]";
    an_engine_answers_what_the_policy_lets_it_be_asked(Engine::Docker, "127.0.0.11", rule)?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn podman_answers_at_the_bridge() -> Tested {
    let rule = "to = [\"10.89.7.1\"]\nports = [\"udp/53\", \"tcp/53\"]";
    an_engine_answers_what_the_policy_lets_it_be_asked(Engine::Podman, "10.89.7.1", rule)?;
    Ok(())
}

/// What is placed so reaches what the policy names.
const RULES: &str = r#"
[[assign]]
unit = "docker-*.scope"
policy = "by-name"

[[assign]]
unit = "libpod-*.scope"
policy = "by-name"
"#;

fn a_container_reaches_what_its_policy_names(engine: Engine) -> Tested {
    let _one = machine();
    configure_whole(&format!("resolvers = [\"{DNS}:53\"]\n{RULES}"));
    fs::write("/etc/guard/policies/by-name.toml", BY_NAME)?;
    let server = NameServer::start_at(engine.lab().network.prod(), &format!("{DNS}:53"))?;
    for name in [NAME, SECRET] {
        server.set(name, &[API]);
    }
    let tcp = |to| Attempt::tcp(to, 443);
    let outside = engine.attempts(&[], &[tcp(API), tcp(OTHER)]);
    assert!(outside.iter().all(|report| report.ok), "{outside:?}");
    let dns = format!("--dns={DNS}");
    let options = [engine.in_slice(), &[&dns]].concat();
    let container = engine.starts(&options, &[]);
    session(&container.session());
    assert!(is_refused(&container.attempt(tcp(API))));
    assert!(looks_up(&container, NAME));
    assert!(container.attempt(tcp(API)).ok);
    assert!(is_refused(&container.attempt(tcp(OTHER))));
    // What no rule names stays in the container.
    assert!(!looks_up(&container, SECRET));
    assert!(!server.was_asked("secret"));
    let name = container.session();
    drop(container);
    has_ended(&name);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_container_of_podman_reaches_what_its_policy_names() -> Tested {
    a_container_reaches_what_its_policy_names(Engine::Podman)
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_container_of_docker_reaches_what_its_policy_names() -> Tested {
    a_container_reaches_what_its_policy_names(Engine::Docker)
}
