//! Requests with names, and holes for a name: whatever addresses it gets, each passes before the program has it.

use std::ops::Range;

use aya::maps::{HashMap, Map, MapData, MapError};
use guard_common::MAX_HOLES;
use guard_lab::{Json as _, Shell, Tested, eventually};
use serde_json::{Value, json};

use crate::names::scene::{DNS, NameScene, reaches, with_resolvers};
use crate::together::{cases, each_from, end_sessions};

const POLICY: &str = r#"
version = 1
name = "apps"
default = "deny"
max_hole = "30m"
hold = "0s"

[[rule]]
name = "never"
to = ["192.0.2.66"]
action = "deny"

[[rule]]
name = "prod"
to = ["192.0.2.77"]
action = "confirm"

[[rule]]
name = "apps"
to = ["*.app.example.com"]
action = "confirm"
"#;

/// What ships for whoever names no other: no rule of it has a name. Production's addresses are to be among the private ones.
const SHIPPED: &str = include_str!("../../../policies/default.toml");

const NAME: &str = "v1.app.example.com";
const FIRST: &str = "192.0.2.20";

struct Apps {
    scene: NameScene,
}

impl Apps {
    fn new() -> Tested<Self> {
        Self::under(POLICY)
    }

    fn under(policy: &str) -> Tested<Self> {
        let scene = NameScene::new("apps", policy, &[(NAME, &[FIRST])])?;
        Ok(Self { scene })
    }

    /// Ends all sessions, with all that is asked about and open, and has the name stand for what it does at first.
    fn end_sessions(&self) -> Tested {
        end_sessions(&self.scene.daemon)?;
        self.scene.server.set(NAME, &[FIRST]);
        Ok(())
    }

    /// Has a name stand for an address, and a session be told so.
    fn tell(&self, shell: &mut Shell, name: &str, address: &str) -> Tested {
        self.scene.server.set(name, &[address]);
        let told = self.scene.asked(shell, name, "connected")?;
        assert_eq!(told, format!("0 {DNS} {address}"));
        Ok(())
    }

    /// The request about an address, once it says by which name it is known.
    fn request(&self, address: &str) -> Tested<Value> {
        let mut found = None;
        let is_there = || -> Tested<_> {
            let pending = self.scene.daemon.root(["pending"]).json()?;
            let mut pending = pending.list()?.clone().into_iter();
            found = pending
                .find(|one| one["destination"]["address"] == address && one["named"].is_object());
            Ok(found.is_some())
        };
        eventually("a person is asked", is_there)?;
        Ok(found.unwrap())
    }

    /// Whether the program that asks for names reaches an address.
    fn tries(&self, shell: &mut Shell, address: &str) -> Tested<bool> {
        self.tries_at(shell, address, 443)
    }

    fn tries_at(&self, shell: &mut Shell, address: &str, port: u16) -> Tested<bool> {
        shell.tell(&format!(
            "python3 -c 'import socket\ntry: socket.create_connection((\"{address}\", {port}), 20); print(\"tried: yes\")\nexcept OSError: print(\"tried: no\")'"
        ))?;
        Ok(shell.line_with("tried: ")?.contains("yes"))
    }

    /// Has a session know an address by more names that the policy speaks of than are kept, and returns the last of them.
    fn crowd(&self, shell: &mut Shell) -> Tested<String> {
        self.tell(shell, NAME, FIRST)?;
        let names = (2..22).map(|number| format!("v{number}.app.example.com"));
        let names: Vec<_> = names.collect();
        for name in &names {
            self.tell(shell, name, FIRST)?;
        }
        Ok(names[names.len() - 1].clone())
    }

    /// What a person is asked once a program in a session has asked for a name by `guard request`.
    fn typed(&self, shell: &mut Shell, name: &str) -> Tested<Value> {
        let guard = self.scene.daemon.program("guard")?;
        let request = format!("{} request {name}:443", guard.display());
        // guardd may hear of the name a moment after the program that asked for it.
        eventually("guardd knows the name", || {
            Ok(shell.status_of(&request)? == 0)
        })?;
        let pending = self.guard(&["pending"])?;
        let mut own = pending.list()?.iter();
        let own = own.find(|one| one["session"] == shell.session());
        Ok(own.cloned().unwrap_or_default())
    }

    fn guard(&self, args: &[&str]) -> Tested<Value> {
        Ok(self.scene.daemon.root(args.iter().copied()).json()?)
    }

    fn open_addresses(&self) -> Tested<Vec<Value>> {
        let holes = self.guard(&["holes"])?;
        Ok(holes[0]["addresses"].list()?.clone())
    }
}

