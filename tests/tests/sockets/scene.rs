//! A guardd, somebody who listens outside, and a session that would like to be connected there.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
};

pub(crate) use guard_lab::PATIENCE;
use guard_lab::{AGENT, ALLOWS_NAMED, Daemon, Json as _, Running, Shell, Tested};

const PROGRAM: &str = include_str!("sockets.py");

/// Runs a command in a network namespace of its own, as anybody may.
pub(crate) const APART: &str = "unshare --user --map-root-user --net";

/// All of that. It needs no network.
pub(crate) struct UnixSockets {
    pub(crate) daemon: Daemon,
}

/// Who listens outside, as the same user.
pub(crate) struct Outside {
    running: Running,
    pub(crate) name: String,
}

impl Outside {
    /// That nobody has connected: what comes next is the first.
    pub(crate) fn is_first(&mut self) -> Tested<bool> {
        Ok(self.seen()? == 1)
    }

    /// How many it has seen when the next one has come.
    pub(crate) fn seen(&mut self) -> Tested<usize> {
        let line = self.running.line_with("seen", PATIENCE)?;
        Ok(line.split_whitespace().nth(1).unwrap().parse()?)
    }
}

impl UnixSockets {
    pub(crate) fn new() -> Tested<Self> {
        Self::with(ALLOWS_NAMED)
    }

    pub(crate) fn with(policy: &str) -> Tested<Self> {
        let daemon = Daemon::on_this_machine().policy("open", policy);
        let scene = Self {
            daemon: daemon.start()?,
        };
        let program = scene.place("sockets.py")?;
        fs::write(&program, PROGRAM)?;
        fs::set_permissions(&program, Permissions::from_mode(0o666))?;
        // By exactly one of them.
        assert_ne!(
            scene.has_hook("connect_unix")?,
            scene.has_hook("unix_stream_connect")?,
            "this kernel judges no Unix sockets: {}",
            scene.daemon.log()
        );
        Ok(scene)
    }

    fn has_hook(&self, name: &str) -> Tested<bool> {
        Ok(self.daemon.has_hook(name)?)
    }

    /// The programs that are attached: those of an earlier guardd go on.
    pub(crate) fn programs(&self) -> Tested<Vec<(String, u64)>> {
        let status = self.daemon.json(["status"])?;
        let hooks = status["hooks"].list()?.iter();
        let name = |hook: &serde_json::Value| hook["name"].as_str().unwrap().to_owned();
        let programs = hooks.map(|hook| (name(hook), hook["program_id"].as_u64().unwrap()));
        Ok(programs.collect())
    }

    /// Whether programs at the kernel's security hooks judge, and nobody connects for sessions.
    pub(crate) fn kernel_judges(&self) -> Tested<bool> {
        self.has_hook("unix_stream_connect")
    }

    /// Where everybody may write.
    pub(crate) fn place(&self, name: &str) -> Tested<String> {
        Ok(self.daemon.open_place(name)?.display().to_string())
    }

    /// The command line of the program.
    pub(crate) fn line(&self, words: &str) -> Tested<String> {
        Ok(format!("python3 {} {words}", self.place("sockets.py")?))
    }

    /// Has somebody outside listen.
    pub(crate) fn listens(&self, name: &str, kind: &str) -> Tested<Outside> {
        let name = match name.strip_prefix('@') {
            Some(rest) => format!("@{}-{rest}", self.daemon.tag().name()),
            None => self.place(name)?,
        };
        self.listens_by("exec", name, kind)
    }

    /// Has somebody outside listen there in a network namespace of its own.
    pub(crate) fn listens_apart(&self, name: &str) -> Tested<Outside> {
        let exec = format!("exec {APART}");
        self.listens_by(&exec, self.place(name)?, "stream")
    }

    fn listens_by(&self, exec: &str, name: String, kind: &str) -> Tested<Outside> {
        let serve = self.line(&format!("serve {name} {kind}"))?;
        let mut command = self.daemon.on_machine(AGENT, "sh");
        command.args(["-c", &format!("{exec} {serve}")]);
        let mut running = Running::start(command.stdin(Stdio::null()))?;
        running.line_with("listening", PATIENCE)?;
        Ok(Outside { running, name })
    }

    /// What the program says outside, as the same user.
    pub(crate) fn outside(&self, words: &str) -> Tested<String> {
        let mut command = self.daemon.on_machine(AGENT, "sh");
        let done = guard_lab::exec::output(command.args(["-c", &self.line(words)?]))?;
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }

    pub(crate) fn shell(&self) -> Tested<Shell> {
        Ok(Shell::start(&self.daemon, "open")?)
    }

    /// What the program says in a session, in one line.
    pub(crate) fn inside(&self, shell: &mut Shell, words: &str) -> Tested<String> {
        said(shell, &self.line(words)?)
    }
}

/// What a command prints in a session.
pub(crate) fn said(shell: &mut Shell, line: &str) -> Tested<String> {
    shell.tell(&format!("echo \"said $({line} 2>&1 | tr '\\n' ' ')\""))?;
    let said = shell.line_with("said ")?;
    Ok(said.trim().strip_prefix("said ").unwrap().trim().to_owned())
}
