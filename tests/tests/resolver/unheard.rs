//! Names that nobody can ask for, since the policy denies the name servers or has no rule for them: whoever is asked about it says so.

use guard_lab::{Daemon, Json as _, Shell, Tested, bins};
use serde_json::Value;

use super::place::{API, DNS, OTHER, ResolverScene, usual};
use crate::names::scene::with_resolvers;

/// What [`super::place::POLICY`] has, without a rule for name servers.
const UNHEARD: &str = r#"
version = 1
name = "unheard"
default = "deny"

[dns]
names = "ask"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "confirm"
"#;
const NAME: &str = "v1.api.example.com";
const PLACE: &str = "v1.api.example.com:443";

/// Why no question for a name reaches a name server.
fn unheard(daemon: &Daemon, name: &str, under: [&str; 2]) -> Tested<Option<String>> {
    let explain = [&["explain", name][..], &under].concat();
    let said = daemon.json(explain)?;
    let said = said["unheard"].as_str();
    Ok(said.map(str::to_owned))
}

#[test]
fn check_and_explain_say_that_nobody_can_ask_for_a_name() -> Tested {
    let (place, shell) = ResolverScene::under("unheard", UNHEARD)?;
    let daemon = &place.daemon;
    let check = |text: &str| -> Tested<_> {
        let file = daemon.write_for_agents("checked.toml", text)?;
        let check = daemon.root(["check"]).args([&file]);
        Ok(check.run()?.success()?.stderr)
    };
    let warning = "nobody can ask for a name";
    let said = check(UNHEARD)?;
    assert!(said.contains(warning) && said.contains("@dns"), "{said}");
    let heard = with_resolvers(UNHEARD);
    assert!(!check(&heard)?.contains(warning));

    let session = ["--session", shell.session()];
    for (name, under) in [
        (PLACE, session),
        ("other.example.net:80", session),
        (PLACE, ["--policy", "unheard"]),
    ] {
        let said = unheard(daemon, name, under)?;
        let said = said.expect("nothing is said");
        assert!(said.contains(DNS) && said.contains("@dns"), "{said}");
    }
    assert_eq!(unheard(daemon, PLACE, ["--policy", "names"])?, None);
    let other = Shell::start(daemon, "names")?;
    assert_eq!(
        unheard(daemon, PLACE, ["--session", other.session()])?,
        None
    );
    Ok(())
}

#[test]
fn why_says_that_it_was_a_name_server() -> Tested {
    let (place, mut shell) = ResolverScene::under("unheard", UNHEARD)?;
    let question = format!("udp {DNS} {NAME}");
    let mut other = Shell::start(&place.daemon, "names")?;
    let answered = place.asked(&mut other, &question)?;
    assert_eq!(answered, format!("answered {API}"));
    assert_eq!(place.asked(&mut shell, &question)?, "EPERM");
    let guard = bins::for_everybody("guard", place.daemon.tag())?;
    shell.tell(&format!(
        "{} why --json | tr -d '\n'; echo",
        guard.display()
    ))?;
    let said = shell.line_with("stopped")?;
    let said: Value = serde_json::from_str(said.trim())?;
    let stopped = said["stopped"].list()?;
    let [one] = &stopped[..] else {
        panic!("{said}");
    };
    assert_eq!(one["destination"]["address"], DNS);
    let advice = one["advice"].text()?;
    assert!(advice.contains("is a name server"), "{advice}");
    assert!(advice.contains("to = [\"@dns\"]"), "{advice}");
    Ok(())
}

/// One name is allowed, and another address by this action.
fn boxed(action: &str) -> String {
    let text = UNHEARD
        .replace("[dns]\nnames = \"ask\"\n", "")
        .replace("confirm", "allow");
    let rule = format!(
        "[[rule]]\nname = \"box\"\nto = [\"{OTHER}\"]\nports = [\"tcp/80\"]\naction = \"{action}\"\n"
    );
    with_resolvers(&format!("{text}{rule}"))
}

/// What `allow` does has other names asked for, and what lets nothing pass by itself does not.
#[test]
fn what_a_person_is_asked_about_opens_no_name() -> Tested {
    let actions = ["allow", "confirm", "deny"];
    let place = ResolverScene::build(usual, |daemon| {
        let each = actions.into_iter();
        each.fold(daemon, |daemon, action| {
            daemon.policy(action, &boxed(action))
        })
    })?;
    let daemon = &place.daemon;
    for (policy, said) in
        actions
            .into_iter()
            .zip([&*format!("answered {API}"), "NXDOMAIN", "NXDOMAIN"])
    {
        let opens = policy == "allow";
        let mut shell = Shell::start(daemon, policy)?;
        place.dns.forget();
        let question = format!("udp {DNS} secret.other.example");
        assert_eq!(place.asked(&mut shell, &question)?, said, "{policy}");
        assert_eq!(place.dns.has_heard(b"secret"), opens, "{policy}");
        for under in [["--policy", policy], ["--session", shell.session()]] {
            let explain = [&["explain", "more.other.example:80"][..], &under].concat();
            let told = daemon.json(explain)?;
            let [leaves, refused] =
                ["leaves", "question"].map(|key| told[key].as_str().unwrap_or_default());
            assert_eq!(leaves.contains("the rule \"box\""), opens, "{told}");
            assert_eq!(refused.starts_with("refused"), !opens, "{told}");
            assert_eq!(told["verdict"], "deny", "{told}");
        }
        let check = daemon.root(["check", policy]).run()?.success()?.stdout;
        assert_eq!(
            check.contains("any name may be asked for"),
            opens,
            "{check}"
        );
        let diff = daemon.root(["diff", "deny", policy]).run()?.stdout;
        assert_eq!(diff.contains("[dns] names: rules -> any"), opens, "{diff}");
        assert_eq!(
            diff.contains("192.0.2.12 tcp/80"),
            policy != "deny",
            "{diff}"
        );
    }
    Ok(())
}
