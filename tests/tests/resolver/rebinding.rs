//! Names whose owner has them lead elsewhere, once they are known: a public name opens nothing of this machine's networks.

use guard_lab::{Daemon, Shell, Tested, eventually};

use crate::names::scene::{API, DNS, NameScene, Names, reaches};

/// In a network of this machine's, where production answers too.
const INSIDE: &str = "10.66.0.10";
const INSIDE_V6: &str = "fd66::10";
const OTHER_INSIDE: &str = "10.66.0.11";
const SPLIT_INSIDE: &str = "10.66.0.12";

const POLICY: &str = r#"
version = 1
name = "exact"
default = "deny"

[[rule]]
name = "public"
to = ["public.example.com", "late.example.com", "mixed.example.com", "turned.example.com"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "inside"
to = ["inside.example.com"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "split"
to = ["split.example.com", "*.split.example.com"]
ports = ["tcp/443"]
action = "allow"
private = true

[[rule]]
name = "others"
to = ["*.public.example.com"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "own"
to = ["own.public.example.com"]
ports = ["tcp/8080"]
action = "allow"
"#;

fn scene(refresh: &str) -> Tested<NameScene> {
    let names: Names<'_> = &[
        ("public.example.com", &[API]),
        ("split.example.com", &[API]),
        ("inside.example.com", &[OTHER_INSIDE]),
    ];
    let scene = NameScene::with(refresh, "exact", POLICY, names)?;
    scene.network.answer_for(&["10.66.0.0/16", "fd66::/64"])?;
    Ok(scene)
}

/// Each name is looked up every second, and what it has lost is forgotten at once.
const REFRESHED: &str = "name_refresh_floor = 1\nname_grace = 0\n";

/// The addresses of a name as guardd has looked them up.
fn looked_up(daemon: &Daemon, name: &str) -> Tested<String> {
    let told = daemon.root(["explain", name, "--policy", "exact"]);
    Ok(told.json()?.to_string())
}

#[test]
fn a_name_that_was_public_opens_no_private_address() -> Tested {
    let mut scene = scene(REFRESHED)?;
    for to in [INSIDE, OTHER_INSIDE, SPLIT_INSIDE] {
        scene.assert_open(to, 443)?;
    }
    let mut shell = scene.shell()?;
    for (name, at) in [("public", API), ("split", API), ("inside", OTHER_INSIDE)] {
        let name = format!("{name}.example.com");
        assert_eq!(
            scene.asked(&mut shell, &name, "connected")?,
            format!("0 {DNS} {at}")
        );
        assert!(reaches(&mut shell, at, 443)?, "{name}");
    }
    // Each of them is elsewhere now, and within the time of the answer before.
    scene.server.set("public.example.com", &[INSIDE, INSIDE_V6]);
    scene.server.set("split.example.com", &[SPLIT_INSIDE]);
    let answered = format!("0 {DNS} {INSIDE}");
    assert_eq!(
        scene.asked(&mut shell, "public.example.com", "connected")?,
        answered
    );
    assert!(!reaches(&mut shell, INSIDE, 443)?);
    // Nor by what guardd looks up itself, which needs no question; nor after its end.
    for turn in 0..2 {
        let name = "public.example.com";
        eventually("guardd has looked it up", || {
            let all = looked_up(&scene.daemon, name)?;
            Ok(all.contains(INSIDE) && all.contains(INSIDE_V6))
        })?;
        let mut new = scene.shell()?;
        for to in [INSIDE, INSIDE_V6] {
            assert!(!reaches(&mut new, to, 443)?, "{to}, {turn}");
            assert!(!reaches(&mut shell, to, 443)?, "{to}, {turn}");
        }
        scene.daemon.kill()?;
        scene.daemon.start()?;
    }
    // The rule may say that it is of both.
    let answered = format!("0 {DNS} {SPLIT_INSIDE}");
    eventually("the resolver answers again", || {
        Ok(scene.asked(&mut shell, "split.example.com", "connected")? == answered)
    })?;
    assert!(reaches(&mut shell, SPLIT_INSIDE, 443)?);
    assert!(reaches(&mut shell, OTHER_INSIDE, 443)?);
    Ok(())
}

#[test]
fn a_wildcard_opens_private_addresses_where_its_rule_says_so() -> Tested {
    let scene = scene(REFRESHED)?;
    let metadata = "169.254.169.254";
    scene.network.answer_for(&["169.254.169.254/32"])?;
    let all = [
        ("a.split.example.com", SPLIT_INSIDE, true),
        ("b.split.example.com", metadata, false),
        ("a.public.example.com", INSIDE, false),
    ];
    let mut shell = scene.shell()?;
    for (name, at, is_open) in all {
        scene.assert_open(at, 443)?;
        assert!(!reaches(&mut shell, at, 443)?, "{at}, without a name");
        scene.server.set(name, &[at]);
        let answered = scene.asked(&mut shell, name, "connected")?;
        assert_eq!(answered, format!("0 {DNS} {at}"));
        assert_eq!(reaches(&mut shell, at, 443)?, is_open, "{name}");
        assert!(!reaches(&mut shell, at, 80)?, "{name}");
    }
    Ok(())
}

/// Else whoever has a rule written for one port of a name opens all that the wildcard does.
#[test]
fn a_name_that_is_spelled_out_opens_private_addresses_at_its_own_ports_alone() -> Tested {
    let scene = scene(REFRESHED)?;
    let at = "10.66.0.13";
    let mut shell = scene.shell()?;
    for port in [443, 8080] {
        scene.assert_open(at, port)?;
        assert!(!reaches(&mut shell, at, port)?, "{port}, without a name");
    }
    let name = "own.public.example.com";
    scene.server.set(name, &[at]);
    let answered = scene.asked(&mut shell, name, "connected")?;
    assert_eq!(answered, format!("0 {DNS} {at}"));
    assert!(reaches(&mut shell, at, 8080)?);
    assert!(!reaches(&mut shell, at, 443)?, "that is the wildcard's");
    let explain = [
        "explain",
        &format!("{at}:443"),
        "--session",
        shell.session(),
    ];
    let explained = scene.daemon.json(explain)?;
    assert_eq!(explained["verdict"], "deny", "{explained}");
    assert_ne!(explained["barred"], serde_json::Value::Null, "{explained}");
    // A public address has both.
    scene.server.set(name, &[API]);
    scene.asked(&mut shell, name, "connected")?;
    assert!(reaches(&mut shell, API, 443)? && reaches(&mut shell, API, 8080)?);
    Ok(())
}

#[test]
fn a_name_opens_no_address_of_the_machine_that_guardd_has_looked_up() -> Tested {
    let scene = scene(REFRESHED)?;
    let local = ["127.0.0.1", "169.254.169.254"];
    scene.server.set("public.example.com", &local);
    eventually("guardd has looked it up", || {
        let all = looked_up(&scene.daemon, "public.example.com")?;
        Ok(local.iter().all(|at| all.contains(at)))
    })?;
    for at in local {
        let told = scene
            .daemon
            .root(["explain", &format!("{at}:443"), "--policy", "exact"]);
        let told = told.json()?;
        assert_eq!(told["verdict"], "deny", "{told}");
    }
    Ok(())
}

#[test]
fn a_name_of_both_kinds_opens_the_public_addresses_alone() -> Tested {
    let scene = scene(REFRESHED)?;
    let both = [
        ("mixed.example.com", [API, INSIDE], INSIDE),
        ("turned.example.com", [SPLIT_INSIDE, API], SPLIT_INSIDE),
    ];
    for (name, addresses, inside) in both {
        scene.server.set(name, &addresses);
        scene.assert_open(inside, 443)?;
    }
    for (name, addresses, inside) in both {
        eventually("guardd has looked it up", || {
            let all = looked_up(&scene.daemon, name)?;
            Ok(addresses.iter().all(|at| all.contains(at)))
        })?;
        let mut shell = scene.shell()?;
        let told = scene.asked(&mut shell, name, "connected")?;
        assert!(addresses.iter().all(|at| told.contains(at)), "{told}");
        assert!(reaches(&mut shell, API, 443)?, "{name}");
        assert!(!reaches(&mut shell, inside, 443)?, "{name}");
        // Which rule has the name, and why it opens nothing there, is said before and after.
        let asked = format!("{name}:443");
        let told = scene.daemon.root(["explain", &asked, "--policy", "exact"]);
        let told = told.run()?.success()?.stdout;
        let apart = told.split_once("deny").map_or("", |(_, apart)| apart);
        assert!(
            apart.contains(inside) && apart.contains("`public`"),
            "{told}"
        );
        let guard = scene.daemon.program("guard")?;
        shell.tell(&format!("{} why", guard.display()))?;
        let why = shell.line_with("has the name")?;
        assert!(why.contains("`public`"), "{why}");
    }
    Ok(())
}

/// guardd has no answer when a session has its first.
#[test]
fn so_does_one_that_a_session_was_told_where_guardd_was_told_nothing() -> Tested {
    let scene = scene("name_refresh_floor = 3600\n")?;
    let mut shell = scene.shell()?;
    for (name, addresses) in [
        ("mixed.example.com", [API, INSIDE]),
        ("turned.example.com", [INSIDE, API]),
    ] {
        let told = |shell: &mut Shell| scene.asked(shell, name, "connected");
        assert_eq!(told(&mut shell)?, format!("3 {DNS}"));
        scene.server.set(name, &addresses);
        let told = told(&mut shell)?;
        assert!(addresses.iter().all(|at| told.contains(at)), "{told}");
        eventually("it is closed", || Ok(!reaches(&mut shell, INSIDE, 443)?))?;
        assert!(reaches(&mut shell, API, 443)?, "{name}");
    }
    Ok(())
}

/// The same.
#[test]
fn what_a_session_was_told_first_counts_where_guardd_was_told_nothing() -> Tested {
    let scene = scene("name_refresh_floor = 3600\n")?;
    let mut shell = scene.shell()?;
    let name = "late.example.com";
    let told = |shell: &mut Shell| scene.asked(shell, name, "connected");
    assert_eq!(told(&mut shell)?, format!("3 {DNS}"));
    scene.server.set(name, &[API]);
    assert_eq!(told(&mut shell)?, format!("0 {DNS} {API}"));
    assert!(reaches(&mut shell, API, 443)?);
    scene.server.set(name, &[INSIDE]);
    assert_eq!(told(&mut shell)?, format!("0 {DNS} {INSIDE}"));
    eventually("it is closed", || Ok(!reaches(&mut shell, INSIDE, 443)?))?;
    Ok(())
}
