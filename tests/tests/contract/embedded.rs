//! Root without a daemon: one for as long as the command runs, and then nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use guard_lab::{Daemon, DaemonBuilder, Guard, Tested, mounts};

use super::PATIENCE;

/// The directories of a daemon that is not started. What `guard` starts in them, it names by itself.
fn without_daemon() -> Tested<Daemon> {
    let builder: DaemonBuilder = Daemon::on_this_machine();
    let daemon = builder.prepare()?;
    fs::create_dir(daemon.state_dir())?;
    Ok(daemon)
}

fn run<'d>(daemon: &'d Daemon, script: &str) -> Guard<'d> {
    daemon.root(["run", "--user", "nobody", "--", "sh", "-c", script])
}

/// The session's cgroup and the pins, as a command in it says.
fn places(cgroup: &str) -> [PathBuf; 2] {
    let root = cgroup.trim().trim_start_matches("0::/");
    let name = root.split('/').next().unwrap();
    assert!(name.starts_with("guard-"), "{cgroup}");
    [
        mounts::cgroup2().unwrap().join(name),
        Path::new(mounts::BPFFS).join(name),
    ]
}

fn wait_until_gone(places: &[PathBuf]) {
    let deadline = Instant::now() + guard_lab::patience(PATIENCE);
    while let Some(left) = places.iter().find(|path| path.exists()) {
        assert!(Instant::now() < deadline, "{} is left", left.display());
        thread::sleep(Duration::from_millis(20));
    }
}

const SHOW: &str = "grep ^0:: /proc/self/cgroup";

#[test]
fn it_lasts_as_long_as_the_command() -> Tested {
    let daemon = without_daemon()?;
    let output = run(&daemon, &format!("{SHOW}; exit 3")).run()?;
    assert_eq!(output.code(), Some(3), "{output:?}");
    let [cgroup, pins] = places(&output.stdout);
    // At once: whoever starts the next thing finds nothing of it.
    for left in [&cgroup, &pins, &daemon.socket()] {
        assert!(!left.exists(), "{} is left", left.display());
    }
    assert!(daemon.audit().exists(), "the audit log is for later");
    Ok(())
}

#[test]
fn what_it_has_written_is_read_when_it_is_gone() -> Tested {
    let daemon = without_daemon()?;
    let policy = daemon.dir().join("agent.toml");
    let denied =
        "version = 1\n[[rule]]\nname = \"prod\"\nto = [\"192.0.2.10\"]\naction = \"deny\"\n";
    fs::write(&policy, denied)?;
    let (probe, guard) = (daemon.program("guard-lab")?, daemon.program("guard")?);
    // guardd hears of it from the kernel, and ends right behind the command.
    let script = format!(
        "{SHOW}; {} probe tcp 192.0.2.10 80; until {} why | grep -q 192.0.2.10; do sleep 0.05; done",
        probe.display(),
        guard.display()
    );
    let run = daemon.root(["run", "--user", "nobody", "--policy"]);
    let run = run
        .args([policy.as_os_str()])
        .args(["--", "sh", "-c", &script])
        .run()?;
    wait_until_gone(&places(run.stdout.lines().next().unwrap()));
    // As it is said at the end.
    assert!(
        run.stderr.contains("sudo guard report --session s1"),
        "{run:?}"
    );
    let report = daemon.json(["report", "--session", "s1"])?;
    assert_eq!(report["stopped"][0]["rule"], "prod", "{report}");
    assert_eq!(report["stopped"][0]["verdict"], "deny", "{report}");
    let log = daemon.root(["log", "--session", "s1", "--json"]).run()?;
    let log = log.success()?;
    assert!(log.stdout.contains("\"session-end\""), "{log:?}");
    assert!(log.stderr.contains("no guardd runs"), "{log:?}");
    daemon
        .root(["suggest", "--session", "s1"])
        .run()?
        .success()?;
    // Nobody else may read it.
    let refused = daemon.agent(["report"]).run()?;
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("no guardd listens"), "{refused:?}");
    Ok(())
}

#[test]
fn it_lasts_as_long_as_what_the_command_left_behind() -> Tested {
    let daemon = without_daemon()?;
    let script = format!("{SHOW}; sleep 1 > /dev/null 2>&1 &");
    let output = run(&daemon, &script).run()?.success()?;
    let [cgroup, pins] = places(&output.stdout);
    assert!(cgroup.exists(), "a process of it is left");
    let sessions = daemon.json(["sessions"])?;
    assert_eq!(sessions[0]["id"], "s1");
    wait_until_gone(&[cgroup, pins, daemon.socket()]);
    Ok(())
}

#[test]
fn it_goes_although_somebody_watches() -> Tested {
    let daemon = without_daemon()?;
    let mut running = run(&daemon, &format!("{SHOW}; read line")).spawn()?;
    let [cgroup, pins] = places(&running.line(PATIENCE)?);
    let _watcher = daemon.root(["pending", "--follow"]).spawn()?;
    let _reader = daemon.root(["log", "--follow"]).spawn()?;
    thread::sleep(Duration::from_millis(200));
    running.write("go\n")?;
    assert!(running.wait()?.success());
    wait_until_gone(&[cgroup, pins, daemon.socket()]);
    Ok(())
}

#[test]
fn it_goes_although_the_command_could_not_be_started() -> Tested {
    let daemon = without_daemon()?;
    let shown = run(&daemon, SHOW).run()?.success()?;
    let [cgroup, pins] = places(&shown.stdout);
    let run = [
        "run",
        "--user",
        "nobody",
        "--policy",
        "no-such-policy",
        "--",
        "true",
    ];
    assert_eq!(daemon.root(run).run()?.code(), Some(125));
    wait_until_gone(&[cgroup, pins, daemon.socket()]);
    Ok(())
}
