//! `pending`, `approve`, `deny`, `open`, `holes`, `close`, `stop`: what a person answers, and what it does.

use guard_lab::{Json as _, NEVER, OPEN, Tested, V6, eventually};
use serde_json::{Value, json};

use super::{Lab, V4, id, say};
use crate::together::{cases, each_from};
use crate::{holes::seconds, watch::terminal::Tmux};

#[test]
fn asked_approved_used_and_closed() -> Tested {
    let lab = Lab::new()?;
    let production = lab.production()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    assert!(production.reached_at(V4, 443)?.is_empty());
    let hole = lab.daemon.json(["approve", id(&request)])?;
    assert_eq!(hole["destination"], "192.0.2.10/32");
    assert_eq!(hole["ports"], "tcp/443");
    assert!((seconds(&hole)? - 900.0).abs() < 1.0, "{hole}");
    assert_eq!(lab.daemon.json(["pending"])?, json!([]));
    assert!(lab.reaches(&mut shell, V4)?);
    assert_eq!(lab.daemon.json(["holes"])?[0]["id"], hole["id"]);
    let closed = lab.daemon.json(["close", id(&hole)])?;
    assert_eq!(closed["id"], hole["id"]);
    assert!(!lab.reaches(&mut shell, V4)?);
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    Ok(())
}

#[test]
fn for_and_connections_bound_a_hole() -> Tested {
    let lab = Lab::new()?;
    let _production = lab.production()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    let terms = ["--for", "1m30s", "--connections", "1"];
    let hole = lab
        .daemon
        .json([&["approve", id(&request)], &terms[..]].concat())?;
    assert!((seconds(&hole)? - 90.0).abs() < 1.0, "{hole}");
    assert_eq!(hole["connections_left"], 1);
    assert!(lab.reaches(&mut shell, V4)?);
    assert!(!lab.reaches(&mut shell, V4)?);
    let longer = lab
        .daemon
        .json(["open", V6, "--all-ports", "--for", "2h"])?;
    assert!(
        (seconds(&longer)? - 1800.0).abs() < 1.0,
        "max_hole: {longer}"
    );
    Ok(())
}

fn a_no_also_stops_the_asking(lab: &Lab) -> Tested {
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    let denied = lab.daemon.json(["deny", id(&request), "--for", "1h"])?;
    assert_eq!(denied["id"], request["id"]);
    assert!(!lab.reaches(&mut shell, V4)?);
    assert_eq!(lab.daemon.json(["pending"])?, json!([]));
    Ok(())
}

fn a_hole_is_for_ports_that_somebody_named(lab: &Lab) -> Tested {
    let _shell = lab.shell()?;
    for (destination, offer) in [
        (V4, "guard open 192.0.2.10:443"),
        ("2001:db8:7::1", "[2001:db8:7::1]:443"),
        ("192.0.2.64/26", "guard open 192.0.2.64/26 --ports tcp/443"),
        (
            "db.example.com",
            "guard open db.example.com --ports tcp/443",
        ),
    ] {
        let refused = lab.root(&["open", destination])?;
        assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(offer), "{}", refused.stderr);
        assert!(refused.stderr.contains("--all-ports"), "{}", refused.stderr);
    }
    assert_eq!(lab.daemon.json(["holes"])?, serde_json::json!([]));
    let all = lab.daemon.json(["open", V4, "--all-ports"])?;
    assert_eq!(all["ports"], Value::Null);
    Ok(())
}

fn an_ipv6_address_and_a_port_without_brackets_open_nothing(lab: &Lab) -> Tested {
    let _shell = lab.shell()?;
    for args in [
        &["open", "2001:db8:7::1:443", "--all-ports"][..],
        &["open", "2001:db8:7::1:443", "--ports", "tcp/443"],
        &["explain", "2001:db8:7::1:443"],
        &["explain", "2001:db8:7::1:443", "--policy", "homelab"],
    ] {
        let refused = lab.root(args)?;
        assert_eq!(refused.code(), Some(2), "{args:?}: {}", refused.stderr);
        let offer = "did you mean `[2001:db8:7::1]:443`?";
        assert!(refused.stderr.contains(offer), "{}", refused.stderr);
    }
    assert_eq!(lab.daemon.json(["holes"])?, serde_json::json!([]));
    let hole = lab.daemon.json(["open", "[2001:db8:7::1]:443"])?;
    assert_eq!(hole["destination"], "2001:db8:7::1/128");
    Ok(())
}

