//! Read-only destinations that are reached by a name: TLS and HTTP may show only names of which the policy says so.

use anyhow::Context as _;
use guard_lab::{AGENT, Json as _, Production, Shell, Tested};

use super::scene::{EVIL, FORGE, Looks, SHARED, SharedAddress};

const READS: &str = r#"
version = 1
name = "shared"
default = "allow"
hold = "0s"

[[rule]]
name = "forge"
to = ["forge.example.com", "*.forge.example.com"]
ports = ["tcp/443", "tcp/80"]
action = "read-only"

[[rule]]
name = "asked"
to = ["*.asked.forge.example.com"]
action = "confirm"
"#;

/// The same with rules for requests.
const RULED: &str = r#"
version = 1
name = "shared"
default = "allow"
hold = "0s"

[[rule]]
name = "forge"
to = ["forge.example.com", "*.forge.example.com"]
ports = ["tcp/443", "tcp/80"]
action = "read-only"

[[rule.http]]
method = ["POST"]
path = "/search/*"
action = "allow"

[[rule.http]]
path = "/admin/*"
action = "deny"
"#;

/// A rule for the other name, which says nothing of requests.
const OTHER_NAMES: &str = r#"
[[rule]]
name = "evil"
to = ["evil.example.com"]
ports = ["tcp/443", "tcp/80"]
action = "read-only"
"#;

/// A line of the shell that prints what the answer says, and the status.
fn line(scheme: &str, name: &str, args: &str) -> String {
    let port = if scheme == "https" { 443 } else { 80 };
    format!(
        "curl -sS -m 10 --resolve {name}:{port}:{SHARED} -w ' status=%{{http_code}}\\n' {args} {scheme}://{name}/ 2>&1 | tr -d '\\n'; echo"
    )
}

/// The status, and what the answer says.
fn curl(shell: &mut Shell, scheme: &str, name: &str, args: &str) -> Tested<(String, String)> {
    shell.tell(&line(scheme, name, args))?;
    let said = shell.line_with("status=")?;
    let (body, status) = said.trim().rsplit_once("status=").unwrap();
    Ok((status.to_owned(), body.to_owned()))
}

#[test]
fn fronting_gets_an_answer_of_the_guards_own() -> Tested {
    let scene = SharedAddress::new()?;
    let _http = Production::launch(&scene.network, &[80], &[], true)?;
    // Without the guard, anything is answered there.
    for name in [FORGE, EVIL] {
        assert_eq!(scene.says_outside(SHARED, name, "whole")?, "answer");
    }
    let daemon = scene.daemon(READS, Looks::Kernel)?;
    let mut shell = scene.session(&daemon)?;
    let ok = |answer: &(String, String)| answer.0 == "200";
    let first = curl(&mut shell, "https", FORGE, "")?;
    assert!(ok(&first), "{first:?}");
    assert!(ok(&curl(&mut shell, "https", "a.forge.example.com", "")?));
    assert!(ok(&curl(&mut shell, "http", FORGE, "")?));
    // SNI right, Host another: servers may take it for either.
    let fronted = curl(&mut shell, "https", FORGE, &format!("-H 'Host: {EVIL}'"))?;
    assert_eq!(fronted.0, "421", "{fronted:?}");
    // Both another.
    let heard = || -> Vec<String> {
        let log = scene.log();
        let lines = log.lines().filter(|line| !line.starts_with("begun"));
        lines.map(str::to_owned).collect()
    };
    let before = heard();
    for other in [EVIL, "x.asked.forge.example.com"] {
        // The session trusts certificates for the policy's names alone.
        let (status, words) = curl(&mut shell, "https", other, "-k")?;
        assert_eq!(status, "403", "{words}");
        assert!(words.contains(other) && words.contains("forge"), "{words}");
    }
    assert_eq!(heard(), before, "nothing of them has arrived");
    // Without TLS only the host says it.
    for host in [EVIL, "x.asked.forge.example.com", SHARED] {
        let (status, words) = curl(&mut shell, "http", FORGE, &format!("-H 'Host: {host}'"))?;
        assert_eq!(status, "403", "{host}: {words}");
    }
    assert!(ok(&curl(
        &mut shell,
        "http",
        FORGE,
        "-H 'Host: A.Forge.example.com.:80'"
    )?));
    let log = daemon.root(["log", "--session", shell.session()]).run()?;
    assert!(log.stdout.contains(EVIL), "{log:?}");
    Ok(())
}

