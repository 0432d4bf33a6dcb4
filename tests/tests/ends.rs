//! How sessions end, and what is still done for them then.

use std::io::Read as _;
use std::thread;
use std::time::Duration;

use guard_lab::PATIENCE;
use guard_lab::{
    AGENT, Attempt, CONFIRMS, Daemon, Json as _, Network, Production, Running, Scene, Shell,
    Tested, V4, eventually, lives,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

const SINK: &str = "198.51.100.9";

fn started() -> Tested<(Network, Daemon)> {
    let Scene { network, daemon } = Scene::new("asks", CONFIRMS)?;
    Ok((network, daemon))
}

fn sessions(daemon: &Daemon) -> usize {
    let sessions = daemon.json(["sessions"]).unwrap();
    sessions.as_array().unwrap().len()
}

/// The record of a session's end.
fn end_of(daemon: &Daemon, session: &str) -> Option<Value> {
    let log = daemon.ask(["log", "--json", "--session", session]).unwrap();
    let mut records = log.success().unwrap().json_lines().unwrap().into_iter();
    records.find(|record| record["kind"] == "session-end")
}

/// Starts a process that has nothing to do with its parent any more, and gives its id.
fn daemonize(shell: &mut Shell) -> Tested<u32> {
    let quiet = "</dev/null >/dev/null 2>&1";
    let script = format!("setsid sh -c 'sleep 1000 {quiet} & echo pid $!'");
    shell.tell(&script)?;
    let line = shell.line_with("pid ")?;
    Ok(line.trim_start_matches("pid ").trim().parse()?)
}

#[test]
fn what_a_process_had_sent_when_it_ended_arrives() -> Tested {
    const BYTES: usize = 300_000;
    // What any sender's buffer takes, and this receiver's does not.
    const LEFT: usize = 16 << 10;
    let (network, daemon) = started()?;
    let sink = network.prod().enter(|| {
        let sink = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Small, so that most of it waits with the sender.
        sink.set_recv_buffer_size(4096)?;
        sink.bind(&std::net::SocketAddr::new(SINK.parse()?, 9000).into())?;
        sink.listen(1)?;
        Ok(sink)
    });
    let sink = sink?;
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        let (mut stream, _) = sink.accept().unwrap();
        let mut got = 0;
        let mut buffer = [0; 2048];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(got),
                Ok(length) => got += length,
                Err(error) => return Err((error, got)),
            }
            if got >= BYTES - LEFT {
                // Until the session has ended, and at once from then on.
                let _ = told.recv();
            }
        }
    });
    let report = Attempt::new("pour", SINK, 9000).other(&BYTES.to_string());
    let report = report.under(&daemon, "asks")?;
    assert!(report.ok, "{report:?}");
    eventually("ended", || sessions(&daemon) == 0)?;
    assert!(!reader.is_finished(), "nothing was left to arrive");
    drop(go_on);
    assert_eq!(reader.join().unwrap().unwrap(), BYTES);
    Ok(())
}

#[test]
fn an_end_is_written_down_with_what_was_refused() -> Tested {
    let (_network, daemon) = started()?;
    let mut shell = Shell::start(&daemon, "asks")?;
    shell.attempt(&Attempt::new("loop", V4, 443).other("7"))?;
    shell.tell("exit 5")?;
    assert_eq!(shell.wait()?, 5);
    eventually("written down", || end_of(&daemon, "s1").is_some())?;
    let end = end_of(&daemon, "s1").unwrap();
    assert_eq!(end["denied"], 7, "{end}");
    assert!(end["seconds"].is_number(), "{end}");
    assert!(!daemon.cgroup_root().join("s1").exists());
    Ok(())
}

#[test]
fn a_session_lasts_as_long_as_its_last_process() -> Tested {
    let (network, daemon) = started()?;
    let _production = Production::start(&network)?;
    let mut shell = Shell::start(&daemon, "asks")?;
    let pid = daemonize(&mut shell)?;
    shell.tell("exit")?;
    shell.wait()?;
    thread::sleep(Duration::from_millis(300));
    assert!(lives(pid));
    assert_eq!(sessions(&daemon), 1);
    assert!(end_of(&daemon, "s1").is_none());
    daemon.ask(["stop", "s1"])?.success()?;
    assert!(!lives(pid));
    assert_eq!(sessions(&daemon), 0);
    assert!(end_of(&daemon, "s1").is_some());
    Ok(())
}

#[test]
fn stopping_ends_every_descendant() -> Tested {
    let (_network, daemon) = started()?;
    let mut shell = Shell::start(&daemon, "asks")?;
    let pid = daemonize(&mut shell)?;
    assert!(lives(pid));
    let inside =
        shell.status_of("mkdir /sys/fs/cgroup/unified/x 2>/dev/null; trap '' TERM INT HUP");
    assert_eq!(inside?, 0);
    daemon.ask(["stop", "s1"])?.success()?;
    assert_eq!(shell.wait()?, 128 + Signal::KILL.as_raw());
    assert!(!lives(pid));
    assert!(!daemon.cgroup_root().join("s1").exists());
    Ok(())
}

