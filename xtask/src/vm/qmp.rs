//! The little of QEMU's machine protocol that saving a machine takes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

pub(super) struct Qmp {
    commands: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Qmp {
    pub(super) fn new(socket: UnixStream) -> Result<Self> {
        let mut qmp = Self {
            answers: BufReader::new(socket.try_clone()?),
            commands: socket,
        };
        qmp.line().context("qemu greets nobody")?;
        qmp.ask("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Has it do something, and gives the answer.
    pub(super) fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.commands, "{line}")?;
        loop {
            // Events come in between.
            let mut answer = self.line()?;
            if let Some(error) = answer.get("error") {
                bail!("qemu refuses {command}: {error}");
            }
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("qemu has ended")
    }
}
