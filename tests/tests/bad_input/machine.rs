//! Machines that lack something: what the guard needs it asks for, and what it does not need it does without.

use std::fs;
use std::process::{Command, Stdio};

use guard_lab::{Attempt, CONFIRMS, Daemon, Network, Shell, Tested, V4, exec};

use crate::half;

fn prepared(network: &Network) -> Daemon {
    Daemon::in_network(network)
        .policy("asks", CONFIRMS)
        .prepare()
        .unwrap()
}

/// Runs a command in a mount namespace of its own, behind a script that changes what is mounted there.
fn behind(script: &str, command: &Command) -> Command {
    let mut behind = Command::new("unshare");
    behind.args([
        "--mount",
        "sh",
        "-ec",
        &format!("{script}\nexec \"$@\""),
        "sh",
    ]);
    behind.arg(command.get_program()).args(command.get_args());
    let set = command.get_envs();
    behind.envs(set.filter_map(|(name, value)| Some((name, value?))));
    behind
}

/// What a guardd says that ends by itself, with status 2.
fn refused(mut guardd: Command) -> String {
    let output = exec::output(&mut guardd).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

fn guards(daemon: &Daemon) {
    assert_eq!(daemon.json(["status"]).unwrap()["enforcing"], true);
    let mut shell = Shell::start(daemon, "asks").unwrap();
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    assert!(shell.reaches(&Attempt::tcp("198.51.100.7", 443)).unwrap());
}

#[test]
fn without_btf_and_lsm() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = prepared(&network);
    let hidden = "for d in /sys/kernel/btf /sys/kernel/security; do mount -t tmpfs none $d; done
        ! test -e /sys/kernel/btf/vmlinux";
    let guardd = behind(hidden, &daemon.guardd()?);
    daemon.start_as(guardd)?;
    guards(&daemon);
    Ok(())
}

#[test]
fn with_an_etc_that_is_read_only() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = prepared(&network);
    let script = "mount --bind /etc /etc && mount -o remount,bind,ro /etc
        ! touch /etc/guard-lab 2>/dev/null";
    let guardd = behind(script, &daemon.guardd()?);
    daemon.start_as(guardd)?;
    guards(&daemon);
    Ok(())
}

#[test]
fn with_a_state_directory_that_is_read_only() -> Tested {
    let network = Network::new()?;
    let daemon = prepared(&network);
    let state = daemon.state_dir();
    fs::create_dir(&state)?;
    let dir = state.display();
    let script = format!("mount --bind {dir} {dir} && mount -o remount,bind,ro {dir}");
    let said = refused(behind(&script, &daemon.guardd()?));
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(said.contains(&state.display().to_string()), "{said}");
    for left in [daemon.pin_dir(), daemon.cgroup_root()] {
        assert!(!left.exists(), "{}", left.display());
    }
    Ok(())
}

#[test]
fn without_a_bpffs_that_could_be_mounted() -> Tested {
    let network = Network::new()?;
    let daemon = prepared(&network);
    // It may be mounted there more than once: below one that is taken away may be another.
    let script = "while umount -l /sys/fs/bpf 2>/dev/null; do :; done\nset -- setpriv --bounding-set=-sys_admin -- \"$@\"";
    // Another network namespace cannot be entered without that capability, either; none is needed here.
    let mut guardd = Command::new(guard_lab::bins::find("guardd")?);
    guardd.args(daemon.arguments());
    let said = refused(behind(script, &guardd));
    for word in ["mount a bpffs on", "/sys/fs/bpf", "capabilities"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!daemon.cgroup_root().exists());
    Ok(())
}

#[test]
fn with_programs_that_an_old_kernel_does_not_take() -> Tested {
    let network = Network::new()?;
    let daemon = prepared(&network);
    // A kernel cannot be made older. An object that none takes can be had, and one that gives a lower number.
    let object = daemon.dir().join("object");
    fs::write(&object, "no object")?;
    let guardd = half::guardd(&daemon, &object);
    let mut older = Command::new("setarch");
    older.args(["--uname-2.6", "--"]).arg(guardd.get_program());
    older.args(guardd.get_args());
    older.envs(
        guardd
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let said = refused(older);
    for word in [
        "cannot load the eBPF programs",
        "Linux 6.1 or later is needed, and this is 2.6",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    for left in [daemon.pin_dir(), daemon.cgroup_root()] {
        assert!(!left.exists(), "{}", left.display());
    }
    Ok(())
}

#[test]
fn of_two_that_start_at_once_one_does() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = prepared(&network);
    for _ in 0..5 {
        let mut other = daemon.guardd()?;
        let mut other = other.stderr(Stdio::piped()).spawn()?;
        let first = daemon.start();
        let lost = match &first {
            Ok(()) => String::from_utf8(exec::said(other)?.stderr)?,
            Err(error) => {
                let said = error.to_string();
                other.kill()?;
                other.wait()?;
                assert_eq!(daemon.wait()?.code(), Some(2), "{said}");
                daemon.start()?;
                said
            }
        };
        assert!(lost.contains("another guardd"), "{lost}");
        guards(&daemon);
        daemon.stop()?;
    }
    Ok(())
}
