//! How waiting ends when nobody answers.

use std::{thread, time::Duration};

use guard_lab::{Json as _, PATIENCE, Tested, V4, eventually};
use rustix::process::Signal;

use crate::waiting::KINDS;
use crate::waiting::scene::{self, HoldScene, NOBODY_IN_TIME, ended};

#[test]
fn its_time_ends_and_it_fails() -> Tested {
    let scene = HoldScene::holding("3s")?;
    let _watcher = scene.watcher()?;
    let mut shell = scene.shell()?;
    for (kind, so_far) in KINDS.into_iter().zip(1..) {
        scene.begin(&mut shell, &format!("{kind} {V4} 443"))?;
        let gave_up = ended(&mut shell)?;
        assert!(!gave_up.ok, "{kind}: {gave_up:?}");
        assert!(
            ["ECONNABORTED", "ETIMEDOUT"].contains(&gave_up.error.as_str()),
            "{kind}: {gave_up:?}"
        );
        assert_eq!(scene.reached(V4, 443)?, 0);
        // Whatever fails before its deadline has another reason.
        eventually("it was held until its deadline", || {
            Ok(scene.held_in_vain()? == so_far)
        })?;
    }
    eventually("nothing waits", || {
        Ok(scene.pending()?.iter().all(|one| one["held"] == false))
    })?;
    assert_eq!(scene.pending()?.len(), 1, "the request still stands");
    let held = scene.daemon.logged("held")?;
    assert_eq!(held[0]["destination"]["address"], V4);
    // The answer is good for the next.
    let request = scene.pending()?[0].clone();
    scene.answer(&["approve", scene::id(&request)?])?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    assert!(ended(&mut shell)?.ok);
    let denied = scene.daemon.logged("denied")?;
    assert!(
        denied
            .iter()
            .any(|one| one["why"] == NOBODY_IN_TIME && one["rule"] == "production"),
        "{denied:?}"
    );
    Ok(())
}

#[test]
fn without_guardd_it_fails_in_its_time_and_later_ones_at_once() -> Tested {
    let mut scene = HoldScene::holding("20s")?;
    let watcher = scene.watcher()?;
    let mut shell = scene.shell()?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    scene.held()?;
    scene.daemon.kill()?;
    let gave_up = ended(&mut shell)?;
    assert_eq!(gave_up.error, "ETIMEDOUT", "{gave_up:?}");
    drop(watcher);
    // Those that come for a while after it still wait, and fail; then none does.
    eventually("they are refused at once", || {
        scene.begin(&mut shell, &format!("polled {V4} 443 1 1"))?;
        Ok(ended(&mut shell)?.error == "EPERM")
    })?;
    assert_eq!(scene.reached(V4, 443)?, 0);
    Ok(())
}

#[test]
fn a_guardd_that_stops_lets_nothing_new_wait() -> Tested {
    let (mut scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.daemon.stop()?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    assert_eq!(ended(&mut shell)?.error, "EPERM");
    Ok(())
}

#[test]
fn the_next_guardd_asks_about_what_still_waits() -> Tested {
    let (mut scene, watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    scene.held()?;
    scene.daemon.kill()?;
    drop(watcher);
    scene.daemon.start()?;
    let request = scene.held()?;
    assert_eq!(request["destination"]["address"], V4);
    assert_eq!(scene.reached(V4, 443)?, 0);
    scene.answer(&["approve", scene::id(&request)?])?;
    assert!(ended(&mut shell)?.ok);
    Ok(())
}

#[test]
fn who_leaves_is_not_waited_for() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    let mut follow = scene.daemon.root(["pending", "--follow"]).spawn()?;
    scene.begin(&mut shell, &format!("polled {V4} 443 1 10"))?;
    scene.held()?;
    assert_eq!(ended(&mut shell)?.error, "ETIMEDOUT");
    eventually("nobody waits", || Ok(scene.pending()?[0]["held"] == false))?;
    let gave_up = follow.line_with("the program gave up before anybody answered", PATIENCE)?;
    assert!(gave_up.starts_with("r1: "), "{gave_up}");
    // The session lives, and a job that is to fail on what was stopped does.
    eventually("it is in the audit log", || {
        let denied = scene.daemon.logged("denied")?;
        let is_it =
            |one: &serde_json::Value| one["why"] == "the program gave up before anybody answered";
        Ok(denied.iter().any(is_it))
    })?;
    let job = [
        "report",
        "--session",
        shell.session(),
        "--fail-on",
        "stopped",
    ];
    assert_eq!(scene.daemon.root(job).run()?.code(), Some(1));
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    scene.held()?;
    // Its request was told before, and now somebody waits for it again.
    let again = follow.line_with("wants tcp", PATIENCE)?;
    assert!(again.starts_with("r1 "), "{again}");
    // Whoever is killed is gone too.
    shell.tell("kill -9 $!")?;
    eventually("nobody waits", || Ok(scene.pending()?[0]["held"] == false))?;
    assert_eq!(scene.reached(V4, 443)?, 0);
    // Nobody ended them, and they are in the report all the same.
    let session = shell.session().to_owned();
    shell.tell("exit")?;
    eventually("the session has ended", || {
        Ok(!scene.daemon.logged("session-end")?.is_empty())
    })?;
    let report = scene.daemon.json(["report", "--session", &session])?;
    let stopped = report["stopped"].list()?;
    assert_eq!(stopped.len(), 1, "{report}");
    assert_eq!(stopped[0]["destination"], format!("tcp {V4}:443"));
    assert_eq!(stopped[0]["count"], report["refused"], "{report}");
    let programs = stopped[0]["programs"].to_string();
    assert!(programs.contains("python"), "{report}");
    Ok(())
}

#[test]
fn a_session_that_ends_takes_its_requests_along() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    scene.held()?;
    let session = shell.session().to_owned();
    scene.answer(&["stop", &session])?;
    eventually("nothing is asked", || Ok(scene.pending()?.is_empty()))?;
    drop(shell);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(scene.reached(V4, 443)?, 0);
    Ok(())
}

#[test]
fn a_policy_that_changes_meanwhile_decides() -> Tested {
    let scene = HoldScene::new()?;
    let _watcher = scene.watcher()?;
    for (action, ok, error) in [("deny", false, "ECONNABORTED"), ("allow", true, "")] {
        scene.daemon.write_policy("asks", scene::POLICY)?;
        scene.daemon.signal(Signal::HUP)?;
        let mut shell = scene.shell()?;
        eventually("the policy asks", || {
            let explained = scene.daemon.root([
                "explain",
                V4,
                "--ports",
                "tcp/443",
                "--session",
                shell.session(),
            ]);
            Ok(explained.json()?["verdict"] == "confirm")
        })?;
        scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
        scene.held()?;
        let changed =
            scene::POLICY.replace("action = \"confirm\"", &format!("action = \"{action}\""));
        scene.daemon.write_policy("asks", &changed)?;
        scene.daemon.signal(Signal::HUP)?;
        let ended = ended(&mut shell)?;
        assert_eq!((ended.ok, ended.error.as_str()), (ok, error), "{action}");
        eventually("nothing waits", || {
            Ok(scene.pending()?.iter().all(|one| one["held"] == false))
        })?;
        shell.tell("exit")?;
    }
    Ok(())
}
