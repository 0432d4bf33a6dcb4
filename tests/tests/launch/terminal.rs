//! Job control on a real terminal, with a real shell.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::Child;
use std::time::Duration;

use crate::bench::{Bench, UID, USER, content, wait_until};
use crate::signals::{TALKER, make_quiet_pipe};

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
        let mut setsid = bench.command("setsid");
        setsid.args(["--ctty", "--wait", "bash", "--norc", "--noediting", "-i"]);
        setsid.env("PS1", "$ ");
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
            match self
                .seen
                .recv_timeout(guard_lab::patience(Duration::from_secs(20)))
            {
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
    make_quiet_pipe(&bench);
    fs::write(bench.path("talker"), format!("echo $$ > pid\n{TALKER}")).unwrap();
    terminal.press(&format!(
        "./probe run --user {USER} -- bash talker; echo 'status' $?\n"
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
