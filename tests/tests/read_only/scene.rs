//! A developer's machine, production behind it, and an agent that may only look.

use anyhow::Context as _;
pub(crate) use guard_lab::PATIENCE;
use guard_lab::{
    AGENT, Guard, Network, Output, Production, Running, Scene, Shell, Tested, exec, holds_scene,
};
use serde_json::Value;

use crate::https::scene::POLICY;
pub(crate) use crate::https::scene::{JOB, PHOTOS, START};

/// The same over IPv6.
pub(crate) const PHOTOS_V6: &str = "2001:db8:7::10";

/// Rules for some of its requests.
pub(crate) const RULES: &str = r#"
[[rule.http]]
method = ["POST"]
path = "/api/search/*"
action = "allow"

[[rule.http]]
method = ["DELETE"]
action = "deny"
"#;

/// One with a photo server in production.
pub(crate) struct PhotoScene {
    scene: Scene,
    pub(crate) production: Production,
}

holds_scene!(PhotoScene);

/// What a client was answered.
#[derive(Debug)]
pub(crate) struct ClientResponse {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl ClientResponse {
    fn of(output: &Output) -> Tested<Self> {
        let answered = output.stdout.rsplit_once('\n');
        let (body, status) = answered.with_context(|| format!("{output:?}"))?;
        Ok(Self {
            status: status.parse().with_context(|| format!("{output:?}"))?,
            body: body.to_owned(),
        })
    }

    pub(crate) fn json(&self) -> Tested<Value> {
        Ok(serde_json::from_str(&self.body).with_context(|| format!("{self:?}"))?)
    }
}

/// `curl` as people type it, with the status in a last line of its own.
pub(crate) fn curl<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["curl", "-sS", "-m", "20", "-w", "\n%{http_code}"];
    all.extend(args);
    all
}

pub(crate) fn url(host: &str, path: &str) -> String {
    if host.contains(':') {
        format!("http://[{host}]:8080{path}")
    } else {
        format!("http://{host}:8080{path}")
    }
}

impl PhotoScene {
    pub(crate) fn new() -> Tested<Self> {
        Self::with(&format!("{POLICY}{RULES}"))
    }

    pub(crate) fn with(policy: &str) -> Tested<Self> {
        Self::on(Network::new()?, policy, &[8080, 22])
    }

    /// On a network whose production listens at these ports.
    pub(crate) fn on(network: Network, policy: &str, ports: &[u16]) -> Tested<Self> {
        Ok(Self {
            production: Production::launch(&network, ports, &[], true)?,
            scene: Scene::on(network, |daemon| daemon.policy("photos", policy))?,
        })
    }

    pub(crate) fn shell(&self) -> Tested<Shell> {
        Ok(self.scene.shell("photos")?)
    }

    /// `curl` without the guard.
    pub(crate) fn outside(&self, args: &[&str]) -> Tested<ClientResponse> {
        let all = curl(args);
        let mut command = self.network.dev().command_as(AGENT, all[0]);
        ClientResponse::of(&exec::output(command.args(&all[1..]))?.into())
    }

    /// `curl` in a session.
    pub(crate) fn inside(&self, args: &[&str]) -> Tested<ClientResponse> {
        ClientResponse::of(&self.run(args).run()?)
    }

    /// Begins it.
    pub(crate) fn begin(&self, args: &[&str]) -> Tested<Running> {
        Ok(self.run(args).spawn()?)
    }

    fn run(&self, args: &[&str]) -> Guard<'_> {
        let all = ["run", "--policy", "photos", "--"];
        self.daemon.agent(all).args(curl(args))
    }

    /// The methods and paths that reached production as requests, in their order.
    pub(crate) fn arrived(&self) -> Tested<Vec<String>> {
        Ok(self.production.requested()?)
    }

    /// The bodies that reached it.
    pub(crate) fn bodies(&self) -> Tested<Vec<String>> {
        let requests = self.production.requests()?;
        let bodies = requests.iter().map(|one| one.text("body").to_owned());
        Ok(bodies.collect())
    }

    /// The one request that waits.
    pub(crate) fn request(&self) -> Tested<Value> {
        let mut pending = self.pending()?;
        assert_eq!(pending.len(), 1, "{pending:?}");
        Ok(pending.remove(0))
    }
}
