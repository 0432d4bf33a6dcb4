//! Launching for real: statuses, containment, signals and the terminal, with processes of their own.
//!
//! Needs root, to be able to become somebody else.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// As whom things run in here: somebody that every machine has.
const USER: &str = "nobody";
const UID: &str = "65534";

/// A directory that [`USER`] may use, with the probe in it: the build directory may be closed to others.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test needs root: run it through `cargo xtask test`"
        );
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::copy(built_example("launch_probe"), dir.path().join("probe")).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `probe run` with these options; the command is still to be given.
    fn run(&self, options: &[&str]) -> Command {
        let mut command = Command::new(self.path("probe"));
        command.arg("run").args(options).arg("--");
        command
            .current_dir(self.0.path())
            .env("RUST_BACKTRACE", "0");
        command
    }

    /// Runs a shell script as [`USER`], contained.
    fn script(&self, script: &str) -> Output {
        self.run(&["--user", USER])
            .args(["sh", "-c", script])
            .output()
            .unwrap()
    }

    fn status(&self, options: &[&str], command: &[&str]) -> i32 {
        let mut run = self.run(options);
        run.args(command).stderr(Stdio::null());
        run.status().unwrap().code().unwrap()
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Waits until `done`, which must come.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `cargo test` builds examples beside the tests: `target/PROFILE/examples`.
fn built_example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    profile.join("examples").join(name)
}

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn the_status_is_the_commands() {
    let bench = Bench::new();
    let user = ["--user", USER];
    for (script, status) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 125", 125),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
    ] {
        assert_eq!(
            bench.status(&user, &["sh", "-c", script]),
            status,
            "{script}"
        );
    }
}

#[test]
fn what_cannot_be_executed_is_126_and_what_is_not_there_127() {
    let bench = Bench::new();
    fs::write(bench.path("plain"), "x").unwrap();
    fs::write(bench.path("script"), "#!/no/interpreter\n").unwrap();
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.path("script"), executable).unwrap();
    for (command, status) in [
        ("./plain", 126),
        ("./", 126),
        ("./script", 126),
        ("./nothing", 127),
        ("no-such-command", 127),
        ("", 127),
    ] {
        let user = ["--user", USER];
        assert_eq!(bench.status(&user, &[command]), status, "{command}");
    }
    // A directory of PATH that the user may not enter says nothing about the command.
    let closed = bench.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let mut run = bench.run(&["--user", USER]);
    run.arg("no-such-command").env("PATH", closed);
    assert_eq!(run.output().unwrap().status.code(), Some(127));
}

#[test]
fn what_is_not_in_its_session_never_runs() {
    let bench = Bench::new();
    let made = bench.path("made");
    let made_by_it = ["touch", made.to_str().unwrap()];
    for enter in ["fail", "panic", "/no/such/cgroup"] {
        let options = ["--user", USER, "--enter", enter];
        assert_eq!(bench.status(&options, &made_by_it), 125, "{enter}");
        assert!(!made.exists(), "{enter}");
    }
    assert_eq!(bench.status(&["--user", USER], &made_by_it), 0);
    assert!(made.exists());
}

#[test]
fn a_signal_before_the_command_runs_is_125() {
    let bench = Bench::new();
    let options = ["--user", USER, "--enter", "wait"];
    let made = bench.path("made");
    let child = bench.run(&options).arg("touch").arg(&made).spawn();
    let mut child = child.unwrap();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    wait_until("child", || !content(children.as_ref()).is_empty());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(125));
    assert!(!made.exists());
}

#[test]
fn root_is_told_to_name_a_user() {
    let bench = Bench::new();
    for options in [&[][..], &["--user", "root"], &["--user", "0"]] {
        let mut run = bench.run(options);
        run.arg("true")
            .env_remove("SUDO_UID")
            .env_remove("SUDO_GID");
        let refused = run.output().unwrap();
        assert_eq!(refused.status.code(), Some(125));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("--user NAME"), "{said}");
    }
}

#[test]
fn under_sudo_it_runs_as_whoever_called_sudo() {
    let bench = Bench::new();
    let mut run = bench.run(&[]);
    run.args(["sh", "-c", "id -u; env"]);
    run.envs([("SUDO_UID", UID), ("SUDO_GID", UID), ("SUDO_COMMAND", "x")]);
    run.envs([("HOME", "/root"), ("KEPT", "yes")]);
    let said = text(&run.output().unwrap());
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], UID);
    for line in [
        "USER=nobody",
        "LOGNAME=nobody",
        "KEPT=yes",
        "GUARD_SESSION=s1",
    ] {
        assert!(lines.contains(&line), "{line} in {said}");
    }
    assert!(
        !said.contains("SUDO_") && !said.contains("HOME=/root\n"),
        "{said}"
    );
}

