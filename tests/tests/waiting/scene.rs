//! A session whose connections wait, and somebody who watches.

use std::path::PathBuf;

use anyhow::Context as _;
use guard_lab::{Json as _, Production, Scene, Shell, Tested, Watcher, eventually, holds_scene};
use serde_json::Value;

/// Why guardd ended a connection that was held until its deadline, in its log.
pub(crate) const NOBODY_IN_TIME: &str = "nobody answered in time";

/// What no hole opens.
pub(crate) const DENIED: &str = "192.0.2.99";

pub(crate) const POLICY: &str = r#"
version = 1
name = "asks"
default = "allow"
hold = "60s"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
ports = ["tcp/443", "tcp/8080", "udp/53"]
action = "confirm"
reason = "it is production"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"
"#;

const CLIENT: &str = include_str!("client.py");

/// One with production, and a client.
pub(crate) struct HoldScene {
    scene: Scene,
    pub(crate) production: Production,
    client: PathBuf,
}

holds_scene!(HoldScene);

/// What became of a connection.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) ok: bool,
    pub(crate) error: String,
}

impl HoldScene {
    pub(crate) fn new() -> Tested<Self> {
        Self::with_policy(POLICY)
    }

    /// One with somebody who watches, and an agent's shell.
    pub(crate) fn watched() -> Tested<(Self, Watcher, Shell)> {
        let scene = Self::new()?;
        let (watcher, shell) = (scene.watcher()?, scene.shell()?);
        Ok((scene, watcher, shell))
    }

    /// Connections there wait for that time.
    pub(crate) fn holding(hold: &str) -> Tested<Self> {
        Self::with_policy(&POLICY.replace("60s", hold))
    }

    fn with_policy(policy: &str) -> Tested<Self> {
        let scene = Scene::new("asks", policy)?;
        let client = scene.daemon.dir().join("client.py");
        std::fs::write(&client, CLIENT)?;
        Ok(Self {
            production: scene.production()?,
            scene,
            client,
        })
    }

    /// An agent's shell.
    pub(crate) fn shell(&self) -> Tested<Shell> {
        self.shell_with(&[])
    }

    /// One that was started with these arguments, too.
    pub(crate) fn shell_with(&self, args: &[&str]) -> Tested<Shell> {
        let run = self.daemon.agent(["run", "--policy", "asks"]).args(args);
        Ok(Shell::run_by(&self.daemon, run)?)
    }

    /// The client's program.
    pub(crate) fn client(&self) -> std::path::Display<'_> {
        self.client.display()
    }

    /// Has an agent connect.
    pub(crate) fn begin(&self, shell: &mut Shell, what: &str) -> Tested {
        let client = self.client.display();
        shell.tell(&format!("python3 {client} {what} &"))?;
        Ok(())
    }

    /// The one request that connections wait for.
    pub(crate) fn held(&self) -> Tested<Value> {
        let mut pending = Vec::new();
        let waits = eventually("it waits", || {
            pending = self.pending()?;
            Ok(pending.iter().any(|one| one["held"] == true))
        });
        waits.with_context(|| format!("{pending:?}"))?;
        let held = pending.into_iter().find(|one| one["held"] == true);
        Ok(held.context("nothing waits")?)
    }

    pub(crate) fn answer(&self, args: &[&str]) -> Tested {
        self.daemon.root(args).run()?.success()?;
        Ok(())
    }

    /// How many ends of connections guardd has written that were held until their deadline.
    pub(crate) fn held_in_vain(&self) -> Tested<usize> {
        let denied = self.daemon.logged("denied")?;
        let in_vain = denied.iter().filter(|one| one["why"] == NOBODY_IN_TIME);
        Ok(in_vain.count())
    }

    /// How much of what goes there has reached production.
    pub(crate) fn reached(&self, to: &str, port: u16) -> Tested<usize> {
        Ok(self.production.reached_at(to, port)?.len())
    }
}

/// The id of a request or a hole.
pub(crate) fn id(of: &Value) -> Tested<&str> {
    let of = of.get(0).unwrap_or(of);
    Ok(of["id"].text()?)
}

/// What the shell says next, which is not how a connection of its clients ended: none has, so far.
pub(crate) fn none_has_ended(shell: &mut Shell) -> Tested {
    const NONE: &str = "none has ended";
    shell.tell(&format!("echo {NONE}"))?;
    assert_eq!(shell.line_with("")?, NONE);
    Ok(())
}

/// What the client prints next.
pub(crate) fn ended(shell: &mut Shell) -> Tested<Ended> {
    let line = shell.line_with("\"ok\"")?;
    let told: Value = serde_json::from_str(line.trim())?;
    Ok(Ended {
        ok: told["ok"] == true,
        error: told["error"].as_str().unwrap_or_default().to_owned(),
    })
}