#[test]
fn requests_and_flows_under_the_policy_that_ships_say_names() -> Tested {
    let shipped = SHIPPED.replace("\"@private\"", "\"@private\", \"192.0.2.0/24\"");
    let scene = NameScene::at(DNS, "", "default", &shipped, &[(NAME, &[FIRST])])?;
    let apps = Apps { scene };
    let mut shell = apps.scene.shell()?;
    apps.tell(&mut shell, NAME, FIRST)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    assert_eq!(request["rule"], "private");
    assert_eq!(request["destination"]["host"], NAME);
    apps.guard(&["approve", request["id"].text()?])?;
    assert!(apps.tries(&mut shell, FIRST)?);
    let is_listed = || -> Tested<_> {
        let flows = apps.guard(&["flows"])?;
        Ok(flows.list()?.iter().any(|flow| flow["host"] == NAME))
    };
    eventually("the flow is listed by its name", is_listed)?;
    Ok(())
}

fn a_request_says_by_which_alias_the_name_led_there(apps: &Apps) -> Tested {
    let mut shell = apps.scene.shell()?;
    let alias = "gh.app.example.com";
    apps.scene.server.alias(alias, "edge.example.net");
    apps.scene.server.set("edge.example.net", &[FIRST]);
    let told = apps.scene.asked(&mut shell, alias, "connected")?;
    assert_eq!(told, format!("0 {DNS} {FIRST}"));
    assert!(!apps.tries(&mut shell, FIRST)?);
    let named = &apps.request(FIRST)?["named"];
    assert_eq!(named["name"], alias, "{named}");
    assert_eq!(named["cname"], "edge.example.net", "{named}");
    let shown = apps.scene.daemon.root(["pending"]).run()?.stdout;
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("by CNAME to edge.example.net"), "{shown}");
    Ok(())
}

#[test]
fn a_yes_to_a_name_is_for_whatever_addresses_it_gets() -> Tested {
    let mut apps = Apps::new()?;
    let mut shell = apps.scene.shell()?;
    let mut other = apps.scene.shell()?;
    apps.tell(&mut shell, "also.app.example.com", FIRST)?;
    apps.tell(&mut shell, NAME, FIRST)?;
    apps.tell(&mut other, NAME, FIRST)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    let named = &request["named"];
    assert_eq!(
        (&named["name"], &named["cname"]),
        (&json!(NAME), &Value::Null)
    );
    assert_eq!(named["also"], json!(["also.app.example.com"]));
    assert_eq!(request["destination"]["host"], NAME);
    assert_eq!(request["opens_name"], true);
    let shown = apps.scene.daemon.root(["pending"]).run()?.stdout;
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "wants tcp v1.app.example.com:443 (192.0.2.20)",
        "asked for by",
        "also at this address: also.app.example.com",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let id = request["id"].text()?;
    let holes = apps.guard(&["approve", id, "--for", "2h"])?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    assert!(!reaches(&mut shell, FIRST, 80)?, "only that port");
    assert!(!reaches(&mut other, FIRST, 443)?, "only that session");
    let hole = &apps.guard(&["holes"])?[0];
    assert_eq!(hole["destination"], NAME, "{holes}");
    let id = hole["id"].text()?;
    // Each is used as soon as it is known.
    for last in 30..40 {
        let address = format!("192.0.2.{last}");
        assert!(!reaches(&mut shell, &address, 443)?);
        apps.tell(&mut shell, NAME, &address)?;
        assert!(reaches(&mut shell, &address, 443)?, "{address}");
    }
    // Another name is another.
    apps.tell(&mut shell, "v2.app.example.com", "192.0.2.50")?;
    assert!(!reaches(&mut shell, "192.0.2.50", 443)?);
    // A name opens nothing that is denied, nor what is not for names, nor what is inside where it was outside.
    for closed in ["192.0.2.66", "169.254.169.254", "127.0.0.1", "10.1.2.3"] {
        apps.tell(&mut shell, NAME, closed)?;
        assert!(!apps.open_addresses()?.contains(&json!(closed)), "{closed}");
    }
    assert!(!reaches(&mut shell, "192.0.2.66", 443)?);
    // guardd may come and go.
    apps.scene.daemon.kill()?;
    apps.scene.daemon.start()?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    apps.scene.server.set(NAME, &["192.0.2.41"]);
    let is_told = || -> Tested<_> {
        Ok(apps
            .scene
            .asked(&mut shell, NAME, "connected")?
            .starts_with('0'))
    };
    eventually("it answers again", is_told)?;
    assert!(reaches(&mut shell, "192.0.2.41", 443)?);
    let closed = apps.scene.daemon.root(["close", id]).run()?;
    closed.success()?;
    for address in [FIRST, "192.0.2.30", "192.0.2.41"] {
        assert!(!reaches(&mut shell, address, 443)?, "{address}");
    }
    assert_eq!(apps.guard(&["holes"])?, json!([]));
    Ok(())
}

