//! `[dns] names = "ask"`: a person is asked about a name before any of its labels leave the machine.

use std::path::PathBuf;

use guard_lab::{Daemon, Json as _, Network, Shell, Tested, Watcher, bins, eventually, mounts};
use serde_json::{Value, json};

use crate::names::{
    scene::{API, DNS, NameScene, Names, told, with_resolvers},
    server::NameServer,
};

const POLICY: &str = r#"
version = 1
name = "asking"
default = "deny"
max_hole = "30m"

[dns]
names = "ask"
search = "silent"

[[rule]]
name = "api"
to = ["*.api.example.com", "deb.example"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "closed"
to = ["*.closed.example"]
action = "deny"
"#;

const NAME: &str = "x.evil.example";
const OTHER: &str = "y.evil.example";

struct Asking {
    scene: NameScene,
}

impl Asking {
    fn new() -> Tested<Self> {
        let known = "v1.api.example.com";
        let names: Names<'_> = &[(NAME, &[API]), (OTHER, &[API]), (known, &[API])];
        let scene = NameScene::new("asking", POLICY, names)?;
        Ok(Self { scene })
    }

    fn pending(&self) -> Tested<Vec<Value>> {
        let pending = self.scene.daemon.root(["pending"]).json()?;
        Ok(pending.list()?.clone())
    }

    /// The request about a name, once it is there.
    fn request(&self, name: &str) -> Tested<Value> {
        let mut found = None;
        let is_there = || -> Tested<_> {
            let mut pending = self.pending()?.into_iter();
            found = pending.find(|one| one["question"]["name"] == name);
            Ok(found.is_some())
        };
        eventually("a person is asked", is_there)?;
        Ok(found.unwrap())
    }

    fn answer(&self, verb: &str, request: &Value, more: &[&str]) -> Tested {
        let id = request["id"].text()?;
        let args = [verb, id].into_iter().chain(more.iter().copied());
        self.scene.daemon.root(args).json()?;
        Ok(())
    }

    fn shown(&self) -> Tested<String> {
        Ok(self.scene.daemon.root(["pending"]).run()?.stdout)
    }

    fn why(&self, shell: &mut Shell) -> Tested<String> {
        let guard = bins::for_everybody("guard", self.scene.daemon.tag())?;
        let line = format!("{} why; echo told all", guard.display());
        shell.tell(&line)?;
        let mut said = String::new();
        loop {
            let line = shell.line_with("")?;
            if line.contains("told all") {
                return Ok(said);
            }
            said.push_str(line.trim());
            said.push(' ');
        }
    }
}

/// What a program hears of a name that there is, and of one that there is not.
fn answered() -> String {
    format!("0 {DNS} {API}")
}

fn unknown() -> String {
    format!("3 {DNS}")
}

#[test]
fn a_name_that_is_asked_about_is_explained_so() -> Tested {
    let asking = Asking::new()?;
    let mut shell = asking.scene.shell()?;
    let session = shell.session().to_owned();
    let explain = |to: &str| {
        let explain = asking
            .scene
            .daemon
            .root(["explain", to, "--session", &session]);
        explain.json().unwrap()
    };
    let known: Value = explain("v1.api.example.com:443");
    assert_eq!(known["verdict"], "allow", "{known}");
    assert_eq!(known["question"], Value::Null, "{known}");
    // A default of `deny` is stricter than a question.
    let told = explain(NAME);
    assert_eq!(told["verdict"], "deny", "{told}");
    assert!(
        told["question"].text()?.contains("a person is asked"),
        "{told}"
    );
    assert_ne!(
        asking.scene.asked(&mut shell, NAME, "connected")?,
        format!("0 {DNS} {API}")
    );
    asking.answer("approve", &asking.request(NAME)?, &[])?;
    assert_eq!(explain(NAME)["question"], Value::Null);
    Ok(())
}

#[test]
fn nothing_of_a_name_leaves_before_a_person_has_said_yes() -> Tested {
    let asking = Asking::new()?;
    let server = &asking.scene.server;
    // Without the guard it is answered.
    let mut outside = asking.scene.network.dev().command("python3");
    outside
        .arg(&asking.scene.ask)
        .args([DNS, NAME, "A", "connected"]);
    let heard = outside.output()?;
    assert!(String::from_utf8_lossy(&heard.stdout).contains(API));
    let mut shell = asking.scene.shell()?;
    let mut other = asking.scene.shell()?;
    let _watcher = Watcher::start(&asking.scene.daemon)?;
    asking.scene.begin(&mut shell, OTHER, "connected")?;
    let request = asking.request(OTHER)?;
    assert_eq!(request["held"], true);
    assert_eq!(request["question"]["types"], json!(["A"]));
    let wanted = json!({"address": DNS, "port": 53, "protocol": "dns", "host": OTHER});
    assert_eq!(request["destination"], wanted);
    assert!(request["comm"].text()?.starts_with("python"));
    let shown = asking.shown()?;
    assert!(shown.contains("asks what y.evil.example is (A)"), "{shown}");
    assert!(!server.was_asked("y.evil"));
    asking.answer("approve", &request, &["--for", "2h"])?;
    assert_eq!(told(&mut shell)?, answered());
    assert!(server.was_asked("y.evil"));
    // It was for that name and session, and no longer than the policy says.
    let holes = asking.scene.daemon.root(["holes"]).json()?;
    assert_eq!(holes[0]["destination"], OTHER);
    assert_eq!(holes[0]["ports"], "dns");
    asking.scene.begin(&mut other, OTHER, "connected")?;
    let request = asking.request(OTHER)?;
    asking.answer("deny", &request, &[])?;
    assert_eq!(told(&mut other)?, unknown());
    assert_eq!(asking.scene.asked(&mut other, OTHER, "tcp")?, unknown());
    // Closed, it is asked about again.
    let id = holes[0]["id"].text()?;
    let closed = asking.scene.daemon.root(["close", id]).run()?;
    closed.success()?;
    asking.scene.begin(&mut shell, OTHER, "connected")?;
    let again = asking.request(OTHER)?;
    asking.answer("deny", &again, &[])?;
    assert_eq!(told(&mut shell)?, unknown());
    let log = asking.scene.daemon.root(["log", "--json"]).run()?.stdout;
    for kind in ["request", "answered", "hole-open", "hole-close", "denied"] {
        let of_kind = |line: &&str| line.contains(&format!("\"kind\":\"{kind}\""));
        let says = |line: &str| kind == "hole-close" || line.contains("y.evil");
        let mut lines = log.lines().filter(of_kind);
        assert!(lines.any(says), "{kind}: {log}");
    }
    Ok(())
}

#[test]
fn where_nobody_is_there_a_name_does_not_exist_and_a_request_is_left() -> Tested {
    let mut asking = Asking::new()?;
    let mut shell = asking.scene.shell()?;
    for how in ["connected", "tcp"] {
        assert_eq!(
            asking.scene.asked(&mut shell, NAME, how)?,
            unknown(),
            "{how}"
        );
    }
    let request = asking.request(NAME)?;
    assert_eq!(request["held"], false);
    assert!(!asking.scene.server.was_asked("x.evil"));
    let said = asking.why(&mut shell)?;
    let left = "Nothing of x.evil.example has left this machine";
    assert!(said.contains(left), "{said}");
    // Requests outlive guardd, and so does what a person opens.
    asking.scene.daemon.kill()?;
    asking.scene.daemon.start()?;
    let request = asking.request(NAME)?;
    asking.answer("approve", &request, &[])?;
    asking.scene.daemon.kill()?;
    asking.scene.daemon.start()?;
    let is_answered =
        || -> Tested<_> { Ok(asking.scene.asked(&mut shell, NAME, "connected")? == answered()) };
    eventually("the yes holds", is_answered)?;
    assert_eq!(
        asking.scene.asked(&mut shell, OTHER, "connected")?,
        unknown()
    );
    assert!(!asking.scene.server.was_asked("y.evil"));
    // What a rule names is nobody's question.
    let named = asking
        .scene
        .asked(&mut shell, "v1.api.example.com", "connected")?;
    assert_eq!(named, answered());
    let said = asking.why(&mut shell)?;
    assert!(said.contains(OTHER), "{said}");
    Ok(())
}

/// An SRV question (RFC 2782), which apt asks before each mirror's address.
#[test]
fn the_servers_of_a_host_that_a_rule_names_are_nobodys_question() -> Tested {
    const SERVICES: [&str; 3] = [
        "_http._tcp.deb.example",
        "_http._tcp.closed.example",
        "_http._tcp.evil.example",
    ];
    let asking = Asking::new()?;
    for service in SERVICES {
        asking.scene.server.set(service, &[API]);
    }
    let mut shell = asking.scene.shell()?;
    for how in ["connected-SRV", "tcp-SRV"] {
        let told = SERVICES.map(|name| asking.scene.asked(&mut shell, name, how).unwrap());
        assert_eq!(told, [format!("0 {DNS}"), unknown(), unknown()], "{how}");
    }
    let pending = asking.pending()?;
    let names: Vec<_> = pending.iter().map(|one| &one["question"]["name"]).collect();
    assert_eq!(names, [SERVICES[2]], "{pending:?}");
    assert!(asking.scene.server.was_asked(SERVICES[0]));
    assert!(!asking.scene.server.was_asked(SERVICES[1]));
    assert!(!asking.scene.server.was_asked(SERVICES[2]));
    Ok(())
}

#[test]
fn many_new_names_below_a_zone_are_one_request() -> Tested {
    let asking = Asking::new()?;
    let mut shell = asking.scene.shell()?;
    for number in 0..6 {
        let name = format!("n{number}.evil.example");
        assert_eq!(
            asking.scene.asked(&mut shell, &name, "connected")?,
            unknown()
        );
    }
    let request = asking.request("*.evil.example")?;
    assert_eq!(asking.pending()?.len(), 1, "{:?}", asking.pending()?);
    assert_eq!(request["burst"]["count"], 6);
    assert_eq!(request["burst"]["addresses"][5], "n5.evil.example");
    assert_eq!(request["destination"]["host"], "*.evil.example");
    let shown = asking.shown()?;
    let words = "asks what 6 names below evil.example are (A)";
    assert!(shown.contains(words), "{shown}");
    // A plain yes is for the first; the rest is asked about still.
    asking.answer("approve", &request, &[])?;
    let rest = asking.request("*.evil.example")?;
    assert_eq!(rest["burst"]["count"], 5);
    asking.answer("approve", &rest, &["--prefix"])?;
    asking.scene.server.set("n9.evil.example", &[API]);
    let told = asking
        .scene
        .asked(&mut shell, "n9.evil.example", "connected")?;
    assert_eq!(told, answered());
    assert!(asking.pending()?.is_empty());
    assert!(!asking.scene.server.was_asked("n0"));
    Ok(())
}

#[test]
fn a_resolver_of_the_system_waits_for_a_person() -> Tested {
    let asking = Asking::new()?;
    let text = format!("nameserver {DNS}\n");
    let resolv = asking.scene.daemon.write_for_agents("resolv.conf", &text);
    let run = asking.scene.daemon.agent(["run", "--policy", "asking"]);
    let run = run.resolv(resolv?);
    let mut shell = Shell::run_by(&asking.scene.daemon, run)?;
    let _watcher = Watcher::start(&asking.scene.daemon)?;
    shell.tell("getent ahostsv4 x.evil.example")?;
    let request = asking.request(NAME)?;
    assert_eq!(request["comm"], "getent");
    assert!(!asking.scene.server.was_asked("x.evil"));
    asking.answer("approve", &request, &[])?;
    shell.line_with(API)?;
    Ok(())
}

/// A machine whose resolvers have a search list.
struct Searching {
    daemon: Daemon,
    server: NameServer,
    resolv: PathBuf,
    _network: Network,
}

impl Searching {
    fn new(policy: &str) -> Tested<Self> {
        let network = Network::new()?;
        let server = NameServer::start_at(network.prod(), &format!("{DNS}:53"))?;
        server.set(NAME, &[API]);
        let mut daemon = Daemon::in_network(&network)
            .policy("asking", &with_resolvers(policy))
            .config("")
            .prepare()?;
        let text = format!("nameserver {DNS}\nsearch lab.example.net\noptions ndots:5\n");
        let resolv = daemon.write_for_agents("resolv.conf", &text)?;
        let guardd = mounts::with_file(&daemon.guardd()?, &resolv, "/etc/resolv.conf");
        daemon.start_as(guardd)?;
        Ok(Self {
            daemon,
            server,
            resolv,
            _network: network,
        })
    }

    /// The names that a person is asked about.
    fn asked(&self) -> Tested<Vec<String>> {
        let pending = self.daemon.root(["pending"]).json()?;
        let names = pending
            .list()?
            .iter()
            .map(|one| one["question"]["name"].text());
        Ok(names
            .map(|name| name.map(str::to_owned))
            .collect::<Result<_, _>>()?)
    }
}

/// glibc tries a name of few dots below its search list first.
#[test]
fn what_glibc_s_search_list_makes_is_asked_about_unless_the_policy_says_silent() -> Tested {
    let loud = POLICY.replace("search = \"silent\"\n", "");
    assert_ne!(loud, POLICY);
    let made = format!("{NAME}.lab.example.net");
    for (policy, first) in [(&*loud, &*made), (POLICY, NAME)] {
        let machine = Searching::new(policy)?;
        let run = machine.daemon.agent(["run", "--policy", "asking"]);
        let mut shell = Shell::run_by(&machine.daemon, run.resolv(&machine.resolv))?;
        let _watcher = Watcher::start(&machine.daemon)?;
        shell.tell(&format!("getent ahostsv4 {NAME}"))?;
        eventually("a person is asked", || Ok(!machine.asked()?.is_empty()))?;
        assert_eq!(machine.asked()?, [first]);
        if first == NAME {
            let pending = machine.daemon.root(["pending"]).json()?;
            let id = pending[0]["id"].text()?.to_owned();
            machine.daemon.root(["approve", &id]).json()?;
            shell.line_with(API)?;
            assert_eq!(machine.asked()?, [""; 0]);
        }
        assert!(!machine.server.was_asked(&made));
    }
    Ok(())
}

/// A job that asks for names of its policy alone is not to fail since the machine has a search list; the same name elsewhere counts.
#[test]
fn what_a_search_list_makes_of_a_listed_name_does_not_count() -> Tested {
    let rules = POLICY.replace("names = \"ask\"", "names = \"rules\"");
    assert_ne!(rules, POLICY);
    let listed = format!("{rules}\n[[rule]]\nto = [\"{NAME}\"]\naction = \"allow\"\n");
    let machine = Searching::new(&listed)?;
    let run = machine.daemon.agent(["run", "--policy", "asking"]);
    let mut shell = Shell::run_by(&machine.daemon, run.resolv(&machine.resolv))?;
    shell.tell(&format!("getent ahostsv4 {NAME}"))?;
    shell.line_with(API)?;
    let made = format!("{NAME}.lab.example.net");
    assert!(!machine.server.was_asked(&made));
    let job = [
        "report",
        "--fail-on",
        "denied",
        "--session",
        shell.session(),
    ]
    .map(str::to_owned);
    eventually("it is told apart", || {
        let report = machine.daemon.root(&job).args(["--json"]).run()?.json()?;
        let apart = report["not_counted"].list()?;
        Ok(apart.iter().any(|one| one["host"] == made.as_str()))
    })?;
    assert_eq!(machine.daemon.root(&job).run()?.code(), Some(0));
    shell.tell("getent ahostsv4 other.lab.example.net")?;
    eventually("another one counts", || {
        Ok(machine.daemon.root(&job).run()?.code() == Some(1))
    })?;
    Ok(())
}

#[test]
fn guardd_asks_for_no_name_that_a_session_might_not_ask_for() -> Tested {
    let asking = Asking::new()?;
    let mut shell = asking.scene.shell()?;
    let guard = bins::for_everybody("guard", asking.scene.daemon.tag())?;
    let inner = asking.scene.daemon.dir().join("inner.toml");
    let text = "version = 1\ndefault = \"deny\"\n[[rule]]\nto = [\"inner.evil.example\"]\naction = \"allow\"\n";
    std::fs::write(&inner, text)?;
    let line = format!(
        "{0} request typed.evil.example --ports tcp/443 --reason x >/dev/null 2>&1; echo asked $?; {0} run --policy {1} -- true; echo ran $?",
        guard.display(),
        inner.display()
    );
    shell.tell(&line)?;
    assert_eq!(shell.line_with("asked ")?.trim(), "asked 2");
    assert_eq!(shell.line_with("ran ")?.trim(), "ran 0");
    let server = &asking.scene.server;
    assert!(!server.was_asked("typed.evil") && !server.was_asked("inner.evil"));
    // What a person puts in force is looked up.
    let named = text.replace("inner.evil", "persons.evil");
    asking.scene.daemon.write_policy("persons", &named)?;
    let _used = Shell::start(&asking.scene.daemon, "persons")?;
    eventually("it is looked up", || server.was_asked("persons.evil"))?;
    Ok(())
}
