//! What a session tried by a name, judged by what another policy says of names: `guard replay`.

use anyhow::Context as _;
use guard_lab::{Json as _, Tested, eventually};
use serde_json::Value;

use crate::names::scene::{DNS, NameScene, reaches};

const POLICY: &str = r#"
version = 1
name = "apps"
default = "deny"
hold = "0s"

[[rule]]
name = "apps"
to = ["*.app.example.com"]
action = "confirm"
"#;

const NAME: &str = "v1.app.example.com";
const ADDRESS: &str = "192.0.2.20";

/// A policy of a default, with a rule for a name.
fn other(default: &str, to: &str, action: &str) -> String {
    format!(
        "version = 1\nname = \"other\"\ndefault = \"{default}\"\n\n\
         [[rule]]\nname = \"named\"\nto = [\"{to}\"]\naction = \"{action}\"\n"
    )
}

#[test]
fn a_past_by_names_is_judged_by_the_names_of_another_policy() -> Tested {
    let scene = NameScene::new("apps", POLICY, &[(NAME, &[ADDRESS])])?;
    let mut shell = scene.shell()?;
    let told = scene.asked(&mut shell, NAME, "connected")?;
    assert_eq!(told, format!("0 {DNS} {ADDRESS}"));
    assert!(!reaches(&mut shell, ADDRESS, 443)?);
    let is_logged = || -> Tested<_> {
        let denied = scene.daemon.logged("denied")?;
        Ok(denied.iter().any(|one| one["destination"]["host"] == NAME))
    };
    eventually("it is in the log by its name", is_logged)?;

    let judged = |policy: String| -> Tested<Value> {
        let file = scene.daemon.write_policy("other", &policy)?;
        let file = file.to_str().context("no text")?;
        let replay = scene.daemon.root(["replay", file]).json()?;
        let changes = replay["changes"].list()?;
        let of_it = |one: &&Value| one["what"] == "connection" && one.to_string().contains(ADDRESS);
        let found = changes.iter().find(of_it);
        Ok(found.cloned().unwrap_or(Value::Null))
    };
    let wider = judged(other("deny", "*.app.example.com", "allow"))?;
    assert_eq!(wider["before"], "confirm", "{wider}");
    assert_eq!(wider["after"], "allow", "{wider}");
    assert_eq!(wider["after_rule"], "named", "{wider}");
    let exact = judged(other("allow", NAME, "deny"))?;
    assert_eq!(exact["after"], "deny", "{exact}");
    assert_eq!(exact["after_rule"], "named", "{exact}");
    // A rule for others' names is none for this address, whatever else is known by it.
    let others = judged(other("deny", "*.other.example.com", "allow"))?;
    assert_eq!(others["after"], "deny", "{others}");
    assert_eq!(others["after_rule"], Value::Null, "{others}");
    Ok(())
}