fn a_yes_to_an_address_is_for_that_alone(apps: &Apps) -> Tested {
    let mut shell = apps.scene.shell()?;
    apps.tell(&mut shell, NAME, FIRST)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    let id = request["id"].text()?;
    apps.guard(&["approve", id, "--address"])?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    assert_eq!(apps.guard(&["holes"])?[0]["destination"], "192.0.2.20/32");
    apps.tell(&mut shell, NAME, "192.0.2.30")?;
    assert!(!reaches(&mut shell, "192.0.2.30", 443)?);
    Ok(())
}

/// A program that goes by the address has not asked for the name, no matter who else in the session has.
fn a_yes_to_a_program_that_did_not_use_the_name_is_for_its_address(apps: &Apps) -> Tested {
    let mut shell = apps.scene.shell()?;
    // It lives on: of one that has ended guardd may not know any more what it was.
    let ask = apps.scene.ask.display();
    shell.tell(&format!(
        "python3 -c 'import runpy, sys, time\nsys.argv[1:] = [\"{DNS}\", \"{NAME}\", \"A\", \"connected\"]\ntry: runpy.run_path(\"{ask}\", run_name=\"__main__\")\nfinally: sys.stdout.flush(); time.sleep(600)' &"
    ))?;
    shell.line_with("answer 0 ")?;
    assert!(!reaches(&mut shell, FIRST, 443)?);
    let request = &apps.guard(&["pending"])?[0];
    assert_eq!(request["named"], Value::Null, "{request}");
    assert_eq!(request["destination"]["host"], NAME, "{request}");
    let shown = apps.scene.daemon.root(["pending"]).run()?.stdout;
    let title = format!("wants tcp {FIRST}:443 ({NAME})");
    assert!(shown.contains(&title), "{shown}");
    apps.guard(&["approve", request["id"].text()?])?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    assert_eq!(apps.guard(&["holes"])?[0]["destination"], "192.0.2.20/32");
    apps.tell(&mut shell, NAME, "192.0.2.30")?;
    assert!(!reaches(&mut shell, "192.0.2.30", 443)?);
    Ok(())
}

/// Of what a person was shown without a name nobody changes the title by asking for one, which may lead elsewhere next.
#[test]
fn a_name_that_is_asked_for_after_the_attempt_is_not_what_a_yes_opens() -> Tested {
    let apps = Apps::under(&POLICY.replace("192.0.2.77", FIRST))?;
    for port in [443, 80] {
        apps.scene.assert_open(FIRST, port)?;
    }
    let mut shell = apps.scene.shell()?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let shown = apps.guard(&["pending"])?[0].clone();
    assert_eq!(shown["named"], Value::Null, "{shown}");
    apps.tell(&mut shell, NAME, FIRST)?;
    // A later attempt, by the name, is another matter, and shows that guardd has heard of it.
    assert!(!apps.tries_at(&mut shell, FIRST, 80)?);
    let is_named = || -> Tested<_> {
        let pending = apps.guard(&["pending"])?;
        let mut pending = pending.list()?.iter();
        let other = pending.find(|one| one["destination"]["port"] == 80);
        Ok(other.is_some_and(|one| one["named"]["name"] == NAME))
    };
    eventually("the other one is named", is_named)?;
    assert!(!apps.tries(&mut shell, FIRST)?, "again");
    let now = apps.guard(&["pending"])?;
    let now = now
        .list()?
        .iter()
        .find(|one| one["id"] == shown["id"])
        .unwrap();
    assert_eq!(now["named"], Value::Null, "{now}");
    apps.guard(&["approve", shown["id"].text()?])?;
    assert_eq!(apps.guard(&["holes"])?[0]["destination"], "192.0.2.20/32");
    assert!(reaches(&mut shell, FIRST, 443)?);
    apps.tell(&mut shell, NAME, "192.0.2.30")?;
    assert!(!reaches(&mut shell, "192.0.2.30", 443)?);
    Ok(())
}

