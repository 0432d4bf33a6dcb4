//! What tests of names begin with: production, its name server, and a guardd that asks it.

use std::{net::IpAddr, path::PathBuf};

use guard_lab::{Attempt, Network, Production, Scene, Shell, Tested, holds_scene};

use super::server::NameServer;
use crate::resolver::ASK;

/// Production's name server.
pub(crate) const DNS: &str = "192.0.2.53";
pub(crate) const API: &str = "192.0.2.10";

/// The rule by which a session asks the machine's name servers.
const RESOLVERS: &str = r#"
[[rule]]
name = "resolvers"
to = ["@dns"]
ports = ["udp/53", "tcp/53"]
action = "allow"
"#;

/// A policy with that rule.
pub(crate) fn with_resolvers(text: &str) -> String {
    format!("{text}{RESOLVERS}")
}

/// Names, and the addresses that they stand for.
pub(crate) type Names<'a> = &'a [(&'a str, &'a [&'a str])];

/// One with production's name server.
pub(crate) struct NameScene {
    scene: Scene,
    pub(crate) server: NameServer,
    /// The program that asks.
    pub(crate) ask: PathBuf,
    pub(crate) production: Production,
    policy: &'static str,
}

holds_scene!(NameScene);

impl NameScene {
    /// One whose guardd has a policy of that name, with the rule for name servers.
    pub(crate) fn new(policy: &'static str, text: &str, names: Names<'_>) -> Tested<Self> {
        Self::with("", policy, text, names)
    }

    /// The same with more settings.
    pub(crate) fn with(
        settings: &str,
        policy: &'static str,
        text: &str,
        names: Names<'_>,
    ) -> Tested<Self> {
        Self::at(DNS, settings, policy, &with_resolvers(text), names)
    }

    /// One with a whole policy, and a name server at that address: production's, or at the loopback the machine's own.
    pub(crate) fn at(
        at: &str,
        settings: &str,
        policy: &'static str,
        text: &str,
        names: Names<'_>,
    ) -> Tested<Self> {
        let network = Network::new()?;
        let is_local = at.parse::<IpAddr>()?.is_loopback();
        let side = if is_local {
            network.dev()
        } else {
            network.prod()
        };
        let server = NameServer::start_at(side, &format!("{at}:53"))?;
        for (name, addresses) in names {
            server.set(name, addresses);
        }
        let ports = [80, 443, 2283, 8080];
        let production = Production::launch(&network, &ports, &[123, 443], true)?;
        let config = format!("resolvers = [\"{at}:53\"]\n{settings}");
        let scene = Scene::on(network, |daemon| {
            daemon.policy(policy, text).config(&config)
        })?;
        Ok(Self {
            ask: scene.daemon.write_for_agents("ask.py", ASK)?,
            scene,
            server,
            production,
            policy,
        })
    }

    /// A session under the policy.
    pub(crate) fn shell(&self) -> Tested<Shell> {
        Ok(self.scene.shell(self.policy)?)
    }

    /// Has a session ask production's name server, and does not wait for what it is told.
    pub(crate) fn begin(&self, shell: &mut Shell, name: &str, how: &str) -> Tested {
        let (how, kind) = how.split_once('-').unwrap_or((how, "A"));
        let ask = self.ask.display();
        shell.tell(&format!("python3 {ask} {DNS} {name} {kind} {how}"))?;
        Ok(())
    }

    /// What a session is told of a name.
    pub(crate) fn asked(&self, shell: &mut Shell, name: &str, how: &str) -> Tested<String> {
        self.begin(shell, name, how)?;
        told(shell)
    }

    /// That an address is reached where nothing stops it.
    pub(crate) fn assert_open(&self, to: &str, port: u16) -> Tested {
        let outside = Attempt::tcp(to, port).outside(self.network.dev(), 0)?;
        assert!(outside.ok, "nothing stops {to} without the guard");
        Ok(())
    }
}

/// What the program says that asks.
pub(crate) fn told(shell: &mut Shell) -> Tested<String> {
    let line = shell.line_with("answer ")?;
    Ok(line.trim().trim_start_matches("answer ").to_owned())
}

pub(crate) fn reaches(shell: &mut Shell, to: &str, port: u16) -> Tested<bool> {
    Ok(shell.reaches(&Attempt::tcp(to, port))?)
}
