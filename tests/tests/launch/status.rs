//! What the exit status says.

use guard_lab::Tested;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Signal, kill_process};

use crate::launch::bench::{Bench, USER, content, wait_until};

#[test]
fn the_status_is_the_commands() -> Tested {
    let bench = Bench::new()?;
    let user = ["--user", USER];
    for (script, status) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 125", 125),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
    ] {
        assert_eq!(
            bench.status(&user, &["sh", "-c", script])?,
            status,
            "{script}"
        );
    }
    Ok(())
}

#[test]
fn what_cannot_be_executed_is_126_and_what_is_not_there_127() -> Tested {
    let bench = Bench::new()?;
    fs::write(bench.path("plain"), "x")?;
    fs::write(bench.path("script"), "#!/no/interpreter\n")?;
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.path("script"), executable)?;
    for (command, status) in [
        ("./plain", 126),
        ("./", 126),
        ("./script", 126),
        ("./nothing", 127),
        ("no-such-command", 127),
        ("", 127),
    ] {
        let user = ["--user", USER];
        assert_eq!(bench.status(&user, &[command])?, status, "{command}");
    }
    // A directory of PATH that the user may not enter says nothing about the command.
    let closed = bench.path("closed");
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700))?;
    let mut run = bench.command("env");
    run.arg(format!("PATH={}", closed.display()));
    run.args(["./probe", "run", "--user", USER, "--", "no-such-command"]);
    assert_eq!(run.output()?.status.code(), Some(127));
    Ok(())
}

#[test]
fn what_is_not_in_its_session_never_runs() -> Tested {
    let bench = Bench::new()?;
    let made = bench.path("made");
    let made_by_it = ["touch", made.to_str().unwrap()];
    for enter in ["fail", "panic", "/no/such/cgroup", "/"] {
        let options = ["--user", USER, "--enter", enter];
        assert_eq!(bench.status(&options, &made_by_it)?, 125, "{enter}");
        assert!(!made.exists(), "{enter}");
    }
    // The same cgroup as a directory and as /proc/self/cgroup has it.
    for enter in [&[][..], &["--enter", bench.cgroup().to_str().unwrap()]] {
        let options = [&["--user", USER], enter].concat();
        assert_eq!(bench.status(&options, &made_by_it)?, 0);
        fs::remove_file(&made)?;
    }
    Ok(())
}

#[test]
fn a_signal_before_the_command_runs_is_125() -> Tested {
    let bench = Bench::new()?;
    let options = ["--user", USER, "--enter", "wait"];
    let made = bench.path("made");
    let child = bench.run(&options).arg("touch").arg(&made).spawn();
    let mut child = child?;
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    wait_until("child", || !content(children.as_ref()).is_empty());
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    assert_eq!(guard_lab::exec::ended(&mut child)?.code(), Some(125));
    assert!(!made.exists());
    Ok(())
}
