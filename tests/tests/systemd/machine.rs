//! The machine: its systemd, and guardd on it as it was installed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use guard_lab::{Tested, eventually, is_failing, mounts};

/// An ordinary user, whom no other suite has.
pub(crate) const USER: &str = "guardtest";
pub(crate) const UID: u32 = 61237;

const UNITS: &str = "/run/systemd/system";
const SETTINGS: &str = "/etc/guard/guardd.toml";

/// The slice's cgroup, also where version 1 is beside version 2.
pub(crate) fn root() -> Tested<PathBuf> {
    Ok(mounts::cgroup2()?.join("guard.slice"))
}

/// There is one machine, so one test at a time has it. Whether it is known to be without guardd and what that makes.
static TURN: Mutex<bool> = Mutex::new(false);

/// The machine, with nothing under the guard.
pub(crate) struct Machine {
    is_down: MutexGuard<'static, bool>,
}

impl Machine {
    /// With guardd and its socket running.
    pub(crate) fn new() -> Tested<Self> {
        let machine = Self::without_guardd()?;
        ok(
            "systemctl",
            &["start", "guardd.socket", "guardd.service", "guard.slice"],
        )?;
        Ok(machine)
    }

    /// Before guardd has ever started.
    pub(crate) fn without_guardd() -> Tested<Self> {
        assert!(
            Path::new("/run/systemd/system").is_dir(),
            "systemd does not run here: these tests are for a throw-away machine, see `cargo xtask vm`"
        );
        let mut machine = Self {
            is_down: TURN.lock().unwrap_or_else(PoisonError::into_inner),
        };
        if !*machine.is_down {
            let user = format!("u {USER} {UID} - /");
            ok("systemd-sysusers", &["--inline", &user])?;
            ok("systemctl", &["daemon-reload"])?;
            machine.down()?;
        }
        *machine.is_down = false;
        Ok(machine)
    }

    /// Stops everything and takes away what guardd has made.
    pub(crate) fn down(&self) -> Tested {
        let _ = fs::remove_file(SETTINGS);
        if fs::symlink_metadata(format!("{UNITS}/guardd.service")).is_ok() {
            ok("systemctl", &["unmask", "--runtime", "guardd.service"])?;
        }
        // In this order: a guardd that fails starts again by itself, and that cancels stopping its socket.
        ok("systemctl", &["stop", "guardd.service", "guardd.socket"])?;
        ok("guardd", &["teardown", "--force"])?;
        ok("systemctl", &["reset-failed"])?;
        Ok(())
    }

