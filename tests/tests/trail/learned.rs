//! What a trail is good for: rules out of answers, a summary, and other policies on the same past.

use std::fs;
use std::thread;
use std::time::Duration;

use guard_lab::{
    Attempt, CONFIRMS, Daemon, Json as _, Production, Scene, Shell, Tested, eventually,
};

use super::{ASKED, OTHER, ask};

#[test]
fn what_is_suggested_lets_through_what_was_answered_and_nothing_else() -> Tested {
    let Scene { network, daemon } = Scene::new("asks", CONFIRMS)?;
    let _production = Production::start(&network)?;
    let mut shell = Shell::start(&daemon, "asks")?;
    let yes = ask(&daemon, &mut shell, ASKED, 443);
    let no = ask(&daemon, &mut shell, OTHER, 443);
    daemon.json(["approve", &yes])?;
    daemon.json(["deny", &no])?;
    assert!(shell.reaches(&Attempt::tcp(ASKED, 443))?);
    let suggested = daemon
        .agent(["suggest", "--session", "s1", "--since", "1h"])
        .run()?;
    let lines = suggested.success()?.stdout;
    assert!(lines.contains("said yes to r1"), "{lines}");
    let policy = format!("version = 1\nname = \"learned\"\ndefault = \"confirm\"\n{lines}");
    let file = daemon.write_policy("learned", &policy)?;
    let checked = daemon.root(["check"]).args([file.as_os_str()]).run()?;
    checked.success()?;
    let mut learned = Shell::start(&daemon, "learned")?;
    assert!(learned.reaches(&Attempt::tcp(ASKED, 443))?);
    for (to, port) in [(ASKED, 80), (OTHER, 443), ("192.0.2.12", 443)] {
        assert!(!learned.reaches(&Attempt::tcp(to, port))?, "{to} {port}");
    }
    let denied = || {
        daemon
            .logged("denied")
            .unwrap()
            .into_iter()
            .filter(|one| one["session"] == "s2")
            .collect::<Vec<_>>()
    };
    eventually("all are written down", || denied().len() == 3)?;
    assert_eq!(denied()[1]["verdict"], "deny");
    // With another answer to the same, neither is offered.
    let again = ask(&daemon, &mut learned, ASKED, 80);
    daemon.json(["approve", &again])?;
    daemon.json(["close", "--all"])?;
    // The kernel tells of the same destination once a second.
    thread::sleep(Duration::from_millis(1100));
    let again = ask(&daemon, &mut learned, ASKED, 80);
    daemon.json(["deny", &again])?;
    let suggested = daemon.json(["suggest", "--session", "s2"])?;
    assert_eq!(suggested["rules"].list()?.len(), 0, "{suggested}");
    assert_eq!(suggested["left_out"].list()?.len(), 2);
    Ok(())
}

/// Runs an attempt as the agent's command; gives its status and standard error.
fn run(daemon: &Daemon, options: &[&str], attempt: &Attempt) -> (Option<i32>, String) {
    let probe = daemon.program("guard-lab").unwrap();
    let run = daemon
        .agent(["run", "--policy", "asks"])
        .args(options.iter().copied());
    let run = run.args(["--".into(), probe.into_os_string()]);
    let output = run.args(attempt.args()).run().unwrap();
    (output.code(), output.stderr)
}

#[test]
fn a_run_ends_with_what_was_stopped_and_with_the_commands_status() -> Tested {
    let Scene { network, daemon } = Scene::new("asks", CONFIRMS)?;
    let _production = Production::start(&network)?;
    let (stopped, allowed) = (Attempt::tcp(ASKED, 443), Attempt::tcp("198.51.100.7", 443));
    let (quiet, said) = run(&daemon, &["--quiet"], &stopped);
    assert!(!said.contains("stopped"), "{said}");
    let (status, said) = run(&daemon, &[], &stopped);
    assert_eq!(status, quiet);
    assert!(
        said.contains(
            "guard: stopped 1 attempt to reach 1 destination; 1 request (1 without an answer)."
        ),
        "{said}"
    );
    assert!(
        said.contains("once tcp 192.0.2.10:443 (confirm, production)"),
        "{said}"
    );
    assert!(said.contains("guard report --session s2"), "{said}");
    let (_, said) = run(&daemon, &[], &allowed);
    assert!(!said.contains("guard:"), "{said}");
    Ok(())
}

#[test]
fn two_policies_are_compared_by_address() -> Tested {
    let of_one_family = CONFIRMS.replace(", \"2001:db8:7::/48\"", "");
    let Scene {
        network: _network,
        daemon,
    } = Scene::new("asks", &of_one_family)?;
    let rule = |name: &str, to: &str, action: &str| {
        format!("[[rule]]\nname = \"{name}\"\nto = [\"{to}\"]\naction = \"{action}\"\n")
    };
    let rules = rule("web", ASKED, "allow") + &rule("no", OTHER, "deny");
    let other = daemon.write_policy(
        "other",
        &format!("version = 1\nname = \"other\"\ndefault = \"allow\"\n{rules}"),
    )?;
    let other = other.to_str().unwrap();
    let old = daemon.policy_dir().join("asks.toml");
    let old = old.to_str().unwrap();
    let same = daemon.root(["diff", old, old]).run()?;
    assert_eq!(same.code(), Some(0), "{same:?}");
    let diff = daemon.root(["diff", old, other, "--json"]).run()?;
    assert_eq!(diff.code(), Some(1));
    let diff = diff.json()?;
    let all: Vec<_> = diff["changes"]
        .list()?
        .iter()
        .map(|one| {
            (
                one["destination"].as_str().unwrap(),
                one["opens"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        all,
        [
            ("192.0.2.0 - 192.0.2.10", "more"),
            ("192.0.2.11", "less"),
            ("192.0.2.12 - 192.0.2.255", "more")
        ]
    );
    assert_eq!(daemon.root(["diff", old, "no-such"]).run()?.code(), Some(2));
    assert!(fs::metadata(old).is_ok());
    Ok(())
}
