//! Names that nobody can ask for, since the policy denies the name servers: whoever is asked about it says so.

use guard_lab::{Json as _, Shell, Tested, bins};
use serde_json::Value;

use super::place::{API, DNS, Place, usual};

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

struct Unheard {
    place: Place,
    shell: Shell,
}

impl Unheard {
    fn new() -> Tested<Self> {
        let place = Place::build(usual, |daemon| daemon.policy("unheard", UNHEARD))?;
        let shell = Shell::start(&place.daemon, "unheard")?;
        Ok(Self { place, shell })
    }

    /// Why no question for a name reaches a name server.
    fn unheard(&self, name: &str, under: [&str; 2]) -> Tested<Option<String>> {
        let explain = [&["explain", name][..], &under].concat();
        let said = self.place.daemon.json(explain)?;
        let said = said["unheard"].as_str();
        Ok(said.map(str::to_owned))
    }
}

#[test]
fn check_and_explain_say_that_nobody_can_ask_for_a_name() -> Tested {
    let scene = Unheard::new()?;
    let daemon = &scene.place.daemon;
    let check = |text: &str| -> Tested<_> {
        let file = daemon.write_for_agents("checked.toml", text)?;
        let check = daemon.root(["check"]).args([&file]);
        Ok(check.run()?.success()?.stderr)
    };
    let warning = "nobody can ask for a name";
    let said = check(UNHEARD)?;
    assert!(said.contains(warning) && said.contains("@dns"), "{said}");
    let heard = crate::names::scene::with_resolvers(UNHEARD);
    assert!(!check(&heard)?.contains(warning));

    let session = ["--session", scene.shell.session()];
    for (name, under) in [
        (PLACE, session),
        ("other.example.net:80", session),
        (PLACE, ["--policy", "unheard"]),
    ] {
        let said = scene.unheard(name, under)?;
        let said = said.expect("nothing is said");
        assert!(said.contains(DNS) && said.contains("@dns"), "{said}");
    }
    assert_eq!(scene.unheard(PLACE, ["--policy", "names"])?, None);
    let other = Shell::start(daemon, "names")?;
    assert_eq!(scene.unheard(PLACE, ["--session", other.session()])?, None);
    Ok(())
}

#[test]
fn why_says_that_it_was_a_name_server() -> Tested {
    let mut scene = Unheard::new()?;
    let question = format!("udp {DNS} {NAME}");
    let mut other = Shell::start(&scene.place.daemon, "names")?;
    let answered = scene.place.asked(&mut other, &question)?;
    assert_eq!(answered, format!("answered {API}"));
    assert_eq!(scene.place.asked(&mut scene.shell, &question)?, "EPERM");
    let guard = bins::for_everybody("guard", scene.place.daemon.tag())?;
    scene.shell.tell(&format!(
        "{} why --json | tr -d '\n'; echo",
        guard.display()
    ))?;
    let said = scene.shell.line_with("stopped")?;
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
