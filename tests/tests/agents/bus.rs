//! A message bus of the test's own, and services on it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use guard_lab::{Daemon, Running, bins, eventually};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::agents::{PERSON, scene::PATIENCE};

/// A bus that everybody may use, as the session's and as the system's. It ends with the test.
pub(crate) struct Bus {
    _daemon: Running,
    dir: TempDir,
    pub(crate) address: String,
}

const SETTINGS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=DIR/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

impl Bus {
    pub(crate) fn new() -> Self {
        let mut outside = Command::new("setpriv");
        outside.args(["--pdeathsig", "KILL", "--"]);
        Self::started_by(outside)
    }

    /// One that a command starts, which is given its own after its arguments.
    pub(crate) fn started_by(mut command: Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        let settings = dir.path().join("bus.conf");
        let at = dir.path().to_str().unwrap();
        fs::write(&settings, SETTINGS.replace("DIR", at)).unwrap();
        command.args([
            "dbus-daemon",
            "--nofork",
            "--nopidfile",
            "--print-address=1",
        ]);
        command.arg(format!("--config-file={}", settings.display()));
        let mut running = Running::start(&mut command).unwrap();
        let address = running.line_with("unix:", PATIENCE).unwrap();
        Self {
            _daemon: running,
            dir,
            address,
        }
    }

    /// A directory that goes with it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A service of guard-lab's on it, once it is there.
    pub(crate) fn service(&self, args: &[&str]) -> Service {
        let mut command = Command::new(bins::find("guard-lab").unwrap());
        command.args(args);
        self.serve(command)
    }

    /// The same, by whatever command starts it.
    pub(crate) fn serve(&self, mut command: Command) -> Service {
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.address);
        let mut service = Service(Running::start(&mut command).unwrap());
        service.next("ready");
        service
    }

    /// `guard notify` of a user's, and what it says on standard error.
    pub(crate) fn notify(&self, daemon: &Daemon, args: &[&str]) -> Notify {
        let said = self.dir.path().join("said");
        let mut command = daemon
            .user(PERSON, ["notify"])
            .args(args)
            .command()
            .unwrap();
        command
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .stderr(File::create(&said).unwrap());
        let running = Running::start(&mut command).unwrap();
        Notify { running, said }
    }
}

/// A service, and what it is asked.
pub(crate) struct Service(Running);

impl Service {
    /// The next call of that name.
    pub(crate) fn next(&mut self, call: &str) -> Value {
        self.within(call, PATIENCE)
    }

    pub(crate) fn within(&mut self, call: &str, patience: Duration) -> Value {
        let line = self
            .0
            .line_with(&format!("\"call\":\"{call}\""), patience)
            .unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Whether it is asked nothing more for a while.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.0.line(Duration::from_secs(1)).is_err()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        self.0.write(&format!("{line}\n")).unwrap();
    }

    /// Presses a notification's button.
    pub(crate) fn press(&mut self, notification: &Value, key: &str) {
        self.tell(&format!("press {} {key}", notification["id"]));
    }
}

/// Somebody's `guard notify`.
pub(crate) struct Notify {
    pub(crate) running: Running,
    said: PathBuf,
}

impl Notify {
    pub(crate) fn says(&self, text: &str) {
        eventually(text, || {
            fs::read_to_string(&self.said).unwrap().contains(text)
        })
        .unwrap();
    }

    /// Ends it as the service manager does.
    pub(crate) fn end(mut self) {
        self.running.signal(Signal::TERM).unwrap();
        self.running.wait().unwrap();
    }
}
