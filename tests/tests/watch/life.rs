//! How it ends, and what it outlives.

use guard_lab::{Tested, V4, eventually, lives};
use rustix::process::{Signal, kill_process};

use crate::watch::OTHER;
use crate::watch::scene::{WatchScene, look, reaches};

#[test]
fn it_outlives_guardd() -> Tested {
    let WatchScene { mut scene, tmux } = WatchScene::new()?;
    let mut shell = scene.shell("asks")?;
    let window = tmux.window("one");
    window.guard(&scene.daemon.root(["watch"]));
    window.expect("1 session");
    assert!(!reaches(&mut shell, V4)?);
    window.expect("> r1");
    scene.daemon.kill()?;
    let gone = format!(
        "no guardd at {}; trying again",
        scene.daemon.socket().display()
    );
    window.expect(&gone[..40]);
    look();
    window.press(&["y"]);
    scene.daemon.start()?;
    window.expect_no("no guardd at");
    assert!(
        scene.daemon.audited("answered")?.is_empty(),
        "there was nobody to take it"
    );
    assert!(!reaches(&mut shell, OTHER)?);
    window.expect("r2");
    look();
    window.press(&["n"]);
    window.expect("1 request,");
    assert_eq!(scene.daemon.audited("answered")?[0]["request"], "r1");
    Ok(())
}

#[test]
fn it_waits_for_a_guardd_that_does_not_run_yet() -> Tested {
    let WatchScene { mut scene, tmux } = WatchScene::new()?;
    scene.daemon.stop()?;
    let window = tmux.window("one");
    window.guard(&scene.daemon.root(["watch"]));
    window.expect("no guardd at");
    scene.daemon.start()?;
    window.expect_no("no guardd at");
    let mut shell = scene.shell("asks")?;
    assert!(!reaches(&mut shell, V4)?);
    window.expect("> r1");
    Ok(())
}

#[test]
fn whatever_ends_it_the_terminal_is_as_before() -> Tested {
    let scene = WatchScene::new()?;
    for (number, end) in ["q", "C-c", "TERM", "HUP", "INT"].into_iter().enumerate() {
        let window = scene.watch(&format!("w{number}"));
        let pid = window.watching()?;
        let (signal, status) = match end {
            "TERM" => (Some(Signal::TERM), 143),
            "HUP" => (Some(Signal::HUP), 129),
            "INT" => (Some(Signal::INT), 130),
            _ => (None, 0),
        };
        match signal {
            Some(signal) => kill_process(pid, signal)?,
            None => window.press(&[end]),
        }
        window.expect("ready$");
        window.enter("echo status $?");
        window.expect(&format!("status {status}"));
        window.expect_restored()?;
        assert!(!lives(pid.as_raw_nonzero().get().cast_unsigned()), "{end}");
    }
    Ok(())
}

#[test]
fn it_is_suspended_and_goes_on() -> Tested {
    let scene = WatchScene::new()?;
    let window = scene.tmux.window("one");
    // A shell with job control that knows `fg`.
    window.enter("set -m");
    window.guard(&scene.daemon.root(["watch"]));
    window.expect("Requests");
    window.press(&["C-z"]);
    window.expect("Stopped");
    window.expect_restored()?;
    window.enter("fg");
    window.expect("Requests");
    window.press(&["q"]);
    window.expect("ready$");
    window.expect_restored()?;
    Ok(())
}

#[test]
fn what_is_typed_for_a_shell_answers_nobody() -> Tested {
    let scene = WatchScene::new()?;
    let mut shell = scene.shell()?;
    assert!(!reaches(&mut shell, V4)?);
    let window = scene.tmux.window("shell");
    window.enter("set -m");
    window.guard(&scene.daemon.root(["watch"]));
    window.expect("> r1");
    look();
    window.press(&["C-z"]);
    window.expect("Stopped");
    window.press(&["f", "g", "Enter", "f", "y"]);
    window.expect("> r1");
    // Typed as soon as it can be seen.
    window.press(&["f", "y"]);
    look();
    assert!(scene.daemon.audited("answered")?.is_empty());
    window.press(&["q"]);
    window.expect("ready$");
    window.expect_restored()?;
    // Nobody's job: there it goes on at once, and what brings others back is no yes.
    let watch = scene.daemon.root(["watch"]);
    let alone = scene.tmux.window_without_shell("alone", &[], &watch);
    alone.expect("> r1");
    look();
    alone.press(&["C-z", "f", "g", "Enter"]);
    alone.expect("cannot suspend here");
    look();
    assert!(scene.daemon.audited("answered")?.is_empty());
    // And then a key counts again.
    look();
    alone.press(&["n"]);
    alone.expect("0 requests");
    assert_eq!(scene.daemon.audited("answered")?.len(), 1);
    Ok(())
}

/// As in many containers: nobody inside brings back what is stopped there.
#[test]
fn it_goes_on_where_its_job_is_another_pid_namespaces() -> Tested {
    let scene = WatchScene::new()?;
    let by = ["unshare", "--pid", "--fork", "--mount-proc"];
    let watch = scene.daemon.root(["watch"]);
    let inside = scene.tmux.window_without_shell("inside", &by, &watch);
    inside.expect("0 requests");
    inside.press(&["C-z"]);
    inside.expect("cannot suspend here");
    Ok(())
}

#[test]
fn it_ends_with_its_terminal() -> Tested {
    let scene = WatchScene::new()?;
    let window = scene.watch("one");
    let pid = window.watching()?;
    window.hang_up();
    eventually("it has ended", || {
        !lives(pid.as_raw_nonzero().get().cast_unsigned())
    })?;
    Ok(())
}
