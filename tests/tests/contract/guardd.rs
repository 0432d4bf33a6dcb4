//! `guardd`: in the foreground, ready when it enforces, and gone only when it is taken down.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use guard_lab::{AGENT, Daemon, Output, Tested};
use serde_json::json;

use super::{Lab, V4};

fn ended(command: &mut Command) -> Tested<Output> {
    Ok(guard_lab::exec::output(command)?.into())
}

#[test]
fn it_says_that_it_is_ready_and_makes_what_it_needs() -> Tested {
    let daemon = Daemon::on_this_machine().start()?;
    daemon.wait_for_log("ready")?;
    for made in [
        daemon.cgroup_root(),
        daemon.pin_dir(),
        &daemon.socket(),
        &daemon.audit(),
    ] {
        assert!(made.exists(), "{}", made.display());
    }
    Ok(())
}

#[test]
fn it_leaves_everything_pinned_when_it_stops() -> Tested {
    let mut lab = Lab::new()?;
    let mut shell = lab.shell()?;
    lab.daemon.json(["open", "192.0.2.77", "--all-ports"])?;
    lab.daemon.stop()?;
    assert!(!lab.reaches(&mut shell, V4)?);
    lab.daemon.start()?;
    assert_eq!(lab.daemon.json(["sessions"])?[0]["id"], "s1");
    assert_eq!(
        lab.daemon.json(["holes"])?[0]["destination"],
        "192.0.2.77/32"
    );
    Ok(())
}

#[test]
fn it_is_not_taken_down_while_sessions_live_unless_forced() -> Tested {
    let mut lab = Lab::new()?;
    let mut shell = lab.shell()?;
    lab.daemon.stop()?;
    let refused = ended(lab.daemon.guardd()?.arg("teardown"))?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert!(!lab.reaches(&mut shell, V4)?);
    lab.daemon.teardown()?;
    assert_eq!(shell.wait()?.code(), Some(137));
    for gone in [lab.daemon.cgroup_root(), lab.daemon.pin_dir()] {
        assert!(!gone.exists(), "{}", gone.display());
    }
    Ok(())
}

#[test]
fn several_live_side_by_side() -> Tested {
    let [one, other] = [Lab::new()?, Lab::new()?];
    let mut shell = one.shell()?;
    one.asked(&mut shell)?;
    one.daemon.json(["open", "192.0.2.77", "--all-ports"])?;
    for list in ["sessions", "pending", "holes"] {
        assert_eq!(one.daemon.list([list])?.len(), 1);
        assert_eq!(other.daemon.json([list])?, json!([]));
    }
    let socket = one.daemon.socket();
    let there = ["--socket", socket.to_str().unwrap(), "sessions"];
    assert_eq!(other.daemon.json(there)?[0]["id"], "s1");
    Ok(())
}

#[test]
fn what_it_cannot_do_ends_it_with_a_message() -> Tested {
    let lab = Lab::new()?;
    let second = ended(&mut lab.daemon.guardd()?)?;
    assert_eq!(second.code(), Some(2), "{second:?}");
    assert!(second.stderr.contains("another guardd"), "{second:?}");
    let wrong = ended(lab.daemon.guardd()?.arg("--colour"))?;
    assert_eq!(wrong.code(), Some(2), "{wrong:?}");
    Ok(())
}

/// It is what `guard` has a person type where `GUARD_SOCKET` names a place of the agent's.
#[test]
fn a_state_directory_of_somebody_elses_is_not_used() -> Tested {
    let daemon = Daemon::on_this_machine().prepare()?;
    let state = daemon.state_dir();
    fs::create_dir(&state)?;
    chown(&state, Some(AGENT), None)?;
    let victim = daemon.dir().join("roots");
    fs::write(&victim, "roots")?;
    std::os::unix::fs::symlink(&victim, daemon.audit())?;
    let refused = ended(&mut daemon.guardd()?)?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("is not root's alone"),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&victim)?, "roots");
    Ok(())
}
