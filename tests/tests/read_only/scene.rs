//! A developer's machine, production behind it, and an agent that may only look.

pub(crate) use guard_lab::PATIENCE;
use guard_lab::{AGENT, Daemon, Network, Output, Production, Running, Tested};
use serde_json::Value;

pub(crate) use crate::https::scene::{JOB, PHOTOS, START};

/// The same over IPv6.
pub(crate) const PHOTOS_V6: &str = "2001:db8:7::10";

const POLICY: &str = r#"
version = 1
name = "photos"
default = "allow"
hold = "60s"

[[rule]]
name = "photos"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "read-only"
reason = "production photo server"

[[rule.http]]
method = ["POST"]
path = "/api/search/*"
action = "allow"

[[rule.http]]
method = ["DELETE"]
action = "deny"
"#;

pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) production: Production,
    pub(crate) network: Network,
}

/// What a client was answered.
#[derive(Debug)]
pub(crate) struct ClientResponse {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl ClientResponse {
    fn of(output: &Output) -> Self {
        let (body, status) = output.stdout.rsplit_once('\n').unwrap();
        Self {
            status: status.parse().unwrap_or_else(|_| panic!("{output:?}")),
            body: body.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// `curl` as people type it, with the status in a last line of its own.
pub(crate) fn curl<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["curl", "-sS", "-m", "20", "-w", "\n%{http_code}"];
    all.extend(args);
    all
}

pub(crate) fn url(host: &str, path: &str) -> String {
    match host.contains(':') {
        true => format!("http://[{host}]:8080{path}"),
        false => format!("http://{host}:8080{path}"),
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(POLICY)
    }

    pub(crate) fn with(policy: &str) -> Self {
        Self::on(Network::new().unwrap(), policy, &[8080, 22])
    }

    /// On a network whose production listens at these ports.
    pub(crate) fn on(network: Network, policy: &str, ports: &[u16]) -> Self {
        Self {
            daemon: Daemon::in_network(&network)
                .policy("photos", policy)
                .start()
                .unwrap(),
            production: Production::launch(&network, ports, &[], true).unwrap(),
            network,
        }
    }

    /// `curl` without the guard.
    pub(crate) fn outside(&self, args: &[&str]) -> ClientResponse {
        let all = curl(args);
        let mut command = self.network.dev().command_as(AGENT, all[0]);
        let output = guard_lab::exec::output(command.args(&all[1..])).unwrap();
        ClientResponse::of(&Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// `curl` in a session.
    pub(crate) fn inside(&self, args: &[&str]) -> ClientResponse {
        ClientResponse::of(&self.run(args))
    }

    /// The same, where no answer is expected.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let all = ["run", "--policy", "photos", "--"];
        let guard = self.daemon.agent(all).args(curl(args));
        guard.run().unwrap()
    }

    /// Begins it.
    pub(crate) fn begin(&self, args: &[&str]) -> Running {
        let all = ["run", "--policy", "photos", "--"];
        self.daemon.agent(all).args(curl(args)).spawn().unwrap()
    }

    /// The methods and paths that reached production as requests, in their order.
    pub(crate) fn arrived(&self) -> Vec<String> {
        let reached = self.production.reached().unwrap();
        let requests = reached.iter().filter(|one| one.kind == "http");
        requests
            .map(|one| {
                let text = |key: &str| one.record[key].as_str().unwrap().to_owned();
                format!("{} {}", text("method"), text("path"))
            })
            .collect()
    }

    /// The bodies that reached it.
    pub(crate) fn bodies(&self) -> Tested<Vec<String>> {
        let reached = self.production.reached()?;
        let requests = reached.iter().filter(|one| one.kind == "http");
        Ok(requests
            .map(|one| one.record["body"].as_str().unwrap().to_owned())
            .collect())
    }

    /// The requests that wait.
    pub(crate) fn pending(&self) -> Vec<Value> {
        self.daemon.agent(["pending"]).list().unwrap()
    }
}
