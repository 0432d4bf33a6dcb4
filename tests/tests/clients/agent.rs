//! Somebody who types commands, in a session or not.

use std::fs;
use std::path::PathBuf;

use guard_lab::{AGENT, Running, Shell};

use crate::scene::{PATIENCE, POLICY, Scene, url};

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) code: i32,
    /// What it said, on both of its outputs.
    pub(crate) text: String,
}

impl Done {
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.text
    }

    /// That the guard stopped it, and the client knows why.
    pub(crate) fn stopped(&self) {
        assert!(self.text.contains("403"), "{self:?}");
    }
}

enum Shells {
    Guarded(Shell),
    Unguarded(Running),
}

/// A shell that does as it is told.
pub(crate) struct Agent<'s> {
    scene: &'s Scene,
    shell: Shells,
    /// Where what it does says what it has to say.
    output: PathBuf,
}

impl<'s> Agent<'s> {
    pub(crate) fn guarded(scene: &'s Scene) -> Self {
        let run = scene.daemon.agent(["run", "--policy", POLICY]);
        let run = scene
            .env()
            .into_iter()
            .fold(run, |run, (name, value)| run.env(name, value));
        let shell = Shells::Guarded(Shell::run_by(&scene.daemon, run).unwrap());
        Self::of(scene, shell, "guarded")
    }

    pub(crate) fn unguarded(scene: &'s Scene) -> Self {
        let mut command = scene.network.dev().command_as(AGENT, "sh");
        let shell = Running::start(command.envs(scene.env())).unwrap();
        Self::of(scene, Shells::Unguarded(shell), "unguarded")
    }

    fn of(scene: &'s Scene, shell: Shells, name: &str) -> Self {
        let output = scene.home().join(name);
        let mut agent = Self {
            scene,
            shell,
            output,
        };
        agent.tell("cd \"$HOME\"");
        agent
    }

    pub(crate) fn tell(&mut self, line: &str) {
        match &mut self.shell {
            Shells::Guarded(shell) => shell.tell(line).unwrap(),
            Shells::Unguarded(shell) => shell.write(&format!("{line}\n")).unwrap(),
        }
    }

    /// Reads on until a line contains `text`, and gives that line.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        match &mut self.shell {
            Shells::Guarded(shell) => shell.line_with(text).unwrap(),
            Shells::Unguarded(shell) => shell.line_with(text, PATIENCE).unwrap(),
        }
    }

    /// Begins something.
    fn begin(&mut self, line: &str) {
        let output = self.output.display().to_string();
        self.tell(&format!(
            "( {line} ) >{output} 2>&1 </dev/null; echo status $?"
        ));
    }

    /// Waits for its end.
    fn end(&mut self) -> Done {
        let status = self.line_with("status ");
        let code = status.trim().strip_prefix("status ").unwrap();
        let text = fs::read(&self.output).unwrap();
        Done {
            code: code.parse().unwrap(),
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }

    /// Does something, to its end.
    pub(crate) fn run(&mut self, line: &str) -> Done {
        self.begin(line);
        self.end()
    }

    /// Does something while a person says yes to each of these requests, as they come.
    pub(crate) fn run_with_yes(&mut self, line: &str, requests: &[&str]) -> Done {
        let _person = self.somebody_looks();
        self.begin(line);
        for request in requests {
            self.scene.say_yes_to(request);
        }
        self.end()
    }

    /// A person who sees each request at once: this begins with one that nobody waits for, for there to be something to see.
    fn somebody_looks(&mut self) -> Running {
        self.run(&format!("curl -sS -X DELETE {}", url(9, "/knock")))
            .stopped();
        let follow = self.scene.daemon.agent(["pending", "--follow"]);
        let mut person = follow.spawn().unwrap();
        person.line_with("/knock", PATIENCE).unwrap();
        person
    }
}