/// More names than are kept of an address, which any program may have asked for.
#[test]
fn names_that_no_policy_speaks_of_hide_none_that_one_does() -> Tested {
    let apps = Apps::under(&POLICY.replace("default = \"deny\"", "default = \"allow\""))?;
    apps.scene.assert_open(FIRST, 443)?;
    let mut shell = apps.scene.shell()?;
    let junk = |shell: &mut Shell, numbers: Range<u32>| -> Tested {
        for number in numbers {
            apps.tell(shell, &format!("cdn{number}.evil.test"), FIRST)?;
        }
        Ok(())
    };
    junk(&mut shell, 0..18)?;
    apps.tell(&mut shell, NAME, FIRST)?;
    junk(&mut shell, 18..22)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    assert_eq!(request["named"]["name"], NAME, "{request}");
    assert_eq!(request["destination"]["host"], NAME, "{request}");
    apps.guard(&["approve", request["id"].text()?])?;
    assert_eq!(apps.guard(&["holes"])?[0]["destination"], NAME);
    // What it opens is not the agent's to say.
    apps.tell(&mut shell, "v2.app.example.com", "192.0.2.30")?;
    apps.tell(&mut shell, "cdn0.evil.test", "192.0.2.30")?;
    assert!(!reaches(&mut shell, "192.0.2.30", 443)?);
    Ok(())
}

fn where_a_policy_speaks_of_more_names_than_are_kept_a_yes_is_for_the_address(
    apps: &Apps,
) -> Tested {
    let mut shell = apps.scene.shell()?;
    apps.crowd(&mut shell)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let mut request = Value::Null;
    eventually("a person is warned", || {
        request = apps.guard(&["pending"])?[0].take();
        Ok(request["warnings"].to_string().contains("more names"))
    })?;
    assert_eq!(request["named"], Value::Null, "{request}");
    let shown = apps.scene.daemon.root(["pending"]).run()?.stdout;
    assert!(shown.contains(&format!("wants tcp {FIRST}:443")), "{shown}");
    apps.guard(&["approve", request["id"].text()?])?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    assert_eq!(apps.guard(&["holes"])?[0]["destination"], "192.0.2.20/32");
    Ok(())
}

/// It may ask for the name whose owner adds addresses, and the names that a person would be told beside it are missing.
fn where_names_are_missing_a_yes_to_a_name_that_a_program_types_is_for_the_address(
    apps: &Apps,
) -> Tested {
    let (mut shell, mut other) = (apps.scene.shell()?, apps.scene.shell()?);
    apps.tell(&mut other, NAME, FIRST)?;
    let request = apps.typed(&mut other, NAME)?;
    assert_eq!(request["named"]["name"], NAME, "{request}");
    let last = apps.crowd(&mut shell)?;
    let request = apps.typed(&mut shell, &last)?;
    assert_eq!(request["named"], Value::Null, "{request}");
    let warnings = request["warnings"].to_string();
    assert!(warnings.contains("more names"), "{warnings}");
    apps.guard(&["approve", request["id"].text()?])?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    assert_eq!(apps.guard(&["holes"])?[0]["destination"], "192.0.2.20/32");
    apps.tell(&mut shell, &last, "192.0.2.30")?;
    assert!(!reaches(&mut shell, "192.0.2.30", 443)?);
    Ok(())
}

fn a_name_is_opened_without_a_request(apps: &Apps) -> Tested {
    let mut shell = apps.scene.shell()?;
    apps.tell(&mut shell, NAME, FIRST)?;
    let session = shell.session().to_owned();
    let open = ["open", NAME, "--ports", "tcp/443", "--session", &session];
    apps.guard(&open)?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    apps.tell(&mut shell, NAME, "192.0.2.30")?;
    assert!(reaches(&mut shell, "192.0.2.30", 443)?);
    let addresses = apps.open_addresses()?;
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    Ok(())
}

fn a_name_is_opened_before_it_was_asked_for(apps: &Apps) -> Tested {
    let mut shell = apps.scene.shell()?;
    let session = shell.session().to_owned();
    let other = "v2.app.example.com";
    apps.scene.server.set(other, &["192.0.2.21", "192.0.2.22"]);
    for (name, ports) in [
        (NAME, &["--ports", "tcp/443"][..]),
        (other, &["--all-ports"]),
    ] {
        let hole = apps.guard(&[&["open", name, "--session", &session], ports].concat())?;
        assert_eq!(hole["destination"], name, "{hole}");
    }
    assert!(!reaches(&mut shell, FIRST, 443)?, "nothing was asked for");
    apps.tell(&mut shell, NAME, FIRST)?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    assert!(!reaches(&mut shell, FIRST, 80)?, "only that port");
    apps.tell(&mut shell, NAME, "192.0.2.30")?;
    assert!(reaches(&mut shell, "192.0.2.30", 443)?);
    apps.tell(&mut shell, other, "192.0.2.31")?;
    assert!(reaches(&mut shell, "192.0.2.31", 80)?);
    // What no rule has is refused as before.
    apps.scene.server.set("v1.evil.example", &["192.0.2.40"]);
    let open = [
        "open",
        "v1.evil.example",
        "--ports",
        "tcp/443",
        "--session",
        &session,
    ];
    assert_eq!(apps.scene.daemon.root(open).run()?.code(), Some(2));
    // A name of this machine resolves, and its address alone is opened: it says so.
    let own = "own.app.example.com";
    apps.scene.server.set(own, &["127.0.1.1"]);
    let open = ["open", own, "--ports", "tcp/443", "--session", &session];
    let refused = apps.scene.daemon.root(open).args(["--json"]).run()?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("127.0.1.1 (@loopback)"),
        "{refused:?}"
    );
    Ok(())
}

