//! A machine with a guardd, a session with a request and a hole, and files that are no policies.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use guard_lab::{AGENT, PATIENCE, Running, Scene, Tested, V4, exec, holds_scene};

use super::{Row, Who};
use crate::contract::POLICY;

/// What a message may not have, whatever it is about.
const NEVER: [&str; 4] = ["panicked", "RUST_BACKTRACE", "Os {", "Err("];

/// See above.
pub(super) struct MistakeScene {
    scene: Scene,
    /// Leads the session `s1`; ends with the scene.
    shell: RefCell<Running>,
}

holds_scene!(MistakeScene);

/// Has guardd, which knows the policy `asks`, have the session `s1`, the request `r1`, which waits, and the hole `h1`, which is
/// open. What it gives leads the session.
pub(crate) fn number_one_of_each(scene: &Scene) -> Tested<Running> {
    let run = ["run", "--policy", "asks", "--quiet", "--", "sh"];
    let mut shell = scene.daemon.agent(run).spawn()?;
    let lab = scene.daemon.program("guard-lab")?;
    let lab = lab.display();
    shell.write(&format!("{lab} probe tcp {V4} 443 >&2; echo asked\n"))?;
    assert_eq!(shell.line(PATIENCE)?, "asked");
    let pending = scene.pending()?;
    assert_eq!(pending[0]["id"], "r1", "{pending:?}");
    let hole = scene.daemon.json(["open", "192.0.2.20:443"])?;
    assert_eq!(hole["id"], "h1", "{hole}");
    Ok(shell)
}

impl MistakeScene {
    /// With the request `r1`, which waits, and the hole `h1`, which is open.
    pub(super) fn new() -> Tested<Self> {
        let scene = Scene::with(|daemon| {
            let asks = daemon.policy("asks", POLICY);
            asks.config("answers = { couriers = [] }\n")
        })?;
        let shell = RefCell::new(number_one_of_each(&scene)?);
        let made = Self { scene, shell };
        made.programs()?;
        made.files()?;
        Ok(made)
    }

    /// What the row was to say and did not, with all that it said.
    pub(super) fn wrong(&self, (who, line, status, says): &Row) -> Option<String> {
        let (ended, said) = match who {
            Who::Inside => self.inside(line),
            Who::Root => self.outside(0, line),
            Who::User => self.outside(AGENT, line),
        };
        let missing: Vec<_> = says
            .iter()
            .filter(|words| !said.contains(**words))
            .collect();
        let never: Vec<_> = NEVER
            .iter()
            .filter(|words| said.contains(**words))
            .collect();
        let is_right = ended == *status && missing.is_empty() && never.is_empty();
        (!is_right).then(|| {
            format!("{who:?}$ {line}\n  ended with {ended}, not {status}; lacks {missing:?}, has {never:?}; said:\n{said}")
        })
    }

    /// Standard output and standard error of a shell, as they come.
    fn outside(&self, uid: u32, line: &str) -> (i32, String) {
        let mut shell = self.daemon.on_machine(uid, "bash");
        shell.args(["-c", &format!("exec 2>&1; {line}")]);
        let output = exec::output(self.place(&mut shell)).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }

    fn inside(&self, line: &str) -> (i32, String) {
        let mut shell = self.shell.borrow_mut();
        let (bin, home) = (self.bin(), self.home());
        let line = format!(
            "(PATH={}:$PATH; cd {}; {line}) 2>&1; echo \"--status $?\"\n",
            bin.display(),
            home.display()
        );
        shell.write(&line).unwrap();
        let mut said = String::new();
        loop {
            let line = shell.line(PATIENCE).unwrap();
            if let Some((before, status)) = line.split_once("--status ") {
                said.push_str(before);
                return (status.parse().unwrap(), said);
            }
            said.push_str(&line);
            said.push('\n');
        }
    }

    /// The environment of somebody at a terminal of this machine.
    fn place<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let path = std::env::var("PATH").unwrap();
        for name in [
            "SUDO_UID",
            "SUDO_GID",
            "SUDO_USER",
            "EDITOR",
            "VISUAL",
            "GUARD_SESSION",
        ] {
            command.env_remove(name);
        }
        command
            .current_dir(self.home())
            .env("GUARD_SOCKET", self.daemon.socket())
            .env("STATE", self.daemon.state_dir())
            .env("PINS", other(self.daemon.pin_dir()))
            .env("ROOT", other(self.daemon.cgroup_root()))
            .env("PATH", format!("{}:{path}", self.bin().display()))
            .env("HOME", self.home())
    }

    fn bin(&self) -> std::path::PathBuf {
        self.daemon.dir().join("path")
    }

    fn home(&self) -> std::path::PathBuf {
        self.daemon.dir().join("home")
    }

    fn programs(&self) -> Tested {
        let bin = self.bin();
        fs::create_dir(&bin)?;
        for program in ["guard", "guardd"] {
            let real = self.daemon.program(program)?;
            symlink(real, bin.join(program))?;
        }
        Ok(())
    }

    fn files(&self) -> Tested {
        let home = self.home();
        fs::create_dir(&home)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o777))?;
        let write = |name: &str, bytes: &[u8]| {
            fs::write(home.join(name), bytes).unwrap();
        };
        for (name, bytes) in super::files::FILES {
            write(name, bytes);
        }
        for (name, text) in super::policies::FILES {
            write(name, text.as_bytes());
        }
        fs::set_permissions(home.join("secret.toml"), fs::Permissions::from_mode(0o600))?;
        let wide: Vec<u8> = "version = 1\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        write("utf16.toml", &[&[0xff, 0xfe], &*wide].concat());
        fs::create_dir(home.join("directory.toml"))?;
        symlink(Path::new("nowhere.toml"), home.join("dangling.toml"))?;
        Ok(())
    }
}

/// What no guardd uses, also where one of this machine's runs. No name has a dot in a bpffs.
fn other(path: &std::path::Path) -> String {
    format!("{}-other", path.display())
}
