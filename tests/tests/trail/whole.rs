//! The chain, over rotations, restarts and a guardd that is killed; and what is done to it.

use std::fs;
use std::path::{Path, PathBuf};

use guard_lab::{Attempt, CONFIRMS, Daemon, Json as _, Output, Scene, Shell, Tested, eventually};
use rustix::process::Signal;
use serde_json::Value;

use super::ASKED;

fn aside(daemon: &Daemon, number: usize) -> PathBuf {
    PathBuf::from(format!("{}.{number}", daemon.audit().display()))
}

/// As logrotate does it.
fn rotate(daemon: &Daemon) {
    if aside(daemon, 1).exists() {
        fs::rename(aside(daemon, 1), aside(daemon, 2)).unwrap();
    }
    fs::rename(daemon.audit(), aside(daemon, 1)).unwrap();
    daemon.signal(Signal::HUP).unwrap();
    eventually("a new file is there", || daemon.audit().exists()).unwrap();
}

fn verify(daemon: &Daemon, args: &[&str]) -> (Output, Value) {
    let output = daemon
        .root(["log", "--verify", "--json"])
        .args(args)
        .run()
        .unwrap();
    let found = output.json().unwrap();
    (output, found)
}

fn refuse(shell: &mut Shell, port: u16) -> Tested {
    assert!(!shell.reaches(&Attempt::tcp(ASKED, port))?);
    Ok(())
}

#[test]
fn a_trail_is_whole_whatever_happens_to_guardd() -> Tested {
    let mut scene = Scene::new("asks", CONFIRMS)?;
    let mut shell = scene.shell("asks")?;
    refuse(&mut shell, 443)?;
    rotate(&scene.daemon);
    refuse(&mut shell, 444)?;
    let (_, noted) = verify(&scene.daemon, &[]);
    assert_eq!(noted["whole"], true, "{noted}");
    let head = format!(
        "{}:{}",
        noted["head"]["number"],
        noted["head"]["hash"].text()?
    );
    // Killed in the middle of a line, as far as anybody can tell.
    scene.daemon.kill()?;
    let torn = [&fs::read(scene.daemon.audit())?[..], b"{\"at\":\"20"].concat();
    fs::write(scene.daemon.audit(), torn)?;
    let (output, found) = verify(
        &scene.daemon,
        &[
            scene.daemon.audit().to_str().unwrap(),
            aside(&scene.daemon, 1).to_str().unwrap(),
        ],
    );
    assert_eq!(
        (output.code(), &found["whole"]),
        (Some(0), &Value::Bool(true)),
        "{found}"
    );
    assert_eq!(found["torn"].list()?.len(), 1);
    scene.daemon.start()?;
    rotate(&scene.daemon);
    scene.daemon.stop()?;
    scene.daemon.wait_for_log(" audit=")?;
    let log = scene.daemon.log();
    let stopped = log.rsplit_once("audit=").unwrap().1;
    let stopped: String = stopped.chars().take_while(|c| !c.is_whitespace()).collect();
    let stopped = stopped.as_str();
    let (output, found) = verify(&scene.daemon, &["--head", &head, "--head", stopped]);
    assert_eq!(output.code(), Some(0), "{found}");
    // The newest file gone: what is left is whole in itself, and the head in the journal tells.
    fs::remove_file(scene.daemon.audit())?;
    scene.daemon.start()?;
    refuse(&mut shell, 445)?;
    let (output, found) = verify(&scene.daemon, &["--head", &head]);
    assert_eq!(output.code(), Some(0), "{found}");
    let (output, found) = verify(&scene.daemon, &["--head", stopped]);
    assert_eq!(output.code(), Some(1), "{found}");
    assert_eq!(found["noted"][0]["found"], false, "{found}");
    Ok(())
}

