//! Name servers of a session's own: in a network that it has made, where it is every server, and at a port where none is.

use guard_lab::{Attempt, Daemon, Network, Production, Shell, Tested, bins, eventually};

use super::{ASK, place};
use crate::names::scene::{self, API, NameScene, reaches};

/// The machine's name server, as systemd-resolved listens.
pub(super) const STUB: &str = "127.0.0.53";
pub(super) const NAME: &str = "v1.api.example.com";
/// Of no name.
const ELSEWHERE: &str = "192.0.2.99";

/// As the policy `ci` that ships.
pub(super) const POLICY: &str = r#"
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
fn a_name_server_in_a_network_of_the_sessions_own_teaches_nothing() -> Tested {
    let scene = NameScene::at(STUB, "", "listed", POLICY, &[(NAME, &[API])])?;
    let daemon = &scene.daemon;
    for to in [API, ELSEWHERE] {
        scene.assert_open(to, 443)?;
    }
    let liar = include_str!("programs/liar.py");
    let liar = daemon.write_for_agents("liar.py", liar)?;
    let mut shell = scene.shell()?;
    let mut told = |line: &str| -> Tested<_> {
        shell.tell(line)?;
        scene::told(&mut shell)
    };

    let lie = format!(
        "unshare --user --map-root-user --net python3 {} {STUB} x.api.example.com {ELSEWHERE}",
        liar.display()
    );
    assert_eq!(told(&lie)?, format!("0 {ELSEWHERE}"), "it was told so");
    let ask = format!("python3 {} {STUB} {NAME} A connected", scene.ask.display());
    assert_eq!(told(&ask)?, format!("0 {STUB} {API}"));
    assert!(reaches(&mut shell, API, 443)?, "the machine's own teaches");
    assert!(!reaches(&mut shell, ELSEWHERE, 443)?);
    Ok(())
}

#[test]
fn a_question_that_no_resolver_hears_is_written_down() -> Tested {
    let scene = NameScene::at(STUB, "", "listed", POLICY, &[(NAME, &[API])])?;
    let daemon = &scene.daemon;
    let mut shell = scene.shell()?;
    let ask = |way: &str| format!("python3 {} {STUB} {NAME} A {way}", scene.ask.display());
    let mut told = |line: &str| -> Tested<_> {
        shell.tell(line)?;
        scene::told(&mut shell)
    };
    assert_eq!(told(&ask("connected"))?, format!("0 {STUB} {API}"));
    let log = || {
        let log = daemon.root(["log", "--json"]).run().unwrap().stdout;
        let records = log.lines().map(|line| serde_json::from_str(line).unwrap());
        let denied = records.filter(|one: &serde_json::Value| one["kind"] == "denied");
        denied.collect::<Vec<_>>()
    };
    assert!(log().is_empty(), "{:?}", log());
    // Nobody listens in a network that is new.
    let alone = "unshare --user --map-root-user --net";
    for (count, way) in ["connected", "unconnected", "tcp"].into_iter().enumerate() {
        // Of UDP both count as one destination, which is told of once a second.
        let protocols = [1, 1, 2][count];
        eventually("it is in the log", || {
            // Where guardd has seen that network first, the resolver listens there, and its loopback is down.
            let unheard = told(&format!("{alone} {}", ask(way)))?;
            let is_so = ["1", "101"].contains(&&*unheard);
            assert!(is_so, "{way}: {unheard}, neither EPERM nor ENETUNREACH");
            let records = log();
            let said = records.iter().filter(|record| {
                let why = record["why"].as_str().unwrap_or_default();
                record["destination"]["address"] == STUB
                    && record["verdict"] == "deny"
                    && why.contains("guard's resolver")
            });
            Ok(said.count() >= protocols)
        })?;
    }
    Ok(())
}

