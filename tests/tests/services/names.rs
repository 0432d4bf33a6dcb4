//! Units under a policy of names.

use std::fs;

use guard_lab::{Network, PATIENCE, Production, Running, Tested};

use crate::{
    names::server::NameServer,
    resolver::ASK,
    services::machine::{Unit, attempt_in, configure_whole, is_refused, machine, session},
};

/// The name server that the network leads to.
pub(crate) const DNS: &str = "192.0.2.53";
/// What the name stands for, and what nobody has asked for.
pub(crate) const API: &str = "192.0.2.10";
pub(crate) const OTHER: &str = "192.0.2.12";
pub(crate) const NAME: &str = "v1.api.example.com";
pub(crate) const SECRET: &str = "secret.evil.example";

pub(crate) const POLICY: &str = r#"
version = 1
name = "by-name"
default = "deny"

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

[[rule]]
name = "status"
to = ["*.api.example.com"]
ports = ["tcp/8080"]
action = "read-only"
"#;

/// Asks that address by its argument's method. Prints the status.
const READ: &str = r#"import http.client, sys
client = http.client.HTTPConnection("192.0.2.10", 8080, timeout=60)
client.request(sys.argv[1], "/", headers={"Host": "v1.api.example.com:8080"})
print(sys.argv[1], client.getresponse().status, flush=True)
"#;

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_reaches_what_its_policy_names_and_may_read() -> Tested {
    let _one = machine();
    configure_whole(&format!("resolvers = [\"{DNS}:53\"]\n"));
    fs::write("/etc/guard/policies/by-name.toml", POLICY)?;
    let network = Network::new()?;
    let server = NameServer::start_at(network.prod(), &format!("{DNS}:53"))?;
    for name in [NAME, SECRET] {
        server.set(name, &[API]);
    }
    // Port 53 is the name server's.
    let _production = Production::launch(&network, &[443], &[], true)?;
    let mut web = network.prod().command("python3");
    web.args(["-u", "-m", "http.server", "8080", "--bind", API]);
    let mut web = Running::start(&mut web)?;
    web.line_with("Serving", PATIENCE)?;
    let script = "/home/agent/ask.py";
    fs::write(script, ASK)?;
    let read = "/home/agent/read.py";
    fs::write(read, READ)?;
    // The first question of each is answered, whichever way it goes.
    let ask = |name: &str| {
        ["connected", "unconnected", "tcp"]
            .map(|way| format!("ExecStart=python3 {script} {DNS} {name} A {way}\n"))
            .concat()
    };
    let unit = Unit::new(
        "named.service",
        &network,
        &format!(
            "Type=oneshot\nRemainAfterExit=yes\nUser=agent\n\
             ExecStartPre=+guard assign --policy by-name\n{}{}\
             ExecStart=python3 {read} GET\nExecStart=python3 {read} POST\nExecStart=sh -c 'sleep 1000 &'\n",
            ask(NAME),
            ask(SECRET)
        ),
    );
    assert!(unit.start(), "{}", unit.journal());
    session("named.service");
    let said = unit.journal();
    // A test that runs once more finds the start before in the journal, too.
    let said = said.rsplit("Starting named.service").next();
    let said = said.unwrap_or_default();
    let told = |text: &str| said.lines().filter(|line| *line == text).count();
    assert_eq!(told(&format!("answer 0 {DNS} {API}")), 3, "{said}");
    assert_eq!(told(&format!("answer 3 {DNS}")), 3, "{said}");
    assert!(!server.was_asked("secret"));
    // The server itself would say 501 to the write.
    assert_eq!((told("GET 200"), told("POST 403")), (1, 1), "{said}");
    assert!(attempt_in("named.service", &network, API).ok);
    assert!(is_refused(&attempt_in("named.service", &network, OTHER)));
    Ok(())
}
