//! What docs/use.md and docs/read-only.md have people type each day, on this kernel.

use anyhow::Context as _;
use guard_lab::{Attempt, Json as _, Output, PATIENCE, Shell, Tested, eventually};
use serde_json::Value;

use super::block::{READ_ONLY, USE, block, line, text};
use crate::names::scene::{API, DNS, NameScene};

/// Where the name leads that is opened.
const DATABASE: &str = "192.0.2.20";

const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"
hold = "60s"

[[rule]]
name = "production"
to = ["192.0.2.10", "192.0.2.20"]
action = "confirm"
"#;

/// Somebody who has seen a command stopped: a session in which one was.
fn stopped() -> Tested<(NameScene, Shell)> {
    let names: &[(&str, &[&str])] = &[("db.example.com", &[DATABASE])];
    let scene = NameScene::at(DNS, "", "asks", POLICY, names)?;
    scene.assert_open(API, 443)?;
    let mut shell = scene.shell()?;
    assert!(!reaches(&mut shell)?, "the policy asks about it");
    eventually("it is asked about", || {
        Ok(scene.daemon.list(["pending"])?.len() == 1)
    })?;
    Ok((scene, shell))
}

fn reaches(shell: &mut Shell) -> Tested<bool> {
    Ok(shell.reaches(&Attempt::tcp(API, 443))?)
}

/// Types a line of a block, outside: what it says.
fn types(scene: &NameScene, block: &str, begins: &str) -> Tested<Output> {
    let line = line(block, begins);
    let words = line.split_whitespace().skip(1);
    Ok(scene.daemon.agent(words).run()?.success()?)
}

#[test]
fn requests_are_answered_as_the_page_says() -> Tested {
    let block = text(USE, "text", "guard approve r1 --for");
    let (scene, mut shell) = stopped()?;
    types(&scene, &block, "guard approve r1 --for")?;
    assert!(reaches(&mut shell)?);

    let (scene, _shell) = stopped()?;
    types(&scene, &block, "guard approve r1 --read-only")?;
    assert_eq!(scene.daemon.list(["holes"])?[0]["read_only"], true);

    let (scene, mut shell) = stopped()?;
    types(&scene, &block, "guard deny r1")?;
    assert!(!reaches(&mut shell)?);
    assert_eq!(scene.daemon.list(["holes"])?.len(), 0);
    Ok(())
}

#[test]
fn holes_are_opened_and_closed_as_the_page_says() -> Tested {
    let block = text(USE, "text", "guard approve r1 --for");
    let (scene, mut shell) = stopped()?;
    let follow = line(&block, "guard pending");
    let mut follow = scene
        .daemon
        .agent(follow.split_whitespace().skip(1))
        .spawn()?;
    follow.line_with("guard approve r1", PATIENCE)?;
    // Nothing waits from now on.
    drop(follow);
    types(&scene, &block, "guard open 192")?;
    assert!(reaches(&mut shell)?);
    types(&scene, &block, "guard open db")?;
    let holes = types(&scene, &block, "guard holes")?.stdout;
    for part in ["h1", "192.0.2.10", DATABASE, "tcp/5432", "tcp/5433"] {
        assert!(holes.contains(part), "{part}: {holes}");
    }
    types(&scene, &block, "guard close h1")?;
    let left = scene.daemon.list(["holes"])?;
    assert!(left.iter().all(|hole| hole["id"] != "h1"), "{left:?}");
    Ok(())
}

#[test]
fn reads_are_opened_as_the_page_says() -> Tested {
    let block = block(READ_ONLY, "guard open db.example.com");
    let (scene, _shell) = stopped()?;
    // One of somebody's own accord, and one that was asked for.
    types(&scene, &block, "guard open")?;
    types(&scene, &block, "guard approve r1")?;
    let holes = scene.daemon.list(["holes"])?;
    for address in [API, DATABASE] {
        let is_its = |hole: &&Value| hole["destination"] == format!("{address}/32");
        let hole = holes.iter().find(is_its);
        let hole = hole.with_context(|| format!("no hole for {address}: {holes:?}"))?;
        assert_eq!(hole["read_only"], true, "{hole}");
    }
    Ok(())
}

#[test]
fn what_stopped_a_command_is_found_as_the_page_says() -> Tested {
    let block = text(USE, "text", "guard explain 192.0.2.10:443 --session s1");
    let (scene, mut shell) = stopped()?;
    let guard = scene.daemon.program("guard")?;
    for (begins, says) in [("guard why", "production"), ("guard request", "r1 waits")] {
        let typed = line(&block, begins).replacen("guard", &guard.display().to_string(), 1);
        shell.tell(&typed)?;
        shell.line_with(says)?;
        // What `guard why` says below that has the words of the next one.
        shell.tell("echo all is said")?;
        shell.line_with("all is said")?;
    }
    let note = &scene.daemon.list(["pending"])?[0]["note"];
    assert_eq!(note.text()?, "run the tests");
    for (begins, says) in [
        ("guard explain", "production"),
        ("guard log", API),
        ("guard status", "Enforcing"),
    ] {
        let said = types(&scene, &block, begins)?.stdout;
        assert!(said.contains(says), "{begins}: {said}");
    }
    Ok(())
}