fn a_number_alone_is_told_which_id_it_is_near(lab: &Lab) -> Tested {
    for (args, meant) in [
        (["approve", "1"], "r1"),
        (["deny", "1"], "r1"),
        (["close", "2"], "h2"),
    ] {
        let refused = lab.root(&args)?;
        assert_eq!(refused.code(), Some(2));
        let offer = format!("did you mean {meant}?");
        assert!(refused.stderr.contains(&offer), "{}", refused.stderr);
        let next = format!("guard {} {meant}", args[0]);
        assert!(refused.stderr.contains(&next), "{}", refused.stderr);
    }
    Ok(())
}

#[test]
fn several_sessions_are_stopped_at_once() -> Tested {
    let lab = Lab::new()?;
    let _both = [lab.shell()?, lab.shell()?];
    let stopped = lab.root(&["stop", "s1", "s99", "s2"])?;
    // What is not there is told, and the others are ended all the same.
    assert_eq!(stopped.code(), Some(2), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("s99"), "{}", stopped.stderr);
    for session in ["s1", "s2"] {
        assert!(
            stopped.stdout.contains(&format!("{session} stopped")),
            "{}",
            stopped.stdout
        );
    }
    assert_eq!(lab.daemon.json(["sessions"])?, serde_json::json!([]));
    Ok(())
}

#[test]
fn a_session_whose_command_has_ended_is_nobodys_only_one() -> Tested {
    let lab = Lab::new()?;
    let leave = "sleep 300 > /dev/null 2>&1 &";
    let run = [
        "run", "--policy", "asks", "--name", "deploy", "--quiet", "--", "sh", "-c", leave,
    ];
    lab.daemon.agent(run).run()?.success()?;
    eventually("the end of its command is noticed", || {
        Ok(lab.daemon.json(["sessions"])?[0]["command_ended_at"].is_string())
    })?;
    let session = lab.daemon.json(["sessions"])?[0].clone();
    assert_eq!(session["left"][0]["comm"], "sleep");
    let listed = lab.root(&["sessions"])?.stdout;
    let left = format!("left: sleep ({})", session["left"][0]["pid"]);
    assert!(
        listed.contains("s1: command ended ") && listed.contains(&left),
        "{listed}"
    );
    let refused = lab.root(&["open", "192.0.2.10:443"])?;
    assert_eq!(refused.code(), Some(2));
    assert!(
        refused
            .stderr
            .contains("the command has ended of what is left: s1"),
        "{}",
        refused.stderr
    );
    // Nor does its name mean it: whoever types that may mean the next one.
    let refused = lab.root(&["open", "192.0.2.10:443", "--session", "deploy"])?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--session s1"), "{refused:?}");
    // Who gives its id gets it; and one whose command runs is the only one beside it.
    assert_eq!(
        lab.daemon
            .json(["open", "192.0.2.10:443", "--session", "s1"])?["session"],
        "s1"
    );
    let _shell = lab.shell()?;
    assert_eq!(
        lab.daemon.json(["open", "192.0.2.10:443"])?["session"],
        "s2"
    );
    assert_eq!(lab.daemon.json(["sessions"])?[1]["left"], json!([]));
    assert_eq!(lab.root(&["stop", "s1"])?.code(), Some(0));
    Ok(())
}

#[test]
fn what_went_with_its_session_is_told_where_nothing_waits() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    let session = "s1";
    assert_eq!(lab.root(&["stop", session])?.code(), Some(0));
    let listed = lab.root(&["pending"])?;
    let gone = format!("{} went with {session}, which has ended.", id(&request));
    assert!(listed.stdout.contains(&gone), "{}", listed.stdout);
    let wanted = format!("    {}: tcp 192.0.2.10:443", id(&request));
    let next = "guard open 192.0.2.10:443";
    for said in [&*wanted, next] {
        assert!(listed.stdout.contains(said), "{}", listed.stdout);
    }
    assert_eq!(lab.daemon.json(["pending"])?, serde_json::json!([]));
    // Who answers after all is told the same.
    for verb in ["approve", "deny"] {
        let late = lab.root(&[verb, id(&request)])?;
        assert_eq!(late.code(), Some(2), "{late:?}");
        for said in ["it went with s1, which ended", next] {
            assert!(late.stderr.contains(said), "{}", late.stderr);
        }
    }
    Ok(())
}

