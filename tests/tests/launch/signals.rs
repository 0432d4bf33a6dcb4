//! Signals to the process that stands in for the command.

use guard_lab::Tested;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::launch::bench::{Bench, USER, content, wait_until};

/// A script for bash that writes a line for each signal, until TERM ends it with status 9. It waits by
/// reading from a pipe that nobody writes to: a process that it starts could be stopped in vfork(2),
/// and then the script itself never stops, guard or no guard. A second TERM, of a shell to the whole job and of guard that
/// passes it on, finds it deaf: it would end bash while it exits.
pub(crate) const TALKER: &str = "trap 'echo usr1 >> said' USR1; trap 'echo int >> said' INT; \
                      trap 'trap \"\" TERM; exit 9' TERM; exec 3<> quiet; echo ready >> said; \
                      while :; do read -t 0.02 -u 3; done";

pub(crate) fn make_quiet_pipe(bench: &Bench) -> Tested {
    let mkfifo = Command::new("mkfifo")
        .args(["-m", "666"])
        .arg(bench.path("quiet"))
        .status();
    assert!(mkfifo?.success());
    Ok(())
}

#[test]
pub(crate) fn signals_are_passed_on() -> Tested {
    let bench = Bench::new()?;
    make_quiet_pipe(&bench)?;
    let mut run = bench.run(&["--user", USER]);
    let mut guard = run.args(["bash", "-c", TALKER]).spawn()?;
    let said = bench.path("said");
    let pid = Pid::from_child(&guard);
    wait_until("ready", || content(&said) == "ready\n");
    kill_process(pid, Signal::USR1)?;
    wait_until("usr1", || content(&said).ends_with("usr1\n"));
    kill_process(pid, Signal::INT)?;
    wait_until("int", || content(&said).ends_with("int\n"));
    kill_process(pid, Signal::TERM)?;
    assert_eq!(guard_lab::exec::ended(&mut guard)?.code(), Some(9));
    assert_eq!(content(&said), "ready\nusr1\nint\n");
    Ok(())
}

#[test]
pub(crate) fn without_guard_the_command_goes_on() -> Tested {
    let bench = Bench::new()?;
    let script = "echo $$ > pid; sleep 60";
    let mut run = bench.run(&["--user", USER]);
    let mut guard = run.args(["sh", "-c", script]).spawn()?;
    wait_until("pid", || content(&bench.path("pid")).ends_with('\n'));
    guard.kill()?;
    guard.wait()?;
    let pid = content(&bench.path("pid")).trim().parse()?;
    let pid = Pid::from_raw(pid).unwrap();
    let seccomp = content(format!("/proc/{pid}/status").as_ref());
    assert!(seccomp.contains("Seccomp:\t2"), "{seccomp}");
    kill_process(pid, Signal::KILL)?;
    Ok(())
}
