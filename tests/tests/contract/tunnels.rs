//! `guard discover` by the kernel's routes: what is behind a tunnel is a place, whose rule holds; what is near is none.

use std::fs;

use guard_lab::{Tested, Tunnel};
use serde_json::{Value, json};

use super::discover::Project;

const BEHIND: &str = "10.77.0.0/16";
const BEHIND_V6: &str = "fd00:77::/48";
const SERVER: &str = "10.77.3.4";
const COVERED: &str = "discover = { require = \"covered\" }\n";

fn without_files(config: &str) -> Tested<Project> {
    let project = Project::new(config)?;
    fs::remove_file(project.project.join(".env"))?;
    Ok(project)
}

fn found(project: &Project, policy: &str) -> Tested<Value> {
    Ok(project
        .guard(&["discover", "--policy", policy, "--json"])
        .json()?)
}

/// What is said of each place: host, label, verdict, proposal and effect.
fn places(found: &Value) -> Vec<Value> {
    let items = found["items"].as_array().into_iter().flatten();
    items
        .map(|one| {
            let rule = &one["proposed"]["action"];
            json!([
                one["host"],
                one["ports"],
                one["label"],
                one["now"]["verdict"],
                rule,
                one["effect"]
            ])
        })
        .collect()
}

#[test]
fn what_is_behind_a_tunnel_is_named_and_held_by_its_rule() -> Tested {
    let project = without_files("")?;
    let _production = project.lab.production()?;
    let before = found(&project, "open")?;
    assert_eq!(places(&before), [] as [Value; 0], "{before}");
    assert_eq!(before["tunnels"], json!([]));
    let _tunnel = Tunnel::new(&project.lab.network, "wg-live0", &[BEHIND, BEHIND_V6])?;
    let after = found(&project, "open")?;
    let place = |host: &str| json!([host, "any", "production", "allow", "confirm", "narrows"]);
    let all = ["10.66.0.0/24", BEHIND, BEHIND_V6].map(place);
    let mut listed = places(&after);
    listed.sort_by_key(ToString::to_string);
    assert_eq!(listed, all, "{after}");
    assert_eq!(
        after["tunnels"],
        json!([{
            "device": "wg-live0",
            "kind": "tun",
            "networks": ["10.66.0.0/24", BEHIND, BEHIND_V6],
            "default": false,
        }])
    );
    let seen = &after["items"][0]["found"][0];
    assert_eq!(seen["file"], "the kernel's routes", "{after}");
    assert_eq!(seen["key"], "wg-live0", "{after}");
    assert_eq!(after["complete"], true, "{after}");
    let check = |policy: &str| {
        let check = project.guard(&["discover", "--check", "--policy", policy]);
        check.code()
    };
    assert_eq!(check("open"), Some(1));

    // The policy that ships asks about private networks already.
    let shipped = found(&project, "default")?;
    let effects: Vec<_> = shipped["items"].as_array().into_iter().flatten().collect();
    assert!(
        effects.iter().all(|one| one["effect"] == "same"),
        "{shipped}"
    );
    assert_eq!(check("default"), Some(0));

    let reaches = |policy: &str| {
        let probe = project.lab.program("guard-lab")?;
        let run = [
            "run", "--policy", policy, "--", &probe, "probe", "tcp", SERVER, "8080",
        ];
        Tested::Ok(project.guard(&run).stdout.contains("\"ok\":true"))
    };
    assert!(reaches("open")?);
    let written = project.guard(&["discover", "--write", "shop", "--yes", "--policy", "open"]);
    assert_eq!(written.code(), Some(0), "{written:?}");
    assert!(!reaches("shop")?);
    assert_eq!(check("shop"), Some(0));
    let explained = project.guard(&["explain", SERVER, "--policy", "shop"]);
    assert!(
        explained.stdout.contains("wg-live0  the kernel's routes"),
        "{explained:?}"
    );
    Ok(())
}

#[test]
fn nothing_starts_while_a_tunnel_to_production_is_open_where_the_settings_say_so() -> Tested {
    let project = without_files(COVERED)?;
    let run = || project.guard(&["run", "--policy", "open", "--", "true"]);
    assert_eq!(run().code(), Some(0));
    let tunnel = Tunnel::new(&project.lab.network, "prod-vpn", &[BEHIND])?;
    let refused = run();
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains("10."), "{refused:?}");
    drop(tunnel);
    assert_eq!(run().code(), Some(0));
    Ok(())
}

#[test]
fn a_tunnel_for_everything_is_said_and_gets_no_rule() -> Tested {
    let project = without_files("")?;
    // As OpenVPN and WireGuard write down that all goes through them.
    let halves = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"];
    let network = &project.lab.network;
    let _tunnel = Tunnel::leading(network, "wg0", &halves)?;
    let found = found(&project, "open")?;
    assert_eq!(found["tunnels"][0]["default"], true, "{found}");
    let place = json!([
        "10.66.0.0/24",
        "any",
        "maybe",
        "allow",
        "confirm",
        "narrows"
    ]);
    assert_eq!(places(&found), [place], "{found}");
    let listed = project.guard(&["discover", "--policy", "open"]);
    let said = "tunnel  wg0 (tun): what no other route is for goes through it";
    assert!(listed.stdout.contains(said), "{listed:?}");
    Ok(())
}

#[test]
fn a_tunnel_that_comes_up_while_a_command_runs_is_told() -> Tested {
    let project = without_files(COVERED)?;
    let _session = project.in_session(&["--policy", &project.asks()?])?;
    let _tunnel = Tunnel::new(&project.lab.network, "prod-vpn", &[BEHIND])?;
    guard_lab::eventually("it is told", || {
        let all = project.appeared()?;
        Ok(all
            .iter()
            .any(|one| one["host"] == BEHIND && one["ports"] == "any"))
    })?;
    Ok(())
}