fn a_no_at_any_port_is_not_lifted_by_a_name(apps: &Apps) -> Tested {
    let mut shell = apps.scene.shell()?;
    let session = shell.session().to_owned();
    let refused = "192.0.2.30";
    apps.tell(&mut shell, "also.app.example.com", refused)?;
    assert!(!apps.tries(&mut shell, refused)?);
    let request = apps.request(refused)?;
    apps.guard(&["deny", request["id"].text()?])?;
    apps.guard(&["open", NAME, "--ports", "tcp/1-1000", "--session", &session])?;
    for (address, passes) in [(FIRST, true), (refused, false), ("192.0.2.31", true)] {
        apps.tell(&mut shell, NAME, address)?;
        assert_eq!(reaches(&mut shell, address, 443)?, passes, "{address}");
    }
    Ok(())
}

fn what_is_explained_of_a_session_is_what_the_kernel_does(apps: &Apps) -> Tested {
    let mut shell = apps.scene.shell()?;
    let session = shell.session().to_owned();
    let explain = |to: &str| apps.guard(&["explain", to, "--session", &session]);
    let at = format!("{NAME}:443");
    assert_eq!(explain(&at)?["verdict"], "confirm", "nothing is known yet");
    assert_eq!(explain(FIRST)?["verdict"], "deny");
    apps.tell(&mut shell, NAME, FIRST)?;
    for to in [&at, FIRST] {
        let told = explain(to)?;
        assert_eq!(told["verdict"], "confirm", "{told}");
        assert_eq!(told["rule"], "apps", "{told}");
    }
    assert!(!reaches(&mut shell, FIRST, 443)?);
    let hole = apps.guard(&["open", NAME, "--ports", "tcp/443", "--session", &session])?;
    for to in [&at, "192.0.2.20:443"] {
        let told = explain(to)?;
        assert_eq!(told["verdict"], "allow", "{told}");
        assert_eq!(told["hole"], hole["id"], "{told}");
    }
    assert_eq!(explain(&at)?["addresses"][0]["verdict"], "allow");
    assert!(reaches(&mut shell, FIRST, 443)?);
    // No wildcard opens an address of one's own networks.
    let inside = "v9.app.example.com";
    apps.tell(&mut shell, inside, "10.1.2.3")?;
    for to in [inside, "10.1.2.3"] {
        assert_eq!(explain(to)?["verdict"], "deny", "{}", explain(to)?);
    }
    Ok(())
}

/// Two kinds of names that are asked about.
const KINDS: &str = r#"
version = 1
name = "kinds"
default = "deny"
hold = "0s"

[[rule]]
name = "apps"
to = ["*.app.example.com"]
action = "confirm"

[[rule]]
name = "databases"
to = ["*.db.example.com"]
action = "confirm"
"#;

fn a_name_lifts_no_rule_but_the_one_that_was_shown(apps: &Apps) -> Tested {
    apps.scene
        .daemon
        .write_policy("kinds", &with_resolvers(KINDS))?;
    let mut shell = Shell::start(&apps.scene.daemon, "kinds")?;
    let database = "192.0.2.30";
    apps.tell(&mut shell, "one.db.example.com", database)?;
    apps.tell(&mut shell, NAME, FIRST)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    assert_eq!(request["rule"], "apps");
    apps.guard(&["approve", request["id"].text()?])?;
    for (address, passes) in [(FIRST, true), (database, false), ("192.0.2.31", true)] {
        apps.tell(&mut shell, NAME, address)?;
        assert_eq!(apps.tries(&mut shell, address)?, passes, "{address}");
    }
    let asked = apps.request(database)?;
    assert_eq!(asked["rule"], "databases", "{asked}");
    Ok(())
}

/// Rules for addresses that a name comes to stand for.
const MIXED: &str = r#"
version = 1
name = "mixed"
default = "deny"
hold = "0s"

[dns]
names = "any"

[[rule]]
name = "web"
to = ["192.0.2.0/24"]
action = "confirm"

