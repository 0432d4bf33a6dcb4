//! An agent in a session of the installed guardd, who does what it is told.

use std::path::PathBuf;
use std::process::Command;

use guard_lab::{AGENT, Attempt, Network, PATIENCE, Report, Running, Tested, V4, bins};
use serde_json::Value;

use super::machine::guard;

/// A shell under `guard run`, as an ordinary user, with production behind its network.
pub(crate) struct Agent {
    running: Running,
    probe: PathBuf,
    /// The session's id.
    pub(crate) session: String,
}

impl Agent {
    /// One under the policy `asks`.
    pub(crate) fn start(network: &Network) -> Self {
        let mut running = Running::start(run(network).arg("sh")).unwrap();
        running.write("echo ready $GUARD_SESSION\n").unwrap();
        let ready = running.line_with("ready", PATIENCE).unwrap();
        Self {
            session: ready.split_whitespace().nth(1).unwrap().to_owned(),
            probe: bins::for_everybody("guard-lab", network.tag()).unwrap(),
            running,
        }
    }

    /// A hole of its session's to production, for an hour.
    pub(crate) fn hole(&self, ports: &[&str]) -> Value {
        let session = ["--session", &self.session, "--for", "1h"];
        guard(&[&["open", V4], ports, &session].concat())
    }

    /// Whether an attempt by it is answered.
    pub(crate) fn reaches(&mut self, to: &str, port: u16) -> bool {
        self.begin(&Attempt::tcp(to, port));
        let line = self.running.line_with("\"ok\"", PATIENCE).unwrap();
        Report::parse(&line).unwrap().ok
    }

    /// Has it try again and again, in the background, until its session ends.
    pub(crate) fn keep_trying(&mut self, to: &str, port: u16) -> Tested {
        let probe = self.probe.display();
        let line = format!("{probe} probe keep {to} {port} >/dev/null 2>&1 &\n");
        self.running.write(&line)?;
        Ok(())
    }

    pub(crate) fn begin(&mut self, attempt: &Attempt) {
        let args = attempt.args().join(" ");
        let line = format!("{} {args}\n", self.probe.display());
        self.running.write(&line).unwrap();
    }
}

/// `guard run --policy asks --`, by the ordinary user; the command is still to be added.
pub(crate) fn run(network: &Network) -> Command {
    let mut guard = network.dev().command_as(AGENT, "/usr/bin/guard");
    guard.args(["run", "--policy", "asks", "--"]);
    guard
}

/// Whether the ordinary user reaches something without any guard.
pub(crate) fn outside(network: &Network, to: &str, port: u16) -> bool {
    Attempt::tcp(to, port)
        .outside(network.dev(), AGENT)
        .unwrap()
        .ok
}
