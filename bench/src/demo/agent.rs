//! The agent: a shell inside `guard run`, which does as it is told.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Attempt, Daemon, PATIENCE, Running, Tag, bins};

use super::story::Story;
use super::{PORT, SERVER};
use xtask::shell::which;

/// The request that must not reach production unasked.
pub(super) const JOB: &str = "PUT /api/jobs/thumbnailGeneration";
/// What the shell says after each command.
const STATUS: &str = "exit status ";

/// The command that sends [`JOB`].
pub(super) struct Put {
    /// As a person would type it.
    pub(super) text: String,
    /// As the shell runs it.
    pub(super) shell: String,
}

impl Put {
    /// With curl, where it is, else with the lab's own probe.
    pub(super) fn new(tag: &Tag) -> Result<Self> {
        let path = JOB.trim_start_matches("PUT ");
        if which("curl").is_some() {
            let text = format!("curl -sS -m 5 -X PUT http://{SERVER}:{PORT}{path}");
            let shell = format!("{text} 2>&1");
            return Ok(Self { text, shell });
        }
        let arguments = Attempt::new("put", SERVER, PORT)
            .other(path)
            .args()
            .join(" ");
        let program = bins::for_everybody("guard-lab", tag)?;
        Ok(Self {
            text: format!("guard-lab {arguments}"),
            shell: format!("{} {arguments} 2>&1", program.display()),
        })
    }
}

/// How a connection that was kept open ended.
pub(super) struct Cut {
    pub(super) echoes: usize,
    pub(super) report: String,
}

pub(super) struct Agent {
    shell: Running,
    put: Put,
    probe: String,
    /// Where it is, behind its name.
    at: String,
}

impl Agent {
    /// Starts the shell in a session, as an ordinary user; `at` says on which machine, such as `@build-1`.
    pub(super) fn start(story: &Story, daemon: &Daemon, at: &str) -> Result<Self> {
        story.command(
            &format!("developer{at}"),
            "guard run --policy demo.toml -- sh",
        );
        let policy = daemon.policy_dir().join("demo.toml");
        let guard = daemon.user(AGENT, ["run", "--policy"]).args([policy]);
        let mut agent = Self {
            shell: guard.args(["--", "sh"]).spawn()?,
            put: Put::new(daemon.tag())?,
            probe: bins::for_everybody("guard-lab", daemon.tag())?
                .display()
                .to_string(),
            at: at.to_owned(),
        };
        let shown = agent.types(story, "echo session $GUARD_SESSION, user $(id -u)")?;
        story.output(&shown.lines.join("\n"));
        Ok(agent)
    }

    /// Sends the request; gives the exit status.
    pub(super) fn put(&mut self, story: &Story) -> Result<i32> {
        self.command(story, &self.put.text);
        let shell = self.put.shell.clone();
        let done = self.runs(&shell, PATIENCE)?;
        story.output(&done.lines.join("\n"));
        story.output(&format!("({STATUS}{})", done.status));
        Ok(done.status)
    }

    /// Runs `curl`; gives the exit status.
    pub(super) fn curl(&mut self, story: &Story, args: &str) -> Result<i32> {
        let text = format!("curl -sS -m 5 {args}");
        self.command(story, &text);
        let done = self.runs(&format!("{text} 2>&1"), PATIENCE)?;
        story.output(&done.lines.join("\n"));
        Ok(done.status)
    }

    /// Begins to send the request, and does not wait for the end.
    pub(super) fn begin_put(&mut self, story: &Story) -> Result<()> {
        // It gives up by itself before the demo does.
        let shell = self.put.shell.replace("-m 5", "-m 20");
        self.command(story, &self.put.text.replace("-m 5", "-m 20"));
        self.begin(&shell)
    }

    /// What came of [`begin_put`](Self::begin_put); gives the exit status.
    pub(super) fn end_put(&mut self, story: &Story) -> Result<i32> {
        let done = self.end(PATIENCE).context("in the request that waited")?;
        story.output(&done.lines.join("\n"));
        Ok(done.status)
    }

    /// Opens a connection and keeps it until it is cut.
    pub(super) fn hold_open(&mut self, story: &Story, patience: Duration) -> Result<Cut> {
        let arguments = Attempt::new("hold-open", SERVER, PORT).args().join(" ");
        self.command(story, &format!("guard-lab {arguments}"));
        let command = format!("{} {arguments}", self.probe);
        let mut done = self.runs(&command, patience + PATIENCE)?;
        let report = done.lines.pop().context("it reported nothing")?;
        ensure!(done.status == 1, "it ended with {}: {report}", done.status);
        let echoes = done.lines.len();
        Ok(Cut { echoes, report })
    }

    /// Ends the session.
    pub(super) fn leave(mut self, story: &Story) -> Result<()> {
        self.command(story, "exit");
        self.shell.write("exit 0\n")?;
        let status = self.shell.wait()?;
        ensure!(status.success(), "guard run ended with {status}");
        Ok(())
    }

    fn command(&self, story: &Story, command: &str) {
        story.command(&format!("agent{}", self.at), command);
    }

    fn types(&mut self, story: &Story, command: &str) -> Result<Done> {
        self.command(story, command);
        self.runs(command, PATIENCE)
    }

    fn runs(&mut self, command: &str, patience: Duration) -> Result<Done> {
        self.begin(command)?;
        self.end(patience)
            .with_context(|| format!("in the agent's {command}"))
    }

    fn begin(&mut self, command: &str) -> Result<()> {
        self.shell
            .write(&format!("{command}; echo \"{STATUS}$?\"\n"))
    }

    fn end(&mut self, patience: Duration) -> Result<Done> {
        let deadline = Instant::now() + patience;
        let mut lines = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.shell.line(left)?;
            if let Some(status) = line.strip_prefix(STATUS) {
                let status = status.parse()?;
                return Ok(Done { lines, status });
            }
            lines.push(line);
        }
    }
}

/// What a command of the agent printed, and how it ended.
struct Done {
    lines: Vec<String>,
    status: i32,
}
