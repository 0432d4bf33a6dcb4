//! Two daemons in one place.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use guard_lab::{Attempt, Daemon, NEVER, Network, Shell, Tested, V4, bins};

use crate::lifecycle::{ended, prepared, refused, started};

/// A `guardd` in these places.
fn guardd(daemon: &Daemon, state: &Path, pins: &Path, root: &Path) -> Command {
    let mut command = daemon.on_machine(0, bins::find("guardd").unwrap());
    for (option, dir) in [
        ("--state-dir", state),
        ("--pin-dir", pins),
        ("--cgroup-root", root),
        ("--policy-dir", &daemon.policy_dir()),
    ] {
        command.arg(option).arg(dir);
    }
    command
}

#[test]
fn policies_inside_of_the_state_directory_are_refused() -> Tested {
    let mut daemon = Daemon::on_this_machine().start()?;
    daemon.stop()?;
    let state = daemon.state_dir();
    let mine = state.join("policies");
    fs::create_dir_all(&mine)?;
    fs::write(mine.join("mine.toml"), "version = 1\n")?;
    let link = state.with_extension("link");
    std::os::unix::fs::symlink(&mine, &link)?;
    for dir in [&mine, &link, &state] {
        let mut guardd = daemon.guardd()?;
        let refused = guardd.arg("--policy-dir").arg(dir).output()?;
        assert!(!refused.status.success(), "{}", dir.display());
        let said = String::from_utf8(refused.stderr)?;
        assert!(said.contains("is inside of the state directory"), "{said}");
        assert!(said.contains("--policy-dir /etc/guard/policies"), "{said}");
    }
    assert!(mine.join("mine.toml").exists());
    fs::remove_file(mine.join("mine.toml"))?;
    // Elsewhere it is taken.
    daemon.start()?;
    Ok(())
}

#[test]
fn a_named_directory_of_policies_that_is_not_there_is_said_and_taken_up_later() -> Result<()> {
    let network = Network::new()?;
    let later = tempfile::tempdir()?;
    let late = later.path().join("late");
    let daemon = Daemon::in_network(&network)
        .args(&["--policy-dir", late.to_str().context("a path of text")?])
        .start()?;
    daemon.wait_for_log("--policy-dir names no directory")?;
    let log = daemon.log();
    assert!(
        log.contains(late.to_str().context("a path of text")?),
        "{log}"
    );
    let about = log
        .lines()
        .filter(|line| line.contains("names no directory"));
    assert_eq!(about.count(), 1, "the other one is there: {log}");
    let explain = ["explain", V4, "--policy", "late"];
    let absent = daemon.ask(explain)?;
    assert_eq!(absent.code(), Some(2), "{absent:?}");
    assert!(absent.stderr.contains("there is no policy"), "{absent:?}");
    fs::create_dir(&late)?;
    fs::write(late.join("late.toml"), "version = 1\n")?;
    daemon.ask(explain)?.success()?;
    Ok(())
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() -> Tested {
    let (network, _production) = Network::with_production()?;
    let first = started(&network);
    let other = prepared(&network);
    let mut shell = Shell::start(&first, "asks")?;
    let (state, other_state) = (first.state_dir(), other.state_dir());
    let taken = [
        (&state, other.pin_dir(), other.cgroup_root()),
        (&other_state, first.pin_dir(), other.cgroup_root()),
        (&other_state, other.pin_dir(), first.cgroup_root()),
        (&other_state, first.pin_dir(), first.cgroup_root()),
        (&state, first.pin_dir(), first.cgroup_root()),
    ];
    for (state, pins, root) in taken {
        let said = refused(&mut guardd(&first, state, pins, root));
        assert!(said.contains("another guardd"), "{said}");
        assert!(said.contains("give this one its own --"), "{said}");
        // Nothing of the second one is left.
        for dir in [other.pin_dir(), other.cgroup_root(), &other_state] {
            assert!(!dir.exists(), "{} after: {said}", dir.display());
        }
        assert_eq!(first.json(["status"])?["enforcing"], true);
        assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    }
    Ok(())
}

#[test]
fn nobody_who_may_look_there_keeps_the_next_daemon_from_starting() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = started(&network);
    let root = daemon.cgroup_root().to_owned();
    let open = [
        root.clone(),
        root.join("cgroup.procs"),
        root.join("cgroup.events"),
        daemon.state_dir(),
        daemon.socket(),
    ];
    let run = ["run", "--policy", "asks", "--", "flock", "--nonblock"];
    let mut held = Vec::new();
    for path in open {
        let locks = [
            path.to_str().unwrap(),
            "sh",
            "-c",
            "echo held; exec sleep 1000",
        ];
        if path == daemon.socket() {
            // No file that can be opened, so none that can be locked.
            let output = daemon.agent(run.iter().chain(&locks)).run()?;
            assert_ne!(output.code(), Some(0), "{output:?}");
            continue;
        }
        let mut agent = daemon.agent(run.iter().chain(&locks)).spawn()?;
        agent.line_with("held", guard_lab::PATIENCE)?;
        held.push(agent);
    }
    daemon.kill()?;
    daemon.start()?;
    assert_eq!(daemon.json(["status"])?["enforcing"], true);
    assert_eq!(daemon.list(["sessions"])?.len(), 4);
    daemon.stop()?;
    let done = ended(daemon.guardd()?.args(["teardown", "--force"]));
    assert!(done.status.success(), "{done:?}");
    Ok(())
}

#[test]
fn a_daemon_with_places_of_its_own_lives_beside_another() -> Tested {
    let (network, _production) = Network::with_production()?;
    let (first, mut second) = (started(&network), started(&network));
    let mut shells = [&first, &second].map(|one| Shell::start(one, "asks").unwrap());
    first.json(["open", V4, "--all-ports"])?;
    let attempt = Attempt::tcp(V4, 443);
    assert!(shells[0].reaches(&attempt)?);
    assert!(!shells[1].reaches(&attempt)?);
    second.teardown()?;
    assert_eq!(first.json(["status"])?["enforcing"], true);
    assert!(shells[0].reaches(&attempt)?);
    assert!(!shells[0].reaches(&Attempt::tcp(NEVER, 443))?);
    Ok(())
}

#[test]
fn a_daemon_does_not_run_inside_what_it_guards() -> Tested {
    let network = Network::new()?;
    let mut daemon = prepared(&network);
    fs::create_dir(daemon.cgroup_root())?;
    let words = daemon.guardd()?;
    let procs = daemon.cgroup_root().join("cgroup.procs");
    let mut inside = Command::new("sh");
    inside.args([
        "-c",
        &format!("echo $$ > {} && exec \"$@\"", procs.display()),
        "sh",
    ]);
    inside.arg(words.get_program()).args(words.get_args());
    let said = refused(&mut inside);
    assert!(said.contains("outside of every session"), "{said}");
    daemon.start()?;
    Ok(())
}
