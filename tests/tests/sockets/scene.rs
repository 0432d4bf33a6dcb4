//! A guardd, somebody who listens outside, and a session that would like to be connected there.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Stdio,
};

pub(crate) use guard_lab::PATIENCE;
use guard_lab::{AGENT, Daemon, Running, Shell};

const PROGRAM: &str = include_str!("sockets.py");

pub(crate) const POLICY: &str = "version = 1\nname = \"open\"\ndefault = \"allow\"\n";

/// Runs a command in a network namespace of its own, as anybody may.
pub(crate) const APART: &str = "unshare --user --map-root-user --net";

/// All of that.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
}

/// Who listens outside, as the same user.
pub(crate) struct Outside {
    running: Running,
    pub(crate) name: String,
}

impl Outside {
    /// That nobody has connected: what comes next is the first.
    pub(crate) fn is_first(&mut self) -> bool {
        self.seen() == 1
    }

    /// How many it has seen when the next one has come.
    pub(crate) fn seen(&mut self) -> usize {
        let line = self.running.line_with("seen", PATIENCE).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(POLICY)
    }

    pub(crate) fn with(policy: &str) -> Self {
        let daemon = Daemon::on_this_machine().policy("open", policy);
        let scene = Self {
            daemon: daemon.start().unwrap(),
        };
        let program = scene.dir().join("sockets.py");
        fs::write(&program, PROGRAM).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o666)).unwrap();
        // By exactly one of them.
        assert_ne!(
            scene.has_hook("connect_unix"),
            scene.has_hook("unix_stream_connect"),
            "this kernel judges no Unix sockets: {}",
            scene.daemon.log()
        );
        scene
    }

    fn has_hook(&self, name: &str) -> bool {
        self.daemon.has_hook(name).unwrap()
    }

    /// The programs that are attached: those of an earlier guardd go on.
    pub(crate) fn programs(&self) -> Vec<(String, u64)> {
        let status = self.daemon.json(["status"]).unwrap();
        let hooks = status["hooks"].as_array().unwrap().iter();
        let name = |hook: &serde_json::Value| hook["name"].as_str().unwrap().to_owned();
        let programs = hooks.map(|hook| (name(hook), hook["program_id"].as_u64().unwrap()));
        programs.collect()
    }

    /// Whether programs at the kernel's security hooks judge, and nobody connects for sessions.
    pub(crate) fn kernel_judges(&self) -> bool {
        self.has_hook("unix_stream_connect")
    }

    /// Where everybody may write.
    fn dir(&self) -> PathBuf {
        let dir = self.daemon.tag().dir().join("everybodys");
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
        dir
    }

    pub(crate) fn place(&self, name: &str) -> String {
        self.dir().join(name).display().to_string()
    }

    /// The command line of the program.
    pub(crate) fn line(&self, words: &str) -> String {
        format!("python3 {} {words}", self.place("sockets.py"))
    }

    /// Has somebody outside listen.
    pub(crate) fn listens(&self, name: &str, kind: &str) -> Outside {
        let name = match name.strip_prefix('@') {
            Some(rest) => format!("@{}-{rest}", self.daemon.tag().name()),
            None => self.place(name),
        };
        self.listens_by("exec", name, kind)
    }

    /// Has somebody outside listen there in a network namespace of its own.
    pub(crate) fn listens_apart(&self, name: &str) -> Outside {
        let exec = format!("exec {APART}");
        self.listens_by(&exec, self.place(name), "stream")
    }

    fn listens_by(&self, exec: &str, name: String, kind: &str) -> Outside {
        let serve = self.line(&format!("serve {name} {kind}"));
        let mut command = self.daemon.on_machine(AGENT, "sh");
        command.args(["-c", &format!("{exec} {serve}")]);
        let mut running = Running::start(command.stdin(Stdio::null())).unwrap();
        running.line_with("listening", PATIENCE).unwrap();
        Outside { running, name }
    }

    /// What the program says outside, as the same user.
    pub(crate) fn outside(&self, words: &str) -> String {
        let mut command = self.daemon.on_machine(AGENT, "sh");
        let done = guard_lab::exec::output(command.args(["-c", &self.line(words)])).unwrap();
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn shell(&self) -> Shell {
        Shell::start(&self.daemon, "open").unwrap()
    }

    /// What the program says in a session, in one line.
    pub(crate) fn inside(&self, shell: &mut Shell, words: &str) -> String {
        said(shell, &self.line(words))
    }
}

/// What a command prints in a session.
pub(crate) fn said(shell: &mut Shell, line: &str) -> String {
    shell
        .tell(&format!("echo \"said $({line} 2>&1 | tr '\\n' ' ')\""))
        .unwrap();
    let said = shell.line_with("said ").unwrap();
    said.trim().strip_prefix("said ").unwrap().trim().to_owned()
}
