//! A guardd, and an agent in a session of it.

pub(crate) use guard_lab::PATIENCE;
use guard_lab::{DaemonBuilder, Running, Scene, Tested, V4, holds_scene};
use serde_json::{Value, json};

use crate::agents::{PERSON, policy};

/// The policy, where what is asked about may be read from, and what writes waits for long.
pub(crate) fn patient() -> String {
    policy()
        .replace("\"confirm\"", "\"read-only\"")
        .replace("\"0s\"", "\"10m\"")
}

/// One whose agents speak of what was stopped.
pub(crate) struct AgentScene {
    scene: Scene,
}

holds_scene!(AgentScene);

impl AgentScene {
    pub(crate) fn new() -> Tested<Self> {
        Self::with("")
    }

    /// One whose guardd has these settings.
    pub(crate) fn with(config: &str) -> Tested<Self> {
        Self::under(&policy(), config)
    }

    /// One that has this policy as `asks`.
    pub(crate) fn under(policy: &str, config: &str) -> Tested<Self> {
        Self::of(policy, |daemon| daemon.config(config))
    }

    /// One that is built on like this.
    pub(crate) fn of(
        policy: &str,
        with: impl FnOnce(DaemonBuilder) -> DaemonBuilder,
    ) -> Tested<Self> {
        let scene = Scene::with(|daemon| with(daemon.policy("asks", policy)))?;
        Ok(Self { scene })
    }

    pub(crate) fn program(&self, name: &str) -> Tested<String> {
        let path = self.daemon.program(name)?;
        Ok(path.display().to_string())
    }

    /// A line for a shell that tries to connect, and says nothing.
    pub(crate) fn attempt(&self, to: &str) -> Tested<String> {
        Ok(format!(
            "{} probe tcp {to} 443 >/dev/null",
            self.program("guard-lab")?
        ))
    }

    /// A session's shell that does this.
    pub(crate) fn session(&self, script: &str) -> Tested<Running> {
        let run = ["run", "--policy", "asks", "--", "sh", "-c", script];
        Ok(self.daemon.user(PERSON, run).spawn()?)
    }

    /// A session that sends a request which writes, and waits for the answer.
    pub(crate) fn writing(&self, path: &str) -> Tested<Running> {
        let head = format!("PUT {path} HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 1\\r\\n\\r\\nx");
        let write = format!("exec 3<>/dev/tcp/{V4}/80; printf '{head}' >&3; timeout 60 cat <&3");
        self.session(&format!("exec bash -c '{}'", write.replace('\'', "'\\''")))
    }

    /// An agent that has tried to reach these, and speaks with `guard mcp`.
    pub(crate) fn mcp(&self, tried: &[&str]) -> Tested<Mcp> {
        let tried = tried.iter().map(|to| Ok(self.attempt(to)? + "; "));
        let tried = tried.collect::<Tested<String>>()?;
        let guard = self.program("guard")?;
        let mut mcp = Mcp::over(self.session(&format!("{tried} exec {guard} mcp"))?);
        mcp.begin()?;
        Ok(mcp)
    }
}

/// A client of the Model Context Protocol, as it is on a pipe: a JSON object a line.
pub(crate) struct Mcp {
    pub(crate) running: Running,
    next: u64,
}

impl Mcp {
    pub(crate) fn over(running: Running) -> Self {
        Self { running, next: 0 }
    }

    /// The server's account of itself.
    pub(crate) fn begin(&mut self) -> Tested<Value> {
        let about = self.ask(
            "initialize",
            json!({
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"}
            }),
        )?;
        self.tell("notifications/initialized", json!({}))?;
        Ok(about["result"].clone())
    }

    pub(crate) fn tell(&mut self, method: &str, params: Value) -> Tested {
        self.line(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string())
    }

    pub(crate) fn line(&mut self, line: &str) -> Tested {
        self.running.write(&format!("{line}\n"))?;
        Ok(())
    }

    /// Sends a request, and gives its id.
    pub(crate) fn send(&mut self, method: &str, params: Value) -> Tested<u64> {
        self.next += 1;
        let (id, jsonrpc) = (self.next, "2.0");
        let request = json!({"jsonrpc": jsonrpc, "id": id, "method": method, "params": params});
        self.line(&request.to_string())?;
        Ok(id)
    }

    /// Reads on until the answer to a request comes.
    pub(crate) fn answer(&mut self, id: u64) -> Tested<Value> {
        loop {
            let line = self.running.line(PATIENCE)?;
            let answer: Value = serde_json::from_str(&line)?;
            if answer["id"] == id {
                return Ok(answer);
            }
        }
    }

    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Tested<Value> {
        let id = self.send(method, params)?;
        self.answer(id)
    }

    /// The text that a tool answers with, and whether it could be done.
    pub(crate) fn tool(&mut self, name: &str, arguments: Value) -> Tested<(String, bool)> {
        let answer = self.ask("tools/call", json!({"name": name, "arguments": arguments}))?;
        let result = &answer["result"];
        let text = result["content"][0]["text"].as_str();
        let text = text.unwrap_or_else(|| panic!("{answer}"));
        // Without its line breaks.
        let text: Vec<_> = text.split_whitespace().collect();
        Ok((text.join(" "), result["isError"] == false))
    }
}
