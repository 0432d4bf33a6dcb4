//! `guardd`: in the foreground, ready when it enforces, and gone only when it is taken down.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use guard_lab::{AGENT, Daemon, Output};
use serde_json::json;

use super::{Lab, V4};

fn ended(command: &mut Command) -> Output {
    let output = guard_lab::exec::output(command).unwrap();
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn it_says_that_it_is_ready_and_makes_what_it_needs() {
    let daemon = Daemon::on_this_machine().start().unwrap();
    daemon.wait_for_log("ready").unwrap();
    for made in [
        daemon.cgroup_root(),
        daemon.pin_dir(),
        &daemon.socket(),
        &daemon.audit(),
    ] {
        assert!(made.exists(), "{}", made.display());
    }
}

#[test]
fn it_leaves_everything_pinned_when_it_stops() {
    let mut lab = Lab::new();
    let mut shell = lab.shell();
    lab.json(&["open", "192.0.2.77", "--all-ports"]);
    lab.daemon.stop().unwrap();
    assert!(!lab.reaches(&mut shell, V4));
    lab.daemon.start().unwrap();
    assert_eq!(lab.json(&["sessions"])[0]["id"], "s1");
    assert_eq!(lab.json(&["holes"])[0]["destination"], "192.0.2.77/32");
}

#[test]
fn it_is_not_taken_down_while_sessions_live_unless_forced() {
    let mut lab = Lab::new();
    let mut shell = lab.shell();
    lab.daemon.stop().unwrap();
    let refused = ended(lab.daemon.guardd().unwrap().arg("teardown"));
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert!(!lab.reaches(&mut shell, V4));
    lab.daemon.teardown().unwrap();
    assert_eq!(shell.wait().unwrap().code(), Some(137));
    for gone in [lab.daemon.cgroup_root(), lab.daemon.pin_dir()] {
        assert!(!gone.exists(), "{}", gone.display());
    }
}

#[test]
fn several_live_side_by_side() {
    let [one, other] = [Lab::new(), Lab::new()];
    let mut shell = one.shell();
    one.asked(&mut shell);
    one.json(&["open", "192.0.2.77", "--all-ports"]);
    for list in ["sessions", "pending", "holes"] {
        assert_eq!(one.json(&[list]).as_array().unwrap().len(), 1);
        assert_eq!(other.json(&[list]), json!([]));
    }
    let socket = one.daemon.socket();
    let there = ["--socket", socket.to_str().unwrap(), "sessions"];
    assert_eq!(other.json(&there)[0]["id"], "s1");
}

#[test]
fn what_it_cannot_do_ends_it_with_a_message() {
    let lab = Lab::new();
    let second = ended(&mut lab.daemon.guardd().unwrap());
    assert_eq!(second.code(), Some(2), "{second:?}");
    assert!(second.stderr.contains("another guardd"), "{second:?}");
    let wrong = ended(lab.daemon.guardd().unwrap().arg("--colour"));
    assert_eq!(wrong.code(), Some(2), "{wrong:?}");
}

/// It is what `guard` has a person type where `GUARD_SOCKET` names a place of the agent's.
#[test]
fn a_state_directory_of_somebody_elses_is_not_used() {
    let daemon = Daemon::on_this_machine().prepare().unwrap();
    let state = daemon.state_dir();
    fs::create_dir(&state).unwrap();
    chown(&state, Some(AGENT), None).unwrap();
    let victim = daemon.dir().join("roots");
    fs::write(&victim, "roots").unwrap();
    std::os::unix::fs::symlink(&victim, daemon.audit()).unwrap();
    let refused = ended(&mut daemon.guardd().unwrap());
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("is not root's alone"),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&victim).unwrap(), "roots");
}
