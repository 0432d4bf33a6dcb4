//! `guard explain`: the verdict, and the rule and line that give it.

use guard_lab::{Json as _, NEVER, OPEN, Tested};
use serde_json::{Value, json};

use super::{Lab, V4};
use crate::together::{cases, each_from};

fn one_answer_is_one_object(lab: &Lab) -> Tested {
    let asks = lab.daemon.policy_dir().join("asks.toml");
    for (to, verdict, rule, line, matched) in [
        (V4, "confirm", json!("production"), 5, json!("192.0.2.0/24")),
        (
            "192.0.2.10:443",
            "confirm",
            json!("production"),
            5,
            json!("192.0.2.0/24"),
        ),
        (
            "::ffff:192.0.2.10",
            "confirm",
            json!("production"),
            5,
            json!("192.0.2.0/24"),
        ),
        (
            "[2001:db8:7::1]:443",
            "confirm",
            json!("production"),
            5,
            json!("2001:db8:7::/48"),
        ),
        (NEVER, "deny", json!("never"), 12, json!("192.0.2.99")),
        (OPEN, "allow", Value::Null, 3, Value::Null),
    ] {
        let answer = lab.daemon.json(["explain", to, "--policy", "asks"])?;
        assert_eq!(answer["verdict"], verdict, "{answer}");
        assert_eq!(answer["rule"], rule, "{answer}");
        assert_eq!(answer["policy"], "asks");
        assert_eq!(answer["file"], asks.to_str().unwrap());
        assert_eq!(answer["line"], line, "{answer}");
        assert_eq!(answer["matched"], matched, "{answer}");
        assert_eq!(answer["hole"], Value::Null);
    }
    Ok(())
}

fn several_answers_are_a_list(lab: &Lab) -> Tested {
    let text = "version = 1\nname = \"web\"\ndefault = \"allow\"\n[[rule]]\nname = \"web\"\nto = [\"192.0.2.10\"]\n\
        ports = [\"tcp/443\", \"udp/53\"]\naction = \"confirm\"\n";
    let file = lab.file("web.toml", text)?;
    let explain = |to: &[&str]| {
        let policy = ["--policy", file.to_str().unwrap()];
        lab.daemon.json([&["explain"], to, &policy].concat())
    };
    let both = explain(&[V4])?;
    assert_eq!(both[0]["ports"], "tcp/443,udp/53", "{both}");
    assert_eq!(both[0]["verdict"], "confirm");
    assert_eq!(
        (&both[1]["ports"], &both[1]["verdict"]),
        (&Value::Null, &json!("allow"))
    );
    for (to, verdict) in [
        (&["192.0.2.10:443"][..], "confirm"),
        (&["192.0.2.10:53"], "allow"),
        (&["192.0.2.10:53", "--ports", "udp/53"], "confirm"),
        (&[V4, "--ports", "udp/53"], "confirm"),
        (&[V4, "--ports", "tcp/80-90"], "allow"),
        (&[V4, "--ports", "icmp"], "allow"),
    ] {
        assert_eq!(explain(to)?["verdict"], verdict, "{to:?}");
    }
    Ok(())
}

fn a_group_or_name_with_one_answer_is_one_object(lab: &Lab) -> Tested {
    let metadata = lab
        .daemon
        .json(["explain", "@metadata", "--policy", "default"])?;
    assert_eq!(metadata["destination"], "@metadata");
    assert_eq!(metadata["verdict"], "deny");
    let addresses = metadata["addresses"].list()?;
    for address in ["169.254.169.254", "fd00:ec2::254"] {
        assert!(addresses.iter().any(|one| one == address), "{metadata}");
    }
    let localhost = lab
        .daemon
        .json(["explain", "localhost", "--policy", "default"])?;
    assert_eq!(localhost["verdict"], "allow", "{localhost}");
    assert_eq!(localhost["name"], "localhost", "{localhost}");
    for address in localhost["addresses"].list()? {
        assert_eq!(address["verdict"], "allow", "{localhost}");
        assert_eq!(address["until"], Value::Null, "{localhost}");
    }
    Ok(())
}

#[test]
fn a_file_needs_no_daemon() -> Tested {
    let lab = Lab::new()?;
    let file = lab.daemon.policy_dir().join("asks.toml");
    let file = file.to_str().unwrap();
    let with = lab.daemon.json(["explain", V4, "--policy", file])?;
    let explain = [
        "explain",
        V4,
        "--policy",
        file,
        "--socket",
        "/no/such/guardd.sock",
    ];
    assert_eq!(lab.daemon.json(explain)?, with);
    assert_eq!(with["file"], file);
    Ok(())
}

fn an_open_hole_is_part_of_a_sessions_answer(lab: &Lab) -> Tested {
    let _shell = lab.shell()?;
    let explain = |to: &str| lab.daemon.json(["explain", to, "--session", "s1"]);
    assert_eq!(explain(V4)?["verdict"], "confirm");
    let hole = lab.daemon.json(["open", "192.0.2.10:443"])?;
    for (to, verdict, by) in [
        ("192.0.2.10:443", "allow", hole["id"].clone()),
        ("::ffff:192.0.2.10", "confirm", Value::Null),
        ("192.0.2.10:80", "confirm", Value::Null),
        ("192.0.2.11:443", "confirm", Value::Null),
    ] {
        let answer = explain(to)?;
        assert_eq!(answer["verdict"], verdict, "{answer}");
        assert_eq!(answer["hole"], by, "{answer}");
    }
    let wide = lab.daemon.json(["open", "192.0.2.0/24", "--all-ports"])?;
    assert_eq!(explain("192.0.2.11")?["hole"], wide["id"]);
    assert_eq!(explain(NEVER)?["verdict"], "deny");
    lab.daemon.json(["close", "--all"])?;
    assert_eq!(explain(V4)?["verdict"], "confirm");
    Ok(())
}

fn what_cannot_be_explained_says_so(lab: &Lab) -> Tested {
    for args in [
        &[V4, "--policy", "no-such-policy"][..],
        &[V4, "--session", "s99"],
        &[V4, "--policy", "./no-such-file.toml"],
        &["192.0.2.1/24"],
        &["@nowhere"],
        &["192.0.2.10:443", "--ports", "tcp/80"],
        &["no-such-name.invalid", "--policy", "asks"],
    ] {
        let output = lab.root(&[&["explain"], args].concat())?;
        assert_eq!(output.code(), Some(2), "{args:?}: {output:?}");
    }
    Ok(())
}

#[test]
fn together() -> Tested {
    each_from(
        &Lab::new()?,
        cases![
            an_open_hole_is_part_of_a_sessions_answer,
            one_answer_is_one_object,
            several_answers_are_a_list,
            a_group_or_name_with_one_answer_is_one_object,
            what_cannot_be_explained_says_so,
        ],
        Lab::end_sessions,
    )
}
