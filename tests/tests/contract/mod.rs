//! What scripts and other programs rely on: the commands, their exit statuses, what they print as JSON,
//! and the language of policies. One test for each promise, as a script would call it.
//!
//! Needs root and a kernel that the lab finds fit.
mod answers;
mod applied;
mod authority;
mod discover;
mod embedded;
mod explain;
mod guardd;
mod inside;
mod json;
mod policy;
mod project;
mod run;
mod secrets;
mod text;
mod told;
mod tunnels;

use std::path::PathBuf;

use guard_lab::PATIENCE;
use guard_lab::{Daemon, Network, Output, Production, Running, V4};
use serde_json::Value;

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

/// A network, and a daemon on the developer's machine that knows [`POLICY`] as `asks`.
struct Lab {
    network: Network,
    daemon: Daemon,
}

/// What a command in a session printed, and how it ended.
#[derive(Debug)]
struct Said {
    text: String,
    status: i32,
}

impl Lab {
    fn new() -> Self {
        let network = Network::new().unwrap();
        let daemon = Daemon::in_network(&network)
            .policy("asks", POLICY)
            .policy("open", "version = 1\ndefault = \"allow\"\n")
            // The system's settings, for /etc/hosts; its name servers are out of reach from that network.
            .config("")
            .start()
            .unwrap();
        Self { network, daemon }
    }

    fn production(&self) -> Production {
        Production::start(&self.network).unwrap()
    }

    /// `guard` as root.
    fn root(&self, args: &[&str]) -> Output {
        self.daemon.root(args).run().unwrap()
    }

    /// `guard` as the agent's user, outside any session.
    fn agent(&self, args: &[&str]) -> Output {
        self.daemon.agent(args).run().unwrap()
    }

    /// A session in which a shell does what it is told, line by line.
    fn shell(&self) -> Running {
        self.shell_under("asks")
    }

    fn shell_under(&self, policy: &str) -> Running {
        let run = ["run", "--policy", policy, "--", "sh"];
        let mut shell = self.daemon.agent(run).spawn().unwrap();
        assert_eq!(say(&mut shell, "true").status, 0);
        shell
    }

    /// `guard`, as the agent's shell calls it.
    fn guard(&self) -> String {
        self.program("guard")
    }

    /// An attempt to connect, as the agent's shell makes it: prints a line that says whether it was answered.
    fn tcp(&self, to: &str) -> String {
        format!("{} probe tcp {to} 443", self.program("guard-lab"))
    }

    /// Whether a session's shell reaches an address.
    fn reaches(&self, shell: &mut Running, to: &str) -> bool {
        let said = say(shell, &self.tcp(to));
        said.text.contains("\"ok\":true")
    }

    /// The request that comes of an attempt.
    fn asked(&self, shell: &mut Running) -> Value {
        assert!(!self.reaches(shell, V4));
        let pending = self.daemon.json(["pending"]).unwrap();
        assert_eq!(pending.as_array().unwrap().len(), 1, "{pending}");
        pending[0].clone()
    }

    fn program(&self, name: &str) -> String {
        let path = self.daemon.program(name).unwrap();
        path.display().to_string()
    }

    /// A file that every user can read.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.daemon.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// Has a session's shell run a command to its end.
fn say(shell: &mut Running, command: &str) -> Said {
    shell
        .write(&format!("({command}) 2>&1; echo \"--status $?\"\n"))
        .unwrap();
    let mut text = String::new();
    loop {
        let line = shell.line(PATIENCE).unwrap();
        if let Some((before, status)) = line.split_once("--status ") {
            text.push_str(before);
            let status = status.parse().unwrap();
            return Said { text, status };
        }
        text.push_str(&line);
        text.push('\n');
    }
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}
