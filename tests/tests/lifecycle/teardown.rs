//! Taking everything down.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use guard_lab::{Attempt, Daemon, Network, Shell, Tested, V4, bins, eventually};

use crate::lifecycle::{ended, prepared, refused, started};

fn teardown(daemon: &Daemon) -> std::process::Command {
    let mut command = daemon.guardd().unwrap();
    command.arg("teardown");
    command
}

#[test]
fn it_is_refused_while_sessions_live_unless_forced() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    daemon.stop()?;
    let said = refused(&mut teardown(&daemon));
    assert!(said.contains("s1") && said.contains("--force"), "{said}");
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    let forced = ended(teardown(&daemon).arg("--force"));
    assert!(forced.status.success(), "{forced:?}");
    assert_eq!(shell.wait()?, 128 + 9);
    for dir in [daemon.pin_dir(), daemon.cgroup_root()] {
        assert!(!dir.exists(), "{}", dir.display());
    }
    assert!(production.reached_at(V4, 443)?.is_empty());
    Ok(())
}

#[test]
fn the_audit_log_has_no_id_for_two_sessions() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = started(&network);
    let asked = |daemon: &Daemon| -> Tested<_> {
        let mut shell = Shell::start(daemon, "asks")?;
        assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
        let hole = daemon.json(["open", "192.0.2.10:443"])?;
        let request = daemon.logged("request")?.pop().context("no request")?;
        let session = shell.session().to_owned();
        shell.tell("exit")?;
        shell.wait()?;
        Ok([
            session.into(),
            request["request"].clone(),
            hole["id"].clone(),
        ])
    };
    assert_eq!(asked(&daemon)?, ["s1", "r1", "h1"]);
    daemon.stop()?;
    let forced = ended(teardown(&daemon).arg("--force"));
    assert!(forced.status.success(), "{forced:?}");
    daemon.start()?;
    assert_eq!(asked(&daemon)?, ["s2", "r2", "h2"]);
    Ok(())
}

#[test]
fn it_is_refused_while_a_daemon_runs() -> Tested {
    let network = Network::new()?;
    let daemon = started(&network);
    for force in [&[][..], &["--force"]] {
        let said = refused(teardown(&daemon).args(force));
        assert!(said.contains("stop the other guardd"), "{said}");
        assert_eq!(daemon.json(["status"])?["enforcing"], true);
    }
    Ok(())
}

#[test]
fn where_there_is_nothing_it_says_so_and_succeeds() -> Tested {
    let network = Network::new()?;
    let mut daemon = prepared(&network);
    let nothing = ended(&mut teardown(&daemon));
    assert!(nothing.status.success(), "{nothing:?}");
    let said = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(said.contains("nothing to take down"), "{said}");
    daemon.start()?;
    daemon.stop()?;
    for said in ["taken down", "nothing to take down"] {
        let done = ended(&mut teardown(&daemon));
        assert!(done.status.success(), "{done:?}");
        assert!(
            String::from_utf8_lossy(&done.stderr).contains(said),
            "{done:?}"
        );
    }
    // And all of it can begin again.
    daemon.start()?;
    assert_eq!(daemon.json(["status"])?["sessions"], 0);
    Ok(())
}

#[test]
fn a_pin_directory_elsewhere_has_a_file_system_of_its_own() -> Tested {
    let network = Network::new()?;
    let daemon = prepared(&network);
    let pins = daemon.dir().join("pins");
    let mut guardd = daemon.on_machine(0, bins::find("guardd")?);
    guardd.arg("--state-dir").arg(daemon.state_dir());
    guardd.arg("--cgroup-root").arg(daemon.cgroup_root());
    guardd.arg("--pin-dir").arg(&pins);
    guardd.stderr(std::process::Stdio::null());
    let mut child = guardd.spawn()?;
    eventually("guardd enforces", || {
        Ok(daemon.ask(["status"])?.status.success())
    })?;
    assert!(pins.join("live/link_egress").exists());
    assert!(is_mounted(&pins)?);
    child.kill()?;
    child.wait()?;
    let done = ended(guardd.arg("teardown").stderr(std::process::Stdio::piped()));
    assert!(done.status.success(), "{done:?}");
    assert!(!is_mounted(&pins)? && !pins.exists());
    Ok(())
}

fn is_mounted(dir: &Path) -> Tested<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let on = format!(" {} bpf ", dir.display());
    Ok(mounts.lines().any(|line| line.contains(&on)))
}
