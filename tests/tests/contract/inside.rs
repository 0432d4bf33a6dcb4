//! What the guarded command sees, and may ask.

use super::{Lab, V4, id, say};
use guard_lab::{Json as _, NEVER, OPEN, PATIENCE, Tested};

#[test]
fn refused_at_once_with_eperm() -> Tested {
    let lab = Lab::new()?;
    let _production = lab.production()?;
    let mut shell = lab.shell()?;
    for to in [V4, NEVER, "2001:db8:7::1"] {
        let tcp = lab.tcp(to)?;
        let said = say(&mut shell, &tcp)?;
        assert!(said.text.contains("\"EPERM\""), "{to}: {said:?}");
    }
    assert!(lab.reaches(&mut shell, OPEN)?);
    Ok(())
}

#[test]
fn why_says_what_was_stopped_and_request_asks() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let guard = lab.guard()?;
    lab.asked(&mut shell)?;
    // The refused connection has made it, without a word.
    let follow = lab.daemon.agent(["pending", "--follow"]);
    let mut follow = follow.spawn()?;
    follow.line_with("r1  ", PATIENCE)?;
    let why = format!("{guard} request {V4}:443 --reason 'to migrate'");
    for _ in 0..2 {
        let said = say(&mut shell, &why)?;
        assert_eq!(said.status, 0, "{said:?}");
    }
    follow.line_with("it says  \"to migrate\"", PATIENCE)?;
    drop(follow);
    let asked = lab.daemon.json(["pending"])?[0].clone();
    assert_eq!(asked["note"], "to migrate");
    // Who was stopped is shown, and not who asks for it.
    assert_ne!(asked["comm"], "guard", "{asked}");
    assert!(asked["comm"].is_string(), "{asked}");
    let noted = lab.daemon.logged("noted")?;
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert_eq!(noted[0]["request"], "r1");
    let report = lab.daemon.json(["report"])?;
    assert_eq!(report["requests"][0]["note"], "to migrate");
    let tcp = lab.tcp(NEVER)?;
    say(&mut shell, &tcp)?;
    let why = say(&mut shell, &format!("{guard} why"))?;
    assert_eq!(why.status, 0);
    for words in [
        V4,
        "production",
        "it is production",
        NEVER,
        "nobody goes there",
    ] {
        assert!(why.text.contains(words), "{words}: {why:?}");
    }
    let ask = format!("{guard} request 192.0.2.20:443 --reason 'to read the queue' --json");
    let asked = say(&mut shell, &ask)?;
    assert_eq!(asked.status, 0, "{asked:?}");
    let pending = lab.daemon.json(["pending"])?;
    let request = &pending[1];
    assert_eq!(request["note"], "to read the queue");
    assert_eq!(request["destination"]["address"], "192.0.2.20");
    assert_eq!(request["destination"]["port"], 443);
    assert!(request["warnings"].list()?.is_empty(), "{request}");
    // Nothing was tried: that was stopped is not said, and that nothing was asked neither.
    assert!(!asked.text.contains("was stopped"), "{asked:?}");
    let waits = say(&mut shell, &format!("{guard} why"))?;
    assert!(
        waits.text.contains("before anything was tried"),
        "{waits:?}"
    );
    lab.daemon.json(["approve", id(request)])?;
    let answered = say(&mut shell, &format!("{guard} why"))?;
    let yes = format!("yes to {}", id(request));
    assert!(answered.text.contains(&yes), "{answered:?}");
    // Whoever is asked is told that the reason speaks of another place.
    let other = "guard request 192.0.2.21:443 --reason 'see 198.51.100.9:80'";
    say(&mut shell, &other.replacen("guard", &guard.to_string(), 1))?;
    let asked = lab.daemon.json(["pending"])?;
    let asked = asked.list()?.last().map(|one| one["warnings"].to_string());
    let is_told = asked.is_some_and(|all| all.contains("names 198.51.100.9:80"));
    assert!(is_told, "{:?}", lab.daemon.json(["pending"])?);
    let refused = say(&mut shell, &format!("{guard} request {NEVER}:443"))?;
    assert_eq!(refused.status, 1, "{refused:?}");
    let nothing = say(&mut shell, &format!("{guard} request {OPEN}:443"))?;
    assert_eq!(nothing.status, 0, "{nothing:?}");
    let every = say(&mut shell, &format!("{guard} request 2001:db8:7::5"))?;
    assert_eq!(every.status, 2, "{every:?}");
    assert!(every.text.contains("[2001:db8:7::5]:443"), "{every:?}");
    Ok(())
}

#[test]
fn outside_there_is_nothing_to_ask_for() -> Tested {
    let lab = Lab::new()?;
    for args in [&["why"][..], &["request", "192.0.2.10:443"]] {
        for output in [lab.root(args)?, lab.agent(args)?] {
            assert_eq!(output.code(), Some(2), "{args:?}");
            assert!(output.stderr.contains("guard run"), "{output:?}");
        }
    }
    Ok(())
}

#[test]
fn a_nested_run_can_only_narrow() -> Tested {
    let lab = Lab::new()?;
    let _production = lab.production()?;
    let mut shell = lab.shell()?;
    let (guard, to_asked, to_open) = (lab.guard()?, lab.tcp(V4)?, lab.tcp(OPEN)?);
    let narrow = "version = 1\nname = \"narrow\"\ndefault = \"allow\"\n[[rule]]\nto = [\"198.51.100.0/24\"]\naction = \"deny\"\n";
    let narrow = lab.file("narrow.toml", narrow)?;
    let both = format!("sh -c 'echo session $GUARD_SESSION; {to_asked}; {to_open}'");
    let answers = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("\"ok\""));
        lines
            .map(|line| line.contains("\"ok\":true"))
            .collect::<Vec<_>>()
    };
    for (policy, expected) in [
        (String::new(), [false, true]),
        ("--policy asks".into(), [false, true]),
        ("--policy open".into(), [false, true]),
        (format!("--policy {}", narrow.display()), [false, false]),
    ] {
        let said = say(&mut shell, &format!("{guard} run {policy} -- {both}"))?;
        assert_eq!(answers(&said.text), expected, "{policy}: {said:?}");
    }
    // The session around it is as it was.
    assert!(lab.reaches(&mut shell, OPEN)?);
    Ok(())
}

#[test]
fn sessions_nest_to_a_depth_and_no_deeper() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let guard = lab.guard()?;
    let policies: Vec<String> = (1..=8)
        .map(|n| {
            let text = format!(
                "version = 1\nname = \"n{n}\"\n[[rule]]\nto = [\"203.0.113.{n}\"]\naction = \"deny\"\n"
            );
            let file = lab.file(&format!("n{n}.toml"), &text)?;
            Ok(file.display().to_string())
        })
        .collect::<Tested<_>>()?;
    let nested = |depth: usize| -> String {
        let runs = policies[..depth].iter();
        let runs: String = runs
            .map(|file| format!("{guard} run --policy {file} -- "))
            .collect();
        runs + "echo reached"
    };
    let shallow = say(&mut shell, &nested(2))?;
    assert!(shallow.text.contains("reached"), "{shallow:?}");
    let deep = say(&mut shell, &nested(8))?;
    assert_eq!(deep.status, 125, "{deep:?}");
    assert!(!deep.text.contains("reached"));
    Ok(())
}