[[rule]]
name = "inner"
to = ["*.app.example.com"]
action = "confirm"
"#;

/// A policy that asks about the internet, by rules for some of it, too.
const ASKED: &str = r#"
version = 1
name = "asked"
default = "confirm"
hold = "0s"

[dns]
names = "any"

[[rule]]
name = "photos"
to = ["192.0.2.70"]
action = "read-only"

[[rule]]
name = "mine"
to = ["mine.site.example", "192.0.2.80/28"]
action = "confirm"
"#;

impl Apps {
    /// A session under another policy.
    fn shell_under(&self, name: &str, text: &str) -> Tested<Shell> {
        let daemon = &self.scene.daemon;
        daemon.write_policy(name, &with_resolvers(text))?;
        Ok(Shell::start(daemon, name)?)
    }
}

fn a_name_lifts_no_read_only_rule_and_no_persons_no(apps: &Apps) -> Tested {
    let mut shell = apps.shell_under("asked", ASKED)?;
    const EVIL: &str = "app.evil.example";
    const REFUSED: &str = "192.0.2.71";
    assert!(!reaches(&mut shell, REFUSED, 443)?);
    let pending = apps.guard(&["pending"])?;
    let no = pending[0]["id"].text()?.to_owned();
    apps.guard(&["deny", &no, "--for", "8h"])?;
    apps.tell(&mut shell, EVIL, FIRST)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    assert_eq!(request["named"]["name"], EVIL);
    apps.guard(&["approve", request["id"].text()?])?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    // Its owner has it stand for another server that is asked about, which the yes is for, and for three that it is not for.
    apps.tell(&mut shell, EVIL, "192.0.2.30")?;
    assert!(reaches(&mut shell, "192.0.2.30", 443)?);
    for closed in ["192.0.2.70", REFUSED, "192.0.2.81"] {
        apps.tell(&mut shell, EVIL, closed)?;
        assert!(!apps.open_addresses()?.contains(&json!(closed)), "{closed}");
    }
    assert!(!reaches(&mut shell, REFUSED, 443)?);
    Ok(())
}

/// A rule that has a name and a prefix is about the prefix where the name leads into it.
fn a_name_opens_nothing_that_a_rule_has_by_its_address(apps: &Apps) -> Tested {
    let mut shell = apps.shell_under("asked", ASKED)?;
    const MINE: &str = "mine.site.example";
    apps.tell(&mut shell, MINE, FIRST)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    assert_eq!(
        (&request["rule"], &request["opens_name"]),
        (&json!("mine"), &json!(true))
    );
    apps.guard(&["approve", request["id"].text()?])?;
    for (address, passes) in [
        ("192.0.2.30", true),
        ("192.0.2.81", false),
        ("192.0.2.70", false),
    ] {
        apps.tell(&mut shell, MINE, address)?;
        let is_open = apps.open_addresses()?.contains(&json!(address));
        assert_eq!(is_open, passes, "{address}");
    }
    Ok(())
}

fn a_name_that_a_person_types_is_for_its_addresses_where_a_rule_is_about_these(
    apps: &Apps,
) -> Tested {
    let mut shell = apps.shell_under("mixed", MIXED)?;
    let session = shell.session().to_owned();
    const EVIL: &str = "app.evil.example";
    apps.tell(&mut shell, EVIL, FIRST)?;
    apps.guard(&["open", EVIL, "--ports", "tcp/443", "--session", &session])?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    apps.tell(&mut shell, EVIL, "192.0.2.30")?;
    assert!(!reaches(&mut shell, "192.0.2.30", 443)?);
    Ok(())
}

/// A name's owner chooses its next address: where a rule is about addresses, a yes is for the one that a person saw.
fn a_yes_under_a_rule_for_addresses_is_for_the_address_whatever_its_name(apps: &Apps) -> Tested {
    let mut shell = apps.shell_under("mixed", MIXED)?;
    const EVIL: &str = "app.evil.example";
    apps.tell(&mut shell, EVIL, FIRST)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    assert_eq!(request["named"]["name"], EVIL);
    assert_eq!(request["opens_name"], false);
    let shown = apps.scene.daemon.root(["pending"]).run()?.stdout;
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("a yes opens this address alone"), "{shown}");
    apps.guard(&["approve", request["id"].text()?])?;
    assert_eq!(apps.guard(&["holes"])?[0]["destination"], "192.0.2.20/32");
    assert!(reaches(&mut shell, FIRST, 443)?);
    apps.tell(&mut shell, EVIL, "192.0.2.30")?;
    assert!(!reaches(&mut shell, "192.0.2.30", 443)?);
    Ok(())
}

