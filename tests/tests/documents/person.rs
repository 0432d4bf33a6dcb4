//! A person at a fresh machine, who types what a document says.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use guard_lab::{Network, PATIENCE, Running, Tested, eventually, is_slow};
use rustix::process::Pid;

use crate::packages::machine::{Machine, quiet, said, succeeds, version_of};

/// The line by which somebody follows the requests.
const FOLLOWS: &str = "guard pending --follow";

/// An ordinary user, who may use sudo.
pub(super) const NAME: &str = "developer";

/// Somebody on the developer's machine of a network, in a home with the package in it.
pub(super) struct Person {
    pub(super) machine: Machine,
    pub(super) network: Network,
    home: PathBuf,
}

impl Person {
    /// At a machine where guard never was.
    pub(super) fn at_a_fresh_machine() -> Self {
        Self::at(Machine::without_guard())
    }

    /// At one where it is installed.
    pub(super) fn at_a_machine_with_guard() -> Self {
        Self::at(Machine::with_guard())
    }

    fn at(machine: Machine) -> Self {
        add_user(NAME);
        fs::write(
            "/etc/sudoers.d/developer",
            "developer ALL=(ALL) NOPASSWD: ALL\n",
        )
        .unwrap();
        fs::set_permissions("/etc/sudoers.d/developer", Permissions::from_mode(0o440)).unwrap();
        let home = Path::new("/home").join(NAME);
        // What lies there is for a job's user, too.
        fs::set_permissions(&home, Permissions::from_mode(0o755)).unwrap();
        let package = home.join(format!("guard_{}_amd64.deb", version_of(&machine.first)));
        let _ = fs::remove_file(&package);
        symlink(&machine.first, package).unwrap();
        Self {
            machine,
            network: Network::new().unwrap(),
            home,
        }
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// What runs lines until one fails, and says each.
    pub(super) fn shell(&self, lines: &str) -> Command {
        let mut shell = self.network.dev().command("/usr/sbin/runuser");
        shell
            .args(["--user", NAME, "--"])
            .args(["bash", "-euxo", "pipefail", "-c", lines])
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .env_clear()
            .env("HOME", &self.home)
            .env("USER", NAME)
            .env("LOGNAME", NAME)
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        shell
    }

    /// Types lines, and waits for the end.
    pub(super) fn types(&self, lines: &str) -> Output {
        let output = self.shell(lines).output().unwrap();
        eprintln!("{}", said(&output));
        output
    }

    /// The same of lines that all succeed: what they print.
    pub(super) fn succeeds(&self, lines: &str) -> String {
        let output = self.types(lines);
        assert!(output.status.success(), "{lines}\n{}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types lines of which the last goes on, in a terminal of its own.
    pub(super) fn begins(&self, lines: &str) -> Running {
        Running::start(&mut self.shell(lines)).unwrap()
    }

    /// Types lines of which the last follows the requests, and waits until guardd has somebody who does: `guard` does not say when that
    /// is. What is said before is repeated: a line that does not succeed is the last one.
    pub(super) fn watches(&self, lines: &str) -> Tested<Running> {
        // The shell says each line before it runs it.
        let mut shell = self.begins(&format!("exec 2>&1\n{lines}"));
        let last = format!("+ {FOLLOWS}");
        loop {
            // Each line of it has its own time: a package is installed before, and a machine looked at.
            let line = shell.line(PATIENCE)?;
            eprintln!("{line}");
            if line == last {
                break;
            }
        }
        eventually("somebody follows", || follower().is_some())?;
        eventually("and is connected to guardd", || {
            // Where the caller is: an accepted socket is of its network.
            let mut ss = self.network.dev().command("ss");
            succeeds(ss.args(["-xH", "state", "connected"])).contains("/run/guard/guardd.sock")
        })?;
        // What it is asked after that is answered after that.
        succeeds(quiet("guard").arg("status"));
        Ok(shell)
    }
}

/// The process that follows the requests.
pub(super) fn follower() -> Option<Pid> {
    let mut follows = quiet("pgrep");
    follows.args(["--exact", "--full", FOLLOWS]);
    let found = follows.output().unwrap();
    Pid::from_raw(String::from_utf8_lossy(&found.stdout).trim().parse().ok()?)
}

/// Tells whoever watches how long something took from the package on, also where the test passes.
pub(super) fn clock(what: &str, took: Duration, installed: Duration) {
    let (took, installed) = (took.as_secs_f64(), installed.as_secs_f64());
    let slow = is_slow();
    let _ = writeln!(
        io::stderr(),
        "from the package to {what}: {took:.1} s, of which the installation took {installed:.1} s; emulated: {slow}"
    );
}

/// A user with a home.
pub(super) fn add_user(name: &str) {
    if !quiet("id").arg(name).output().unwrap().status.success() {
        let shell = ["--create-home", "--shell", "/bin/bash"];
        succeeds(quiet("useradd").args(shell).arg(name));
    }
}