#[test]
fn nothing_privileged_is_left() {
    let bench = Bench::new();
    let status = text(&bench.script("cat /proc/self/status"));
    let has = |line: &str| assert!(status.lines().any(|is| is == line), "{line} in {status}");
    has(&format!("Uid:\t{UID}\t{UID}\t{UID}\t{UID}"));
    has(&format!("Gid:\t{UID}\t{UID}\t{UID}\t{UID}"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        has(&format!("{set}:\t0000000000000000"));
    }
    has("NoNewPrivs:\t1");
    has("Seccomp:\t2");
    let groups = text(&bench.script("id -G"));
    assert_eq!(groups.trim(), UID, "root's groups are gone");
}

#[test]
fn an_ordinary_caller_keeps_no_capability_either() {
    let bench = Bench::new();
    let caller = |command: &[&str]| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid", UID, "--regid", UID, "--clear-groups"]);
        setpriv.args(["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]);
        setpriv.args(command).current_dir(bench.0.path());
        text(&setpriv.output().unwrap())
    };
    let probe = bench.path("probe");
    let look = ["grep", "CapEff", "/proc/self/status"];
    let before = caller(&look);
    assert_eq!(before.trim(), "CapEff:\t0000000000002000");
    let run = [probe.to_str().unwrap(), "run", "--"];
    let inside = caller(&[&run[..], &look].concat());
    assert_eq!(inside.trim(), "CapEff:\t0000000000000000");
    let user = caller(&[&run[..], &["id", "-u"]].concat());
    assert_eq!(user.trim(), UID);
}

#[test]
fn inherited_descriptors_are_closed() {
    let bench = Bench::new();
    let listing = |command: &str| {
        let script = format!("exec 7</etc/passwd 300</etc/passwd; exec {command}");
        let mut bash = Command::new("bash");
        text(&bash.args(["-c", &script]).output().unwrap())
    };
    let outside = listing("ls /proc/self/fd");
    assert!(outside.contains("7\n") && outside.contains("300\n"));
    let probe = bench.path("probe");
    let run = format!("{} run --user {USER} -- ls /proc/self/fd", probe.display());
    // The last one is the directory that ls itself reads.
    assert_eq!(listing(&run), "0\n1\n2\n3\n");
}

#[test]
fn a_network_socket_for_input_is_refused() {
    let bench = Bench::new();
    let made = bench.path("made");
    let run = |input: OwnedFd| {
        let mut run = bench.run(&["--user", USER]);
        run.arg("touch").arg(&made).stdin(Stdio::from(input));
        run.output().unwrap()
    };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let refused = run(socket.into());
    assert_eq!(refused.status.code(), Some(125));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("standard input is a network socket"),
        "{said}"
    );
    assert!(!made.exists());
    let (unix, _other) = UnixStream::pair().unwrap();
    assert!(run(unix.into()).status.success());
    assert!(made.exists());
}

const EPERM: &str = "1";

#[test]
fn families_that_no_hook_sees_are_refused() {
    let bench = Bench::new();
    let probe = bench.path("probe");
    let attempt = |words: &str| {
        let script = format!("{} try {words}", probe.display());
        let outside = Command::new("sh").args(["-c", &script]).output().unwrap();
        let inside = text(&bench.script(&script));
        (text(&outside).trim().to_owned(), inside.trim().to_owned())
    };
    for family in [1, 2, 10, 16] {
        let (outside, inside) = attempt(&format!("socket {family}"));
        assert_eq!((&*outside, &*inside), ("ok", "ok"), "family {family}");
    }
    for packet_or_xdp in [17, 44] {
        let (outside, inside) = attempt(&format!("socket {packet_or_xdp}"));
        assert_eq!((&*outside, &*inside), ("ok", EPERM));
    }
    // Whether or not this kernel has them; the upper half of the argument is not the kernel's.
    for family in (0_i64..46).chain([1 << 32 | 17, (1 << 32) + 40, -1]) {
        if ![1, 2, 10, 16].contains(&family) {
            let (_, inside) = attempt(&format!("socket {family}"));
            assert_eq!(inside, EPERM, "family {family}");
        }
    }
    assert_eq!(attempt("socketpair 1"), ("ok".into(), "ok".into()));
    assert_eq!(attempt("socketpair 30").1, EPERM);
}

#[test]
fn ways_round_the_filter_are_refused() {
    let bench = Bench::new();
    let probe = bench.path("probe");
    let inside = |words: &str| {
        let said = text(&bench.script(&format!("{} try {words}", probe.display())));
        said.trim().to_owned()
    };
    let calls = [
        "io-uring",
        "io-uring-enter",
        "io-uring-register",
        "tiocsti",
        "tiocsti-wide",
        "tioclinux",
        "setuid",
    ];
    for words in calls {
        assert_eq!(inside(words), EPERM, "{words}");
    }
    for x32 in [16, 41, 53, 425, 426, 427, 514] {
        if cfg!(target_arch = "x86_64") {
            assert_eq!(inside(&format!("x32 {x32}")), EPERM, "{x32}");
        }
    }
}

/// A script that writes a line for each signal, until TERM ends it with status 9.
const TALKER: &str = "trap 'echo usr1 >> said' USR1; trap 'echo int >> said' INT; \
                      trap 'exit 9' TERM; echo ready >> said; \
                      while :; do sleep 0.02; done";

#[test]
fn signals_are_passed_on() {
    let bench = Bench::new();
    let mut run = bench.run(&["--user", USER]);
    let mut guard = run.args(["sh", "-c", TALKER]).spawn().unwrap();
    let said = bench.path("said");
    let pid = Pid::from_child(&guard);
    wait_until("ready", || content(&said) == "ready\n");
    kill_process(pid, Signal::USR1).unwrap();
    wait_until("usr1", || content(&said).ends_with("usr1\n"));
    kill_process(pid, Signal::INT).unwrap();
    wait_until("int", || content(&said).ends_with("int\n"));
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(guard.wait().unwrap().code(), Some(9));
    assert_eq!(content(&said), "ready\nusr1\nint\n");
}

#[test]
fn without_guard_the_command_goes_on() {
    let bench = Bench::new();
    let script = "echo $$ > pid; sleep 60";
    let mut run = bench.run(&["--user", USER]);
    let mut guard = run.args(["sh", "-c", script]).spawn().unwrap();
    wait_until("pid", || content(&bench.path("pid")).ends_with('\n'));
    guard.kill().unwrap();
    guard.wait().unwrap();
    let pid = content(&bench.path("pid")).trim().parse().unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    let seccomp = content(format!("/proc/{pid}/status").as_ref());
    assert!(seccomp.contains("Seccomp:\t2"), "{seccomp}");
    kill_process(pid, Signal::KILL).unwrap();
}

/// An interactive shell with job control on a terminal of its own.
struct Terminal {
    shell: Child,
    keys: fs::File,
    seen: std::sync::mpsc::Receiver<String>,
    all: String,
}

impl Terminal {
    fn new(bench: &Bench) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let open = || fs::File::options().read(true).write(true).open(&theirs);
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", "--wait", "bash", "--norc", "--noediting", "-i"]);
        setsid.env("PS1", "$ ").current_dir(bench.0.path());
        setsid.stdin(open().unwrap()).stdout(open().unwrap());
        let shell = setsid.stderr(open().unwrap()).spawn().unwrap();
        let keys = fs::File::from(ours);
        let seen = lines(keys.try_clone().unwrap());
        let all = String::new();
        Self {
            shell,
            keys,
            seen,
            all,
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for a line that has `text` in it.
    fn expect(&mut self, text: &str) {
        loop {
            match self.seen.recv_timeout(Duration::from_secs(20)) {
                Ok(line) => {
                    self.all.push_str(&line);
                    if line.contains(text) {
                        return;
                    }
                }
                Err(_) => panic!("no {text:?} in:\n{}", self.all),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self
            .keys
            .write_all(b"\x03\nkill -9 $(jobs -p); exit\nexit\n");
        let _ = self.shell.wait();
    }
}

/// What comes out of a terminal, line by line.
fn lines(from: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<String> {
    let (send, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || -> io::Result<()> {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line)? > 0 {
            if send.send(String::from_utf8_lossy(&line).into()).is_err() {
                break;
            }
            line.clear();
        }
        Ok(())
    });
    seen
}

fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn the_terminals_keys_work_as_without_guard() {
    let bench = Bench::new();
    let mut terminal = Terminal::new(&bench);
    let said = bench.path("said");
    fs::write(bench.path("talker"), format!("echo $$ > pid\n{TALKER}")).unwrap();
    terminal.press(&format!(
        "./probe run --user {USER} -- sh talker; echo 'status' $?\n"
    ));
    wait_until("ready", || content(&said) == "ready\n");
    let pid = content(&bench.path("pid")).trim().to_owned();

    // ^C reaches it once, and guard stays.
    terminal.press("\x03");
    wait_until("int", || content(&said) == "ready\nint\n");

    // ^Z stops both, and the shell is there again.
    terminal.press("\x1a");
    terminal.expect("Stopped");
    wait_until("stop", || state(&pid) == Some('T'));
    terminal.press("echo shell is back\n");
    terminal.expect("shell is back");

    terminal.press("fg\n");
    wait_until("start", || state(&pid) != Some('T'));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(content(&said), "ready\nint\n", "^C was not doubled");

    // In the background and back.
    terminal.press("\x1a");
    terminal.expect("Stopped");
    terminal.press("bg\n");
    wait_until("start", || state(&pid) != Some('T'));
    terminal.press("kill -TERM %1; wait %1; echo status $((4 + $?))\n");
    terminal.expect("status 13");
    assert_eq!(content(&said), "ready\nint\n");
}

#[test]
fn an_interactive_shell_owns_the_terminal() {
    let bench = Bench::new();
    let mut terminal = Terminal::new(&bench);
    terminal.press(&format!("./probe run --user {USER} -- bash --norc -i\n"));
    terminal.press("id -u\n");
    terminal.expect(UID);
    terminal.press("sleep 100\n");
    std::thread::sleep(Duration::from_millis(300));
    terminal.press("\x1a");
    terminal.expect("Stopped");
    terminal.press("fg\n");
    std::thread::sleep(Duration::from_millis(300));
    terminal.press("\x03");
    terminal.press("exit 7\n");
    terminal.press("echo outer status $?\n");
    terminal.expect("outer status 7");
}
