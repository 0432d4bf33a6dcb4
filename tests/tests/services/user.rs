//! `guard run` as the service of a user's own manager.

use std::fs;

use guard_lab::{Tested, eventually};

use crate::services::machine::{UID, has_ended, machine, ok, run, session, sessions};

/// A command of the user's, as from a terminal.
fn as_user(words: &[&str]) -> std::process::Output {
    let runtime = format!("XDG_RUNTIME_DIR=/run/user/{UID}");
    let mut all = vec![
        "setpriv",
        "--reuid=61236",
        "--regid=61236",
        "--init-groups",
        "env",
        &runtime,
    ];
    all.extend(words);
    run(&all)
}

fn lingering() -> Tested {
    ok(&["loginctl", "enable-linger", "agent"]);
    eventually("manager", || {
        as_user(&["systemctl", "--user", "list-units"])
            .status
            .success()
    })?;
    Ok(())
}

/// Starts a unit whose command leaves a process behind, and gives the processes of its session.
fn start(name: &str, properties: &[&str]) -> Vec<String> {
    let unit = format!("--unit={name}");
    let mut words = vec!["systemd-run", "--user", &unit];
    for property in properties {
        words.extend(["-p", property]);
    }
    let script = "sleep 1000 & exec sleep 1000";
    words.extend([
        "guard", "run", "--policy", "asks", "--name", name, "--", "sh", "-c", script,
    ]);
    let output = as_user(&words);
    assert!(output.status.success(), "{output:?}");
    eventually("both", || {
        sessions()
            .iter()
            .any(|one| one["name"] == name && processes(one).len() == 2)
    })
    .unwrap();
    let session = session(name);
    assert_eq!(session["uid"], UID);
    processes(&session)
}

fn processes(session: &serde_json::Value) -> Vec<String> {
    let procs = format!("{}/cgroup.procs", session["cgroup"].as_str().unwrap());
    let text = fs::read_to_string(procs).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn all_gone(pids: &[String]) -> Tested {
    eventually("gone", || {
        pids.iter()
            .all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    })?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn stopping_a_users_unit_ends_its_session() -> Tested {
    let _one = machine();
    lingering()?;
    let pids = start("tidy", &["ExecStopPost=-guard stop tidy"]);
    assert!(
        as_user(&["systemctl", "--user", "stop", "tidy"])
            .status
            .success()
    );
    all_gone(&pids)?;
    has_ended("tidy");

    // Without that line, what the command has left in the background goes on as guarded.
    let pids = start("untidy", &[]);
    assert!(
        as_user(&["systemctl", "--user", "stop", "untidy"])
            .status
            .success()
    );
    assert_eq!(processes(&session("untidy")).len(), 1);
    ok(&["guard", "stop", "untidy"]);
    all_gone(&pids)?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_example_of_a_users_unit_works() -> Tested {
    const EXAMPLE: &str = include_str!("../../../packaging/examples/claude-code.service");
    let _one = machine();
    lingering()?;
    let dir = "/home/agent/.config/systemd/user";
    ok(&[
        "setpriv",
        "--reuid=61236",
        "--regid=61236",
        "--clear-groups",
        "mkdir",
        "-p",
        dir,
        "/home/agent/work",
    ]);
    let script = "sh -c 'sleep 1000 & exec sleep 1000'";
    let text = EXAMPLE.replace("claude --print \"look after the dependencies\"", script);
    assert!(text.contains(script));
    fs::write(format!("{dir}/claude-code.service"), text)?;
    assert!(
        as_user(&["systemctl", "--user", "daemon-reload"])
            .status
            .success()
    );
    let started = as_user(&["systemctl", "--user", "start", "claude-code"]);
    assert!(started.status.success(), "{started:?}");
    let session = session("claude-code");
    assert_eq!(session["policy"], "default");
    eventually("both", || processes(&session).len() == 2)?;
    let pids = processes(&session);
    assert!(
        as_user(&["systemctl", "--user", "stop", "claude-code"])
            .status
            .success()
    );
    all_gone(&pids)?;
    has_ended("claude-code");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_launcher_that_is_killed_takes_its_session_with_it() -> Tested {
    let _one = machine();
    lingering()?;
    let pids = start("killed", &[]);
    let kill = ["systemctl", "--user", "kill", "-s", "KILL", "killed"];
    assert!(as_user(&kill).status.success());
    all_gone(&pids)?;
    has_ended("killed");

    // So does one that is killed while no guardd is there to see it, when the next one comes.
    let pids = start("unseen", &[]);
    ok(&["systemctl", "kill", "-s", "STOP", "guardd.service"]);
    let kill = ["systemctl", "--user", "kill", "-s", "KILL", "unseen"];
    assert!(as_user(&kill).status.success());
    ok(&["systemctl", "kill", "-s", "KILL", "guardd.service"]);
    eventually("back", || {
        let _ = run(&["systemctl", "start", "guardd.service"]);
        run(&["guard", "status"]).status.success()
    })?;
    all_gone(&pids)?;
    has_ended("unseen");
    Ok(())
}
