//! Somebody who types commands, in a session or not.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use guard_lab::{AGENT, Running, Shell, Tested, mounts};

use crate::clients::scene::{ClientScene, PATIENCE, POLICY, url};

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
    scene: &'s ClientScene,
    shell: Shells,
    /// Where what it does says what it has to say.
    output: PathBuf,
}

impl<'s> Agent<'s> {
    pub(crate) fn guarded(scene: &'s ClientScene) -> Tested<Self> {
        Self::in_session(scene, AGENT, &[], "guarded")
    }

    /// In a session whose connections wait for so long, whether or not anybody watches. There may be several, each with a
    /// name of its own.
    pub(crate) fn holding(scene: &'s ClientScene, hold: &str, name: &str) -> Tested<Self> {
        Self::in_session(scene, AGENT, &["--hold", hold], name)
    }

    /// In a session that root has started for the same user, by sudo.
    pub(crate) fn by_root(scene: &'s ClientScene) -> Tested<Self> {
        Self::in_session(scene, 0, &[], "by_root")
    }

    fn in_session(scene: &'s ClientScene, uid: u32, args: &[&str], name: &str) -> Tested<Self> {
        let by_sudo = ["SUDO_UID", "SUDO_GID"].map(|name| (name, AGENT.to_string()));
        let run = scene.daemon.user(uid, ["run", "--policy", POLICY]);
        let run = run
            .args(args)
            .hosts(scene.hosts())
            .without(ClientScene::trusts_nobody_else());
        let env = scene.env()?.into_iter().chain(by_sudo);
        let run = env.fold(run, |run, (name, value)| run.env(name, value));
        let shell = Shells::Guarded(Shell::run_by(&scene.daemon, run)?);
        Self::of(scene, shell, name)
    }

    /// Without the guard, and trusting the company.
    pub(crate) fn unguarded(scene: &'s ClientScene) -> Tested<Self> {
        let mut command = scene.network.dev().command_as(AGENT, "sh");
        command.envs(scene.env()?).envs(scene.trusts_company());
        let mut command = mounts::with_hosts(&command, &scene.hosts());
        let shell = Running::start(&mut command)?;
        Self::of(scene, Shells::Unguarded(shell), "unguarded")
    }

    fn of(scene: &'s ClientScene, shell: Shells, name: &str) -> Tested<Self> {
        let output = scene.home().join(name);
        let mut agent = Self {
            scene,
            shell,
            output,
        };
        let home = scene.home();
        agent.tell(&format!("export HOME={}; cd \"$HOME\"", home.display()))?;
        Ok(agent)
    }

    pub(crate) fn tell(&mut self, line: &str) -> Tested {
        match &mut self.shell {
            Shells::Guarded(shell) => shell.tell(line)?,
            Shells::Unguarded(shell) => shell.write(&format!("{line}\n"))?,
        }
        Ok(())
    }

    /// Reads on until a line contains `text`, and gives that line.
    pub(crate) fn line_with(&mut self, text: &str) -> Tested<String> {
        Ok(self.next_with(text)?)
    }

    fn next_with(&mut self, text: &str) -> anyhow::Result<String> {
        match &mut self.shell {
            Shells::Guarded(shell) => shell.line_with(text),
            Shells::Unguarded(shell) => shell.line_with(text, PATIENCE),
        }
    }

    /// Begins something.
    pub(crate) fn begin(&mut self, line: &str) -> Tested {
        let output = self.output.display().to_string();
        self.tell(&format!(
            "( {line} ) >{output} 2>&1 </dev/null; echo status $?"
        ))
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> Tested<Done> {
        let status = self.next_with("status ");
        let text = fs::read(&self.output)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let status = status.with_context(|| format!("so far: {text}"))?;
        let code = status.trim().strip_prefix("status ");
        let code = code.with_context(|| format!("no status: {status}"))?;
        Ok(Done {
            code: code.parse()?,
            text,
        })
    }

    /// Does something, to its end.
    pub(crate) fn run(&mut self, line: &str) -> Tested<Done> {
        self.begin(line)?;
        self.end()
    }

    /// Does something while a person says yes to each of these requests, as they come.
    pub(crate) fn run_with_yes(&mut self, line: &str, requests: &[&str]) -> Tested<Done> {
        let _person = self.somebody_looks()?;
        self.begin(line)?;
        for request in requests {
            self.scene.say_yes_to(request)?;
        }
        self.end()
    }

    /// A person who sees each request at once: this begins with one that nobody waits for, for there to be something to see.
    fn somebody_looks(&mut self) -> Tested<Running> {
        self.run(&format!("curl -sS -X DELETE {}", url(9, "/knock")))?
            .stopped();
        let follow = self.scene.daemon.agent(["pending", "--follow"]);
        let mut person = follow.spawn()?;
        person.line_with("/knock", PATIENCE)?;
        Ok(person)
    }
}
