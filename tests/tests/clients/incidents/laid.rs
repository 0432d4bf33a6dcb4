//! An incident's files, laid for an agent, and what it does with them.

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use guard_lab::{AGENT, Json as _, Output, PATIENCE, Running, Tested, eventually, exec, mounts};
use serde_json::Value;

use super::Incident;
use super::scene::IncidentScene;
use crate::watch::terminal::Tmux;

/// What was done, and what becomes of it. All lines are of shell, in the project's directory.
#[derive(Clone, Debug)]
pub(super) struct Play {
    /// Where it is told.
    pub(super) thread: &'static str,
    /// What was done.
    pub(super) done: String,
    /// What goes on as before under the rule that stops it: none, where each connection is asked about.
    pub(super) goes_on: Option<String>,
    /// The rule that stops it.
    pub(super) rule: &'static str,
    /// What that rule says.
    pub(super) verdict: &'static str,
}

/// The files of an incident, in a project and a home.
pub(super) struct Laid<'s> {
    scene: &'s IncidentScene,
    pub(super) incident: Incident,
    dir: PathBuf,
    /// The policy that its agent runs under.
    policy: String,
}

/// What a line of shell comes to.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) text: String,
}

/// A shell that goes on.
pub(super) struct Session(Running);

impl Session {
    /// Runs a line, to its end.
    pub(super) fn run(&mut self, line: &str) -> Tested<Said> {
        self.0.write(&format!(
            "( {line}\n) </dev/null 2>&1; echo \"ended: $?\"\n"
        ))?;
        let mut text = String::new();
        loop {
            let line = self.0.line(PATIENCE)?;
            // What did not end its last line is before it.
            if let Some((rest, code)) = line.split_once("ended: ") {
                let code = code.trim().parse()?;
                text.push_str(rest);
                return Ok(Said { code, text });
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
}

impl<'s> Laid<'s> {
    pub(super) fn new(scene: &'s IncidentScene, incident: Incident) -> Tested<Self> {
        let name: String = incident
            .thread
            .chars()
            .take_while(|c| *c != ' ')
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let laid = Self {
            scene,
            dir: scene.dir.join(&name),
            incident,
            policy: name,
        };
        fs::create_dir(&laid.dir)?;
        for own in [laid.project(), laid.home()] {
            fs::create_dir(&own)?;
            chown(&own, Some(AGENT), Some(AGENT))?;
        }
        for (path, text) in &laid.incident.files {
            laid.lay(path, text)?;
        }
        // A user without a name can't use ssh.
        let user = format!(
            "agent:x:{AGENT}:{AGENT}::{}:/bin/sh\n",
            laid.home().display()
        );
        let passwd = fs::read_to_string("/etc/passwd")? + &user;
        fs::write(laid.dir.join("passwd"), passwd)?;
        Ok(laid)
    }

    /// A file of the agent's own.
    fn lay(&self, path: &str, text: &str) -> Tested {
        let (top, below) = match path.strip_prefix("~/") {
            Some(below) => (self.home(), below),
            None => (self.project(), path),
        };
        let file = top.join(below);
        fs::create_dir_all(file.parent().unwrap())?;
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        for path in file.ancestors().take_while(|path| *path != top) {
            chown(path, Some(AGENT), Some(AGENT))?;
        }
        Ok(())
    }

    fn project(&self) -> PathBuf {
        self.dir.join("project")
    }

    fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// A program of the agent's, with nothing in its environment but what is said here and what the incident's had.
    fn command(&self, program: impl AsRef<OsStr>, words: &[&str]) -> Tested<Command> {
        let mut command = self.scene.daemon.on_machine(AGENT, program);
        command.args(words);
        for (file, place) in [
            (self.scene.file("resolv.conf"), "/etc/resolv.conf"),
            (self.dir.join("passwd"), "/etc/passwd"),
        ] {
            command = mounts::with_file(&command, &file, place);
        }
        command
            .env_clear()
            .env("PATH", IncidentScene::path()?)
            .env("LC_ALL", "C")
            .env("HOME", self.home())
            .env("GUARD_SOCKET", self.scene.daemon.socket())
            .envs(self.scene.environment.iter().map(|(key, text)| (key, text)))
            .envs(self.incident.environment.iter().copied())
            .current_dir(self.project())
            .stderr(Stdio::piped());
        Ok(command)
    }

    fn guard(&self, words: &[&str]) -> Tested<Output> {
        let mut command = self.command(self.scene.daemon.program("guard")?, words)?;
        let output = exec::output(&mut command)?;
        let said = Output {
            status: output.status,
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        };
        let shown = format!("{said:?}").to_lowercase();
        assert!(!shown.contains("hunter2"), "{said:?}");
        Ok(said)
    }

    /// That its place is named, that nothing starts while it is open, and that a policy is written then.
    pub(super) fn is_told_first(&mut self) -> Tested {
        let found = self.guard(&["discover", "--json"])?;
        let found = found.json()?;
        assert_eq!(found["complete"], true, "{found}");
        let at = |one: &Value| {
            let [host, ports] = ["host", "ports"].map(|key| one[key].as_str().unwrap());
            format!("{host}:{}", ports.trim_start_matches("tcp/"))
        };
        let items = found["items"].list()?;
        let named =
            |one: &&Value| one["label"] == self.incident.label && at(one) == self.incident.place;
        let named = items.iter().find(named);
        let effect =
            named.unwrap_or_else(|| panic!("it is not named: {found}"))["effect"].text()?;
        let is_open =
            |one: &&Value| one["label"] == "production" && one["now"]["verdict"] == "allow";
        let open = items.iter().find(is_open).map(at);
        let started = self.guard(&["run", "--policy", "default", "--", "touch", "started"])?;
        assert_eq!(self.project().join("started").exists(), open.is_none());
        match open {
            Some(open) => {
                assert_eq!(started.code(), Some(125), "{started:?}");
                assert!(started.stderr.contains(&open), "{open}: {started:?}");
            }
            None => assert_eq!(started.code(), Some(0), "{started:?}"),
        }
        // Without a person, a name gets a question, but for what is known as a platform's.
        let named = named.unwrap_or(&Value::Null);
        let is_named = named["host"].text()?.parse::<IpAddr>().is_err()
            && named["proposed"]["action"] == "read-only"
            && named["service"] != "platform";
        match effect {
            // The policy that ships says it already.
            "same" => "default".clone_into(&mut self.policy),
            _ if is_named => self.write_at_a_terminal()?,
            _ => {
                let written = self.guard(&["discover", "--write", &self.policy, "--yes"])?;
                assert_eq!(written.code(), Some(0), "{written:?}");
                assert!(written.stdout.contains("Written: "), "{written:?}");
            }
        }
        Ok(())
    }

    /// A person says yes to what reads wherever a name leads.
    fn write_at_a_terminal(&self) -> Tested {
        let tmux = Tmux::start(&self.dir);
        let window = tmux.window_of("write", 300, 60);
        window.enter(&format!("cd '{}'", self.project().display()));
        let guard = self
            .scene
            .daemon
            .agent(["discover", "--write", &self.policy]);
        let mut guard = guard.env("HOME", self.home());
        for (key, text) in self.incident.environment.iter().copied() {
            guard = guard.env(key, text);
        }
        window.guard(&guard);
        let mut answered = 0;
        loop {
            let asked = |screen: &str| screen.matches("? [y/N]").count();
            let screen = window.expect_that("a question, or what was written", |screen| {
                asked(screen) > answered || screen.contains("Written: ")
            });
            if screen.contains("Written: ") {
                // The last question is about all of it.
                assert!(answered > 0, "{screen}");
                return Ok(());
            }
            answered += 1;
            window.enter("y");
        }
    }

    /// An agent's shell under its policy, and its session.
    pub(super) fn session(&self) -> Tested<(Session, String)> {
        let run = ["run", "--policy", &self.policy, "--", "sh"];
        let mut command = self.command(self.scene.daemon.program("guard")?, &run)?;
        let mut session = Session(Running::start(&mut command)?);
        let id = session.run("echo $GUARD_SESSION")?.text.trim().to_owned();
        Ok((session, id))
    }

    /// The same shell without the guard, of somebody who trusts the company.
    pub(super) fn unguarded(&self) -> Tested<Session> {
        let company = self.scene.file("company.pem");
        let mut command = self.command("sh", &[])?;
        for bundle in ["CURL_CA_BUNDLE", "SSL_CERT_FILE"] {
            command.env(bundle, &company);
        }
        Ok(Session(Running::start(&mut command)?))
    }

    /// That what was done is stopped by its rule, that what that leaves alone goes on, and that it is done without the guard.
    pub(super) fn play(&self, play: &Play, has_arrived: impl Fn() -> Tested<bool>) -> Tested {
        let (mut session, id) = self.session()?;
        self.is_stopped(&mut session, &id, play)?;
        assert!(!has_arrived()?, "it arrived under the guard");
        drop(session);
        let done = self.unguarded()?.run(&play.done)?;
        assert_eq!(done.code, 0, "without the guard: {done:?}");
        eventually("it has arrived without the guard", &has_arrived)?;
        Ok(())
    }

    /// That it is stopped, and what is asked then.
    pub(super) fn is_stopped(&self, session: &mut Session, id: &str, play: &Play) -> Tested<Value> {
        if let Some(line) = &play.goes_on {
            let said = session.run(line)?;
            assert_eq!(said.code, 0, "{line}: {said:?}");
        }
        let stopped = session.run(&play.done)?;
        assert_ne!(stopped.code, 0, "{stopped:?}");
        let request = self.request(id)?;
        let by = [&request["rule"], &request["verdict"]].map(|word| word.as_str().unwrap());
        assert_eq!(by, [play.rule, play.verdict], "{request}: {stopped:?}");
        Ok(request)
    }

    /// The first that a session asked for.
    fn request(&self, session: &str) -> Tested<Value> {
        let mut request = None;
        let is_there = || -> Tested<_> {
            let mut all = self.scene.daemon.logged("request")?.into_iter();
            request = all.find(|one| one["session"] == session);
            Ok(request.is_some())
        };
        eventually("a person is asked", is_there)?;
        Ok(request.unwrap())
    }
}