/// A name that only leads to one of the rule's leads elsewhere tomorrow.
fn a_yes_to_a_rules_name_opens_no_other_that_leads_there(apps: &Apps) -> Tested {
    let any = format!("{POLICY}\n[dns]\nnames = \"any\"\n").replace("\"apps\"", "\"aliased\"");
    let mut shell = apps.shell_under("aliased", &any)?;
    const EVIL: &str = "cdn.evil.example";
    apps.scene.server.alias(EVIL, NAME);
    let told = apps.scene.asked(&mut shell, EVIL, "connected")?;
    assert_eq!(told, format!("0 {DNS} {FIRST}"));
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    assert_eq!(request["rule"], "aliased", "{request}");
    assert_eq!(request["opens_name"], false, "{request}");
    apps.guard(&["approve", request["id"].text()?])?;
    assert!(reaches(&mut shell, FIRST, 443)?);
    apps.scene.server.set("v2.app.example.com", &["192.0.2.30"]);
    apps.scene.server.alias(EVIL, "v2.app.example.com");
    let told = apps.scene.asked(&mut shell, EVIL, "connected")?;
    assert_eq!(told, format!("0 {DNS} 192.0.2.30"));
    assert!(!reaches(&mut shell, "192.0.2.30", 443)?);
    Ok(())
}

/// A policy that asks about the internet, and closes the networks around.
const INTERNET: &str = r#"
version = 1
name = "internet"
default = "confirm"
hold = "0s"

[dns]
names = "any"

[[rule]]
name = "networks"
to = ["@private"]
action = "confirm"
"#;

fn where_all_of_the_internet_is_asked_about_a_yes_opens_the_name(apps: &Apps) -> Tested {
    let mut shell = apps.shell_under("internet", INTERNET)?;
    const SITE: &str = "docs.site.example";
    apps.tell(&mut shell, SITE, FIRST)?;
    assert!(!apps.tries(&mut shell, FIRST)?);
    let request = apps.request(FIRST)?;
    assert_eq!(request["opens_name"], true, "{request}");
    apps.guard(&["approve", request["id"].text()?])?;
    for (address, passes) in [("192.0.2.30", true), ("10.1.2.3", false)] {
        apps.tell(&mut shell, SITE, address)?;
        let is_open = apps.open_addresses()?.contains(&json!(address));
        assert_eq!(is_open, passes, "{address}");
    }
    Ok(())
}

/// One yes would open what the person who typed a name has not seen.
#[test]
fn a_name_whose_addresses_are_several_decisions_is_not_opened() -> Tested {
    let apps = Apps::new()?;
    let mut shell = apps.scene.shell()?;
    let session = shell.session().to_owned();
    let open = ["open", NAME, "--ports", "tcp/443", "--session", &session];
    apps.scene.server.set(NAME, &[FIRST, "192.0.2.77"]);
    let refused = apps.scene.daemon.root(open).run()?;
    assert_eq!(refused.code(), Some(2));
    let why = refused.stderr;
    assert!(why.contains("192.0.2.77 (rule"), "{why}");
    assert!(why.contains("prod") && why.contains(FIRST), "{why}");
    assert_eq!(apps.guard(&["holes"])?, json!([]));
    assert!(!reaches(&mut shell, "192.0.2.77", 443)?);
    let other = "v2.app.example.com";
    apps.scene.server.set(other, &[FIRST, "192.0.2.21"]);
    let open = ["open", other, "--ports", "tcp/443", "--session", &session];
    let opened = apps.scene.daemon.root(open).run()?;
    assert_eq!(opened.code(), Some(0), "{opened:?}");
    assert!(
        opened.stdout.contains(&format!("({FIRST}, 192.0.2.21)")),
        "{opened:?}"
    );
    Ok(())
}

#[test]
fn a_budget_of_a_name_with_several_addresses_outlives_guardd() -> Tested {
    let mut apps = Apps::new()?;
    let mut shell = apps.scene.shell()?;
    let session = shell.session().to_owned();
    apps.scene.server.set(NAME, &[FIRST, "192.0.2.21"]);
    let args = ["--ports", "tcp/443", "--bytes", "4KiB"];
    let before = apps.guard(&[&["open", NAME, "--session", &session][..], &args].concat())?;
    apps.scene.daemon.kill()?;
    apps.scene.daemon.start()?;
    let holes = apps.guard(&["holes"])?;
    assert_eq!(holes[0]["opened_by"], before["opened_by"], "{holes}");
    assert_eq!(holes[0]["bytes_left"], 4096, "{holes}");
    apps.tell(&mut shell, NAME, "192.0.2.30")?;
    let holes = apps.guard(&["holes"])?;
    assert!(
        apps.open_addresses()?.contains(&json!("192.0.2.30")),
        "{holes}"
    );
    assert_eq!(holes[0]["bytes_left"], 4096, "{holes}");
    let log = apps.scene.daemon.root(["log", "--json"]).run()?;
    let log = log.json_lines()?;
    let opened = log.iter().filter(|one| one["kind"] == "hole-open");
    assert_eq!(opened.count(), 1, "{log:?}");
    Ok(())
}

