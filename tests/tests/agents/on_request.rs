//! The program that is told of each new request.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use guard_lab::{STRANGER, Tested, V4, eventually};
use serde_json::Value;

use crate::agents::scene::{AgentScene, PATIENCE, patient};

/// What guardd logs of a program that does not end.
const KILLED: &str = "took longer than 30 s, and was killed";

/// A guardd that tells this script, which runs as [`STRANGER`], with a directory that is theirs.
fn scene(script: &str, more: &str) -> Tested<(AgentScene, PathBuf)> {
    let mut scene = AgentScene::with("")?;
    let dir = scene.daemon.dir().join("told");
    fs::create_dir(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
    let script = script.replace("DIR", dir.to_str().unwrap());
    let config = format!(
        "on_request = [\"/bin/sh\", \"-c\", '''{script}''']\non_request_user = \"{STRANGER}\"\n{more}\n"
    );
    scene.daemon.stop()?;
    scene.daemon.write_config(&config)?;
    scene.daemon.start()?;
    Ok((scene, dir))
}

#[test]
fn each_request_is_told_once_to_somebody_without_rights() -> Tested {
    let script = "cat >> DIR/requests; { id -u; id -G; env; cat /proc/self/cgroup; } >> DIR/about";
    let (mut scene, dir) = scene(script, "")?;
    let attempt = scene.attempt(V4)?;
    let mut session = scene.session(&format!(
        "{attempt}; {attempt}; echo tried; read x; {attempt}; {}; read x",
        scene.attempt("192.0.2.11")?
    ))?;
    session.line_with("tried", PATIENCE)?;
    let told = || -> Vec<Value> {
        let text = fs::read_to_string(dir.join("requests")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    eventually("told", || told().len() == 1)?;
    let (mut one, mut pending) = (
        told()[0].clone(),
        scene.daemon.json(["pending"])?[0].clone(),
    );
    // Offers are to whoever asks what waits.
    for changing in ["count", "last_at", "offers"] {
        one[changing] = Value::Null;
        pending[changing] = Value::Null;
    }
    assert_eq!(one, pending);
    eventually("all is written", || {
        fs::read_to_string(dir.join("about")).is_ok_and(|about| about.contains("0::"))
    })?;
    let about = fs::read_to_string(dir.join("about"))?;
    let lines: Vec<_> = about.lines().collect();
    assert_eq!(lines[..2], [STRANGER.to_string(), STRANGER.to_string()]);
    let names = lines[2..]
        .iter()
        .filter_map(|line| Some(line.split_once('=')?.0));
    let is_variable = |name: &&str| name.chars().all(|c| c.is_ascii_uppercase());
    // The shell's own, and what is given.
    let names: Vec<_> = names
        .filter(is_variable)
        .filter(|name| *name != "PWD" && *name != "OLDPWD")
        .collect();
    assert_eq!(names, ["PATH"], "{about}");
    let guarded = scene
        .daemon
        .cgroup_root()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert!(!about.contains(&guarded), "{about}");
    // The next guardd tells of what is new, and of nothing else.
    scene.daemon.kill()?;
    scene.daemon.start()?;
    session.write("\n")?;
    eventually("told of the next", || told().len() == 2)?;
    assert_eq!(told()[1]["destination"]["address"], "192.0.2.11");
    Ok(())
}

#[test]
fn a_failure_is_a_line_in_the_log() -> Tested {
    let (scene, _) = scene("echo oh no >&2; exit 3", "")?;
    let _session = scene.session(&format!("{}; sleep 30", scene.attempt(V4)?))?;
    scene
        .daemon
        .wait_for_log("on_request: it failed: exit status: 3: \"oh no\"")?;
    for (config, said) in [
        ("on_request = [\"ask\"]", "it begins with no path"),
        (
            "on_request = [\"/bin/true\"]\non_request_user = \"root\"",
            "it does not run as root",
        ),
        (
            "on_request = [\"/no/such/program\"]",
            "cannot run /no/such/program",
        ),
    ] {
        let mut scene = AgentScene::with("")?;
        scene.daemon.stop()?;
        scene.daemon.write_config(config)?;
        scene.daemon.start()?;
        let _session = scene.session(&format!("{}; sleep 30", scene.attempt(V4)?))?;
        scene.daemon.wait_for_log(said)?;
        eventually("asked", || {
            Ok(scene.daemon.json(["pending"])?[0]["id"] == "r1")
        })?;
    }
    Ok(())
}

#[test]
fn one_that_asks_for_it_is_run_again_while_its_request_waits() -> Tested {
    let script =
        "echo run >> DIR/runs; [ $(wc -l < DIR/runs) -ge 3 ] || { echo not yet >&2; exit 75; }";
    let (scene, dir) = scene(script, "")?;
    let _session = scene.session(&format!("{}; sleep 600", scene.attempt(V4)?))?;
    let runs = || {
        let text = fs::read_to_string(dir.join("runs"));
        text.unwrap_or_default().lines().count()
    };
    scene
        .daemon
        .wait_for_log("it is run again later: \"not yet\"")?;
    eventually("it has ended otherwise", || runs() == 3)?;
    Ok(())
}

#[test]
fn one_that_hangs_is_killed_with_all_that_it_started_and_holds_up_nothing() -> Tested {
    let (scene, dir) = scene(
        "sleep 600 & echo $! >> DIR/sleeps; echo $$ >> DIR/sleeps; wait",
        "",
    )?;
    // More than run at once and wait. In networks of their own, or they would be one request.
    let tries = (0..60).map(|network| {
        let attempt = scene.attempt(&format!("2001:db8:7:{network}::10"))?;
        Ok(format!("{attempt}; "))
    });
    let tries = tries.collect::<Tested<String>>()?;
    let mut session = scene.session(&format!("{tries} echo tried; sleep 100"))?;
    session.line_with("tried", PATIENCE)?;
    assert!(scene.daemon.list(["pending"])?.len() > 40);
    let sleeps = || fs::read_to_string(dir.join("sleeps")).unwrap_or_default();
    eventually("four run", || sleeps().lines().count() >= 8)?;
    let first: Vec<_> = sleeps().lines().take(8).map(str::to_owned).collect();
    // Unless the machine was so slow that some of them have been killed meanwhile.
    let running = sleeps().lines().count();
    let is_one_killed = || scene.daemon.log().contains(KILLED);
    assert!(running == 8 || is_one_killed(), "{running}");
    let alive = |pid: &String| {
        fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|words| words.contains("sleep"))
    };
    eventually("they are killed, and guardd answers until then", || {
        scene.daemon.json(["status"])?;
        Ok(is_one_killed())
    })?;
    eventually("they are gone", || !first.iter().any(alive))?;
    Ok(())
}

#[test]
fn whether_connections_wait_for_whoever_is_told_is_a_setting() -> Tested {
    for answers in [false, true] {
        let config = format!("on_request = [\"/bin/true\"]\non_request_answers = {answers}\n");
        let scene = AgentScene::under(&patient(), &config)?;
        let _session = scene.writing("/a")?;
        eventually("asked", || {
            Ok(scene.daemon.json(["pending"])?[0]["http"]["method"] == "PUT")
        })?;
        eventually("it waits, or not", || {
            Ok(scene.daemon.json(["pending"])?[0]["held"] == answers)
        })?;
    }
    Ok(())
}
