//! What scripts and other programs rely on: the commands, their exit statuses, what they print as JSON,
//! and the language of policies. One test for each promise, as a script would call it.
//!
//! Needs root and a kernel that the lab finds fit.
mod answers;
mod applied;
mod authority;
mod decoys;
mod discover;
mod embedded;
mod guardd;
mod inside;
mod json;
mod policy;
mod project;
mod run;
mod sealed;
mod secrets;
mod text;
mod told;
mod tunnels;
mod unwatched;

use std::path::PathBuf;

use guard_lab::{ALLOWS, Output, PATIENCE, Running, Scene, Tested, V4, holds_scene};
use serde_json::Value;

use crate::together::end_sessions;

pub(crate) const POLICY: &str = r#"version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
max_hole = "30m"
reason = "it is production"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
reason = "nobody goes there"
"#;

/// One whose guardd knows [`POLICY`] as `asks`.
struct Lab {
    scene: Scene,
}

holds_scene!(Lab);

/// What a command in a session printed, and how it ended.
#[derive(Debug)]
struct Said {
    text: String,
    status: i32,
}

impl Lab {
    fn new() -> Tested<Self> {
        let scene = Scene::with(|daemon| {
            let daemon = daemon.policy("asks", POLICY);
            let daemon = daemon.policy("open", ALLOWS);
            // The system's settings, for /etc/hosts; its name servers are out of reach from that network.
            daemon.config("")
        })?;
        Ok(Self { scene })
    }

    /// `guard` as root.
    fn root(&self, args: &[&str]) -> Tested<Output> {
        Ok(self.daemon.root(args).run()?)
    }

    /// `guard` as the agent's user, outside any session.
    fn agent(&self, args: &[&str]) -> Tested<Output> {
        Ok(self.daemon.agent(args).run()?)
    }

    /// A session in which a shell does what it is told, line by line.
    fn shell(&self) -> Tested<Running> {
        self.shell_under("asks")
    }

    fn shell_under(&self, policy: &str) -> Tested<Running> {
        let run = ["run", "--policy", policy, "--", "sh"];
        let mut shell = self.daemon.agent(run).spawn()?;
        assert_eq!(say(&mut shell, "true")?.status, 0);
        Ok(shell)
    }

    /// `guard`, as the agent's shell calls it.
    fn guard(&self) -> Tested<String> {
        self.program("guard")
    }

    /// An attempt to connect, as the agent's shell makes it: prints a line that says whether it was answered.
    fn tcp(&self, to: &str) -> Tested<String> {
        Ok(format!("{} probe tcp {to} 443", self.program("guard-lab")?))
    }

    /// Whether a session's shell reaches an address.
    fn reaches(&self, shell: &mut Running, to: &str) -> Tested<bool> {
        let said = say(shell, &self.tcp(to)?)?;
        Ok(said.text.contains("\"ok\":true"))
    }

    /// The request that comes of an attempt.
    fn asked(&self, shell: &mut Running) -> Tested<Value> {
        assert!(!self.reaches(shell, V4)?);
        let mut pending = self.pending()?;
        assert_eq!(pending.len(), 1, "{pending:?}");
        Ok(pending.remove(0))
    }

    /// Ends all sessions, with what was asked about and opened for them.
    fn end_sessions(&self) -> Tested {
        end_sessions(&self.daemon)
    }

    fn program(&self, name: &str) -> Tested<String> {
        Ok(self.daemon.program(name)?.display().to_string())
    }

    /// A file that every user can read.
    fn file(&self, name: &str, text: &str) -> Tested<PathBuf> {
        let path = self.daemon.dir().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

/// Has a session's shell run a command to its end.
fn say(shell: &mut Running, command: &str) -> Tested<Said> {
    shell.write(&format!("({command}) 2>&1; echo \"--status $?\"\n"))?;
    let mut text = String::new();
    loop {
        let line = shell.line(PATIENCE)?;
        if let Some((before, status)) = line.split_once("--status ") {
            text.push_str(before);
            let status = status.parse()?;
            return Ok(Said { text, status });
        }
        text.push_str(&line);
        text.push('\n');
    }
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}
