//! The line that a service manager shows is that of `guard status`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use guard_lab::{
    ASKS, Attempt, Daemon, DaemonBuilder, NEVER, Network, PATIENCE, Shell, Tested, V4, eventually,
};
use rustix::process::Signal;
use tempfile::TempDir;

/// What systemd would be.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Tested<Self> {
        let dir = tempfile::tempdir()?;
        let socket = UnixDatagram::bind(dir.path().join("notify"))?;
        socket.set_read_timeout(Some(guard_lab::patience(PATIENCE)))?;
        Ok(Self { socket, dir })
    }

    fn path(&self) -> String {
        let path: &Path = self.dir.path();
        path.join("notify").to_str().unwrap().to_owned()
    }

    fn of(&self, daemon: DaemonBuilder) -> Daemon {
        let daemon = daemon.env("NOTIFY_SOCKET", &self.path());
        daemon.policy("asks", ASKS).start().unwrap()
    }

    fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// Makes room for news: the kernel keeps ten messages.
    fn forget(&self) -> Tested {
        self.socket.set_nonblocking(true)?;
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false)?;
        Ok(())
    }

    /// Reads until the status line is as wanted; gives all that came before it.
    fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let begun = Instant::now();
        let mut before = Vec::new();
        loop {
            let message = self.message();
            let mut lines = message.lines();
            if lines.any(|line| line.strip_prefix("STATUS=").is_some_and(&wanted)) {
                return before;
            }
            before.push(message);
            let last = before.last();
            assert!(begun.elapsed() < guard_lab::patience(PATIENCE), "{last:?}");
        }
    }
}

#[test]
fn it_follows_what_happens() -> Tested {
    let network = Network::new()?;
    let manager = Manager::new()?;
    let daemon = manager.of(Daemon::in_network(&network));
    let quiet = "enforcing: 0 sessions, 0 requests wait, 0 holes, 0 refused";
    manager.wait_for(|line| line == quiet);
    let mut shell = Shell::start(&daemon, "asks")?;
    for _ in 0..5 {
        assert!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    }
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    manager.wait_for(|line| line == "enforcing: 1 session, 1 request waits, 0 holes, 6 refused");
    daemon.ask(["approve", "r1"])?.success()?;
    manager.wait_for(|line| line == "enforcing: 1 session, 0 requests wait, 1 hole, 6 refused");
    let status = daemon.json(["status"])?;
    assert_eq!(status["refused"], 6);
    assert_eq!(status["holes"], 1);
    Ok(())
}

#[test]
fn it_says_what_is_wrong() -> Tested {
    let network = Network::new()?;
    let manager = Manager::new()?;
    let daemon = manager.of(Daemon::in_network(&network));
    let _shell = Shell::start(&daemon, "asks")?;
    daemon.write_policy("asks", &ASKS.replace("version = 1", "version = 1\nbad = 2"))?;
    daemon.signal(Signal::HUP)?;
    manager.wait_for(|line| {
        line.starts_with("enforcing: 1 session")
            && line.ends_with("policy asks: new text refused (line 3)")
    });
    std::fs::remove_file(daemon.pin_dir().join("live/link_connect4"))?;
    manager.wait_for(|line| line.starts_with("NOT enforcing: ") && line.contains("connect4"));
    eventually("guard status says no", || {
        Ok(daemon.ask(["status"])?.code() == Some(1))
    })?;
    Ok(())
}

#[test]
fn a_flood_changes_it_at_most_once_a_second() -> Tested {
    let network = Network::new()?;
    let manager = Manager::new()?;
    let daemon = manager.of(Daemon::in_network(&network));
    let mut shell = Shell::start(&daemon, "asks")?;
    manager.wait_for(|line| line.starts_with("enforcing: 1 session"));
    manager.forget()?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        for last in 0..20 {
            let to = format!("192.0.2.{}", 100 + last);
            assert!(!shell.reaches(&Attempt::tcp(&to, 443))?);
        }
    }
    // The first may still be on its way.
    manager.message();
    let seconds = begun.elapsed().as_secs() as usize;
    manager.socket.set_nonblocking(true)?;
    let mut buffer = [0; 4096];
    let told = std::iter::from_fn(|| manager.socket.recv(&mut buffer).ok());
    let told = 1 + told.count();
    assert!(told <= seconds + 2, "{told} in {seconds} s");
    Ok(())
}

/// Refused at another port every time: each is news. It says when the kernel has been given enough of it to tell.
const FLOOD: &str = "import itertools, socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print('begun', flush=True)
second = refused = told = 0
for port in itertools.cycle(range(1, 65536)):
    try: s.sendto(b'x', ('192.0.2.99', port))
    except PermissionError:
        now = int(time.monotonic())
        second, refused = now, refused + 1 if now == second else 1
        told += refused <= 64
        if told == 300:
            print('enough', flush=True)
            time.sleep(1000)
        time.sleep(0.005)
";

#[test]
fn what_guardd_did_not_hear_of_is_in_it() -> Tested {
    let network = Network::new()?;
    let manager = Manager::new()?;
    let daemon = manager.of(Daemon::in_network(&network));
    let flood = daemon.dir().join("flood.py");
    std::fs::write(&flood, FLOOD)?;
    // The kernel tells of 64 a second and session, and has room for some 4,000.
    let mut shells: Vec<_> = (0..24)
        .map(|_| Shell::start(&daemon, "asks").unwrap())
        .collect();
    daemon.signal(Signal::STOP)?;
    for shell in &mut shells {
        shell.tell(&format!("exec python3 {}", flood.display()))?;
        shell.line_with("begun")?;
    }
    for shell in &mut shells {
        shell.line_with("enough")?;
    }
    manager.forget()?;
    daemon.signal(Signal::CONT)?;
    drop(shells);
    manager.wait_for(|line| line.contains("refused, ") && line.ends_with(" of them not reported"));
    let status = daemon.json(["status"])?;
    let lost = status["events_lost"].as_u64().unwrap();
    assert!(lost > 0, "{status}");
    let output = daemon.ask(["status"])?.success()?;
    let text = output.stdout;
    assert!(text.contains("refusals were not reported"), "{text}");
    Ok(())
}