#[test]
fn a_launcher_that_is_killed_takes_its_session_with_it() -> Tested {
    let (_network, mut daemon) = started()?;
    let start = |daemon: &Daemon| {
        let script = "sleep 1000 & echo pid $!; exec sleep 1000";
        let run = daemon.agent(["run", "--policy", "asks", "--", "sh", "-c", script]);
        let mut launcher = run.spawn().unwrap();
        let line = launcher.line_with("pid ", guard_lab::PATIENCE).unwrap();
        let left = line.trim_start_matches("pid ").parse::<u32>().unwrap();
        (launcher, left)
    };
    let (mut launcher, left) = start(&daemon);
    thread::sleep(Duration::from_millis(300));
    assert!(lives(left));
    launcher.signal(Signal::KILL)?;
    launcher.wait()?;
    eventually("ended", || sessions(&daemon) == 0 && !lives(left))?;
    daemon.wait_for_log("its launcher was killed")?;

    // One that is adopted, too; and one whose launcher was killed while no guardd ran.
    let (mut seen, seen_left) = start(&daemon);
    let (mut unseen, unseen_left) = start(&daemon);
    let (_alive, alive_left) = start(&daemon);
    daemon.kill()?;
    unseen.signal(Signal::KILL)?;
    unseen.wait()?;
    thread::sleep(Duration::from_millis(300));
    assert!(lives(unseen_left));
    daemon.start()?;
    eventually("ended", || !lives(unseen_left))?;
    assert!(lives(seen_left));
    seen.signal(Signal::KILL)?;
    eventually("ended", || !lives(seen_left))?;
    assert!(lives(alive_left));
    eventually("one is left", || sessions(&daemon) == 1)?;
    Ok(())
}

/// There a monitor stands between the two: it is the command's parent, and ends with the launcher.
#[test]
fn a_launcher_that_is_killed_at_a_terminal_takes_its_session_with_it() -> Tested {
    let (_network, daemon) = started()?;
    let guard = daemon.program("guard")?;
    let run = format!(
        "exec {} run --policy asks -- sh -c 'trap \"\" HUP; tty; sleep 1000 & echo pid $!; exec sleep 1000'",
        guard.display()
    );
    let mut script = daemon.on_machine(AGENT, "script");
    script.args([
        "--quiet",
        "--flush",
        "--return",
        "--command",
        &run,
        "/dev/null",
    ]);
    script.env("GUARD_SOCKET", daemon.socket());
    let mut terminal = Running::start(&mut script)?;
    terminal.line_with("/dev/pts/", PATIENCE)?;
    let line = terminal.line_with("pid ", PATIENCE)?;
    let left = line.trim_start_matches("pid ").parse::<u32>()?;
    thread::sleep(Duration::from_millis(300));
    assert!(lives(left));
    let [command, monitor, launcher] = lineage(left);
    assert!([command, monitor, launcher].into_iter().all(lives));
    kill_process(Pid::from_raw(launcher.cast_signed()).unwrap(), Signal::KILL)?;
    assert_eq!(terminal.wait()?.code(), Some(128 + 9));
    eventually("ended", || sessions(&daemon) == 0 && !lives(left))?;
    daemon.wait_for_log("its launcher was killed")?;
    eventually("ended", || !lives(monitor) && !lives(command))?;
    Ok(())
}

/// What hides text at a terminal, as a command may leave it.
const HIDE: &str = "\x1b[8m";

#[test]
fn what_a_command_leaves_at_a_terminal_hides_no_word_of_guards() -> Tested {
    let (_network, daemon) = started()?;
    let guard = daemon.program("guard")?;
    let hide = r"printf '\033[8m'";
    let said = |run: &str| -> Tested<String> {
        let mut script = daemon.on_machine(AGENT, "script");
        script.args(["--quiet", "--command", run, "/dev/null"]);
        script.env("GUARD_SOCKET", daemon.socket());
        let said = guard_lab::exec::output(script.env("TERM", "xterm"))?;
        Ok(String::from_utf8(said.stdout)?)
    };
    let file = daemon.open_place("hides")?;
    std::fs::write(&file, format!("{hide}; exec 3<>/dev/tcp/{V4}/443"))?;
    let file = file.display();
    let without = said(&format!("{hide}; echo guard: as it was"))?;
    let (_, left) = without.split_once(HIDE).unwrap();
    let (left, _) = left.split_once("guard:").unwrap();
    assert!(!left.contains("\x1b[0m"), "{without:?}");
    let run = format!("{} run --policy asks -- bash {file}", guard.display());
    let with = said(&run)?;
    let (_, left) = with.split_once(HIDE).unwrap();
    let (left, _) = left.split_once("guard:").unwrap();
    assert!(left.contains("\x1b[0m\x1b(B"), "{with:?}");
    Ok(())
}

/// Parent, grandparent, and so on.
fn lineage(pid: u32) -> [u32; 3] {
    let mut next = pid;
    [(); 3].map(|()| {
        next = guard_sys::pidfd::parent_of(next).unwrap();
        next
    })
}

#[test]
fn a_name_that_what_is_inside_gives_takes_none_away() -> Tested {
    let (_network, daemon) = started()?;
    let shut = "version = 1\nname = \"shut\"\ndefault = \"deny\"\n";
    daemon.write_policy("shut", shut)?;
    let guard = daemon.program("guard")?;
    let script = format!(
        "GUARD_SOCKET={} {} run --policy shut --name work -- sh -c 'echo inside; exec sleep 1000' & sleep 1000",
        daemon.socket().display(),
        guard.display()
    );
    let run = [
        "run", "--policy", "asks", "--name", "work", "--", "sh", "-c", &script,
    ];
    let mut outer = daemon.agent(run).spawn()?;
    outer.line_with("inside", guard_lab::PATIENCE)?;
    assert_eq!(sessions(&daemon), 2);
    daemon.agent(["stop", "work"]).run()?.success()?;
    eventually("ended", || sessions(&daemon) < 2)?;
    // The name of what goes on inside, where there is no other.
    let left = daemon.agent(["sessions"]).json()?;
    assert!(left.list()?.iter().all(|one| one["id"] == "s2"));
    Ok(())
}
