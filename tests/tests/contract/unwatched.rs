//! Where nobody would see what comes into reach, and it is to be asked about: nothing starts, and it says what to do about it.

use std::fs;
use std::os::unix::fs::chown;

use guard_lab::{AGENT, Output, Running, Tested};

use super::discover::{ASKS, Project};

/// A user whose inotify instances are used up: no other test runs as that one.
const WATCHER: u32 = 61_236;

/// Takes all that its user may have, says how many those were, and keeps them until its input ends.
const TAKES_ALL: &str = "
import ctypes, os, resource, sys
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
libc = ctypes.CDLL(None, use_errno=True)
count = 0
while libc.inotify_init1(0) >= 0:
    count += 1
open('/dev/null')
print('taken:', count, os.strerror(ctypes.get_errno()), flush=True)
sys.stdin.read()
";

/// Runs a command in a session as that user.
fn run(project: &Project) -> Tested<Output> {
    let words = [
        "run", "--policy", "open", "--quiet", "--", "echo", "it", "ran",
    ];
    let guard = project.lab.daemon.user(WATCHER, words);
    let mut command = guard.env("HOME", "/nonexistent").command()?;
    said(command.current_dir(&project.project))
}

fn said(command: &mut std::process::Command) -> Tested<Output> {
    let output = command.output()?;
    Ok(Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[test]
fn where_inotify_is_used_up_it_says_which_limit_that_is_and_how_it_is_raised() -> Tested {
    let (asks, tells) = (Project::new(ASKS)?, Project::new("")?);
    let ran = run(&asks)?;
    assert!(ran.stdout.contains("it ran"), "{ran:?}");
    let mut python = asks.lab.daemon.on_machine(WATCHER, "/usr/bin/python3");
    let mut holder = Running::start(python.args(["-c", TAKES_ALL]))?;
    let taken = holder.line_with("taken:", guard_lab::PATIENCE)?;
    assert!(taken.contains("Too many open files"), "{taken}");
    let refused = run(&asks)?;
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(!refused.stdout.contains("it ran"), "{refused:?}");
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances")?;
    for said in [
        format!("fs.inotify.max_user_instances is {}", limit.trim()),
        "sudo sysctl fs.inotify.max_user_instances=".to_owned(),
    ] {
        assert!(refused.stderr.contains(&said), "{said}: {refused:?}");
    }
    // Where nobody is to be asked about it, it starts.
    let ran = run(&tells)?;
    assert!(ran.stdout.contains("it ran"), "{ran:?}");
    drop(holder);
    guard_lab::eventually("it starts once there are some", || {
        Ok(run(&asks)?.stdout.contains("it ran"))
    })?;
    Ok(())
}

/// Runs a command in a session, in a directory to which that was done before.
fn run_in(config: &str, done: &str) -> Tested<Output> {
    let project = Project::new(config)?;
    let dir = project.home.join("own");
    fs::create_dir(&dir)?;
    chown(&dir, Some(AGENT), Some(AGENT))?;
    let guard = project.lab.guard()?;
    let line = format!(
        "cd '{dir}' && {done} '{dir}' && exec {guard} run --policy open --quiet -- echo it ran",
        dir = dir.display()
    );
    let mut shell = project.lab.daemon.on_machine(AGENT, "sh");
    shell.args(["-c", &line]).env("HOME", &project.home);
    said(shell.env("GUARD_SOCKET", project.lab.daemon.socket()))
}

#[test]
fn in_a_directory_that_is_gone_or_closed_it_says_so() -> Tested {
    for (done, words) in [
        (
            "rmdir",
            ["the working directory has been removed", "cd DIR"],
        ),
        (
            "chmod 000",
            ["may not enter /", "start it in another directory"],
        ),
    ] {
        let free = run_in("", done)?;
        assert!(free.stdout.contains("it ran"), "{free:?}");
        let refused = run_in(ASKS, done)?;
        assert_eq!(refused.code(), Some(125), "{refused:?}");
        for said in words {
            assert!(refused.stderr.contains(said), "{said}: {refused:?}");
        }
    }
    Ok(())
}
