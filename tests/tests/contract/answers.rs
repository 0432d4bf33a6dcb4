//! `pending`, `approve`, `deny`, `open`, `holes`, `close`, `stop`: what a person answers, and what it does.

use serde_json::{Value, json};

use super::{Lab, NEVER, OPEN, V4, V6, id, say};

fn seconds(hole: &Value) -> f64 {
    let time = |key: &str| hole[key].as_str().unwrap().parse::<jiff::Timestamp>();
    let lives = time("expires_at").unwrap() - time("opened_at").unwrap();
    lives.total(jiff::Unit::Second).unwrap()
}

#[test]
fn asked_approved_used_and_closed() {
    let lab = Lab::new();
    let production = lab.production();
    let mut shell = lab.shell();
    let request = lab.asked(&mut shell);
    assert!(production.reached_at(V4, 443).unwrap().is_empty());
    let hole = lab.json(&["approve", id(&request)]);
    assert_eq!(hole["destination"], "192.0.2.10/32");
    assert_eq!(hole["ports"], "tcp/443");
    assert!((seconds(&hole) - 900.0).abs() < 1.0, "{hole}");
    assert_eq!(lab.json(&["pending"]), json!([]));
    assert!(lab.reaches(&mut shell, V4));
    assert_eq!(lab.json(&["holes"])[0]["id"], hole["id"]);
    let closed = lab.json(&["close", id(&hole)]);
    assert_eq!(closed["id"], hole["id"]);
    assert!(!lab.reaches(&mut shell, V4));
    assert_eq!(lab.json(&["holes"]), json!([]));
}

#[test]
fn for_and_connections_bound_a_hole() {
    let lab = Lab::new();
    let _production = lab.production();
    let mut shell = lab.shell();
    let request = lab.asked(&mut shell);
    let terms = ["--for", "1m30s", "--connections", "1"];
    let hole = lab.json(&[&["approve", id(&request)], &terms[..]].concat());
    assert!((seconds(&hole) - 90.0).abs() < 1.0, "{hole}");
    assert_eq!(hole["connections_left"], 1);
    assert!(lab.reaches(&mut shell, V4));
    assert!(!lab.reaches(&mut shell, V4));
    let longer = lab.json(&["open", V6, "--for", "2h"]);
    assert!(
        (seconds(&longer) - 1800.0).abs() < 1.0,
        "max_hole: {longer}"
    );
}

#[test]
fn a_no_also_stops_the_asking() {
    let lab = Lab::new();
    let mut shell = lab.shell();
    let request = lab.asked(&mut shell);
    let denied = lab.json(&["deny", id(&request), "--for", "1h"]);
    assert_eq!(denied["id"], request["id"]);
    assert!(!lab.reaches(&mut shell, V4));
    assert_eq!(lab.json(&["pending"]), json!([]));
}

#[test]
fn every_form_of_a_destination_can_be_opened() {
    let lab = Lab::new();
    let _shell = lab.shell();
    for (args, destination, ports) in [
        (&[V4][..], "192.0.2.10/32", Value::Null),
        (&["192.0.2.10:443"], "192.0.2.10/32", json!("tcp/443")),
        (&["::ffff:192.0.2.10"], "192.0.2.10/32", Value::Null),
        (
            &["[2001:db8:7::1]:443"],
            "2001:db8:7::1/128",
            json!("tcp/443"),
        ),
        (&["2001:db8:7::1"], "2001:db8:7::1/128", Value::Null),
        (&["192.0.2.64/26"], "192.0.2.64/26", Value::Null),
        (&[V4, "--ports", "udp/53"], "192.0.2.10/32", json!("udp/53")),
        (
            &[V4, "--ports", "tcp/8000-8100"],
            "192.0.2.10/32",
            json!("tcp/8000-8100"),
        ),
        (&[V4, "--ports", "icmp"], "192.0.2.10/32", json!("icmp")),
    ] {
        let open = [&["open", "--session", "s1"], args].concat();
        let hole = lab.json(&open);
        assert_eq!(hole["destination"], destination, "{args:?}");
        assert_eq!(hole["ports"], ports, "{args:?}");
    }
    let ports = ["--ports", "tcp/1", "--ports", "tcp/2", "--reason", "both"];
    let two = lab.json(&[&["open", V4], &ports[..]].concat());
    assert_eq!(two.as_array().unwrap().len(), 2);
    assert_eq!(two[1]["reason"], "both");
}

#[test]
fn a_group_can_be_opened() {
    let lab = Lab::new();
    let policy =
        "version = 1\ndefault = \"allow\"\n[[rule]]\nto = [\"@private\"]\naction = \"confirm\"\n";
    let file = lab.file("private.toml", policy);
    let _shell = lab.shell_under(file.to_str().unwrap());
    let holes = lab.json(&["open", "@private", "--for", "1m"]);
    let holes = holes.as_array().unwrap();
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
}