/// How many budgets of holes the kernel has, of all sessions.
fn budgets(apps: &Apps) -> Tested<usize> {
    let pin = apps.scene.daemon.pin_dir().join("live/budgets");
    let map = Map::from_map_data(MapData::from_pin(pin)?)?;
    let map: HashMap<_, u32, [u8; 8]> = map.try_into()?;
    let keys: Result<Vec<u32>, MapError> = map.keys().collect();
    Ok(keys?.len())
}

#[test]
fn a_name_that_the_list_of_holes_has_no_room_for_leaves_no_budget() -> Tested {
    let apps = Apps::new()?;
    let shell = apps.scene.shell()?;
    let session = shell.session().to_owned();
    let other = "v2.app.example.com";
    apps.scene.server.set(other, &[FIRST, "192.0.2.21"]);
    for port in 1..MAX_HOLES {
        let port = format!("tcp/{port}");
        apps.guard(&[
            "open",
            "192.0.2.77",
            "--ports",
            &port,
            "--session",
            &session,
        ])?;
    }
    let open = ["open", other, "--ports", "tcp/443", "--session", &session];
    let counted = [&open[..], &["--connections", "1", "--bytes", "1MB"]].concat();
    // The first of its addresses fits, the second does not.
    for _ in 0..2 {
        let refused = apps.scene.daemon.root(&counted).run()?;
        assert_eq!(refused.code(), Some(2), "{refused:?}");
        assert_eq!(apps.guard(&["holes"])?.list()?.len(), MAX_HOLES - 1);
        assert_eq!(budgets(&apps)?, 0);
    }
    apps.guard(&["close", "h1"])?;
    apps.guard(&counted)?;
    assert_eq!(budgets(&apps)?, 2);
    Ok(())
}

/// Each policy of its chain is told to the resolver, also one without names.
fn a_session_inside_one_whose_policy_has_no_names_is_answered(apps: &Apps) -> Tested {
    let plain = "version = 1\nname = \"plain\"\ndefault = \"allow\"\n";
    let outer = apps.scene.daemon.write_for_agents("plain.toml", plain)?;
    let inner = apps
        .scene
        .daemon
        .write_for_agents("apps.toml", &with_resolvers(POLICY))?;
    let mut shell = Shell::start(&apps.scene.daemon, &outer.display().to_string())?;
    let guard = guard_lab::bins::for_everybody("guard", apps.scene.daemon.tag())?;
    let (guard, inner, ask) = (guard.display(), inner.display(), apps.scene.ask.display());
    shell.tell(&format!(
        "{guard} run -q --policy {inner} -- python3 {ask} {DNS} {NAME} A connected"
    ))?;
    let told = shell.line_with("answer ")?;
    assert!(told.contains(&format!("answer 0 {DNS} {FIRST}")), "{told}");
    Ok(())
}

#[test]
fn together() -> Tested {
    each_from(
        &Apps::new()?,
        cases![
            what_is_explained_of_a_session_is_what_the_kernel_does,
            a_name_is_opened_without_a_request,
            a_name_is_opened_before_it_was_asked_for,
            a_request_says_by_which_alias_the_name_led_there,
            a_yes_to_an_address_is_for_that_alone,
            a_yes_to_a_program_that_did_not_use_the_name_is_for_its_address,
            where_a_policy_speaks_of_more_names_than_are_kept_a_yes_is_for_the_address,
            where_names_are_missing_a_yes_to_a_name_that_a_program_types_is_for_the_address,
            a_name_lifts_no_rule_but_the_one_that_was_shown,
            a_name_lifts_no_read_only_rule_and_no_persons_no,
            a_name_opens_nothing_that_a_rule_has_by_its_address,
            a_name_that_a_person_types_is_for_its_addresses_where_a_rule_is_about_these,
            a_yes_under_a_rule_for_addresses_is_for_the_address_whatever_its_name,
            a_yes_to_a_rules_name_opens_no_other_that_leads_there,
            where_all_of_the_internet_is_asked_about_a_yes_opens_the_name,
            a_session_inside_one_whose_policy_has_no_names_is_answered,
            a_no_at_any_port_is_not_lifted_by_a_name,
        ],
        Apps::end_sessions,
    )
}