#[test]
fn opening_again_says_what_is_open_already() -> Tested {
    let lab = Lab::new()?;
    let _shell = lab.shell()?;
    let open = ["open", "192.0.2.10:443"];
    let first = lab.root(&open)?.success()?;
    assert!(!first.stderr.contains("already"), "{}", first.stderr);
    let again = lab.root(&open)?.success()?;
    let said = "h1 was open for 192.0.2.10/32 tcp/443 already";
    assert!(again.stderr.contains(said), "{}", again.stderr);
    let json = lab.root(&[&open[..], &["--json"]].concat())?.success()?;
    assert_eq!(json.json()?["id"], "h3");
    Ok(())
}

/// A program that has the terminal for itself is left alone: it reads keys, or draws.
#[test]
fn what_waits_is_told_at_the_terminal_of_its_command_alone() -> Tested {
    let lab = Lab::new()?;
    let _watcher = lab.watcher()?;
    let tmux = Tmux::start(lab.daemon.dir());
    let window = tmux.window_of("run", 200, 50);
    let (raw, plain) = (lab.tcp(V4)?, lab.tcp(V6)?);
    let script = format!("stty -icanon -echo; {raw}; stty icanon echo; {plain}");
    let run = ["run", "--policy", "asks", "--", "sh", "-c", &script];
    window.guard(&lab.daemon.agent(run));
    eventually("the first waits", || {
        Ok(lab.daemon.json(["pending"])?[0]["held"] == true)
    })?;
    assert_eq!(lab.root(&["deny", "r1"])?.code(), Some(0));
    // What is told comes in the order in which it was asked.
    let words = "(request r2): guard watch, in another terminal";
    window.expect(&format!("guard: waits for a yes to tcp [{V6}]:443 {words}"));
    assert_eq!(lab.root(&["deny", "r2"])?.code(), Some(0));
    let screen = window.expect("guard report --session s1");
    assert_eq!(screen.matches("waits for a yes").count(), 1, "{screen}");
    Ok(())
}

#[test]
fn what_was_refused_first_and_is_held_later_is_told_at_the_terminal_too() -> Tested {
    let lab = Lab::new()?;
    let tmux = Tmux::start(lab.daemon.dir());
    let window = tmux.window_of("run", 200, 50);
    let tcp = lab.tcp(V4)?;
    let script = format!("{tcp}; read line; {tcp}");
    let run = ["run", "--policy", "asks", "--", "sh", "-c", &script];
    window.guard(&lab.daemon.agent(run));
    eventually("the first is refused", || Ok(lab.pending()?.len() == 1))?;
    assert_eq!(lab.pending()?[0]["held"], false);
    let _watcher = lab.watcher()?;
    window.press(&["Enter"]);
    let words = "(request r1): guard watch, in another terminal";
    window.expect(&format!("guard: waits for a yes to tcp {V4}:443 {words}"));
    assert_eq!(lab.root(&["deny", "r1"])?.code(), Some(0));
    let screen = window.expect("guard report --session s1");
    assert_eq!(screen.matches("waits for a yes").count(), 1, "{screen}");
    Ok(())
}

#[test]
fn every_form_of_a_destination_can_be_opened() -> Tested {
    let lab = Lab::new()?;
    let _shell = lab.shell()?;
    for (args, destination, ports) in [
        (&[V4, "--all-ports"][..], "192.0.2.10/32", Value::Null),
        (&["192.0.2.10:443"], "192.0.2.10/32", json!("tcp/443")),
        (
            &["::ffff:192.0.2.10", "--all-ports"],
            "192.0.2.10/32",
            Value::Null,
        ),
        (
            &["[2001:db8:7::1]:443"],
            "2001:db8:7::1/128",
            json!("tcp/443"),
        ),
        (
            &["2001:db8:7::1", "--all-ports"],
            "2001:db8:7::1/128",
            Value::Null,
        ),
        (
            &["192.0.2.64/26", "--all-ports"],
            "192.0.2.64/26",
            Value::Null,
        ),
        (&[V4, "--ports", "udp/53"], "192.0.2.10/32", json!("udp/53")),
        (
            &[V4, "--ports", "tcp/8000-8100"],
            "192.0.2.10/32",
            json!("tcp/8000-8100"),
        ),
        (&[V4, "--ports", "icmp"], "192.0.2.10/32", json!("icmp")),
    ] {
        let open = [&["open", "--session", "s1"], args].concat();
        let hole = lab.daemon.json(&open)?;
        assert_eq!(hole["destination"], destination, "{args:?}");
        assert_eq!(hole["ports"], ports, "{args:?}");
    }
    let ports = ["--ports", "tcp/1", "--ports", "tcp/2", "--reason", "both"];
    let two = lab.daemon.json([&["open", V4], &ports[..]].concat())?;
    assert_eq!(two.list()?.len(), 2);
    assert_eq!(two[1]["reason"], "both");
    Ok(())
}