#[test]
fn rules_for_requests_hold_where_their_rule_has_a_name() -> Tested {
    const SEARCH: &str = "-X POST --request-target /search/a";
    const OTHER: &str = "-X POST --request-target /other/a";
    const ADMIN: &str = "--request-target /admin/a";
    let scene = SharedAddress::new()?;
    let _http = Production::launch(&scene.network, &[80], &[], true)?;
    for args in [SEARCH, OTHER, ADMIN] {
        let mut outside = scene.network.dev().command_as(AGENT, "sh");
        let said = outside.args(["-c", &line("http", FORGE, args)]).output()?;
        let said = String::from_utf8_lossy(&said.stdout);
        assert!(
            said.contains("status=200"),
            "without the guard: {args}: {said}"
        );
    }
    let daemon = scene.daemon(RULED, Looks::Kernel)?;
    let mut shell = scene.session(&daemon)?;
    for scheme in ["http", "https"] {
        for (args, wanted) in [(SEARCH, "200"), (OTHER, "403"), (ADMIN, "403"), ("", "200")] {
            let (status, words) = curl(&mut shell, scheme, FORGE, args)?;
            assert_eq!(status, wanted, "{scheme} {args}: {words}");
        }
    }
    // They are no other name's at that address.
    let (status, words) = curl(&mut shell, "http", EVIL, SEARCH)?;
    assert_eq!(status, "403", "{words}");
    Ok(())
}

#[test]
fn what_one_name_may_be_asked_another_at_its_address_may_not() -> Tested {
    const SEARCH: &str = "-X POST --request-target /search/a";
    const ADMIN: &str = "--request-target /admin/a";
    let (head, rules) = RULED.split_once("\n[[rule]]").unwrap();
    let others_first = format!("{head}{OTHER_NAMES}\n[[rule]]{rules}");
    // Whichever of them decides about the address.
    for policy in [format!("{RULED}{OTHER_NAMES}"), others_first] {
        let scene = SharedAddress::new()?;
        let _http = Production::launch(&scene.network, &[80], &[], true)?;
        let mut outside = scene.network.dev().command_as(AGENT, "sh");
        let said = outside.args(["-c", &line("http", EVIL, SEARCH)]).output()?;
        let said = String::from_utf8_lossy(&said.stdout);
        assert!(said.contains("status=200"), "without the guard: {said}");
        let daemon = scene.daemon(&policy, Looks::Kernel)?;
        // It has asked for the name alone of which a rule lets something pass.
        let mut shell = scene.session(&daemon)?;
        for scheme in ["http", "https"] {
            for (name, args, wanted) in [
                (EVIL, SEARCH, "403"),
                (EVIL, "", "200"),
                (FORGE, ADMIN, "403"),
                (FORGE, "", "200"),
            ] {
                let (status, words) = curl(&mut shell, scheme, name, args)?;
                assert_eq!(status, wanted, "{scheme} {name} {args}: {words}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_person_reads_the_reason_for_the_host_that_is_named() -> Tested {
    let with = |name: &str, reason: &str| format!("name = \"{name}\"\nreason = \"{reason}\"");
    let policy = format!("{READS}{OTHER_NAMES}")
        .replace("name = \"forge\"", &with("forge", "nobody uses it"))
        .replace("name = \"evil\"", &with("evil", "customers use it"));
    let scene = SharedAddress::new()?;
    let _http = Production::launch(&scene.network, &[80], &[], true)?;
    let daemon = scene.daemon(&policy, Looks::Kernel)?;
    let mut shell = scene.session(&daemon)?;
    for (name, rule, reason) in [
        (FORGE, "forge", "nobody uses it"),
        (EVIL, "evil", "customers use it"),
    ] {
        let (status, words) = curl(&mut shell, "http", name, "-X POST")?;
        assert_eq!(status, "403", "{name}: {words}");
        let pending = daemon.json(["pending"])?;
        let mut pending = pending.list()?.iter();
        let asked = pending.find(|one| one["http"]["host"] == name);
        let asked = asked.context(name)?;
        assert_eq!(asked["rule"], rule, "{asked}");
        assert_eq!(asked["reason"], reason, "{asked}");
        let besides = asked["beside"].list()?.iter();
        let besides: Vec<_> = besides.map(|one| one["rule"].clone()).collect();
        let expected: &[&str] = if name == EVIL { &["forge"] } else { &[] };
        assert_eq!(besides, expected, "{asked}");
    }
    Ok(())
}
