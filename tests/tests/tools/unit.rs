//! The same in a unit of systemd's, which a throw-away machine has.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;
use guard_lab::{AGENT, Tested, exec};

use crate::services::machine::{machine, transient};
use crate::tools::scene::{Done, POLICY, Workshop, of_npm};

/// What the policy of sessions is called there: the machine has a `default`.
const TOOLS: &str = "tools";
/// The unit that ships for agents.
const AGENTS: &str = include_str!("../../../packaging/systemd/agent@.service");
/// Those of its lines that are about whom it runs, and how it starts again.
const NOT_OURS: [&str; 6] = [
    "EnvironmentFile",
    "ExecStart",
    "ExecStartPre",
    "Restart",
    "User",
    "WorkingDirectory",
];

/// systemd takes no number for a user that nobody has; in the unit itself, the workshop's own list of users holds.
fn ensure_user() -> Result<()> {
    let uid = AGENT.to_string();
    if exec::output(Command::new("id").arg(&uid))?.status.success() {
        return Ok(());
    }
    // newuidmap serves only who has the group that the workshop's list names.
    exec::run(Command::new("groupadd").args(["--gid", &uid, "tools"]))?;
    let ids = ["--uid", &uid, "--gid", &uid];
    exec::run(
        Command::new("useradd")
            .args(ids)
            .args(["--no-create-home", "tools"]),
    )?;
    Ok(())
}

/// Runs the script in a unit: with what the unit that ships says for agents, or with nothing of that.
pub(crate) fn run(scene: &Workshop, is_guarded: bool) -> Result<Done> {
    let _machine = machine();
    ensure_user()?;
    let name = if is_guarded { "unit" } else { "without" };
    let home = scene.own_dir(name)?;
    let mut properties = vec![format!("User={AGENT}")];
    for own in fs::read_dir(scene.dir().join("etc"))? {
        let own = own?;
        let place = Path::new("/etc").join(own.file_name());
        if place.exists() {
            let paths = format!("{}:{}", own.path().display(), place.display());
            properties.push(format!("BindReadOnlyPaths={paths}"));
        }
    }
    for (place, from) in of_npm() {
        let paths = format!("{}:{}", from.display(), scene.dir().join(place).display());
        properties.push(format!("BindReadOnlyPaths={paths}"));
    }
    for (variable, value) in scene.env("client", name, &home) {
        let value = value.to_string_lossy();
        properties.push(format!("Environment=\"{variable}={value}\""));
    }
    if is_guarded {
        properties.extend(lines());
        fs::write(
            format!("/etc/guard/policies/{TOOLS}.toml"),
            POLICY.replacen("name = \"default\"", &format!("name = \"{TOOLS}\""), 1),
        )?;
        properties.push(format!(
            "ExecStartPre=+/usr/bin/guard assign --policy {TOOLS}"
        ));
    }
    let words = scene
        .words()
        .map(|word| word.to_string_lossy().into_owned());
    // systemd takes `$` for the beginning of a variable of its own.
    let words = words.map(|word| word.replace('$', "$$"));
    let properties: Vec<_> = properties.iter().map(String::as_str).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let Output { status, stderr, .. } = transient(&scene.network, &properties, &words);
    Ok(scene.read(name, status.code(), &stderr))
}

/// What the unit that ships says for agents.
fn lines() -> impl Iterator<Item = String> {
    let service = AGENTS.split_once("[Service]").map_or("", |(_, rest)| rest);
    let service = service
        .split_once("[Install]")
        .map_or(service, |(it, _)| it);
    let lines = service.lines().filter(|line| {
        let name = line.split_once('=').map_or("#", |(name, _)| name);
        !name.starts_with('#') && !NOT_OURS.contains(&name) && name != "RestartSec"
    });
    lines.map(str::to_owned)
}

#[test]
fn the_unit_is_held_to_what_ships() -> Tested {
    let lines: Vec<_> = lines().collect();
    assert!(lines.contains(&"Slice=guard.slice".to_owned()), "{lines:?}");
    assert!(
        lines.contains(&"NoNewPrivileges=yes".to_owned()),
        "{lines:?}"
    );
    Ok(())
}