/// None of its loopback's ports is free.
#[test]
fn a_network_in_which_the_resolver_cannot_listen_asks_nobody_until_it_can() -> Tested {
    const SECRET: &str = "secret.evil.example";
    let place = place::ResolverScene::new()?;
    let daemon = &place.daemon;
    let served = include_str!("programs/served.py");
    let served = daemon.write_for_agents("served.py", served)?;
    let run = format!("/usr/bin/python3 {} {}", served.display(), place::DNS);
    // Without the guard its own server hears it.
    let outside = format!("exec unshare --net {run} up free 'ask {SECRET}'");
    let outside = place
        .network
        .dev()
        .command("sh")
        .args(["-c", &outside])
        .output()?;
    let outside = String::from_utf8_lossy(&outside.stdout).into_owned();
    assert!(outside.contains("did ask heard"), "{outside}");

    let mut other = Shell::start(daemon, "names")?;
    let known = format!("udp {} v1.api.example.com", place::DNS);
    let answered = format!("answered {}", place::API);
    let mut shell = Shell::start(daemon, "names")?;
    shell.tell(&format!("exec unshare --user --map-root-user --net {run}"))?;
    shell.line_with("reads lines")?;
    let session = shell.session().to_owned();
    let mut does = |what: &str| -> Tested<_> {
        shell.tell(what)?;
        let said = shell.line_with("did ")?;
        Ok(said
            .trim()
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .to_owned())
    };
    let ask = format!("ask {SECRET}");
    let refusals = || -> Tested<_> {
        let denied = daemon.logged("denied")?;
        let is_such = |one: &&serde_json::Value| {
            let why = one["why"].as_str().unwrap_or_default();
            one["session"] == *session
                && one["destination"]["address"] == place::DNS
                && why.contains("guard's resolver does not listen there")
                && why.contains("no free port")
        };
        Ok(denied.iter().filter(is_such).count())
    };
    assert_eq!(does("up")?, "None");
    // Of one destination a refusal is told of once a second.
    eventually("it is refused, and the log says why", || {
        assert_eq!(does(&ask)?, "EPERM");
        Ok(refusals()? > 0)
    })?;
    assert_eq!(place.asked(&mut other, &known)?, answered);
    let unserved = || -> Tested<serde_json::Value> {
        let mut status = daemon.root(["status"]).json()?;
        Ok(status["unserved_networks"].take())
    };
    // Its loopback may have been looked at before it was up.
    eventually("the status says so, too", || {
        assert_eq!(does(&ask)?, "EPERM");
        Ok(unserved()?[0]["why"] == "no port of its loopback is free")
    })?;
    let named = unserved()?;
    assert_eq!(named[0]["session"], *session, "{named}");
    let status = daemon.root(["status"]).run()?.stdout;
    let said = format!(
        "{session} resolves no names in net:[{}]",
        named[0]["network"]
    );
    assert!(status.contains(&said), "{status}");
    assert!(status.contains("free a port there"), "{status}");
    assert_eq!(does("free")?, "None");
    // The first that is refused has it tried again.
    eventually("the resolver answers there", || Ok(does(&ask)? == "3"))?;
    assert_eq!(unserved()?, serde_json::json!([]));
    // What may be asked for comes to the server that was meant.
    assert_eq!(does("ask v1.api.example.com")?, "heard");
    assert!(!place.dns.has_heard(b"secret"));
    Ok(())
}

/// Answers each question so, at the port of name servers on the loopback.
const SERVES: &str = r#"
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 53))
print("answers now", flush=True)
while True:
    asked, who = sock.recvfrom(4096)
    end = 12
    while asked[end]:
        end += asked[end] + 1
    head = asked[:2] + bytes([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])
    record = bytes([0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 0, 0, 4]) + socket.inet_aton(sys.argv[1])
    sock.sendto(head + asked[12:end + 5] + record, who)
"#;

/// As where containers without root may have each port.
#[test]
fn a_name_server_at_another_port_vouches_for_no_other_server() -> Tested {
    let network = Network::new()?;
    let _production = Production::launch(&network, &[443], &[], true)?;
    let outside = Attempt::tcp(ELSEWHERE, 443).outside(network.dev(), 0);
    assert!(outside?.ok, "nothing stops it without the guard");
    let mut ports = network.dev().command("sysctl");
    ports.args(["-qw", "net.ipv4.ip_unprivileged_port_start=53"]);
    assert!(ports.status()?.success());
    let daemon = Daemon::in_network(&network).policy("listed", POLICY);
    let config = "resolvers = [\"127.0.0.1:5300\"]\n";
    let daemon = daemon.config(config).start()?;
    let ask = daemon.write_for_agents("ask.py", ASK)?;
    let serves = daemon.write_for_agents("serves.py", SERVES)?;
    let inner = "version = 1\nname = \"inner\"\ndefault = \"allow\"\n";
    let inner = daemon.write_for_agents("inner", inner)?;
    let guard = bins::for_everybody("guard", daemon.tag())?;
    let mut shell = Shell::start(&daemon, "listed")?;
    // Its own servers are asked without the resolver: this one is of a session inside.
    let serve = format!(
        "{} run -q --policy {} -- python3 {} {ELSEWHERE} &",
        guard.display(),
        inner.display(),
        serves.display()
    );
    shell.tell(&serve)?;
    shell.line_with("answers now")?;
    let line = format!("python3 {} 127.0.0.1 {NAME} A connected", ask.display());
    shell.tell(&line)?;
    assert_eq!(
        scene::told(&mut shell)?,
        format!("0 127.0.0.1 {ELSEWHERE}"),
        "it was told so"
    );
    assert!(!reaches(&mut shell, ELSEWHERE, 443)?);
    shell.tell("kill $!; wait")?;
    Ok(())
}
