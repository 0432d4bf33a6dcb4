//! A message bus of the test's own, and services on it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use guard_lab::{Daemon, Running, Tested, bins, eventually};
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
    pub(crate) fn new() -> Tested<Self> {
        let mut outside = Command::new("setpriv");
        outside.args(["--pdeathsig", "KILL", "--"]);
        Self::started_by(outside)
    }

    /// One that a command starts, which is given its own after its arguments.
    pub(crate) fn started_by(mut command: Command) -> Tested<Self> {
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777))?;
        let settings = dir.path().join("bus.conf");
        let at = dir.path().to_str().unwrap();
        fs::write(&settings, SETTINGS.replace("DIR", at))?;
        command.args([
            "dbus-daemon",
            "--nofork",
            "--nopidfile",
            "--print-address=1",
        ]);
        command.arg(format!("--config-file={}", settings.display()));
        let mut running = Running::start(&mut command)?;
        let address = running.line_with("unix:", PATIENCE)?;
        Ok(Self {
            _daemon: running,
            dir,
            address,
        })
    }

    /// A directory that goes with it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A service of guard-lab's on it, once it is there.
    pub(crate) fn service(&self, args: &[&str]) -> Tested<Service> {
        let mut command = Command::new(bins::find("guard-lab")?);
        command.args(args);
        self.serve(command)
    }

    /// The same, by whatever command starts it.
    pub(crate) fn serve(&self, mut command: Command) -> Tested<Service> {
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.address);
        let mut service = Service(Running::start(&mut command)?);
        service.next("ready")?;
        Ok(service)
    }

    /// `guard notify` of a user's, and what it says on standard error.
    pub(crate) fn notify(&self, daemon: &Daemon, args: &[&str]) -> Tested<Notify> {
        let said = self.dir.path().join("said");
        let mut command = daemon.user(PERSON, ["notify"]).args(args).command()?;
        command
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .stderr(File::create(&said)?);
        let running = Running::start(&mut command)?;
        Ok(Notify { running, said })
    }
}

/// A service, and what it is asked.
pub(crate) struct Service(Running);

impl Service {
    /// The next call of that name.
    pub(crate) fn next(&mut self, call: &str) -> Tested<Value> {
        self.within(call, PATIENCE)
    }

    pub(crate) fn within(&mut self, call: &str, patience: Duration) -> Tested<Value> {
        let line = self
            .0
            .line_with(&format!("\"call\":\"{call}\""), patience)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Whether it is asked nothing more for a while.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.0.line(Duration::from_secs(1)).is_err()
    }

    pub(crate) fn tell(&mut self, line: &str) -> Tested {
        self.0.write(&format!("{line}\n"))?;
        Ok(())
    }

    /// Presses a notification's button.
    pub(crate) fn press(&mut self, notification: &Value, key: &str) -> Tested {
        self.tell(&format!("press {} {key}", notification["id"]))
    }
}

/// Somebody's `guard notify`.
pub(crate) struct Notify {
    pub(crate) running: Running,
    said: PathBuf,
}

impl Notify {
    pub(crate) fn says(&self, text: &str) -> Tested {
        eventually(text, || Ok(fs::read_to_string(&self.said)?.contains(text)))?;
        Ok(())
    }

    /// Ends it as the service manager does.
    pub(crate) fn end(mut self) -> Tested {
        self.running.signal(Signal::TERM)?;
        self.running.wait()?;
        Ok(())
    }
}
