//! The control socket, and the daemon behind it: who may do what, what it does with nonsense, and
//! what is left when it dies.

mod authority;
mod disk;
mod hostile;
mod life;
mod varlink;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use guard_lab::PATIENCE;
use guard_lab::{Daemon, Network, Running};
use serde_json::Value;

const ASKS: &str = r#"
version = 1
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24"]
action = "confirm"
reason = "real users"

[[rule]]
name = "jewels"
to = ["192.0.2.66"]
action = "deny"
"#;

fn daemon(network: &Network) -> Daemon {
    let daemon = Daemon::in_network(network).policy("asks", ASKS);
    daemon.start().unwrap()
}

/// A session of a user in which a shell does what it is told, line by line.
fn shell(daemon: &Daemon, uid: u32) -> Running {
    let args = ["run", "--policy", "asks", "--", "sh"];
    let mut shell = daemon.user(uid, args).spawn().unwrap();
    shell.write("echo ready\n").unwrap();
    shell.line_with("ready", PATIENCE).unwrap();
    shell
}

/// Has the shell in a session run a `guard` command, and gives what it printed with its exit code.
fn inside(daemon: &Daemon, shell: &mut Running, args: &str) -> String {
    let guard = daemon.program("guard").unwrap();
    let socket = daemon.socket();
    shell
        .write(&format!(
            "said=$(GUARD_SOCKET={} {} {args} 2>&1); code=$?; echo $said code=$code\n",
            socket.display(),
            guard.display()
        ))
        .unwrap();
    shell.line_with("code=", PATIENCE).unwrap()
}

/// A connection that speaks Varlink by hand.
struct Wire(UnixStream);

impl Wire {
    fn open(daemon: &Daemon) -> Self {
        let stream = UnixStream::connect(daemon.socket()).unwrap();
        stream
            .set_read_timeout(Some(guard_lab::patience(PATIENCE)))
            .unwrap();
        stream
            .set_write_timeout(Some(guard_lab::patience(PATIENCE)))
            .unwrap();
        Self(stream)
    }

    fn send(&mut self, frame: &str) {
        let mut bytes = frame.as_bytes().to_vec();
        bytes.push(0);
        self.0.write_all(&bytes).unwrap();
    }

    /// The next answer; nothing where the daemon has closed the connection.
    fn answer(&mut self) -> Option<Value> {
        let mut frame = Vec::new();
        let mut byte = [0];
        while self.0.read(&mut byte).ok()? == 1 {
            if byte[0] == 0 {
                return Some(serde_json::from_slice(&frame).unwrap());
            }
            frame.push(byte[0]);
        }
        None
    }

    fn call(&mut self, frame: &str) -> Value {
        self.send(frame);
        self.answer().unwrap()
    }
}