#[test]
fn it_goes_on_where_it_was_and_status_has_its_head() -> Tested {
    let mut scene = Scene::new("asks", CONFIRMS)?;
    let mut shell = scene.shell("asks")?;
    refuse(&mut shell, 443)?;
    rotate(&scene.daemon);
    scene.daemon.stop()?;
    fs::rename(aside(&scene.daemon, 1), aside(&scene.daemon, 2))?;
    fs::rename(scene.daemon.audit(), aside(&scene.daemon, 1))?;
    scene.daemon.start()?;
    refuse(&mut shell, 444)?;
    let (output, found) = verify(&scene.daemon, &[]);
    assert_eq!(output.code(), Some(0), "{found}");
    assert_eq!((&found["files"], &found["first"]), (&3.into(), &1.into()));
    let status = scene.daemon.json(["status"])?;
    assert_eq!(
        status["audit"]["path"],
        scene.daemon.audit().to_str().unwrap()
    );
    let (_, found) = verify(&scene.daemon, &[]);
    assert!(found["head"]["number"].as_u64() >= status["audit"]["number"].as_u64());
    // Compressed, as logrotate leaves them.
    let gzip = std::process::Command::new("gzip")
        .arg(aside(&scene.daemon, 2))
        .status()?;
    assert!(gzip.success());
    assert_eq!(verify(&scene.daemon, &[]).0.code(), Some(0));
    let text = scene
        .daemon
        .root(["log", "--verify"])
        .run()?
        .success()?
        .stdout;
    assert!(
        text.contains("records in 3 files, from ") && text.contains(", whole."),
        "{text}"
    );
    assert!(text.contains("guard log --verify --head "), "{text}");
    let other = scene.daemon.user(61_236, ["log", "--verify"]).run()?;
    assert_eq!(other.code(), Some(2), "{other:?}");
    assert!(
        other.stderr.contains("sudo guard log --verify"),
        "{}",
        other.stderr
    );
    Ok(())
}

#[test]
fn what_is_done_to_it_shows() -> Tested {
    let scene = Scene::new("asks", CONFIRMS)?;
    let mut shell = scene.shell("asks")?;
    for port in 443..449 {
        refuse(&mut shell, port)?;
    }
    let lines = || -> Vec<String> {
        let text = fs::read_to_string(scene.daemon.audit()).unwrap();
        text.lines().map(|line| format!("{line}\n")).collect()
    };
    eventually("they are written down", || lines().len() > 8)?;
    let before = lines();
    let copy = scene.daemon.dir().join("copy.jsonl");
    let said = |lines: &[String], copy: &Path| {
        fs::write(copy, lines.concat()).unwrap();
        let (output, found) = verify(&scene.daemon, &[copy.to_str().unwrap()]);
        let broken = &found["broken"];
        assert_eq!(output.code(), Some(i32::from(!broken.is_null())));
        let kind = broken["kind"].as_str().map(str::to_owned);
        (kind, broken["line"].as_u64())
    };
    assert_eq!(said(&before, &copy), (None, None));
    let mut edited = before.clone();
    edited[3] = edited[3]
        .replacen("192.0.2.10", "192.0.2.99", 1)
        .replacen("s1", "s9", 1);
    assert_eq!(said(&edited, &copy), (Some("edited".to_owned()), Some(4)));
    let mut gone = before.clone();
    gone.remove(3);
    assert_eq!(said(&gone, &copy), (Some("missing".to_owned()), Some(4)));
    let mut moved = before.clone();
    moved.swap(3, 4);
    assert_eq!(said(&moved, &copy), (Some("reordered".to_owned()), Some(4)));
    // Its end cut off: guardd, which runs, knows what it wrote.
    fs::write(scene.daemon.audit(), before[..5].concat())?;
    let (output, found) = verify(&scene.daemon, &[]);
    assert_eq!(output.code(), Some(1));
    assert!(found["broken"].is_null(), "{found}");
    assert_eq!(found["noted"][0]["found"], false);
    Ok(())
}