#[test]
fn what_cannot_be_opened_says_so() {
    let lab = Lab::new();
    let _shell = lab.shell();
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
        let output = lab.root(&[&["open"], args].concat());
        assert_eq!(output.code(), Some(2), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(lab.json(&["holes"]), json!([]));
}

#[test]
fn a_hole_may_be_for_reads_alone() {
    let lab = Lab::new();
    let production = lab.production();
    let mut shell = lab.shell();
    let request = lab.asked(&mut shell);
    let mut send = |method| {
        let url = format!("http://{V4}:443/");
        say(
            &mut shell,
            &format!("curl -s -o /dev/null -m 60 -w '%{{http_code}}' -X {method} {url}"),
        )
        .text
    };
    for verb in [["approve", id(&request)], ["open", V4]] {
        let hole = lab.json(&[&verb[..], &["--read-only"]].concat());
        assert_eq!(hole["read_only"], true);
        assert_eq!(lab.json(&["holes"])[0]["read_only"], true);
        assert!(send("GET").contains("200"));
        assert!(send("PUT").contains("403"));
        lab.json(&["close", id(&hole)]);
    }
    let mut reached = production.reached_at(V4, 443).unwrap();
    reached.retain(|one| one.kind == "http");
    let methods: Vec<_> = reached.iter().map(|one| &one.record["method"]).collect();
    assert_eq!(methods, ["GET", "GET"]);
    let hole = lab.json(&["open", V4]);
    assert_eq!(hole["read_only"], false);
    assert!(lab.reaches(&mut shell, V4));
    assert!(!production.reached_at(V4, 443).unwrap().is_empty());
}

#[test]
fn a_wide_hole_leaves_the_deny_inside_it_standing() {
    let lab = Lab::new();
    let production = lab.production();
    let mut shell = lab.shell();
    let hole = lab.json(&["open", "192.0.2.0/24"]);
    assert_eq!(hole["destination"], "192.0.2.0/24");
    assert!(lab.reaches(&mut shell, V4));
    assert!(!lab.reaches(&mut shell, NEVER));
    assert!(production.reached_at(NEVER, 443).unwrap().is_empty());
}

#[test]
fn all_are_closed_at_once() {
    let lab = Lab::new();
    let _shell = lab.shell();
    assert_eq!(lab.json(&["close", "--all"]), json!([]));
    lab.json(&["open", V4]);
    assert_eq!(lab.json(&["close", "--all"])[0]["id"], "h1");
    lab.json(&["open", V4]);
    lab.json(&["open", V6]);
    let both = lab.json(&["close", "h2", "h3"]);
    assert_eq!(both[1]["id"], "h3", "{both}");
    // An id that is none closes nothing.
    lab.json(&["open", V4]);
    assert_eq!(lab.root(&["close", "h4", "h99"]).code(), Some(2));
    assert_eq!(lab.json(&["holes"])[0]["id"], "h4");
}

#[test]
fn a_session_is_stopped_with_all_its_processes() {
    let lab = Lab::new();
    let mut shell = lab.shell();
    say(
        &mut shell,
        "setsid sleep 300 > /dev/null 2>&1 < /dev/null &",
    );
    let stopped = lab.json(&["stop", "s1"]);
    assert_eq!(stopped["id"], "s1");
    assert_eq!(shell.wait().unwrap().code(), Some(137));
    assert_eq!(lab.json(&["sessions"]), json!([]));
    assert!(!lab.daemon.cgroup_root().join("s1").exists());
    assert_eq!(lab.root(&["stop", "s1"]).code(), Some(2));
}

#[test]
fn what_is_not_there_cannot_be_answered() {
    let lab = Lab::new();
    for args in [
        &["approve", "r1"][..],
        &["approve", "h1"],
        &["deny", "nonsense"],
        &["close", "h1"],
        &["stop", "1"],
        &["open", V4],
        &["approve"],
        &["close"],
        &["frobnicate"],
        &["status", "--colour"],
    ] {
        let output = lab.root(args);
        assert_eq!(output.code(), Some(2), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

#[test]
fn ids_are_short_and_never_used_twice() {
    let mut lab = Lab::new();
    drop(lab.shell());
    let mut shell = lab.shell();
    assert_eq!(id(&lab.asked(&mut shell)), "r1");
    assert_eq!(lab.json(&["sessions"])[0]["id"], "s2");
    lab.json(&["open", V4]);
    lab.daemon.kill().unwrap();
    lab.daemon.start().unwrap();
    assert_eq!(id(&lab.json(&["open", V6])), "h2");
    assert!(!lab.reaches(&mut shell, "192.0.2.77"));
    assert_eq!(id(&lab.json(&["pending"])[0]), "r2");
}