    pub(crate) fn settings(&self, text: &str) -> Tested {
        fs::create_dir_all("/etc/guard/policies")?;
        Ok(fs::write(SETTINGS, text)?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !is_failing() {
            self.down().unwrap();
            *self.is_down = true;
        }
    }
}

/// Runs a command; what it says is shown where the test fails.
pub(crate) fn run(program: &str, args: &[&str]) -> Tested<Output> {
    let output = Command::new(program).args(args).output()?;
    println!("$ {program} {} -> {}", args.join(" "), output.status);
    print!("{}{}", text(&output.stdout), text(&output.stderr));
    Ok(output)
}

pub(crate) fn ok(program: &str, args: &[&str]) -> Tested<String> {
    let output = run(program, args)?;
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

/// Runs a command that is to fail, and gives what it says.
pub(crate) fn fails(program: &str, args: &[&str]) -> Tested<String> {
    let output = run(program, args)?;
    assert!(
        !output.status.success(),
        "{program} {args:?}: {}",
        text(&output.stdout)
    );
    Ok(text(&output.stdout) + &text(&output.stderr))
}

/// The same as an ordinary user.
pub(crate) fn as_user(args: &[&str]) -> Tested<Output> {
    let id = UID.to_string();
    let mut words = vec!["--reuid", &id, "--regid", &id, "--clear-groups"];
    words.extend(args);
    run("setpriv", &words)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A property of a unit.
pub(crate) fn show(unit: &str, property: &str) -> Tested<String> {
    let show = ["show", "--value", "--property", property, unit];
    Ok(ok("systemctl", &show)?.trim().to_owned())
}

pub(crate) fn state(unit: &str) -> Tested<String> {
    show(unit, "ActiveState")
}

/// Waits until the line `Status:` of guardd's says that.
pub(crate) fn status_says(what: &str) -> Tested {
    eventually(&format!("the unit's status says: {what}"), || {
        Ok(show("guardd.service", "StatusText")?.contains(what))
    })?;
    Ok(())
}

/// What units of that name have written to the journal.
pub(crate) fn journal(unit: &str) -> Tested<String> {
    ok("journalctl", &["--sync"])?;
    ok(
        "journalctl",
        &["--no-pager", "--output=cat", "--unit", unit],
    )
}

/// A unit of this test's own.
pub(crate) struct Unit {
    pub(crate) name: String,
}

impl Unit {
    pub(crate) fn new(name: &str, text: &str) -> Tested<Self> {
        fs::create_dir_all(UNITS)?;
        fs::write(Path::new(UNITS).join(name), text)?;
        ok("systemctl", &["daemon-reload"])?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// A service of the slice.
    pub(crate) fn guarded(name: &str, command: &str) -> Tested<Self> {
        Self::new(
            name,
            &format!("[Service]\nSlice=guard.slice\nExecStart={command}\n"),
        )
    }

    pub(crate) fn pid(&self) -> Tested<u32> {
        Ok(show(&self.name, "MainPID")?.parse()?)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = run("systemctl", &["stop", &self.name]);
        // systemd forgets it when it is next told to look, or ends.
        let _ = fs::remove_file(Path::new(UNITS).join(&self.name));
    }
}

/// A change of a unit that is installed.
pub(crate) struct DropIn {
    unit: String,
    file: PathBuf,
}

impl DropIn {
    pub(crate) fn new(unit: &str, text: &str) -> Tested<Self> {
        let dir = Path::new(UNITS).join(format!("{unit}.d"));
        fs::create_dir_all(&dir)?;
        let file = dir.join("50-test.conf");
        fs::write(&file, text)?;
        ok("systemctl", &["daemon-reload"])?;
        Ok(Self {
            unit: unit.to_owned(),
            file,
        })
    }
}

impl Drop for DropIn {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
        let _ = run("systemctl", &["daemon-reload"]);
        println!("{} is as it was installed", self.unit);
    }
}

/// What nobody under the guard is to reach: an echo at a port of loopback, which counts.
pub(crate) struct Target {
    pub(crate) port: u16,
    /// The same as text.
    text: String,
    reached: Arc<AtomicUsize>,
}

impl Target {
    pub(crate) fn new() -> Tested<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let reached = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reached);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    let mut buffer = [0; 512];
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..length]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self {
            port,
            text: port.to_string(),
            reached,
        })
    }

    pub(crate) fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// A command that tries once.
    pub(crate) fn once(&self) -> String {
        format!("/usr/bin/guard-lab probe tcp 127.0.0.1 {}", self.port)
    }

    /// Shows that whoever is not guarded reaches it.
    pub(crate) fn is_there(&self) -> Tested {
        let before = self.reached();
        ok("systemd-run", &self.tried_in_unit(&[]))?;
        assert_eq!(self.reached(), before + 1);
        Ok(())
    }

    /// Tries from a new unit in the slice, which is refused.
    pub(crate) fn is_out_of_reach(&self) -> Tested {
        let before = self.reached();
        let slice = ["--slice=guard.slice"];
        let said = fails("systemd-run", &self.tried_in_unit(&slice))?;
        assert!(said.contains("EPERM"), "{said}");
        assert_eq!(self.reached(), before);
        Ok(())
    }

    /// What systemd-run tries it with.
    fn tried_in_unit<'w>(&'w self, options: &[&'w str]) -> Vec<&'w str> {
        let quiet = ["--quiet", "--wait", "--pipe"];
        let probe = ["guard-lab", "probe", "tcp", "127.0.0.1", &self.text];
        [&quiet, options, &probe].concat()
    }
}