fn a_group_can_be_opened(lab: &Lab) -> Tested {
    let policy =
        "version = 1\ndefault = \"allow\"\n[[rule]]\nto = [\"@private\"]\naction = \"confirm\"\n";
    let file = lab.file("private.toml", policy)?;
    let _shell = lab.shell_under(file.to_str().unwrap())?;
    let open = ["open", "@private", "--all-ports", "--for", "1m"];
    // One of its networks is wider than most holes are.
    let refused = lab.daemon.refused(open)?;
    for part in ["fc00::/7", "--wide"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    let holes = lab.daemon.json([&open[..], &["--wide"]].concat())?;
    let holes = holes.list()?;
    let prefixes: Vec<_> = holes.iter().map(|hole| &hole["destination"]).collect();
    for prefix in [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
    ] {
        assert!(prefixes.iter().any(|one| *one == prefix), "{prefixes:?}");
    }
    Ok(())
}

fn what_cannot_be_opened_says_so(lab: &Lab) -> Tested {
    let _shell = lab.shell()?;
    for args in [
        &[NEVER][..],
        &[OPEN],
        &["192.0.2.1/24"],
        &["https://example.com/"],
        &[V4, "--ports", "tcp/0"],
        &[V4, "--ports", "443"],
        &[V4, "--for", "0s"],
        &[V4, "--for", "soon"],
        &[V4, "--connections", "0"],
        &[V4, "--session", "s99"],
        &["192.0.2.10:443", "--ports", "tcp/80"],
        &["no-such-name.invalid"],
    ] {
        let output = lab.root(&[&["open"], args].concat())?;
        assert_eq!(output.code(), Some(2), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    Ok(())
}

#[test]
fn a_hole_may_be_for_reads_alone() -> Tested {
    let lab = Lab::new()?;
    let production = lab.production()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    let mut send = |method| {
        let url = format!("http://{V4}:443/");
        let curl = format!("curl -s -o /dev/null -m 60 -w '%{{http_code}}' -X {method} {url}");
        Tested::Ok(say(&mut shell, &curl)?.text)
    };
    for verb in [&["approve", id(&request)][..], &["open", V4, "--all-ports"]] {
        let hole = lab.daemon.json([verb, &["--read-only"]].concat())?;
        assert_eq!(hole["read_only"], true);
        assert_eq!(lab.daemon.json(["holes"])?[0]["read_only"], true);
        assert!(send("GET")?.contains("200"));
        assert!(send("PUT")?.contains("403"));
        lab.daemon.json(["close", id(&hole)])?;
    }
    let requests = production.requests()?;
    let methods: Vec<_> = requests.iter().map(|one| one.text("method")).collect();
    assert_eq!(methods, ["GET", "GET"]);
    let hole = lab.daemon.json(["open", V4, "--all-ports"])?;
    assert_eq!(hole["read_only"], false);
    assert!(lab.reaches(&mut shell, V4)?);
    assert!(!production.reached_at(V4, 443)?.is_empty());
    Ok(())
}

#[test]
fn a_wide_hole_leaves_the_deny_inside_it_standing() -> Tested {
    let lab = Lab::new()?;
    let production = lab.production()?;
    let mut shell = lab.shell()?;
    let hole = lab.daemon.json(["open", "192.0.2.0/24", "--all-ports"])?;
    assert_eq!(hole["destination"], "192.0.2.0/24");
    assert!(lab.reaches(&mut shell, V4)?);
    assert!(!lab.reaches(&mut shell, NEVER)?);
    assert!(production.reached_at(NEVER, 443)?.is_empty());
    Ok(())
}

#[test]
fn all_are_closed_at_once() -> Tested {
    let lab = Lab::new()?;
    let _shell = lab.shell()?;
    assert_eq!(lab.daemon.json(["close", "--all"])?, json!([]));
    lab.daemon.json(["open", V4, "--all-ports"])?;
    assert_eq!(lab.daemon.json(["close", "--all"])?[0]["id"], "h1");
    lab.daemon.json(["open", V4, "--all-ports"])?;
    lab.daemon.json(["open", V6, "--all-ports"])?;
    let both = lab.daemon.json(["close", "h2", "h3"])?;
    assert_eq!(both[1]["id"], "h3", "{both}");
    // One that has ended keeps the others from nothing; of what is no id nothing is closed.
    for _ in 0..2 {
        lab.daemon.json(["open", V4, "--all-ports"])?;
    }
    assert_eq!(lab.root(&["close", "h4", "5m"])?.code(), Some(2));
    assert_eq!(lab.daemon.json(["holes"])?[0]["id"], "h4");
    let closed = lab.root(&["close", "h98", "h4", "h99", "h5"])?;
    assert_eq!(closed.code(), Some(2));
    for gone in ["h98", "h99"] {
        assert!(
            closed.stderr.contains(&format!("no hole {gone}")),
            "{closed:?}"
        );
    }
    assert!(!closed.stderr.contains("still lets pass"), "{closed:?}");
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    // Of two for one place each lets pass what the other did.
    lab.daemon.json(["open", V4, "--all-ports"])?;
    lab.daemon.json(["open", "192.0.2.10:443"])?;
    let closed = lab.root(&["close", "h7"])?;
    assert!(
        closed
            .stderr
            .contains("h6 still lets pass what h7 did: guard close h6"),
        "{closed:?}"
    );
    let closed = lab.root(&["close", "h6"])?;
    assert!(!closed.stderr.contains("still"), "{closed:?}");
    Ok(())
}

#[test]
fn a_session_is_stopped_with_all_its_processes() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    say(
        &mut shell,
        "setsid sleep 300 > /dev/null 2>&1 < /dev/null &",
    )?;
    let stopped = lab.daemon.json(["stop", "s1"])?;
    assert_eq!(stopped["id"], "s1");
    assert_eq!(shell.wait()?.code(), Some(137));
    assert_eq!(lab.daemon.json(["sessions"])?, json!([]));
    assert!(!lab.daemon.cgroup_root().join("s1").exists());
    assert_eq!(lab.root(&["stop", "s1"])?.code(), Some(2));
    Ok(())
}

fn what_is_not_there_cannot_be_answered(lab: &Lab) -> Tested {
    for args in [
        &["approve", "r1"][..],
        &["approve", "h1"],
        &["deny", "nonsense"],
        &["close", "h1"],
        &["stop", "1"],
        &["open", V4, "--all-ports"],
        &["approve"],
        &["close"],
        &["frobnicate"],
        &["status", "--colour"],
    ] {
        let output = lab.root(args)?;
        assert_eq!(output.code(), Some(2), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn ids_are_short_and_never_used_twice() -> Tested {
    let mut lab = Lab::new()?;
    drop(lab.shell()?);
    let mut shell = lab.shell()?;
    assert_eq!(id(&lab.asked(&mut shell)?), "r1");
    assert_eq!(lab.daemon.json(["sessions"])?[0]["id"], "s2");
    lab.daemon.json(["open", V4, "--all-ports"])?;
    lab.daemon.kill()?;
    lab.daemon.start()?;
    assert_eq!(id(&lab.daemon.json(["open", V6, "--all-ports"])?), "h2");
    assert!(!lab.reaches(&mut shell, "192.0.2.77")?);
    assert_eq!(id(&lab.daemon.json(["pending"])?[0]), "r2");
    Ok(())
}

#[test]
fn a_hole_as_wide_as_the_internet_is_asked_about_at_a_terminal() -> Tested {
    let lab = Lab::new()?;
    let _shell = lab.shell()?;
    let tmux = Tmux::start(lab.daemon.dir());
    let asked = |name: &str, answer: &str| {
        let window = tmux.window_of(name, 160, 40);
        let open = ["open", "0.0.0.0/0", "--ports", "tcp/443"];
        window.guard(&lab.daemon.agent(open));
        window.expect("4294967296 addresses");
        window.expect("Open all of that? [y/N]");
        window.enter(answer);
        window
    };
    asked("no", "n").expect("Nothing is opened.");
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    asked("yes", "y").expect("open for s1: 0.0.0.0/0 tcp/443");
    assert_eq!(lab.daemon.json(["holes"])?[0]["id"], "h1");
    Ok(())
}

#[test]
fn together() -> Tested {
    each_from(
        &Lab::new()?,
        cases![
            what_is_not_there_cannot_be_answered,
            a_number_alone_is_told_which_id_it_is_near,
            a_no_also_stops_the_asking,
            a_hole_is_for_ports_that_somebody_named,
            an_ipv6_address_and_a_port_without_brackets_open_nothing,
            a_group_can_be_opened,
            what_cannot_be_opened_says_so,
        ],
        Lab::end_sessions,
    )
}
